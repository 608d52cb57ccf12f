//! Where an end's packets really come from, behind a NAT, and who is a stranger.
//!
//! An address in a session description is often one that only its writer's network knows. So the
//! source of the first packets counts, but not of anybody's: they must come from the address that
//! was signalled or that the signalling came from, in sequence; then the source is locked until the
//! session is described anew. A port that anybody could take over by sending to it is how calls are
//! listened to (RTP bleed, AST-2017-005 and AST-2017-008).

use std::net::{IpAddr, SocketAddr};

use crate::wire::rtp::Header;

/// Packets in sequence that lock a source.
pub const RUN: u8 = 8;
/// How many sequence numbers two packets may be apart and still be in sequence: three were lost.
const GAP: u16 = 4;

/// What is to be done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Accepted,
    /// Accepted, and with it the source is locked.
    Locked(SocketAddr),
    Stranger,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    source: SocketAddr,
    ssrc: u32,
    sequence: u16,
    run: u8,
    near: Near,
}

/// How well a source's address fits what was signalled; a better one displaces a worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Near {
    /// In the network that the signalling came from.
    Network,
    /// The address that was signalled, or that the signalling came from.
    Address,
    /// The address and port that were signalled.
    Exact,
}

/// One end's source of packets.
#[derive(Clone, Debug)]
pub struct Latch {
    signalled: SocketAddr,
    /// Where the signalling came from, where that differs from what it says: a NAT is between.
    behind: Option<IpAddr>,
    candidate: Option<Candidate>,
    locked: Option<SocketAddr>,
}

impl Latch {
    /// `signalling` is the source of the request or response that the description came in.
    #[must_use]
    pub fn new(signalled: SocketAddr, signalling: Option<IpAddr>) -> Self {
        Self {
            signalled,
            behind: signalling.filter(|ip| *ip != signalled.ip()),
            candidate: None,
            locked: None,
        }
    }

    /// The end was described again. What is the same keeps its source; what is not is learnt anew.
    pub fn describe(&mut self, signalled: SocketAddr, signalling: Option<IpAddr>) {
        let new = Self::new(signalled, signalling);
        if new.signalled != self.signalled || new.behind != self.behind {
            *self = new;
        }
    }

    /// Where packets for this end go to.
    #[must_use]
    pub fn target(&self) -> SocketAddr {
        let early = self.candidate.filter(|one| one.near >= Near::Address);
        self.locked
            .or(early.map(|one| one.source))
            .unwrap_or(self.signalled)
    }

    #[must_use]
    pub fn locked(&self) -> Option<SocketAddr> {
        self.locked
    }

    fn near(&self, source: SocketAddr) -> Option<Near> {
        if source == self.signalled {
            Some(Near::Exact)
        } else if source.ip() == self.signalled.ip() || Some(source.ip()) == self.behind {
            Some(Near::Address)
        } else {
            // A NAT with several addresses, seen from outside, has them in one network. Who signals
            // an address that all may reach is behind none.
            let behind = self.behind.filter(|_| is_private(self.signalled.ip()))?;
            same_network(behind, source.ip()).then_some(Near::Network)
        }
    }

    /// Whether an RTP packet comes from this end. Where it is SRTP, only ask once it is genuine.
    pub fn admit(&mut self, source: SocketAddr, header: &Header) -> Admission {
        if let Some(locked) = self.locked {
            return if locked == source {
                Admission::Accepted
            } else {
                Admission::Stranger
            };
        }
        let Some(near) = self.near(source) else {
            return Admission::Stranger;
        };
        let run = match self.candidate {
            Some(known) if known.source == source => {
                let ahead = header.sequence.wrapping_sub(known.sequence);
                if known.ssrc == header.ssrc && (1..=GAP).contains(&ahead) {
                    known.run.saturating_add(1)
                } else {
                    1
                }
            }
            // Another source that is no better does not interrupt one that is being learnt.
            Some(known) if known.near >= near => return Admission::Stranger,
            _ => 1,
        };
        self.candidate = Some(Candidate {
            source,
            ssrc: header.ssrc,
            sequence: header.sequence,
            run,
            near,
        });
        if run < RUN {
            return Admission::Accepted;
        }
        self.locked = Some(source);
        Admission::Locked(source)
    }

    /// Whether control packets from `source` are this end's: they come from its address, at a port
    /// that a NAT may have chosen.
    #[must_use]
    pub fn admits_control(&self, source: SocketAddr) -> bool {
        match self.locked {
            Some(locked) => locked.ip() == source.ip(),
            None => self.near(source) >= Some(Near::Address),
        }
    }

    /// Forgets a candidate that has fallen silent, so that another may be learnt.
    pub fn forget_candidate(&mut self) {
        self.candidate = None;
    }
}

/// An address that is only known in a network of its own (RFC 1918, 6598, 3927, 4193, 4291).
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            let shared = first == 100 && second & 0xc0 == 64;
            ip.is_private() || ip.is_link_local() || ip.is_unspecified() || shared
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_unspecified(),
    }
}

/// In one /24, or /64 of IPv6.
fn same_network(one: IpAddr, two: IpAddr) -> bool {
    match (one, two) {
        (IpAddr::V4(one), IpAddr::V4(two)) => one.to_bits() >> 8 == two.to_bits() >> 8,
        (IpAddr::V6(one), IpAddr::V6(two)) => one.to_bits() >> 64 == two.to_bits() >> 64,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn header(sequence: u16) -> Header {
        Header {
            sequence,
            ssrc: 7,
            ..Header::default()
        }
    }

    /// Sends `count` packets in sequence and tells what became of the last.
    fn send(latch: &mut Latch, source: &str, from: u16, count: u16) -> Admission {
        let mut last = Admission::Stranger;
        for sequence in from..from + count {
            last = latch.admit(at(source), &header(sequence));
        }
        last
    }

    #[test]
    fn the_eighth_packet_in_sequence_locks() {
        let mut latch = Latch::new(at("192.0.2.1:4000"), None);
        assert_eq!(latch.target(), at("192.0.2.1:4000"));
        assert_eq!(
            send(&mut latch, "192.0.2.1:4999", 1, 7),
            Admission::Accepted
        );
        assert_eq!(latch.target(), at("192.0.2.1:4999"));
        assert_eq!(latch.locked(), None);
        // Out of sequence: counted anew.
        assert_eq!(
            send(&mut latch, "192.0.2.1:4999", 100, 7),
            Admission::Accepted
        );
        let locked = Admission::Locked(at("192.0.2.1:4999"));
        assert_eq!(send(&mut latch, "192.0.2.1:4999", 108, 1), locked);
        // Now even the signalled port is a stranger.
        assert_eq!(
            send(&mut latch, "192.0.2.1:4000", 1, 9),
            Admission::Stranger
        );
        assert_eq!(latch.target(), at("192.0.2.1:4999"));
    }

    #[test]
    fn strangers_never_latch_and_never_interrupt() {
        let mut latch = Latch::new(at("192.0.2.1:4000"), None);
        assert_eq!(
            send(&mut latch, "203.0.113.9:4000", 1, 100),
            Admission::Stranger
        );
        send(&mut latch, "192.0.2.1:4000", 1, 5);
        // A worse source from the same address does not disturb the exact one.
        assert_eq!(
            send(&mut latch, "192.0.2.1:6666", 1, 100),
            Admission::Stranger
        );
        let locked = Admission::Locked(at("192.0.2.1:4000"));
        assert_eq!(send(&mut latch, "192.0.2.1:4000", 6, 3), locked);
    }

    #[test]
    fn the_exact_source_displaces_a_worse_one() {
        let mut latch = Latch::new(at("192.0.2.1:4000"), None);
        send(&mut latch, "192.0.2.1:6666", 1, 7);
        assert_eq!(
            send(&mut latch, "192.0.2.1:4000", 1, 1),
            Admission::Accepted
        );
        assert_eq!(
            send(&mut latch, "192.0.2.1:6666", 8, 5),
            Admission::Stranger
        );
    }

    #[test]
    fn behind_a_nat_the_signallings_source_counts() {
        let nat: IpAddr = "198.51.100.7".parse().unwrap();
        let mut latch = Latch::new(at("10.0.0.5:4000"), Some(nat));
        assert_eq!(send(&mut latch, "203.0.113.1:1", 1, 9), Admission::Stranger);
        // Another address of the NAT's network: heard, but not sent to before it is locked.
        assert_eq!(
            send(&mut latch, "198.51.100.8:31000", 1, 7),
            Admission::Accepted
        );
        assert_eq!(latch.target(), at("10.0.0.5:4000"));
        let locked = Admission::Locked(at("198.51.100.8:31000"));
        assert_eq!(send(&mut latch, "198.51.100.8:31000", 8, 1), locked);
        assert!(latch.admits_control(at("198.51.100.8:31001")));
        assert!(!latch.admits_control(at("198.51.100.7:31001")));
    }

    #[test]
    fn who_signals_a_public_address_has_no_neighbours() {
        let proxy: IpAddr = "198.51.100.7".parse().unwrap();
        let mut latch = Latch::new(at("203.0.113.5:4000"), Some(proxy));
        assert_eq!(
            send(&mut latch, "198.51.100.8:4000", 1, 9),
            Admission::Stranger
        );
        assert_eq!(
            send(&mut latch, "203.0.113.5:4000", 1, 7),
            Admission::Accepted
        );
    }

    #[test]
    fn another_description_is_learnt_anew_and_the_same_is_not() {
        let mut latch = Latch::new(at("192.0.2.1:4000"), None);
        send(&mut latch, "192.0.2.1:4999", 1, 8);
        latch.describe(at("192.0.2.1:4000"), None);
        assert_eq!(latch.locked(), Some(at("192.0.2.1:4999")));
        latch.describe(at("192.0.2.44:4000"), None);
        assert_eq!(latch.locked(), None);
        assert_eq!(
            send(&mut latch, "192.0.2.1:4999", 9, 1),
            Admission::Stranger
        );
    }
}
