"""Holds several sessions of one account, and says how many of them still work.

    xmpp_hold.py ADDRESS:PORT USER@DOMAIN PASSWORD COUNT [ALPN]

ALPN is the protocol asked for in the TLS handshake, where the port serves several. Prints `N of COUNT` for every line of standard input, at whose end it closes the sessions.
"""

import sys

from xmpp_stream import Stream

server, address, password, count = sys.argv[1:5]
alpn = sys.argv[5] if len(sys.argv) > 5 else None
sessions = [Stream(server, address, password, alpn=alpn) for _ in range(int(count))]
for session in sessions:
    session.send("<presence/>")


def works(session):
    try:
        session.ping()
    except OSError:
        return False
    return True


for _ in sys.stdin:
    alive = sum(works(session) for session in sessions)
    print(f"{alive} of {count}", flush=True)
for session in filter(works, sessions):
    session.close()
