"""Scenarios against a running server, each under its name.

    xmpp_scenario.py NAME PLAIN_ADDRESS TLS_ADDRESS [ARGUMENT…]

The server has the accounts alice, bob and carol at one.test; the password of each is secret- and
the name. Exits with 0 where all was as it should be.
"""

import base64
import os
import sys
import time

import xmpp_raw
from xmpp_raw import SASL, SM, TLS, Closed, Stream, login, plain_condition, stream_condition

name, plain, tls = sys.argv[1:4]
arguments = sys.argv[4:]


def enter(user, resource=None, **kwargs):
    return login(plain, f"{user}@one.test", f"secret-{user}", resource, **kwargs)


def equal(seen, expected, what=""):
    if seen != expected:
        sys.exit(f"{what}: {seen!r} where {expected!r} was expected")


# ----- Logging in -----


def nothing_in_clear():
    """Before TLS there is STARTTLS and nothing else."""
    stream = Stream(plain, "one.test")
    features = stream.open()
    equal([f.name for f in features.children], ["starttls"])
    assert features.find("starttls").find("required")
    failure = stream.sasl("PLAIN", "alice", "secret-alice")
    equal(failure, "encryption-required", "PLAIN in clear")
    stream.message("bob@one.test", "in clear")
    equal(stream.wait_end(), "not-authorized", "a message in clear")
    # A login injected behind STARTTLS, in clear, is not taken over into TLS.
    stream = Stream(plain, "one.test")
    stream.open()
    data = base64.b64encode(b"\0alice\0secret-alice").decode()
    stream.send(
        f"<starttls xmlns='{TLS}'/><stream:stream to='one.test' version='1.0' xmlns='jabber:client' "
        f"xmlns:stream='http://etherx.jabber.org/streams'><auth xmlns='{SASL}' mechanism='PLAIN'>{data}</auth>"
    )
    equal(stream.next().name, "proceed")
    try:
        stream.wrap()
        sys.exit("what was injected in clear is still there")
    except (OSError, EOFError):
        pass


def every_mechanism():
    """Each mechanism that is offered, on both ports, right and wrong."""
    plus = ["SCRAM-SHA-512-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"]
    offered = plus + ["SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"]
    for direct in (False, True):
        for tls12 in (False, True):
            for mechanism in offered:
                stream = Stream(tls if direct else plain, "one.test", direct, tls12)
                if not direct:
                    stream.starttls()
                features = stream.open()
                equal(stream.mechanisms(features), offered)
                bindings = [b.get("type") for b in features.find("sasl-channel-binding").children]
                # RFC 9266: the exporter is safe in TLS 1.3.
                expected = ["tls-server-end-point"] if tls12 else ["tls-exporter", "tls-server-end-point"]
                equal(bindings, expected)
                equal(stream.sasl(mechanism, "alice", "wrong"), "not-authorized", mechanism)
                equal(stream.sasl(mechanism, "nobody", "wrong"), "not-authorized", mechanism)
                equal(stream.sasl(mechanism, "alice", "secret-alice"), None, mechanism)
                assert stream.open().find("bind")
                stream.bind("x")
                equal(stream.close(), None)


def downgrade():
    """A client that was made to believe that there is no channel binding is warned."""
    stream = Stream(tls, "one.test", direct=True)
    stream.open()
    equal(stream.sasl("SCRAM-SHA-256", "alice", "secret-alice", flag="y"), "not-authorized")
    # A binding to another channel.
    stream.end_point = lambda: b"somebody else's certificate"
    equal(stream.sasl("SCRAM-SHA-256-PLUS", "alice", "secret-alice"), "not-authorized")
    for unknown in ("SCRAM-MD5", "DIGEST-MD5", "ANONYMOUS"):
        stream.auth(unknown, b"x")
        answer = stream.next()
        equal(answer.children[0].name, "invalid-mechanism", unknown)
        if unknown == "DIGEST-MD5":
            break
    equal(stream.wait_end(), "policy-violation", "too many failures")


def wrong_orders():
    stream = Stream(tls, "one.test", direct=True)
    stream.open()
    stream.send("<iq type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
    equal(stream.wait_end(), "not-authorized", "bind before login")
    stream = Stream(tls, "one.test", direct=True)
    stream.open()
    equal(stream.sasl("PLAIN", "alice", "secret-alice"), None)
    stream.domain = "two.test"
    try:
        stream.open()
        sys.exit("another domain after the login")
    except Closed as closed:
        equal(closed.condition, "host-unknown")
    stream = enter("alice", "x")
    stream.send("<message from='bob@one.test' to='carol@one.test'><body>x</body></message>")
    equal(stream.wait_end(), "invalid-from", "somebody else's address")


def garbage():
    """Whatever comes, the answer is a stream error in a stream, and the connection ends."""
    header = (
        "<stream:stream to='one.test' version='1.0' xmlns='jabber:client' "
        "xmlns:stream='http://etherx.jabber.org/streams'>"
    )
    for data, condition in [
        (b"GET / HTTP/1.1\r\nHost: one.test\r\n\r\n", "not-well-formed"),
        (b"\x00\x01\x02\x03", "not-well-formed"),
        (os.urandom(4096).replace(b"<", b"x").replace(b"\x16", b"x"), "not-well-formed"),
        (b"<a b='1' b='1'>", "not-well-formed"),
        (b"<!DOCTYPE a [<!ENTITY b 'c'>]>", "restricted-xml"),
        (b"<?xml version='1.0' encoding='UTF-16'?><stream:stream>", "unsupported-encoding"),
        (header.encode().replace(b"jabber:client", b"jabber:server"), "invalid-namespace"),
        (header.replace("one.test", "two.test").encode(), "host-unknown"),
        (header.replace(" version='1.0'", "").encode(), "unsupported-version"),
        (header.encode() + b"<a><b></a></b>", "not-well-formed"),
        (header.encode() + b"<a>\xff</a>", "not-well-formed"),
        (header.encode() + b"<a>&lol;</a>", "restricted-xml"),
        (header.encode() + b"<a><!-- b --></a>", "restricted-xml"),
        (header.encode() + b"<a><?b c?></a>", "restricted-xml"),
        (header.encode() + b"<a>" * 1000, "policy-violation"),
        (header.encode() + b"<a>" + b"<b/>" * 1000, "policy-violation"),
        (header.encode() + b"<a b='" + b"x" * 100_000, "policy-violation"),
        (header.encode() + b"<a xmlns='u'/>", "unsupported-stanza-type"),
    ]:
        for secure in (False, True):
            if not secure and data[:1] == b"\x16":
                continue
            seen = plain_condition(tls if secure else plain, data, secure)
            equal(stream_condition(seen), condition, data[:60])
            assert seen.startswith("<?xml version='1.0'?><stream:stream ") and seen.endswith("</stream:stream>"), seen
    # Once logged in, the same bytes end the stream too.
    for data, condition in [
        ("<message><body>&lol;</body></message>", "restricted-xml"),
        ("<message><body>\x01</body></message>", "not-well-formed"),
        ("<message><p:x/></message>", "not-well-formed"),
        ("<message>]]></message>", "not-well-formed"),
        ("<message a='<'/>", "not-well-formed"),
        ("<message xmlns:p='u' xmlns:q='u'><x p:a='' q:a=''/></message>", "not-well-formed"),
        ("<message>" + "<a>" * 100, "policy-violation"),
        ("<message>" + "x" * 300_000, "policy-violation"),
        ("<unknown/>", "unsupported-stanza-type"),
        ("text", "bad-format"),
        ("</message>", "not-well-formed"),
        ("<stream:stream>", "unsupported-stanza-type"),
    ]:
        stream = enter("alice")
        try:
            stream.send(data + ("</stream:stream>" if data == "<stream:stream>" else ""))
        except OSError:
            pass
        equal(stream.wait_end(), condition, data[:60])


def untouched():
    """What bob sees is what alice sent, byte for byte inside, and expat can read it."""
    alice, bob = enter("alice", "x"), enter("bob", "y")
    inside = (
        "<body xml:lang='de'>&lt;&#x1F600; ä\n\tz</body><x:y xmlns:x='u&amp;' x:z=\"it's\"><![CDATA[<&>]]></x:y>"
    )
    alice.send(f"<message id=\"a'b\" to='bob@one.test' foo='bar'>{inside}</message>")
    bob.wait(lambda e: e.name == "message")
    assert inside.encode() in bob.raw, bob.raw
    # A prefix that only alice's stream declares goes along.
    alice = Stream(tls, "one.test", direct=True)
    alice.open()
    equal(alice.sasl("PLAIN", "alice", "secret-alice"), None)
    alice.restart()
    alice.send(
        "<stream:stream to='one.test' version='1.0' xmlns='jabber:client' xml:lang='fr' "
        "xmlns:stream='http://etherx.jabber.org/streams' xmlns:mine='urn:mine'>"
    )
    alice.wait(lambda e: e.name == "features")
    alice.bind("z")
    alice.send("<message to='bob@one.test' type='chat'><mine:thing/></message>")
    message = bob.wait(lambda e: e.name == "message")
    assert message.find("thing", "urn:mine"), message
    equal(message.get("http://www.w3.org/XML/1998/namespace lang"), "fr")
    equal(message.get("from"), "alice@one.test/z")


# ----- Messages that must not be lost -----


def keep():
    """Alice leaves messages for bob; when this returns they are on disk."""
    alice = enter("alice", "x")
    for n in range(int(arguments[0])):
        alice.message("bob@one.test", f"message {n}")
    alice.sync()
    print(len(alice.drain(0.1)), "errors")


def kept():
    """Bob finds them, in order, each with the time it was sent; and once."""
    count = int(arguments[0])
    bob = enter("bob", "y")
    for n in range(count):
        message = bob.wait(lambda e: e.name == "message")
        equal(message.body(), f"message {n}")
        equal(message.find("delay", "urn:xmpp:delay").get("from"), "one.test")
    bob.sync()
    equal([e for e in bob.drain() if e.name == "message"], [])
    bob.close()
    again = enter("bob", "y")
    again.sync()
    equal([e for e in again.drain() if e.name == "message"], [], "a second time")


def resume():
    """Stream management across a cut connection: nothing lost, nothing twice."""
    alice, bob = enter("alice", "x"), enter("bob", "y")
    bob.send(f"<enable xmlns='{SM}' resume='true'/>")
    enabled = bob.wait(lambda e: e.name == "enabled")
    equal(enabled.get("resume"), "true")
    token, seen, handled = enabled.get("id"), [], 0

    def take(stream, upto):
        nonlocal handled
        while len(seen) < upto:
            element = stream.next()
            if element.ns == SM:
                if element.name == "r":
                    stream.send(f"<a xmlns='{SM}' h='{handled}'/>")
                continue
            handled += 1
            if element.name == "message":
                seen.append(element.body())

    total = 300
    for n in range(100):
        alice.message("bob@one.test", str(n))
    take(bob, 40)
    # Bob sends something that counts, and is cut off in the middle of a flood.
    bob.message("alice@one.test", "before")
    alice.wait(lambda e: e.name == "message")
    bob.cut()
    for n in range(100, total):
        alice.message("bob@one.test", str(n))
    alice.sync()
    # His presence is still there.
    equal([e for e in alice.drain(0.2) if e.name == "presence" and e.get("type")], [])

    again = Stream(tls, "one.test", direct=True)
    again.open()
    equal(again.sasl("SCRAM-SHA-256", "bob", "secret-bob"), None)
    again.open()
    again.send(f"<resume xmlns='{SM}' previd='{token}' h='{handled}'/>")
    resumed = again.wait(lambda e: e.ns == SM)
    equal(resumed.name, "resumed")
    equal(resumed.get("h"), "1", "bob's message")
    take(again, total)
    equal(seen, [str(n) for n in range(total)])
    again.send(f"<a xmlns='{SM}' h='{handled}'/><r xmlns='{SM}'/>")
    equal(again.wait(lambda e: e.name == "a").get("h"), "1")
    # The session is the same one.
    again.message("alice@one.test", "after")
    equal(alice.wait(lambda e: e.name == "message").get("from"), "bob@one.test/y")
    # Somebody else's session, and one that never was.
    carol = Stream(tls, "one.test", direct=True)
    carol.open()
    equal(carol.sasl("SCRAM-SHA-256", "carol", "secret-carol"), None)
    carol.open()
    for previous in (token, "never"):
        carol.send(f"<resume xmlns='{SM}' previd='{previous}' h='0'/>")
        failed = carol.wait(lambda e: e.ns == SM)
        equal((failed.name, failed.children[0].name), ("failed", "item-not-found"))
    carol.bind("z")
    # More acknowledged than was sent.
    again.send(f"<a xmlns='{SM}' h='{handled + 5}'/>")
    equal(again.wait_end(), "undefined-condition")


def resume_too_late():
    """What a session never got is kept when it can no longer be resumed."""
    alice, bob = enter("alice", "x"), enter("bob", "y")
    bob.send(f"<enable xmlns='{SM}' resume='true'/>")
    token = bob.wait(lambda e: e.name == "enabled").get("id")
    bob.sync()
    bob.cut()
    time.sleep(0.2)
    alice.message("bob@one.test", "into the dark")
    alice.sync()
    time.sleep(float(arguments[0]))
    again = Stream(tls, "one.test", direct=True)
    again.open()
    equal(again.sasl("PLAIN", "bob", "secret-bob"), None)
    again.open()
    again.send(f"<resume xmlns='{SM}' previd='{token}' h='0'/>")
    failed = again.wait(lambda e: e.ns == SM)
    equal((failed.name, failed.get("h")), ("failed", "1"), "one of bob's stanzas had been handled")
    again.bind("y")
    again.send("<presence/>")
    equal(again.wait(lambda e: e.name == "message").body(), "into the dark")
    again.sync()
    equal([e for e in again.drain() if e.name == "message"], [], "a second time")


def resume_after_reload():
    """A session goes on at another port, once the server has moved there."""
    alice, bob = enter("alice", "x"), enter("bob", "y")
    bob.send(f"<enable xmlns='{SM}' resume='true'/>")
    token = bob.wait(lambda e: e.name == "enabled").get("id")
    bob.cut()
    for n in range(300):
        alice.message("bob@one.test", str(n))
    alice.sync()
    print("ready", flush=True)
    again = Stream(sys.stdin.readline().strip(), "one.test")
    again.starttls()
    again.open()
    equal(again.sasl("PLAIN", "bob", "secret-bob"), None)
    again.open()
    again.send(f"<resume xmlns='{SM}' previd='{token}' h='0'/>")
    equal(again.wait(lambda e: e.ns == SM).name, "resumed")
    alice.message("bob@one.test", "300")
    seen = [again.wait(lambda e: e.name == "message").body() for _ in range(301)]
    equal(seen, [str(n) for n in range(301)])
    print("done", flush=True)


# ----- Peers that misbehave -----


def slow_reader():
    """Bob reads nothing; alice is served all the time, and bob's messages are not lost."""
    alice, bob = enter("alice", "x"), enter("bob", "y")
    body = "x" * 20_000
    count = int(arguments[0])
    longest = 0
    for n in range(count):
        alice.message("bob@one.test", f"{n} {body}")
        if n % 50 == 0:
            begun = time.monotonic()
            alice.sync()
            longest = max(longest, time.monotonic() - begun)
    alice.sync()
    assert longest < 5, longest
    equal(bob.wait_end(), "resource-constraint")
    print(f"longest wait {longest:.3f} s")


def half_open():
    """Clients that say nothing, or half a thing, are sent away in time."""
    half = [Stream(plain, "one.test") for _ in range(20)]
    for index, stream in enumerate(half):
        if index % 4 == 1:
            stream.open()
        if index % 4 == 2:
            stream.send("<stream:str")
        if index % 4 == 3:
            stream.open()
            stream.send("<auth ")
    alice = enter("alice", "x")
    for stream in half:
        condition = stream.wait_end(float(arguments[0]) + 5)
        assert condition in ("connection-timeout", None), condition
    alice.sync()


def one_byte_at_a_time():
    alice, bob = enter("alice", "x"), enter("bob", "y")
    for byte in "<message to='bob@one.test'><body>slowly</body></message>".encode():
        alice.send(bytes([byte]))
    equal(bob.wait(lambda e: e.name == "message").body(), "slowly")


def conflict():
    """Who binds a resource has it."""
    first = enter("alice", "same")
    second = enter("alice", "same")
    equal(first.wait_end(), "conflict")
    second.sync()


# ----- What operators put in -----


def hooked():
    """Lua decides about messages: drops, refuses, answers."""
    alice, bob = enter("alice", "x"), enter("bob", "y")
    alice.message("bob@one.test", "buy spam")
    alice.message("bob@one.test", "a secret")
    error = alice.wait(lambda e: e.name == "message" and e.get("type") == "error")
    equal(error.find("error").children[0].name, "policy-violation")
    alice.message("echo@one.test", "hello?")
    answer = alice.wait(lambda e: e.name == "message")
    equal((answer.get("from"), answer.body()), ("echo@one.test", "hello?"))
    alice.message("bob@one.test", "a plain word")
    equal(bob.wait(lambda e: e.name == "message").body(), "a plain word")
    # A script that fails lets everything pass, unless it is told otherwise.
    alice.message("bob@one.test", "break")
    equal(bob.wait(lambda e: e.name == "message").body(), "break")
    alice.sync()


def shared_port():
    """A TLS port that several protocols share, by ALPN."""
    alice = login(arguments[0], "alice@one.test", "secret-alice", "x", direct=True)
    bob = enter("bob", "y")
    alice.message("bob@one.test", "through the web's port")
    equal(bob.wait(lambda e: e.name == "message").body(), "through the web's port")


# ----- Rosters -----


def roster_set():
    alice = enter("alice", "x")
    items = "<query xmlns='jabber:iq:roster'><item jid='{0}' name='{1}'><group>Friends</group></item></query>"
    answer = alice.iq("set", items.format("bob@one.test", "Bob"))
    equal(answer.get("type"), "result")
    alice.send("<presence to='carol@one.test' type='subscribe'/>")
    alice.sync()


def roster_seen():
    alice = enter("alice", "x")
    answer = alice.iq("get", "<query xmlns='jabber:iq:roster' ver=''/>")
    items = {i.get("jid"): i for i in answer.find("query").children}
    equal(sorted(items), ["bob@one.test", "carol@one.test"])
    equal(items["bob@one.test"].get("name"), "Bob")
    equal(items["bob@one.test"].find("group").text, "Friends")
    equal(items["carol@one.test"].get("ask"), "subscribe")
    version = answer.find("query").get("ver")
    again = alice.iq("get", f"<query xmlns='jabber:iq:roster' ver='{version}'/>")
    equal(again.children, [], "an unchanged roster is not sent again")
    # The request still waits for carol.
    carol = enter("carol", "z")
    asked = carol.wait(lambda e: e.name == "presence" and e.get("type") == "subscribe")
    equal(asked.get("from"), "alice@one.test")


def hold():
    """Stays logged in until standard input ends, then expects the end it is told."""
    alice = enter("alice", "x")
    print("ready", flush=True)
    line = sys.stdin.readline().strip()
    if line == "shutdown":
        equal(alice.wait_end(30), "system-shutdown")
    else:
        alice.sync()
        equal(alice.close(), None)
    print("done", flush=True)


globals()[name]()
