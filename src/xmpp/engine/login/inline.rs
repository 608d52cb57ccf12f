//! Logins that say at once all they want: SASL2 (XEP-0388) with resource binding (XEP-0386),
//! resumption (XEP-0198) and tokens for the next login (XEP-0484) in it.
//!
//! What is asked for is read with the proof and waits until the proof was right: it is a part of
//! the value that only a right proof lets go on.

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

use super::{Binding, Core, Features, Output, Resuming, Step, Stream, Trust, Turn, sm_failed};
use crate::{
    engine::sasl::{Authenticated, Channel, Failure, Token, TokenMechanism, TokenMessage},
    wire::{BareJid, Condition, Element, Jid, StreamCondition, ns},
};

/// Bytes of what a client calls itself.
const NAME: usize = 128;

/// What can be asked for with a login.
#[derive(Debug, Clone, Copy, Default)]
pub struct Inlines {
    /// A resource.
    pub bind: bool,
    /// Copies of messages.
    pub carbons: bool,
    /// To be left alone.
    pub csi: bool,
    /// Stream management, and earlier sessions.
    pub sm: bool,
    /// A token for the next login.
    pub fast: bool,
}

impl Inlines {
    /// `<inline/>`, if there is anything.
    fn element(self, channel: &Channel) -> Option<Element> {
        let mut inline = Element::new("inline", ns::SASL2);
        if self.bind {
            let features = [
                (self.carbons, ns::CARBONS),
                (self.csi, ns::CSI),
                (self.sm, ns::SM),
            ];
            let features = features.into_iter().filter(|(on, _)| *on);
            let features =
                features.map(|(_, var)| Element::new("feature", ns::BIND2).attr("var", var));
            let features = Element::new("inline", ns::BIND2).children_from(features);
            inline.push(Element::new("bind", ns::BIND2).child(features));
        }
        if self.sm {
            inline.push(Element::new("sm", ns::SM));
        }
        if self.fast {
            let mechanisms = TokenMechanism::ALL.into_iter();
            let mechanisms = mechanisms.filter(|mechanism| mechanism.fits(channel));
            let mechanisms = mechanisms
                .map(|mechanism| Element::new("mechanism", ns::FAST).text(mechanism.name()));
            inline.push(Element::new("fast", ns::FAST).children_from(mechanisms));
        }
        let empty = inline.children().next().is_none();
        (!empty).then_some(inline)
    }
}

/// The feature that offers all this with `mechanisms`.
pub(super) fn feature(mechanisms: &[&'static str], inlines: Inlines, channel: &Channel) -> Element {
    let mechanisms = mechanisms.iter();
    let mechanisms = mechanisms.map(|name| Element::new("mechanism", ns::SASL2).text(*name));
    let feature = Element::new("authentication", ns::SASL2).children_from(mechanisms);
    feature.children_from(inlines.element(channel))
}

/// What a client asks for with its proof.
#[derive(Debug, Default)]
pub(super) struct Request {
    /// The installation of the client's program that this is.
    agent: Option<String>,
    resume: Option<(String, u32)>,
    bind: Option<Bind>,
    /// It wants a token for this mechanism.
    token: Option<String>,
    /// It comes with a token, and wants it to be the last time.
    fast: Option<bool>,
}

/// What it wants with a resource.
#[derive(Debug, Default)]
struct Bind {
    tag: Option<String>,
    carbons: bool,
    inactive: bool,
    /// Stream management; whether it wants to resume.
    manage: Option<bool>,
}

fn is_true(value: Option<&str>) -> bool {
    matches!(value, Some("true" | "1"))
}

/// A name that a client made up, if it is of a sane length.
fn name(text: &str) -> Option<String> {
    let text = text.trim();
    (1..=NAME).contains(&text.len()).then(|| text.to_owned())
}

impl Request {
    /// Reads what is in `<authenticate/>`. What is not offered is not seen.
    pub(super) fn read(element: &Element, inlines: Inlines) -> Request {
        let agent = element.get_child("user-agent", ns::SASL2);
        let agent = agent.and_then(|agent| name(agent.get_attr("id")?));
        let resume = element
            .get_child("resume", ns::SM)
            .filter(|_| inlines.sm)
            .and_then(|resume| {
                let handled = resume.get_attr("h")?.parse().ok()?;
                Some((resume.get_attr("previd")?.to_owned(), handled))
            });
        let bind = element
            .get_child("bind", ns::BIND2)
            .filter(|_| inlines.bind)
            .map(|bind| {
                let tag = bind.get_child("tag", ns::BIND2);
                let manage = bind.get_child("enable", ns::SM).filter(|_| inlines.sm);
                Bind {
                    tag: tag.and_then(|tag| name(&tag.text_content())),
                    carbons: inlines.carbons && bind.get_child("enable", ns::CARBONS).is_some(),
                    inactive: inlines.csi && bind.get_child("inactive", ns::CSI).is_some(),
                    manage: manage.map(|enable| is_true(enable.get_attr("resume"))),
                }
            });
        let token = element
            .get_child("request-token", ns::FAST)
            .filter(|_| inlines.fast)
            .and_then(|token| token.get_attr("mechanism"));
        let fast = element
            .get_child("fast", ns::FAST)
            .filter(|_| inlines.fast)
            .map(|fast| is_true(fast.get_attr("invalidate")));
        Request {
            agent,
            resume,
            bind,
            token: token.map(ToOwned::to_owned),
            fast,
        }
    }
}

/// How an exchange is wrapped, and what comes with it.
#[derive(Debug)]
pub(super) enum Wrap {
    /// RFC 6120 6: nothing.
    Classic,
    /// SASL2.
    Inline(Box<Request>),
}

impl Wrap {
    pub(super) fn ns(&self) -> &'static str {
        match self {
            Wrap::Classic => ns::SASL,
            Wrap::Inline(_) => ns::SASL2,
        }
    }

    pub(super) fn challenge(&self, challenge: &str, out: &mut Output) {
        let element = Element::new("challenge", self.ns());
        let element = match challenge {
            "" => element,
            text => element.text(BASE64.encode(text)),
        };
        element.write(ns::CLIENT, out);
    }

    pub(super) fn failure(&self, failure: Failure, out: &mut Output) {
        let condition = Element::new(failure.as_str(), ns::SASL);
        Element::new("failure", self.ns())
            .child(condition)
            .write(ns::CLIENT, out);
    }
}

/// What is left to do for a client that has proven who it is.
#[derive(Debug)]
pub(super) struct Rest {
    request: Request,
    /// The mechanism's last word.
    additional: Option<String>,
    /// What came of what was asked for.
    results: Vec<Element>,
}

impl Rest {
    /// Says that it is done; the stream goes on as it is.
    fn succeed(
        self,
        identity: &str,
        more: impl IntoIterator<Item = Element>,
        features: Vec<Element>,
        out: &mut Output,
    ) {
        let additional = self.additional;
        let additional =
            additional.map(|text| Element::new("additional-data", ns::SASL2).text(text));
        Element::new("success", ns::SASL2)
            .children_from(additional)
            .child(Element::new("authorization-identifier", ns::SASL2).text(identity))
            .children_from(self.results)
            .children_from(more)
            .write(ns::CLIENT, out);
        Features(features).write(ns::CLIENT, out);
    }

    /// After tokens: an earlier session, or a new one, or just the stream.
    fn resume(mut self, core: Core, known: Authenticated, out: &mut Output) -> Step {
        match self.request.resume.take() {
            Some((previous, handled)) => Step::Resume(Resuming {
                core,
                known,
                previous,
                handled,
                rest: Some(Box::new(self)),
            }),
            None => self.bind(core, known, out),
        }
    }

    fn bind(self, core: Core, known: Authenticated, out: &mut Output) -> Step {
        let Some(bind) = &self.request.bind else {
            let features = core.features(&Trust::Known(known.clone())).0;
            self.succeed(known.jid().as_str(), None, features, out);
            return Step::Read(Stream {
                core,
                turn: Turn::Choice(Trust::Known(known)),
            });
        };
        // XEP-0386 4.2.1: the same for the same installation, so that its new session takes the
        // place of one that it has lost.
        let id = match &self.request.agent {
            Some(agent) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, core.policy.pepper.as_bytes());
                let text = format!("{}\0{agent}", known.jid());
                let hash = hmac::sign(&key, text.as_bytes());
                let hash = hash.as_ref().iter().take(8);
                hash.map(|byte| format!("{byte:02x}")).collect()
            }
            None => (core.token)(),
        };
        let tagged = bind.tag.as_ref();
        let tagged = tagged.and_then(|tag| known.jid().with_resource(&format!("{tag}/{id}")).ok());
        let jid = match tagged {
            Some(jid) => Some(jid),
            None => known.jid().with_resource(&id).ok(),
        };
        match jid {
            Some(jid) => Step::Bind(Binding {
                core,
                known,
                id: String::new(),
                jid: Some(jid),
                rest: Some(Box::new(self)),
            }),
            None => core.fail(&StreamCondition::InternalServerError.into(), out),
        }
    }

    /// There is no such session.
    pub(super) fn not_resumed(
        mut self,
        core: Core,
        known: Authenticated,
        handled: Option<u32>,
        out: &mut Output,
    ) -> Step {
        self.results
            .push(sm_failed(Condition::ItemNotFound, handled));
        self.bind(core, known, out)
    }

    /// There is one, and it goes on.
    pub(super) fn resumed(self, core: &Core, jid: &Jid, resumed: Element, out: &mut Output) {
        let features = core.policy.features.clone();
        self.succeed(jid.as_str(), [resumed], features, out);
    }

    /// The client has a resource.
    pub(super) fn bound(self, core: &Core, jid: &Jid, with: With, out: &mut Output) {
        let bound = Element::new("bound", ns::BIND2)
            .children_from(with.metadata)
            .children_from(with.enabled);
        let features = core.policy.features.clone();
        self.succeed(jid.as_str(), [bound], features, out);
    }

    pub(super) fn carbons(&self) -> bool {
        self.request.bind.as_ref().is_some_and(|bind| bind.carbons)
    }

    pub(super) fn inactive(&self) -> bool {
        self.request.bind.as_ref().is_some_and(|bind| bind.inactive)
    }

    pub(super) fn manage(&self) -> Option<bool> {
        self.request.bind.as_ref()?.manage
    }
}

/// What came of what was asked for with a resource.
#[derive(Debug, Default)]
pub struct With {
    /// XEP-0198: stream management.
    pub enabled: Option<Element>,
    /// XEP-0313: the archive.
    pub metadata: Option<Element>,
}

impl Core {
    /// SASL2's way to begin.
    pub(super) fn authenticate(
        mut self,
        element: &Element,
        channel: Channel,
        inlines: Inlines,
        out: &mut Output,
    ) -> Step {
        let request = Box::new(Request::read(element, inlines));
        let wanted = element.get_attr("mechanism").unwrap_or_default();
        let initial = element.get_child("initial-response", ns::SASL2);
        // XEP-0388 2.3: what was not offered fails; we offer no upgrades.
        if element.get_attr("upgrade").is_some() {
            return self.refuse(
                Failure::InvalidMechanism,
                channel,
                &Wrap::Inline(request),
                out,
            );
        }
        if inlines.fast
            && let Some(mechanism) = TokenMechanism::find(wanted, &channel)
        {
            self.mechanism = Some(mechanism.name());
            return self.token(mechanism, initial, channel, request, out);
        }
        self.begin(wanted, initial, channel, Wrap::Inline(request), out)
    }

    fn token(
        self,
        mechanism: TokenMechanism,
        initial: Option<&Element>,
        channel: Channel,
        request: Box<Request>,
        out: &mut Output,
    ) -> Step {
        let read = || {
            let host = self.host.as_deref().ok_or(Failure::MalformedRequest)?;
            let initial = initial.ok_or(Failure::MalformedRequest)?;
            // XEP-0484 3.4, 4.1: it says that it is a token, and whose.
            request.fast.ok_or(Failure::MalformedRequest)?;
            let agent = request.agent.clone().ok_or(Failure::MalformedRequest)?;
            let message = super::payload(initial)?;
            let message = TokenMessage::parse(&message, mechanism, &channel, host)?;
            self.is_from(message.account())?;
            Ok((agent, message))
        };
        match read() {
            Ok((agent, message)) => Step::Token(TokenWanted {
                core: self,
                channel,
                agent,
                message,
                request,
            }),
            Err(failure) => self.refuse(failure, channel, &Wrap::Inline(request), out),
        }
    }

    /// A proof was right: what was asked for with it is done.
    pub(super) fn go_on(
        self,
        known: Authenticated,
        answer: Option<&[u8]>,
        used: Option<Token>,
        request: Request,
        out: &mut Output,
    ) -> Step {
        let rest = Rest {
            additional: answer.map(|answer| BASE64.encode(answer)),
            results: Vec::new(),
            request,
        };
        let asked = rest.request.token.is_some() && rest.request.agent.is_some();
        if asked || used.is_some() {
            return Step::Grant(Granting {
                core: self,
                known,
                rest,
                used,
            });
        }
        rest.resume(self, known, out)
    }
}

/// A client that comes with a token.
#[derive(Debug)]
pub struct TokenWanted {
    core: Core,
    channel: Channel,
    agent: String,
    message: TokenMessage,
    request: Box<Request>,
}

impl TokenWanted {
    /// Who it says it is.
    pub fn account(&self) -> &BareJid {
        self.message.account()
    }

    /// The installation that it says it is.
    pub fn agent(&self) -> &str {
        &self.agent
    }

    /// The mechanism that the token must have been given for.
    pub fn mechanism(&self) -> TokenMechanism {
        self.message.mechanism()
    }

    /// The tokens that it was given.
    pub fn answer(self, tokens: Result<Vec<Token>, Failure>, out: &mut Output) -> Step {
        let TokenWanted {
            core,
            channel,
            message,
            request,
            ..
        } = self;
        let account = message.account().clone();
        match message.checked(tokens) {
            Ok((known, token, answer)) => {
                out.verdict = Some(super::Verdict::Right(account));
                core.go_on(known, Some(&answer), Some(token), *request, out)
            }
            Err(failure) => {
                out.verdict = Some(super::Verdict::Wrong(account));
                core.refuse(failure, channel, &Wrap::Inline(request), out)
            }
        }
    }
}

/// A client that used a token, or is to be given one.
#[derive(Debug)]
pub struct Granting {
    core: Core,
    known: Authenticated,
    rest: Rest,
    used: Option<Token>,
}

impl Granting {
    /// The account.
    pub fn account(&self) -> &BareJid {
        self.known.jid()
    }

    /// The installation of the client.
    pub fn agent(&self) -> &str {
        self.rest.request.agent.as_deref().unwrap_or_default()
    }

    /// The token that was used: those before it have had their time.
    pub fn used(&self) -> Option<&Token> {
        self.used.as_ref()
    }

    /// It was the last time for the token that was used.
    pub fn invalidates(&self) -> bool {
        self.rest.request.fast == Some(true)
    }

    /// What the client is to be given a token for, if it is: it asked, or its token is getting old.
    pub fn wanted(&self) -> Option<TokenMechanism> {
        let named = |name: &str| {
            let mut all = TokenMechanism::ALL.into_iter();
            all.find(|mechanism| mechanism.name() == name)
        };
        if let Some(asked) = &self.rest.request.token {
            return named(asked);
        }
        let due = self.used.as_ref().is_some_and(|used| used.due) && !self.invalidates();
        named(self.core.mechanism.filter(|_| due)?)
    }

    /// It is on disk: the token and the time it expires, if there is a new one.
    pub fn done(self, token: Option<(&str, String)>, out: &mut Output) -> Step {
        let Granting {
            core,
            known,
            mut rest,
            ..
        } = self;
        rest.results.extend(token.map(|(token, expiry)| {
            Element::new("token", ns::FAST)
                .attr("expiry", expiry)
                .attr("token", token)
        }));
        rest.resume(core, known, out)
    }

    /// It could not be written.
    pub fn failed(self, out: &mut Output) -> Step {
        let error = StreamCondition::InternalServerError.into();
        self.core.fail(&error, out)
    }
}
