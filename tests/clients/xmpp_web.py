"""Streams as browsers have them: over WebSocket (RFC 7395) and over requests (BOSH).

    xmpp_web.py NAME PLAIN_ADDRESS TLS_ADDRESS HTTPS_ADDRESS [HTTP_ADDRESS]

Each piece is read by expat inside an element that gives it no namespace: it has to bring its own.
"""

import base64
import http.client
import json
import os
import queue
import socket
import ssl
import sys
import threading
import time
import xml.parsers.expat

from websockets.client import ClientProtocol
from websockets.frames import Opcode
from websockets.uri import parse_uri

from xmpp_raw import CLIENT, SM, STREAM, Stream, login

name, plain, tls, https = sys.argv[1:5]
FRAMING = "urn:ietf:params:xml:ns:xmpp-framing"
BIND = "http://jabber.org/protocol/httpbind"


def equal(seen, expected, what=""):
    if seen != expected:
        sys.exit(f"{what}: {seen!r} where {expected!r} was expected")


def context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Pieces(Stream):
    """A stream in pieces."""

    secure = True
    tls12 = False

    def __init__(self, domain="one.test", timeout=10):
        self.domain, self.timeout, self.number = domain, timeout, 0
        self.raw = b""
        self.restart()

    def restart(self):
        super().restart()
        self.parser.Parse(f"<x:stream xmlns:x='{STREAM}'>".encode())

    def take(self, piece):
        self.raw += piece
        self.parser.Parse(piece)


class Web(Pieces):
    """Without threads: Python's ssl does not let two of them use one connection."""

    def __init__(self, protocols=("xmpp",), **kwargs):
        host, port = https.rsplit(":", 1)
        sock = socket.create_connection((host, int(port)), timeout=10)
        self.sock = context().wrap_socket(sock, server_hostname="one.test")
        self.web = ClientProtocol(parse_uri(f"wss://one.test:{port}/xmpp-websocket"), subprotocols=protocols, max_size=None)
        self.web.send_request(self.web.connect())
        self.events, self.pongs = [], 0
        super().__init__(**kwargs)
        self.flush()
        while not self.events:
            assert self.receive(10), "no answer"
        self.response = self.events.pop(0)

    def flush(self):
        for data in self.web.data_to_send():
            try:
                self.sock.sendall(data)
            except (ConnectionError, ssl.SSLError):
                # It hung up; what it said before is still to be read.
                return

    def receive(self, timeout):
        self.sock.settimeout(timeout)
        try:
            data = self.sock.recv(65536)
        except (ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            data = b""
        if data:
            self.web.receive_data(data)
        else:
            self.web.receive_eof()
        self.events += self.web.events_received()
        try:
            self.flush()
        except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
            # It was our part of the farewell, and nobody is left to hear it.
            pass
        return bool(data)

    def send(self, text):
        self.web.send_text(text if isinstance(text, bytes) else text.encode())
        self.flush()

    def pump(self, timeout=None):
        while not self.events:
            if not self.receive(self.timeout if timeout is None else timeout):
                return False
        frame = self.events.pop(0)
        if frame.opcode is Opcode.PONG:
            self.pongs += 1
        elif frame.opcode is Opcode.TEXT:
            assert frame.fin
            if frame.data.startswith(b"<close"):
                self.closed = True
            else:
                self.take(bytes(frame.data))
        return True

    def open(self):
        self.restart()
        self.send(f"<open xmlns='{FRAMING}' to='{self.domain}' version='1.0'/>")
        opened = self.next()
        equal((opened.ns, opened.name, opened.get("from"), opened.get("version")), (FRAMING, "open", self.domain, "1.0"))
        features = self.next()
        equal((features.ns, features.name), (STREAM, "features"))
        return features

    def close(self):
        self.send(f"<close xmlns='{FRAMING}'/>")
        return self.wait_end()


class Bosh(Pieces):
    """Two connections take turns; one request always waits."""

    def __init__(self, **kwargs):
        self.rid = int.from_bytes(os.urandom(4), "big")
        self.answers, self.waiting, self.lock = queue.Queue(), 0, threading.Lock()
        self.sid, self.ended = None, None
        super().__init__(**kwargs)

    def post(self, attrs="", inside="", rid=None):
        """Asks in the background."""
        if rid is None:
            self.rid += 1
            rid = self.rid
        sid = f" sid='{self.sid}'" if self.sid else ""
        body = f"<body rid='{rid}'{sid} xmlns='{BIND}' xmlns:xmpp='urn:xmpp:xbosh' {attrs}>{inside}</body>"

        def ask():
            self.answers.put(answer(body))

        with self.lock:
            self.waiting += 1
        threading.Thread(target=ask, daemon=True).start()
        return rid

    def read(self, timeout):
        """The next answer, its parts in the queue."""
        try:
            status, headers, text = self.answers.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError from None
        with self.lock:
            self.waiting -= 1
        equal(status, 200, text)
        equal(headers["content-type"], "text/xml; charset=utf-8")
        # Each body is a document, with the namespaces that it needs.
        alone = xml.parsers.expat.ParserCreate("utf-8", " ")
        alone.Parse(text, True)
        before = len(self.queue)
        self.take(text)
        body = self.queue.pop()
        equal((body.ns, body.name, len(self.queue)), (BIND, "body", before))
        self.queue += body.children
        if body.get("type") == "terminate":
            self.closed, self.ended = True, body.get("condition", "")
        return body

    def pump(self, timeout=None):
        if self.closed:
            return False
        if not self.waiting and self.sid:
            self.post()
        self.read(self.timeout if timeout is None else timeout)
        return True

    def send(self, text):
        self.post(inside=text.replace("<message", f"<message xmlns='{CLIENT}'").replace("<iq", f"<iq xmlns='{CLIENT}'").replace("<presence", f"<presence xmlns='{CLIENT}'"))

    def open(self):
        if self.sid:
            self.post(f"xmpp:restart='true' to='{self.domain}'")
            return self.wait(lambda e: e.name == "features")
        self.post(f"to='{self.domain}' xml:lang='en' wait='20' hold='1' ver='1.6' xmpp:version='1.0' content='text/xml; charset=utf-8'")
        self.first = self.read(10)
        self.sid = self.first.get("sid")
        return self.next()

    def close(self):
        self.post("type='terminate'", f"<presence type='unavailable' xmlns='{CLIENT}'/>")
        return self.wait_end()


def answer(body, path="/http-bind", method="POST"):
    host, port = https.rsplit(":", 1)
    connection = http.client.HTTPSConnection(host, int(port), timeout=40, context=context())
    body = body.encode() if isinstance(body, str) else body
    connection.request(method, path, body, {"Host": f"one.test:{port}", "Content-Type": "text/xml; charset=utf-8"})
    response = connection.getresponse()
    return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()


def enter(stream, user, resource, mechanism="SCRAM-SHA-256"):
    features = stream.open()
    # A program in a browser is told nothing about the channel: nothing that binds to it is offered.
    offered = stream.mechanisms(features)
    equal([m for m in offered if m.endswith("-PLUS")], [])
    assert mechanism in offered, offered
    equal(stream.sasl(mechanism, user, f"secret-{user}"), None)
    features = stream.open()
    assert features.find("bind"), features
    stream.bind(resource)
    stream.send("<presence/>")
    stream.wait(lambda e: e.name == "presence" and e.get("from") == stream.jid)
    return stream


def conversation(one):
    """With a client over TCP: both ways, what is said and what is in it."""
    other = login(plain, "bob@one.test", "secret-bob", "y")
    for n in range(3):
        one.message("bob@one.test", f"hello {n} \u00e4\U0001f600 <&>'\"")
        equal(other.wait(lambda e: e.name == "message").body(), f"hello {n} \u00e4\U0001f600 <&>'\"")
        other.message(one.jid, f"back {n}")
        got = one.wait(lambda e: e.name == "message")
        equal((got.ns, got.body(), got.find("body").ns, got.get("from")), (CLIENT, f"back {n}", CLIENT, other.jid))
    # Many at once.
    for n in range(200):
        other.message(one.jid, f"{n} " + "x" * 500)
    for n in range(200):
        equal(one.wait(lambda e: e.name == "message").body().split()[0], str(n))
    info = one.iq("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>", "one.test")
    equal((info.ns, info.get("type")), (CLIENT, "result"))
    other.close()


def websocket():
    one = enter(Web(), "alice", "web")
    conversation(one)
    listed = enter(Web(), "carol", "web", "PLAIN")
    # A goodbye is answered with the end of both, the stream and the connection.
    equal(listed.close(), None)
    assert listed.closed
    equal(listed.web.close_code, 1000)
    one.web.send_ping(b"there?")
    one.flush()
    while not one.pongs:
        assert one.pump()
    one.close()


def websocket_wrong():
    """What is no RFC 7395 is told so, and harms nobody."""
    for protocols in (None, ["chat"]):
        equal(Web(protocols).response.status_code, 400)
    equal(answer(None, "/xmpp-websocket", "GET")[0], 426)
    equal(answer("x", "/xmpp-websocket")[0], 405)

    def ends(*pieces, logged_in=False):
        stream = enter(Web(), "alice", "w") if logged_in else Web()
        for piece in pieces:
            stream.send(piece)
        condition = stream.wait_end()
        return condition

    opening = f"<open xmlns='{FRAMING}' to='one.test' version='1.0'/>"
    for pieces, condition in [
        (["<message xmlns='jabber:client'/>"], "not-well-formed"),
        ([opening.replace("one.test", "two.test")], "host-unknown"),
        ([opening.replace(" version='1.0'", "")], "unsupported-version"),
        ([opening, opening], "unsupported-stanza-type"),
        ([opening, "<iq xmlns='jabber:client'/>"], "not-authorized"),
        ([opening, "<a/><b/>"], "not-well-formed"),
        ([opening, "<a>"], "not-well-formed"),
        ([opening, " "], "not-well-formed"),
        ([opening, "</stream:stream>"], "not-well-formed"),
        ([opening, "<!DOCTYPE x>"], "not-well-formed"),
        ([opening, "<a xmlns='b'>" + "x" * 7000 + "</a>"], "unsupported-stanza-type"),
    ]:
        equal(ends(*pieces), condition, pieces[-1][:60])
    for pieces, condition in [
        ([opening], "unsupported-stanza-type"),
        (["<message to='bob@one.test'/><message/>"], "not-well-formed"),
        (["<message to='bob@one.test'>"], "not-well-formed"),
        (["<message><x y='&bad;'/></message>"], "restricted-xml"),
        (["<message from='bob@one.test' xmlns='jabber:client'/>"], "invalid-from"),
    ]:
        equal(ends(*pieces, logged_in=True), condition, pieces[-1][:60])
    # Too big for somebody unknown; too big for anybody; binary; not masked.
    for piece, status, logged_in in [("x" * 9000, 1009, False), ("x" * 300_000, 1009, True), (b"\0", 1003, True)]:
        stream = enter(Web(), "alice", "w") if logged_in else Web()
        if isinstance(piece, bytes):
            stream.web.send_binary(piece)
            stream.flush()
        else:
            stream.send(piece)
        stream.wait_end()
        equal(stream.web.close_code, status)
    stream = Web()
    stream.sock.sendall(b"\x81\x05hello")
    stream.wait_end()
    equal(stream.web.close_code, 1002)


def plain_http():
    """Nothing but where streams are is told in clear."""
    host, port = sys.argv[5].rsplit(":", 1)
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": base64.b64encode(b"x" * 16).decode(), "Sec-WebSocket-Protocol": "xmpp"}
    for method, path, headers, status in [
        ("GET", "/xmpp-websocket", upgrade, 403),
        ("POST", "/http-bind", {}, 403),
        ("GET", "/.well-known/host-meta", {}, 200),
    ]:
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        connection.request(method, path, None if method == "GET" else "x", {"Host": "one.test", **headers})
        equal(connection.getresponse().status, status, path)


def host_meta():
    status, headers, body = answer(None, "/.well-known/host-meta", "GET")
    equal((status, headers["content-type"], headers["access-control-allow-origin"]), (200, "application/xrd+xml", "*"))
    links = []
    parser = xml.parsers.expat.ParserCreate("utf-8", " ")
    parser.StartElementHandler = lambda name, attrs: links.append((name, attrs))
    parser.Parse(body, True)
    xrd = "http://docs.oasis-open.org/ns/xri/xrd-1.0"
    port = https.rsplit(":", 1)[1]
    wanted = [
        ("urn:xmpp:alt-connections:websocket", f"wss://one.test:{port}/xmpp-websocket"),
        ("urn:xmpp:alt-connections:xbosh", f"https://one.test:{port}/http-bind"),
    ]
    equal(links, [(f"{xrd} XRD", {})] + [(f"{xrd} Link", {"rel": rel, "href": href}) for rel, href in wanted])
    status, headers, body = answer(None, "/.well-known/host-meta.json", "GET")
    equal((status, headers["content-type"]), (200, "application/json"))
    equal(json.loads(body), {"links": [{"rel": rel, "href": href} for rel, href in wanted]})
    equal(answer("x", "/.well-known/host-meta")[0], 405)


def resume():
    """A session goes from WebSocket to TCP and back, and nothing is lost or comes twice."""
    bob = enter(Web(), "bob", "y")
    alice = login(plain, "alice@one.test", "secret-alice", "x")
    bob.send(f"<enable xmlns='{SM}' resume='true'/>")
    token = bob.wait(lambda e: e.name == "enabled").get("id")
    seen, handled = [], 0

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

    def flood(start, end):
        for n in range(start, end):
            alice.message("bob@one.test", str(n))
        alice.sync()

    flood(0, 50)
    take(bob, 20)
    bob.cut()
    flood(50, 100)
    for n, stream in ((100, Stream(tls, "one.test", direct=True)), (150, Web())):
        stream.open()
        equal(stream.sasl("SCRAM-SHA-256", "bob", "secret-bob"), None)
        stream.open()
        stream.send(f"<resume xmlns='{SM}' previd='{token}' h='{handled}'/>")
        equal(stream.wait(lambda e: e.ns == SM).name, "resumed")
        take(stream, n)
        if n == 100:
            stream.cut()
            flood(100, 150)
    equal(seen, [str(n) for n in range(150)])
    stream.message("alice@one.test", "after")
    equal(alice.wait(lambda e: e.name == "message").get("from"), "bob@one.test/y")


def bosh():
    one = enter(Bosh(), "alice", "web")
    for attr, value in (("wait", "20"), ("hold", "1"), ("requests", "2"), ("from", "one.test"), ("ver", "1.6"), ("secure", "true")):
        equal(one.first.get(attr), value, attr)
    equal(one.first.get("urn:xmpp:xbosh version"), "1.0")
    conversation(one)
    equal(one.close(), None)
    equal(one.ended, "")
    equal(answer(f"<body rid='1' sid='{one.sid}' xmlns='{BIND}'/>")[2], f"<body xmlns='{BIND}' type='terminate' condition='item-not-found'/>".encode())


def bosh_lost():
    """Answers that get lost are asked for again."""
    one = enter(Bosh(), "alice", "web")
    bob = login(plain, "bob@one.test", "secret-bob", "y")
    while one.waiting:
        bob.message(one.jid, "out of the way")
        one.read(5)
    one.queue.clear()
    bob.message(one.jid, "precious")
    bob.sync()
    rid = one.post()
    text = one.read(5)
    equal([e.body() for e in text.children], ["precious"])
    one.post(rid=rid)
    again = one.read(5)
    equal([e.body() for e in again.children], ["precious"])
    # Two requests in the wrong order are one conversation in the right one.
    one.rid += 2
    one.post(inside="<message to='bob@one.test' xmlns='jabber:client'><body>second</body></message>", rid=one.rid)
    time.sleep(0.1)
    one.post(inside="<message to='bob@one.test' xmlns='jabber:client'><body>first</body></message>", rid=one.rid - 1)
    equal([bob.wait(lambda e: e.name == "message").body() for _ in range(2)], ["first", "second"])
    # Far out of turn.
    one.post(rid=one.rid + 50)
    while not one.closed:
        one.read(5)
    equal(one.ended, "item-not-found")


def bosh_wrong():
    for body, condition in [
        ("", "bad-request"),
        ("<body/>", "bad-request"),
        (f"<body rid='1' xmlns='{BIND}'", "bad-request"),
        (f"<!DOCTYPE x><body rid='1' xmlns='{BIND}'/>", "bad-request"),
        (f"<body rid='1' sid='none' xmlns='{BIND}'/>", "item-not-found"),
        (f"<body rid='1' to='two.test' hold='1' wait='5' xmlns='{BIND}'/>", "remote-stream-error"),
    ]:
        status, headers, text = answer(body)
        equal(status, 200)
        assert f"condition='{condition}'" in text.decode(), text
    equal(answer("x" * 400_000)[0], 413)
    equal(answer(None, method="GET")[0], 405)
    status, headers, _ = answer(None, method="OPTIONS")
    equal((status, headers["access-control-allow-origin"], headers["access-control-allow-headers"]), (204, "*", "Content-Type"))
    # Nobody knows who it is: no big words.
    one = Bosh()
    one.open()
    one.post(inside="<a xmlns='b'>" + "x" * 9000 + "</a>")
    equal(one.read(5).get("condition"), "policy-violation")
    # Wrong passwords, and then enough.
    one = Bosh()
    one.open()
    for _ in range(3):
        equal(one.sasl("PLAIN", "alice", "wrong"), "not-authorized")
    one.sasl("PLAIN", "alice", "wrong")
    equal(one.wait_end(), "policy-violation")
    equal(one.ended, "remote-stream-error")
    # Ill-formed inside.
    one = enter(Bosh(), "alice", "w")
    one.post(inside="<message from='bob@one.test' xmlns='jabber:client'/>")
    equal(one.wait_end(), "invalid-from")


{f.__name__: f for f in (websocket, websocket_wrong, plain_http, host_meta, resume, bosh, bosh_lost, bosh_wrong)}[name]()
