//! What we do at a trunk of our own accord: register, for as long as it takes, and ask whether its
//! servers are there.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Engine, Flow, Key, Registration, Turn, client_digest,
    table::{Owner, Wake},
};
use crate::{
    trunk::Trunk,
    wire::{HeaderName, Message, Method},
};

/// The longest wait after a failed registration.
const PATIENCE: Duration = Duration::from_secs(600);
/// How soon a trunk is looked after whose servers are not known yet.
const SOON: Duration = Duration::from_millis(200);

/// One trunk's.
pub(super) struct Agent {
    trunk: Arc<Trunk>,
    call_id: String,
    tag: u64,
    cseq: u32,
    /// How long to ask for; a provider may want more.
    expires: u32,
    /// When to register next; none while an answer is awaited.
    register_at: Option<Instant>,
    /// How often in a row it has failed.
    failures: u32,
    /// Whether the last request answered a challenge.
    answered: bool,
    qualify_at: Option<Instant>,
    /// Whom each request that is under way went to.
    asked: Vec<(usize, Method, Flow)>,
    numbers: usize,
    armed: Option<Instant>,
}

impl Engine {
    /// Looks after these trunks from now on, each with a Call-ID that brings answers here.
    pub fn look_after(&mut self, trunks: Vec<(Arc<Trunk>, String)>, turn: &mut Turn<'_>) {
        let mut kept = Vec::new();
        for key in std::mem::take(&mut self.agent_keys) {
            let Some(agent) = self.agents.get(key) else {
                continue;
            };
            if trunks.iter().any(|(trunk, _)| *trunk == agent.trunk) {
                kept.push(key);
                continue;
            }
            let state = turn.shared.trunks.state(&agent.trunk.name);
            if matches!(state.registration, Registration::Until(_)) {
                self.register_at_trunk(key, 0, turn);
            }
            self.agents.remove(key);
        }
        for (trunk, call_id) in trunks {
            let same = |key: &Key| {
                self.agents
                    .get(*key)
                    .is_some_and(|known| known.trunk == trunk)
            };
            if kept.iter().any(same) {
                continue;
            }
            let agent = Agent {
                call_id,
                tag: self.branches.secret(),
                cseq: 0,
                expires: trunk.register.unwrap_or(0),
                register_at: trunk.register.map(|_| turn.now),
                failures: 0,
                answered: false,
                qualify_at: trunk.qualify.map(|_| turn.now),
                asked: Vec::new(),
                numbers: 0,
                armed: None,
                trunk,
            };
            kept.push(self.agents.insert(agent));
        }
        self.agent_keys = kept;
        for key in self.agent_keys.clone() {
            self.wake_agent(key, turn);
        }
    }

    /// It may be time for an agent to do something.
    pub(super) fn wake_agent(&mut self, key: Key, turn: &mut Turn<'_>) {
        let Some(agent) = self.agents.get_mut(key) else {
            return;
        };
        // It may be too early: the wheel does not reach as far as a registration.
        agent.armed = None;
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= turn.now);
        let (register, qualify) = (due(agent.register_at), due(agent.qualify_at));
        if register || qualify {
            let servers = turn.shared.trunks.state(&agent.trunk.name).servers;
            if servers.is_empty() {
                // Its name is still being looked up.
                let soon = turn.now.checked_add(SOON);
                if register {
                    agent.register_at = soon;
                }
                if qualify {
                    agent.qualify_at = soon;
                }
            } else {
                if qualify {
                    agent.qualify_at = agent
                        .trunk
                        .qualify
                        .and_then(|every| turn.now.checked_add(every));
                    for (flow, _) in servers {
                        self.ask_trunk(key, Method::Options, flow, None, None, turn);
                    }
                }
                if register && let Some(agent) = self.agents.get(key) {
                    let expires = agent.expires;
                    self.register_at_trunk(key, expires, turn);
                }
            }
        }
        self.arm(key);
    }

    /// An agent's request got an answer, or will get none.
    pub(super) fn agent_answered(
        &mut self,
        key: Key,
        number: usize,
        response: Option<&Message>,
        turn: &mut Turn<'_>,
    ) {
        let status = response.and_then(Message::status).unwrap_or(408);
        if status < 200 {
            return;
        }
        let Some(agent) = self.agents.get_mut(key) else {
            return;
        };
        let Some(at) = agent.asked.iter().position(|(asked, ..)| *asked == number) else {
            return;
        };
        let (_, method, flow) = agent.asked.swap_remove(at);
        let name = agent.trunk.name.clone();
        // Whatever it says, it is there; only who is overloaded or shut down is not.
        turn.shared
            .trunks
            .set_up(&name, flow.remote, !matches!(status, 408 | 503));
        if method != Method::Register {
            return;
        }
        match status {
            200..=299 => {
                let granted = response.map_or(0, |response| granted(response, agent.expires));
                agent.failures = 0;
                agent.answered = false;
                turn.shared
                    .trunks
                    .set_registration(&name, Registration::Until(turn.unix + u64::from(granted)));
                // Again in time for a few tries before it runs out.
                let wait = u64::from(granted) * 4 / 5;
                agent.register_at = turn.now.checked_add(Duration::from_secs(wait.max(1)));
            }
            401 | 407 if !agent.answered => {
                agent.answered = true;
                let uri = agent.uri();
                let cnonce = self.branches.secret();
                let login = agent.trunk.login.as_ref().zip(response);
                let answer = login.and_then(|((user, password), response)| {
                    let login = (user.as_str(), password.expose());
                    client_digest::answer(response, "REGISTER", &uri, login, cnonce)
                });
                match answer {
                    Some(answer) => {
                        let expires = agent.expires;
                        self.ask_trunk(
                            key,
                            Method::Register,
                            flow,
                            Some(expires),
                            Some(&answer),
                            turn,
                        );
                    }
                    None => self.register_failed(key, status, turn),
                }
            }
            423 => {
                let least = response.and_then(|response| {
                    let value = response.value(HeaderName::MinExpires)?;
                    std::str::from_utf8(value).ok()?.trim().parse::<u32>().ok()
                });
                match least.filter(|least| (agent.expires + 1..=86_400).contains(least)) {
                    Some(least) => {
                        agent.expires = least;
                        agent.answered = false;
                        self.register_at_trunk(key, least, turn);
                    }
                    None => self.register_failed(key, status, turn),
                }
            }
            _ => self.register_failed(key, status, turn),
        }
        self.arm(key);
    }

    fn register_failed(&mut self, key: Key, status: u16, turn: &mut Turn<'_>) {
        let Some(agent) = self.agents.get_mut(key) else {
            return;
        };
        turn.shared
            .trunks
            .set_registration(&agent.trunk.name, Registration::Failed(status));
        agent.answered = false;
        let doubled = 1_u32
            .checked_shl(agent.failures.min(16))
            .unwrap_or(u32::MAX);
        agent.failures = agent.failures.saturating_add(1);
        let wait = agent.trunk.retry.saturating_mul(doubled).min(PATIENCE);
        agent.register_at = turn.now.checked_add(wait);
    }

    fn register_at_trunk(&mut self, key: Key, expires: u32, turn: &mut Turn<'_>) {
        let Some(agent) = self.agents.get_mut(key) else {
            return;
        };
        agent.register_at = None;
        // The one that answers, or each in turn while none does.
        let servers = turn.shared.trunks.servers(&agent.trunk.name);
        let turns = usize::try_from(agent.failures).unwrap_or(0);
        let is_up = turn.shared.trunks.state(&agent.trunk.name);
        let any_up = is_up.servers.iter().any(|(_, up)| *up);
        let at = if any_up {
            0
        } else {
            turns % servers.len().max(1)
        };
        match servers.get(at) {
            Some(flow) => self.ask_trunk(key, Method::Register, *flow, Some(expires), None, turn),
            None => self.register_failed(key, 408, turn),
        }
    }

    fn ask_trunk(
        &mut self,
        key: Key,
        method: Method,
        flow: Flow,
        expires: Option<u32>,
        answer: Option<&(HeaderName, String)>,
        turn: &mut Turn<'_>,
    ) {
        let Some(agent) = self.agents.get_mut(key) else {
            return;
        };
        agent.cseq = agent.cseq.wrapping_add(1) & 0x7fff_ffff;
        agent.numbers = agent.numbers.wrapping_add(1);
        let number = agent.numbers;
        agent.asked.push((number, method, flow));
        let settings = turn.settings;
        let branches = &mut self.branches;
        let make = |client| {
            let branch = branches.make(client, 0);
            let mut text = agent.text(method, &flow, &branch, settings);
            if let Some(expires) = expires {
                text += &format!("Expires: {expires}\r\n");
            }
            if let Some((name, value)) = answer {
                text += &format!("{}: {value}\r\n", name.as_str());
            }
            text += "Content-Length: 0\r\n\r\n";
            (branch, text.into())
        };
        let when = (settings.timers, turn.now);
        let owner = Owner::Agent(key, number);
        let (client, effects) = self.table.send(owner, method, flow, when, make);
        self.apply(client, effects, None, turn);
    }

    fn arm(&mut self, key: Key) {
        let Some(agent) = self.agents.get_mut(key) else {
            return;
        };
        let next = agent.register_at.into_iter().chain(agent.qualify_at).min();
        if let Some(next) = next
            && agent.armed.is_none_or(|armed| next < armed)
        {
            agent.armed = Some(next);
            self.table.wake(next, Wake::Agent(key));
        }
    }
}

impl Agent {
    fn host(&self) -> String {
        self.trunk.host()
    }

    fn uri(&self) -> String {
        format!("sip:{}", self.host())
    }

    fn text(
        &self,
        method: Method,
        flow: &Flow,
        branch: &str,
        settings: &super::Settings,
    ) -> String {
        let ours = settings.sent_by(flow);
        let user = match &self.trunk.login {
            Some((user, _)) => user.as_str(),
            None => "omnid",
        };
        let from = match &self.trunk.login {
            Some((user, _)) => format!("sip:{user}@{}", self.host()),
            None => format!("sip:{ours}"),
        };
        let to = match method {
            Method::Register => from.clone(),
            _ => self.uri(),
        };
        let name = method.name();
        let rport = if flow.transport.is_reliable() {
            ""
        } else {
            ";rport"
        };
        let mut text = format!(
            "{name} {} SIP/2.0\r\nVia: SIP/2.0/{} {ours};branch={branch}{rport}\r\n\
             Max-Forwards: 70\r\nFrom: <{from}>;tag={:x}\r\nTo: <{to}>\r\nCall-ID: {}\r\n\
             CSeq: {} {name}\r\nContact: <sip:{user}@{ours};transport={}>\r\n",
            self.uri(),
            flow.transport,
            self.tag,
            self.call_id,
            self.cseq,
            flow.transport.uri_name(),
        );
        if !settings.server.is_empty() {
            text += &format!("User-Agent: {}\r\n", settings.server);
        }
        text
    }
}

/// For how many seconds a registration was granted.
fn granted(response: &Message, asked: u32) -> u32 {
    let contacts = response.list(HeaderName::Contact);
    let expires = contacts.filter_map(|contact| {
        let address = crate::wire::Address::parse(contact, "Contact").ok()?;
        let expires = address.params.value("expires")?;
        std::str::from_utf8(expires).ok()?.parse::<u32>().ok()
    });
    // Several phones may share the account; the shortest is on the safe side.
    let least = expires.filter(|expires| *expires > 0).min();
    least
        .or_else(|| response.expires())
        .unwrap_or(asked)
        .clamp(1, 86_400)
}
