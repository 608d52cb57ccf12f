//! Registration (RFC 3261 10.3): what a REGISTER does to a user's bindings.

use std::sync::Arc;

use omnid_identity::Address;

use super::{
    Flow,
    location::{Binding, Location},
    settings::RegistrarPolicy,
};
use crate::wire::{Address as NameAddr, Contacts, HeaderName, Host, Message, Transport, Uri};

/// The longest contact URI, instance and agent name that are kept.
const TEXT_MAX: usize = 512;

/// Why a registration was refused. Nothing was changed then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It makes no sense.
    Bad(&'static str),
    /// It asks for less time than the given number of seconds.
    TooBrief(u32),
    /// The user has as many contacts as are allowed.
    TooMany,
    /// A later one of the same client has already been seen.
    OutOfOrder,
}

/// What a registration did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Registered {
    /// The user's bindings now.
    pub bindings: Vec<Arc<Binding>>,
    /// Whether there is a contact among them that was not there before.
    pub added: bool,
    /// The change's place among those to be written down: it is not done before that is.
    pub place: Option<u64>,
}

/// One Contact of the request.
struct Wanted {
    binding: Binding,
    /// 0 removes it.
    seconds: u32,
}

/// Carries out a REGISTER of an authenticated user.
///
/// # Errors
/// Where it is refused; nothing is changed then.
pub(super) fn register(
    location: &Location,
    user: &Address,
    request: &Message,
    flow: &Flow,
    policy: &RegistrarPolicy,
    unix: u64,
) -> Result<Registered, Refusal> {
    let contacts = Contacts::parse(request.lines(HeaderName::Contact))
        .map_err(|_| Refusal::Bad("Bad Contact"))?;
    match contacts {
        Contacts::Star => {
            if request.expires() != Some(0) {
                return Err(Refusal::Bad("Contact * Without Expires 0"));
            }
            remove_all(location, user, request, unix)
        }
        Contacts::List(list) if list.is_empty() => Ok(Registered {
            bindings: location.lookup(user, unix),
            added: false,
            place: None,
        }),
        Contacts::List(list) => {
            if list.len() > policy.max_contacts {
                return Err(Refusal::TooMany);
            }
            let wanted = list
                .iter()
                .map(|contact| wanted(contact, request, flow, policy, unix))
                .collect::<Result<Vec<_>, _>>()?;
            let (outcome, place) = location.update(user, unix, |bindings| {
                let applied = apply(bindings, wanted, policy);
                if let Ok((after, _)) = &applied {
                    bindings.clone_from(after);
                }
                (applied.is_ok(), applied)
            });
            outcome.map(|(bindings, added)| Registered {
                bindings,
                added,
                place,
            })
        }
    }
}

fn remove_all(
    location: &Location,
    user: &Address,
    request: &Message,
    unix: u64,
) -> Result<Registered, Refusal> {
    let call_id = text(request.call_id());
    let cseq = request.cseq().map_or(0, |cseq| cseq.number);
    let (outcome, place) = location.update(user, unix, |bindings| {
        let newer = |binding: &Arc<Binding>| *binding.call_id == *call_id && binding.cseq > cseq;
        if bindings.iter().any(newer) {
            return (false, Err(Refusal::OutOfOrder));
        }
        bindings.clear();
        // Even where there were none: that they went may not have been written down yet.
        (true, Ok(()))
    });
    outcome.map(|()| Registered {
        bindings: Vec::new(),
        added: false,
        place,
    })
}

fn wanted(
    contact: &NameAddr<'_>,
    request: &Message,
    flow: &Flow,
    policy: &RegistrarPolicy,
    unix: u64,
) -> Result<Wanted, Refusal> {
    let bad = Refusal::Bad("Bad Contact");
    // Other schemes could be kept but never be called from here.
    if !matches!(contact.uri, Uri::Sip(_)) {
        return Err(bad);
    };
    if contact.uri_text.len() > TEXT_MAX {
        return Err(bad);
    }
    let q = contact.q().map_err(|_| bad)?;
    // RFC 3261 10.2.1.1, 10.3 step 6: what cannot be read counts as 3600.
    let asked = match contact.params.get("expires") {
        Some(param) => param
            .value
            .and_then(|value| std::str::from_utf8(value).ok())
            .and_then(|value| value.parse().ok())
            .unwrap_or(policy.default_expires),
        None => request.expires().unwrap_or(policy.default_expires),
    };
    if asked > 0 && asked < policy.min_expires {
        return Err(Refusal::TooBrief(policy.min_expires));
    }
    let seconds = asked.min(policy.max_expires);
    let instance = match (
        contact.params.value("+sip.instance"),
        contact.params.value("reg-id"),
    ) {
        (Some(instance), Some(id)) if instance.len() <= TEXT_MAX && id.len() <= 10 => {
            Some(format!("{};{}", text(instance), text(id)).into())
        }
        _ => None,
    };
    Ok(Wanted {
        binding: Binding {
            uri: text(contact.uri_text),
            q,
            expires: unix.saturating_add(u64::from(seconds)),
            since: unix,
            call_id: text(request.call_id()),
            cseq: request.cseq().map_or(0, |cseq| cseq.number),
            flow: *flow,
            instance,
            user_agent: text(request.value(HeaderName::UserAgent).unwrap_or_default()),
            behind_nat: behind_nat(request, flow),
        },
        seconds,
    })
}

/// All of it or nothing (RFC 3261 10.3 step 7).
fn apply(
    before: &[Arc<Binding>],
    wanted: Vec<Wanted>,
    policy: &RegistrarPolicy,
) -> Result<(Vec<Arc<Binding>>, bool), Refusal> {
    let mut after = before.to_vec();
    let mut added = false;
    for Wanted {
        mut binding,
        seconds,
    } in wanted
    {
        let same = after.iter().position(|old| is_same(old, &binding));
        if let Some(old) = same.and_then(|at| after.get(at)) {
            if old.call_id == binding.call_id && binding.cseq < old.cseq {
                return Err(Refusal::OutOfOrder);
            }
            binding.since = old.since;
        }
        match (same, seconds) {
            (Some(at), 0) => drop(after.remove(at)),
            (None, 0) => {}
            (Some(at), _) => {
                if let Some(old) = after.get_mut(at) {
                    *old = Arc::new(binding);
                }
            }
            (None, _) => {
                added = true;
                after.push(Arc::new(binding));
            }
        }
    }
    while after.len() > policy.max_contacts {
        if !policy.remove_existing {
            return Err(Refusal::TooMany);
        }
        after.remove(0);
    }
    Ok((after, added))
}

/// Whether a binding is updated by another: the same flow of the same phone (RFC 5626 6), or the
/// same URI (RFC 3261 19.1.4).
fn is_same(old: &Binding, new: &Binding) -> bool {
    match (&old.instance, &new.instance) {
        (Some(old), Some(new)) => old == new,
        _ => {
            old.uri == new.uri
                || match (
                    Uri::parse(old.uri.as_bytes()),
                    Uri::parse(new.uri.as_bytes()),
                ) {
                    (Ok(old), Ok(new)) => old == new,
                    _ => false,
                }
        }
    }
}

/// Whether the client's own idea of its address is not ours.
fn behind_nat(request: &Message, flow: &Flow) -> bool {
    let Ok(via) = request.via() else {
        return true;
    };
    let port = via.port.unwrap_or_else(|| flow.transport.default_port());
    match via.host {
        Host::Address(address) => {
            address.to_canonical() != flow.remote.ip().to_canonical()
                || (flow.transport == Transport::Udp && port != flow.remote.port())
        }
        Host::Name(_) => false,
    }
}

fn text(octets: &[u8]) -> Box<str> {
    let end = octets.len().min(TEXT_MAX);
    String::from_utf8_lossy(octets.get(..end).unwrap_or_default()).into()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::wire::Limits;

    struct Phone {
        location: Location,
        user: Address,
        policy: RegistrarPolicy,
        unix: u64,
    }

    impl Phone {
        fn new() -> Self {
            Self {
                location: Location::default(),
                user: Address::new("bob", "example.org").unwrap_or_else(|error| panic!("{error}")),
                policy: RegistrarPolicy {
                    max_contacts: 2,
                    ..RegistrarPolicy::default()
                },
                unix: 1_000_000,
            }
        }

        /// Registers with these headers, and says what is bound then, as `uri +seconds`.
        fn register(&self, cseq: u32, headers: &str) -> Result<Vec<String>, Refusal> {
            let text = format!(
                "REGISTER sip:example.org SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.7:5070;branch=z9hG4bK1\n\
                 From: <sip:bob@example.org>;tag=1\nTo: <sip:bob@example.org>\nCall-ID: one\n\
                 CSeq: {cseq} REGISTER\n{headers}\n\n"
            );
            let text = text.replace("\n\n\n", "\n\n").replace('\n', "\r\n");
            let request = Message::parse(Bytes::from(text), &Limits::default())
                .unwrap_or_else(|rejected| panic!("{}", rejected.defect));
            let flow = Flow {
                transport: Transport::Udp,
                local: ([192, 0, 2, 1], 5060).into(),
                remote: ([192, 0, 2, 7], 5070).into(),
                connection: 0,
            };
            register(
                &self.location,
                &self.user,
                &request,
                &flow,
                &self.policy,
                self.unix,
            )
            .map(|registered| {
                registered
                    .bindings
                    .iter()
                    .map(|binding| format!("{} +{}", binding.uri, binding.expires - self.unix))
                    .collect()
            })
        }
    }

    #[test]
    fn contacts_are_bound_refreshed_and_removed() {
        let phone = Phone::new();
        let check = |cseq, headers: &str, expect: &[&str]| {
            assert_eq!(
                phone.register(cseq, headers),
                Ok(expect.iter().map(|&text| text.to_owned()).collect()),
                "{headers}"
            );
        };
        check(1, "", &[]);
        check(
            2,
            "Contact: <sip:bob@192.0.2.7:5070>",
            &["sip:bob@192.0.2.7:5070 +3600"],
        );
        check(
            3,
            "Contact: <sip:bob@192.0.2.7:5070>;expires=120, <sip:bob@192.0.2.8>\nExpires: 99999",
            &["sip:bob@192.0.2.7:5070 +120", "sip:bob@192.0.2.8 +7200"],
        );
        check(
            4,
            "",
            &["sip:bob@192.0.2.7:5070 +120", "sip:bob@192.0.2.8 +7200"],
        );
        check(
            5,
            "Contact: <sip:%62ob@192.0.2.8>;expires=0",
            &["sip:bob@192.0.2.7:5070 +120"],
        );
        check(
            6,
            "Contact: <sip:bob@192.0.2.7:5070>;expires=soon",
            &["sip:bob@192.0.2.7:5070 +3600"],
        );
        check(7, "Contact: *\nExpires: 0", &[]);
    }

    #[test]
    fn what_is_refused_changes_nothing() {
        let phone = Phone::new();
        assert!(phone.register(5, "Contact: <sip:bob@192.0.2.7>").is_ok());
        for (cseq, headers, refusal) in [
            (6, "Contact: *", Refusal::Bad("Contact * Without Expires 0")),
            (
                6,
                "Contact: *\nExpires: 60",
                Refusal::Bad("Contact * Without Expires 0"),
            ),
            (6, "Contact: <name:John_Smith>", Refusal::Bad("Bad Contact")),
            (
                6,
                "Contact: sip:bob@192.0.2.7?x=y",
                Refusal::Bad("Bad Contact"),
            ),
            (
                6,
                "Contact: <sip:x@192.0.2.9>, <sip:bob@192.0.2.7>;expires=59",
                Refusal::TooBrief(60),
            ),
            (
                6,
                "Contact: <sip:x@192.0.2.8>, <sip:x@192.0.2.9>",
                Refusal::TooMany,
            ),
            (
                4,
                "Contact: <sip:bob@192.0.2.7>;expires=0",
                Refusal::OutOfOrder,
            ),
            (4, "Contact: *\nExpires: 0", Refusal::OutOfOrder),
        ] {
            assert_eq!(phone.register(cseq, headers), Err(refusal), "{headers}");
        }
        assert_eq!(
            phone.register(7, ""),
            Ok(vec!["sip:bob@192.0.2.7 +3600".to_owned()])
        );
    }

    #[test]
    fn the_oldest_contact_makes_room_where_that_is_wanted() {
        let mut phone = Phone::new();
        phone.policy.remove_existing = true;
        for cseq in 1..=3 {
            assert!(
                phone
                    .register(cseq, &format!("Contact: <sip:bob@192.0.2.{cseq}>"))
                    .is_ok()
            );
        }
        let bound = phone.register(4, "");
        assert_eq!(
            bound,
            Ok(vec![
                "sip:bob@192.0.2.2 +3600".to_owned(),
                "sip:bob@192.0.2.3 +3600".to_owned()
            ])
        );
    }

    #[test]
    fn a_phone_that_comes_back_over_another_flow_is_still_one() {
        let phone = Phone::new();
        let instance = ";+sip.instance=\"<urn:uuid:1>\";reg-id=1";
        assert!(
            phone
                .register(1, &format!("Contact: <sip:bob@10.0.0.1:1>{instance}"))
                .is_ok()
        );
        let bound = phone.register(2, &format!("Contact: <sip:bob@10.0.0.1:2>{instance}"));
        assert_eq!(bound, Ok(vec!["sip:bob@10.0.0.1:2 +3600".to_owned()]));
    }
}
