//! Entry point for fuzzing the path of a query: any bytes in; the answer, if there is one, is a
//! message that reads, within its bounds.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};

use super::access::Access;
use super::answer::{Client, Outcome, Scratch, Transport, answer};
use super::change::{Change, apply_all};
use super::cookie::CookieSecret;
use super::incoming::{Incoming, Received};
use super::policy::{Policy, Requester};
use super::state::{Settings, State};
use super::tsig::{Algorithm, Key, Keys, StreamVerifier};
use super::update::{self, Update};
use super::zone::build;
use super::zones::{Rules, Served, Zones};
use crate::wire::master::{Limits, NoFiles, parse_zone};
use crate::wire::message::Message;
use crate::wire::name::NameRef;
use crate::wire::reader::Header;

const ZONE: &str = "\
$TTL 1
@ SOA a a 1 2 3 4 5
@ NS a
@ NS a.sub
a A 192.0.2.1
a AAAA 2001:db8::1
b CNAME c
c CNAME a
l CNAME l
*.w MX 1 a
*.v CNAME x.w
sub NS a.sub
sub DS 1 8 2 00
a.sub A 192.0.2.2
d DNAME w
e DNAME e.e
s HTTPS 1 . alpn=h2
s A 192.0.2.3
big TYPE999 \\# 4 01020304
";

/// Reads bytes as everything that a peer or a crash can leave us to read other than a query: an
/// update, a signature, a transfer, a journal.
pub fn fuzz_changes(bytes: &[u8]) {
    static STATE: OnceLock<Option<State>> = OnceLock::new();
    let Some(state) = STATE.get_or_init(state) else {
        return;
    };
    let Some(served) = state.zones.iter().next() else {
        return;
    };
    let everybody = Policy {
        from: Access::networks("0.0.0.0/0".parse::<omnid_config::IpNet>()),
        rules: Vec::new(),
    };
    let requester = Requester {
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        key: None,
    };
    if let Ok(update) = Update::read(bytes)
        && let update::Outcome::Changed(after, change) =
            update::run(&served.zone, &update, &everybody, &requester)
    {
        let again = change.apply(&served.zone);
        assert!(again.is_ok_and(|again| Change::between(&again, &after).is_none()));
    }
    let id = Header::read(bytes).map_or(0, |header| header.id);
    for held in [None, Some(served.zone.serial())] {
        let mut incoming = Incoming::new(&served.zone.apex().to_owned(), id, held, 1 << 20);
        if let Ok(Some(Received::Changes(changes))) = incoming.take(bytes)
            && let Ok(after) = apply_all(&served.zone, &changes)
        {
            assert!(
                changes
                    .last()
                    .is_some_and(|change| change.to == after.serial())
            );
        }
    }
    let key = Arc::new(Key::new(
        NameRef::ROOT.to_owned(),
        Algorithm::Sha256,
        b"fuzz",
    ));
    assert!(StreamVerifier::new(key, Vec::new()).take(bytes, 0).is_err());
    crate::data::fuzz_journal(bytes);
}

/// Answers bytes as a query over each transport, and reads what was answered.
pub fn fuzz_answer(bytes: &[u8]) {
    static STATE: OnceLock<Option<State>> = OnceLock::new();
    let Some(state) = STATE.get_or_init(state) else {
        return;
    };
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let (mut out, mut scratch) = (vec![0; 65_535], Scratch::default());
    for transport in [
        Transport::Udp,
        Transport::Tcp,
        Transport::Tls,
        Transport::Https,
    ] {
        let client = Client::new(address, transport);
        match answer(state, &client, 0, bytes, &mut out, &mut scratch) {
            Outcome::Reply(answered) => {
                let reply = out.get(..answered.len).unwrap_or_default();
                assert!(transport != Transport::Udp || reply.len() <= 1232);
                let reply = Message::read(reply);
                assert!(reply.is_ok_and(|reply| reply.header.is_response()));
            }
            Outcome::Transfer(mut transfer) => {
                while let Some(length) = transfer.next_message(&mut out, 0) {
                    assert!(Message::read(out.get(..length).unwrap_or_default()).is_ok());
                }
                assert!(transfer.is_complete());
            }
            Outcome::Drop | Outcome::Recurse | Outcome::Deferred(_) => {}
        }
    }
}

fn state() -> Option<State> {
    let text = ZONE.as_bytes().into();
    let root = NameRef::ROOT;
    let parsed = parse_zone(root, "zone", &text, &mut NoFiles, Limits::default());
    let zone = build(root, &parsed.records, &parsed.sources).zone?;
    let everybody = ["0.0.0.0/0", "::/0"]
        .iter()
        .filter_map(|network| network.parse().ok());
    let served = Served {
        history: Default::default(),
        view: None,
        zone: Arc::new(zone),
        rules: Arc::new(Rules {
            transfer: Access::networks(everybody),
            ..Rules::default()
        }),
        secondary: false,
        expired: false,
    };
    let settings = Settings {
        version: Some("fuzz".into()),
        server_id: Some("fuzz".into()),
        cookie_secret: Some(CookieSecret::new([7; 16])),
        ..Settings::default()
    };
    Some(State {
        keys: Keys::default(),
        zones: Zones::new(vec![served]),
        views: Default::default(),
        settings,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zone_is_one() {
        assert!(state().is_some());
        let query = b"\0\x01\0\0\0\x01\0\0\0\0\0\0\x01b\0\0\x01\0\x01";
        fuzz_answer(query);
    }
}
