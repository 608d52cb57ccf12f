//! What a login waits for, each as a value that only the right answer consumes.

use super::{
    Core, Output, Step, Stream, Trust, Turn,
    inline::{Rest, With, Wrap},
    write_sm_failed,
};
use crate::{
    engine::sasl::{
        Authenticated, Channel, ClientFirst, Failure, Hash, PlainMessage, Verifier, offer,
    },
    wire::{
        BareJid, Condition, Element, IqType, Jid, Kind, StanzaError, StreamCondition, ns,
        stream::StreamHeader,
    },
};

/// A stream that is about to be secured.
#[derive(Debug)]
pub struct StartTls {
    pub(super) core: Core,
}

impl StartTls {
    /// The domain that the client asked for.
    pub fn host(&self) -> Option<&str> {
        self.core.host.as_deref()
    }

    /// The handshake is done.
    pub fn done(self, channel: Channel) -> Step {
        self.core.restart(Trust::Secured(channel))
    }
}

/// A stream whose client names an account.
#[derive(Debug)]
pub struct VerifierWanted {
    pub(super) core: Core,
    pub(super) channel: Channel,
    pub(super) first: ClientFirst,
    pub(super) wrap: Wrap,
}

impl VerifierWanted {
    /// The account.
    pub fn account(&self) -> &BareJid {
        self.first.account()
    }

    /// The hash that the client wants to use.
    pub fn hash(&self) -> Hash {
        self.first.hash()
    }

    /// What is stored, or why the client can't log in now.
    pub fn answer(self, verifier: Result<Verifier, Failure>, out: &mut Output) -> Step {
        let VerifierWanted {
            core,
            channel,
            first,
            wrap,
        } = self;
        match verifier {
            Ok(verifier) => {
                let offered = offer(core.offered(&channel), &channel);
                let (exchange, challenge) =
                    first.challenge(verifier, &(core.token)(), Some(&offered));
                wrap.challenge(&challenge, out);
                Step::Read(Stream {
                    core,
                    turn: Turn::Proof(channel, Box::new(exchange), wrap),
                })
            }
            Err(failure) => core.refuse(failure, channel, &wrap, out),
        }
    }
}

/// A stream whose client gave a password.
pub struct PasswordWanted {
    pub(super) core: Core,
    pub(super) channel: Channel,
    pub(super) plain: PlainMessage,
    pub(super) wrap: Wrap,
}

impl std::fmt::Debug for PasswordWanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PasswordWanted")
            .field("account", self.plain.account())
            .finish()
    }
}

impl PasswordWanted {
    /// Whose it is said to be.
    pub fn account(&self) -> &BareJid {
        self.plain.account()
    }

    /// The password.
    pub fn password(&self) -> &str {
        self.plain.password()
    }

    /// Whether it is right.
    pub fn answer(self, verdict: Result<(), Failure>, out: &mut Output) -> Step {
        let PasswordWanted {
            core,
            channel,
            plain,
            wrap,
        } = self;
        match plain.checked(verdict) {
            Ok(known) => core.succeed(known, None, wrap, out),
            Err(failure) => core.refuse(failure, channel, &wrap, out),
        }
    }
}

/// A client that asks for a resource.
#[derive(Debug)]
pub struct Binding {
    pub(super) core: Core,
    pub(super) known: Authenticated,
    pub(super) id: String,
    pub(super) jid: Option<Jid>,
    /// It was asked for with the proof.
    pub(super) rest: Option<Box<Rest>>,
}

/// A stream that is ready for stanzas.
#[derive(Debug)]
pub struct Bound {
    /// The client's full address.
    pub jid: Jid,
    /// Its language.
    pub lang: Option<String>,
    /// Its header, which says what stanzas inherit and how the stream will be closed.
    pub header: StreamHeader,
}

impl Binding {
    /// The account.
    pub fn account(&self) -> &BareJid {
        self.known.jid()
    }

    /// The full address it would get; made up by the server if it named no resource.
    pub fn jid(&self) -> &Jid {
        self.jid.as_ref().unwrap_or(self.known.jid())
    }

    /// The mechanism that the client proved itself with.
    pub fn mechanism(&self) -> &'static str {
        self.core.mechanism.unwrap_or_default()
    }

    /// It asked for a resource with its proof, which means that it reads the archive.
    pub fn is_inline(&self) -> bool {
        self.rest.is_some()
    }

    /// It wants copies of messages from the start (XEP-0280).
    pub fn carbons(&self) -> bool {
        self.rest.as_ref().is_some_and(|rest| rest.carbons())
    }

    /// Nobody looks at it (XEP-0352).
    pub fn inactive(&self) -> bool {
        self.rest.as_ref().is_some_and(|rest| rest.inactive())
    }

    /// It wants stream management; whether to resume too (XEP-0198).
    pub fn manage(&self) -> Option<bool> {
        self.rest.as_ref()?.manage()
    }

    /// It has the resource of `jid`, which is this account's.
    pub fn bound(mut self, jid: Jid, with: With, out: &mut Output) -> Option<Bound> {
        if let Some(rest) = self.rest.take() {
            rest.bound(&self.core, &jid, with, out);
            let header = self.core.header?;
            return Some(Bound {
                jid,
                lang: header.lang.clone(),
                header,
            });
        }
        let header = self.core.header?;
        let bind =
            Element::new("bind", ns::BIND).child(Element::new("jid", ns::BIND).text(jid.as_str()));
        Element::new("iq", ns::CLIENT)
            .attr("type", "result")
            .attr("id", self.id)
            .child(bind)
            .write(ns::CLIENT, out);
        Some(Bound {
            jid,
            lang: header.lang.clone(),
            header,
        })
    }

    /// It can't have it.
    pub fn refused(self, error: &StanzaError, out: &mut Output) -> Step {
        if self.rest.is_some() {
            // There is no answer for this: the proof was right, and the client can't go on.
            let condition = match error.condition {
                Condition::ResourceConstraint => StreamCondition::ResourceConstraint,
                _ => StreamCondition::InternalServerError,
            };
            return self.core.fail(&condition.into(), out);
        }
        Element::new(Kind::Iq(IqType::Error).name(), ns::CLIENT)
            .attr("type", "error")
            .attr("id", self.id)
            .child(error.to_element())
            .write(ns::CLIENT, out);
        let turn = Turn::Choice(Trust::Known(self.known));
        Step::Read(Stream {
            core: self.core,
            turn,
        })
    }
}

/// A client that wants an earlier session back.
#[derive(Debug)]
pub struct Resuming {
    pub(super) core: Core,
    pub(super) known: Authenticated,
    pub(super) previous: String,
    pub(super) handled: u32,
    /// It was asked for with the proof.
    pub(super) rest: Option<Box<Rest>>,
}

impl Resuming {
    /// The account.
    pub fn account(&self) -> &BareJid {
        self.known.jid()
    }

    /// The earlier session's token.
    pub fn previous(&self) -> &str {
        &self.previous
    }

    /// How many stanzas of ours the client had.
    pub fn handled(&self) -> u32 {
        self.handled
    }

    /// There is no such session: the client may bind. `handled` if we know how many stanzas of the
    /// client's the session had.
    pub fn failed(self, handled: Option<u32>, out: &mut Output) -> Step {
        if let Some(rest) = self.rest {
            return rest.not_resumed(self.core, self.known, handled, out);
        }
        write_sm_failed(Condition::ItemNotFound, handled, out);
        let turn = Turn::Choice(Trust::Known(self.known));
        Step::Read(Stream {
            core: self.core,
            turn,
        })
    }

    /// It goes on: `handled` of the client's stanzas were handled.
    pub fn resumed(self, jid: Jid, handled: u32, out: &mut Output) -> Option<Bound> {
        let resumed = Element::new("resumed", ns::SM)
            .attr("previd", self.previous)
            .attr("h", handled.to_string());
        match self.rest {
            Some(rest) => rest.resumed(&self.core, &jid, resumed, out),
            None => drop(resumed.write(ns::CLIENT, out)),
        }
        let header = self.core.header?;
        Some(Bound {
            jid,
            lang: header.lang.clone(),
            header,
        })
    }
}
