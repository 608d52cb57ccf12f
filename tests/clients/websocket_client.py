"""Opens websockets, says things on all of them, and hears them back.

    websocket_client.py URL COUNT [SECONDS]

Goes on for SECONDS; exits with 0 where every socket echoed everything.
"""

import asyncio
import secrets
import ssl
import sys
import time

import websockets

url, count = sys.argv[1], int(sys.argv[2])
until = time.monotonic() + (float(sys.argv[3]) if len(sys.argv) > 3 else 0)
context = None
if url.startswith("wss:"):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE


async def talk(index):
    async with websockets.connect(url, ssl=context, max_size=None, open_timeout=30) as socket:
        while True:
            for size in (0, 1, 125, 126, 65_535, 65_536, 300_000):
                if size > 1000 and index % 10:
                    continue
                message = secrets.token_bytes(size)
                await socket.send(message)
                assert await asyncio.wait_for(socket.recv(), 30) == message
            if time.monotonic() >= until:
                return
            await asyncio.sleep(0.3)


async def main():
    await asyncio.gather(*(talk(index) for index in range(count)))
    print(f"{count} sockets")


asyncio.run(main())
