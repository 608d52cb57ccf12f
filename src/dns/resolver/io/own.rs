//! This server's own zones, as the resolver asks them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Weak;

use crate::engine::answer::{Client, Outcome, Scratch, Transport, answer};
use crate::io::Shared;
use crate::resolver::engine::network::Local;
use crate::wire::code::RrType;
use crate::wire::name::{Name, NameRef};

/// The zones that are served.
pub(crate) struct Own(pub(crate) Weak<Shared>);

impl Local for Own {
    fn zone(&self, name: NameRef<'_>, rr_type: RrType) -> Option<Name> {
        let shared = self.0.upgrade()?;
        let state = shared.state.load();
        let served = state.zones.above(name, rr_type)?;
        Some(served.zone.apex().to_owned())
    }

    fn ask(&self, name: NameRef<'_>, rr_type: RrType, query: &[u8]) -> Option<(Name, Vec<u8>)> {
        let shared = self.0.upgrade()?;
        let state = shared.state.load();
        let zone = state.zones.above(name, rr_type)?.zone.apex().to_owned();
        let client = Client::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), Transport::Tcp);
        let (mut out, mut scratch) = (vec![0; crate::io::MAX_MESSAGE], Box::<Scratch>::default());
        match answer(&state, &client, 0, query, &mut out, &mut scratch) {
            Outcome::Reply(answered) => {
                out.truncate(answered.len);
                Some((zone, out))
            }
            _ => None,
        }
    }
}
