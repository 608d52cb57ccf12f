//! What one connection may have under way, however much a client asks before it reads.

use super::*;

fn start(zone: &str, file: &str) -> (Daemon, u16) {
    let port = free_port();
    let config = format!(
        "[dns]\nlisten = [\"127.0.0.1:{port}\"]\nsockets = 1\n[[dns.zone]]\nname = \"big.test\"\n\
         {zone}\n"
    );
    let daemon = Daemon::start_with(&config, &[], |directory| {
        fs::write(directory.join("big.zone"), file).unwrap();
    });
    (daemon, port)
}

/// A zone whose apex has 16 KiB of TXT records.
fn big() -> String {
    let mut text = "$TTL 300\n@ SOA ns hostmaster 10 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n\
                    alone TXT \"one\"\n"
        .to_owned();
    for number in 0..64 {
        text += &format!("@ TXT \"{number:0240}\"\n");
    }
    text
}

const PRIMARY: &str = "file = \"{dir}/big.zone\"\ntransfer = { to = [\"127.0.0.1\"] }";

/// Peak resident memory, in KiB.
fn peak_kib(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let value = line.unwrap().split_whitespace().nth(1);
    value.unwrap().parse().unwrap()
}

/// A long message, which makes the server's buffer as large as it gets, and `count` times the
/// same one behind it, all at once.
fn flood(stream: &mut Stream, message: &[u8], count: usize) {
    let framed = |message: &[u8]| [&(message.len() as u16).to_be_bytes()[..], message].concat();
    let mut long = question("alone.big.test", RrType::TXT, Class::IN, None);
    long.resize(65_000, 0);
    let mut all = framed(&long);
    all.extend(framed(message).repeat(count));
    stream.0.write_all(&all).unwrap();
    // Whatever it made of that.
    stream.receive().unwrap();
}

#[test]
fn answers_that_nobody_reads_do_not_pile_up() {
    let (daemon, port) = start(PRIMARY, &big());
    let message = question("big.test", RrType::TXT, Class::IN, None);
    let mut stream = Stream::connect(local(port));
    let before = peak_kib(&daemon);
    flood(&mut stream, &message, 3000);
    for number in 0..3000 {
        let answer = stream.receive().unwrap();
        assert!(answer.len() > 16_000, "{number}: {} octets", answer.len());
    }
    let grown = peak_kib(&daemon) - before;
    println!("3000 answers of 16 KiB, peak {grown} KiB more");
    assert!(grown < 8 * 1024, "{grown} KiB more than before");
}

/// Beyond the bound on transfers at one time the rest of them waits, and is not forgotten.
#[test]
fn transfers_of_one_connection_follow_each_other() {
    let (_daemon, port) = start(PRIMARY, &big());
    let message = question("big.test", RrType::AXFR, Class::IN, None);
    let mut stream = Stream::connect(local(port));
    flood(&mut stream, &message, 40);
    let mut soas = 0;
    while soas < 2 * 40 {
        let message = Message::read(&stream.receive().unwrap()).unwrap();
        let answers = message.answers.iter();
        soas += answers
            .filter(|record| record.rr_type == RrType::SOA)
            .count();
    }
    assert_eq!(soas, 80);
}

/// One connection fills no queue that all have to share.
#[test]
fn notifies_of_one_connection_wait_for_each_other() {
    let primary = free_port();
    let zone = format!("primaries = [{{ address = \"127.0.0.1:{primary}\" }}]");
    let (_daemon, port) = start(&zone, "");
    let mut message = question("big.test", RrType::SOA, Class::IN, None);
    // NOTIFY, AA.
    message[2] = 0x24;
    let mut stream = Stream::connect(local(port));
    flood(&mut stream, &message, 3000);
    let mut rcodes = BTreeSet::new();
    for _ in 0..3000 {
        rcodes.insert(Answer::of(&stream.receive().unwrap()).rcode);
    }
    assert_eq!(rcodes, BTreeSet::from(["NOERROR".to_owned()]));
}

/// Half-closed, with more asked than there is room for: it is answered still.
#[test]
fn what_waits_in_the_buffer_is_answered_after_the_end() {
    let (_daemon, port) = start(PRIMARY, &big());
    let message = question("big.test", RrType::TXT, Class::IN, None);
    let mut stream = Stream::connect(local(port));
    flood(&mut stream, &message, 500);
    stream.0.shutdown(std::net::Shutdown::Write).unwrap();
    for _ in 0..500 {
        assert!(stream.receive().unwrap().len() > 16_000);
    }
    assert_eq!(
        stream.receive().unwrap_err().kind(),
        std::io::ErrorKind::UnexpectedEof
    );
}
