"""Logins that say at once what they want: SASL2, Bind 2, FAST (XEP-0388, 0386, 0484).

    xmpp_login.py NAME PLAIN_ADDRESS TLS_ADDRESS [ARGUMENT…]
"""

import base64
import hashlib
import hmac
import os
import sys
import time

from xmpp_raw import CLIENT, SM, STREAM, Stream, login

name, plain, tls = sys.argv[1:4]
arguments = sys.argv[4:]
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
SASL2 = "urn:xmpp:sasl:2"
BIND2 = "urn:xmpp:bind:0"
FAST = "urn:xmpp:fast:0"
MAM = "urn:xmpp:mam:2"
AGENT = "<user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'><software>test</software></user-agent>"
BIND = f"<bind xmlns='{BIND2}'><tag>Test</tag></bind>"


def equal(seen, expected, what=""):
    if seen != expected:
        sys.exit(f"{what}: {seen!r} where {expected!r} was expected")


class Client(Stream):
    def __init__(self, user="alice", password=None):
        super().__init__(tls, "one.test", direct=True)
        self.user, self.password = user, password or f"secret-{user}"
        self.rounds = 0
        self.offer = self.open()

    def open(self):
        self.restart()
        self.send(
            f"<?xml version='1.0'?><stream:stream to='one.test' from='{self.user}@one.test' version='1.0' "
            f"xmlns='{CLIENT}' xmlns:stream='{STREAM}'>"
        )
        return self.wait(lambda e: e.name == "features")

    def authenticate(self, mechanism, message, inside=""):
        self.rounds += 1
        data = base64.b64encode(message).decode()
        self.send(f"<authenticate xmlns='{SASL2}' mechanism='{mechanism}'><initial-response>{data}</initial-response>{inside}</authenticate>")
        return self.next()

    def scram(self, inside="", mechanism="SCRAM-SHA-256", hashed=True):
        """The server's answer to the proof."""
        digest = mechanism.removesuffix("-PLUS").removeprefix("SCRAM-").replace("-", "").lower()
        plus = mechanism.endswith("-PLUS")
        header = "p=tls-server-end-point,," if plus else "n,,"
        nonce = base64.b64encode(os.urandom(18)).decode().replace(",", "x")
        bare = f"n={self.user},r={nonce}"
        answer = self.authenticate(mechanism, (header + bare).encode(), inside)
        equal((answer.ns, answer.name), (SASL2, "challenge"), answer)
        challenge = base64.b64decode(answer.text).decode()
        parts = dict(part.split("=", 1) for part in challenge.split(","))
        # XEP-0474: what came here as offered is what was offered.
        offered = [m.text for m in self.offer.find("authentication", SASL2).all("mechanism")]
        bindings = [b.get("type") for b in self.offer.find("sasl-channel-binding").children]
        text = "\x1e".join(sorted(offered)) + "\x1f" + "\x1e".join(sorted(bindings))
        equal(parts["h"], base64.b64encode(hashlib.new(digest, text.encode()).digest()).decode())
        salted = hashlib.pbkdf2_hmac(digest, self.password.encode(), base64.b64decode(parts["s"]), int(parts["i"]))
        sign = lambda key, text: hmac.new(key, text, digest).digest()
        client_key = sign(salted, b"Client Key")
        stored = hashlib.new(digest, client_key).digest()
        channel = base64.b64encode(header.encode() + (self.end_point() if plus else b"")).decode()
        without = f"c={channel},r={parts['r']}"
        signed = f"{bare},{challenge},{without}".encode()
        proof = bytes(a ^ b for a, b in zip(client_key, sign(stored, signed)))
        final = base64.b64encode(f"{without},p={base64.b64encode(proof).decode()}".encode()).decode()
        self.rounds += 1
        self.send(f"<response xmlns='{SASL2}'>{final}</response>")
        answer = self.next()
        if answer.name == "success":
            expected = b"v=" + base64.b64encode(sign(sign(salted, b"Server Key"), signed))
            equal(base64.b64decode(answer.find("additional-data").text), expected)
            equal(self.next().name, "features")
            self.jid = answer.find("authorization-identifier").text
        return answer

    def fast(self, token, mechanism="HT-SHA-256-NONE", attrs="", inside=BIND, agent=AGENT):
        bound = {"HT-SHA-256-NONE": b"", "HT-SHA-256-ENDP": self.end_point()}[mechanism]
        sign = lambda who: hmac.new(token.encode(), who + bound, "sha256").digest()
        message = self.user.encode() + b"\0" + sign(b"Initiator")
        answer = self.authenticate(mechanism, message, f"<fast xmlns='{FAST}' {attrs}/>{agent}{inside}")
        if answer.name == "success":
            equal(base64.b64decode(answer.find("additional-data").text), sign(b"Responder"))
            equal(self.next().name, "features")
            self.jid = answer.find("authorization-identifier").text
        return answer


def wish(mechanism="HT-SHA-256-NONE"):
    return f"<request-token xmlns='{FAST}' mechanism='{mechanism}'/>"


def condition(answer):
    equal((answer.ns, answer.name, answer.children[0].ns), (SASL2, "failure", SASL), answer)
    return answer.children[0].name


def sasl2():
    client = Client()
    offer = client.offer.find("authentication", SASL2)
    inline = offer.find("inline")
    equal([f.get("var") for f in inline.find("bind", BIND2).find("inline").children], ["urn:xmpp:carbons:2", "urn:xmpp:csi:0", SM])
    assert inline.find("sm", SM)
    equal([m.text for m in inline.find("fast", FAST).children], ["HT-SHA-256-EXPR", "HT-SHA-256-ENDP", "HT-SHA-256-NONE"])
    # Something for the archive, which the one who binds is told of.
    bob = login(plain, "bob@one.test", "secret-bob", "y")
    bob.message("alice@one.test", "before")
    bob.sync()
    for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-512-PLUS"):
        client = Client()
        inside = f"<bind xmlns='{BIND2}'><tag>Test</tag><enable xmlns='{SM}' resume='true'/><enable xmlns='urn:xmpp:carbons:2'/></bind>"
        answer = client.scram(inside, mechanism)
        equal(answer.name, "success", answer)
        # Two rounds after TLS, and there is a session.
        equal(client.rounds, 2)
        assert client.jid.startswith("alice@one.test/Test/"), client.jid
        bound = answer.find("bound", BIND2)
        enabled = bound.find("enabled", SM)
        assert enabled.get("id") and enabled.get("resume") == "true", enabled
        assert bound.find("metadata", MAM).find("end"), bound
        if mechanism != "SCRAM-SHA-512-PLUS":
            client.close()
    client.send("<presence/>")
    client.wait(lambda e: e.name == "presence" and e.get("from") == client.jid)
    # Carbons are on.
    other = login(plain, "alice@one.test", "secret-alice", "x")
    other.message("bob@one.test", "copied")
    copy = client.wait(lambda e: e.name == "message" and e.find("sent"))
    equal(copy.find("sent").ns, "urn:xmpp:carbons:2")
    # Taken up again, with the proof of the next login.
    client.cut()
    bob.message(client.jid, "meanwhile")
    bob.sync()
    again = Client()
    answer = again.scram(f"<resume xmlns='{SM}' previd='{enabled.get('id')}' h='0'/>{BIND}")
    equal((answer.name, again.jid), ("success", client.jid), answer)
    resumed = answer.find("resumed", SM)
    equal((resumed.get("previd"), resumed.get("h"), answer.find("bound")), (enabled.get("id"), "1", None))
    again.wait(lambda e: e.name == "message" and e.body() == "meanwhile")
    # One that never was; then a new one in the same breath.
    third = Client("carol")
    answer = third.scram(f"<resume xmlns='{SM}' previd='{enabled.get('id')}' h='0'/>{BIND}")
    equal(answer.find("failed", SM).children[0].name, "item-not-found")
    assert answer.find("bound", BIND2) and third.jid.startswith("carol@one.test/Test/")
    # Without a resource the stream goes on as ever.
    fourth = Client("carol")
    equal(fourth.scram().find("authorization-identifier").text, "carol@one.test")
    equal(fourth.bind("z"), "carol@one.test/z")
    # Left alone from the start: what can wait does.
    fifth = Client("carol")
    fifth.scram(f"<bind xmlns='{BIND2}'><inactive xmlns='urn:xmpp:csi:0'/></bind>")
    fifth.send("<presence/>")
    bob.send(f"<message to='{fifth.jid}' type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>")
    bob.sync()
    fifth.send("<active xmlns='urn:xmpp:csi:0'/>")
    fifth.wait(lambda e: e.name == "message" and e.find("composing"))


def sasl2_wrong():
    wrong = Client(password="wrong")
    equal(condition(wrong.scram(BIND)), "not-authorized")
    wrong.password = "secret-alice"
    equal(wrong.scram(BIND).name, "success")
    wrong.send(f"<authenticate xmlns='{SASL2}' mechanism='PLAIN'/>")
    equal(wrong.wait_end(), "unsupported-stanza-type")
    client = Client()
    equal(condition(client.authenticate("EXTERNAL", b"x")), "invalid-mechanism")
    equal(condition(client.authenticate("HT-SHA-256-UNIQ", b"x", f"<fast xmlns='{FAST}'/>{AGENT}")), "invalid-mechanism")
    equal(condition(client.authenticate("PLAIN", b"\0bob\0secret-bob")), "invalid-authzid")
    # Nothing of it in clear.
    clear = Stream(plain, "one.test")
    features = clear.open()
    equal([f.name for f in features.children], ["starttls"])
    clear.send(f"<authenticate xmlns='{SASL2}' mechanism='PLAIN'/>")
    equal(clear.wait_end(), "not-authorized")


def fast():
    """The token is printed, for the one who comes after a kill."""
    first = Client()
    answer = first.scram(wish() + AGENT + BIND)
    token = answer.find("token", FAST)
    assert token.get("expiry") > time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 20 * 86400)), token
    secret = token.get("token")
    assert len(secret) == 64, secret
    client = Client()
    answer = client.fast(secret)
    equal((answer.name, client.rounds), ("success", 1), answer)
    # The same installation has the same resource, and the earlier session makes room.
    equal(client.jid, first.jid)
    equal(first.wait_end(), "conflict")
    client.send("<presence/>")
    client.sync()
    # For the mechanism, the account and the installation that it was given to.
    for wrong in (
        lambda c: c.fast(secret, "HT-SHA-256-ENDP"),
        lambda c: c.fast(secret[:-1] + "x"),
        lambda c: c.fast(secret, agent=AGENT.replace("d4", "e4")),
    ):
        equal(condition(wrong(Client())), "not-authorized")
    equal(condition(Client("bob").fast(secret)), "not-authorized")
    # Bound to the channel.
    bound = Client("bob").scram(wish("HT-SHA-256-ENDP") + AGENT).find("token", FAST).get("token")
    equal(Client("bob").fast(bound, "HT-SHA-256-ENDP").name, "success")
    equal(condition(Client("bob").fast(bound)), "not-authorized")
    # A new one takes the place of one that was used, once it is used itself.
    client = Client()
    new = client.fast(secret, inside=wish() + BIND).find("token", FAST).get("token")
    equal(Client().fast(secret).name, "success")
    equal(Client().fast(new).name, "success")
    equal(condition(Client().fast(secret)), "not-authorized")
    # The last time.
    carol = Client("carol").scram(wish() + AGENT).find("token", FAST).get("token")
    answer = Client("carol").fast(carol, attrs="invalidate='true'")
    equal((answer.name, answer.find("token")), ("success", None))
    equal(condition(Client("carol").fast(carol)), "not-authorized")
    print(new)


def fast_seen():
    equal(Client().fast(arguments[0]).name, "success")


def fast_void():
    """The password is another."""
    equal(condition(Client().fast(arguments[0])), "not-authorized")
    equal(Client(password=arguments[1]).scram().name, "success")


{f.__name__: f for f in (sasl2, sasl2_wrong, fast, fast_seen, fast_void)}[name]()
