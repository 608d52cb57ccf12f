"""What accounts can do beside talking, each scenario under its name.

    xmpp_features.py NAME PLAIN_ADDRESS TLS_ADDRESS [ARGUMENT…]
"""

import base64
import hashlib
import sys

from xmpp_raw import SM, Stream, login

name, plain, tls = sys.argv[1:4]
arguments = sys.argv[4:]
PUBSUB = "http://jabber.org/protocol/pubsub"
INFO = "http://jabber.org/protocol/disco#info"
BOOKMARKS = "urn:xmpp:bookmarks:1"
BLOCKING = "urn:xmpp:blocking"
CSI = "urn:xmpp:csi:0"


def enter(user, resource=None, **kwargs):
    return login(plain, f"{user}@one.test", f"secret-{user}", resource, **kwargs)


def equal(seen, expected, what=""):
    if seen != expected:
        sys.exit(f"{what}: {seen!r} where {expected!r} was expected")


def condition(answer):
    equal(answer.get("type"), "error", answer)
    return answer.find("error").children[0].name


def friends(one, other):
    """Each sees the other's presence."""
    for stream in (one, other):
        stream.iq("get", "<query xmlns='jabber:iq:roster'/>")
    for a, b in ((one, other), (other, one)):
        to = b.jid.split("/")[0]
        a.send(f"<presence type='subscribe' to='{to}'/>")
        b.wait(lambda e: e.get("type") == "subscribe")
        b.send(f"<presence type='subscribed' to='{a.jid.split('/')[0]}'/>")
        a.wait(lambda e: e.get("type") == "subscribed")
    one.sync(), other.sync(), one.drain(0.1), other.drain(0.1)


def notifying(stream, *nodes):
    """Says in presence that it wants to hear of `nodes`, and answers what it is asked for that."""
    features = sorted([INFO] + [f"{n}+notify" for n in nodes])
    text = "client/pc//omnid<" + "".join(f"{f}<" for f in features)
    ver = base64.b64encode(hashlib.sha1(text.encode()).digest()).decode()
    stream.send(
        f"<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:t' ver='{ver}'/></presence>"
    )
    asked, others = 0, []
    while True:
        try:
            element = stream.next(0.4)
        except TimeoutError:
            stream.queue = others
            return asked
        if element.name == "iq" and element.get("type") == "get" and element.find("query", INFO):
            asked += 1
            equal(element.find("query").get("node"), f"urn:t#{ver}")
            inside = "<identity category='client' type='pc' name='omnid'/>"
            inside += "".join(f"<feature var='{f}'/>" for f in features)
            stream.send(
                f"<iq type='result' id='{element.get('id')}' to='{element.get('from')}'>"
                f"<query xmlns='{INFO}' node='urn:t#{ver}'>{inside}</query></iq>"
            )
        else:
            others.append(element)


def publish(stream, node, payload, item=None, options=None, to=None):
    number = f" id='{item}'" if item else ""
    form = ""
    if options is not None:
        fields = "".join(f"<field var='pubsub#{k}'><value>{v}</value></field>" for k, v in options.items())
        form = (
            "<publish-options><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'>"
            f"<value>{PUBSUB}#publish-options</value></field>{fields}</x></publish-options>"
        )
    return stream.iq(
        "set",
        f"<pubsub xmlns='{PUBSUB}'><publish node='{node}'><item{number}>{payload}</item></publish>{form}</pubsub>",
        to,
    )


def items(stream, node, to=None, inside="", most=None):
    limit = f" max_items='{most}'" if most else ""
    return stream.iq("get", f"<pubsub xmlns='{PUBSUB}'><items node='{node}'{limit}>{inside}</items></pubsub>", to)


def ids(answer):
    equal(answer.get("type"), "result", answer)
    return [i.get("id") for i in answer.find("pubsub").find("items").children]


def event(stream, node):
    def fits(e):
        found = e.find("event", f"{PUBSUB}#event")
        return found and found.children[0].get("node") == node

    return stream.wait(fits).find("event")


def no_events(stream):
    stream.sync()
    seen = [e for e in stream.drain(0.3) if e.find("event", f"{PUBSUB}#event")]
    equal(seen, [])


def pep():
    alice, bob, carol = enter("alice", "x"), enter("bob", "y"), enter("carol", "z")
    friends(alice, bob)
    assert notifying(alice, "urn:devices", "urn:mine") >= 1
    # Somebody else with the same client is not asked again by anybody.
    equal(notifying(bob, "urn:devices", "urn:mine"), 0)
    # Made as it is published, and again only if it is as it should be.
    wanted = {"access_model": "open", "max_items": "max", "persist_items": "true"}
    equal(publish(alice, "urn:devices", "<list xmlns='urn:d'>1</list>", "current", wanted).get("type"), "result")
    for stream in (alice, bob):
        seen = event(stream, "urn:devices")
        equal(seen.find("items").find("item").find("list").text, "1")
    no_events(carol)
    equal(publish(alice, "urn:devices", "<list xmlns='urn:d'>2</list>", "current", wanted).get("type"), "result")
    refused = publish(alice, "urn:devices", "<list xmlns='urn:d'>3</list>", "current", {"access_model": "presence"})
    equal(condition(refused), "conflict")
    equal(refused.find("error").children[1].name, "precondition-not-met")
    equal(ids(items(carol, "urn:devices", "alice@one.test")), ["current"])
    for n in range(3):
        publish(alice, "urn:devices", f"<bundle xmlns='urn:d'>{n}</bundle>", f"b{n}")
    equal(ids(items(carol, "urn:devices", "alice@one.test")), ["current", "b0", "b1", "b2"])
    equal(ids(items(carol, "urn:devices", "alice@one.test", most=2)), ["b1", "b2"])
    equal(ids(items(carol, "urn:devices", "alice@one.test", "<item id='b0'/><item id='no'/>")), ["b0"])
    # One item unless more are wanted; for those who see presence unless it is said otherwise.
    for n in range(2):
        publish(alice, "urn:tune", f"<tune xmlns='urn:t'>{n}</tune>", f"t{n}")
    equal(ids(items(bob, "urn:tune", "alice@one.test")), ["t1"])
    refused = items(carol, "urn:tune", "alice@one.test")
    equal((condition(refused), refused.find("error").children[1].name), ("not-authorized", "presence-subscription-required"))
    publish(alice, "urn:mine", "<x xmlns='urn:m'/>", "m", {"access_model": "whitelist"})
    event(alice, "urn:mine")
    equal(condition(items(bob, "urn:mine", "alice@one.test")), "not-allowed")
    equal(condition(items(bob, "urn:none", "alice@one.test")), "item-not-found")
    equal(condition(publish(bob, "urn:mine", "<x xmlns='urn:m'/>", to="alice@one.test")), "forbidden")
    no_events(carol)
    # Who comes later gets the last one.
    later = enter("bob", "later", presence=None)
    notifying(later, "urn:devices", "urn:mine")
    equal(event(later, "urn:devices").find("items").find("item").get("id"), "b2")
    no_events(later)
    # Taken back, configured, deleted.
    retract = "<retract node='urn:devices' notify='true'><item id='b2'/></retract>"
    alice.iq("set", f"<pubsub xmlns='{PUBSUB}'>{retract}</pubsub>")
    while not (seen := event(later, "urn:devices").find("items").find("retract")):
        pass
    equal(seen.get("id"), "b2")
    owner = f"{PUBSUB}#owner"
    form = alice.iq("get", f"<pubsub xmlns='{owner}'><configure node='urn:devices'/></pubsub>")
    fields = {f.get("var"): f.find("value").text for f in form.find("pubsub").children[0].find("x").all("field")}
    equal((fields["pubsub#access_model"], fields["pubsub#max_items"]), ("open", "256"))
    configure = (
        f"<pubsub xmlns='{owner}'><configure node='urn:devices'><x xmlns='jabber:x:data' type='submit'>"
        f"<field var='FORM_TYPE'><value>{PUBSUB}#node_config</value></field>"
        "<field var='pubsub#max_items'><value>2</value></field></x></configure></pubsub>"
    )
    equal(alice.iq("set", configure).get("type"), "result")
    equal(ids(items(alice, "urn:devices")), ["b0", "b1"])
    listed = carol.iq("get", "<query xmlns='http://jabber.org/protocol/disco#items'/>", "bob@one.test")
    equal(condition(listed), "service-unavailable")
    listed = bob.iq("get", "<query xmlns='http://jabber.org/protocol/disco#items'/>", "alice@one.test")
    equal([i.get("node") for i in listed.find("query").children], ["urn:devices", "urn:tune"])
    equal(alice.iq("set", f"<pubsub xmlns='{owner}'><delete node='urn:tune'/></pubsub>").get("type"), "result")
    equal(condition(items(bob, "urn:tune", "alice@one.test")), "item-not-found")


def pep_seen():
    """After a kill: what was published, and as it was configured."""
    alice, carol = enter("alice", "x"), enter("carol", "z")
    equal(ids(items(carol, "urn:devices", "alice@one.test")), ["b0", "b1"])
    equal(condition(items(carol, "urn:mine", "alice@one.test")), "not-allowed")
    equal(ids(items(alice, "urn:mine")), ["m"])


def bookmarks():
    """Older clients' bookmarks and newer ones' are the same."""
    old, new = enter("alice", "old"), enter("alice", "new")
    notifying(new, BOOKMARKS)
    storage = "<storage xmlns='storage:bookmarks'>{}</storage>"
    room = "<conference jid='{0}@rooms.test' name='{0}' autojoin='true'><nick>al</nick></conference>"
    query = "<query xmlns='jabber:iq:private'>{}</query>"
    equal(old.iq("set", query.format(storage.format(room.format("a") + room.format("b")))).get("type"), "result")
    seen = [event(new, BOOKMARKS).find("items").find("item") for _ in range(2)]
    equal([i.get("id") for i in seen], ["a@rooms.test", "b@rooms.test"])
    equal(seen[0].find("conference", BOOKMARKS).find("nick").text, "al")
    options = {"persist_items": "true", "max_items": "max", "send_last_published_item": "never", "access_model": "whitelist"}
    payload = f"<conference xmlns='{BOOKMARKS}' name='c'><extensions><x xmlns='urn:x'/></extensions></conference>"
    equal(publish(new, BOOKMARKS, payload, "c@rooms.test", options).get("type"), "result")
    event(new, BOOKMARKS)
    known = old.iq("get", query.format(storage.format(""))).find("query").find("storage")
    equal([c.get("jid") for c in known.children], ["a@rooms.test", "b@rooms.test", "c@rooms.test"])
    equal(known.children[0].get("autojoin"), "true")
    # An older client drops one, and keeps another that has more to it than it knows.
    kept = storage.format(room.format("b") + "<conference jid='c@rooms.test' name='c'/>")
    old.iq("set", query.format(kept))
    equal(event(new, BOOKMARKS).find("items").find("retract").get("id"), "a@rooms.test")
    no_events(new)
    found = items(new, BOOKMARKS, inside="<item id='c@rooms.test'/>").find("pubsub").find("items").find("item")
    assert found.find("conference").find("extensions"), found
    info = new.iq("get", f"<query xmlns='{INFO}'/>", "alice@one.test").find("query")
    features = [f.get("var") for f in info.all("feature")]
    for feature in (f"{BOOKMARKS}#compat", "urn:xmpp:pep-vcard-conversion:0", f"{PUBSUB}#publish-options"):
        assert feature in features, features
    assert ("pubsub", "pep") in [(i.get("category"), i.get("type")) for i in info.all("identity")]


def avatars():
    """A picture is the same one in the card and at the node."""
    alice, bob = enter("alice", "x"), enter("bob", "y")
    friends(alice, bob)
    meta, data = "urn:xmpp:avatar:metadata", "urn:xmpp:avatar:data"
    notifying(bob, meta)
    picture = base64.b64encode(b"first picture").decode()
    hash_of = lambda b: hashlib.sha1(b).hexdigest()
    card = "<vCard xmlns='vcard-temp'><FN>Alice</FN><PHOTO><TYPE>image/png</TYPE><BINVAL>{}</BINVAL></PHOTO></vCard>"
    equal(alice.iq("set", card.format(picture)).get("type"), "result")
    info = event(bob, meta).find("items").find("item").find("metadata").find("info")
    equal((info.get("id"), info.get("bytes"), info.get("type")), (hash_of(b"first picture"), "13", "image/png"))
    shown = lambda e: e.name == "presence" and e.find("x", "vcard-temp:x:update")
    equal(bob.wait(shown).find("x").find("photo").text, hash_of(b"first picture"))
    found = items(bob, data, "alice@one.test", f"<item id='{hash_of(b'first picture')}'/>")
    equal(found.find("pubsub").find("items").find("item").find("data").text, picture)
    # And the other way.
    second = b"second picture"
    publish(alice, data, f"<data xmlns='{data}'>{base64.b64encode(second).decode()}</data>", hash_of(second))
    publish(alice, meta, f"<metadata xmlns='{meta}'><info id='{hash_of(second)}' bytes='14' type='image/webp'/></metadata>", hash_of(second))
    equal(bob.wait(shown).find("x").find("photo").text, hash_of(second))
    seen = bob.iq("get", "<vCard xmlns='vcard-temp'/>", "alice@one.test").find("vCard")
    equal(base64.b64decode(seen.find("PHOTO").find("BINVAL").text), second)
    equal((seen.find("PHOTO").find("TYPE").text, seen.find("FN").text), ("image/webp", "Alice"))
    # Whoever sees her presence learns of it, whatever her client says.
    alice.send("<presence><show>away</show><x xmlns='vcard-temp:x:update'/></presence>")
    equal(bob.wait(shown).find("x").find("photo").text, hash_of(second))
    publish(alice, meta, f"<metadata xmlns='{meta}'/>")
    equal(bob.wait(shown).find("x").find("photo").text, "")
    equal(bob.iq("get", "<vCard xmlns='vcard-temp'/>", "alice@one.test").find("vCard").find("PHOTO"), None)


def blocking():
    alice, bob = enter("alice", "x"), enter("bob", "y")
    if not arguments:
        friends(alice, bob)
    second = enter("alice", "second")
    for client in (alice, second):
        equal(client.iq("get", f"<blocklist xmlns='{BLOCKING}'/>").find("blocklist").children, [])
    bob.drain(0.2)
    item = "<item jid='bob@one.test'/>"
    equal(alice.iq("set", f"<block xmlns='{BLOCKING}'>{item}</block>").get("type"), "result")
    pushed = second.wait(lambda e: e.name == "iq" and e.find("block"))
    equal(pushed.find("block").find("item").get("jid"), "bob@one.test")
    # Bob sees her leave, and can't tell her from somebody who isn't there.
    gone = {bob.wait(lambda e: e.get("type") == "unavailable").get("from") for _ in range(2)}
    equal(gone, {"alice@one.test/x", "alice@one.test/second"})
    for to in ("alice@one.test", "alice@one.test/x"):
        bob.message(to, "can you see me?")
        refused = bob.wait(lambda e: e.name == "message")
        equal(condition(refused), "service-unavailable")
        equal(condition(bob.iq("get", "<ping xmlns='urn:xmpp:ping'/>", to)), "service-unavailable")
    bob.send("<presence><show>away</show></presence>")
    bob.sync()
    alice.sync()
    equal([e for e in alice.drain(0.2) if (e.get("from") or "").startswith("bob")], [])
    # And she doesn't reach him.
    alice.message("bob@one.test", "by mistake")
    refused = alice.wait(lambda e: e.name == "message")
    equal(condition(refused), "not-acceptable")
    assert refused.find("error").find("blocked", f"{BLOCKING}:errors")
    equal(alice.iq("get", f"<blocklist xmlns='{BLOCKING}'/>").find("blocklist").children[0].get("jid"), "bob@one.test")
    equal(condition(alice.iq("set", f"<block xmlns='{BLOCKING}'/>")), "bad-request")
    # Nothing of it is in her archive.
    if arguments:
        return
    equal(alice.iq("set", f"<unblock xmlns='{BLOCKING}'/>").get("type"), "result")
    equal(second.wait(lambda e: e.name == "iq" and e.find("unblock")).find("unblock").children, [])
    bob.wait(lambda e: e.name == "presence" and e.get("from") == "alice@one.test/x" and not e.get("type"))
    bob.message("alice@one.test", "there you are")
    equal(alice.wait(lambda e: e.name == "message").body(), "there you are")


def blocking_seen():
    """After a kill: whoever was blocked still is, a domain as well as an account."""
    alice, bob, carol = enter("alice", "x"), enter("bob", "y"), enter("carol", "z")
    bob.message("alice@one.test", "still?")
    equal(condition(bob.wait(lambda e: e.name == "message")), "service-unavailable")
    carol.message("alice@one.test", "not me")
    equal(alice.wait(lambda e: e.name == "message").body(), "not me")
    alice.iq("set", f"<block xmlns='{BLOCKING}'><item jid='one.test'/></block>")
    carol.message("alice@one.test", "me too?")
    equal(condition(carol.wait(lambda e: e.name == "message")), "service-unavailable")
    alice.message("alice@one.test", "never myself")
    equal(alice.wait(lambda e: e.name == "message").body(), "never myself")


def csi():
    """What can wait does, the last word of each; what can't brings it along, in order."""
    alice, bob = enter("alice", "x"), enter("bob", "y")
    friends(alice, bob)
    bob.send(f"<enable xmlns='{SM}' resume='true'/><inactive xmlns='{CSI}'/>")
    token = bob.wait(lambda e: e.name == "enabled").get("id")
    bob.sync()
    for show in ("away", "dnd", "xa"):
        alice.send(f"<presence><show>{show}</show></presence>")
    for state in ("composing", "paused"):
        alice.send(f"<message to='{bob.jid}' type='chat'><{state} xmlns='http://jabber.org/protocol/chatstates'/></message>")
    alice.sync()
    equal([e for e in bob.drain(0.3) if e.ns != SM], [])
    alice.message(bob.jid, "look here")
    seen = [e for e in bob.drain(0.3) if e.ns != SM]
    equal([e.name for e in seen], ["presence", "message", "message"])
    equal((seen[0].find("show").text, seen[1].children[0].name, seen[2].body()), ("xa", "paused", "look here"))
    alice.send("<presence/>")
    alice.sync()
    equal([e for e in bob.drain(0.3) if e.ns != SM], [])
    bob.send(f"<active xmlns='{CSI}'/>")
    equal(bob.wait(lambda e: e.name == "presence").find("show"), None)
    # Held back across a broken connection, and let go by the one that resumes.
    bob.send(f"<inactive xmlns='{CSI}'/>")
    bob.sync()
    bob.cut()
    alice.send("<presence><show>dnd</show></presence>")
    alice.sync()
    again = Stream(tls, "one.test", direct=True)
    again.open()
    equal(again.sasl("PLAIN", "bob", "secret-bob"), None)
    assert again.open().find("csi", CSI)
    again.send(f"<resume xmlns='{SM}' previd='{token}' h='0'/>")
    again.wait(lambda e: e.name == "presence" and e.find("show") and e.find("show").text == "dnd")


globals()[name]()
