"""Rooms (XEP-0045), each scenario under its name.

    xmpp_rooms.py NAME PLAIN_ADDRESS TLS_ADDRESS [ARGUMENT…]
"""

import sqlite3
import sys

from xmpp_raw import Stream, login

name, plain, tls = sys.argv[1:4]
arguments = sys.argv[4:]
MUC = "http://jabber.org/protocol/muc"
USER, ADMIN, OWNER = f"{MUC}#user", f"{MUC}#admin", f"{MUC}#owner"
MAM = "urn:xmpp:mam:2"
INFO = "http://jabber.org/protocol/disco#info"
ITEMS = "http://jabber.org/protocol/disco#items"
HOST = "rooms.one.test"
ROOM = f"den@{HOST}"


def enter(user, resource=None, **kwargs):
    return login(plain, f"{user}@one.test", f"secret-{user}", resource, **kwargs)


def equal(seen, expected, what=""):
    if seen != expected:
        sys.exit(f"{what}: {seen!r} where {expected!r} was expected")


def condition(answer):
    equal(answer.get("type"), "error", answer)
    return answer.find("error").children[0].name


def codes(presence):
    return sorted(int(s.get("code")) for s in presence.find("x", USER).all("status"))


def item(presence):
    return presence.find("x", USER).find("item")


def join(stream, nick, inside="", room=ROOM):
    """Enters; the presence of oneself, with `history` and `others` on it."""
    stream.send(f"<presence to='{room}/{nick}'><x xmlns='{MUC}'>{inside}</x></presence>")
    others, history = [], []
    while True:
        element = stream.next()
        if (element.get("from") or "").split("/")[0] != room:
            continue
        if element.name == "presence":
            if element.get("type") == "error" or 110 in codes(element):
                own = element
                break
            others.append(element.get("from").split("/")[1])
    own.others, own.history = others, history
    if own.get("type") == "error":
        return own
    while True:
        element = stream.wait(lambda e: e.name == "message")
        if element.find("subject") is not None and element.body() is None:
            own.subject = element.find("subject").text
            return own
        history.append(element.body())


def presence(stream, nick, kind=None):
    return stream.wait(
        lambda e: e.name == "presence" and e.get("from") == f"{ROOM}/{nick}" and e.get("type") == kind
    )


def say(stream, text):
    stream.message(ROOM, text, "groupchat")


def hears(stream, text):
    found = stream.wait(lambda e: e.name == "message" and e.body() is not None and e.get("type") == "groupchat")
    equal(found.body(), text)
    return found


def admin(stream, **attrs):
    reason = attrs.pop("reason", None)
    inside = f"<reason>{reason}</reason>" if reason else ""
    text = " ".join(f"{k}='{v}'" for k, v in attrs.items())
    return stream.iq("set", f"<query xmlns='{ADMIN}'><item {text}>{inside}</item></query>", ROOM)


def configure(stream, **fields):
    text = "".join(
        f"<field var='muc#roomconfig_{k}'><value>{v}</value></field>" for k, v in fields.items()
    )
    form = f"<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>{MUC}#roomconfig</value></field>{text}</x>"
    return stream.iq("set", f"<query xmlns='{OWNER}'>{form}</query>", ROOM)


def conversation():
    alice, bob, carol = enter("alice", "x"), enter("bob", "y"), enter("carol", "z")
    # Where there are rooms, one learns from the server.
    listed = alice.iq("get", f"<query xmlns='{ITEMS}'/>", "one.test").find("query")
    equal([i.get("jid") for i in listed.children], [HOST])
    info = alice.iq("get", f"<query xmlns='{INFO}'/>", HOST).find("query")
    equal(info.find("identity").get("category"), "conference")
    # Who is first makes it.
    own = join(alice, "al")
    equal((codes(own), item(own).get("affiliation"), item(own).get("role")), ([110, 170, 201], "owner", "moderator"))
    equal((own.others, own.subject), ([], ""))
    own = join(bob, "bo")
    equal((own.others, item(own).get("affiliation"), item(own).get("role")), (["al"], "none", "participant"))
    seen = presence(alice, "bo")
    # Only moderators see who somebody is.
    equal(item(seen).get("jid"), "bob@one.test/y")
    equal(condition(join(carol, "bo")), "conflict")
    join(carol, "ca")
    equal(item(presence(bob, "ca")).get("jid"), None)
    ids = {s.find("occupant-id").get("id") for s in (own, seen)}
    equal(len(ids), 1)
    # Everybody hears it, the speaker too, and ids can't be forged.
    bob.send(
        f"<message to='{ROOM}' type='groupchat' id='mine'><body>hello</body>"
        f"<occupant-id xmlns='urn:xmpp:occupant-id:0' id='forged'/>"
        f"<stanza-id xmlns='urn:xmpp:sid:0' by='{ROOM}' id='1'/></message>"
    )
    for stream in (alice, bob, carol):
        heard = hears(stream, "hello")
        equal((heard.get("id"), heard.get("from"), len(heard.all("stanza-id"))), ("mine", f"{ROOM}/bo", 1))
        equal(heard.find("occupant-id").get("id"), ids.copy().pop())
    # In private.
    bob.send(f"<message to='{ROOM}/al' type='chat'><body>psst</body></message>")
    heard = alice.wait(lambda e: e.name == "message")
    equal((heard.body(), heard.get("from")), ("psst", f"{ROOM}/bo"))
    assert heard.find("x", USER) is not None
    bob.send(f"<message to='{ROOM}/nobody' type='chat'><body>psst</body></message>")
    equal(condition(bob.wait(lambda e: e.name == "message" and e.get("type") == "error")), "item-not-found")
    # The subject, by those who may.
    bob.send(f"<message to='{ROOM}' type='groupchat'><subject>mine</subject></message>")
    equal(condition(bob.wait(lambda e: e.name == "message" and e.get("type") == "error")), "forbidden")
    alice.send(f"<message to='{ROOM}' type='groupchat'><subject>cats</subject></message>")
    for stream in (alice, bob, carol):
        equal(stream.wait(lambda e: e.find("subject") is not None).find("subject").text, "cats")
    # Another nick.
    bob.send(f"<presence to='{ROOM}/al'/>")
    equal(condition(bob.wait(lambda e: e.name == "presence" and e.get("type") == "error")), "conflict")
    bob.send(f"<presence to='{ROOM}/bobby'/>")
    gone = presence(carol, "bo", "unavailable")
    equal((codes(gone), item(gone).get("nick")), ([303], "bobby"))
    presence(carol, "bobby")
    presence(bob, "bobby")
    # Whether one is still in, and requests through the room.
    ping = "<ping xmlns='urn:xmpp:ping'/>"
    equal(bob.iq("get", ping, f"{ROOM}/bobby").get("type"), "result")
    outside = enter("bob", "outside")
    equal(condition(outside.iq("get", ping, f"{ROOM}/bobby")), "not-acceptable")
    number = carol.id()
    carol.send(f"<iq type='get' id='{number}' to='{ROOM}/bobby'><query xmlns='jabber:iq:version'/></iq>")
    asked = bob.wait(lambda e: e.name == "iq")
    equal((asked.get("from"), asked.get("id")), (f"{ROOM}/ca", number))
    bob.send(f"<iq type='result' id='{number}' to='{ROOM}/ca'><query xmlns='jabber:iq:version'><name>b</name></query></iq>")
    equal(carol.wait(lambda e: e.name == "iq").get("from"), f"{ROOM}/bobby")
    card = carol.iq("get", "<vCard xmlns='vcard-temp'/>", f"{ROOM}/bobby")
    equal((card.get("from"), condition(card)), (f"{ROOM}/bobby", "item-not-found"))
    # A second client under the same nick, and its end.
    second = enter("carol", "second")
    own = join(second, "ca")
    equal(own.others, ["al", "bobby"])
    say(alice, "to both")
    hears(carol, "to both"), hears(second, "to both")
    second.send(f"<presence to='{ROOM}/ca' type='unavailable'/>")
    equal(codes(presence(second, "ca", "unavailable")), [110])
    # A client that breaks away leaves.
    bob.cut()
    presence(alice, "bobby", "unavailable")
    outside.message(ROOM, "from outside", "groupchat")
    equal(condition(outside.wait(lambda e: e.name == "message")), "not-acceptable")
    # A room that is not to stay does not.
    for stream in (alice, carol):
        stream.send(f"<presence to='{ROOM}' type='unavailable'/>")
        stream.sync()
    equal(condition(alice.iq("get", f"<query xmlns='{INFO}'/>", ROOM)), "item-not-found")


def powers():
    """Who may do what to whom."""
    alice, bob, carol = enter("alice", "x"), enter("bob", "y"), enter("carol", "z")
    join(alice, "al"), join(bob, "bo"), join(carol, "ca")
    equal(condition(admin(bob, nick="ca", role="none")), "forbidden")
    equal(condition(admin(bob, jid="bob@one.test", affiliation="owner")), "forbidden")
    equal(condition(admin(alice, jid="alice@one.test", affiliation="none")), "conflict", "the last owner")
    equal(condition(bob.iq("get", f"<query xmlns='{OWNER}'/>", ROOM)), "forbidden")
    # Kicked, and back.
    equal(admin(alice, nick="ca", role="none", reason="out").get("type"), "result")
    gone = presence(carol, "ca", "unavailable")
    equal((codes(gone), item(gone).find("reason").text, item(gone).find("actor").get("nick")), ([110, 307], "out", "al"))
    equal(codes(presence(bob, "ca", "unavailable")), [307])
    join(carol, "ca")
    # Banned, and not back; unbanned, and back.
    admin(alice, jid="carol@one.test", affiliation="outcast", reason="for good")
    equal(codes(presence(carol, "ca", "unavailable")), [110, 301])
    equal(condition(join(carol, "ca")), "forbidden")
    banned = alice.iq("get", f"<query xmlns='{ADMIN}'><item affiliation='outcast'/></query>", ROOM)
    equal([i.get("jid") for i in banned.find("query").children], ["carol@one.test"])
    admin(alice, jid="carol@one.test", affiliation="none")
    join(carol, "ca")
    # An admin: may do a lot, but not to the owner.
    admin(alice, jid="bob@one.test", affiliation="admin")
    equal(item(bob.wait(lambda e: e.name == "presence" and e.get("from") == f"{ROOM}/bo" and item(e).get("role") == "moderator")).get("affiliation"), "admin")
    equal(condition(admin(bob, nick="al", role="none")), "not-allowed")
    equal(condition(admin(bob, jid="alice@one.test", affiliation="outcast")), "not-allowed")
    equal(admin(bob, nick="ca", role="visitor").get("type"), "result")
    carol.wait(lambda e: e.name == "presence" and e.get("from") == f"{ROOM}/ca" and item(e).get("role") == "visitor")
    say(carol, "muted")
    equal(condition(carol.wait(lambda e: e.name == "message" and e.get("type") == "error")), "forbidden")
    # She asks for voice, and gets it.
    request = (
        "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>{0}#request</value></field>{1}</x>"
    )
    carol.send(f"<message to='{ROOM}'>{request.format(MUC, '')}</message>")
    form = bob.wait(lambda e: e.name == "message" and e.find("x", "jabber:x:data")).find("x")
    fields = {f.get("var"): f.find("value").text for f in form.all("field")}
    equal((fields["muc#roomnick"], fields["muc#jid"]), ("ca", "carol@one.test/z"))
    allow = "<field var='muc#request_allow'><value>true</value></field><field var='muc#roomnick'><value>ca</value></field>"
    bob.send(f"<message to='{ROOM}'>{request.format(MUC, allow)}</message>")
    carol.wait(lambda e: e.name == "presence" and e.get("from") == f"{ROOM}/ca" and item(e).get("role") == "participant")
    say(carol, "heard")
    hears(alice, "heard")
    # A password, members only, and what those who are in hear of it.
    equal(condition(configure(bob, roomname="Bob's")), "forbidden")
    equal(configure(alice, passwordprotectedroom="1", roomsecret="sesame", whois="anyone").get("type"), "result")
    told = carol.wait(lambda e: e.name == "message" and e.find("x", USER) and e.find("x", USER).find("status"))
    equal(codes(told), [104, 172])
    other = enter("carol", "other")
    equal(condition(join(other, "cc")), "not-authorized")
    equal(condition(join(other, "cc", "<password>simsim</password>")), "not-authorized")
    own = join(other, "ca", "<password>sesame</password>")
    equal(100 in codes(own), True)
    configure(alice, passwordprotectedroom="0", membersonly="1")
    gone = presence(carol, "ca", "unavailable")
    equal(codes(gone), [110, 322])
    equal(condition(join(carol, "ca")), "registration-required")
    # Invited, which makes her a member.
    alice.send(f"<message to='{ROOM}'><x xmlns='{USER}'><invite to='carol@one.test'><reason>come</reason></invite></x></message>")
    invited = carol.wait(lambda e: e.name == "message" and e.find("x", USER))
    equal((invited.get("from"), invited.find("x").find("invite").get("from")), (ROOM, "alice@one.test/x"))
    equal(item(join(carol, "ca")).get("affiliation"), "member")
    # Moderated rooms: newcomers listen.
    configure(alice, membersonly="0", moderatedroom="1", persistentroom="1")
    admin(alice, jid="carol@one.test", affiliation="none")
    carol.wait(lambda e: e.name == "presence" and e.get("from") == f"{ROOM}/ca" and item(e).get("role") == "visitor")
    # The end of it.
    destroy = f"<query xmlns='{OWNER}'><destroy jid='other@{HOST}'><reason>moved</reason></destroy></query>"
    equal(condition(bob.iq("set", destroy, ROOM)), "forbidden")
    equal(alice.iq("set", destroy, ROOM).get("type"), "result")
    gone = presence(carol, "ca", "unavailable").find("x", USER)
    equal((gone.find("destroy").get("jid"), gone.find("destroy").find("reason").text), (f"other@{HOST}", "moved"))
    equal(condition(alice.iq("get", f"<query xmlns='{INFO}'/>", ROOM)), "item-not-found")


def query(stream, rsm="", to=ROOM):
    number = stream.id()
    stream.send(
        f"<iq type='set' id='{number}' to='{to}'><query xmlns='{MAM}'>"
        f"<set xmlns='http://jabber.org/protocol/rsm'>{rsm}</set></query></iq>"
    )
    entries = []
    while True:
        element = stream.next()
        if element.name == "iq" and element.get("id") == number:
            return entries, element
        result = element.find("result", MAM)
        if result:
            entries.append((result.get("id"), result.find("forwarded").find("message")))


def history():
    """What was said is there for those who come later, and in the archive, until it is taken back."""
    alice, bob = enter("alice", "x"), enter("bob", "y")
    join(alice, "al")
    equal(configure(alice, persistentroom="1", roomname="The den").get("type"), "result")
    alice.send(f"<message to='{ROOM}' type='groupchat'><subject>kept</subject></message>")
    for n in range(30):
        say(alice, f"m{n}")
    heard = [hears(alice, f"m{n}") for n in range(30)]
    own = join(bob, "bo")
    equal((own.history, own.subject), ([f"m{n}" for n in range(10, 30)], "kept"))
    bob.send(f"<presence to='{ROOM}/bo' type='unavailable'/>")
    presence(bob, "bo", "unavailable")
    equal(join(bob, "bo", "<history maxstanzas='2'/>").history, ["m28", "m29"])
    equal(join(bob, "bo", "<history maxchars='0'/>").history, [])
    equal(join(bob, "bo", "<history since='2100-01-01T00:00:00Z'/>").history, [])
    entries, answer = query(bob, "<max>3</max><before/>")
    equal([m.body() for _, m in entries], ["m27", "m28", "m29"])
    equal(entries[-1][0], heard[-1].find("stanza-id").get("id"))
    equal(entries[-1][1].get("from"), f"{ROOM}/al")
    entries, answer = query(bob, "<max>100</max>")
    equal((len(entries), answer.find("fin").get("complete")), (31, "true"))
    # A moderator takes something back.
    bad = heard[29].find("stanza-id").get("id")
    moderate = (
        f"<moderate xmlns='urn:xmpp:message-moderate:1' id='{bad}'><retract xmlns='urn:xmpp:message-retract:1'/>"
        "<reason>spam</reason></moderate>"
    )
    equal(condition(bob.iq("set", moderate, ROOM)), "forbidden")
    equal(alice.iq("set", moderate, ROOM).get("type"), "result")
    retract = bob.wait(lambda e: e.find("retract")).find("retract")
    equal((retract.get("id"), retract.find("moderated").get("by")), (bad, f"{ROOM}/al"))
    entries, _ = query(bob, "<max>1</max><before/>")
    equal((entries[0][0], entries[0][1].body()), (bad, None))
    assert entries[0][1].find("retracted"), entries
    admin(alice, jid="carol@one.test", affiliation="outcast")
    carol = enter("carol", "z")
    equal(condition(query(carol)[1]), "forbidden")


def history_seen():
    """After a kill: the room, as it was."""
    bob, carol = enter("bob", "y"), enter("carol", "z")
    listed = bob.iq("get", f"<query xmlns='{ITEMS}'/>", HOST).find("query")
    equal([(i.get("jid"), i.get("name")) for i in listed.children], [(ROOM, "The den")])
    equal(condition(join(carol, "ca")), "forbidden")
    own = join(bob, "bo")
    equal((own.history, own.subject), ([f"m{n}" for n in range(9, 29)], "kept"))
    equal(201 in codes(own), False)
    info = bob.iq("get", f"<query xmlns='{INFO}'/>", ROOM).find("query")
    features = [f.get("var") for f in info.all("feature")]
    for feature in ("muc_persistent", "muc_semianonymous", MAM, "urn:xmpp:occupant-id:0"):
        assert feature in features, features
    equal(item(join(enter("alice", "x"), "al")).get("affiliation"), "owner")


def unkept():
    """What the database does not take has not happened, and whoever asked for it hears so."""
    database = sqlite3.connect(arguments[0], timeout=10, isolation_level=None)
    alice, carol = enter("alice", "x"), enter("carol", "z")
    join(alice, "al"), join(carol, "ca")
    equal(configure(alice, persistentroom="1").get("type"), "result")
    events = ("INSERT", "UPDATE", "DELETE")
    for event in events:
        database.execute(
            f"CREATE TRIGGER no_{event} BEFORE {event} ON xmpp_room BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
        )
    broken = "internal-server-error"
    equal(condition(admin(alice, jid="carol@one.test", affiliation="outcast")), broken)
    alice.send(f"<message to='{ROOM}' type='groupchat'><subject>lost</subject></message>")
    equal(condition(alice.wait(lambda e: e.name == "message" and e.get("type") == "error")), broken)
    destroy = f"<query xmlns='{OWNER}'><destroy/></query>"
    equal(condition(alice.iq("set", destroy, ROOM)), broken)
    equal(condition(configure(alice, membersonly="1")), broken)
    say(carol, "still here")
    hears(alice, "still here"), hears(carol, "still here")
    for event in events:
        database.execute(f"DROP TRIGGER no_{event}")
    bob = enter("bob", "y")
    equal(join(bob, "bo").subject, "")
    equal(admin(alice, jid="carol@one.test", affiliation="outcast").get("type"), "result")
    equal(codes(presence(carol, "ca", "unavailable")), [110, 301])


def secret():
    """Things said in a room that is not to stay, and in one that ends at once."""
    alice = enter("alice", "x")
    join(alice, "al")
    for n in range(20):
        say(alice, f"secret {n}")
    hears(alice, "secret 0")
    entries, _ = query(alice)
    equal(entries[0][1].body(), "secret 0")
    second = f"second@{HOST}"
    join(alice, "al", room=second)
    said = "".join(f"<message to='{second}' type='groupchat'><body>{n}</body></message>" for n in range(40))
    alice.send(f"{said}<presence to='{second}/al' type='unavailable'/>")
    alice.wait(lambda e: e.name == "presence" and e.get("from") == f"{second}/al" and e.get("type") == "unavailable")
    bob = enter("bob", "y")
    equal(201 in codes(join(bob, "bo", room=second)), True)
    equal(query(bob, to=second)[0], [])


def secret_kept():
    """After a kill: the room is another one, and what was said in the first is nobody's."""
    bob = enter("bob", "y")
    equal(201 in codes(join(bob, "bo")), True)
    equal(query(bob)[0], [])


def order():
    """All who are in hear the same things in the same order, whoever speaks how fast."""
    streams = [enter(user, f"r{n}") for user in ("alice", "bob", "carol") for n in range(3)]
    for n, stream in enumerate(streams):
        join(stream, f"n{n}")
    for n in range(20):
        for stream in streams:
            say(stream, f"{stream.jid} {n}")
    heard = []
    for stream in streams:
        seen = []
        while len(seen) < 20 * len(streams):
            element = stream.wait(lambda e: e.name == "message" and e.body() is not None)
            equal(element.get("type"), "groupchat")
            seen.append(element.body())
        heard.append(seen)
    assert all(seen == heard[0] for seen in heard)
    # One who says too much at once is told so.
    for n in range(200):
        say(streams[0], f"flood {n}")
    refused = streams[0].wait(lambda e: e.name == "message" and e.get("type") == "error")
    equal(condition(refused), "policy-violation")


def many():
    """Rooms that end by themselves count as long as they are there; one that stays goes on counting."""
    alice, bob = enter("alice", "x"), enter("bob", "y")
    rooms = [f"many{n}@{HOST}" for n in range(20)]
    for room in [ROOM, *rooms[:19]]:
        equal(join(alice, "al", room=room).get("type"), None, room)
    equal(configure(alice, persistentroom="1").get("type"), "result")
    equal(condition(join(alice, "al", room=rooms[19])), "resource-constraint")
    # It has not been made by trying, and somebody else may.
    equal(join(bob, "bo", room=rooms[19]).get("type"), None)
    left = rooms[0]
    alice.send(f"<presence to='{left}/al' type='unavailable'/>")
    alice.wait(lambda e: e.get("from") == f"{left}/al" and e.get("type") == "unavailable")
    equal(join(alice, "al", room=f"another@{HOST}").get("type"), None)
    equal(condition(join(alice, "al", room=left)), "resource-constraint")


def outside():
    """The archive of a room is for those who could have heard what is in it."""
    alice, bob = enter("alice", "x"), enter("bob", "y")
    join(alice, "al")
    say(alice, "among us")
    hears(alice, "among us")
    ask = lambda who: who.iq("set", f"<query xmlns='{MAM}' queryid='q'/>", ROOM)
    for fields, condition_seen in [
        ({"membersonly": "1"}, "forbidden"),
        ({"membersonly": "0", "passwordprotectedroom": "1", "roomsecret": "open"}, "forbidden"),
    ]:
        equal(configure(alice, **fields).get("type"), "result")
        equal(condition(ask(bob)), condition_seen, fields)
        equal(ask(alice).get("type"), "result", fields)


globals()[name]()
