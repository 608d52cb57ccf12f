"""A websocket server that sends back what it gets: the origin behind the proxy.

    echo_websocket.py PORT
"""

import asyncio
import resource
import sys

import websockets


async def echo(socket):
    async for message in socket:
        await socket.send(message)


async def main():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    async with websockets.serve(echo, "127.0.0.1", int(sys.argv[1])):
        await asyncio.Future()


asyncio.run(main())
