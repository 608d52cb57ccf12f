#![allow(clippy::unwrap_used)]
use super::*;
use crate::{
    engine::sasl::Verifier,
    wire::{BareJid, Condition, Framer, Limits},
};

mod inline;

const XML: &str = "<?xml version='1.0'?>";

fn token() -> String {
    "token".into()
}

fn policy() -> Arc<Policy> {
    Arc::new(Policy {
        hosts: ["im.example.com".into(), "example.net".into()].into(),
        features: vec![Element::new("sm", ns::SM)],
        ..Policy::default()
    })
}

fn channel() -> Channel {
    Channel {
        exporter: Some(vec![1]),
        server_end_point: Some(vec![2]),
    }
}

fn header(to: &str) -> String {
    format!(
        "{XML}<stream:stream to='{to}' version='1.0' xmlns='jabber:client' \
         xmlns:stream='http://etherx.jabber.org/streams'>"
    )
}

/// Drives a login with text; answers questions as its fields say.
struct Client {
    step: Option<Step>,
    framer: Framer,
    password: &'static str,
    verdicts: Vec<Verdict>,
}

impl Client {
    fn new(stream: Stream) -> Client {
        let framer = Framer::new(Limits::UNAUTHENTICATED);
        Client {
            step: Some(Step::Read(stream)),
            framer,
            password: "pencil",
            verdicts: vec![],
        }
    }

    fn plain() -> Client {
        Client::new(Stream::plain(policy(), token))
    }

    fn secured() -> Client {
        Client::new(Stream::secured(policy(), token, channel()))
    }

    /// Sends text and gives what came back.
    fn send(&mut self, text: &str) -> String {
        let mut out = Output::default();
        let mut input = text.as_bytes();
        while let Some(step) = self.step.take() {
            self.step = Some(match step {
                Step::Read(stream) => match self.framer.next(&mut input) {
                    Ok(Some(frame)) => stream.frame(&frame, &mut out),
                    Ok(None) => {
                        self.step = Some(Step::Read(stream));
                        break;
                    }
                    Err(flaw) => {
                        stream.fail(&flaw.into(), &mut out);
                        Step::Close
                    }
                },
                Step::Restart(stream) => {
                    self.framer.restart();
                    Step::Read(stream)
                }
                Step::StartTls(tls) => {
                    input = &[];
                    tls.done(channel())
                }
                Step::Password(wanted) => {
                    let right = wanted.password() == self.password;
                    let verdict = if right {
                        Ok(())
                    } else {
                        Err(Failure::NotAuthorized)
                    };
                    wanted.answer(verdict, &mut out)
                }
                Step::Verifier(wanted) => {
                    // RFC 7677 3: user "user", password "pencil".
                    let decode = |text| BASE64.decode(text).unwrap();
                    let verifier = Verifier {
                        salt: decode("W22ZaJ0SNY7soEsUEjb6gQ=="),
                        iterations: 4096,
                        stored_key: decode("WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="),
                        server_key: decode("wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="),
                        exists: true,
                    };
                    wanted.answer(Ok(verifier), &mut out)
                }
                done => {
                    self.step = Some(done);
                    break;
                }
            });
        }
        self.verdicts.extend(out.verdict);
        out.text
    }

    fn open(&mut self) -> String {
        self.send(&header("im.example.com"))
    }

    fn is_closed(&self) -> bool {
        matches!(self.step, Some(Step::Close))
    }

    /// Logs in with PLAIN and opens the stream anew.
    fn login(&mut self) {
        self.open();
        let seen = self.send(&auth("PLAIN", "\0juliet\0pencil"));
        assert!(seen.contains("<success"), "{seen}");
        self.open();
    }
}

fn auth(mechanism: &str, message: &str) -> String {
    let message = BASE64.encode(message);
    format!(
        "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='{mechanism}'>{message}</auth>"
    )
}

const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";

fn condition(text: &str) -> &str {
    let rest = text
        .split_once("<stream:error><")
        .map_or("", |(_, rest)| rest);
    rest.split([' ', '/']).next().unwrap_or_default()
}

/// RFC 6120 9.1: STARTTLS, SASL, binding, in the order and words of the example.
#[test]
fn rfc_6120_9_1() {
    let mut client = Client::plain();
    assert_eq!(
        client.open(),
        "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
         xmlns:stream='http://etherx.jabber.org/streams' id='token' from='im.example.com' \
         version='1.0' xml:lang='en'><stream:features><starttls \
         xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>"
    );
    assert_eq!(
        client.send(STARTTLS),
        "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
    );
    let features = client.open();
    for mechanism in Mechanism::ALL {
        let element = format!("<mechanism>{}</mechanism>", mechanism.name());
        assert!(features.contains(&element), "{features}");
    }
    assert!(features.contains(
        "<sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'><channel-binding type='tls-exporter'/>\
         <channel-binding type='tls-server-end-point'/></sasl-channel-binding>"
    ));
    assert_eq!(
        client.send(&auth("PLAIN", "\0juliet\0pencil")),
        "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"
    );
    let features = client.open();
    assert!(
        features.contains("<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>"),
        "{features}"
    );
    assert!(
        !features.contains("mechanism") && !features.contains("starttls"),
        "{features}"
    );
    let seen = client.send(
        "<iq id='yhc13a95' type='set'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
         <resource>balcony</resource></bind></iq>",
    );
    assert_eq!(seen, "");
    let Some(Step::Bind(binding)) = client.step else {
        panic!("{:?}", client.step)
    };
    assert_eq!(binding.jid().as_str(), "juliet@im.example.com/balcony");
    let mut out = Output::default();
    let jid = binding.jid().clone();
    let bound = binding.bound(jid, With::default(), &mut out).unwrap();
    assert_eq!(bound.jid.as_str(), "juliet@im.example.com/balcony");
    assert_eq!(
        out.text,
        "<iq type='result' id='yhc13a95'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
         <jid>juliet@im.example.com/balcony</jid></bind></iq>"
    );
}

#[test]
fn scram_with_the_words_of_rfc_7677() {
    let mut client = Client::secured();
    client.open();
    let seen = client.send(&auth("SCRAM-SHA-256", "n,,n=user,r=rOprNGfwEbeRWgbNEkqO"));
    // XEP-0474: what was offered is in it.
    let challenge = "r=rOprNGfwEbeRWgbNEkqOtoken,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
                     h=cmRT/9v5sjTgX+ft+hYhsOha8IkhRW2KxNFPJvcbHUA=";
    let expect = BASE64.encode(challenge);
    assert_eq!(
        seen,
        format!("<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{expect}</challenge>")
    );
    // With this nonce the RFC's proof is wrong: a failure, counted, and another try.
    let answer = BASE64.encode(
        "c=biws,r=rOprNGfwEbeRWgbNEkqOtoken,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
    );
    let seen = client.send(&format!(
        "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{answer}</response>"
    ));
    assert_eq!(
        seen,
        "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>"
    );
    let user = BareJid::new("user@im.example.com").unwrap();
    assert_eq!(client.verdicts, [Verdict::Wrong(user)]);
    assert!(
        client
            .send(&auth("PLAIN", "\0user\0pencil"))
            .contains("<success")
    );
}

#[test]
fn nothing_before_tls() {
    let mut client = Client::plain();
    client.open();
    let seen = client.send(&auth("PLAIN", "\0juliet\0pencil"));
    assert_eq!(
        seen,
        "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><encryption-required/></failure>"
    );
    let seen = client.send("<message to='a@im.example.com'><body>x</body></message>");
    assert_eq!(condition(&seen), "not-authorized");
    assert!(seen.ends_with("</stream:error></stream:stream>") && client.is_closed());
}

#[test]
fn what_came_before_tls_counts_for_nothing() {
    let mut client = Client::plain();
    client.open();
    // A login injected behind STARTTLS, in clear: thrown away with the buffer.
    let injected = format!(
        "{STARTTLS}{}{}",
        header("im.example.com"),
        auth("PLAIN", "\0a\0pencil")
    );
    assert_eq!(
        client.send(&injected),
        "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
    );
    assert!(client.open().contains("<mechanism>"));
}

#[test]
fn orders_that_are_wrong() {
    let iq = "<iq type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>";
    let mut client = Client::secured();
    client.open();
    assert_eq!(condition(&client.send(iq)), "not-authorized");

    let mut client = Client::secured();
    client.open();
    let seen = client.send("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>AAAA</response>");
    assert_eq!(condition(&seen), "not-authorized");

    let mut client = Client::secured();
    client.open();
    let seen = client.send(STARTTLS);
    assert_eq!(
        seen,
        "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>"
    );
    assert!(client.is_closed());

    let mut client = Client::secured();
    client.login();
    let again = client.send(&auth("PLAIN", "\0romeo\0pencil"));
    assert_eq!(condition(&again), "not-authorized");

    let mut client = Client::secured();
    client.login();
    assert_eq!(condition(&client.send("<presence/>")), "not-authorized");

    let mut client = Client::secured();
    client.login();
    assert_eq!(
        condition(&client.send("<x xmlns='u'/>")),
        "unsupported-stanza-type"
    );

    // Between <success/> and the new header there is nothing to send.
    let mut client = Client::secured();
    client.open();
    client.send(&auth("PLAIN", "\0juliet\0pencil"));
    let seen = client.send("</stream:stream>");
    assert!(seen.contains("<not-well-formed "), "{seen}");
}

#[test]
fn mechanisms_that_were_not_offered() {
    let mut client = Client::new(Stream::secured(policy(), token, Channel::default()));
    let features = client.open();
    assert!(!features.contains("-PLUS") && !features.contains("sasl-channel-binding"));
    for mechanism in [
        "SCRAM-SHA-256-PLUS",
        "DIGEST-MD5",
        "ANONYMOUS",
        "EXTERNAL",
        "plain",
        "",
    ] {
        let mut client = Client::new(Stream::secured(policy(), token, Channel::default()));
        client.open();
        let seen = client.send(&auth(mechanism, "p=tls-exporter,,n=user,r=a"));
        assert!(seen.contains("<invalid-mechanism/>"), "{mechanism}: {seen}");
    }
}

#[test]
fn sasl_edges() {
    let sasl = "xmlns='urn:ietf:params:xml:ns:xmpp-sasl'";
    let mut client = Client::secured();
    client.open();
    // No initial response.
    let seen = client.send(&format!("<auth {sasl} mechanism='PLAIN'/>"));
    assert_eq!(seen, format!("<challenge {sasl}/>"));
    let seen = client.send(&format!("<abort {sasl}/>"));
    assert_eq!(seen, format!("<failure {sasl}><aborted/></failure>"));
    client.send(&format!("<auth {sasl} mechanism='PLAIN'/>"));
    let seen = client.send(&format!("<response {sasl}>%%%</response>"));
    assert_eq!(
        seen,
        format!("<failure {sasl}><incorrect-encoding/></failure>")
    );
    let seen = client.send(&format!("<auth {sasl} mechanism='PLAIN'>=</auth>"));
    assert_eq!(
        seen,
        format!("<failure {sasl}><malformed-request/></failure>")
    );
    // The fourth failure is the last.
    let seen = client.send(&auth("PLAIN", "\0juliet\0wrong"));
    assert!(
        seen.starts_with(&format!("<failure {sasl}><not-authorized/></failure>")),
        "{seen}"
    );
    assert_eq!(condition(&seen), "policy-violation");
    assert!(client.is_closed());
}

#[test]
fn headers() {
    let mut client = Client::plain();
    let seen = client.send(&header("other.example"));
    assert_eq!(condition(&seen), "host-unknown");
    assert!(
        seen.starts_with("<?xml version='1.0'?><stream:stream "),
        "{seen}"
    );
    for text in ["", "user@im.example.com", "im.example.com/x"] {
        assert_eq!(
            condition(&Client::plain().send(&header(text))),
            "host-unknown",
            "{text}"
        );
    }
    // The domain can't change on the way, above all not after the login.
    let mut client = Client::secured();
    client.open();
    client.send(&auth("PLAIN", "\0juliet\0pencil"));
    assert_eq!(
        condition(&client.send(&header("example.net"))),
        "host-unknown"
    );
}

#[test]
fn garbage() {
    for (text, expect) in [
        (
            "GET / HTTP/1.1\r\nHost: im.example.com\r\n\r\n",
            "not-well-formed",
        ),
        ("\u{16}\u{3}\u{1}\u{2}\u{0}", "not-well-formed"),
        ("<!DOCTYPE x [<!ENTITY a 'b'>]>", "restricted-xml"),
        (
            "<?xml version='1.0' encoding='UTF-16'?><stream:stream>",
            "unsupported-encoding",
        ),
        (
            "<stream xmlns='jabber:client' to='im.example.com' version='1.0'>",
            "invalid-namespace",
        ),
        ("<a b='1' b='2'>", "not-well-formed"),
    ] {
        let mut client = Client::plain();
        let seen = client.send(text);
        assert_eq!(condition(&seen), expect, "{text}");
        assert!(
            seen.starts_with(XML) && seen.ends_with("</stream:stream>"),
            "{seen}"
        );
        assert!(client.is_closed());
    }
    let mut client = Client::plain();
    client.open();
    assert_eq!(condition(&client.send("<a><b></a></b>")), "not-well-formed");
    let mut client = Client::plain();
    client.open();
    assert_eq!(
        condition(&client.send(&format!("<a b='{}'", "x".repeat(9000)))),
        "policy-violation"
    );
}

#[test]
fn closing() {
    let mut client = Client::plain();
    client.open();
    assert_eq!(client.send("</stream:stream>"), "</stream:stream>");
    assert!(client.is_closed());
    let mut client = Client::plain();
    client.open();
    assert_eq!(condition(&client.send("</stream>")), "not-well-formed");
}

#[test]
fn binding_refused_and_resuming() {
    let mut client = Client::secured();
    client.login();
    let bind = |kind: &str, resource: &str| {
        format!(
            "<iq type='{kind}' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
             <resource>{resource}</resource></bind></iq>"
        )
    };
    assert!(client.send(&bind("get", "x")).contains("<bad-request "));
    assert!(
        client
            .send(&bind("set", &"x".repeat(1024)))
            .contains("<bad-request ")
    );
    assert!(
        client
            .send(&bind("set", "&#x200e;x&#xe000;"))
            .contains("<bad-request ")
    );
    let seen = client.send("<enable xmlns='urn:xmpp:sm:3'/>");
    assert!(
        seen.contains("<failed xmlns='urn:xmpp:sm:3'><unexpected-request "),
        "{seen}"
    );
    client.send("<resume xmlns='urn:xmpp:sm:3' previd='old' h='7'/>");
    let Some(Step::Resume(resuming)) = client.step.take() else {
        panic!()
    };
    assert_eq!((resuming.previous(), resuming.handled()), ("old", 7));
    let mut out = Output::default();
    client.step = Some(resuming.failed(None, &mut out));
    assert!(out.contains("<item-not-found "), "{}", out.text);
    client.send(&bind("set", ""));
    let Some(Step::Bind(binding)) = client.step.take() else {
        panic!()
    };
    assert_eq!(binding.jid().as_str(), "juliet@im.example.com/token");
    client.step = Some(binding.refused(&Condition::Conflict.into(), &mut out));
    client.send(&bind("set", "other"));
    assert!(matches!(client.step, Some(Step::Bind(_))));
}
