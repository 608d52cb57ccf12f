"""Does what a server must not forget, as fast as it is acknowledged, until the server is gone.

    crash_load.py XMPPS_ADDRESS:PORT SIP_ADDRESS:PORT DOMAIN PASSWORD ROUND

Prints a line for each fact: `+ KIND OWNER THING` once it is acknowledged that it holds, `- …` that it
holds no more, and `? …` before it is asked for that it holds no more: from then on nobody can know.

What counts as acknowledged: the result of a roster set; a stream-management ack of a message, or the
answer to a ping behind it; the 200 to a REGISTER.
"""

import sys
import threading

from sip_phone import Phone, status
from xmpp_stream import SM, Stream

xmpps, sip, domain, password, turn = sys.argv[1:]
# Long enough that most things outlive several kills, short enough for lists to stay small.
KEEP = 20
printing = threading.Lock()


def say(sign, kind, owner, thing):
    with printing:
        print(sign, kind, owner, thing, flush=True)


def session(user):
    return Stream(xmpps, f"{user}@{domain}", password)


def names():
    number = 0
    while True:
        yield f"{turn}-{number}"
        number += 1


def roster(user):
    stream = session(user)
    kept = []
    for name in names():
        item = f"friend-{name}@{domain}"
        query = f"<query xmlns='jabber:iq:roster'><item jid='{item}'%s/></query>"
        stream.iq("set", query % "")
        say("+", "roster", user, item)
        kept.append(item)
        if len(kept) > KEEP:
            item = kept.pop(0)
            query = f"<query xmlns='jabber:iq:roster'><item jid='{item}'%s/></query>"
            say("?", "roster", user, item)
            stream.iq("set", query % " subscription='remove'")
            say("-", "roster", user, item)


def message(stream, to, body):
    stream.send(f"<message to='{to}@{domain}' type='chat'><body>{body}</body></message>")


def managed(user, to):
    """Messages that stream management acknowledges (XEP-0198), several at a time."""
    stream = session(user)
    stream.send("<enable xmlns='urn:xmpp:sm:3'/>")
    while stream.read().tag != SM + "enabled":
        pass
    waiting, done = [], 0
    for name in names():
        message(stream, to, name)
        waiting.append(name)
        if len(waiting) % 4:
            continue
        stream.send("<r xmlns='urn:xmpp:sm:3'/>")
        element = stream.read()
        while element.tag != SM + "a":
            element = stream.read()
        handled = int(element.get("h"))
        for name in waiting[: handled - done]:
            say("+", "message", to, name)
        waiting, done = waiting[handled - done :], handled


def pinged(user, to):
    """Messages with the answer to a ping behind them."""
    stream = session(user)
    waiting = []
    for name in names():
        message(stream, to, name)
        waiting.append(name)
        if len(waiting) == 3:
            stream.ping()
            for name in waiting:
                say("+", "message", to, name)
            waiting = []


def contacts(user):
    phone = Phone(sip, f"{user}@{domain}", password)
    kept = []
    for number in range(1, 60000):
        contact = f"sip:{user}@192.0.2.{turn}:{number}"
        accepted = phone.authenticated(contact, 3600)
        assert status(accepted) == 200, accepted
        say("+", "contact", user, contact)
        kept.append(contact)
        if len(kept) > KEEP // 4:
            contact = kept.pop(0)
            say("?", "contact", user, contact)
            accepted = phone.authenticated(contact, 0)
            assert status(accepted) == 200, accepted
            say("-", "contact", user, contact)


failures = []


def until_gone(work, *arguments):
    try:
        work(*arguments)
    except OSError:
        # The server is gone, which is what this is about.
        pass
    except BaseException as error:
        failures.append(f"{work.__name__}: {error!r}")
        raise


threads = [
    threading.Thread(target=until_gone, args=arguments)
    for arguments in [
        (roster, "alice"),
        (managed, "bob", "box1"),
        (pinged, "carol", "box2"),
        (contacts, "dave"),
        (contacts, "erin"),
    ]
]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.exit("; ".join(failures) or 0)
