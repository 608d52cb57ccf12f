"""Opens TLS connections to several ports, spread evenly, and says nothing on any of them.

    tls_idle.py PORT... COUNT

Prints `COUNT open`, and ends when the server has closed them all.
"""

import socket
import ssl
import sys
from concurrent.futures import ThreadPoolExecutor

*ports, count = map(int, sys.argv[1:])
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE


def connect(number):
    plain = socket.socket()
    plain.settimeout(90)
    plain.bind((f"127.0.78.{1 + number % 10}", 0))
    plain.connect(("127.0.0.1", ports[number % len(ports)]))
    return context.wrap_socket(plain, server_hostname="example.test")


with ThreadPoolExecutor(8) as pool:
    streams = list(pool.map(connect, range(count)))
print(f"{len(streams)} open", flush=True)
for stream in streams:
    try:
        while stream.recv(4096):
            pass
    except socket.timeout:
        sys.exit("still open")
    except OSError:
        pass
