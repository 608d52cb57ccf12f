"""slixmpp against the server: two people find each other, talk, and leave.

    xmpp_slixmpp.py PLAIN_ADDRESS TLS_ADDRESS
"""

import asyncio
import ssl
import sys

import slixmpp
from slixmpp.exceptions import IqError

plain, tls = (address.rsplit(":", 1) for address in sys.argv[1:3])
LIMIT = 10


class Client(slixmpp.ClientXMPP):
    def __init__(self, user, resource, direct=False, password=None):
        super().__init__(f"{user}@one.test/{resource}", password or f"secret-{user}")
        for plugin in ("0012", "0030", "0049", "0054", "0092", "0198", "0199", "0202", "0203", "0280"):
            self.register_plugin(f"xep_{plugin}")
        self.enable_direct_tls = direct
        self.enable_starttls = not direct
        self.enable_plaintext = False
        self.ssl_context.check_hostname = False
        self.ssl_context.verify_mode = ssl.CERT_NONE
        self.address = tls if direct else plain
        self.auto_authorize = None
        self.messages = asyncio.Queue()
        self.presences = asyncio.Queue()
        self.failed = asyncio.get_event_loop().create_future()
        self.add_event_handler("message", self.messages.put_nowait)
        self.add_event_handler("presence", self.presences.put_nowait)
        self.add_event_handler("failed_auth", lambda _: self.failed.done() or self.failed.set_result(True))

    async def enter(self):
        self.connect(self.address[0], int(self.address[1]))
        await asyncio.wait_for(self.wait_until("session_start", LIMIT), LIMIT)
        self.send_presence()
        await self.get_roster()
        return self

    async def message(self):
        return await asyncio.wait_for(self.messages.get(), LIMIT)

    async def presence(self, sender, kind):
        """The next presence of that kind from there; others are passed over."""
        while True:
            presence = await asyncio.wait_for(self.presences.get(), LIMIT)
            if presence["from"].bare == sender and presence["type"] == kind:
                return presence

    async def subscription(self, contact, state):
        """Waits until the roster says so."""
        async with asyncio.timeout(LIMIT):
            while self.client_roster[contact]["subscription"] != state:
                await asyncio.sleep(0.01)

    async def leave(self):
        await self.disconnect()


async def main():
    alice = await Client("alice", "slix").enter()
    bob = await Client("bob", "slix", direct=True).enter()

    # A conversation.
    alice.send_message("bob@one.test", "hello bob", mtype="chat")
    message = await bob.message()
    assert (message["body"], message["from"].full) == ("hello bob", "alice@one.test/slix")
    message.reply("hello alice").send()
    assert (await alice.message())["body"] == "hello alice"

    # What the server says of itself.
    info = await alice.plugin["xep_0030"].get_info("one.test")
    assert ("server", "im", None, "omnid") in info["disco_info"]["identities"], info
    assert "urn:xmpp:ping" in info["disco_info"]["features"]
    assert await alice.plugin["xep_0199"].ping("one.test") < 1
    version = await alice.plugin["xep_0092"].get_version("one.test")
    assert version["software_version"]["name"] == "omnid"
    assert (await alice.plugin["xep_0012"].get_last_activity("one.test"))["last_activity"]["seconds"] < 100
    now = await alice.plugin["xep_0202"].get_entity_time("one.test")
    assert now["entity_time"].xml.find("{urn:xmpp:time}utc").text.endswith("Z"), now
    card = alice.plugin["xep_0054"].make_vcard()
    card["FN"] = "Alice"
    await alice.plugin["xep_0054"].publish_vcard(card)
    seen = await bob.plugin["xep_0054"].get_vcard("alice@one.test", cached=False)
    assert seen["vcard_temp"]["FN"] == "Alice", seen

    # Strangers see nothing of each other; then they ask, and both agree.
    try:
        await bob.plugin["xep_0012"].get_last_activity("alice@one.test")
        raise AssertionError("a stranger knows when alice was there")
    except IqError as error:
        assert error.condition == "forbidden", error.condition
    alice.send_presence_subscription("bob@one.test", ptype="subscribe")
    await bob.presence("alice@one.test", "subscribe")
    bob.send_presence_subscription("alice@one.test", ptype="subscribed")
    await alice.subscription("bob@one.test", "to")
    await alice.presence("bob@one.test", "available")
    bob.send_presence_subscription("alice@one.test", ptype="subscribe")
    await alice.presence("bob@one.test", "subscribe")
    alice.send_presence_subscription("bob@one.test", ptype="subscribed")
    await alice.subscription("bob@one.test", "both")
    await bob.subscription("alice@one.test", "both")

    # Each sees the other come and go.
    alice.send_presence(pshow="away", pstatus="at lunch")
    away = await bob.presence("alice@one.test", "away")
    assert away["status"] == "at lunch"
    second = await Client("bob", "second").enter()
    assert (await second.presence("alice@one.test", "away"))["status"] == "at lunch"
    # Both of bob's clients see the conversation, whichever holds it.
    for client in (bob, second):
        await client.plugin["xep_0280"].enable()
    copies = asyncio.Queue()
    second.add_event_handler("carbon_received", copies.put_nowait)
    second.add_event_handler("carbon_sent", copies.put_nowait)
    alice.send_message("bob@one.test/slix", "to one of you", mtype="chat")
    assert (await bob.message())["body"] == "to one of you"
    copy = await asyncio.wait_for(copies.get(), LIMIT)
    assert copy["carbon_received"]["body"] == "to one of you", copy
    bob.send_message("alice@one.test", "from one of us", mtype="chat")
    assert (await alice.message())["body"] == "from one of us"
    copy = await asyncio.wait_for(copies.get(), LIMIT)
    assert copy["carbon_sent"]["body"] == "from one of us", copy
    await second.leave()
    await alice.presence("bob@one.test", "unavailable")
    assert (await bob.plugin["xep_0012"].get_last_activity("alice@one.test"))["last_activity"]["seconds"] == 0

    # A message for who isn't there.
    bob.send_message("carol@one.test", "are you there?", mtype="chat")
    await bob.plugin["xep_0199"].ping("one.test")
    carol = await Client("carol", "slix").enter()
    kept = await carol.message()
    assert kept["body"] == "are you there?" and kept["delay"]["stamp"], kept

    # It is over.
    alice.del_roster_item("bob@one.test")
    await bob.subscription("alice@one.test", "none")
    await bob.presence("alice@one.test", "unavailable")

    wrong = Client("alice", "wrong", password="no such password")
    wrong.connect(wrong.address[0], int(wrong.address[1]))
    await asyncio.wait_for(wrong.failed, LIMIT)
    wrong.abort()
    for client in (alice, bob, carol):
        await client.leave()


asyncio.run(main())
