//! BOSH (XEP-0124): a stream in the bodies of HTTP requests and of their answers.
//!
//! [`Body`] is what a request says. [`Window`] puts requests in order, keeps one of them waiting
//! for what there will be to say, and says again what got lost on the way.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use crate::wire::{
    Element, Flaw, Framer, Limits, Scope, ns, stream,
    web::{self, Said},
};

/// How long a request waits at most.
const WAIT: u64 = 60;
/// Requests that wait at most.
const HOLD: u64 = 2;
/// How long a client may be without a request that waits.
const INACTIVITY: u64 = 60;
/// The same for one that says so before.
const PAUSE: u64 = 120;
/// How long the last words wait for somebody to fetch them.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// What a request says.
#[derive(Debug, PartialEq, Eq)]
pub struct Body {
    /// Its session; none to begin one.
    pub sid: Option<String>,
    /// Its number.
    pub rid: u64,
    /// How long, in seconds, and how many of its requests the client lets wait.
    wait: u64,
    hold: u64,
    /// It asks for the header of a stream that begins anew.
    pub restart: bool,
    /// It will be away so long, in seconds.
    pause: Option<u64>,
    /// The header that begins or goes on with the stream.
    pub header: String,
    /// What is in the stream.
    pub stream: String,
}

impl Body {
    /// Reads a request's body.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(bytes: &[u8], limits: Limits) -> Result<Body, Flaw> {
        let bytes = bytes.trim_ascii();
        let mut framer = Framer::new(limits);
        for mut part in [&b"<s>"[..], bytes] {
            framer.next(&mut part)?;
        }
        let body = Element::parse(bytes, &Scope::client())?;
        if !body.is("body", ns::HTTP_BIND) {
            return Err(Flaw::NotWellFormed);
        }
        let number = |name: &str| body.get_attr(name).and_then(|text| text.parse().ok());
        // XEP-0124 7.2: numbers that JavaScript can count.
        let rid = number("rid").filter(|rid| *rid < 1 << 53);
        let version = body.get_attr_in(ns::XBOSH, "version").unwrap_or("1.0");
        let mut header = String::new();
        web::header(
            body.get_attr("to"),
            body.get_attr("from"),
            Some(version),
            body.lang(),
            &mut header,
        );
        let mut text = String::new();
        for child in body.children() {
            // Some clients forget what namespace they are in.
            let child = child.clone().moved(ns::HTTP_BIND, ns::CLIENT);
            child.write(ns::CLIENT, &mut text);
        }
        if body.get_attr("type") == Some("terminate") {
            text.push_str(stream::CLOSE);
        }
        Ok(Body {
            sid: body.get_attr("sid").map(ToOwned::to_owned),
            rid: rid.ok_or(Flaw::NotWellFormed)?,
            wait: number("wait").unwrap_or(WAIT).min(WAIT),
            hold: number("hold").unwrap_or(1).min(HOLD),
            restart: matches!(body.get_attr_in(ns::XBOSH, "restart"), Some("true" | "1")),
            pause: number("pause"),
            header,
            stream: text,
        })
    }
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Came {
    /// It will be answered.
    Waits,
    /// It was answered before, so.
    Again(String),
    /// It can't be (XEP-0124 14.1): the session is over.
    Wrong,
}

/// An answer without a session.
pub fn refusal(condition: &'static str) -> String {
    Element::new("body", ns::HTTP_BIND)
        .attr("type", "terminate")
        .attr("condition", condition)
        .to_document()
}

/// The requests of a session.
#[derive(Debug)]
pub struct Window {
    sid: String,
    /// The number whose turn it is.
    next: u64,
    hold: usize,
    wait: Duration,
    /// Requests that came before their turn.
    early: BTreeMap<u64, Body>,
    /// Requests whose answers are due, and until when they wait.
    held: VecDeque<(u64, Instant)>,
    /// The latest answers.
    done: VecDeque<(u64, String)>,
    /// What there is to say.
    pending: String,
    /// Our header, until it is said.
    opened: Option<Element>,
    /// The first answer was given.
    greeted: bool,
    /// Since when no request waits, and how long that may be.
    idle: Option<Instant>,
    patience: Duration,
    /// All requests are to be answered now: the client goes away for a while.
    pausing: bool,
    ended: Option<Ended>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// As asked for, or with a stream error in what is pending.
    Well,
    /// For this reason.
    Because(&'static str),
}

impl Window {
    /// The session that `first` begins, under a name that nobody can guess.
    pub fn new(sid: String, first: &Body, now: Instant) -> Window {
        Window {
            sid,
            next: first.rid,
            hold: usize::try_from(first.hold).unwrap_or(1),
            wait: Duration::from_secs(first.wait),
            early: BTreeMap::new(),
            held: VecDeque::new(),
            done: VecDeque::new(),
            pending: String::new(),
            opened: None,
            greeted: false,
            idle: Some(now),
            patience: Duration::from_secs(INACTIVITY),
            pausing: false,
            ended: None,
        }
    }

    /// Requests that a client can have under way.
    fn requests(&self) -> usize {
        self.hold + 1
    }

    /// Takes a request.
    pub fn came(&mut self, body: Body) -> Came {
        let rid = body.rid;
        if rid < self.next {
            if self.held.iter().any(|(held, _)| *held == rid) {
                return Came::Waits;
            }
            let again = self.done.iter().find(|(done, _)| *done == rid);
            return again.map_or(Came::Wrong, |(_, text)| Came::Again(text.clone()));
        }
        if rid - self.next >= self.requests() as u64 {
            return Came::Wrong;
        }
        self.early.entry(rid).or_insert(body);
        Came::Waits
    }

    /// The request whose turn it is, if it has come.
    pub fn turn(&mut self, now: Instant) -> Option<Body> {
        let body = self.early.remove(&self.next)?;
        self.held.push_back((self.next, now + self.wait));
        self.next += 1;
        self.idle = None;
        self.patience = Duration::from_secs(match body.pause {
            Some(pause) => pause.clamp(1, PAUSE),
            None => INACTIVITY,
        });
        self.pausing = body.pause.is_some();
        Some(body)
    }

    /// Takes what the server says.
    pub fn say(&mut self, said: Said) {
        match said {
            Said::Header(header) if !self.greeted => {
                let mut open = Element::new("body", ns::HTTP_BIND)
                    .attr_opt("from", header.from.as_ref().map(ToString::to_string))
                    .attr_opt("authid", header.id);
                if let Some(lang) = header.lang {
                    open.set_lang(lang);
                }
                self.opened = Some(open);
            }
            Said::Header(_) => {}
            Said::Element(text) => self.pending.push_str(&text),
            Said::Footer => self.end(None),
        }
    }

    /// The session is over.
    pub fn end(&mut self, condition: Option<&'static str>) {
        self.ended
            .get_or_insert(condition.map_or(Ended::Well, Ended::Because));
    }

    /// Bytes that wait to be said.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The answers that are due.
    pub fn answers(&mut self, now: Instant) -> Vec<(u64, String)> {
        let mut out = Vec::new();
        while let Some(&(rid, until)) = self.held.front() {
            let something = !self.pending.is_empty() || self.ended.is_some();
            // The first one says what the session is like, once there is one.
            let crowded = self.greeted && self.held.len() > self.hold;
            if !(something || crowded || self.pausing || until <= now) {
                break;
            }
            self.held.pop_front();
            let text = self.body();
            self.done.push_back((rid, text.clone()));
            while self.done.len() > self.requests() {
                self.done.pop_front();
            }
            out.push((rid, text));
        }
        if self.held.is_empty() {
            self.pausing = false;
            self.idle.get_or_insert(now);
        }
        out
    }

    /// An answer with all that there is to say.
    fn body(&mut self) -> String {
        let mut body = Element::new("body", ns::HTTP_BIND);
        let mut more = String::new();
        if let Some(open) = self.opened.take() {
            self.greeted = true;
            body = open
                .attr("sid", self.sid.clone())
                .attr("wait", self.wait.as_secs().to_string())
                .attr("hold", self.hold.to_string())
                .attr("requests", self.requests().to_string())
                .attr("inactivity", INACTIVITY.to_string())
                .attr("maxpause", PAUSE.to_string())
                .attr("polling", "2")
                .attr("ver", "1.6")
                .attr("secure", "true")
                .attr("charsets", "UTF-8");
            more.push_str(
                " xmlns:xmpp='urn:xmpp:xbosh' xmpp:version='1.0' xmpp:restartlogic='true'",
            );
        }
        if let Some(ended) = self.ended {
            body = body.attr("type", "terminate");
            match ended {
                Ended::Because(condition) => body = body.attr("condition", condition),
                // XEP-0206 8: the stream's own error is in it.
                Ended::Well if self.pending.contains("<stream:error") => {
                    body = body.attr("condition", "remote-stream-error");
                }
                Ended::Well => {}
            }
        }
        let empty = body.to_document();
        let tag = empty.strip_suffix("/>").unwrap_or(&empty);
        let inside = std::mem::take(&mut self.pending);
        format!("{tag}{more}>{inside}</body>")
    }

    /// When [`Window::answers`] or [`Window::is_over`] may have news.
    pub fn deadline(&self) -> Option<Instant> {
        let held = self.held.front().map(|(_, until)| *until);
        held.or_else(|| self.idle.map(|since| since + self.left()))
    }

    fn left(&self) -> Duration {
        match self.ended {
            Some(_) => LAST_WORDS,
            None => self.patience,
        }
    }

    /// Whether the client has been away too long, or has heard the last words.
    pub fn is_over(&self, now: Instant) -> bool {
        let told = self.ended.is_some() && self.pending.is_empty() && self.held.is_empty();
        let told = told
            && self
                .done
                .back()
                .is_some_and(|(_, text)| text.contains("type='terminate'"));
        told || self.idle.is_some_and(|since| now >= since + self.left())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::wire::stream::StreamHeader;

    /// XEP-0206 4 and XEP-0124 7.1, as they stand there.
    const FIRST: &str = "<body content='text/xml; charset=utf-8' from='user@example.com' hold='1' \
         rid='1573741820' to='example.com' route='xmpp:example.com:9999' wait='60' ver='1.6' \
         xml:lang='en' xmpp:version='1.0' xmlns='http://jabber.org/protocol/httpbind' \
         xmlns:xmpp='urn:xmpp:xbosh'/>";

    fn parse(text: &str) -> Result<Body, Flaw> {
        Body::parse(text.as_bytes(), Limits::UNAUTHENTICATED)
    }

    fn body(rid: u64, more: &str, inside: &str) -> Body {
        parse(&format!(
            "<body rid='{rid}' sid='s' xmlns='http://jabber.org/protocol/httpbind' {more}>{inside}</body>"
        ))
        .unwrap()
    }

    fn header() -> Said {
        let text = stream::open(Some("example.com"), None, "id1");
        Said::Header(Box::new(StreamHeader::parse(text.as_bytes()).unwrap()))
    }

    fn said(text: &str) -> Said {
        Said::Element(text.to_owned())
    }

    #[test]
    fn bodies() {
        let first = parse(FIRST).unwrap();
        assert_eq!((first.rid, first.wait, first.hold), (1_573_741_820, 60, 1));
        let header = StreamHeader::parse(first.header.as_bytes()).unwrap();
        assert_eq!(header.to.unwrap().as_str(), "example.com");
        assert_eq!(header.lang.as_deref(), Some("en"));
        // XEP-0124 9: with and without the namespace that it should have.
        let message =
            "<message to='contact@example.com' xmlns='jabber:client'><body>x</body></message>";
        let other = message.replace(" xmlns='jabber:client'", "");
        for message in [message, &other] {
            assert_eq!(body(1, "", message).stream, other);
        }
        let end = body(
            1,
            "type='terminate'",
            "<presence type='unavailable' xmlns='jabber:client'/>",
        );
        assert_eq!(end.stream, "<presence type='unavailable'/></stream:stream>");
        let again = body(1, "xmpp:restart='true' xmlns:xmpp='urn:xmpp:xbosh'", "");
        assert!(again.restart && !first.restart);
        for wrong in [
            "",
            "<body/>",
            "<body xmlns='http://jabber.org/protocol/httpbind'/>",
            "<body rid='x' xmlns='http://jabber.org/protocol/httpbind'/>",
            "<body rid='9007199254740992' xmlns='http://jabber.org/protocol/httpbind'/>",
            "<!DOCTYPE x><body rid='1' xmlns='http://jabber.org/protocol/httpbind'/>",
            "<body rid='1' xmlns='http://jabber.org/protocol/httpbind'/><x/>",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    fn session() -> (Window, Instant) {
        let now = Instant::now();
        let first = parse(FIRST).unwrap();
        let mut window = Window::new("sid1".to_owned(), &first, now);
        assert_eq!(window.came(first), Came::Waits);
        assert!(window.turn(now).is_some());
        assert_eq!(window.answers(now), []);
        window.say(header());
        window.say(said("<f/>"));
        let answers = window.answers(now);
        assert_eq!(
            answers,
            [(
                1_573_741_820,
                "<body xmlns='http://jabber.org/protocol/httpbind' from='example.com' authid='id1' \
                 xml:lang='en' sid='sid1' wait='60' hold='1' requests='2' inactivity='60' \
                 maxpause='120' polling='2' ver='1.6' secure='true' charsets='UTF-8' \
                 xmlns:xmpp='urn:xmpp:xbosh' xmpp:version='1.0' xmpp:restartlogic='true'><f/></body>"
                    .to_owned()
            )]
        );
        (window, now)
    }

    const FIRST_RID: u64 = 1_573_741_820;

    #[test]
    fn requests_wait_and_are_in_order() {
        let (mut window, now) = session();
        let rid = |n| FIRST_RID + n;
        // The second comes before the first, and waits for it.
        assert_eq!(window.came(body(rid(2), "", "<b/>")), Came::Waits);
        assert!(window.turn(now).is_none());
        assert_eq!(window.came(body(rid(1), "", "<a/>")), Came::Waits);
        assert_eq!(window.turn(now).unwrap().stream, "<a/>");
        assert_eq!(window.turn(now).unwrap().stream, "<b/>");
        // One of two waits.
        let empty = "<body xmlns='http://jabber.org/protocol/httpbind'></body>";
        assert_eq!(window.answers(now), [(rid(1), empty.to_owned())]);
        window.say(said("<x/>"));
        let full = "<body xmlns='http://jabber.org/protocol/httpbind'><x/></body>";
        assert_eq!(window.answers(now), [(rid(2), full.to_owned())]);
        // Lost on the way: said again, as long as it can matter.
        assert_eq!(
            window.came(body(rid(2), "", "<b/>")),
            Came::Again(full.to_owned())
        );
        assert_eq!(window.came(body(rid(0), "", "")), Came::Wrong);
        assert_eq!(window.came(body(rid(5), "", "")), Came::Wrong);
        // It waits so long and no longer.
        assert_eq!(window.came(body(rid(3), "", "")), Came::Waits);
        assert!(window.turn(now).is_some());
        let later = window.deadline().unwrap();
        assert_eq!(later, now + Duration::from_secs(60));
        assert_eq!(window.answers(now), []);
        assert_eq!(window.answers(later).len(), 1);
        // Then nobody waits for a while, and that is the end.
        assert!(!window.is_over(later + Duration::from_secs(59)));
        assert!(window.is_over(later + Duration::from_secs(60)));
    }

    #[test]
    fn pauses() {
        let (mut window, now) = session();
        for n in 1..=2 {
            let more = if n == 2 { "pause='500'" } else { "" };
            assert_eq!(window.came(body(FIRST_RID + n, more, "")), Came::Waits);
            window.turn(now).unwrap();
        }
        assert_eq!(window.answers(now).len(), 2);
        assert!(!window.is_over(now + Duration::from_secs(119)));
        assert!(window.is_over(now + Duration::from_secs(120)));
    }

    #[test]
    fn ends() {
        let (mut window, now) = session();
        window.say(said("<stream:error/>"));
        window.say(Said::Footer);
        assert_eq!(window.answers(now), []);
        assert!(!window.is_over(now));
        assert_eq!(window.came(body(FIRST_RID + 1, "", "")), Came::Waits);
        window.turn(now).unwrap();
        let end = "<body xmlns='http://jabber.org/protocol/httpbind' type='terminate' \
                   condition='remote-stream-error'><stream:error/></body>";
        assert_eq!(window.answers(now), [(FIRST_RID + 1, end.to_owned())]);
        assert!(window.is_over(now));
    }
}
