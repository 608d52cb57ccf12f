"""Holds a chat session, a websocket and a SIP connection open and in use until told to stop.

    hold_open.py XMPP_ADDRESS:PORT JID PASSWORD WEBSOCKET_URL SIP_ADDRESS:PORT

Prints `ready` once all are open. Ends when standard input does; exits with 0 where nothing broke
on the way, and prints how often each was used.
"""

import asyncio
import secrets
import ssl
import sys

import slixmpp
import websockets

xmpp_server, jid, password, url, sip_server = sys.argv[1:6]
over = asyncio.Event()
used = {"chat": 0, "websocket": 0, "sip": 0}


class Client(slixmpp.ClientXMPP):
    def __init__(self):
        super().__init__(jid, password)
        self.register_plugin("xep_0199")
        self.online = asyncio.get_event_loop().create_future()
        self.add_event_handler("session_start", self.start)
        self.add_event_handler("disconnected", self.gone)
        self.ssl_context.check_hostname = False
        self.ssl_context.verify_mode = ssl.CERT_NONE

    async def start(self, _):
        self.send_presence()
        await self.get_roster()
        self.online.set_result(self.boundjid.full)

    def gone(self, why):
        if not over.is_set():
            sys.exit(f"the chat session broke: {why}")


async def chat(ready):
    client = Client()
    host, port = xmpp_server.rsplit(":", 1)
    client.connect(host, int(port))
    await asyncio.wait_for(client.online, 15)
    ready.set()
    while not over.is_set():
        await client["xep_0199"].send_ping(jid.split("@")[1], timeout=10)
        used["chat"] += 1
        await asyncio.sleep(0.05)
    client.disconnect()


async def websocket(ready):
    async with websockets.connect(url) as socket:
        ready.set()
        while not over.is_set():
            text = secrets.token_hex(8)
            await socket.send(text)
            assert await asyncio.wait_for(socket.recv(), 10) == text
            used["websocket"] += 1
            await asyncio.sleep(0.05)


async def sip(ready):
    host, port = sip_server.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    ready.set()
    while not over.is_set():
        branch = secrets.token_hex(8)
        writer.write(
            (
                f"OPTIONS sip:{host} SIP/2.0\r\nVia: SIP/2.0/TCP {host}:5060;branch=z9hG4bK{branch}\r\n"
                f"Max-Forwards: 70\r\nFrom: <sip:a@{host}>;tag=1\r\nTo: <sip:{host}>\r\n"
                f"Call-ID: {branch}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
            ).encode()
        )
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        assert head.startswith(b"SIP/2.0 "), head
        length = 0
        for line in head.decode().split("\r\n"):
            if line.lower().startswith(("content-length:", "l:")):
                length = int(line.split(":", 1)[1])
        await reader.readexactly(length)
        used["sip"] += 1
        await asyncio.sleep(0.05)
    writer.close()


async def main():
    ready = [asyncio.Event() for _ in range(3)]
    tasks = [
        asyncio.create_task(holder(event)) for holder, event in zip((chat, websocket, sip), ready)
    ]

    async def announce():
        for event in ready:
            await event.wait()
        print("ready", flush=True)
        await asyncio.get_event_loop().run_in_executor(None, sys.stdin.read)
        over.set()

    tasks.append(asyncio.create_task(announce()))
    # The first failure ends the whole.
    await asyncio.gather(*tasks)
    print(used, flush=True)
    assert all(count > 10 for count in used.values()), used


asyncio.run(main())
