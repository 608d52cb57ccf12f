"""People who move from one server to another, by slixmpp: filled in there, found again here.

    xmpp_moving.py fill|seen|login ADDRESS HOST_OF_ROOMS [MECHANISM]

What `fill` finds out (ids of archives) goes to standard output as JSON; `seen` reads it from
standard input.
"""

import asyncio
import json
import ssl
import sys
import xml.etree.ElementTree as ET

import slixmpp

what, address, rooms_host = sys.argv[1], sys.argv[2].rsplit(":", 1), sys.argv[3]
LIMIT = 20
ROOM = f"garden@{rooms_host}"
DEVICES = "eu.siacs.conversations.axolotl.devicelist"
PLUGINS = ("0004", "0030", "0045", "0049", "0054", "0059", "0060", "0163", "0191", "0199", "0203", "0313", "0359", "0402")


class Client(slixmpp.ClientXMPP):
    def __init__(self, user):
        super().__init__(f"{user}@one.test/there", f"secret-{user}", sasl_mech=sys.argv[4] if len(sys.argv) > 4 else None)
        for plugin in PLUGINS:
            self.register_plugin(f"xep_{plugin}")
        self.enable_plaintext = False
        self.ssl_context.check_hostname = False
        self.ssl_context.verify_mode = ssl.CERT_NONE
        self.messages = asyncio.Queue()
        self.add_event_handler("message", self.messages.put_nowait)
        self.asked = asyncio.Queue()
        self.add_event_handler("presence_subscribe", self.asked.put_nowait)
        self.auto_authorize = None

    async def enter(self, present=True):
        self.connect(address[0], int(address[1]))
        await asyncio.wait_for(self.wait_until("session_start", LIMIT), LIMIT)
        await self.get_roster()
        if present:
            self.send_presence()
        return self

    async def message(self, body):
        while True:
            message = await asyncio.wait_for(self.messages.get(), LIMIT)
            if message["body"] == body:
                return message

    async def subscription(self, contact, state):
        async with asyncio.timeout(LIMIT):
            while self.client_roster[contact]["subscription"] != state:
                await asyncio.sleep(0.01)

    async def archive(self, jid=None):
        seen = []
        async for message in self.plugin["xep_0313"].iterate(jid=jid, rsm={"max": 7}):
            result = message["mam_result"]
            forwarded = result["forwarded"]
            seen.append([result["id"], forwarded["delay"]["stamp"].isoformat(), forwarded["stanza"]["body"]])
        return seen


def storage(text):
    return ET.fromstring(f"<query xmlns='jabber:iq:private'><notes xmlns='urn:test:notes'>{text}</notes></query>")


async def iq(client, kind, payload, to=None):
    request = client.make_iq(itype=kind, ito=to)
    request.append(payload)
    return await request.send(timeout=LIMIT)


async def fill():
    alice, bob = await Client("alice").enter(), await Client("bob").enter()
    # Contacts: bob in both ways, carol asks, and one that was never answered.
    alice.send_presence_subscription("bob@one.test", ptype="subscribe")
    await asyncio.wait_for(bob.asked.get(), LIMIT)
    bob.send_presence_subscription("alice@one.test", ptype="subscribed")
    await alice.subscription("bob@one.test", "to")
    bob.send_presence_subscription("alice@one.test", ptype="subscribe")
    await asyncio.wait_for(alice.asked.get(), LIMIT)
    alice.send_presence_subscription("bob@one.test", ptype="subscribed")
    await bob.subscription("alice@one.test", "both")
    await alice.update_roster("bob@one.test", name="Bob & <Co> é", groups=["Friends", 'a "b" \\ c'])
    alice.send_presence_subscription("nobody@one.test", ptype="subscribe")

    card = alice.plugin["xep_0054"].make_vcard()
    card["FN"] = "Alice Ünal"
    card["NOTE"] = "line\nline ]]> <&'\">"
    await alice.plugin["xep_0054"].publish_vcard(card)
    await iq(alice, "set", storage("a &amp; b"))
    await alice.plugin["xep_0191"].block(slixmpp.JID("spam@two.test"))

    # What OMEMO and bookmarks keep.
    devices = ET.fromstring("<list xmlns='eu.siacs.conversations.axolotl'><device id='4711'/></list>")
    options = alice.plugin["xep_0004"].make_form("submit")
    options.add_field(var="FORM_TYPE", ftype="hidden", value="http://jabber.org/protocol/pubsub#publish-options")
    options.add_field(var="pubsub#access_model", value="open")
    await alice.plugin["xep_0060"].publish(None, DEVICES, id="current", payload=devices, options=options)
    bookmark = ET.fromstring("<conference xmlns='urn:xmpp:bookmarks:1' name='Garden' autojoin='true'><nick>al</nick></conference>")
    options = alice.plugin["xep_0004"].make_form("submit")
    options.add_field(var="FORM_TYPE", ftype="hidden", value="http://jabber.org/protocol/pubsub#publish-options")
    options.add_field(var="pubsub#access_model", value="whitelist")
    options.add_field(var="pubsub#persist_items", value="true")
    await alice.plugin["xep_0060"].publish(None, "urn:xmpp:bookmarks:1", id=ROOM, payload=bookmark, options=options)

    # A conversation, and a room.
    for n in range(10):
        alice.send_message("bob@one.test", f"number {n}", mtype="chat")
        await bob.message(f"number {n}")
    rooms = alice.plugin["xep_0045"]
    await rooms.join_muc_wait(ROOM, "al", timeout=LIMIT)
    form = await rooms.get_room_config(ROOM)
    values = {"muc#roomconfig_roomname": "The garden", "muc#roomconfig_persistentroom": True, "muc#roomconfig_membersonly": True}
    form["values"] = {**form["values"], **values}
    form["type"] = "submit"
    await rooms.set_room_config(ROOM, form)
    await rooms.set_affiliation(ROOM, "member", jid=slixmpp.JID("bob@one.test"))
    await rooms.set_affiliation(ROOM, "outcast", jid=slixmpp.JID("mallory@two.test"))
    rooms.set_subject(ROOM, "Roses")
    for n in range(3):
        alice.send_message(ROOM, f"flower {n}", mtype="groupchat")
        await alice.message(f"flower {n}")

    # Somebody who asks, and a message, while nobody is there.
    seen = {"alice": await alice.archive(), "bob": await bob.archive(), "room": await alice.archive(ROOM)}
    await bob.disconnect()
    carol = await Client("carol").enter()
    carol.send_presence_subscription("alice@one.test", ptype="subscribe")
    await asyncio.wait_for(alice.asked.get(), LIMIT)
    carol.send_message("bob@one.test", "while you were out", mtype="chat")
    await carol.plugin["xep_0199"].ping("one.test")
    await carol.disconnect()
    await alice.disconnect()
    print(json.dumps(seen))


async def seen():
    before = json.load(sys.stdin)
    alice = await Client("alice").enter()
    asks = await asyncio.wait_for(alice.asked.get(), LIMIT)
    assert asks["from"].bare == "carol@one.test", asks
    bob = alice.client_roster["bob@one.test"]
    assert bob["subscription"] == "both" and bob["name"] == "Bob & <Co> é", bob
    assert sorted(bob["groups"]) == ['Friends', 'a "b" \\ c'], bob["groups"]
    assert alice.client_roster["nobody@one.test"]["pending_out"], "nobody was not asked"
    card = await alice.plugin["xep_0054"].get_vcard("alice@one.test", cached=False)
    assert card["vcard_temp"]["FN"] == "Alice Ünal", card
    assert card["vcard_temp"]["NOTE"] == "line\nline ]]> <&'\">", card
    kept = await iq(alice, "get", storage(""))
    assert kept.xml.find(".//{urn:test:notes}notes").text == "a & b", kept
    assert await alice.plugin["xep_0191"].get_blocked_jids() == {slixmpp.JID("spam@two.test")}

    for node, item, space, wanted in (
        (DEVICES, "current", "eu.siacs.conversations.axolotl", ".//{%s}device[@id='4711']"),
        ("urn:xmpp:bookmarks:1", ROOM, "urn:xmpp:bookmarks:1", ".//{%s}conference[@name='Garden']"),
    ):
        found = await alice.plugin["xep_0060"].get_items("alice@one.test", node)
        items = found["pubsub"]["items"]["substanzas"]
        assert [i["id"] for i in items] == [item], items
        assert found.xml.find(wanted % space) is not None, found
    carol = await Client("carol").enter()
    found = await carol.plugin["xep_0060"].get_items("alice@one.test", DEVICES)
    assert found.xml.find(".//{eu.siacs.conversations.axolotl}device[@id='4711']") is not None, found

    # Archives, with the ids that clients hold on to, and the times.
    now = await alice.archive()
    assert now == before["alice"], (now, before["alice"])
    last = before["alice"][4][0]
    after = []
    async for message in alice.plugin["xep_0313"].iterate(rsm={"max": 3, "after": last}):
        after.append(message["mam_result"]["id"])
    assert after == [entry[0] for entry in before["alice"][5:]], after

    # The room, for its owner and its member, and not for others.
    rooms = alice.plugin["xep_0045"]
    await rooms.join_muc_wait(ROOM, "al", timeout=LIMIT, maxstanzas=0)
    form = await rooms.get_room_config(ROOM)
    values = form.get_values()
    assert values["muc#roomconfig_roomname"] == "The garden" and values["muc#roomconfig_membersonly"], values
    assert [str(m) for m in await rooms.get_affiliation_list(ROOM, "owner")] == ["alice@one.test"]
    assert [str(m) for m in await rooms.get_affiliation_list(ROOM, "outcast")] == ["mallory@two.test"]
    assert await alice.archive(ROOM) == before["room"], (await alice.archive(ROOM), before["room"])
    refused = asyncio.get_running_loop().create_future()
    carol.add_event_handler("presence_error", lambda p: refused.done() or refused.set_result(p["error"]["condition"]))
    carol.plugin["xep_0045"].join_muc(ROOM, "ca")
    assert await asyncio.wait_for(refused, LIMIT) == "registration-required"

    # What waited, once.
    bob = await Client("bob").enter()
    waited = await bob.message("while you were out")
    assert waited["from"].bare == "carol@one.test" and waited["delay"]["stamp"], waited
    subject = asyncio.get_running_loop().create_future()
    bob.add_event_handler("groupchat_subject", lambda m: subject.done() or subject.set_result(m["subject"]))
    await bob.plugin["xep_0045"].join_muc_wait(ROOM, "bo", timeout=LIMIT, maxstanzas=20)
    assert await asyncio.wait_for(subject, LIMIT) == "Roses"
    ours = [entry for entry in await bob.archive() if entry[2].startswith("number")]
    assert ours == [entry for entry in before["bob"] if entry[2].startswith("number")], ours
    for client in (alice, bob, carol):
        await client.disconnect()


async def login():
    """Who logs in by which mechanism, and which are offered."""
    alice = Client("alice")
    await alice.enter()
    await alice.disconnect()
    print(alice.plugin["feature_mechanisms"].mech.name, *sorted(alice.plugin["feature_mechanisms"].mech_list))


asyncio.run({"fill": fill, "seen": seen, "login": login}[what]())
