#![allow(clippy::unwrap_used)]
use super::*;
use crate::wire::Scope;

/// A room that counts its own time.
struct Stage {
    room: Room,
    now: u64,
}

impl Stage {
    fn new(config: RoomConfig) -> Stage {
        let mut kept = Kept {
            config,
            salt: "salt".into(),
            ..Kept::default()
        };
        kept.affiliations
            .insert("owner@b".into(), Affiliation::Owner);
        kept.affiliations
            .insert("admin@b".into(), Affiliation::Admin);
        kept.affiliations
            .insert("member@b".into(), Affiliation::Member);
        let jid = BareJid::new("room@rooms.b").unwrap();
        Stage {
            room: Room::made(jid, kept, 3),
            now: 1_000_000_000,
        }
    }

    fn stanza(&mut self, text: &str, from: &str, to: &str) -> Outcome {
        let mut element = Element::parse(text.as_bytes(), &Scope::client()).unwrap();
        element.set_attr("from", from);
        element.set_attr("to", to);
        let stanza = Stanza::from_element(&element).unwrap();
        let now = &mut self.now;
        self.room.handle(&stanza, &mut || {
            *now += 1;
            *now
        })
    }

    fn enter(&mut self, who: &str) -> Outcome {
        let (from, to) = (format!("{who}@b/c"), format!("room@rooms.b/{who}"));
        self.stanza(
            "<presence><x xmlns='http://jabber.org/protocol/muc'/></presence>",
            &from,
            &to,
        )
    }

    fn administer(&mut self, who: &str, item: &str) -> Result<Outcome, Condition> {
        let text = format!("<query xmlns='{}'>{item}</query>", ns::MUC_ADMIN);
        let query = Element::parse(text.as_bytes(), &Scope::empty()).unwrap();
        let from = Jid::new(&format!("{who}@b/c")).unwrap();
        self.room
            .administer(&query, &from)
            .map_err(|error| error.condition)
    }
}

fn routed(outcome: &Outcome) -> Vec<Stanza> {
    let wishes = outcome.wishes.iter();
    wishes
        .filter_map(|wish| match wish {
            Wish::Route(stanza) => Some(stanza.clone()),
            _ => None,
        })
        .collect()
}

fn error(outcome: &Outcome) -> Option<String> {
    let stanza = routed(outcome)
        .into_iter()
        .find(|stanza| stanza.kind().is_error())?;
    let tree = stanza.to_element().unwrap();
    let condition = tree.get_child("error", ns::CLIENT)?.children().next()?;
    Some(condition.name().to_owned())
}

#[test]
fn what_is_said_is_made_once() {
    let mut stage = Stage::new(RoomConfig::default());
    for who in ["owner", "admin", "member"] {
        assert_eq!(error(&stage.enter(who)), None);
    }
    let said = stage.stanza(
        "<message type='groupchat'><body>hello</body></message>",
        "member@b/c",
        "room@rooms.b",
    );
    let heard = routed(&said);
    assert_eq!(heard.len(), 3);
    // The same place in memory: the copies differ in whom they are for and nothing else.
    let inside: Vec<_> = heard
        .iter()
        .map(|stanza| stanza.inside().as_ptr())
        .collect();
    assert!(inside.iter().all(|place| *place == inside[0]));
    let to: Vec<_> = heard
        .iter()
        .map(|stanza| stanza.to().unwrap().to_string())
        .collect();
    assert_eq!(to, ["owner@b/c", "admin@b/c", "member@b/c"]);
    for stanza in &heard {
        assert_eq!(stanza.size(), stanza.bytes().len());
        let again = Stanza::from_stored(stanza.bytes()).unwrap();
        assert_eq!(again.to(), stanza.to());
    }
    assert_eq!(said.said.unwrap().nick, "member");
}

#[test]
fn who_is_let_in() {
    let closed = RoomConfig {
        members_only: true,
        password: Some("sesame".into()),
        ..RoomConfig::default()
    };
    let mut stage = Stage::new(closed);
    assert_eq!(
        error(&stage.enter("stranger")).as_deref(),
        Some("registration-required")
    );
    assert_eq!(
        error(&stage.enter("member")).as_deref(),
        Some("not-authorized")
    );
    assert_eq!(error(&stage.enter("owner")), None);
    let mut stage = Stage::new(RoomConfig::default());
    for who in ["a", "b", "c"] {
        assert_eq!(error(&stage.enter(who)), None);
    }
    assert_eq!(
        error(&stage.enter("d")).as_deref(),
        Some("service-unavailable")
    );
    assert_eq!(
        error(&stage.enter("admin")),
        None,
        "a full room has a place for its admins"
    );
}

/// Section 5, tables 6 and 8: who may change whose role and affiliation.
#[test]
fn who_may_do_what() {
    let kick = |nick: &str| format!("<item nick='{nick}' role='none'/>");
    let make = |who: &str, what: &str| format!("<item jid='{who}@b' affiliation='{what}'/>");
    for (who, item, outcome) in [
        ("admin", kick("member"), Ok(())),
        ("admin", kick("owner"), Err(Condition::NotAllowed)),
        ("member", kick("admin"), Err(Condition::Forbidden)),
        ("admin", make("x", "member"), Ok(())),
        ("admin", make("x", "admin"), Err(Condition::NotAllowed)),
        (
            "admin",
            make("owner", "outcast"),
            Err(Condition::NotAllowed),
        ),
        ("member", make("x", "member"), Err(Condition::Forbidden)),
        ("owner", make("x", "owner"), Ok(())),
        ("owner", make("owner", "none"), Err(Condition::Conflict)),
        ("owner", make("admin", "outcast"), Ok(())),
        ("owner", kick("nobody"), Err(Condition::ItemNotFound)),
        (
            "owner",
            "<item jid='@' affiliation='none'/>".into(),
            Err(Condition::JidMalformed),
        ),
        (
            "owner",
            "<item affiliation='none'/>".into(),
            Err(Condition::BadRequest),
        ),
        ("owner", String::new(), Err(Condition::BadRequest)),
    ] {
        let mut stage = Stage::new(RoomConfig::default());
        for who in ["owner", "admin", "member"] {
            stage.enter(who);
        }
        assert_eq!(
            stage.administer(who, &item).map(|_| ()),
            outcome,
            "{who} {item}"
        );
    }
}

/// Two owners, and both are to go: what is asked for can't be done, and so nothing is.
#[test]
fn all_changes_or_none() {
    let mut stage = Stage::new(RoomConfig::default());
    stage.enter("owner");
    let make = |who: &str, what: &str| format!("<item jid='{who}@b' affiliation='{what}'/>");
    assert!(stage.administer("owner", &make("x", "owner")).is_ok());
    let before = stage.room.kept.clone();
    let both = make("x", "none") + &make("owner", "none");
    assert_eq!(
        stage.administer("owner", &both).map(|_| ()),
        Err(Condition::Conflict)
    );
    assert_eq!(stage.room.kept, before);
    // The room in other hands, in one request.
    let over = make("owner", "none") + &make("x", "none") + &make("y", "owner");
    assert!(stage.administer("owner", &over).is_ok());
    assert_eq!(stage.room.affiliation("y@b"), Affiliation::Owner);
}

/// Nobody but the room says where a message is in an archive: not in the room's, and not in that of
/// another occupant's account.
#[test]
fn ids_in_archives_cant_be_forged() {
    let mut stage = Stage::new(RoomConfig::default());
    stage.enter("owner");
    stage.enter("x");
    let forged: String = ["room@rooms.b", "ROOM@Rooms.b", "owner@b", "x@b"]
        .map(|by| format!("<stanza-id xmlns='{}' by='{by}' id='1'/>", ns::SID))
        .concat();
    for (to, kind) in [
        ("room@rooms.b", "groupchat"),
        ("room@rooms.b/owner", "chat"),
    ] {
        let text = format!("<message type='{kind}'><body>x</body>{forged}</message>");
        for heard in routed(&stage.stanza(&text, "x@b/c", to)) {
            let tree = heard.to_element().unwrap();
            let ids = tree
                .children()
                .filter(|child| child.is("stanza-id", ns::SID));
            let ids: Vec<_> = ids
                .map(|id| id.get_attr("id").unwrap().to_owned())
                .collect();
            assert!(!ids.contains(&"1".to_owned()), "{ids:?}");
        }
    }
}

/// Who was invited can decline, once, and say why; nobody else reaches or finds anybody so.
#[test]
fn invitations_are_declined() {
    let mut stage = Stage::new(RoomConfig {
        invites: true,
        ..RoomConfig::default()
    });
    stage.enter("owner");
    let user = |inside: &str| {
        format!(
            "<message><x xmlns='{}'>{inside}</x></message>",
            ns::MUC_USER
        )
    };
    let decline = user(
        "<decline to='owner@b'><reason>busy</reason><body xmlns='jabber:client'>spam</body></decline>",
    );
    let nobody = decline.replace("owner@b", "nobody@b");
    for text in [&decline, &nobody] {
        assert!(routed(&stage.stanza(text, "x@d/c", "room@rooms.b")).is_empty());
    }
    let invited = stage.stanza(&user("<invite to='x@d'/>"), "owner@b/c", "room@rooms.b");
    assert_eq!(routed(&invited).len(), 1);
    let declined = routed(&stage.stanza(&decline, "x@d/c", "room@rooms.b"));
    assert_eq!(declined[0].to().unwrap().as_str(), "owner@b");
    let tree = declined[0].to_element().unwrap();
    let x = tree.get_child("x", ns::MUC_USER).unwrap();
    let told = x.get_child("decline", ns::MUC_USER).unwrap();
    assert_eq!(told.get_attr("from"), Some("x@d"));
    assert_eq!(
        (told.children().count(), told.text_content()),
        (1, String::new())
    );
    assert!(routed(&stage.stanza(&decline, "x@d/c", "room@rooms.b")).is_empty());
}

/// An invitation that is refused has made nobody a member, and there is an end to members.
#[test]
fn invitations_are_bounded() {
    let mut stage = Stage::new(RoomConfig {
        members_only: true,
        ..RoomConfig::default()
    });
    stage.enter("owner");
    let invite = |who: &str| {
        let to = format!("<invite to='new@b'/><invite to='{who}'/>");
        format!("<message><x xmlns='{}'>{to}</x></message>", ns::MUC_USER)
    };
    let refused = stage.stanza(&invite("@"), "owner@b/c", "room@rooms.b");
    assert_eq!(error(&refused).as_deref(), Some("jid-malformed"));
    assert_eq!(stage.room.affiliation("new@b"), Affiliation::None);
    for n in stage.room.kept.affiliations.len()..AFFILIATIONS - 1 {
        stage
            .room
            .set_affiliation(&format!("{n}@b"), Affiliation::Member);
    }
    let refused = stage.stanza(&invite("other@b"), "owner@b/c", "room@rooms.b");
    assert_eq!(error(&refused).as_deref(), Some("resource-constraint"));
    assert_eq!(stage.room.kept.affiliations.len(), AFFILIATIONS - 1);
}

/// What a room passes on is bounded in size and rate, and entering again is no way around that.
#[test]
fn much_is_too_much() {
    let big = "x".repeat(PRESENCE);
    let join = "<x xmlns='http://jabber.org/protocol/muc'/>";
    let (room, place) = ("room@rooms.b", "room@rooms.b/x");
    let mut stage = Stage::new(RoomConfig::default());
    stage.enter("owner");
    let text = format!("<presence>{join}<status>{big}</status></presence>");
    let refused = stage.stanza(&text, "x@b/c", place);
    assert_eq!(error(&refused).as_deref(), Some("policy-violation"));
    stage.enter("x");
    let text = format!("<presence><status>{big}</status></presence>");
    let refused = stage.stanza(&text, "x@b/c", place);
    assert_eq!(error(&refused).as_deref(), Some("policy-violation"));
    let user = format!("<x xmlns='{}'><decline to='owner@b'/></x>", ns::MUC_USER);
    for (text, to) in [
        ("<presence/>".to_owned(), place),
        (format!("<presence>{join}</presence>"), place),
        (format!("<message>{user}</message>"), room),
        (
            "<message type='chat'><body>x</body></message>".to_owned(),
            "room@rooms.b/owner",
        ),
        (
            "<message type='groupchat'><body>x</body></message>".to_owned(),
            room,
        ),
    ] {
        stage.now += BURST * GAIN;
        let mut sent = (0..=BURST).map(|_| error(&stage.stanza(&text, "x@b/c", to)));
        assert!(
            sent.by_ref()
                .take(BURST as usize)
                .all(|error| error.is_none()),
            "{text}"
        );
        assert_eq!(
            sent.next().flatten().as_deref(),
            Some("policy-violation"),
            "{text}"
        );
    }
    // Out, however much has been said, and in again; but not to begin anew.
    let text = format!("<presence type='unavailable'><status>{big}</status></presence>");
    let left = stage.stanza(&text, "x@b/c", place);
    assert!(routed(&left).iter().all(|seen| seen.size() < 1000));
    assert_eq!(stage.room.occupancy(), 1);
    assert_eq!(
        error(&stage.enter("x")).as_deref(),
        Some("policy-violation")
    );
    stage.now += GAIN;
    assert_eq!(error(&stage.enter("x")), None);
}

#[test]
fn a_room_without_occupants_is_gone() {
    for persistent in [false, true] {
        let mut stage = Stage::new(RoomConfig {
            persistent,
            ..RoomConfig::default()
        });
        stage.enter("owner");
        let left = stage.stanza(
            "<presence type='unavailable'/>",
            "owner@b/c",
            "room@rooms.b/owner",
        );
        assert_eq!(left.gone, !persistent);
        assert_eq!(stage.room.occupancy(), 0);
    }
}

/// One who is in and enters again without the new password is in as before.
#[test]
fn who_is_not_let_in_again_stays() {
    let mut stage = Stage::new(RoomConfig::default());
    stage.enter("owner");
    stage.enter("x");
    stage.room.kept.config.password = Some("sesame".into());
    assert_eq!(error(&stage.enter("x")).as_deref(), Some("not-authorized"));
    let said = stage.stanza(
        "<message type='groupchat'><body>still here</body></message>",
        "x@b/c",
        "room@rooms.b",
    );
    assert_eq!(routed(&said).len(), 2);
}

/// Sixteen clients under one nick, and each may enter again.
#[test]
fn a_full_nick_can_be_entered_again() {
    let mut stage = Stage::new(RoomConfig::default());
    let mut enter = |n: usize| {
        let entered = stage.stanza(
            "<presence><x xmlns='http://jabber.org/protocol/muc'/></presence>",
            &format!("owner@b/{n}"),
            "room@rooms.b/owner",
        );
        error(&entered)
    };
    assert!((0..16).all(|n| enter(n).is_none()));
    assert_eq!(enter(16).as_deref(), Some("resource-constraint"));
    assert_eq!(enter(3), None);
}

#[test]
fn a_room_that_its_maker_is_not_let_into_is_gone() {
    let mut stage = Stage::new(RoomConfig {
        password: Some("sesame".into()),
        ..RoomConfig::default()
    });
    let refused = stage.enter("x");
    assert_eq!(error(&refused).as_deref(), Some("not-authorized"));
    assert!(refused.gone);
}

/// Whatever configurations are stored, later ones read them.
#[test]
fn what_is_kept_is_read_again() {
    let kept: Kept = serde_json::from_str(
        r#"{"config":{},"subject":null,"affiliations":{"a@b":"owner"},
            "card":null,"salt":"x","creator":"a@b"}"#,
    )
    .unwrap();
    assert_eq!(kept.config, RoomConfig::default());
    let text = serde_json::to_string(&kept).unwrap();
    assert_eq!(serde_json::from_str::<Kept>(&text).unwrap(), kept);
}
