"""Registers a contact over UDP with digest authentication, and removes it again.

    sip_register.py [tcp:|tls:]ADDRESS:PORT USER@DOMAIN PASSWORD ALGORITHM [keep]

The server's certificate is verified by SSL_CERT_FILE.

With `keep`, the contact stays registered.

Exits with 0 where the registrar's answers are those of RFC 3261 and RFC 8760.
"""

import hashlib
import re
import secrets
import socket
import ssl
import sys

server, address, password, algorithm = sys.argv[1:5]
transport, server = server.split(":", 1) if server[:4] in ("tcp:", "tls:") else ("udp", server)
host, port = server.rsplit(":", 1)
user, domain = address.split("@")
kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
sock = socket.socket(socket.AF_INET, kind)
sock.settimeout(3)
sock.connect((host, int(port)))
if transport == "tls":
    sock = ssl.create_default_context().wrap_socket(sock, server_hostname=domain)
local = "%s:%d" % sock.getsockname()
call = secrets.token_hex(8)
tag = secrets.token_hex(4)
sequence = 0


def register(expires, authorization=None):
    global sequence
    sequence += 1
    lines = [
        f"REGISTER sip:{domain} SIP/2.0",
        f"Via: SIP/2.0/{transport.upper()} {local};branch=z9hG4bK{secrets.token_hex(8)};rport",
        "Max-Forwards: 70",
        f"From: <sip:{address}>;tag={tag}",
        f"To: <sip:{address}>",
        f"Call-ID: {call}",
        f"CSeq: {sequence} REGISTER",
        f"Contact: <sip:{user}@{local};transport={transport}>",
        f"Expires: {expires}",
    ]
    if authorization:
        lines.append(authorization)
    sock.send(("\r\n".join(lines + ["Content-Length: 0", "", ""])).encode())
    return sock.recv(65535).decode()


def status(answer):
    return int(answer.split(" ", 2)[1])


def digest(text):
    return (hashlib.sha256 if algorithm == "SHA-256" else hashlib.md5)(text.encode()).hexdigest()


def answer_to(challenge):
    for line in challenge.split("\r\n"):
        if not line.lower().startswith("www-authenticate:"):
            continue
        fields = dict(re.findall(r'(\w+)="?([^",]*)"?', line))
        if fields.get("algorithm", "MD5") != algorithm:
            continue
        nonce, realm = fields["nonce"], fields["realm"]
        uri, nc, cnonce = f"sip:{domain}", "00000001", secrets.token_hex(8)
        ha1 = digest(f"{user}:{realm}:{password}")
        ha2 = digest(f"REGISTER:{uri}")
        response = digest(f"{ha1}:{nonce}:{nc}:{cnonce}:auth:{ha2}")
        return (
            f'Authorization: Digest username="{user}", realm="{realm}", nonce="{nonce}", '
            f'uri="{uri}", response="{response}", algorithm={algorithm}, qop=auth, nc={nc}, '
            f'cnonce="{cnonce}"'
        )
    sys.exit(f"no challenge for {algorithm} in\n{challenge}")


def authenticated(expires):
    challenge = register(expires)
    assert status(challenge) == 401, challenge
    assert re.search(r"algorithm=SHA-256", challenge), "SHA-256 is not offered\n" + challenge
    return register(expires, answer_to(challenge))


accepted = authenticated(300)
assert status(accepted) == 200, accepted
assert re.search(rf"(?im)^(contact|m):.*sip:{user}@{re.escape(local)}", accepted), accepted
if sys.argv[5:] == ["keep"]:
    print("registered")
    sys.exit()
removed = authenticated(0)
assert status(removed) == 200, removed
assert local not in "\n".join(
    line for line in removed.split("\r\n") if line.lower().startswith(("contact:", "m:"))
), removed
print("registered and removed")
