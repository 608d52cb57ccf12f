//! Entry point for fuzzing what other servers send: any bytes in, and nothing learned that the
//! server was not asked as a server of.

use super::denial::{Claim, Proofs};
use super::network::Opt;
use super::record::Fact;
use super::reply::{Reply, Source, read};
use crate::wire::message::Message;
use crate::wire::name::Name;

/// Reads bytes as a response from a zone's server and from a forwarder.
pub fn fuzz_response(bytes: &[u8]) {
    let Ok(message) = Message::read(bytes) else {
        return;
    };
    let Some((name, rr_type, _)) = message.questions.first() else {
        return;
    };
    let opt = Opt::of(&message);
    let zone = name.as_ref().parent().unwrap_or(name.as_ref());
    for forwarder in [false, true] {
        let source = Source { zone, forwarder };
        match read(source, name, *rr_type, &message, &opt) {
            Reply::Facts(facts) => {
                for learned in facts {
                    assert!(learned.name.as_ref().is_within(zone));
                    let sets = learned.authority.iter().map(|set| &**set);
                    let proofs = Proofs::of(zone, sets);
                    for claim in [Claim::NoName, Claim::NoData, Claim::Expanded(1)] {
                        proofs.prove(claim, &learned.name, learned.rr_type);
                    }
                    if let Fact::Set(set) = learned.fact {
                        assert!(!set.data.is_empty());
                    }
                }
            }
            Reply::Referral(delegation, _) => {
                let below: &Name = &delegation.zone;
                assert!(!forwarder && below.as_ref().is_within(zone));
                assert!(below.as_ref() != zone && name.as_ref().is_within(below.as_ref()));
            }
            Reply::Lame | Reply::Failed(_) => {}
        }
    }
}
