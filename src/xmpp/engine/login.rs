//! A client's stream from its first byte to a bound resource (RFC 6120 4 to 7).
//!
//! Each state is a value of its own that the next step consumes, so that a wrong order can't be
//! written: only a [`StartTls`] becomes a secured stream, SASL is only spoken by a stream with a
//! [`Channel`], and only [`Authenticated`], which nothing but a right proof makes, can bind.
//! Whoever drives this does what the [`Step`] asks and gives the answer to the step itself.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

use super::sasl::{
    Authenticated, Channel, ClientFirst, Exchange, Failure, Hash, Mechanism, PlainMessage,
};
use crate::wire::{
    BareJid, Condition, Element, Frame, IqType, Scope, StreamCondition, StreamError, ns,
    stream::{self, StreamHeader},
};

/// Failed authentications on one stream before it is closed (RFC 6120 6.4.5: 2 to 5 retries).
const FAILURES: u8 = 4;

/// What the server offers to clients that log in.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// The domains served here.
    pub hosts: HashSet<Box<str>>,
    /// Stream features for clients that are logged in, beside resource binding.
    pub features: Vec<Element>,
    /// What can be asked for with a login, if SASL2 is spoken.
    pub inlines: Option<Inlines>,
    /// What resources are made from that clients don't choose.
    pub pepper: String,
    /// Hashes that some accounts of a domain have no verifier for. Clients take the best that they
    /// are offered before they say who they are, so these are offered to nobody.
    pub lacking: HashMap<Box<str>, Vec<Hash>>,
}

impl Policy {
    fn offers(&self, mechanism: Mechanism, host: Option<&str>) -> bool {
        let lacking = host.and_then(|host| self.lacking.get(host));
        match (mechanism, lacking) {
            (Mechanism::Scram { hash, .. }, Some(lacking)) => !lacking.contains(&hash),
            _ => true,
        }
    }
}

mod inline;
mod steps;

use inline::Wrap;
pub use inline::{Granting, Inlines, TokenWanted, With};
pub use steps::{Binding, Bound, PasswordWanted, Resuming, StartTls, VerifierWanted};

/// What to do next. Whatever was written to the output goes out first.
#[derive(Debug)]
pub enum Step {
    /// Give it the next frame.
    Read(Stream),
    /// A stream header comes next: begin framing anew, then as before.
    Restart(Stream),
    /// Do the TLS handshake. What the client sent behind its request must be thrown away.
    StartTls(StartTls),
    /// Look up what is stored of a password.
    Verifier(VerifierWanted),
    /// Have a password checked.
    Password(PasswordWanted),
    /// Look up the tokens that a client was given.
    Token(TokenWanted),
    /// Note that a token was used, and give another.
    Grant(Granting),
    /// Bind a resource.
    Bind(Binding),
    /// Take up an earlier session (XEP-0198).
    Resume(Resuming),
    /// Close the connection.
    Close,
}

/// What a step has to say beside what comes next.
#[derive(Debug, Default)]
pub struct Output {
    /// For the client.
    pub text: String,
    /// How a proof went that was checked here, for whoever counts. (PLAIN is checked elsewhere.)
    pub verdict: Option<Verdict>,
}

impl std::ops::Deref for Output {
    type Target = String;

    fn deref(&self) -> &String {
        &self.text
    }
}

impl std::ops::DerefMut for Output {
    fn deref_mut(&mut self) -> &mut String {
        &mut self.text
    }
}

/// How a proof went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The client is this account.
    Right(BareJid),
    /// It failed to prove that it is this account.
    Wrong(BareJid),
}

/// What the stream's states have in common.
#[derive(Debug)]
struct Core {
    policy: Arc<Policy>,
    /// Makes stream ids and nonces that can't be guessed.
    token: fn() -> String,
    /// The peer's latest header; the scope of its stanzas.
    header: Option<StreamHeader>,
    /// The domain that the first header asked for: later ones can't ask for another.
    host: Option<Box<str>>,
    /// Our header for the current stream has been sent.
    opened: bool,
    /// The mechanism that was chosen last.
    mechanism: Option<&'static str>,
    failures: u8,
}

/// What is known about the client.
#[derive(Debug)]
enum Trust {
    /// Nothing, and anybody can listen.
    Plain,
    /// Nobody else can listen.
    Secured(Channel),
    /// Who it is.
    Known(Authenticated),
}

/// A stream whose client is to send something.
#[derive(Debug)]
pub struct Stream {
    core: Core,
    turn: Turn,
}

#[derive(Debug)]
enum Turn {
    /// A header is due.
    Header(Trust),
    /// Features were offered.
    Choice(Trust),
    /// A mechanism was chosen without its first message.
    First(Channel, Mechanism, Wrap),
    /// A SCRAM challenge was sent.
    Proof(Channel, Box<Exchange>, Wrap),
}

impl Stream {
    /// A stream over bare TCP: TLS comes first.
    pub fn plain(policy: Arc<Policy>, token: fn() -> String) -> Stream {
        Stream::new(policy, token, Trust::Plain)
    }

    /// A stream inside TLS from the start (XEP-0368).
    pub fn secured(policy: Arc<Policy>, token: fn() -> String, channel: Channel) -> Stream {
        Stream::new(policy, token, Trust::Secured(channel))
    }

    fn new(policy: Arc<Policy>, token: fn() -> String, trust: Trust) -> Stream {
        let core = Core {
            policy,
            token,
            header: None,
            host: None,
            opened: false,
            mechanism: None,
            failures: 0,
        };
        Stream {
            core,
            turn: Turn::Header(trust),
        }
    }

    /// The domain that the client asked for, once known.
    pub fn host(&self) -> Option<&str> {
        self.core.host.as_deref()
    }

    /// Takes the client's next frame.
    pub fn frame(self, frame: &Frame<'_>, out: &mut Output) -> Step {
        let Stream { core, turn } = self;
        match (frame, turn) {
            (Frame::Header(bytes), Turn::Header(trust)) => core.header(bytes, trust, out),
            (Frame::Footer(bytes), _) => core.footer(bytes, out),
            (Frame::Stanza(bytes), turn) => {
                let empty = Scope::empty();
                let scope = core.header.as_ref().map_or(&empty, |header| &header.scope);
                match Element::parse(bytes, scope) {
                    Ok(element) => core.element(&element, turn, out),
                    Err(flaw) => core.fail(&flaw.into(), out),
                }
            }
            // The framer gives headers only where one is due.
            (Frame::Header(_), _) => core.fail(&StreamCondition::BadFormat.into(), out),
        }
    }

    /// Ends the stream because of what happened around it: a flaw, a timeout, a shutdown.
    pub fn fail(self, error: &StreamError, out: &mut Output) {
        self.core.fail(error, out);
    }
}

impl Core {
    /// Answers with an error, inside a header if there is none yet (RFC 6120 4.9.1.2).
    fn fail(mut self, error: &StreamError, out: &mut Output) -> Step {
        self.open(out);
        out.push_str(&error.closing());
        Step::Close
    }

    fn footer(mut self, bytes: &[u8], out: &mut Output) -> Step {
        match self.header.as_ref().map(|header| header.closes(bytes)) {
            Some(Err(flaw)) => self.fail(&flaw.into(), out),
            _ => {
                self.open(out);
                out.push_str(stream::CLOSE);
                Step::Close
            }
        }
    }

    /// Sends our header, if it hasn't been.
    fn open(&mut self, out: &mut Output) {
        if !std::mem::replace(&mut self.opened, true) {
            let to = self.header.as_ref().and_then(|header| header.from.as_ref());
            out.push_str(&stream::open(self.host.as_deref(), to, &(self.token)()));
        }
    }

    /// Expects a new header from a client about whom more is known than before.
    fn restart(mut self, trust: Trust) -> Step {
        self.opened = false;
        self.header = None;
        Step::Restart(Stream {
            core: self,
            turn: Turn::Header(trust),
        })
    }

    fn header(mut self, bytes: &[u8], trust: Trust, out: &mut Output) -> Step {
        let header = match StreamHeader::parse(bytes) {
            Ok(header) => header,
            Err(error) => return self.fail(&error, out),
        };
        let to = header
            .to
            .as_ref()
            .filter(|to| to.is_bare() && to.local().is_none());
        let host: Option<Box<str>> = to
            .map(|to| to.domain().into())
            .filter(|host| self.policy.hosts.contains(host));
        self.header = Some(header);
        match (&self.host, host) {
            (_, None) => return self.fail(&StreamCondition::HostUnknown.into(), out),
            (Some(before), Some(host)) if *before != host => {
                let text = "the stream was opened to another domain";
                return self.fail(&StreamError::new(StreamCondition::HostUnknown, text), out);
            }
            (_, host) => self.host = host,
        }
        self.open(out);
        self.features(&trust).write(ns::CLIENT, out);
        Step::Read(Stream {
            core: self,
            turn: Turn::Choice(trust),
        })
    }

    fn features(&self, trust: &Trust) -> Features {
        let features = match trust {
            Trust::Plain => {
                vec![Element::new("starttls", ns::TLS).child(Element::new("required", ns::TLS))]
            }
            Trust::Secured(channel) => {
                let offered: Vec<_> = self.offered(channel).collect();
                let names = offered.iter();
                let names = names.map(|name| Element::new("mechanism", ns::SASL).text(*name));
                let mechanisms = Element::new("mechanisms", ns::SASL).children_from(names);
                let mut features = vec![mechanisms];
                let inlines = self.policy.inlines;
                features.extend(inlines.map(|with| inline::feature(&offered, with, channel)));
                // XEP-0440: which bindings the -PLUS mechanisms can use.
                let bindings = channel.bindings().map(|(name, _)| {
                    Element::new("channel-binding", ns::SASL_CHANNEL_BINDING).attr("type", name)
                });
                let bindings = Element::new("sasl-channel-binding", ns::SASL_CHANNEL_BINDING)
                    .children_from(bindings);
                if bindings.children().next().is_some() {
                    features.push(bindings);
                }
                features
            }
            Trust::Known(_) => {
                let mut features = vec![Element::new("bind", ns::BIND)];
                features.extend(self.policy.features.iter().cloned());
                features
            }
        };
        Features(features)
    }

    /// The names of the mechanisms that are offered on `channel`.
    fn offered(&self, channel: &Channel) -> impl Iterator<Item = &'static str> {
        let all = Mechanism::ALL.into_iter();
        all.filter(|mechanism| mechanism.fits(channel))
            .filter(|mechanism| self.policy.offers(*mechanism, self.host.as_deref()))
            .map(Mechanism::name)
    }

    /// A first-level element that isn't the header.
    fn element(self, element: &Element, turn: Turn, out: &mut Output) -> Step {
        match (turn, element.ns(), element.name()) {
            (Turn::Choice(Trust::Plain), ns::TLS, "starttls") => {
                out.push_str("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
                Step::StartTls(StartTls { core: self })
            }
            (Turn::Choice(Trust::Plain), ns::SASL, "auth") => {
                Wrap::Classic.failure(Failure::EncryptionRequired, out);
                Step::Read(Stream {
                    core: self,
                    turn: Turn::Choice(Trust::Plain),
                })
            }
            (Turn::Choice(_), ns::TLS, "starttls") => {
                // RFC 6120 5.4.2.2: a failure, and the stream is over.
                self.refuse_tls(out)
            }
            (Turn::Choice(Trust::Secured(channel)), ns::SASL, "auth") => {
                self.auth(element, channel, out)
            }
            (Turn::First(channel, mechanism, wrap), space, "response") if space == wrap.ns() => {
                match payload(element) {
                    Ok(message) => self.message(mechanism, &message, channel, wrap, out),
                    Err(failure) => self.refuse(failure, channel, &wrap, out),
                }
            }
            (Turn::Proof(channel, exchange, wrap), space, "response") if space == wrap.ns() => {
                let account = exchange.account().clone();
                match payload(element).and_then(|message| exchange.finish(&message)) {
                    Ok((known, answer)) => {
                        out.verdict = Some(Verdict::Right(account));
                        self.succeed(known, Some(&answer), wrap, out)
                    }
                    Err(failure) => {
                        out.verdict = Some(Verdict::Wrong(account));
                        self.refuse(failure, channel, &wrap, out)
                    }
                }
            }
            (
                Turn::First(channel, _, wrap) | Turn::Proof(channel, _, wrap),
                space @ (ns::SASL | ns::SASL2),
                "abort",
            ) if space == wrap.ns() => self.refuse(Failure::Aborted, channel, &wrap, out),
            (
                Turn::First(channel, _, wrap @ Wrap::Classic)
                | Turn::Proof(channel, _, wrap @ Wrap::Classic),
                ns::SASL,
                "auth",
            ) => self.refuse(Failure::MalformedRequest, channel, &wrap, out),
            (Turn::Choice(Trust::Secured(channel)), ns::SASL2, "authenticate")
                if self.policy.inlines.is_some() =>
            {
                let inlines = self.policy.inlines.unwrap_or_default();
                self.authenticate(element, channel, inlines, out)
            }
            (Turn::Choice(Trust::Known(known)), ns::CLIENT, "iq")
                if element.get_child("bind", ns::BIND).is_some() =>
            {
                self.bind(element, known, out)
            }
            (Turn::Choice(Trust::Known(known)), ns::SM, "resume") => {
                let previous = element.get_attr("previd").unwrap_or_default().to_owned();
                match element.get_attr("h").and_then(|h| h.parse().ok()) {
                    Some(handled) => Step::Resume(Resuming {
                        core: self,
                        known,
                        previous,
                        handled,
                        rest: None,
                    }),
                    None => {
                        write_sm_failed(Condition::BadRequest, None, out);
                        Step::Read(Stream {
                            core: self,
                            turn: Turn::Choice(Trust::Known(known)),
                        })
                    }
                }
            }
            (Turn::Choice(Trust::Known(known)), ns::SM, "enable") => {
                // XEP-0198 3: a resource first.
                write_sm_failed(Condition::UnexpectedRequest, None, out);
                Step::Read(Stream {
                    core: self,
                    turn: Turn::Choice(Trust::Known(known)),
                })
            }
            // RFC 6120 4.9.3.12: nothing else before the stream is negotiated.
            (_, ns::CLIENT | ns::SASL | ns::SASL2 | ns::TLS | ns::SM, _) => {
                self.fail(&StreamCondition::NotAuthorized.into(), out)
            }
            _ => self.fail(&StreamCondition::UnsupportedStanzaType.into(), out),
        }
    }

    fn refuse_tls(self, out: &mut Output) -> Step {
        out.push_str("<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        out.push_str(stream::CLOSE);
        Step::Close
    }

    fn auth(self, element: &Element, channel: Channel, out: &mut Output) -> Step {
        let wanted = element.get_attr("mechanism").unwrap_or_default();
        // RFC 6120 6.4.2: with nothing in it there is no initial response.
        let empty = element.text_content().trim_ascii().is_empty();
        let initial = (!empty).then_some(element);
        self.begin(wanted, initial, channel, Wrap::Classic, out)
    }

    /// A mechanism is chosen, perhaps with its first message.
    fn begin(
        mut self,
        wanted: &str,
        initial: Option<&Element>,
        channel: Channel,
        wrap: Wrap,
        out: &mut Output,
    ) -> Step {
        // A mechanism that isn't offered doesn't exist, however well we know it.
        let mechanism = Mechanism::ALL.into_iter().find(|m| m.name() == wanted);
        let offered = |mechanism: &Mechanism| {
            mechanism.fits(&channel) && self.policy.offers(*mechanism, self.host.as_deref())
        };
        let Some(mechanism) = mechanism.filter(offered) else {
            return self.refuse(Failure::InvalidMechanism, channel, &wrap, out);
        };
        self.mechanism = Some(mechanism.name());
        match initial.map(payload) {
            None => {
                // An empty challenge asks for it.
                wrap.challenge("", out);
                Step::Read(Stream {
                    core: self,
                    turn: Turn::First(channel, mechanism, wrap),
                })
            }
            Some(Ok(message)) => self.message(mechanism, &message, channel, wrap, out),
            Some(Err(failure)) => self.refuse(failure, channel, &wrap, out),
        }
    }

    /// XEP-0388 2.1: who the client is in its header it is in its proof too.
    fn is_from(&self, account: &BareJid) -> Result<(), Failure> {
        let from = self.header.as_ref().and_then(|header| header.from.as_ref());
        match from {
            Some(from) if from.bare_str() != account.as_str() => Err(Failure::InvalidAuthzid),
            _ => Ok(()),
        }
    }

    /// A mechanism's first message.
    fn message(
        self,
        mechanism: Mechanism,
        message: &[u8],
        channel: Channel,
        wrap: Wrap,
        out: &mut Output,
    ) -> Step {
        let Some(host) = self.host.clone() else {
            return self.fail(&StreamCondition::HostUnknown.into(), out);
        };
        let fits = |account: &BareJid| match wrap {
            Wrap::Classic => Ok(()),
            Wrap::Inline(_) => self.is_from(account),
        };
        let refused = match mechanism {
            Mechanism::Plain => {
                let plain = PlainMessage::parse(message, &host);
                match plain.and_then(|plain| fits(plain.account()).map(|()| plain)) {
                    Ok(plain) => {
                        return Step::Password(PasswordWanted {
                            core: self,
                            channel,
                            plain,
                            wrap,
                        });
                    }
                    Err(failure) => failure,
                }
            }
            Mechanism::Scram { hash, bound } => {
                let first = ClientFirst::parse(message, hash, bound, &channel, &host);
                match first.and_then(|first| fits(first.account()).map(|()| first)) {
                    Ok(first) => {
                        return Step::Verifier(VerifierWanted {
                            core: self,
                            channel,
                            first,
                            wrap,
                        });
                    }
                    Err(failure) => failure,
                }
            }
        };
        self.refuse(refused, channel, &wrap, out)
    }

    fn succeed(
        self,
        known: Authenticated,
        answer: Option<&str>,
        wrap: Wrap,
        out: &mut Output,
    ) -> Step {
        if let Wrap::Inline(request) = wrap {
            return self.go_on(known, answer.map(str::as_bytes), None, *request, out);
        }
        let success = Element::new("success", ns::SASL);
        let success = match answer {
            Some(answer) => success.text(BASE64.encode(answer)),
            None => success,
        };
        success.write(ns::CLIENT, out);
        self.restart(Trust::Known(known))
    }

    /// A failed attempt: the client may try again a few times.
    fn refuse(mut self, failure: Failure, channel: Channel, wrap: &Wrap, out: &mut Output) -> Step {
        wrap.failure(failure, out);
        self.failures += 1;
        if self.failures >= FAILURES {
            let text = "too many failed authentications";
            return self.fail(
                &StreamError::new(StreamCondition::PolicyViolation, text),
                out,
            );
        }
        Step::Read(Stream {
            core: self,
            turn: Turn::Choice(Trust::Secured(channel)),
        })
    }

    fn bind(self, iq: &Element, known: Authenticated, out: &mut Output) -> Step {
        let id = iq.get_attr("id").unwrap_or_default().to_owned();
        let bind = iq.get_child("bind", ns::BIND);
        let resource = bind.and_then(|bind| bind.get_child("resource", ns::BIND));
        let resource = resource
            .map(Element::text_content)
            .filter(|text| !text.is_empty());
        let wish = match resource {
            Some(resource) => known.jid().with_resource(&resource),
            None => known.jid().with_resource(&(self.token)()),
        };
        let binding = Binding {
            core: self,
            known,
            id,
            jid: None,
            rest: None,
        };
        match wish {
            _ if iq.get_attr("type") != Some(IqType::Set.as_str()) => {
                binding.refused(&Condition::BadRequest.into(), out)
            }
            // RFC 6120 7.7.2.1: not a resource.
            Err(_) => binding.refused(&Condition::BadRequest.into(), out),
            Ok(jid) => Step::Bind(Binding {
                jid: Some(jid),
                ..binding
            }),
        }
    }
}

/// `<stream:features>` with what is in it.
struct Features(Vec<Element>);

impl Features {
    fn write(&self, outer: &str, out: &mut String) {
        out.push_str("<stream:features>");
        for feature in &self.0 {
            feature.write(outer, out);
        }
        out.push_str("</stream:features>");
    }
}

/// The bytes that a SASL element carries; a lone `=` means none (RFC 6120 6.4.2).
fn payload(element: &Element) -> Result<Vec<u8>, Failure> {
    let text = element.text_content();
    match text.trim_ascii() {
        "=" => Ok(Vec::new()),
        text => BASE64.decode(text).map_err(|_| Failure::IncorrectEncoding),
    }
}

fn sm_failed(condition: Condition, handled: Option<u32>) -> Element {
    let condition = Element::new(condition.as_str(), ns::STANZA_ERRORS);
    let failed = Element::new("failed", ns::SM).attr_opt("h", handled.map(|h| h.to_string()));
    failed.child(condition)
}

fn write_sm_failed(condition: Condition, handled: Option<u32>, out: &mut Output) {
    sm_failed(condition, handled).write(ns::CLIENT, out);
}

#[cfg(test)]
mod tests;
