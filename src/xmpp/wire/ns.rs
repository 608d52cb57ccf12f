//! The namespaces spoken here.

/// Streams (RFC 6120).
pub const STREAM: &str = "http://etherx.jabber.org/streams";
/// Stanzas between client and server.
pub const CLIENT: &str = "jabber:client";
/// Stanzas between servers.
pub const SERVER: &str = "jabber:server";
/// The prefix `xml`, bound by definition.
pub const XML: &str = "http://www.w3.org/XML/1998/namespace";
/// The prefix `xmlns`, bound by definition.
pub const XMLNS: &str = "http://www.w3.org/2000/xmlns/";
/// Stream error conditions.
pub const STREAM_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-streams";
/// Stanza error conditions.
pub const STANZA_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
/// STARTTLS.
pub const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
/// SASL.
pub const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
/// XEP-0440: SASL channel-binding type capability.
pub const SASL_CHANNEL_BINDING: &str = "urn:xmpp:sasl-cb:0";
/// Resource binding.
pub const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
/// Session establishment, void since RFC 6121.
pub const SESSION: &str = "urn:ietf:params:xml:ns:xmpp-session";
/// Subscription pre-approval (RFC 6121 3.4).
pub const PRE_APPROVAL: &str = "urn:xmpp:features:pre-approval";
/// Rosters.
pub const ROSTER: &str = "jabber:iq:roster";
/// Roster versioning.
pub const ROSTER_VERSIONING: &str = "urn:xmpp:features:rosterver";
/// XEP-0012: last activity.
pub const LAST: &str = "jabber:iq:last";
/// XEP-0030: service discovery, what an entity can do.
pub const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
/// XEP-0030: service discovery, what an entity holds.
pub const DISCO_ITEMS: &str = "http://jabber.org/protocol/disco#items";
/// XEP-0049: private storage.
pub const PRIVATE: &str = "jabber:iq:private";
/// XEP-0054: vcard-temp.
pub const VCARD: &str = "vcard-temp";
/// XEP-0092: software version.
pub const VERSION: &str = "jabber:iq:version";
/// XEP-0160: the disco feature of offline storage.
pub const OFFLINE: &str = "msgoffline";
/// XEP-0191: blocking.
pub const BLOCKING: &str = "urn:xmpp:blocking";
/// XEP-0191: the error of a message to someone blocked.
pub const BLOCKING_ERRORS: &str = "urn:xmpp:blocking:errors";
/// XEP-0198: stream management.
pub const SM: &str = "urn:xmpp:sm:3";
/// XEP-0199: ping.
pub const PING: &str = "urn:xmpp:ping";
/// XEP-0202: entity time.
pub const TIME: &str = "urn:xmpp:time";
/// XEP-0203: delayed delivery.
pub const DELAY: &str = "urn:xmpp:delay";
/// XEP-0280: carbons.
pub const CARBONS: &str = "urn:xmpp:carbons:2";
/// XEP-0297: forwarding.
pub const FORWARD: &str = "urn:xmpp:forward:0";
/// XEP-0334: processing hints.
pub const HINTS: &str = "urn:xmpp:hints";
/// XEP-0085: chat states.
pub const CHAT_STATES: &str = "http://jabber.org/protocol/chatstates";
/// XEP-0045: rooms, for those who are in one.
pub const MUC_USER: &str = "http://jabber.org/protocol/muc#user";
/// XEP-0184: delivery receipts.
pub const RECEIPTS: &str = "urn:xmpp:receipts";
/// XEP-0004: data forms.
pub const DATA_FORMS: &str = "jabber:x:data";
/// XEP-0059: result sets.
pub const RSM: &str = "http://jabber.org/protocol/rsm";
/// XEP-0313: message archives.
pub const MAM: &str = "urn:xmpp:mam:2";
/// XEP-0313: ids and order in queries, and what an archive holds.
pub const MAM_EXTENDED: &str = "urn:xmpp:mam:2#extended";
/// XEP-0060: publish and subscribe.
pub const PUBSUB: &str = "http://jabber.org/protocol/pubsub";
/// XEP-0060: what only a node's owner can ask.
pub const PUBSUB_OWNER: &str = "http://jabber.org/protocol/pubsub#owner";
/// XEP-0060: what subscribers are told.
pub const PUBSUB_EVENT: &str = "http://jabber.org/protocol/pubsub#event";
/// XEP-0060: errors.
pub const PUBSUB_ERRORS: &str = "http://jabber.org/protocol/pubsub#errors";
/// XEP-0060: the form that configures a node.
pub const PUBSUB_NODE_CONFIG: &str = "http://jabber.org/protocol/pubsub#node_config";
/// XEP-0060: the form of what must be so for a publication.
pub const PUBSUB_PUBLISH_OPTIONS: &str = "http://jabber.org/protocol/pubsub#publish-options";
/// XEP-0048: bookmarks in private storage.
pub const BOOKMARKS_STORAGE: &str = "storage:bookmarks";
/// XEP-0402: bookmarks at a node.
pub const BOOKMARKS: &str = "urn:xmpp:bookmarks:1";
/// XEP-0084: pictures at a node.
pub const AVATAR_DATA: &str = "urn:xmpp:avatar:data";
/// XEP-0084: what is said of pictures at a node.
pub const AVATAR_METADATA: &str = "urn:xmpp:avatar:metadata";
/// XEP-0153: the hash of the vCard's picture, in presence.
pub const VCARD_UPDATE: &str = "vcard-temp:x:update";
/// XEP-0115: what a client can do, in presence.
pub const CAPS: &str = "http://jabber.org/protocol/caps";
/// XEP-0352: clients that nobody looks at.
pub const CSI: &str = "urn:xmpp:csi:0";
/// XEP-0363: uploads.
pub const UPLOAD: &str = "urn:xmpp:http:upload:0";
/// XEP-0114: components.
pub const COMPONENT: &str = "jabber:component:accept";
/// XEP-0220: dialback.
pub const DIALBACK: &str = "jabber:server:dialback";
/// XEP-0220: that it is spoken.
pub const DIALBACK_FEATURE: &str = "urn:xmpp:features:dialback";
/// XEP-0359: ids that don't change on the way.
pub const SID: &str = "urn:xmpp:sid:0";
/// XEP-0045: rooms.
pub const MUC: &str = "http://jabber.org/protocol/muc";
/// XEP-0045: roles and affiliations.
pub const MUC_ADMIN: &str = "http://jabber.org/protocol/muc#admin";
/// XEP-0045: what a room's owner does.
pub const MUC_OWNER: &str = "http://jabber.org/protocol/muc#owner";
/// XEP-0045: the form that configures a room.
pub const MUC_CONFIG: &str = "http://jabber.org/protocol/muc#roomconfig";
/// XEP-0045: what disco says of a room.
pub const MUC_INFO: &str = "http://jabber.org/protocol/muc#roominfo";
/// XEP-0045: asking for voice.
pub const MUC_REQUEST: &str = "http://jabber.org/protocol/muc#request";
/// XEP-0045: messages keep their ids.
pub const MUC_STABLE_ID: &str = "http://jabber.org/protocol/muc#stable_id";
/// XEP-0410: the room itself answers whether one is still in.
pub const MUC_SELF_PING: &str = "http://jabber.org/protocol/muc#self-ping-optimization";
/// XEP-0421: occupants' ids.
pub const OCCUPANT_ID: &str = "urn:xmpp:occupant-id:0";
/// XEP-0424: taking back what was said.
pub const RETRACTION: &str = "urn:xmpp:message-retract:1";
/// XEP-0425: moderators do so.
pub const MODERATION: &str = "urn:xmpp:message-moderate:1";
/// RFC 7395: streams over WebSocket.
pub const FRAMING: &str = "urn:ietf:params:xml:ns:xmpp-framing";
/// XEP-0124: streams over HTTP.
pub const HTTP_BIND: &str = "http://jabber.org/protocol/httpbind";
/// XEP-0206: what XMPP adds to that.
pub const XBOSH: &str = "urn:xmpp:xbosh";
/// XEP-0156: what a host offers.
pub const XRD: &str = "http://docs.oasis-open.org/ns/xri/xrd-1.0";
/// XEP-0388: SASL with more in it.
pub const SASL2: &str = "urn:xmpp:sasl:2";
/// XEP-0386: a resource with more in it.
pub const BIND2: &str = "urn:xmpp:bind:0";
/// XEP-0484: tokens.
pub const FAST: &str = "urn:xmpp:fast:0";
