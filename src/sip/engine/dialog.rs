//! The way of a request as far as its own headers say: its Route, and its dialog.

use omnid_identity::Address;

use super::{
    Engine, Flow, Turn,
    admit::{Pass, Plan, refuse_relay},
    forward::Passing,
    proxy::Target,
    reply::Reply,
    route::Leg,
};
use crate::wire::{Address as NameAddr, HeaderName, Message, Method, Uri};

impl Engine {
    /// Where a request goes on the strength of its own headers alone: its Route, and whether there
    /// is any way left for it (RFC 3261 16.3, 16.4).
    pub(super) fn route(
        &self,
        request: &Message,
        arrival: &Flow,
        turn: &Turn<'_>,
    ) -> Result<(Passing, Box<[u8]>), Reply> {
        let mut passing = Passing::default();
        let mut uri_text: Box<[u8]> = request.uri_text().into();
        let routes: Vec<&[u8]> = request.list(HeaderName::Route).collect();
        let mut pending = routes.as_slice();
        if let Ok(Uri::Sip(uri)) = request.uri()
            && let Some(leg) = turn.shared.routes.read(&uri, request)
        {
            // RFC 3261 16.4: the peer knows no loose routing, and put us here; what it wants to
            // reach is the last of its routes.
            let last = pending.split_last();
            let Some((last, others)) = last else {
                return Err(Reply::unasked(404));
            };
            let address = NameAddr::parse(last, "Route");
            let target = address.map_err(|_| Reply::unasked(400))?.uri_text;
            uri_text = target.into();
            passing.strict = Some(target.into());
            passing.leg = Some(leg);
            pending = others;
        }
        for route in pending {
            let address = NameAddr::parse(route, "Route");
            let address = address.map_err(|_| Reply::unasked(400))?;
            let Uri::Sip(uri) = &address.uri else {
                break;
            };
            if let Some(leg) = turn.shared.routes.read(uri, request) {
                passing.leg = Some(leg);
            } else if !turn.settings.is_us(uri, arrival) {
                break;
            }
            passing.routes_done += 1;
        }
        let left = pending.len() - passing.routes_done;
        // A dialog's way beyond us leads through whomever we had it from, and back there it goes.
        if left > 0 && passing.leg.is_none() {
            return Err(refuse_relay());
        }
        if request.to_tag().is_none() {
            // Nothing begins with a way back.
            passing.leg = None;
        }
        let ours = request.method() == Method::Register
            || matches!(request.uri(), Ok(Uri::Sip(uri)) if uri.user.is_none());
        if request.max_forwards() == Some(0) && !ours {
            return Err(Reply::unasked(483));
        }
        let trail = self.branches.trail(request, passing.routes_done);
        if self.branches.has_been_here(request, trail) {
            return Err(Reply::unasked(482));
        }
        Ok((passing, uri_text))
    }

    /// The way of an ACK for a 2xx.
    pub(super) fn within_dialog(
        &mut self,
        ack: &Message,
        arrival: &Flow,
        turn: &Turn<'_>,
    ) -> Option<(Passing, Flow)> {
        let (passing, _) = self.route(ack, arrival, turn).ok()?;
        let to = self.far_end(ack, arrival, passing.leg?, turn);
        Some((passing, to))
    }

    /// A request of a dialog goes to its other end.
    pub(super) fn pass_along(
        &mut self,
        request: &Message,
        arrival: &Flow,
        passing: Passing,
        turn: &Turn<'_>,
    ) -> Plan {
        let Some(leg) = passing.leg else {
            return Reply::new(481).into();
        };
        let target = Target::only(self.far_end(request, arrival, leg, turn));
        Plan::Pass(Box::new(Pass {
            passing,
            targets: vec![target],
            then: Vec::new(),
            apart: false,
            from: None,
            to: None,
        }))
    }

    fn far_end(&mut self, request: &Message, arrival: &Flow, leg: Leg, turn: &Turn<'_>) -> Flow {
        let flow = self.calls.pass(request, &leg, arrival, turn.now);
        if flow.connection == 0 || (turn.alive)(&flow) {
            return flow;
        }
        // The phone's connection broke. If it has registered again since, it is found over the new
        // one.
        let parties = self.calls.parties(request, &leg).into_iter().flatten();
        let again = parties
            .filter_map(|party| party.parse::<Address>().ok())
            .flat_map(|party| turn.shared.location.lookup(&party, turn.unix))
            .find(|binding| Uri::parse(binding.uri.as_bytes()) == request.uri());
        again
            .and_then(|binding| binding.destination(turn.alive))
            .unwrap_or(flow)
    }
}
