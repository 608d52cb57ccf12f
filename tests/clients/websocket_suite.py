"""A websocket server behaves behind omnid as it does in front of it.

    websocket_suite.py DIRECT-PORT PROXY-PORT PATH RELOAD-COMMAND...

Over 350 cases in the groups of Autobahn's suite (framing, pings, reserved bits and opcodes, fragments,
UTF-8, closing, sizes) are played as raw frames, in one piece and chopped, to the server itself and
through the proxy: what comes back must be the same frames, or the same end where the server is to
refuse, and what ought to be echoed is. Then 1,000
sockets are opened through the proxy and the command is run; all of them must still echo.
"""

import asyncio
import base64
import hashlib
import os
import resource
import struct
import sys

DIRECT, PROXY, PATH = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
SOCKETS = 1000
# Said last where nothing is wrong: when it has come back, everything has.
DONE = b"that was all"
MASK = bytes.fromhex("37fa213d")


def frame(opcode, payload=b"", fin=True, reserved=0, masked=True):
    head = bytes([(0x80 if fin else 0) | reserved << 4 | opcode])
    bit = 0x80 if masked else 0
    if len(payload) < 126:
        head += bytes([bit | len(payload)])
    elif len(payload) < 65536:
        head += bytes([bit | 126]) + struct.pack("!H", len(payload))
    else:
        head += bytes([bit | 127]) + struct.pack("!Q", len(payload))
    if not masked:
        return head + payload
    mask = (MASK * (len(payload) // 4 + 1))[: len(payload)]
    mixed = int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")
    return head + MASK + mixed.to_bytes(len(payload), "big")


def close(code=1000, reason=b""):
    return frame(8, struct.pack("!H", code) + reason)


def cases():
    """(name, bytes that are sent, what must be echoed; None where the server may say no)"""
    text, binary = 1, 2
    for kind in (text, binary):
        for size in (0, 1, 124, 125, 126, 127, 128, 65_534, 65_535, 65_536, 300_000):
            yield f"1 framing {kind} {size}", frame(kind, b"*" * size), [b"*" * size]
    for size in (0, 1, 124, 125):
        yield f"2 ping {size}", frame(9, b"\xfe" * size), []
    yield "2 ping too long", frame(9, b"\xfe" * 126), None
    yield "2 pong unasked", frame(10, b"x") + frame(text, b"after"), [b"after"]
    yield "2 ten pings", b"".join(frame(9, bytes([48 + i])) for i in range(10)), []
    for reserved in range(1, 8):
        yield f"3 reserved {reserved}", frame(text, b"ok") + frame(text, b"bad", reserved=reserved), None
        yield f"3 reserved ping {reserved}", frame(9, b"bad", reserved=reserved), None
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        yield f"4 opcode {opcode}", frame(opcode), None
        yield f"4 opcode {opcode} after text", frame(text, b"ok") + frame(opcode, b"x"), None
    yield "4 not masked", frame(text, b"bare", masked=False), None
    for pieces in range(2, 20):
        whole = frame(text, b"a", fin=False) + b"".join(frame(0, b"b", fin=False) for _ in range(pieces - 2)) + frame(0, b"c")
        yield f"5 fragments {pieces}", whole, [b"a" + b"b" * (pieces - 2) + b"c"]
    yield "5 ping within", frame(text, b"a", fin=False) + frame(9, b"ping") + frame(0, b"b"), [b"ab"]
    yield "5 ping in fragments", frame(9, b"a", fin=False) + frame(0, b"b"), None
    yield "5 nothing to go on with", frame(0, b"b"), None
    yield "5 text within", frame(text, b"a", fin=False) + frame(text, b"b"), None
    yield "5 empty fragments", frame(text, fin=False) + frame(0, fin=False) + frame(0), [b""]
    good = ["Hello-µ@ßöäüàá-UTF-8!!", "κόσμε", "\U0001f600", "\ufffd", "\x7f", "\x80", "\u07ff", "\u0800", "\uffff", "\U00010000", "\U0010ffff", "\ud7ff", "\ue000"]
    for word in good:
        raw = word.encode()
        yield f"6 {word!r}", frame(text, raw), [raw]
        if len(raw) > 1:
            yield f"6 {word!r} split", frame(text, raw[:1], fin=False) + frame(0, raw[1:]), [raw]
    bad = ["cebae1bdb9cf83cebcceb5eda080656469746564", "80", "bf", "c0", "fe", "ff", "c0af", "e080af", "f08080af", "f8808080af", "c1bf", "eda080", "edbfbf", "f4908080", "ce", "cebae1", "f7bfbfbf"]
    for word in bad:
        yield f"6 not UTF-8 {word}", frame(text, bytes.fromhex(word)), None
        yield f"6 not UTF-8 {word} after good", frame(text, b"ok", fin=False) + frame(0, bytes.fromhex(word)), None
    for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999):
        yield f"7 close {code}", close(code, b"reason"), None
    for code in (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65535):
        yield f"7 close {code} is none", close(code), None
    yield "7 close empty", frame(8), None
    yield "7 close of one byte", frame(8, b"x"), None
    yield "7 close too long", close(1000, b"*" * 124), None
    yield "7 close longest", close(1000, b"*" * 123), None
    yield "7 close not UTF-8", close(1000, bytes.fromhex("ceba80")), None
    yield "7 text after close", close() + frame(text, b"late"), None
    yield "7 close within fragments", frame(text, b"a", fin=False) + close(), None
    for size in (1 << 16, 1 << 18, 1 << 19, 900_000):
        yield f"9 size {size}", frame(binary, b"\x5a" * size), [b"\x5a" * size]
        step = 65_536
        parts = [frame(binary if at == 0 else 0, b"\x5a" * min(step, size - at), fin=at + step >= size) for at in range(0, size, step)]
        yield f"9 size {size} in fragments", b"".join(parts), [b"\x5a" * size]
    yield "9 too large", frame(binary, b"\x5a" * ((1 << 20) + 1)), None
    yield "10 a thousand messages", b"".join(frame(text, b"%d" % at) for at in range(1000)), [b"%d" % at for at in range(1000)]


def messages(stream):
    """Frames of a server: what was echoed, and all of them as (opcode, payload)."""
    frames, echoed, at, open_message = [], [], 0, b""
    while at + 2 <= len(stream):
        first, length = stream[at], stream[at + 1] & 0x7F
        at += 2
        if length == 126:
            length, at = struct.unpack_from("!H", stream, at)[0], at + 2
        elif length == 127:
            length, at = struct.unpack_from("!Q", stream, at)[0], at + 8
        payload, at = stream[at : at + length], at + length
        frames.append((first, payload))
        if first & 0x0F in (0, 1, 2):
            open_message += payload
            if first & 0x80:
                echoed.append(open_message)
                open_message = b""
    return echoed, frames


async def connect(port):
    reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 30)
    key = base64.b64encode(os.urandom(16))
    writer.write(b"GET " + PATH.encode() + b" HTTP/1.1\r\nHost: sockets.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n")
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    assert head.startswith(b"HTTP/1.1 101 ") and accept in head, head
    return reader, writer


def end(frames):
    """The code that a server closes with."""
    for first, payload in frames:
        if first == 0x88:
            return int.from_bytes(payload[:2], "big")
    return None


async def play(port, sent, chopped):
    """What comes back, and whether all of it does: a server that has said no may reset."""
    reader, writer = await connect(port)
    whole = True

    async def say():
        try:
            if chopped:
                for at in range(0, len(sent), 7):
                    writer.write(sent[at : at + 7])
                    await writer.drain()
                    await asyncio.sleep(0)
            else:
                writer.write(sent)
            await writer.drain()
        except ConnectionError:
            pass  # The server has said no before it heard all.

    saying = asyncio.ensure_future(say())
    heard = b""
    try:
        while piece := await asyncio.wait_for(reader.read(1 << 16), 30):
            heard += piece
            if heard.endswith(DONE):
                writer.write(close())
    except ConnectionError:
        whole = False
    await saying
    writer.close()
    return *messages(heard), whole


async def conform():
    bound, wrong = asyncio.Semaphore(16), []

    async def one(name, sent, expected, chopped):
        # A server that is to say no ends by itself; what it echoes before that is a matter of time.
        if expected is not None:
            sent, expected = sent + frame(1, DONE), [*expected, DONE]
        async with bound:
            direct, proxied = await asyncio.gather(play(DIRECT, sent, chopped), play(PROXY, sent, chopped))
        if expected is None:
            same = end(direct[1]) == end(proxied[1]) or not (direct[2] and proxied[2])
        else:
            same = direct[1] == proxied[1]
        if not same:
            wrong.append(f"{name}: {str(direct[1])[:200]} itself, {str(proxied[1])[:200]} behind the proxy")
        if expected is not None and proxied[0] != expected:
            wrong.append(f"{name}: not echoed: {str(proxied[0])[:200]}")

    played = []
    for name, sent, expected in cases():
        played.append(one(name, sent, expected, False))
        if len(sent) < 2000:
            played.append(one(name + " chopped", sent, expected, True))
    await asyncio.gather(*played)
    print("\n".join(wrong))
    print(f"{len(played)} cases, {len(wrong)} differ")
    return not wrong


async def survive():
    sockets = []
    for _ in range(SOCKETS // 50):
        sockets += await asyncio.gather(*(connect(PROXY) for _ in range(50)))

    async def echoes(number, socket, word):
        reader, writer = socket
        message = b"%s %d" % (word, number)
        writer.write(frame(1, message))
        expected = bytes([0x81, len(message)]) + message
        return await asyncio.wait_for(reader.readexactly(len(expected)), 30) == expected

    async def all_echo(word):
        answers = await asyncio.gather(*(echoes(at, socket, word) for at, socket in enumerate(sockets)), return_exceptions=True)
        return sum(answer is True for answer in answers)

    before = await all_echo(b"before")
    command = await asyncio.create_subprocess_exec(*sys.argv[4:])
    assert await command.wait() == 0
    after = await all_echo(b"after")
    print(f"{len(sockets)} sockets, {before} echo before the reload, {after} after it")
    for _, writer in sockets:
        writer.close()
    return before == after == SOCKETS


async def main():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    good = await conform()
    sys.exit(0 if await survive() and good else 1)


asyncio.run(main())
