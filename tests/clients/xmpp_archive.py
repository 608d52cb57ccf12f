"""Archives (XEP-0313) and what goes with them, each scenario under its name.

    xmpp_archive.py NAME PLAIN_ADDRESS TLS_ADDRESS [ARGUMENT…]
"""

import sys
import time
from xml.sax.saxutils import escape

from xmpp_raw import SM, Closed, Stream, login

name, plain, tls = sys.argv[1:4]
arguments = sys.argv[4:]
MAM = "urn:xmpp:mam:2"
RSM = "http://jabber.org/protocol/rsm"


def enter(user, resource=None, **kwargs):
    return login(plain, f"{user}@one.test", f"secret-{user}", resource, **kwargs)


def equal(seen, expected, what=""):
    if seen != expected:
        sys.exit(f"{what}: {seen!r} where {expected!r} was expected")


def field(var, *values):
    return f"<field var='{var}'>" + "".join(f"<value>{escape(v)}</value>" for v in values) + "</field>"


def query(stream, fields="", rsm="", flip=False, to=None):
    """A page: its entries as (id, body), and the answer."""
    number = stream.id()
    form = f"<x xmlns='jabber:x:data' type='submit'>{field('FORM_TYPE', MAM)}{fields}</x>"
    address = f" to='{to}'" if to else ""
    stream.send(
        f"<iq type='set' id='{number}'{address}><query xmlns='{MAM}' queryid='{number}'>{form}"
        f"{'<flip-page/>' if flip else ''}<set xmlns='{RSM}'>{rsm}</set></query></iq>"
    )
    entries = []
    while True:
        element = stream.next()
        if element.name == "iq" and element.get("id") == number:
            return entries, element
        result = element.find("result", MAM)
        if result:
            equal(result.get("queryid"), number)
            forwarded = result.find("forwarded")
            assert forwarded.find("delay").get("stamp").endswith("Z")
            entries.append((result.get("id"), forwarded.find("message").body()))


def bodies(entries):
    return [body for _, body in entries]


def condition(answer):
    equal(answer.get("type"), "error", answer)
    return answer.find("error").children[0].name


def paging():
    alice, bob = enter("alice", "x"), enter("bob", "y")
    for n in range(25):
        alice.message("bob@one.test", f"m{n}")
    alice.sync()
    seen = [bob.wait(lambda e: e.name == "message") for _ in range(25)]
    # What is delivered says where it is in the archive, and nobody can say so for the server.
    ids = [m.find("stanza-id", "urn:xmpp:sid:0") for m in seen]
    equal({i.get("by") for i in ids}, {"bob@one.test"})
    ids = [i.get("id") for i in ids]
    alice.send(
        "<message to='bob@one.test' type='chat'><body>forged</body>"
        "<stanza-id xmlns='urn:xmpp:sid:0' by='bob@one.test' id='1'/>"
        "<stanza-id xmlns='urn:xmpp:sid:0' by='other.test' id='2'/></message>"
    )
    forged = bob.wait(lambda e: e.name == "message")
    by = [(i.get("by"), i.get("id")) for i in forged.all("stanza-id")]
    equal(len(by), 2)
    assert ("bob@one.test", "1") not in by and ("other.test", "2") in by, by
    expected = [f"m{n}" for n in range(25)] + ["forged"]
    # Forwards, page by page.
    collected, after, pages = [], "", 0
    while True:
        entries, answer = query(bob, rsm=f"<max>10</max>{after}")
        collected += entries
        fin = answer.find("fin", MAM)
        said = fin.find("set", RSM)
        equal((said.find("first").text, said.find("last").text), (entries[0][0], entries[-1][0]))
        after, pages = f"<after>{entries[-1][0]}</after>", pages + 1
        if fin.get("complete") == "true":
            break
    equal((bodies(collected), pages), (expected, 3))
    equal([i for i, _ in collected][:25], ids)
    # The last page, then what is before it; and a page upside down.
    last, answer = query(bob, rsm="<max>5</max><before/>")
    equal(bodies(last), expected[-5:])
    equal(answer.find("fin").get("complete"), None)
    before, _ = query(bob, rsm=f"<max>5</max><before>{last[0][0]}</before>", flip=True)
    equal(bodies(before), expected[-10:-5][::-1])
    # By id, before and after one, at a time, with somebody.
    found, _ = query(bob, field("ids", ids[3], ids[1]))
    equal(bodies(found), ["m1", "m3"])
    found, _ = query(bob, field("after-id", ids[2]) + field("before-id", ids[5]))
    equal(bodies(found), ["m3", "m4"])
    equal(bodies(query(bob, field("with", "carol@one.test"))[0]), [])
    equal(len(query(bob, field("with", "alice@one.test/x"))[0]), 26)
    equal(bodies(query(bob, field("start", "2100-01-01T00:00:00Z"))[0]), [])
    equal(len(query(bob, field("end", "2100-01-01T00:00:00Z"))[0]), 26)
    # The sender has them too.
    equal(bodies(query(alice, field("with", "bob@one.test"))[0]), expected)
    for fields, rsm, wrong in [
        (field("ids", "17"), "", "item-not-found"),
        (field("after-id", "17"), "", "item-not-found"),
        ("", "<after>17</after>", "item-not-found"),
        (field("with", "@"), "", "jid-malformed"),
        (field("moon", "full"), "", "feature-not-implemented"),
    ]:
        equal(condition(query(bob, fields, rsm)[1]), wrong)
    equal(condition(query(alice, to="bob@one.test")[1]), "forbidden", "somebody else's archive")
    metadata = bob.iq("get", f"<metadata xmlns='{MAM}'/>").find("metadata")
    equal(metadata.find("start").get("id"), ids[0])
    offered = bob.iq("get", f"<query xmlns='{MAM}'/>").find("query").find("x")
    assert "ids" in [f.get("var") for f in offered.all("field")]
    info = bob.iq("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>", "bob@one.test")
    features = [f.get("var") for f in info.find("query").all("feature")]
    for feature in (MAM, f"{MAM}#extended", "urn:xmpp:sid:0"):
        assert feature in features, features


def preferences():
    alice, bob = enter("alice", "x"), enter("bob", "y")
    prefs = bob.iq("get", f"<prefs xmlns='{MAM}'/>").find("prefs")
    equal(prefs.get("default"), "always")
    wanted = f"<prefs xmlns='{MAM}' default='never'><always><jid>carol@one.test</jid></always><never/></prefs>"
    answer = bob.iq("set", wanted)
    equal(answer.find("prefs").find("always").find("jid").text, "carol@one.test")
    carol = enter("carol", "z")
    alice.message("bob@one.test", "not kept")
    alice.sync()
    carol.message("bob@one.test", "kept")
    carol.send("<message to='bob@one.test' type='chat'><body>hint</body><no-store xmlns='urn:xmpp:hints'/></message>")
    carol.sync()
    equal(bodies(query(bob)[0]), ["kept"])
    equal(bodies(query(alice)[0]), ["not kept"])
    # They hold after the account was forgotten by the server's memory, too: see `preferences_seen`.


def preferences_seen():
    bob = enter("bob", "y")
    prefs = bob.iq("get", f"<prefs xmlns='{MAM}'/>").find("prefs")
    equal((prefs.get("default"), prefs.find("always").find("jid").text), ("never", "carol@one.test"))
    equal(bodies(query(bob)[0]), ["kept"])


def converge():
    """Two clients of bob's: one dies in the middle of it, and has everything once it is back."""
    alice = enter("alice", "x")
    first, second = enter("bob", "first"), enter("bob", "second")
    for client in (first, second):
        client.iq("set", "<enable xmlns='urn:xmpp:carbons:2'/>")
    for n in range(10):
        alice.message("bob@one.test/first", f"a{n}")
    alice.sync()
    known, last = [], None
    for _ in range(4):
        message = second.wait(lambda e: e.name == "message" and e.find("received"))
        inner = message.find("received").find("forwarded").find("message")
        known.append(inner.body())
        last = inner.find("stanza-id").get("id")
    second.cut()
    for n in range(10, 20):
        alice.message("bob@one.test/first", f"a{n}")
    first.message("alice@one.test", "from first")
    first.sync()
    alice.sync()
    back = enter("bob", "second")
    entries, answer = query(back, rsm=f"<max>100</max><after>{last}</after>")
    equal(answer.find("fin").get("complete"), "true")
    known += bodies(entries)
    everything = bodies(query(first)[0])
    equal(known, everything)
    equal(sorted(known), sorted([f"a{n}" for n in range(20)] + ["from first"]))


def flood():
    """Writes until it is cut off, and prints the number of messages that were acknowledged."""
    alice = enter("alice", "x")
    alice.send(f"<enable xmlns='{SM}'/>")
    alice.wait(lambda e: e.name == "enabled")
    acknowledged, sent = 0, 0
    print("ready", flush=True)
    try:
        while True:
            for _ in range(20):
                alice.message("bob@one.test", f"f{sent}")
                sent += 1
            alice.send(f"<r xmlns='{SM}'/>")
            acknowledged = int(alice.wait(lambda e: e.name == "a").get("h"))
            print(acknowledged, flush=True)
    except (Closed, OSError):
        pass


def flooded():
    """What was acknowledged is in both archives, in order."""
    acknowledged = int(arguments[0])
    for user in ("alice", "bob"):
        client, collected, after = enter(user, "z"), [], ""
        while True:
            entries, answer = query(client, rsm=f"<max>250</max>{after}")
            collected += bodies(entries)
            if answer.find("fin").get("complete") == "true":
                break
            after = f"<after>{entries[-1][0]}</after>"
        assert len(collected) >= acknowledged, (user, len(collected), acknowledged)
        equal(collected, [f"f{n}" for n in range(len(collected))], user)
    print(len(collected), "of", acknowledged)


globals()[name]()
