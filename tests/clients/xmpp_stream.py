"""A bare XMPP stream for the scripts here: direct TLS, PLAIN, bind, and then stanza by stanza.

A library would hide what these scripts look at: when exactly the server has acknowledged what.
"""

import base64
import itertools
import secrets
import socket
import ssl
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

CLIENT = "{jabber:client}"
SM = "{urn:xmpp:sm:3}"


class Stream:
    """A session of `address`. Every wait has a limit; a stream that ends raises ConnectionError."""

    def __init__(self, server, address, password, limit=20, alpn=None):
        host, port = server.rsplit(":", 1)
        self.domain = address.split("@")[1]
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if alpn:
            context.set_alpn_protocols([alpn])
        plain = socket.create_connection((host, int(port)), timeout=limit)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = context.wrap_socket(plain, server_hostname=self.domain)
        self.ids = (f"{secrets.token_hex(3)}-{number}" for number in itertools.count())
        self.features()
        user = address.split("@")[0]
        proof = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
        self.send(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{proof}</auth>")
        answer = self.read()
        assert answer.tag.endswith("success"), ElementTree.tostring(answer)
        self.features()
        bound = self.iq("set", "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>")
        self.jid = bound.find(".//{urn:ietf:params:xml:ns:xmpp-bind}jid").text

    def features(self):
        """Opens the stream, anew after the login."""
        self.parser = ElementTree.XMLPullParser(["start", "end"])
        self.ready, self.depth, self.root = [], 0, None
        self.send(
            f"<?xml version='1.0'?><stream:stream to={quoteattr(self.domain)} version='1.0' "
            "xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
        )
        assert self.read().tag.endswith("features")

    def send(self, text):
        self.socket.sendall(text.encode())

    def read(self):
        """The next element of the stream."""
        while not self.ready:
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError("the stream ended")
            self.parser.feed(data)
            for event, element in self.parser.read_events():
                if event == "start":
                    self.depth += 1
                    self.root = self.root if self.root is not None else element
                else:
                    self.depth -= 1
                    if self.depth == 1:
                        self.ready.append(element)
                        self.root.clear()
        element = self.ready.pop(0)
        if element.tag.endswith("}error") and "streams" in element.tag:
            raise ConnectionError(ElementTree.tostring(element).decode())
        return element

    def iq(self, kind, payload, other=lambda element: None):
        """Asks the server and waits for its result; what else comes meanwhile goes to `other`."""
        number = next(self.ids)
        self.send(f"<iq type='{kind}' id='{number}'>{payload}</iq>")
        while True:
            element = self.read()
            if element.tag == CLIENT + "iq" and element.get("id") == number:
                if element.get("type") != "result":
                    raise AssertionError(ElementTree.tostring(element).decode())
                return element
            other(element)

    def ping(self, other=lambda element: None):
        """Returns once the server has come to this point of the stream."""
        self.iq("get", "<ping xmlns='urn:xmpp:ping'/>", other)

    def roster(self):
        """The addresses in the roster."""
        answer = self.iq("get", "<query xmlns='jabber:iq:roster'/>")
        return {item.get("jid") for item in answer.iter("{jabber:iq:roster}item")}

    def close(self):
        self.send("</stream:stream>")
        self.socket.close()
