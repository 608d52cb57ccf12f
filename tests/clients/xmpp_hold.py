"""Holds several sessions of one account, and says how many of them still work.

    xmpp_hold.py ADDRESS:PORT USER@DOMAIN PASSWORD COUNT

Prints `N of COUNT` for every line of standard input, at whose end it closes the sessions.
"""

import sys

from xmpp_stream import Stream

server, address, password, count = sys.argv[1:]
sessions = [Stream(server, address, password) for _ in range(int(count))]


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
