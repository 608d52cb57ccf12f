"""Which of an account's sessions get a message, in every case of RFC 6121 8.5: one line a case.

    xmpp_matrix.py PLAIN_ADDRESS

Written so that two servers' answers can be compared line by line.
"""

import sys

from xmpp_raw import login

plain = sys.argv[1]


def enter(user, resource, priority=None):
    presence = "" if priority is None else f"<presence><priority>{priority}</priority></presence>"
    stream = login(plain, f"{user}@one.test", f"secret-{user}", resource, presence=presence)
    stream.sync()
    return stream


def messages(stream):
    """The bodies that have come so far."""
    stream.sync()
    seen, stream.queue = stream.queue, []
    return [e.body() for e in seen if e.name == "message"]


alice = enter("alice", "x", 0)
for state, sessions in [
    ("nobody", {}),
    ("bound only", {"a": None}),
    ("negative", {"a": -1}),
    ("zero", {"a": 0}),
    ("zero and five", {"a": 0, "b": 5}),
    ("negative and zero", {"a": -1, "b": 0}),
    ("equal", {"a": 3, "b": 3}),
]:
    bob = {resource: enter("bob", resource, priority) for resource, priority in sessions.items()}
    alice.sync()
    alice.queue = []
    for to in ("bob@one.test", "bob@one.test/a", "bob@one.test/gone"):
        for kind in ("normal", "chat", "headline", "groupchat", "error"):
            body = f"{state}, {to}, {kind}"
            alice.message(to, body, kind)
            alice.sync()
            errors = [
                e.find("error").children[0].name
                for e in alice.queue
                if e.name == "message" and e.get("type") == "error"
            ]
            alice.queue = []
            seen = [r for r, stream in bob.items() for b in messages(stream) if b == body]
            print(f"{body}: {' '.join(seen) or '-'} {' '.join(errors) or '-'}")
    for stream in bob.values():
        stream.close()
    later = enter("bob", "later", 0)
    for body in messages(later):
        print(f"kept: {body}")
    later.close()
