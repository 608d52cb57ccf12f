"""Two servers and their people: one.test here, two.test there.

    xmpp_servers.py NAME OURS THEIRS [ARGUMENT…]

Each address is that of a server's port for clients, but for `spoof`, which takes our port for servers.
"""

import socket
import ssl
import sys
import xml.parsers.expat

from xmpp_raw import Element, login

name, ours, theirs = sys.argv[1:4]
arguments = sys.argv[4:]
MUC = "http://jabber.org/protocol/muc"


def equal(seen, expected, what=""):
    if seen != expected:
        sys.exit(f"{what}: {seen!r} where {expected!r} was expected")


def condition(answer):
    equal(answer.get("type"), "error", answer)
    return answer.find("error").children[0].name


def people():
    alice = login(ours, "alice@one.test", "secret-alice", "x")
    dave = login(theirs, "dave@two.test", "secret-dave", "y")
    for stream in (alice, dave):
        stream.timeout = 20
        stream.iq("get", "<query xmlns='jabber:iq:roster'/>")
    return alice, dave


def together():
    alice, dave = people()
    # Theirs to ours first, then back: each direction has a stream of its own.
    dave.message("alice@one.test", "hello over there")
    heard = alice.wait(lambda e: e.name == "message")
    equal((heard.body(), heard.get("from")), ("hello over there", "dave@two.test/y"))
    for n in range(50):
        alice.message("dave@two.test", f"number {n} <&>")
    for n in range(50):
        equal(dave.wait(lambda e: e.name == "message").body(), f"number {n} <&>")
    equal(alice.iq("get", "<ping xmlns='urn:xmpp:ping'/>", "two.test").get("type"), "result")
    equal(dave.iq("get", "<ping xmlns='urn:xmpp:ping'/>", "one.test").get("type"), "result")
    equal(condition(alice.iq("get", "<x xmlns='urn:none'/>", "nobody@two.test/x")), "service-unavailable")
    # Each sees the other's presence.
    alice.send("<presence type='subscribe' to='dave@two.test'/>")
    dave.wait(lambda e: e.get("type") == "subscribe")
    dave.send("<presence type='subscribed' to='alice@one.test'/>")
    alice.wait(lambda e: e.name == "presence" and e.get("from") == "dave@two.test/y" and not e.get("type"))
    dave.send("<presence><show>away</show></presence>")
    away = alice.wait(lambda e: e.name == "presence" and e.get("from") == "dave@two.test/y" and e.find("show"))
    equal(away.find("show").text, "away")
    # Who comes back asks, and is answered.
    again = login(ours, "alice@one.test", "secret-alice", "z")
    again.wait(lambda e: e.name == "presence" and e.get("from") == "dave@two.test/y")
    # In a room of ours.
    for stream, nick in ((alice, "al"), (dave, "da")):
        stream.send(f"<presence to='den@rooms.one.test/{nick}'><x xmlns='{MUC}'/></presence>")
        stream.wait(lambda e: e.name == "message" and e.find("subject") is not None)
    dave.message("den@rooms.one.test", "from afar", "groupchat")
    for stream in (alice, dave):
        heard = stream.wait(lambda e: e.name == "message" and e.body() == "from afar")
        equal(heard.get("from"), "den@rooms.one.test/da")
    dave.close()
    alice.wait(lambda e: e.name == "presence" and e.get("from") == "den@rooms.one.test/da" and e.get("type") == "unavailable")


def apart():
    """A certificate that nobody vouches for: neither gets through to the other."""
    alice, dave = people()
    alice.message("dave@two.test", "hello?")
    equal(condition(alice.wait(lambda e: e.name == "message")), "remote-server-not-found")
    dave.message("alice@one.test", "hello?")
    equal(dave.wait(lambda e: e.name == "message").get("type"), "error")
    alice.sync()
    equal([e for e in alice.drain(0.3) if e.name == "message"], [])


class Servers:
    """A stream as another server would open it, with no certificate."""

    def __init__(self, sender):
        host, port = ours.rsplit(":", 1)
        self.sock = socket.create_connection((host, int(port)), timeout=20)
        self.sender = sender
        self.open()
        self.next("features")
        self.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        self.next("proceed")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.sock = context.wrap_socket(self.sock, server_hostname="one.test")
        self.open()
        self.features = self.next("features")

    def open(self):
        self.stack, self.queue, self.ended = [], [], False
        self.parser = xml.parsers.expat.ParserCreate("utf-8", " ")
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.CharacterDataHandler = self.text
        self.send(
            "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' "
            f"xmlns:stream='http://etherx.jabber.org/streams' to='one.test' from='{self.sender}' version='1.0'>"
        )

    def start(self, tag, attrs):
        element = Element(tag, attrs)
        if len(self.stack) > 1:
            self.stack[-1].children.append(element)
        self.stack.append(element)

    def text(self, text):
        self.stack[-1].text += text

    def end(self, _):
        element = self.stack.pop()
        if len(self.stack) == 1:
            self.queue.append(element)
        self.ended = self.ended or not self.stack

    def send(self, text):
        self.sock.sendall(text.encode())

    def next(self, wanted):
        while not self.queue:
            data = self.sock.recv(65536)
            if not data:
                sys.exit(f"the stream ended before {wanted}")
            self.parser.Parse(data)
        element = self.queue.pop(0)
        equal(element.name, wanted, element)
        return element


def spoof():
    """Whoever proves nothing, or something else, is nobody."""
    message = "<message from='{0}' to='alice@one.test'><body>it is me</body></message>"
    # Not a word without a proof.
    stream = Servers("two.test")
    assert stream.features.find("mechanisms") is None, stream.features
    stream.send(message.format("dave@two.test"))
    equal(stream.next("error").children[0].name, "not-authorized")
    # A certificate that isn't there.
    stream = Servers("two.test")
    stream.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>dHdvLnRlc3Q=</auth>")
    stream.next("failure")
    # A key that two.test never made: it is asked, and says so.
    stream = Servers("two.test")
    stream.send("<db:result from='two.test' to='one.test'>0123456789abcdef</db:result>")
    equal(stream.next("result").get("type"), "invalid")
    stream.next("error")
    # The answer to a question that nobody asked.
    stream = Servers("two.test")
    stream.send("<db:result from='two.test' to='one.test' type='valid'/>")
    stream.next("error")
    # Ourselves.
    for sender in ("one.test", "rooms.one.test"):
        stream = socket.create_connection(ours.rsplit(":", 1), timeout=20)
        stream.sendall(
            f"<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' "
            f"to='one.test' from='{sender}' version='1.0'>".encode()
        )
        seen = b""
        while data := stream.recv(65536):
            seen += data
        assert b"invalid-from" in seen, seen
    # Keys of ours are ours alone.
    stream = Servers("two.test")
    stream.send("<db:verify from='two.test' to='one.test' id='x'>0123456789abcdef</db:verify>")
    equal(stream.next("verify").get("type"), "invalid")


globals()[name]()
