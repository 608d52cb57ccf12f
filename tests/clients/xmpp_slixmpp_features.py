"""slixmpp's own idea of archives, blocking, pictures, rooms and metadata, against the server.

    xmpp_slixmpp_features.py PLAIN_ADDRESS TLS_ADDRESS
"""

import asyncio
import hashlib
import ssl
import sys

import slixmpp
from slixmpp.exceptions import IqError

plain = sys.argv[1].rsplit(":", 1)
LIMIT = 10
ROOM = "slix@rooms.one.test"


class Client(slixmpp.ClientXMPP):
    def __init__(self, user):
        super().__init__(f"{user}@one.test/slix", f"secret-{user}")
        for plugin in ("0030", "0045", "0054", "0059", "0060", "0084", "0115", "0153", "0163", "0191", "0198", "0199", "0313", "0359", "0421"):
            self.register_plugin(f"xep_{plugin}")
        self.enable_plaintext = False
        self.ssl_context.check_hostname = False
        self.ssl_context.verify_mode = ssl.CERT_NONE
        self.messages = asyncio.Queue()
        self.add_event_handler("message", self.messages.put_nowait)

    async def enter(self):
        self.connect(plain[0], int(plain[1]))
        await asyncio.wait_for(self.wait_until("session_start", LIMIT), LIMIT)
        self.send_presence()
        await self.get_roster()
        return self

    async def message(self, kind):
        while True:
            message = await asyncio.wait_for(self.messages.get(), LIMIT)
            if message["type"] == kind:
                return message


async def main():
    alice, bob = await Client("alice").enter(), await Client("bob").enter()

    # An archive in pages.
    for n in range(12):
        alice.send_message("bob@one.test", f"number {n}", mtype="chat")
    for n in range(12):
        assert (await bob.message("chat"))["body"] == f"number {n}"
    await alice.plugin["xep_0199"].ping("one.test")
    seen = []
    async for message in bob.plugin["xep_0313"].iterate(rsm={"max": 5}, with_jid=slixmpp.JID("alice@one.test")):
        seen.append(message["mam_result"]["forwarded"]["stanza"]["body"])
    assert seen == [f"number {n}" for n in range(12)], seen
    metadata = await bob.plugin["xep_0313"].get_archive_metadata()
    assert metadata["mam_metadata"]["start"]["id"], metadata

    # Blocking.
    blocking = alice.plugin["xep_0191"]
    await blocking.block(slixmpp.JID("bob@one.test"))
    assert await blocking.get_blocked_jids() == {slixmpp.JID("bob@one.test")}
    try:
        await bob.plugin["xep_0199"].send_ping("alice@one.test/slix", timeout=LIMIT)
        raise AssertionError("bob reaches alice")
    except IqError as error:
        assert error.condition == "service-unavailable", error.condition
    await blocking.unblock(slixmpp.JID("bob@one.test"))
    assert await blocking.get_blocked_jids() == set()

    # A picture, published one way and seen the other.
    picture = b"not really a picture"
    avatar = alice.plugin["xep_0084"]
    number = avatar.generate_id(picture)
    await avatar.publish_avatar(picture)
    await avatar.publish_avatar_metadata({"id": number, "type": "image/png", "bytes": len(picture)})
    card = await bob.plugin["xep_0054"].get_vcard("alice@one.test", cached=False)
    assert card["vcard_temp"]["PHOTO"]["BINVAL"] == picture
    second = b"another picture"
    await alice.plugin["xep_0153"].set_avatar(avatar=second, mtype="image/png")
    node = await alice.plugin["xep_0060"].get_items("alice@one.test", "urn:xmpp:avatar:metadata")
    assert [i["id"] for i in node["pubsub"]["items"]] == [hashlib.sha1(second).hexdigest()]

    # A room.
    rooms = alice.plugin["xep_0045"]
    await rooms.join_muc_wait(ROOM, "al", timeout=LIMIT)
    form = await rooms.get_room_config(ROOM)
    form["values"] = {**form["values"], "muc#roomconfig_roomname": "Slix", "muc#roomconfig_persistentroom": True}
    form["type"] = "submit"
    await rooms.set_room_config(ROOM, form)
    await bob.plugin["xep_0045"].join_muc_wait(ROOM, "bo", timeout=LIMIT)
    bob.send_message(ROOM, "to all", mtype="groupchat")
    heard = await alice.message("groupchat")
    while heard["body"] != "to all":
        heard = await alice.message("groupchat")
    assert heard["mucnick"] == "bo" and heard["occupant-id"]["id"], heard
    await rooms.set_affiliation(ROOM, "member", jid=slixmpp.JID("bob@one.test"))
    members = await rooms.get_affiliation_list(ROOM, "member")
    assert [str(m) for m in members] == ["bob@one.test"], members
    await rooms.destroy(ROOM)
    for client in (alice, bob):
        await client.disconnect()


asyncio.run(main())
