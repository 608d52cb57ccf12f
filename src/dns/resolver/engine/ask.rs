//! One question to one server, with all the ways in which servers are odd: no EDNS, cookies,
//! truncation, silence.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Resolver;
use super::budget::{Fault, Request, reason};
use super::network::{Carrier, Lost, Opt, Outgoing, Style};
use crate::wire::code::{Rcode, RrType};
use crate::wire::message::Message;
use crate::wire::name::{Name, NameRef};
use crate::wire::reader::flag;

/// Messages to one server for one question: without EDNS, with a new cookie, over TCP.
const MAX_ROUNDS: usize = 5;
/// How long a connection and an answer over it may take.
const STREAM_WAIT: Duration = Duration::from_secs(3);

/// What came of asking one server.
pub(crate) enum Asked {
    /// A whole message.
    Answer(Box<(Message, Opt)>),
    /// Nothing, or nothing that can be read.
    Nothing,
}

impl Resolver {
    /// Asks one server.
    pub(crate) async fn ask_server(
        &self,
        request: &Request,
        zone: &Name,
        server: (SocketAddr, &Carrier),
        question: (NameRef<'_>, RrType),
        forwarder: bool,
    ) -> Result<Asked, Fault> {
        let (address, given) = server;
        let (network, memory) = (&*self.network, &self.memory);
        let per_zone = self.settings.budget.per_zone;
        let Some(_place) = memory.quota.enter(zone, per_zone) else {
            memory.counts.limited.fetch_add(1, Ordering::Relaxed);
            request.spend();
            return Err(Fault(reason::OTHER));
        };
        let mut carrier = given.clone();
        let mut plain = false;
        for _ in 0..MAX_ROUNDS {
            let now = network.now();
            request.take_query(now)?;
            let manner = memory.servers.manner(address, network);
            let edns = manner.edns && !plain;
            let udp = carrier == Carrier::Udp;
            let style = Style {
                recursion_desired: forwarder,
                checking_disabled: forwarder && self.settings.validate,
                edns,
                dnssec_ok: true,
                cookie: Some(manner.cookie.as_slice())
                    .filter(|_| edns && !matches!(carrier, Carrier::Tls(_))),
                mix_case: self.settings.mix_case && udp,
                padded: matches!(carrier, Carrier::Tls(_)),
            };
            let query = Outgoing::new(question.0, question.1, style, network);
            let left = request.deadline.saturating_duration_since(now);
            // Forwarders may have to look far themselves.
            let wait = match (udp, forwarder) {
                (true, true) => manner.wait * 3,
                (true, false) => manner.wait,
                (false, _) => STREAM_WAIT,
            };
            memory.counts.sent.fetch_add(1, Ordering::Relaxed);
            let came = network
                .exchange(address, &carrier, &query, wait.min(left))
                .await;
            let bytes = match came {
                Ok(bytes) => bytes,
                Err(Lost::Forged) if udp => {
                    carrier = Carrier::Tcp;
                    continue;
                }
                Err(lost) => {
                    memory.counts.lost.fetch_add(1, Ordering::Relaxed);
                    memory.servers.failed(address, lost, network);
                    return Ok(Asked::Nothing);
                }
            };
            let took = network.now().saturating_duration_since(now);
            // Connections take several round trips, and say little of datagrams.
            if udp || *given != Carrier::Udp {
                memory.servers.answered(address, took, network);
            }
            let Ok(message) = Message::read(&bytes) else {
                // Middleboxes cut long datagrams; a stream comes whole or not at all.
                if udp {
                    carrier = Carrier::Tcp;
                    continue;
                }
                return Ok(Asked::Nothing);
            };
            let opt = Opt::of(&message);
            let rcode = Rcode(message.header.rcode().0 | opt.extended);
            if edns && !opt.present && matches!(rcode, Rcode::FORMERR | Rcode::NOTIMP) {
                memory.servers.without_edns(address, network);
                continue;
            }
            if edns && rcode == Rcode::BADVERS {
                plain = true;
                continue;
            }
            if let Some(cookie) = &opt.cookie {
                // Somebody else's cookie: somebody else's answer (RFC 7873 5.3).
                if style.cookie.is_some() && !memory.servers.cookie(address, cookie, network) && udp
                {
                    carrier = Carrier::Tcp;
                    continue;
                }
                if rcode == Rcode::BADCOOKIE {
                    continue;
                }
            } else if udp && style.cookie.is_some() && memory.servers.has_cookie(address, network) {
                // A server that has sent cookies does not stop (RFC 7873 5.3); who forges an
                // answer has none to send.
                carrier = Carrier::Tcp;
                continue;
            }
            if udp && message.header.flags & flag::TC != 0 {
                carrier = Carrier::Tcp;
                continue;
            }
            return Ok(Asked::Answer(Box::new((message, opt))));
        }
        Ok(Asked::Nothing)
    }
}
