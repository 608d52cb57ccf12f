//! Finds out what clients can do, once for each hash that presence carries (XEP-0115), and sends
//! them what they want to have when they become available.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use omnid_telemetry::limited;

use super::{
    accounts::Cell,
    server::{Server, token},
};
use crate::{
    data,
    engine::{
        caps::{self, Caps, Claim},
        pubsub::Happened,
        wish::{Wish, Wishes},
    },
    features::pep,
    wire::{BareJid, Element, Jid, Kind, PresenceType, Stanza, ns},
};

/// Hashes that are remembered,
const KNOWN: usize = 10_000;
/// and questions that are open.
const ASKED: usize = 10_000;

/// What is known of clients.
#[derive(Default)]
pub(crate) struct Known {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    known: HashMap<Claim, Arc<Caps>>,
    order: VecDeque<Claim>,
    asked: HashMap<String, Question>,
    questions: VecDeque<String>,
}

struct Question {
    claim: Claim,
    who: Jid,
    asker: BareJid,
}

impl Known {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, claim: &Claim) -> Option<Arc<Caps>> {
        self.state().known.get(claim).cloned()
    }

    fn ask(&self, question: Question) -> String {
        let id = format!("caps-{}", token());
        let mut state = self.state();
        if state.questions.len() >= ASKED
            && let Some(oldest) = state.questions.pop_front()
        {
            state.asked.remove(&oldest);
        }
        state.questions.push_back(id.clone());
        state.asked.insert(id.clone(), question);
        id
    }

    fn answered(&self, id: &str) -> Option<Question> {
        self.state().asked.remove(id)
    }

    fn learn(&self, claim: Claim, caps: Arc<Caps>) {
        let mut state = self.state();
        if state.known.insert(claim.clone(), caps).is_none() {
            state.order.push_back(claim);
        }
        if state.order.len() > KNOWN
            && let Some(oldest) = state.order.pop_front()
        {
            state.known.remove(&oldest);
        }
    }
}

impl Server {
    /// An account sees presence, its own clients' too.
    pub(crate) async fn seen(&self, cell: &Cell, presence: &Stanza) -> Wishes {
        let mut wishes = Wishes::new();
        let Some(who) = presence.from().filter(|who| !who.is_bare()) else {
            return wishes;
        };
        if presence.kind() == Kind::Presence(PresenceType::Unavailable) {
            cell.live().unwatch(who);
            return wishes;
        }
        if presence.kind() != Kind::Presence(PresenceType::Available)
            || !self.settings.load().features.has(pep::NAME)
        {
            return wishes;
        }
        if !cell.live().may_watch(who) {
            return wishes;
        }
        let Some(claim) = Claim::find(presence) else {
            cell.live().unwatch(who);
            return wishes;
        };
        if let Some(caps) = self.caps.find(&claim) {
            return self.watches(cell, who, &caps).await;
        }
        let asker = cell.live().jid().clone();
        let node = format!("{}#{}", claim.node, claim.ver);
        let (from, to) = (asker.clone(), who.clone());
        let id = self.caps.ask(Question {
            claim,
            who: who.clone(),
            asker,
        });
        let query = Element::new("query", ns::DISCO_INFO).attr("node", node);
        let iq = Element::new("iq", ns::CLIENT)
            .attr("type", "get")
            .attr("id", id)
            .attr("from", from.as_str())
            .attr("to", to.as_str())
            .child(query);
        wishes.extend(Wish::route(&iq));
        wishes
    }

    /// A client answers what it can do; anything else is nobody's answer.
    pub(crate) async fn answered(&self, cell: &Cell, iq: &Stanza) -> Wishes {
        let id = iq.id().filter(|id| id.starts_with("caps-"));
        let Some(question) = id.and_then(|id| self.caps.answered(&id)) else {
            return Wishes::new();
        };
        let of = (iq.from(), cell.live().jid().clone());
        if of != (Some(&question.who), question.asker) {
            return Wishes::new();
        }
        let tree = iq.to_element().ok();
        let query = tree
            .as_ref()
            .and_then(|tree| tree.get_child("query", ns::DISCO_INFO));
        let Some(query) = query else {
            return Wishes::new();
        };
        let caps = Arc::new(caps::caps(query));
        if question.claim.is_of(query) {
            self.caps.learn(question.claim, caps.clone());
        }
        self.watches(cell, &question.who, &caps).await
    }

    /// A client that can do so much sees an account: it gets the last items that it wants.
    async fn watches(&self, cell: &Cell, who: &Jid, caps: &Arc<Caps>) -> Wishes {
        let (owner, nodes) = {
            let mut live = cell.live();
            if !live.watch(who, caps) {
                return Wishes::new();
            }
            (live.jid().clone(), live.to_send(who, caps))
        };
        if nodes.is_empty() {
            return Wishes::new();
        }
        let last = self
            .ground
            .database
            .read(move |reader| {
                let mut last = Vec::new();
                for node in &nodes {
                    let items = data::pubsub::items(reader, owner.as_str(), node, 1)?;
                    if !items.is_empty() {
                        last.push((node.clone(), items));
                    }
                }
                Ok(last)
            })
            .await;
        match last {
            Ok(last) => {
                let live = cell.live();
                let told = last
                    .into_iter()
                    .filter_map(|(node, items)| live.tell(who, &node, &Happened::Published(items)));
                told.collect()
            }
            Err(error) => {
                limited!(Duration::from_secs(10), error, "items were not read", %error);
                Wishes::new()
            }
        }
    }
}
