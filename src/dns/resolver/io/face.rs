//! The resolver as other services see it, through the hub.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use omnid_hub::{RecordData, Resolution, Resolve, ResolveError};

use super::Recursion;
use crate::resolver::engine::record::Security;
use crate::resolver::engine::{Ask, is_sought};
use crate::wire::code::{Rcode, RrType};
use crate::wire::name::{Name, NameRef};
use crate::wire::rdata::Rdata;
use crate::wire::reader::Reader;

impl Resolve for Recursion {
    fn resolve(
        &self,
        name: &str,
        kind: &str,
    ) -> BoxFuture<'static, Result<Resolution, ResolveError>> {
        let running = self.running();
        let question = Name::from_text(name)
            .ok()
            .zip(RrType::from_text(kind.as_bytes()));
        async move {
            let resolver = running.ok_or(ResolveError::Unavailable)?.resolver.clone();
            let (name, rr_type) = question.ok_or(ResolveError::Invalid)?;
            if !is_sought(rr_type) {
                return Err(ResolveError::Invalid);
            }
            let ask = Ask {
                name,
                rr_type,
                dnssec_ok: false,
                checking_disabled: false,
                refresh: false,
                unfiltered: false,
            };
            let known = resolver.memory.answers.get(ask.name.as_ref(), ask.kind());
            let now = resolver.network.now();
            let answer = match known.filter(|answer| answer.is_fresh(now)) {
                Some(answer) => answer,
                None => resolver.answer(ask).await,
            };
            let exists = match answer.rcode {
                Rcode::NOERROR => true,
                Rcode::NXDOMAIN => false,
                _ if answer.security == Security::Bogus => return Err(ResolveError::Bogus),
                _ => return Err(ResolveError::Failed),
            };
            let records = answer
                .answers(rr_type)
                .iter()
                .filter_map(|data| record(rr_type, data))
                .collect();
            Ok(Resolution {
                records,
                exists,
                secure: answer.security == Security::Secure,
                ttl: answer.ttl.saturating_sub(answer.age(now)),
            })
        }
        .boxed()
    }
}

fn text(name: NameRef<'_>) -> String {
    let text = name.to_string();
    text.strip_suffix('.').map_or(text.clone(), str::to_owned)
}

fn string(reader: &mut Reader<'_>) -> Option<String> {
    let length = reader.u8().ok()?;
    let octets = reader.bytes(length.into()).ok()?;
    Some(String::from_utf8_lossy(octets).into_owned())
}

/// A record in the hub's terms.
fn record(rr_type: RrType, data: &[u8]) -> Option<RecordData> {
    let mut reader = Reader::new(data);
    let rest = |reader: &Reader<'_>| {
        let name = NameRef::from_wire(data.get(reader.position()..)?).ok()?;
        Some(text(name))
    };
    Some(match rr_type {
        RrType::A => RecordData::Address {
            address: Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?).into(),
        },
        RrType::AAAA => RecordData::Address {
            address: Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).into(),
        },
        RrType::SRV => RecordData::Srv {
            priority: reader.u16().ok()?,
            weight: reader.u16().ok()?,
            port: reader.u16().ok()?,
            target: rest(&reader)?,
        },
        RrType::NAPTR => RecordData::Naptr {
            order: reader.u16().ok()?,
            preference: reader.u16().ok()?,
            flags: string(&mut reader)?,
            services: string(&mut reader)?,
            regexp: string(&mut reader)?,
            replacement: rest(&reader)?,
        },
        RrType::TXT => {
            let mut strings = Vec::new();
            while reader.position() < data.len() {
                strings.push(string(&mut reader)?);
            }
            RecordData::Txt { strings }
        }
        _ => {
            let bytes = data;
            RecordData::Text {
                kind: rr_type.to_string(),
                text: Rdata { rr_type, bytes }.to_string(),
            }
        }
    })
}

/// Offers the resolver to other services.
pub(crate) fn offer(recursion: &Arc<Recursion>, hub: &omnid_hub::Hub) {
    hub.resolver().offer(recursion.clone());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::wire::record::OwnRecord;

    #[test]
    fn records_in_the_hubs_terms() {
        let shown = |rr_type: RrType, data: &str| {
            let owner = Name::from_text("a.example.").unwrap();
            let read = OwnRecord::from_text(owner, rr_type, 60, data).unwrap();
            format!("{:?}", record(rr_type, &read.rdata).unwrap())
        };
        assert_eq!(
            shown(RrType::SRV, "1 2 5060 sip.example."),
            "Srv { priority: 1, weight: 2, port: 5060, target: \"sip.example\" }"
        );
        let naptr = shown(
            RrType::NAPTR,
            "1 2 \"S\" \"SIPS+D2T\" \"\" _sips._tcp.example.",
        );
        assert!(
            naptr.contains(
                "services: \"SIPS+D2T\", regexp: \"\", replacement: \"_sips._tcp.example\""
            ),
            "{naptr}"
        );
        assert!(shown(RrType::TXT, "\"a\" \"b\"").contains("[\"a\", \"b\"]"));
        assert!(shown(RrType::TLSA, "3 1 1 abcd").contains("text: \"3 1 1 ABCD\""));
        assert!(record(RrType::SRV, &[0, 1]).is_none());
    }
}
