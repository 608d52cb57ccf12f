"""An XMPP client as bare as can be: sockets, and expat to read what comes.

Whatever a server sends passes through expat with namespaces, as it would in most clients, so every
test that uses this also proves that the server's output is well-formed.
"""

import base64
import hashlib
import hmac
import os
import re
import socket
import ssl
import time
import xml.parsers.expat
from xml.sax.saxutils import escape, quoteattr

STREAM = "http://etherx.jabber.org/streams"
CLIENT = "jabber:client"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
TLS = "urn:ietf:params:xml:ns:xmpp-tls"
SM = "urn:xmpp:sm:3"


class Element:
    def __init__(self, name, attrs):
        self.ns, _, self.name = name.rpartition(" ")
        self.attrs = attrs
        self.children = []
        self.text = ""

    def get(self, name, default=None):
        return self.attrs.get(name, default)

    def find(self, name, ns=None):
        for child in self.children:
            if child.name == name and ns in (None, child.ns):
                return child
        return None

    def all(self, name):
        return [child for child in self.children if child.name == name]

    def body(self):
        found = self.find("body")
        return found.text if found else None

    def __repr__(self):
        attrs = "".join(f" {k}={v!r}" for k, v in sorted(self.attrs.items()))
        inside = self.text + "".join(map(repr, self.children))
        return f"<{self.name}{attrs}>{inside}</>"


class Closed(Exception):
    """The server ended the stream; `condition` is its stream error, if it gave one."""

    def __init__(self, condition):
        super().__init__(condition)
        self.condition = condition


class Stream:
    def __init__(self, address, domain, direct=False, tls12=False, timeout=10):
        host, port = address.rsplit(":", 1)
        self.domain = domain
        self.sock = socket.create_connection((host, int(port)), timeout=timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.timeout = timeout
        self.tls12 = tls12
        self.secure = False
        self.number = 0
        self.raw = b""
        if direct:
            self.wrap(["xmpp-client"])
        self.restart()

    def wrap(self, alpn=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if self.tls12:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        if alpn:
            context.set_alpn_protocols(alpn)
        self.sock = context.wrap_socket(self.sock, server_hostname=self.domain)
        self.secure = True
        if alpn:
            assert self.sock.selected_alpn_protocol() == "xmpp-client"

    # ----- Reading -----

    def restart(self):
        self.stack = []
        self.queue = []
        self.closed = False
        self.header = None
        self.parser = xml.parsers.expat.ParserCreate("utf-8", " ")
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text

    def _start(self, name, attrs):
        element = Element(name, attrs)
        if not self.stack:
            assert name == f"{STREAM} stream", name
            self.header = element
        elif len(self.stack) > 1:
            self.stack[-1].children.append(element)
        self.stack.append(element)

    def _end(self, _):
        element = self.stack.pop()
        if not self.stack:
            self.closed = True
        elif len(self.stack) == 1:
            self.queue.append(element)

    def _text(self, text):
        if len(self.stack) > 1:
            self.stack[-1].text += text

    def pump(self, timeout=None):
        """Reads once. False at the end of the connection."""
        self.sock.settimeout(self.timeout if timeout is None else timeout)
        try:
            data = self.sock.recv(65536)
        except (ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            data = b""
        if not data:
            return False
        self.raw += data
        self.parser.Parse(data)
        return True

    def next(self, timeout=None):
        """The next first-level element. Raises Closed where the stream ends."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while not self.queue:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if self.closed or not self.pump(left):
                raise Closed(None)
        element = self.queue.pop(0)
        if element.ns == STREAM and element.name == "error":
            condition = element.children[0].name
            # An error is always followed by the closing tag.
            while not self.closed:
                assert self.pump(), f"no closing tag behind {condition}"
            raise Closed(condition)
        return element

    def wait(self, match, timeout=None):
        """The next element that fits, others are dropped."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            element = self.next(max(0.001, deadline - time.monotonic()))
            if match(element):
                return element

    def wait_end(self, timeout=None):
        """Reads to the end of the connection; the stream error's condition, if there was one."""
        condition = None
        try:
            while True:
                self.next(timeout)
        except Closed as closed:
            condition = closed.condition
        while self.pump(timeout):
            pass
        return condition

    def drain(self, quiet=0.3):
        """All that comes until it is quiet."""
        seen = []
        try:
            while True:
                seen.append(self.next(quiet))
        except TimeoutError:
            return seen

    # ----- Writing -----

    def send(self, text):
        self.sock.sendall(text.encode() if isinstance(text, str) else text)

    def open(self):
        self.restart()
        self.send(
            f"<?xml version='1.0'?><stream:stream to='{self.domain}' version='1.0' "
            f"xmlns='{CLIENT}' xmlns:stream='{STREAM}'>"
        )
        return self.wait(lambda e: e.name == "features")

    def starttls(self):
        self.open()
        self.send(f"<starttls xmlns='{TLS}'/>")
        assert self.next().name == "proceed"
        self.wrap()

    def id(self):
        self.number += 1
        return f"n{self.number}"

    def iq(self, kind, payload, to=None):
        """Asks and waits for the answer."""
        number = self.id()
        address = f" to={quoteattr(to)}" if to else ""
        self.send(f"<iq type='{kind}' id='{number}'{address}>{payload}</iq>")
        return self.wait(lambda e: e.name == "iq" and e.get("id") == number)

    def message(self, to, body, kind="chat"):
        self.send(
            f"<message to={quoteattr(to)} type='{kind}' id='{self.id()}'>"
            f"<body>{escape(body)}</body></message>"
        )

    def sync(self):
        """Returns when the server has handled all that was sent."""
        number = self.id()
        self.send(f"<iq type='get' id='{number}' to='{self.domain}'><ping xmlns='urn:xmpp:ping'/></iq>")
        kept = []
        while True:
            element = self.next()
            if element.name == "iq" and element.get("id") == number:
                break
            kept.append(element)
        self.queue = kept + self.queue

    # ----- Logging in -----

    def mechanisms(self, features):
        found = features.find("mechanisms", SASL)
        return [m.text for m in found.children] if found else []

    def end_point(self):
        der = self.sock.getpeercert(binary_form=True)
        return hashlib.sha256(der).digest()

    def sasl(self, mechanism, user, password, flag=None):
        """Authenticates; None, or the condition of the failure."""
        if mechanism == "PLAIN":
            message = b"\0" + user.encode() + b"\0" + password.encode()
            self.auth(mechanism, message)
            answer = self.next()
            return None if answer.name == "success" else answer.children[0].name
        plus = mechanism.endswith("-PLUS")
        digest = mechanism.removesuffix("-PLUS").removeprefix("SCRAM-").replace("-", "").lower()
        binding = self.end_point() if plus else b""
        flag = flag or ("p=tls-server-end-point" if plus else "n")
        header = f"{flag},,"
        nonce = base64.b64encode(os.urandom(18)).decode().replace(",", "x")
        bare = f"n={user},r={nonce}"
        self.auth(mechanism, (header + bare).encode())
        answer = self.next()
        if answer.name == "failure":
            return answer.children[0].name
        challenge = base64.b64decode(answer.text).decode()
        parts = dict(part.split("=", 1) for part in challenge.split(","))
        assert parts["r"].startswith(nonce) and len(parts["r"]) > len(nonce)
        salted = hashlib.pbkdf2_hmac(
            digest, password.encode(), base64.b64decode(parts["s"]), int(parts["i"])
        )
        sign = lambda key, text: hmac.new(key, text, digest).digest()
        client_key = sign(salted, b"Client Key")
        stored = hashlib.new(digest, client_key).digest()
        channel = base64.b64encode(header.encode() + binding).decode()
        without = f"c={channel},r={parts['r']}"
        signed = f"{bare},{challenge},{without}".encode()
        proof = bytes(a ^ b for a, b in zip(client_key, sign(stored, signed)))
        final = f"{without},p={base64.b64encode(proof).decode()}"
        self.send(f"<response xmlns='{SASL}'>{base64.b64encode(final.encode()).decode()}</response>")
        answer = self.next()
        if answer.name == "failure":
            return answer.children[0].name
        verifier = base64.b64decode(answer.text)
        expected = b"v=" + base64.b64encode(sign(sign(salted, b"Server Key"), signed))
        assert verifier == expected, "the server is not who it should be"
        return None

    def auth(self, mechanism, message):
        data = base64.b64encode(message).decode()
        self.send(f"<auth xmlns='{SASL}' mechanism='{mechanism}'>{data}</auth>")

    def bind(self, resource=None):
        inside = f"<resource>{escape(resource)}</resource>" if resource else ""
        answer = self.iq("set", f"<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>{inside}</bind>")
        assert answer.get("type") == "result", answer
        self.jid = answer.find("bind").find("jid").text
        return self.jid

    def close(self):
        """Says goodbye and waits for the answer."""
        self.send("</stream:stream>")
        return self.wait_end()

    def cut(self):
        """As a phone in a tunnel: without a word."""
        # Around the SSL layer, which would say goodbye.
        sock = socket.socket(fileno=self.sock.detach())
        linger = b"\1\0\0\0\0\0\0\0"
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        sock.close()


def login(address, jid, password, resource=None, direct=False, mechanism=None, presence="<presence/>"):
    """A client that is bound, and available unless `presence` is empty."""
    user, domain = jid.split("@")
    stream = Stream(address, domain, direct)
    if not direct:
        stream.starttls()
    features = stream.open()
    offered = stream.mechanisms(features)
    if mechanism is None:
        mechanism = "SCRAM-SHA-256" if "SCRAM-SHA-256" in offered else "SCRAM-SHA-1"
    assert mechanism in offered, features
    failure = stream.sasl(mechanism, user, password)
    assert failure is None, failure
    features = stream.open()
    assert features.find("bind"), features
    stream.bind(resource)
    if presence:
        stream.send(presence)
        if presence == "<presence/>":
            stream.wait(lambda e: e.name == "presence" and e.get("from") == stream.jid)
    return stream


def plain_condition(address, data, tls=False, domain="one.test", timeout=10):
    """Sends bytes instead of a stream; what came back as text."""
    host, port = address.rsplit(":", 1)
    sock = socket.create_connection((host, int(port)), timeout=timeout)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        sock = context.wrap_socket(sock, server_hostname=domain)
    try:
        sock.sendall(data)
    except OSError:
        pass
    seen = b""
    try:
        while data := sock.recv(65536):
            seen += data
    except OSError:
        pass
    sock.close()
    return seen.decode(errors="replace")


def stream_condition(text):
    found = re.search(r"<stream:error><([a-z-]+) ", text)
    return found.group(1) if found else None
