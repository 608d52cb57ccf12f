"""A slixmpp component that answers, and people who talk with it.

    xmpp_component.py PLAIN_ADDRESS COMPONENT_ADDRESS
"""

import asyncio
import hashlib
import re
import socket
import struct
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


def bare(secret, then="", **options):
    """A component as bare as can be."""
    host, port = components.rsplit(":", 1)
    sock = socket.socket()
    sock.settimeout(10)
    for option, value in options.items():
        sock.setsockopt(socket.SOL_SOCKET, getattr(socket, option), value)
    sock.connect((host, int(port)))
    sock.sendall(
        b"<stream:stream xmlns='jabber:component:accept' "
        b"xmlns:stream='http://etherx.jabber.org/streams' to='echo.one.test'>"
    )
    seen = sock.recv(4096).decode()
    number = re.search(r" id='([0-9a-f]+)'", seen).group(1)
    digest = hashlib.sha1((number + secret).encode()).hexdigest()
    sock.sendall(f"<handshake>{digest}</handshake>{then}".encode())
    return sock, seen


def raw(secret, then=""):
    """What such a component is told."""
    sock, seen = bare(secret, then)
    while data := sock.recv(4096):
        seen += data.decode()
    return seen


def stuck():
    """One that reads nothing, and goes: the senders of all that did not get there hear so."""
    sock, _ = bare("a shared secret", SO_RCVBUF=4096)
    equal(sock.recv(12), b"<handshake/>")
    alice = login(plain, "alice@one.test", "secret-alice", "stuck")
    body = "x" * 60_000
    for n in range(150):
        alice.send(f"<message to='a@echo.one.test' id='m{n}' type='chat'><body>{body}</body></message>")
    alice.sync()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    lost = []
    while not lost or lost[-1] != "m149":
        lost.append(alice.wait(lambda e: e.name == "message" and e.get("type") == "error").get("id"))
    first = int(lost[0][1:])
    equal(lost, [f"m{n}" for n in range(first, 150)])
    assert len(lost) > 2, lost


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
    await asyncio.to_thread(stuck)
    assert "not-authorized" in raw("another secret")
    forged = "<message from='bob@one.test' to='alice@one.test'><body>forged</body></message>"
    assert "invalid-from" in raw("a shared secret", forged)


asyncio.run(main())
