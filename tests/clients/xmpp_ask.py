"""Logs in over STARTTLS, sends a message and waits for one (an answer, say).

    xmpp_ask.py ADDRESS:PORT USER@DOMAIN PASSWORD TO TEXT AWAITED

Exits with 0 when a message with AWAITED has come.
"""

import asyncio
import ssl
import sys

import slixmpp

server, jid, password, to, text, awaited = sys.argv[1:7]
host, port = server.rsplit(":", 1)


class Client(slixmpp.ClientXMPP):
    def __init__(self):
        super().__init__(jid, password)
        self.got = asyncio.get_event_loop().create_future()
        self.add_event_handler("session_start", self.start)
        self.add_event_handler("message", self.message)
        self.add_event_handler("failed_all_auth", lambda _: self.got.cancel())
        context = self.ssl_context
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE

    async def start(self, _):
        self.send_presence()
        await self.get_roster()
        self.send_message(mto=to, mbody=text, mtype="chat")

    def message(self, message):
        if awaited in message["body"] and not self.got.done():
            self.got.set_result(message["body"])


async def main():
    client = Client()
    client.connect(host, int(port))
    body = await asyncio.wait_for(client.got, 15)
    client.disconnect()
    print(body)


asyncio.run(main())
