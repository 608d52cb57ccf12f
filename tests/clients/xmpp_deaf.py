"""Alice stops reading, and Bob goes on writing to her until her session is ended.

    xmpp_deaf.py XMPPS_PORT
"""

import sys
import time

from xmpp_stream import Stream

server = "127.0.0.1:" + sys.argv[1]
alice = Stream(server, "alice@example.test", "correct horse battery")
alice.send("<presence/>")
alice.ping()
bob = Stream(server, "bob@example.test", "correct horse battery")
body = "x" * 60_000
sent, over = 0, time.monotonic() + 30
# What is behind a ping has been handled; the headline is for nobody else, and is not kept.
while time.monotonic() < over:
    bob.send(f"<message to='{alice.jid}' type='headline'><body>{body}</body></message>")
    sent += 1
    if sent % 10:
        continue
    refused = []
    bob.ping(refused.append)
    # No more than what the sockets on the way hold, and the bound on output.
    if sent > 2000:
        sys.exit(f"{sent} messages of {len(body)} octets, and still more")
    bob.send(f"<iq type='get' id='there' to='{alice.jid}'><ping xmlns='urn:xmpp:ping'/></iq>")
    bob.ping(refused.append)
    if any(element.get("type") == "error" and element.get("id") == "there" for element in refused):
        break
else:
    sys.exit(f"alice is still there after {sent} messages")
received = b""
alice.socket.settimeout(20)
try:
    while part := alice.socket.recv(1 << 20):
        received = (received + part)[-500:]
except OSError:
    pass
print(f"alice was parted with after {sent} messages of {len(body)} octets")
bob.ping()
bob.close()
