//! A call placed: the plan's stages turned into the places where its INVITE goes.

use std::sync::Arc;

use omnid_identity::Address;

use super::{
    Engine, Question, Turn,
    admit::{Facts, Pass, Plan, phones},
    forward::Passing,
    proxy::{Outward, Target},
    reply::Reply,
};
use crate::{
    plan::{Call, Caller, Cause, Diversion, End, Leg, Office, Stage, Way},
    wire::{HeaderName, Message, Uri},
};

/// How far apart stages are ranked: more than the preferences of one account's phones.
const STAGE: u32 = 2000;

impl Engine {
    /// Where a call goes, or why it does not.
    pub(super) fn place(
        &self,
        called: Address,
        caller: Caller,
        mut passing: Passing,
        request: &Message,
        facts: &Facts,
        turn: &Turn<'_>,
    ) -> Plan {
        let outside = match &caller {
            Caller::Trunk(_) => Some(address_text(request)),
            Caller::User(_) => None,
        };
        let account = match &facts.reached {
            // Only a route brings a call in, and no account is looked for.
            _ if outside.is_some() => None,
            Some(reached) => reached.clone(),
            None if turn.is_reachable(&called) => Some(called.clone()),
            None => match turn.extension(called.domain(), called.user()) {
                Some(account) => Some(account),
                None => return Plan::Ask(Box::new(Question::Account(called))),
            },
        };
        let call = Call {
            caller,
            number: called.user(),
            domain: called.domain(),
            account: account.as_ref(),
            unix: turn.unix,
            seed: self.branches.trail(request, 0),
            diverted: request.list(HeaderName::Diversion).count(),
        };
        let way = turn.settings.plan.place(&call, turn);
        let (way, targets) = reachable(way, turn);
        if targets.is_empty() {
            let (status, reason) = way.refusal.unwrap_or((480, ""));
            return match reason {
                "" => Reply::new(status).into(),
                reason => Reply::because(status, reason).into(),
            };
        }
        passing.record_route = true;
        Plan::Pass(Box::new(Pass {
            passing,
            targets,
            apart: is_apart(&way),
            then: way.then,
            from: outside.or_else(|| facts.account.as_ref().map(Address::to_string)),
            to: Some(called.to_string()),
        }))
    }
}

/// A way's targets, or those of the first way after it that has any.
pub(super) fn reachable(mut way: Way, turn: &Turn<'_>) -> (Way, Vec<Target>) {
    loop {
        let targets = targets(&way.stages, turn);
        if !targets.is_empty() || way.then.is_empty() {
            return (way, targets);
        }
        // Those who are registered may be so over connections that have broken.
        way = turn.settings.plan.next(way.then, Cause::Failed, turn);
    }
}

/// Whether those who are called are nothing to each other: several accounts, and not several phones.
pub(super) fn is_apart(way: &Way) -> bool {
    way.stages
        .iter()
        .map(|stage| stage.legs.len())
        .sum::<usize>()
        > 1
}

fn targets(stages: &[Stage], turn: &Turn<'_>) -> Vec<Target> {
    let mut all: Vec<Target> = Vec::new();
    for (stage, base) in stages.iter().zip((0..1_000_000).rev()) {
        // It joins those before it, if there are any.
        let join = stage.join.filter(|_| !all.is_empty());
        for leg in &stage.legs {
            let account = match &leg.end {
                End::Account(account) => account,
                End::Trunk { trunk, number } => {
                    for mut target in through_trunk(*trunk, number, leg, turn) {
                        target.rank += base * STAGE;
                        target.ring = stage.ring;
                        all.push(target);
                    }
                    continue;
                }
            };
            let bindings = turn.shared.location.lookup(account, turn.unix);
            let headers = diverted(&leg.diversions, Some(account)).map(Arc::from);
            for mut target in phones(account, bindings, turn) {
                target.rank += base * STAGE;
                target.ring = stage.ring;
                target.join = join;
                target.headers.clone_from(&headers);
                all.push(target);
            }
        }
    }
    let forks = turn.settings.forks.saturating_mul(8);
    all.truncate(forks);
    all
}

/// The servers of a trunk, one after the other.
fn through_trunk(index: usize, number: &str, leg: &Leg, turn: &Turn<'_>) -> Vec<Target> {
    let Some(trunk) = turn.settings.trunks.get(index) else {
        return Vec::new();
    };
    let host = trunk.host();
    let shown = trunk.caller_id.clone().or_else(|| {
        let caller = leg.caller.as_ref()?;
        let extensions = turn.shared.extensions.load();
        let own = extensions.iter().filter(|(_, account)| *account == caller);
        let number = own.map(|((_, number), _)| number.clone()).min();
        number.or_else(|| Some(caller.user().to_owned()))
    });
    let shown = escape(shown.as_deref().unwrap_or("anonymous"));
    let mut headers = diverted(&leg.diversions, None).unwrap_or_default();
    let asserted = format!("<sip:{shown}@{host}>");
    headers.push((HeaderName::PAssertedIdentity, asserted.into_bytes().into()));
    let headers: Arc<[_]> = headers.into();
    // Where one logs in, calls are taken from that account; what is shown stands beside it.
    let from = match &trunk.login {
        Some((name, _)) if trunk.caller_id.is_none() => name.clone(),
        _ => shown,
    };
    let uri = format!("sip:{}@{host}", escape(number));
    let servers = turn.shared.trunks.servers(&trunk.name);
    let ranked = servers.into_iter().zip((0..STAGE).rev());
    let targets = ranked.map(|(flow, rank)| Target {
        uri: Some(uri.clone().into_bytes().into()),
        rank,
        headers: Some(headers.clone()),
        outward: Some(Outward {
            trunk: index,
            from: format!("<sip:{from}@{host}>"),
            reply_within: trunk.reply_within,
        }),
        ..Target::only(flow)
    });
    targets.collect()
}

/// A user part as a URI may have it.
fn escape(user: &str) -> String {
    let mut text = String::with_capacity(user.len());
    for byte in user.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// Whom a call from outside is from, in words.
fn address_text(request: &Message) -> String {
    let text = |from: crate::wire::Address<'_>| match from.uri {
        Uri::Sip(uri) => uri.user_text().map(|user| format!("{user}@{}", uri.host)),
        _ => None,
    };
    let from = request.from().ok().and_then(text);
    from.unwrap_or_else(|| "anonymous".to_owned())
}

/// What says that a call was sent on (RFC 5806, RFC 7044).
fn diverted(
    diversions: &[Diversion],
    account: Option<&Address>,
) -> Option<Vec<(HeaderName, Box<[u8]>)>> {
    if diversions.is_empty() {
        return None;
    }
    let mut headers: Vec<(HeaderName, Box<[u8]>)> = Vec::new();
    let mut header = |name, value: String| headers.push((name, value.into_bytes().into()));
    // The latest stands first.
    for diversion in diversions.iter().rev() {
        let Diversion { by, reason } = diversion;
        header(
            HeaderName::Diversion,
            format!("<sip:{by}>;reason={reason};counter=1"),
        );
    }
    let mut history = String::new();
    let mut index = String::from("1");
    let mut cause = String::new();
    let ends = diversions.iter().map(|diversion| &diversion.by);
    for (end, next) in ends
        .chain(account)
        .zip(diversions.iter().map(Some).chain([None]))
    {
        if !history.is_empty() {
            history.push_str(", ");
        }
        history.push_str(&format!("<sip:{end}{cause}>;index={index}"));
        index.push_str(".1");
        cause = next.map_or_else(String::new, |next| format!(";cause={}", cause_of(next)));
    }
    header(HeaderName::HistoryInfo, history);
    Some(headers)
}

/// RFC 4458's number for why a call was sent on.
const fn cause_of(diversion: &Diversion) -> u16 {
    match diversion.reason.as_bytes() {
        b"user-busy" | b"do-not-disturb" => 486,
        b"no-answer" => 408,
        b"unavailable" => 404,
        _ => 302,
    }
}

impl Office for Turn<'_> {
    fn is_reachable(&self, account: &Address) -> bool {
        !self.shared.location.lookup(account, self.unix).is_empty()
    }

    fn is_busy(&self, account: &Address) -> bool {
        self.shared.load.of(account.as_str()) > 0
    }

    fn extension(&self, domain: &str, number: &str) -> Option<Address> {
        let extensions = self.shared.extensions.load();
        if extensions.is_empty() {
            return None;
        }
        extensions
            .get(&(domain.to_owned(), number.to_owned()))
            .cloned()
    }
}
