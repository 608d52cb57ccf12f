"""Registers a contact over UDP with digest authentication, and removes it again.

    sip_register.py ADDRESS:PORT USER@DOMAIN PASSWORD ALGORITHM [keep]

With `keep`, the contact stays registered.

Exits with 0 where the registrar's answers are those of RFC 3261 and RFC 8760.
"""

import re
import sys

from sip_phone import Phone, status

phone = Phone(*sys.argv[1:5])
contact = f"sip:{phone.user}@{phone.local}"
accepted = phone.authenticated(contact, 300)
assert status(accepted) == 200, accepted
assert re.search(rf"(?im)^(contact|m):.*{re.escape(contact)}", accepted), accepted
if sys.argv[5:] == ["keep"]:
    print("registered")
    sys.exit()
removed = phone.authenticated(contact, 0)
assert status(removed) == 200, removed
assert phone.local not in "\n".join(
    line for line in removed.split("\r\n") if line.lower().startswith(("contact:", "m:"))
), removed
print("registered and removed")
