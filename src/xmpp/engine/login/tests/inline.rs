//! XEP-0388, XEP-0386 and XEP-0484, with the words of their examples.

use aws_lc_rs::hmac;

use super::*;
use crate::{
    engine::sasl::{Token, TokenMechanism},
    wire::Jid,
};

const AGENT: &str = "<user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'>\
                     <software>AwesomeXMPP</software></user-agent>";

fn modern() -> Client {
    let policy = Policy {
        inlines: Some(Inlines {
            bind: true,
            carbons: true,
            csi: true,
            sm: true,
            fast: true,
        }),
        pepper: "pepper".to_owned(),
        ..(*policy()).clone()
    };
    Client::new(Stream::secured(Arc::new(policy), token, channel()))
}

fn authenticate(mechanism: &str, message: &[u8], inside: &str) -> String {
    format!(
        "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='{mechanism}'><initial-response>{}\
         </initial-response>{inside}</authenticate>",
        BASE64.encode(message)
    )
}

fn response(message: &str) -> String {
    let message = BASE64.encode(message);
    format!("<response xmlns='urn:xmpp:sasl:2'>{message}</response>")
}

const PLAIN: &[u8] = b"\0juliet\0pencil";

#[test]
fn what_is_offered() {
    let seen = modern().open();
    let features = [
        "<authentication xmlns='urn:xmpp:sasl:2'><mechanism>SCRAM-SHA-512-PLUS</mechanism>",
        "<mechanism>PLAIN</mechanism><inline><bind xmlns='urn:xmpp:bind:0'><inline>\
         <feature var='urn:xmpp:carbons:2'/><feature var='urn:xmpp:csi:0'/>\
         <feature var='urn:xmpp:sm:3'/></inline></bind><sm xmlns='urn:xmpp:sm:3'/>\
         <fast xmlns='urn:xmpp:fast:0'><mechanism>HT-SHA-256-EXPR</mechanism>\
         <mechanism>HT-SHA-256-ENDP</mechanism><mechanism>HT-SHA-256-NONE</mechanism></fast>\
         </inline></authentication>",
    ];
    for feature in features {
        assert!(seen.contains(feature), "{seen}");
    }
    // In clear there is nothing of it, nor where it is switched off.
    assert!(!Client::plain().open().contains("sasl:2"));
    let mut off = Client::secured();
    assert!(!off.open().contains("sasl:2"));
    let seen = off.send(&authenticate("PLAIN", PLAIN, ""));
    assert_eq!(condition(&seen), "not-authorized");
}

/// XEP-0388 6.1: the same as without it, but for the stream that does not begin anew.
#[test]
fn as_before() {
    let mut client = modern();
    client.open();
    let seen = client.send(&authenticate("PLAIN", PLAIN, ""));
    assert_eq!(
        seen,
        "<success xmlns='urn:xmpp:sasl:2'><authorization-identifier>juliet@im.example.com\
         </authorization-identifier></success><stream:features>\
         <bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><sm xmlns='sm'/></stream:features>"
            .replace("xmlns='sm'", &format!("xmlns='{}'", ns::SM))
    );
    let seen =
        client.send("<iq id='1' type='set'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>");
    assert_eq!(seen, "");
    assert!(matches!(client.step, Some(Step::Bind(_))));
}

#[test]
fn scram_in_one_round_less() {
    let mut client = modern();
    client.open();
    let first = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    let seen = client.send(&authenticate("SCRAM-SHA-256", first, ""));
    let challenge = seen
        .strip_prefix("<challenge xmlns='urn:xmpp:sasl:2'>")
        .and_then(|rest| rest.strip_suffix("</challenge>"))
        .unwrap();
    let challenge = String::from_utf8(BASE64.decode(challenge).unwrap()).unwrap();
    assert!(
        challenge.starts_with("r=rOprNGfwEbeRWgbNEkqOtoken,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,h="),
        "{challenge}"
    );
    // SASL's own elements have no place here.
    let message = BASE64.encode("c=biws,r=x,p=AAAA");
    let seen = client.send(&format!(
        "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{message}</response>"
    ));
    assert_eq!(condition(&seen), "not-authorized");

    let mut client = modern();
    client.open();
    client.send(&authenticate("SCRAM-SHA-256", first, ""));
    let seen = client.send(&response("c=biws,r=rOprNGfwEbeRWgbNEkqOtoken,p=AAAA"));
    assert_eq!(
        seen,
        "<failure xmlns='urn:xmpp:sasl:2'><not-authorized \
         xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/></failure>"
    );
    assert!(matches!(client.verdicts[..], [Verdict::Wrong(_)]));
}

#[test]
fn refusals() {
    for (text, failure) in [
        // Not offered.
        (authenticate("DIGEST-MD5", PLAIN, ""), "invalid-mechanism"),
        (
            authenticate("PLAIN", PLAIN, "").replace("mechanism=", "upgrade='X' mechanism="),
            "invalid-mechanism",
        ),
        (authenticate("PLAIN", b"\0juliet", ""), "malformed-request"),
        (authenticate("PLAIN", b"\0juliet\0x", ""), "not-authorized"),
        // A token is one by its element, and somebody's.
        (
            authenticate("HT-SHA-256-NONE", b"juliet\0hash", AGENT),
            "malformed-request",
        ),
        (
            authenticate(
                "HT-SHA-256-NONE",
                b"juliet\0hash",
                "<fast xmlns='urn:xmpp:fast:0'/>",
            ),
            "malformed-request",
        ),
    ] {
        let mut client = modern();
        client.open();
        let seen = client.send(&text);
        let expect = format!(
            "<failure xmlns='urn:xmpp:sasl:2'><{failure} \
             xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/></failure>"
        );
        assert_eq!(seen, expect, "{text}");
        // As if nothing had been (XEP-0388 2.6.2).
        assert!(
            client
                .send(&authenticate("PLAIN", PLAIN, ""))
                .contains("<success")
        );
        // Once is enough.
        let seen = client.send(&authenticate("PLAIN", PLAIN, ""));
        assert_eq!(condition(&seen), "not-authorized");
    }
    // The header says who it is.
    let mut client = modern();
    client.send(&header("im.example.com").replace(" to=", " from='romeo@im.example.com' to="));
    let seen = client.send(&authenticate("PLAIN", PLAIN, ""));
    assert!(seen.contains("<invalid-authzid "), "{seen}");
}

/// XEP-0386 4.2.
const BIND: &str = "<bind xmlns='urn:xmpp:bind:0'><tag>AwesomeXMPP</tag>\
                    <enable xmlns='urn:xmpp:carbons:2'/><enable xmlns='urn:xmpp:sm:3'/>\
                    <inactive xmlns='urn:xmpp:csi:0'/></bind>";

#[test]
fn resources() {
    let resource = |inside: &str| {
        let mut client = modern();
        client.open();
        assert_eq!(client.send(&authenticate("PLAIN", PLAIN, inside)), "");
        let Some(Step::Bind(binding)) = client.step.take() else {
            panic!()
        };
        binding
    };
    let binding = resource(BIND);
    assert!(binding.carbons() && binding.inactive() && binding.is_inline());
    assert_eq!(binding.manage(), Some(false));
    assert_eq!(
        binding.jid().as_str(),
        "juliet@im.example.com/AwesomeXMPP/token"
    );
    let mut out = Output::default();
    let jid = Jid::new("juliet@im.example.com/AwesomeXMPP/token").unwrap();
    let with = With {
        enabled: Some(Element::new("enabled", ns::SM)),
        metadata: Some(Element::new("metadata", ns::MAM)),
    };
    let bound = binding.bound(jid.clone(), with, &mut out).unwrap();
    assert_eq!(bound.jid, jid);
    let success = "<success xmlns='urn:xmpp:sasl:2'><authorization-identifier>\
                   juliet@im.example.com/AwesomeXMPP/token</authorization-identifier>\
                   <bound xmlns='urn:xmpp:bind:0'><metadata xmlns='urn:xmpp:mam:2'/>\
                   <enabled xmlns='urn:xmpp:sm:3'/></bound></success><stream:features>";
    assert!(out.starts_with(success), "{}", out.text);
    // The same installation has the same resource, which tells nothing of its id.
    let with_agent = resource(&format!("{BIND}{AGENT}"));
    let again = resource(&format!("{BIND}{AGENT}"));
    assert_eq!(with_agent.jid(), again.jid());
    let other = resource(&format!("{BIND}{}", AGENT.replace("d456", "e456")));
    assert_ne!(with_agent.jid(), other.jid());
    assert!(with_agent.jid().as_str().contains("/AwesomeXMPP/"));
    // What can't be a resource is none; what is asked for too much of is not seen.
    for tag in ["&#xe000;", "x".repeat(200).as_str()] {
        let binding = resource(&BIND.replace("AwesomeXMPP", tag));
        assert_eq!(binding.jid().as_str(), "juliet@im.example.com/token");
    }
    let refused = resource(BIND).refused(&Condition::ResourceConstraint.into(), &mut out);
    assert!(matches!(refused, Step::Close));
    assert_eq!(condition(&out.text), "resource-constraint");
}

#[test]
fn resumption_comes_before_binding() {
    let begin = || {
        let mut client = modern();
        client.open();
        let inside = format!("<resume xmlns='urn:xmpp:sm:3' previd='old' h='7'/>{BIND}");
        assert_eq!(client.send(&authenticate("PLAIN", PLAIN, &inside)), "");
        match client.step.take() {
            Some(Step::Resume(resuming)) => resuming,
            other => panic!("{other:?}"),
        }
    };
    let mut out = Output::default();
    let resuming = begin();
    assert_eq!((resuming.previous(), resuming.handled()), ("old", 7));
    let jid = Jid::new("juliet@im.example.com/x").unwrap();
    resuming.resumed(jid, 3, &mut out).unwrap();
    let success = "<success xmlns='urn:xmpp:sasl:2'><authorization-identifier>\
                   juliet@im.example.com/x</authorization-identifier><resumed \
                   xmlns='urn:xmpp:sm:3' previd='old' h='3'/></success><stream:features>";
    assert!(out.starts_with(success), "{}", out.text);
    let mut out = Output::default();
    let Step::Bind(binding) = begin().failed(None, &mut out) else {
        panic!()
    };
    assert_eq!(out.text, "");
    let jid = binding.jid().clone();
    binding.bound(jid, With::default(), &mut out).unwrap();
    let failed = "</authorization-identifier><failed xmlns='urn:xmpp:sm:3'><item-not-found \
                  xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed><bound ";
    assert!(out.contains(failed), "{}", out.text);
}

#[test]
fn tokens_are_given_and_used() {
    let wish = "<request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-EXPR'/>";
    let mut client = modern();
    client.open();
    let inside = format!("{wish}{AGENT}");
    assert_eq!(client.send(&authenticate("PLAIN", PLAIN, &inside)), "");
    let Some(Step::Grant(granting)) = client.step.take() else {
        panic!()
    };
    assert_eq!(granting.agent(), "d4565fa7-4d72-4749-b3d3-740edbf87770");
    assert_eq!(granting.wanted(), Some(TokenMechanism::Exporter));
    assert!(granting.used().is_none() && !granting.invalidates());
    let mut out = Output::default();
    let step = granting.done(
        Some(("secret", "2020-03-12T14:36:15Z".to_owned())),
        &mut out,
    );
    assert!(matches!(step, Step::Read(_)));
    let given = "<token xmlns='urn:xmpp:fast:0' expiry='2020-03-12T14:36:15Z' token='secret'/>\
                 </success>";
    assert!(out.contains(given), "{}", out.text);

    let sign = |text: &[u8]| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
        hmac::sign(&key, text).as_ref().to_vec()
    };
    let message = [b"juliet\0", &sign(b"Initiator\x01")[..]].concat();
    let login = |fast: &str, tokens: Vec<Token>| {
        let mut client = modern();
        client.open();
        let inside = format!("<fast xmlns='urn:xmpp:fast:0'{fast}/>{AGENT}");
        client.send(&authenticate("HT-SHA-256-EXPR", &message, &inside));
        let Some(Step::Token(wanted)) = client.step.take() else {
            panic!()
        };
        assert_eq!(wanted.account().as_str(), "juliet@im.example.com");
        assert_eq!(wanted.mechanism(), TokenMechanism::Exporter);
        let mut out = Output::default();
        let step = wanted.answer(Ok(tokens), &mut out);
        (step, out)
    };
    let token = |due| Token {
        id: 5,
        secret: "secret".to_owned().into(),
        due,
    };
    for (fast, due, wanted) in [
        ("", false, None),
        ("", true, Some(TokenMechanism::Exporter)),
        (" invalidate='true'", true, None),
    ] {
        let (step, mut out) = login(fast, vec![token(due)]);
        let Step::Grant(granting) = step else {
            panic!()
        };
        assert!(matches!(out.verdict, Some(Verdict::Right(_))));
        assert_eq!(granting.used().map(|token| token.id), Some(5));
        assert_eq!(granting.wanted(), wanted, "{fast}");
        assert_eq!(granting.invalidates(), !fast.is_empty());
        assert!(matches!(granting.done(None, &mut out), Step::Read(_)));
        let proof = BASE64.encode(sign(b"Responder\x01"));
        let proof = format!("<additional-data>{proof}</additional-data>");
        assert!(out.contains(&proof), "{}", out.text);
    }
    let (step, out) = login("", vec![]);
    assert!(matches!(step, Step::Read(_)));
    assert!(out.contains("<not-authorized "), "{}", out.text);
    assert!(matches!(out.verdict, Some(Verdict::Wrong(_))));
}
