//! What the DNS is told about a domain's SIP service (RFC 3263 4).

use omnid_hub::{Record, RecordData};

use crate::wire::Transport;

/// How long these may be cached: ports change seldom, but then calls should not be lost for a day.
const TTL: u32 = 300;

/// SRV and NAPTR of a domain that is served on these ports of `host`; TLS is preferred to TCP, and
/// TCP to UDP.
pub(crate) fn records(domain: &str, host: &str, ports: &[(Transport, u16)]) -> Vec<Record> {
    let ways = [
        (Transport::Tls, "_sips._tcp", "SIPS+D2T"),
        (Transport::Tcp, "_sip._tcp", "SIP+D2T"),
        (Transport::Udp, "_sip._udp", "SIP+D2U"),
    ];
    let mut records = Vec::new();
    for (order, (transport, label, services)) in (1_u16..).zip(ways) {
        let name = format!("{label}.{domain}");
        let ports = ports.iter().filter(|(offered, _)| *offered == transport);
        let srv: Vec<Record> = ports
            .map(|(_, port)| Record {
                name: name.clone(),
                ttl: TTL,
                data: RecordData::Srv {
                    priority: 10,
                    weight: 10,
                    port: *port,
                    target: host.to_owned(),
                },
            })
            .collect();
        if srv.is_empty() {
            continue;
        }
        records.extend(srv);
        records.push(Record {
            name: domain.to_owned(),
            ttl: TTL,
            data: RecordData::Naptr {
                order: order * 10,
                preference: 10,
                flags: "S".to_owned(),
                services: services.to_owned(),
                regexp: String::new(),
                replacement: name,
            },
        });
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listened_on_is_published() {
        let ports = [(Transport::Udp, 5060), (Transport::Tls, 5061)];
        let records = records("example.org", "one.example.org", &ports);
        let names: Vec<_> = records.iter().map(|record| record.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "_sips._tcp.example.org",
                "example.org",
                "_sip._udp.example.org",
                "example.org"
            ]
        );
    }
}
