"""An origin server behind the proxy, with habits good and bad.

    origin.py PORT

/echo        the request as it came: method, target, fields, body length, connection number
/stream      ten pieces, a tenth of a second apart
/trailers    a body with a trailer field
/slow        says nothing for three seconds
/stall       half a body, then nothing
/cut         half a body, then the end
/drop        the end, without a word
/once        answers and closes, without saying so beforehand
/early       answers before it has read the body
/bad/...     responses that break the rules
/location    a redirect to itself, in full
/cookie      cookies for its own path and name
/hints       interim responses before the answer
/hints-at-once  the same, and the answer in one piece with them
/switch      switches to a protocol nobody asked for
"""

import asyncio
import json
import sys

port = int(sys.argv[1])
connections = 0

BAD = {
    "lf": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi",
    "lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi",
    "both": b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "nul": b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nhi",
    "status": b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nhi",
    "huge": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000 + b"\r\nContent-Length: 2\r\n\r\nhi",
    "ssh": b"SSH-2.0-OpenSSH\r\n",
}


async def read_request(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    method, target, _ = lines[0].split(" ", 2)
    fields = [line.split(":", 1) for line in lines[1:] if line]
    fields = [[name.lower(), value.strip()] for name, value in fields]
    return method, target, fields


async def read_body(reader, fields):
    fields = dict(fields)
    length = 0
    if "transfer-encoding" in fields:
        while True:
            size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
            chunk = await reader.readexactly(size + 2)
            if size == 0:
                return length
            length += len(chunk) - 2
    if "content-length" in fields:
        length = int(fields["content-length"])
        await reader.readexactly(length)
    return length


def answer(body, more="", status="200 OK"):
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


async def serve(reader, writer):
    global connections
    connections += 1
    number = connections
    try:
        while True:
            method, target, fields = await read_request(reader)
            path = target.split("?")[0]
            name = path.rsplit("/", 1)[-1]
            if name == "early":
                writer.write(answer(b"early"))
                await writer.drain()
            length = await read_body(reader, fields)
            if name == "early":
                continue
            if name == "stream":
                writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                for piece in range(10):
                    writer.write(b"8\r\npiece %d\n\r\n" % piece)
                    await writer.drain()
                    await asyncio.sleep(0.1)
                writer.write(b"0\r\n\r\n")
            elif name == "trailers":
                writer.write(
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
                    b"5\r\nhello\r\n0\r\nX-Sum: 5\r\n\r\n"
                )
            elif name == "slow":
                await asyncio.sleep(3)
                writer.write(answer(b"late"))
            elif name in ("stall", "cut"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf.")
                await writer.drain()
                await asyncio.sleep(30 if name == "stall" else 0)
                return
            elif name == "drop":
                return
            elif name == "once":
                writer.write(answer(str(number).encode()))
                await writer.drain()
                await asyncio.sleep(0.05)
                return
            elif path.startswith("/bad/"):
                writer.write(BAD[name])
                await writer.drain()
                return
            elif name == "location":
                writer.write(answer(b"", f"Location: http://127.0.0.1:{port}/app/x?y\r\n", "302 Found"))
            elif name == "cookie":
                writer.write(answer(b"", "Set-Cookie: a=1; Path=/other/x; Domain=127.0.0.1\r\nSet-Cookie: b=2\r\n"))
            elif name in ("hints", "hints-at-once"):
                hints = (
                    b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n"
                    b"HTTP/1.1 102 Processing\r\n\r\n"
                )
                if name == "hints":
                    writer.write(hints)
                    await writer.drain()
                    await asyncio.sleep(0.2)
                    writer.write(answer(b"hinted"))
                else:
                    writer.write(hints + answer(b"hinted"))
            elif name == "switch":
                writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: magic\r\nConnection: upgrade\r\n\r\n")
                await writer.drain()
                return
            else:
                told = {
                    "method": method,
                    "target": target,
                    "fields": fields,
                    "length": length,
                    "connection": number,
                    "port": port,
                }
                hop = "Connection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nX-Kept: 1\r\n"
                body = b"" if method == "HEAD" else json.dumps(told).encode()
                writer.write(answer(body, hop))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


asyncio.run(main())
