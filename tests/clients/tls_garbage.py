"""Speaks TLS well and then says what makes no sense, to each protocol's TLS port.

    tls_garbage.py DOT_PORT HTTPS_PORT XMPPS_PORT SIPS_PORT

Every connection must be ended by the server, in its protocol's own words or without any. Prints what
came back.
"""

import concurrent.futures
import random
import socket
import ssl
import sys

dot, https, xmpps, sips = map(int, sys.argv[1:])
LIMIT = 40
noise = random.Random(1).randbytes

h2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
sayings = {
    "noise": noise(4096),
    "a line without end": b"A" * (1 << 20),
    "one byte": b"G",
    "nothing": b"",
    "HTTP/2 with noise for frames": h2 + noise(1000),
    "an XMPP stream": b"<stream:stream to='example.test' version='1.0' xmlns='jabber:client' "
    b"xmlns:stream='http://etherx.jabber.org/streams'><a><b>",
    "a frame that never ends": b"\xff\xff" + noise(20),
    "a TLS hello inside TLS": bytes([22, 3, 1, 2, 0]) + noise(512),
}
# ALPN names lead a port's connections to other services.
doors = [
    ("dot", dot, "dot"),
    ("dot", dot, None),
    ("https", https, "h2"),
    ("https", https, "http/1.1"),
    ("https", https, "dot"),
    ("https", https, "xmpp-client"),
    ("https", https, "sip/2"),
    ("xmpps", xmpps, "xmpp-client"),
    ("xmpps", xmpps, None),
    ("sips", sips, None),
]


def connect(port, alpn):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols([alpn])
    plain = socket.create_connection(("127.0.0.1", port), timeout=LIMIT)
    return context.wrap_socket(plain, server_hostname="example.test")


def say(door, what):
    name, port, alpn = door
    stream = connect(port, alpn)
    received = b""
    try:
        stream.sendall(sayings[what])
        while True:
            part = stream.recv(65536)
            if not part:
                break
            received += part
    except socket.timeout:
        sys.exit(f"{name} ({alpn}): {what}: not over in {LIMIT} s")
    except OSError:
        # Reset, or closed without a word: over in any case.
        pass
    return f"  {name} ({alpn}): {what}: {received[:60]!r}"


with concurrent.futures.ThreadPoolExecutor(100) as pool:
    saying = [pool.submit(say, door, what) for door in doors for what in sayings]
    for said in saying:
        print(said.result())

# A protocol that nobody offers: TLS itself says so.
try:
    connect(https, "gopher")
    sys.exit("a handshake for a protocol that there is not")
except ssl.SSLError as error:
    print(f"  https (gopher): {error.reason}")
