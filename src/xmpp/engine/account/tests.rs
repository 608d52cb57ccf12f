#![allow(clippy::unwrap_used)]
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::*;
use crate::wire::{
    Scope,
    stanza::{Incoming, read},
};

/// Keeps what a client would have received.
#[derive(Default)]
struct Inbox {
    seen: Mutex<Vec<String>>,
}

impl Inbox {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Outlet for Inbox {
    fn send(&self, stanza: &Stanza) -> bool {
        let text = String::from_utf8_lossy(&stanza.bytes()).into_owned();
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(text);
        true
    }

    fn send_kept(&self, stanza: &Stanza) -> bool {
        self.send(stanza)
    }

    fn then(&self, done: Box<dyn FnOnce(bool) + Send>) {
        done(true);
    }

    fn close(&self, error: StreamError) {
        let text = format!("closed: {}", error.condition.as_str());
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(text);
    }
}

/// Accounts of one server, and a network without delay.
struct World {
    accounts: BTreeMap<String, Account>,
    inboxes: BTreeMap<String, (SessionId, Arc<Inbox>)>,
    kept: Vec<String>,
    /// Stanzas for other servers.
    away: Vec<String>,
    next: SessionId,
}

impl World {
    fn new(accounts: &[&str]) -> World {
        let account = |jid: &&str| {
            (
                jid.to_string(),
                Account::new(BareJid::new(jid).unwrap(), Roster::default()),
            )
        };
        World {
            accounts: accounts.iter().map(account).collect(),
            inboxes: BTreeMap::new(),
            kept: Vec::new(),
            away: Vec::new(),
            next: 0,
        }
    }

    fn bind(&mut self, full: &str) {
        let jid = Jid::new(full).unwrap();
        self.next += 1;
        let inbox = Arc::new(Inbox::default());
        let session = Session::new(self.next, jid.clone(), inbox.clone());
        let account = self.accounts.get_mut(jid.bare_str()).unwrap();
        let wishes = account.bind(session).map_err(|e| e.condition).unwrap();
        self.inboxes.insert(full.into(), (self.next, inbox));
        self.apply(wishes);
    }

    /// Binds, asks for the roster and becomes available.
    fn login(&mut self, full: &str) {
        self.bind(full);
        let (id, _) = self.inboxes[full].clone();
        let bare = Jid::new(full).unwrap().to_bare();
        let account = self.accounts.get_mut(bare.as_str()).unwrap();
        account.session_mut(id).unwrap().interested = true;
        self.send(full, "<presence/>");
    }

    fn drop(&mut self, full: &str) {
        let (id, _) = self.inboxes.remove(full).unwrap();
        let bare = Jid::new(full).unwrap().to_bare();
        let wishes = self.accounts.get_mut(bare.as_str()).unwrap().unbind(id);
        self.apply(wishes);
    }

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1)
    }

    /// A client sends text: the little of a router that these tests need.
    fn send(&mut self, full: &str, text: &str) {
        let jid = Jid::new(full).unwrap();
        let (id, _) = self.inboxes[full];
        let scope = Scope::client();
        let Ok(Incoming::Stanza(draft)) = read(text.as_bytes(), &scope) else {
            panic!("{text}")
        };
        let account = self.accounts.get_mut(jid.bare_str()).unwrap();
        let request = match draft.kind() {
            Ok(Kind::Presence(kind)) => Request::from_type(kind),
            _ => None,
        };
        if let Some(request) = request {
            let stanza = draft.stamp(jid.to_bare().as_jid(), None).unwrap();
            let plan = account.request(request, &stanza, Self::now()).unwrap();
            return self.carry_out(jid.bare_str(), plan);
        }
        let stanza = draft.stamp(&jid, None).unwrap();
        let wishes = match (stanza.kind(), stanza.to()) {
            (Kind::Presence(_), None) => account
                .broadcast(id, &stanza)
                .unwrap_or_else(|error| bounce_with(&stanza, &error)),
            (Kind::Presence(_), Some(_)) => {
                account.directed(id, &stanza).unwrap();
                smallvec![Wish::Route(stanza)]
            }
            _ => smallvec![Wish::Route(stanza)],
        };
        self.apply(wishes);
    }

    fn set_roster(&mut self, bare: &str, set: RosterSet) {
        let plan = self.accounts[bare].set_roster(set, Self::now()).unwrap();
        self.carry_out(bare, plan);
    }

    fn carry_out(&mut self, bare: &str, plan: Plan) {
        for change in &plan.changes {
            let wishes = self.accounts.get_mut(bare).unwrap().commit(change);
            self.apply(wishes);
        }
        self.apply(plan.then);
    }

    fn apply(&mut self, wishes: Wishes) {
        for wish in wishes {
            match wish {
                Wish::Send(outlet, stanza) => assert!(outlet.send(&stanza)),
                Wish::Route(stanza) => self.route(&stanza),
                Wish::Keep(stanza) => {
                    self.kept
                        .push(String::from_utf8_lossy(&stanza.bytes()).into_owned());
                }
                Wish::Probe { from, contact } => {
                    if let Some(account) = self.accounts.get(contact.as_str()) {
                        let wishes = account.probe(&from);
                        self.apply(wishes);
                    } else {
                        self.away.push(format!("probe {from} {contact}"));
                    }
                }
                Wish::Close(outlet, error) => outlet.close(error),
                Wish::HandOver(..) | Wish::Left(..) => {}
            }
        }
    }

    fn route(&mut self, stanza: &Stanza) {
        let bare = stanza.to().unwrap().to_bare();
        let Some(account) = self.accounts.get(bare.as_str()) else {
            return self
                .away
                .push(String::from_utf8_lossy(&stanza.bytes()).into_owned());
        };
        let wishes = match stanza.kind() {
            Kind::Message(_) => account.message(stanza),
            Kind::Iq(_) => account.iq(stanza),
            Kind::Presence(PresenceType::Probe) => account.probe(stanza.from().unwrap()),
            Kind::Presence(kind) => match Request::from_type(kind) {
                Some(request) => {
                    let plan = account.requested(request, stanza, Self::now());
                    return self.carry_out(bare.as_str(), plan);
                }
                None => account.presence(stanza),
            },
        };
        self.apply(wishes);
    }

    fn seen(&self, full: &str) -> Vec<String> {
        self.inboxes[full].1.take()
    }

    fn check(&self, full: &str, expect: &[&str]) {
        assert_eq!(self.seen(full), expect, "{full}");
    }

    /// Romeo and Juliet see each other.
    fn lovers() -> World {
        let mut world = World::new(&["romeo@m.lit", "juliet@c.lit", "nurse@c.lit"]);
        world.login("romeo@m.lit/orchard");
        world.login("juliet@c.lit/balcony");
        world.send(
            "romeo@m.lit/orchard",
            "<presence to='juliet@c.lit' type='subscribe'/>",
        );
        world.send(
            "juliet@c.lit/balcony",
            "<presence to='romeo@m.lit' type='subscribed'/>",
        );
        world.send(
            "juliet@c.lit/balcony",
            "<presence to='romeo@m.lit' type='subscribe'/>",
        );
        world.send(
            "romeo@m.lit/orchard",
            "<presence to='juliet@c.lit' type='subscribed'/>",
        );
        world.seen("romeo@m.lit/orchard");
        world.seen("juliet@c.lit/balcony");
        world
    }
}

/// RFC 6121 3.1, and what both sides' clients see of it.
#[test]
fn subscribing() {
    let mut world = World::new(&["romeo@m.lit", "juliet@c.lit"]);
    world.login("romeo@m.lit/orchard");
    world.login("juliet@c.lit/balcony");
    world.check(
        "romeo@m.lit/orchard",
        &["<presence to='romeo@m.lit' from='romeo@m.lit/orchard'/>"],
    );
    world.check(
        "juliet@c.lit/balcony",
        &["<presence to='juliet@c.lit' from='juliet@c.lit/balcony'/>"],
    );

    world.send(
        "romeo@m.lit/orchard",
        "<presence to='juliet@c.lit' type='subscribe' id='1'/>",
    );
    world.check(
        "romeo@m.lit/orchard",
        &[
            "<iq type='set' id='push-1' to='romeo@m.lit/orchard'><query xmlns='jabber:iq:roster' \
           ver='1'><item jid='juliet@c.lit' subscription='none' ask='subscribe'/></query></iq>",
        ],
    );
    world.check(
        "juliet@c.lit/balcony",
        &["<presence from='romeo@m.lit' to='juliet@c.lit' type='subscribe' id='1'/>"],
    );

    world.send(
        "juliet@c.lit/balcony",
        "<presence to='romeo@m.lit' type='subscribed'/>",
    );
    world.check(
        "juliet@c.lit/balcony",
        &[
            "<iq type='set' id='push-1' to='juliet@c.lit/balcony'><query xmlns='jabber:iq:roster' \
           ver='1'><item jid='romeo@m.lit' subscription='from'/></query></iq>",
        ],
    );
    world.check(
        "romeo@m.lit/orchard",
        &[
            "<iq type='set' id='push-2' to='romeo@m.lit/orchard'><query xmlns='jabber:iq:roster' \
             ver='2'><item jid='juliet@c.lit' subscription='to'/></query></iq>",
            "<presence from='juliet@c.lit' to='romeo@m.lit' type='subscribed'/>",
            "<presence to='romeo@m.lit' from='juliet@c.lit/balcony'/>",
        ],
    );
}

#[test]
fn presence_of_contacts() {
    let mut world = World::lovers();
    world.send(
        "juliet@c.lit/balcony",
        "<presence><show>away</show></presence>",
    );
    world.check(
        "romeo@m.lit/orchard",
        &["<presence to='romeo@m.lit' from='juliet@c.lit/balcony'><show>away</show></presence>"],
    );
    world.seen("juliet@c.lit/balcony");
    // A second client learns of the first, and of the contact.
    world.login("juliet@c.lit/chamber");
    let mut seen = world.seen("juliet@c.lit/chamber");
    seen.sort();
    assert_eq!(
        seen,
        [
            "<presence to='juliet@c.lit' from='juliet@c.lit/chamber'/>",
            "<presence to='juliet@c.lit/chamber' from='juliet@c.lit/balcony'><show>away</show></presence>",
            "<presence to='juliet@c.lit/chamber' from='romeo@m.lit/orchard'/>",
        ]
    );
    world.check(
        "romeo@m.lit/orchard",
        &["<presence to='romeo@m.lit' from='juliet@c.lit/chamber'/>"],
    );
    // A lost connection ends like a goodbye.
    world.drop("juliet@c.lit/chamber");
    let gone = "<presence to='romeo@m.lit' type='unavailable' from='juliet@c.lit/chamber'/>";
    world.check("romeo@m.lit/orchard", &[gone]);
    world.send(
        "juliet@c.lit/balcony",
        "<presence type='unavailable'><status>bye</status></presence>",
    );
    world.check(
        "romeo@m.lit/orchard",
        &["<presence to='romeo@m.lit' from='juliet@c.lit/balcony' type='unavailable'><status>bye</status></presence>"],
    );
    // Not available, so nothing more to lose.
    world.drop("juliet@c.lit/balcony");
    world.check("romeo@m.lit/orchard", &[]);
    // Whoever comes now is told that nobody is there.
    world.drop("romeo@m.lit/orchard");
    world.login("romeo@m.lit/orchard");
    world.check(
        "romeo@m.lit/orchard",
        &[
            "<presence to='romeo@m.lit' from='romeo@m.lit/orchard'/>",
            "<presence type='unavailable' from='juliet@c.lit' to='romeo@m.lit/orchard'/>",
        ],
    );
}

#[test]
fn unsubscribing_and_denying() {
    let mut world = World::lovers();
    world.send(
        "romeo@m.lit/orchard",
        "<presence to='juliet@c.lit' type='unsubscribe'/>",
    );
    let seen = world.seen("juliet@c.lit/balcony");
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(seen[0].contains("subscription='to'") && seen[1].contains("type='unsubscribe'"));
    // She is no longer shown to him.
    let seen = world.seen("romeo@m.lit/orchard");
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(seen[0].contains("subscription='from'"));
    assert_eq!(
        seen[1],
        "<presence type='unavailable' from='juliet@c.lit/balcony' to='romeo@m.lit'/>"
    );
    world.send("juliet@c.lit/balcony", "<presence/>");
    world.check("romeo@m.lit/orchard", &[]);

    // He takes back what he allowed.
    world.seen("juliet@c.lit/balcony");
    world.send(
        "romeo@m.lit/orchard",
        "<presence to='juliet@c.lit' type='unsubscribed'/>",
    );
    let seen = world.seen("juliet@c.lit/balcony");
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert!(seen[0].contains("subscription='none'") && seen[1].contains("type='unsubscribed'"));
    assert!(seen[2].contains("type='unavailable' from='romeo@m.lit/orchard'"));
}

#[test]
fn a_removed_contact_is_told() {
    let mut world = World::lovers();
    world.set_roster(
        "romeo@m.lit",
        RosterSet::Remove(BareJid::new("juliet@c.lit").unwrap()),
    );
    let seen = world.seen("romeo@m.lit/orchard");
    assert!(seen[0].contains("subscription='remove'"), "{seen:?}");
    assert!(
        seen[1].contains("type='unavailable' from='juliet@c.lit/balcony'"),
        "{seen:?}"
    );
    let seen = world.seen("juliet@c.lit/balcony");
    let kinds = [
        "subscription='to'",
        "'unsubscribe'",
        "subscription='none'",
        "'unsubscribed'",
        "'unavailable'",
    ];
    assert_eq!(seen.len(), kinds.len(), "{seen:?}");
    for (text, kind) in seen.iter().zip(kinds) {
        assert!(text.contains(kind), "{text} {kind}");
    }
}

#[test]
fn requests_wait_for_an_answer() {
    let mut world = World::new(&["romeo@m.lit", "juliet@c.lit"]);
    world.login("romeo@m.lit/orchard");
    let ask = "<presence to='juliet@c.lit' type='subscribe'><status>hi</status></presence>";
    world.send("romeo@m.lit/orchard", ask);
    let asked = "<presence from='romeo@m.lit' to='juliet@c.lit' type='subscribe'><status>hi</status></presence>";
    for _ in 0..2 {
        world.login("juliet@c.lit/balcony");
        world.check(
            "juliet@c.lit/balcony",
            &[
                "<presence to='juliet@c.lit' from='juliet@c.lit/balcony'/>",
                asked,
            ],
        );
        world.drop("juliet@c.lit/balcony");
    }
    // Asking again tells her nothing new.
    world.login("juliet@c.lit/balcony");
    world.seen("juliet@c.lit/balcony");
    world.send("romeo@m.lit/orchard", ask);
    world.check("juliet@c.lit/balcony", &[]);
    world.send(
        "juliet@c.lit/balcony",
        "<presence to='romeo@m.lit' type='unsubscribed'/>",
    );
    world.drop("juliet@c.lit/balcony");
    world.login("juliet@c.lit/balcony");
    world.check(
        "juliet@c.lit/balcony",
        &["<presence to='juliet@c.lit' from='juliet@c.lit/balcony'/>"],
    );
}

#[test]
fn messages_by_priority() {
    let mut world = World::new(&["romeo@m.lit", "juliet@c.lit"]);
    world.login("romeo@m.lit/orchard");
    let to =
        |to: &str, kind: &str| format!("<message to='{to}' type='{kind}'><body>x</body></message>");
    world.bind("juliet@c.lit/a");
    world.bind("juliet@c.lit/b");
    world.bind("juliet@c.lit/c");
    world.send("romeo@m.lit/orchard", &to("juliet@c.lit", "chat"));
    assert_eq!(world.kept.len(), 1, "bound but not available");
    world.send(
        "juliet@c.lit/a",
        "<presence><priority>-1</priority></presence>",
    );
    world.send("romeo@m.lit/orchard", &to("juliet@c.lit", "chat"));
    assert_eq!(world.kept.len(), 2, "available but not for messages");
    world.send(
        "juliet@c.lit/b",
        "<presence><priority> 5 </priority></presence>",
    );
    world.send("juliet@c.lit/c", "<presence/>");
    let mut counts = |text: String| {
        for full in ["juliet@c.lit/a", "juliet@c.lit/b", "juliet@c.lit/c"] {
            world.seen(full);
        }
        world.send("romeo@m.lit/orchard", &text);
        ["juliet@c.lit/a", "juliet@c.lit/b", "juliet@c.lit/c"].map(|full| world.seen(full).len())
    };
    assert_eq!(counts(to("juliet@c.lit", "chat")), [0, 1, 0]);
    assert_eq!(counts(to("juliet@c.lit", "normal")), [0, 1, 0]);
    assert_eq!(counts(to("juliet@c.lit", "headline")), [0, 1, 1]);
    assert_eq!(counts(to("juliet@c.lit/a", "chat")), [1, 0, 0]);
    assert_eq!(counts(to("juliet@c.lit/gone", "chat")), [0, 1, 0]);
    assert_eq!(counts(to("juliet@c.lit/c", "groupchat")), [0, 0, 1]);
    assert_eq!(counts(to("juliet@c.lit/c", "error")), [0, 0, 1]);
    assert_eq!(counts(to("juliet@c.lit", "error")), [0, 0, 0]);
    assert_eq!(counts(to("juliet@c.lit", "groupchat")), [0, 0, 0]);
    let seen = world.seen("romeo@m.lit/orchard");
    assert!(
        seen.last().unwrap().contains("<service-unavailable "),
        "{seen:?}"
    );
    world.send(
        "juliet@c.lit/c",
        "<presence><priority>5</priority></presence>",
    );
    world.seen("juliet@c.lit/b");
    world.seen("juliet@c.lit/c");
    world.send("romeo@m.lit/orchard", &to("juliet@c.lit", "chat"));
    assert_eq!(
        (
            world.seen("juliet@c.lit/b").len(),
            world.seen("juliet@c.lit/c").len()
        ),
        (1, 1)
    );
    world.send(
        "juliet@c.lit/c",
        "<presence id='1'><priority>128</priority></presence>",
    );
    assert!(world.seen("juliet@c.lit/c")[0].contains("<bad-request "));
}

#[test]
fn directed_presence_ends_with_the_session() {
    let mut world = World::lovers();
    world.login("nurse@c.lit/hall");
    world.seen("nurse@c.lit/hall");
    world.bind("romeo@m.lit/hidden");
    world.send("romeo@m.lit/hidden", "<presence to='nurse@c.lit'/>");
    world.send("romeo@m.lit/orchard", "<presence to='nurse@c.lit'/>");
    world.send("romeo@m.lit/orchard", "<presence to='juliet@c.lit'/>");
    assert_eq!(world.seen("nurse@c.lit/hall").len(), 2);
    world.seen("juliet@c.lit/balcony");
    world.drop("romeo@m.lit/hidden");
    world.drop("romeo@m.lit/orchard");
    world.check(
        "nurse@c.lit/hall",
        &[
            "<presence to='nurse@c.lit' type='unavailable' from='romeo@m.lit/hidden'/>",
            "<presence to='nurse@c.lit' type='unavailable' from='romeo@m.lit/orchard'/>",
        ],
    );
    // Once, though she had directed presence too.
    assert_eq!(world.seen("juliet@c.lit/balcony").len(), 1);
}

#[test]
fn probes_of_strangers_are_denied() {
    let mut world = World::lovers();
    world.login("nurse@c.lit/hall");
    world.seen("nurse@c.lit/hall");
    world.send(
        "nurse@c.lit/hall",
        "<presence to='romeo@m.lit' type='probe'/>",
    );
    world.check("nurse@c.lit/hall", &[]);
    world.send(
        "juliet@c.lit/balcony",
        "<presence to='romeo@m.lit' type='probe'/>",
    );
    world.check(
        "juliet@c.lit/balcony",
        &["<presence to='juliet@c.lit/balcony' from='romeo@m.lit/orchard'/>"],
    );
}

#[test]
fn a_resource_bound_twice() {
    let mut world = World::lovers();
    let old = world.inboxes["juliet@c.lit/balcony"].1.clone();
    world.bind("juliet@c.lit/balcony");
    assert_eq!(old.take(), ["closed: conflict"]);
    world.check(
        "romeo@m.lit/orchard",
        &["<presence to='romeo@m.lit' type='unavailable' from='juliet@c.lit/balcony'/>"],
    );
    assert_eq!(world.accounts["juliet@c.lit"].sessions().len(), 1);
    for n in 1..SESSIONS {
        world.bind(&format!("juliet@c.lit/{n}"));
    }
    let inbox = Arc::new(Inbox::default());
    let session = Session::new(999, Jid::new("juliet@c.lit/more").unwrap(), inbox);
    let full = world
        .accounts
        .get_mut("juliet@c.lit")
        .unwrap()
        .bind(session);
    assert!(full.is_err());
}

#[test]
fn iq_to_clients() {
    let mut world = World::lovers();
    let ask = "<iq type='get' id='1' to='juliet@c.lit/balcony'><q xmlns='u'/></iq>";
    world.send("romeo@m.lit/orchard", ask);
    assert_eq!(world.seen("juliet@c.lit/balcony").len(), 1);
    world.send(
        "romeo@m.lit/orchard",
        "<iq type='get' id='2' to='juliet@c.lit/x'><q xmlns='u'/></iq>",
    );
    assert!(world.seen("romeo@m.lit/orchard")[0].contains("<service-unavailable "));
    world.send(
        "romeo@m.lit/orchard",
        "<iq type='result' id='2' to='juliet@c.lit/x'/>",
    );
    world.check("romeo@m.lit/orchard", &[]);
}

#[test]
fn remote_contacts_are_routed_to() {
    let mut world = World::new(&["romeo@m.lit"]);
    world.login("romeo@m.lit/orchard");
    world.send(
        "romeo@m.lit/orchard",
        "<presence to='x@far.example' type='subscribe'/>",
    );
    assert_eq!(
        world.away,
        ["<presence from='romeo@m.lit' to='x@far.example' type='subscribe'/>"]
    );
}

#[test]
fn copies_for_the_other_clients() {
    let mut world = World::new(&["romeo@m.lit", "juliet@c.lit"]);
    for full in [
        "romeo@m.lit/orchard",
        "romeo@m.lit/home",
        "juliet@c.lit/a",
        "juliet@c.lit/b",
    ] {
        world.login(full);
        let (id, _) = world.inboxes[full].clone();
        let bare = Jid::new(full).unwrap().to_bare();
        let account = world.accounts.get_mut(bare.as_str()).unwrap();
        account.session_mut(id).unwrap().carbons = true;
    }
    for full in [
        "romeo@m.lit/orchard",
        "romeo@m.lit/home",
        "juliet@c.lit/a",
        "juliet@c.lit/b",
    ] {
        world.seen(full);
    }
    let text = "<message to='juliet@c.lit/a' type='chat'><body>hi</body></message>";
    world.send("romeo@m.lit/orchard", text);
    assert_eq!(world.seen("juliet@c.lit/a").len(), 1);
    let copy = world.seen("juliet@c.lit/b");
    assert!(
        copy.len() == 1 && copy[0].contains("<received xmlns='urn:xmpp:carbons:2'>"),
        "{copy:?}"
    );
    world.check("romeo@m.lit/home", &[]);

    // The sender's side is asked by the router.
    let (id, _) = world.inboxes["romeo@m.lit/orchard"].clone();
    let scope = Scope::client();
    let Ok(Incoming::Stanza(draft)) = read(text.as_bytes(), &scope) else {
        panic!()
    };
    let from = Jid::new("romeo@m.lit/orchard").unwrap();
    let stanza = draft.stamp(&from, None).unwrap();
    let wishes = world.accounts["romeo@m.lit"].sent(id, &stanza);
    world.apply(wishes);
    let copy = world.seen("romeo@m.lit/home");
    assert!(
        copy.len() == 1 && copy[0].contains("<sent xmlns='urn:xmpp:carbons:2'>"),
        "{copy:?}"
    );

    // To the bare address with equal priorities, both have it and nobody needs a copy.
    world.send("romeo@m.lit/orchard", &text.replace("/a'", "'"));
    for full in ["juliet@c.lit/a", "juliet@c.lit/b"] {
        let seen = world.seen(full);
        assert!(seen.len() == 1 && !seen[0].contains("carbons"), "{seen:?}");
    }
}
