"""A phone that can register, for the scripts here: UDP, digest (RFC 3261, RFC 8760)."""

import hashlib
import re
import secrets
import socket


def status(answer):
    return int(answer.split(" ", 2)[1])


class Phone:
    """`address` with its password; every contact it registers is its own choice."""

    def __init__(self, server, address, password, algorithm="SHA-256", patience=3):
        host, port = server.rsplit(":", 1)
        self.address, self.password, self.algorithm = address, password, algorithm
        self.user, self.domain = address.split("@")
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(patience)
        self.socket.connect((host, int(port)))
        self.local = "%s:%d" % self.socket.getsockname()
        self.call, self.tag, self.sequence = secrets.token_hex(8), secrets.token_hex(4), 0

    def register(self, contact, expires, authorization=None):
        """One REGISTER and its answer. Raises OSError where there is none."""
        self.sequence += 1
        branch = secrets.token_hex(8)
        lines = [
            f"REGISTER sip:{self.domain} SIP/2.0",
            f"Via: SIP/2.0/UDP {self.local};branch=z9hG4bK{branch};rport",
            "Max-Forwards: 70",
            f"From: <sip:{self.address}>;tag={self.tag}",
            f"To: <sip:{self.address}>",
            f"Call-ID: {self.call}",
            f"CSeq: {self.sequence} REGISTER",
            f"Contact: <{contact}>",
            f"Expires: {expires}",
        ]
        if authorization:
            lines.append(authorization)
        self.socket.send(("\r\n".join(lines + ["Content-Length: 0", "", ""])).encode())
        while True:
            answer = self.socket.recv(65535).decode()
            if branch in answer:
                return answer

    def authenticated(self, contact, expires):
        """REGISTER, the challenge's answer, and what came of it."""
        challenge = self.register(contact, expires)
        assert status(challenge) == 401, challenge
        assert re.search(r"algorithm=SHA-256", challenge), "SHA-256 is not offered\n" + challenge
        return self.register(contact, expires, self.answer_to(challenge))

    def digest(self, text):
        hash = hashlib.sha256 if self.algorithm == "SHA-256" else hashlib.md5
        return hash(text.encode()).hexdigest()

    def answer_to(self, challenge):
        for line in challenge.split("\r\n"):
            if not line.lower().startswith("www-authenticate:"):
                continue
            fields = dict(re.findall(r'(\w+)="?([^",]*)"?', line))
            if fields.get("algorithm", "MD5") != self.algorithm:
                continue
            nonce, realm = fields["nonce"], fields["realm"]
            uri, nc, cnonce = f"sip:{self.domain}", "00000001", secrets.token_hex(8)
            ha1 = self.digest(f"{self.user}:{realm}:{self.password}")
            ha2 = self.digest(f"REGISTER:{uri}")
            response = self.digest(f"{ha1}:{nonce}:{nc}:{cnonce}:auth:{ha2}")
            return (
                f'Authorization: Digest username="{self.user}", realm="{realm}", nonce="{nonce}", '
                f'uri="{uri}", response="{response}", algorithm={self.algorithm}, qop=auth, '
                f'nc={nc}, cnonce="{cnonce}"'
            )
        raise AssertionError(f"no challenge for {self.algorithm} in\n{challenge}")
