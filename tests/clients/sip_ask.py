"""Sends one request over UDP, with digest authentication (SHA-256) where it is asked for, and prints the
status line of the final response.

    sip_ask.py ADDRESS:PORT USER@DOMAIN PASSWORD METHOD URI
"""

import hashlib
import re
import secrets
import socket
import sys

server, address, password, method, uri = sys.argv[1:6]
host, port = server.rsplit(":", 1)
user, domain = address.split("@")
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.settimeout(5)
sock.connect((host, int(port)))
local = "%s:%d" % sock.getsockname()
call = secrets.token_hex(8)
tag = secrets.token_hex(4)


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def ask(sequence, authorization):
    lines = [
        f"{method} {uri} SIP/2.0",
        f"Via: SIP/2.0/UDP {local};branch=z9hG4bK{secrets.token_hex(8)};rport",
        "Max-Forwards: 70",
        f"From: <sip:{address}>;tag={tag}",
        f"To: <{uri}>",
        f"Call-ID: {call}",
        f"CSeq: {sequence} {method}",
        f"Contact: <sip:{user}@{local}>",
        *authorization,
        "Content-Length: 0",
    ]
    sock.send(("\r\n".join(lines) + "\r\n\r\n").encode())
    while True:
        response = sock.recv(65536).decode()
        if not response.startswith("SIP/2.0 1"):
            return response


response = ask(1, [])
challenge = re.search(r"(?im)^(WWW|Proxy)-Authenticate: Digest (.*algorithm=SHA-256.*)$", response)
if challenge:
    parameters = dict(re.findall(r'(\w+)="?([^",]+)"?', challenge[2]))
    realm, nonce = parameters["realm"], parameters["nonce"]
    cnonce = secrets.token_hex(8)
    ha1 = sha256(f"{user}:{realm}:{password}")
    ha2 = sha256(f"{method}:{uri}")
    digest = sha256(f"{ha1}:{nonce}:00000001:{cnonce}:auth:{ha2}")
    header = "Authorization" if challenge[1].upper() == "WWW" else "Proxy-Authorization"
    response = ask(
        2,
        [
            f'{header}: Digest username="{user}", realm="{realm}", nonce="{nonce}", uri="{uri}", '
            f'response="{digest}", algorithm=SHA-256, cnonce="{cnonce}", nc=00000001, qop=auth'
        ],
    )
print(response.split("\r\n")[0])
