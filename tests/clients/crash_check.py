"""Sees whether what was acknowledged before a crash is there.

    crash_check.py XMPPS_ADDRESS:PORT DOMAIN PASSWORD

Standard input is a JSON object: {"roster": {"alice": {"present": [], "absent": []}},
"messages": {"box1": []}}. Messages are taken, and gone afterwards.
"""

import json
import socket
import sys

from xmpp_stream import CLIENT, Stream

xmpps, domain, password = sys.argv[1:]
wanted = json.load(sys.stdin)
lost = []
for user, items in wanted["roster"].items():
    stream = Stream(xmpps, f"{user}@{domain}", password)
    there = stream.roster()
    stream.close()
    lost += [f"not in the roster of {user}: {item}" for item in set(items["present"]) - there]
    lost += [f"back in the roster of {user}: {item}" for item in set(items["absent"]) & there]
for user, texts in wanted["messages"].items():
    stream = Stream(xmpps, f"{user}@{domain}", password)
    missing = set(texts)
    stream.send("<presence/>")
    stream.socket.settimeout(15)
    try:
        while missing:
            element = stream.read()
            if element.tag == CLIENT + "message":
                missing.discard(element.findtext(CLIENT + "body"))
    except socket.timeout:
        lost += [f"not delivered to {user}: {text}" for text in sorted(missing)]
    stream.close()
if lost:
    sys.exit("\n".join(lost[:20] + [f"{len(lost)} lost"]))
