"""A slixmpp component that answers, and people who talk with it.

    xmpp_component.py PLAIN_ADDRESS COMPONENT_ADDRESS
"""

import asyncio
import hashlib
import re
import socket
import sys

import slixmpp
from slixmpp.componentxmpp import ComponentXMPP

from xmpp_raw import login

plain, components = sys.argv[1:3]


def equal(seen, expected, what=""):
    if seen != expected:
        sys.exit(f"{what}: {seen!r} where {expected!r} was expected")


class Echo(ComponentXMPP):
    def __init__(self):
        host, port = components.rsplit(":", 1)
        super().__init__("echo.one.test", "a shared secret", host, int(port))
        self.register_plugin("xep_0030")
        self.register_plugin("xep_0199")
        self.add_event_handler("message", self.answer)

    def answer(self, message):
        if message["type"] in ("chat", "normal"):
            message.reply(message["body"] + " indeed").send()


def people():
    alice = login(plain, "alice@one.test", "secret-alice", "x")
    listed = alice.iq("get", "<query xmlns='http://jabber.org/protocol/disco#items'/>", "one.test").find("query")
    equal(sorted(i.get("jid") for i in listed.children), ["echo.one.test", "rooms.one.test"])
    alice.message("anybody@echo.one.test", "it works")
    heard = alice.wait(lambda e: e.name == "message")
    equal((heard.body(), heard.get("from")), ("it works indeed", "anybody@echo.one.test"))
    equal(alice.iq("get", "<ping xmlns='urn:xmpp:ping'/>", "echo.one.test").get("type"), "result")
    return alice


def raw(secret, then=""):
    """A component as bare as can be; what it is told."""
    host, port = components.rsplit(":", 1)
    sock = socket.create_connection((host, int(port)), timeout=10)
    sock.sendall(
        b"<stream:stream xmlns='jabber:component:accept' "
        b"xmlns:stream='http://etherx.jabber.org/streams' to='echo.one.test'>"
    )
    seen = sock.recv(4096).decode()
    number = re.search(r" id='([0-9a-f]+)'", seen).group(1)
    digest = hashlib.sha1((number + secret).encode()).hexdigest()
    sock.sendall(f"<handshake>{digest}</handshake>{then}".encode())
    while data := sock.recv(4096):
        seen += data.decode()
    return seen


async def main():
    echo = Echo()
    started = echo.wait_until("session_start", 10)
    echo.connect()
    await started
    alice = await asyncio.to_thread(people)
    await echo.disconnect()
    # Once it is gone, its senders hear so.
    def gone():
        alice.message("anybody@echo.one.test", "still?")
        error = alice.wait(lambda e: e.name == "message")
        equal(error.get("type"), "error", error)

    await asyncio.to_thread(gone)
    assert "not-authorized" in raw("another secret")
    forged = "<message from='bob@one.test' to='alice@one.test'><body>forged</body></message>"
    assert "invalid-from" in raw("a shared secret", forged)


asyncio.run(main())
