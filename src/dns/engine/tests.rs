//! Zone text and questions in, answers as text out.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fmt::Write;
use std::sync::Arc;

use proptest::prelude::*;

use super::access::Access;
use super::answer::{Client, Outcome, Scratch, Transport, answer};
use super::policy::{Policy, read_rule};
use super::state::{Settings, State};
use super::tsig::Keys;
use super::zone::tests::load;
use super::zones::{Rules, Served, Zones};
use crate::wire::code::{Class, Rcode, RrType};
use crate::wire::name::{Name, NameRef};
use crate::wire::rdata::{Rdata, decompress};
use crate::wire::reader::{Header, Reader, flag};

const ZONE: &str = "\
$TTL 300
@ SOA ns hm 7 2 3 4 100
@ NS ns
@ NS ns.other.
@ MX 10 mail
ns A 192.0.2.1
ns AAAA 2001:db8::1
mail A 192.0.2.2
www CNAME web
web A 192.0.2.3
chain CNAME www
out CNAME www.example.net.
gone CNAME nowhere
loop CNAME pool
pool CNAME loop
away CNAME www.elsewhere.
*.wild TXT wild
*.wild MX 5 mail
host.wild A 192.0.2.4
a.b.ent A 192.0.2.5
*.cw CNAME web
sub NS ns.sub
sub NS ns2.sub.sib
sub DS 1 8 2 00
ns.sub A 192.0.2.6
sib NS ns.sib
ns.sib A 192.0.2.7
ns2.sub.sib A 192.0.2.8
tosub CNAME x.sub
d DNAME target
x.target A 192.0.2.9
svc HTTPS 1 . alpn=h2
svc A 192.0.2.10
srv SRV 0 0 1 mail
big TXT ( \"0123456789012345678901234567890123456789012345678901234567890123456789\"
 \"0123456789012345678901234567890123456789012345678901234567890123456789\"
 \"0123456789012345678901234567890123456789012345678901234567890123456789\"
 \"0123456789012345678901234567890123456789012345678901234567890123456789\"
 \"0123456789012345678901234567890123456789012345678901234567890123456789\"
 \"0123456789012345678901234567890123456789012345678901234567890123456789\"
 \"0123456789012345678901234567890123456789012345678901234567890123456789\" )
";

pub(super) fn served(apex: &str, text: &str) -> Served {
    let built = load(apex, text);
    let zone = built.zone.unwrap_or_else(|| panic!("{:?}", built.faults));
    let local = "127.0.0.0/8".parse().unwrap();
    Served {
        view: None,
        history: Default::default(),
        zone: Arc::new(zone),
        rules: Arc::new(Rules {
            transfer: Access::networks([local]),
            ..Rules::default()
        }),
        secondary: false,
        expired: false,
    }
}

pub(super) fn state() -> State {
    let net = "$TTL 60\n@ SOA ns hm 1 2 3 4 5\n@ NS ns\nns A 192.0.2.99\nwww A 192.0.2.77";
    let zones = Zones::new(vec![served("example", ZONE), served("example.net", net)]);
    State {
        keys: Keys::default(),
        views: Default::default(),
        zones,
        settings: Settings::default(),
    }
}

fn question(name: &str, rr_type: &str) -> Vec<u8> {
    let mut bytes = Name::from_text(name).unwrap().as_ref().wire().to_vec();
    bytes.extend_from_slice(
        &RrType::from_text(rr_type.as_bytes())
            .unwrap()
            .0
            .to_be_bytes(),
    );
    bytes.extend_from_slice(&[0, 1]);
    bytes
}

pub(super) fn request(name: &str, rr_type: &str, opt: &[u8]) -> Vec<u8> {
    let additional = u8::from(!opt.is_empty());
    let head = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, additional];
    [&head[..], &question(name, rr_type), opt].concat()
}

/// An OPT record that allows 4096 octets, with options.
fn opt(options: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, options.len() as u8];
    bytes.extend_from_slice(options);
    bytes
}

fn send(state: &State, transport: Transport, message: &[u8]) -> Option<Vec<u8>> {
    let client = Client::new("127.0.0.1".parse().unwrap(), transport);
    let mut out = vec![0; 65_535];
    match answer(
        state,
        &client,
        1_559_731_985,
        message,
        &mut out,
        &mut Scratch::default(),
    ) {
        Outcome::Reply(answered) => {
            out.truncate(answered.len);
            Some(out)
        }
        Outcome::Drop | Outcome::Recurse => None,
        Outcome::Transfer(_) | Outcome::Deferred(_) => panic!("no reply"),
    }
}

/// A record as text; an OPT record as its options in hexadecimal.
fn show_record(message: &[u8], reader: &mut Reader<'_>, out: &mut String) {
    let record = reader.record().unwrap();
    let rr_type = record.rr_type;
    if rr_type == RrType::OPT {
        let options = &message[record.rdata_at..][..record.rdata_len];
        write!(out, " OPT").unwrap();
        for octet in options {
            write!(out, "{octet:02x}").unwrap();
        }
        return;
    }
    let mut rdata = Vec::new();
    decompress(
        rr_type,
        message,
        record.rdata_at,
        record.rdata_len,
        &mut rdata,
    )
    .unwrap();
    let data = Rdata {
        rr_type,
        bytes: &rdata,
    };
    write!(
        out,
        " {} {} {rr_type} {data},",
        record.owner.as_ref(),
        record.ttl
    )
    .unwrap();
}

/// Code and flags; answers; authority; additional.
pub(super) fn show(message: &[u8]) -> String {
    let header = Header::read(message).unwrap();
    let mut out = format!("{}", header.rcode());
    for (bit, name) in [(flag::AA, " aa"), (flag::TC, " tc")] {
        if header.flags & bit != 0 {
            out.push_str(name);
        }
    }
    let mut reader = Reader::at(message, Header::LEN);
    for _ in 0..header.questions {
        reader.name().unwrap();
        reader.bytes(4).unwrap();
    }
    for count in [header.answers, header.authorities, header.additionals] {
        out.push_str(" /");
        for _ in 0..count {
            show_record(message, &mut reader, &mut out);
        }
    }
    assert_eq!(
        reader.position(),
        message.len(),
        "nothing behind the last record"
    );
    out.replace(",", ";")
        .replace("; /", " /")
        .trim_end_matches(';')
        .to_owned()
}

fn ask(name: &str, rr_type: &str) -> String {
    show(&send(&state(), Transport::Udp, &request(name, rr_type, &[])).unwrap())
}

#[test]
fn answers() {
    const SOA: &str = "example. 100 SOA ns.example. hm.example. 7 2 3 4 100";
    let cases: &[(&str, &str, &str)] = &[
        (
            "web.example",
            "A",
            "NOERROR aa / web.example. 300 A 192.0.2.3 / /",
        ),
        (
            "WeB.eXample",
            "A",
            "NOERROR aa / WeB.eXample. 300 A 192.0.2.3 / /",
        ),
        ("web.example", "MX", "NOERROR aa / / {SOA} /"),
        ("nope.example", "A", "NXDOMAIN aa / / {SOA} /"),
        ("ent.example", "A", "NOERROR aa / / {SOA} /"),
        ("x.ent.example", "A", "NXDOMAIN aa / / {SOA} /"),
        (
            "example",
            "MX",
            "NOERROR aa / example. 300 MX 10 mail.example. / / mail.example. 300 A 192.0.2.2",
        ),
        (
            "example",
            "NS",
            "NOERROR aa / example. 300 NS ns.other.; example. 300 NS ns.example. / / \
            ns.example. 300 A 192.0.2.1; ns.example. 300 AAAA 2001:db8::1",
        ),
        (
            "srv.example",
            "SRV",
            "NOERROR aa / srv.example. 300 SRV 0 0 1 mail.example. / / mail.example. 300 A 192.0.2.2",
        ),
        (
            "svc.example",
            "HTTPS",
            "NOERROR aa / svc.example. 300 HTTPS 1 . alpn=\"h2\" / / svc.example. 300 A 192.0.2.10",
        ),
        // Chains, within a zone, into another of this server's, and out of all.
        (
            "www.example",
            "A",
            "NOERROR aa / www.example. 300 CNAME web.example.; web.example. 300 A 192.0.2.3 / /",
        ),
        (
            "www.example",
            "CNAME",
            "NOERROR aa / www.example. 300 CNAME web.example. / /",
        ),
        (
            "www.example",
            "MX",
            "NOERROR aa / www.example. 300 CNAME web.example. / {SOA} /",
        ),
        (
            "chain.example",
            "A",
            "NOERROR aa / chain.example. 300 CNAME www.example.; \
            www.example. 300 CNAME web.example.; web.example. 300 A 192.0.2.3 / /",
        ),
        (
            "gone.example",
            "A",
            "NXDOMAIN aa / gone.example. 300 CNAME nowhere.example. / {SOA} /",
        ),
        (
            "out.example",
            "A",
            "NOERROR aa / out.example. 300 CNAME www.example.net.; www.example.net. 60 A 192.0.2.77 / /",
        ),
        (
            "away.example",
            "A",
            "NOERROR aa / away.example. 300 CNAME www.elsewhere. / /",
        ),
        // Wildcards.
        (
            "q.wild.example",
            "TXT",
            "NOERROR aa / q.wild.example. 300 TXT \"wild\" / /",
        ),
        (
            "q.r.wild.example",
            "TXT",
            "NOERROR aa / q.r.wild.example. 300 TXT \"wild\" / /",
        ),
        ("q.wild.example", "A", "NOERROR aa / / {SOA} /"),
        ("host.wild.example", "TXT", "NOERROR aa / / {SOA} /"),
        ("q.host.wild.example", "TXT", "NXDOMAIN aa / / {SOA} /"),
        (
            "*.wild.example",
            "TXT",
            "NOERROR aa / *.wild.example. 300 TXT \"wild\" / /",
        ),
        (
            "q.cw.example",
            "A",
            "NOERROR aa / q.cw.example. 300 CNAME web.example.; web.example. 300 A 192.0.2.3 / /",
        ),
        // Delegations.
        (
            "x.sub.example",
            "A",
            "NOERROR / / sub.example. 300 NS ns.sub.example.; sub.example. 300 NS ns2.sub.sib.example. / \
            ns.sub.example. 300 A 192.0.2.6; ns2.sub.sib.example. 300 A 192.0.2.8",
        ),
        (
            "sub.example",
            "NS",
            "NOERROR / / sub.example. 300 NS ns.sub.example.; sub.example. 300 NS ns2.sub.sib.example. / \
            ns.sub.example. 300 A 192.0.2.6; ns2.sub.sib.example. 300 A 192.0.2.8",
        ),
        (
            "sub.example",
            "DS",
            "NOERROR aa / sub.example. 300 DS 1 8 2 00 / /",
        ),
        ("sib.example", "DS", "NOERROR aa / / {SOA} /"),
        (
            "x.sub.example",
            "DS",
            "NOERROR / / sub.example. 300 NS ns.sub.example.; sub.example. 300 NS ns2.sub.sib.example. / \
            ns.sub.example. 300 A 192.0.2.6; ns2.sub.sib.example. 300 A 192.0.2.8",
        ),
        (
            "tosub.example",
            "A",
            "NOERROR aa / tosub.example. 300 CNAME x.sub.example. / \
            sub.example. 300 NS ns.sub.example.; sub.example. 300 NS ns2.sub.sib.example. / \
            ns.sub.example. 300 A 192.0.2.6; ns2.sub.sib.example. 300 A 192.0.2.8",
        ),
        // DNAME.
        (
            "x.d.example",
            "A",
            "NOERROR aa / d.example. 300 DNAME target.example.; \
            x.d.example. 300 CNAME x.target.example.; x.target.example. 300 A 192.0.2.9 / /",
        ),
        ("d.example", "A", "NOERROR aa / / {SOA} /"),
        (
            "x.d.example",
            "CNAME",
            "NOERROR aa / d.example. 300 DNAME target.example.; \
            x.d.example. 300 CNAME x.target.example. / /",
        ),
        (
            "d.example",
            "DNAME",
            "NOERROR aa / d.example. 300 DNAME target.example. / /",
        ),
        // ANY over UDP, and what is not here.
        (
            "ns.example",
            "ANY",
            "NOERROR aa / ns.example. 300 A 192.0.2.1 / /",
        ),
        ("nope.example", "ANY", "NXDOMAIN aa / / {SOA} /"),
        ("example.com", "A", "REFUSED / / /"),
        (".", "NS", "REFUSED / / /"),
        ("example", "MAILB", "NOTIMP / / /"),
        ("example", "TKEY", "FORMERR / / /"),
        ("example", "AXFR", "FORMERR / / /"),
        (
            "example",
            "IXFR",
            "NOERROR aa / example. 300 SOA ns.example. hm.example. 7 2 3 4 100 / /",
        ),
    ];
    for (name, rr_type, expected) in cases {
        assert_eq!(
            ask(name, rr_type),
            expected.replace("{SOA}", SOA),
            "{name} {rr_type}"
        );
    }
}

#[test]
fn loops_are_told_and_long_chains_are_not() {
    let shown = ask("loop.example", "A");
    assert_eq!(
        shown,
        "SERVFAIL aa / loop.example. 300 CNAME pool.example.; pool.example. 300 CNAME loop.example. / /"
    );
    let mut text = "$TTL 1\n@ SOA ns hm 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n".to_owned();
    for index in 0..40 {
        writeln!(text, "c{index} CNAME c{}", index + 1).unwrap();
    }
    let zones = Zones::new(vec![served("example", &text)]);
    let state = State {
        keys: Keys::default(),
        views: Default::default(),
        zones,
        settings: Settings::default(),
    };
    let shown = show(&send(&state, Transport::Tcp, &request("c0.example", "A", &[])).unwrap());
    assert!(
        shown.starts_with("NOERROR aa / c0.example. 1 CNAME c1.example.; "),
        "{shown}"
    );
    assert_eq!(shown.matches("CNAME").count(), 16);
}

#[test]
fn names_that_a_dname_makes_too_long() {
    let long = format!("{0}.{0}.{0}.", "a".repeat(60));
    let text =
        format!("$TTL 1\n@ SOA ns hm 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\nd DNAME {long}example.\n");
    let zones = Zones::new(vec![served("example", &text)]);
    let state = State {
        keys: Keys::default(),
        views: Default::default(),
        zones,
        settings: Settings::default(),
    };
    let name = format!("{}.{}.d.example", "b".repeat(60), "c".repeat(60));
    let message = request(&name, "A", &[]);
    let shown = show(&send(&state, Transport::Tcp, &message).unwrap());
    assert!(
        shown.starts_with("YXDOMAIN aa / d.example. 1 DNAME "),
        "{shown}"
    );
    assert!(!shown.contains("CNAME"), "{shown}");
}

#[test]
fn any_over_tcp_is_whole() {
    let shown = show(&send(&state(), Transport::Tcp, &request("ns.example", "ANY", &[])).unwrap());
    assert_eq!(
        shown,
        "NOERROR aa / ns.example. 300 A 192.0.2.1; ns.example. 300 AAAA 2001:db8::1 / /"
    );
}

#[test]
fn sizes_and_truncation() {
    let state = state();
    let ask = |transport, opt: &[u8]| send(&state, transport, &request("big.example", "TXT", opt));
    assert_eq!(
        show(&ask(Transport::Udp, &[]).unwrap()),
        "NOERROR aa tc / / /"
    );
    let whole = show(&ask(Transport::Udp, &opt(&[])).unwrap());
    assert!(
        whole.starts_with("NOERROR aa / big.example. 300 TXT"),
        "{whole}"
    );
    let small = [0, 0, 41, 0, 100, 0, 0, 0, 0, 0, 0];
    assert_eq!(
        show(&ask(Transport::Udp, &small).unwrap()),
        "NOERROR aa tc / / / OPT"
    );
    assert!(ask(Transport::Tcp, &[]).unwrap().len() > 512);
}

#[test]
fn edns() {
    let mut state = state();
    state.settings.server_id = Some("here".into());
    let show = |transport, opt: &[u8]| {
        let message = request("web.example", "A", opt);
        let reply = send(&state, transport, &message).unwrap();
        let at = reply
            .windows(3)
            .rposition(|octets| octets == [0, 0, 41])
            .unwrap();
        reply[at + 3..]
            .iter()
            .map(|octet| format!("{octet:02x}"))
            .collect::<String>()
    };
    // Size 1232; code, version, flags; options.
    assert_eq!(show(Transport::Udp, &opt(&[])), "04d0000000000000");
    assert_eq!(
        show(Transport::Udp, &[0, 0, 41, 4, 0, 0, 0, 0x80, 0, 0, 0]),
        "04d0000080000000"
    );
    let newer = [0, 0, 41, 4, 0, 0, 1, 0, 0, 0, 0];
    assert_eq!(
        show(Transport::Udp, &newer),
        "04d0010000000000",
        "BADVERS, version 0"
    );
    assert_eq!(
        show(Transport::Udp, &opt(&[0, 3, 0, 0])),
        "04d0000000000008000300046865726572".replace("726572", "7265")
    );
    assert_eq!(
        show(Transport::Tcp, &opt(&[0, 11, 0, 0])),
        "04d0000000000006000b0002012c"
    );
    assert_eq!(
        show(Transport::Udp, &opt(&[0, 11, 0, 0])),
        "04d0000000000000"
    );
    assert_eq!(
        show(Transport::Udp, &opt(&[0xff, 0, 0, 1, 9])),
        "04d0000000000000"
    );

    let padded = send(
        &state,
        Transport::Tls,
        &request("web.example", "A", &opt(&[0, 12, 0, 0])),
    );
    assert_eq!(padded.unwrap().len(), 468);
}

#[test]
fn refusals_say_why() {
    let reply = send(
        &state(),
        Transport::Udp,
        &request("example.com", "A", &opt(&[])),
    )
    .unwrap();
    let text = String::from_utf8_lossy(&reply);
    assert!(text.ends_with("\0\x14not a zone of this server"), "{text}");
}

#[test]
fn chaos() {
    let mut state = state();
    let ask = |state: &State, name: &str| {
        let mut message = request(name, "TXT", &[]);
        *message.last_mut().unwrap() = Class::CH.0 as u8;
        show(&send(state, Transport::Udp, &message).unwrap())
    };
    assert_eq!(ask(&state, "version.bind"), "REFUSED / / /");
    state.settings.version = Some("omnid".into());
    state.settings.server_id = Some("a".into());
    assert_eq!(
        ask(&state, "VERSION.bind"),
        "NOERROR aa / VERSION.bind. 0 TXT \"omnid\" / /"
    );
    assert_eq!(
        ask(&state, "version.server"),
        "NOERROR aa / version.server. 0 TXT \"omnid\" / /"
    );
    assert_eq!(
        ask(&state, "id.server"),
        "NOERROR aa / id.server. 0 TXT \"a\" / /"
    );
    assert_eq!(ask(&state, "hostname.bind"), "REFUSED / / /");
    assert_eq!(ask(&state, "web.example"), "REFUSED / / /");
}

#[test]
fn other_opcodes() {
    let state = state();
    let code = |opcode: u8, name: &str| {
        let mut message = request(name, "SOA", &[]);
        message[2] = opcode << 3;
        let reply = send(&state, Transport::Udp, &message).unwrap();
        assert_eq!(reply[2] >> 3 & 15, opcode);
        Header::read(&reply).unwrap().rcode()
    };
    assert_eq!(code(1, "example"), Rcode::NOTIMP);
    assert_eq!(code(2, "example"), Rcode::NOTIMP);
    assert_eq!(code(4, "example"), Rcode::NOTAUTH);
    assert_eq!(code(5, "example"), Rcode::REFUSED);
    assert_eq!(code(5, "example.com"), Rcode::NOTAUTH);
    assert_eq!(code(15, "example"), Rcode::NOTIMP);
}

#[test]
fn unknown_keys_are_told_so() {
    let tsig = b"\x03key\0\x00\xfa\x00\xff\0\0\0\0\0\x1d\x0bhmac-sha256\0\0\0\0\0\0\0\x01\x2c\0\0\x12\x34\0\0\0\0";
    let mut message = request("web.example", "A", tsig);
    message[11] = 1;
    let reply = send(&state(), Transport::Udp, &message).unwrap();
    assert_eq!(Header::read(&reply).unwrap().rcode(), Rcode::NOTAUTH);
    assert!(
        reply.ends_with(&[0, 0, 0x12, 0x34, 0, 17, 0, 0]),
        "no MAC, the ID, BADKEY"
    );
}

/// Every question gets an answer that reads, within the size allowed, with the question in it.
fn check_any(state: &State, name: &Name, rr_type: u16, size: u16, dnssec_ok: bool) {
    let [s1, s0] = size.to_be_bytes();
    let opt = [0, 0, 41, s1, s0, 0, 0, u8::from(dnssec_ok) << 7, 0, 0, 0];
    let mut message = vec![9, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    message.extend_from_slice(name.as_ref().wire());
    message.extend_from_slice(&rr_type.to_be_bytes());
    message.extend_from_slice(&[0, 1]);
    let question_end = message.len();
    message.extend_from_slice(&opt);
    let reply = send(state, Transport::Udp, &message).unwrap();
    assert!(reply.len() <= usize::from(size.clamp(512, 1232)));
    assert_eq!(reply[12..question_end], message[12..question_end]);
    show(&reply);
    // A second opinion on compression, counts and the data of every record.
    hickory_proto::op::Message::from_vec(&reply).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn any_question_is_answered(labels in prop::collection::vec(prop::sample::select(vec![
        "www", "wild", "*", "sub", "sib", "ns", "d", "x", "ent", "b", "a", "host", "q", "big", "mail", "cw",
    ]), 0..4), rr_type in prop::sample::select(vec![1u16, 2, 5, 6, 15, 16, 28, 33, 39, 43, 46, 65, 255, 999]),
        size in 0u16..2000, dnssec_ok: bool) {
        let text = labels.iter().fold("example.".to_owned(), |name, label| format!("{label}.{name}"));
        thread_local!(static STATE: State = state());
        STATE.with(|state| check_any(state, &Name::from_text(&text).unwrap(), rr_type, size, dnssec_ok));
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        thread_local!(static STATE: State = state());
        STATE.with(|state| {
            let _ = send(state, Transport::Tls, &bytes);
        });
        let _ = NameRef::from_wire(&bytes);
    }
}

/// A stranger's update takes no place in the queue of those that wait for the disk.
#[test]
fn updates_of_strangers_are_refused_at_once() {
    let mut message = request("example", "SOA", &[]);
    message[2] = 5 << 3;
    // One prerequisite: that somebody uses a name.
    message[7] = 1;
    message.extend(Name::from_text("www.example").unwrap().as_ref().wire());
    message.extend([0, 255, 0, 255, 0, 0, 0, 0, 0, 0]);
    let apex = Name::from_text("example").unwrap();
    let rule = |text: &str| read_rule(text, &apex).unwrap();
    let cases = [
        (
            Access::networks(["192.0.2.0/24".parse().unwrap()]),
            vec![],
            true,
        ),
        (
            Access::networks(["198.51.100.0/24".parse().unwrap()]),
            vec![],
            false,
        ),
        (Access::default(), vec![rule("grant k zonesub")], false),
        (Access::default(), vec![], false),
    ];
    for (from, rules, let_in) in cases {
        let mut served = served("example", ZONE);
        let update = Policy { from, rules };
        served.rules = Arc::new(Rules {
            update,
            ..Rules::default()
        });
        let state = State {
            zones: Zones::new(vec![served]),
            ..state()
        };
        let client = Client::new("192.0.2.7".parse().unwrap(), Transport::Udp);
        let (mut out, mut scratch) = (vec![0; 65_535], Scratch::default());
        match answer(&state, &client, 0, &message, &mut out, &mut scratch) {
            Outcome::Deferred(_) => assert!(let_in),
            Outcome::Reply(answered) => {
                assert!(!let_in && answered.rcode == Rcode::REFUSED, "{answered:?}");
            }
            _ => panic!("neither refused nor let in"),
        }
    }
}
