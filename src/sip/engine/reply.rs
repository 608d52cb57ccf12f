//! Answers of our own, and where answers go.

use std::{borrow::Cow, net::SocketAddr};

use bytes::Bytes;

use super::{Destination, Flow, Settings};
use crate::wire::{HeaderName, Message, Response, Transport, reason_phrase};

/// An answer of our own.
#[derive(Debug, Clone, Default)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) reason: Option<Cow<'static, str>>,
    pub(super) headers: Vec<(HeaderName, Box<[u8]>)>,
    /// Whether it goes to somebody who has not shown who they are, and so counts against them.
    pub(super) unasked: bool,
}

impl Reply {
    /// With the status' usual reason.
    pub(super) fn new(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    /// The same, to a stranger.
    pub(super) fn unasked(status: u16) -> Self {
        Self {
            unasked: true,
            ..Self::new(status)
        }
    }

    pub(super) fn because(status: u16, reason: &'static str) -> Self {
        Self {
            reason: Some(reason.into()),
            ..Self::new(status)
        }
    }

    pub(super) fn header(&mut self, name: HeaderName, value: &[u8]) {
        self.headers.push((name, value.into()));
    }

    pub(super) fn with(mut self, name: HeaderName, value: &[u8]) -> Self {
        self.header(name, value);
        self
    }
}

impl Reply {
    /// The response. To a stranger it is not much larger than what it answers, as long as what can
    /// be left out makes it so: he may not be where he says, and another would get it.
    pub(super) fn render(
        &self,
        request: &Message,
        arrival: &Flow,
        tag: &str,
        settings: &Settings,
    ) -> Bytes {
        let whole = self.response(request, arrival.remote, tag, settings, true);
        let bound = request.bytes().len() * 13 / 10;
        if self.unasked && arrival.transport == Transport::Udp && whole.len() > bound {
            return self.response(request, arrival.remote, tag, settings, false);
        }
        whole
    }

    fn response(
        &self,
        request: &Message,
        source: SocketAddr,
        tag: &str,
        settings: &Settings,
        whole: bool,
    ) -> Bytes {
        let reason = self.reason.as_deref();
        let reason = reason.unwrap_or(reason_phrase(self.status));
        let mut response = Response::new(request, source, self.status, reason, tag);
        for (name, value) in &self.headers {
            if whole || *name != HeaderName::Allow {
                response.header(*name, value);
            }
        }
        if whole && !settings.server.is_empty() && self.status > 100 {
            response.header(HeaderName::Server, settings.server.as_bytes());
        }
        response.finish()
    }
}

/// Where the answer to a request goes (RFC 3261 18.2.2, RFC 3581 4): back where it came from. Only
/// a client that is not behind a NAT, and did not ask for better, is answered at the port it names.
pub(super) fn reply_to(request: &Message, arrival: &Flow) -> Destination {
    let mut flow = *arrival;
    let Ok(via) = request.via() else {
        return flow.into();
    };
    let port = via.port.unwrap_or_else(|| flow.transport.default_port());
    let here = via.host.address() == Some(flow.remote.ip());
    if flow.transport.is_reliable() {
        let direct =
            (flow.transport == Transport::Tcp && here).then(|| (flow.remote.ip(), port).into());
        return Destination { flow, direct };
    }
    if here && via.params.get("rport").is_none() {
        flow.remote.set_port(port);
    }
    flow.into()
}
