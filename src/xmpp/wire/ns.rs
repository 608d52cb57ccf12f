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
