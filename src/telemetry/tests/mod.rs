//! The log as its readers see it.

use std::error::Error;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use proptest::prelude::*;

use super::*;

type Outcome = Result<(), Box<dyn Error>>;

const PATIENCE: Duration = Duration::from_secs(10);

/// What `log` makes of `entries`, in `format`.
fn written(
    directory: &Path,
    format: LogFormat,
    entries: impl FnOnce(&Telemetry),
) -> Result<String, Box<dyn Error>> {
    // tracing remembers process-wide which places anybody listens to; while one test's subscriber
    // comes and goes, another's entries can be missed. A daemon has one.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let file = directory.join("log");
    let config = LogConfig {
        format,
        file: Some(file.clone()),
        ..LogConfig::default()
    };
    let (telemetry, dispatch) = Telemetry::build(&config)?;
    tracing::dispatcher::with_default(&dispatch, || entries(&telemetry));
    assert!(telemetry.flush(PATIENCE));
    Ok(std::fs::read_to_string(file)?)
}

fn sample(_: &Telemetry) {
    let connection = tracing::info_span!(
        target: "omnid_http::io",
        "connection",
        listener = "127.0.0.1:80",
        peer = "192.0.2.1",
        user = tracing::field::Empty
    );
    let _entered = connection.enter();
    connection.record("user", "alice@example.org");
    let request = tracing::info_span!("request", method = "GET", path = "/a b\n\x1b[31m");
    let _entered = request.enter();
    let error = io::Error::other("line 1\nline 2");
    tracing::warn!(
        target: "omnid_http::engine",
        status = 500_u16,
        took = 0.25,
        cached = false,
        error = &error as &dyn Error,
        "failed \"badly\"\nfake entry"
    );
    tracing::debug!(target: "omnid_http", "not wanted");
}

#[test]
fn text_is_one_line_with_its_context() -> Outcome {
    let directory = tempfile::tempdir()?;
    let text = written(directory.path(), LogFormat::Text, sample)?;
    let (time, rest) = text.split_once(' ').ok_or("no time")?;
    assert_eq!(time.len(), "2026-01-02T03:04:05.678Z".len());
    assert_eq!(
        rest,
        "WARN  http::engine \
         connection{listener=127.0.0.1:80 peer=192.0.2.1 user=alice@example.org}:\
         request{method=GET path=\"/a b\\n\\u{1b}[31m\"}: \
         failed \"badly\"\\nfake entry status=500 took=0.25 cached=false error=\"line 1\\nline 2\"\n"
    );
    Ok(())
}

#[test]
fn json_is_an_object_a_line() -> Outcome {
    let directory = tempfile::tempdir()?;
    let text = written(directory.path(), LogFormat::Json, sample)?;
    assert_eq!(text.matches('\n').count(), 1);
    let mut json: serde_json::Value = serde_json::from_str(&text)?;
    let time = json.as_object_mut().and_then(|json| json.remove("time"));
    assert!(time.is_some_and(|time| time.is_string()));
    assert_eq!(
        json,
        serde_json::json!({
            "level": "warn",
            "target": "omnid_http::engine",
            "message": "failed \"badly\"\nfake entry",
            "fields": {"status": 500, "took": 0.25, "cached": false, "error": "line 1\nline 2"},
            "spans": [
                {"span": "connection", "listener": "127.0.0.1:80", "peer": "192.0.2.1", "user": "alice@example.org"},
                {"span": "request", "method": "GET", "path": "/a b\n\u{1b}[31m"},
            ],
        })
    );
    Ok(())
}

/// Reads a datagram of the journal's native protocol as journald does.
fn fields(mut datagram: &[u8]) -> Option<Vec<(String, String)>> {
    let mut fields = Vec::new();
    while !datagram.is_empty() {
        let end = datagram
            .iter()
            .position(|byte| matches!(byte, b'=' | b'\n'))?;
        let (name, rest) = datagram.split_at_checked(end)?;
        let value;
        if *rest.first()? == b'=' {
            let end = rest.iter().position(|byte| *byte == b'\n')?;
            value = rest.get(1..end)?;
            datagram = rest.get(end + 1..)?;
        } else {
            let length = u64::from_le_bytes(rest.get(1..9)?.try_into().ok()?);
            let end = 9 + usize::try_from(length).ok()?;
            value = rest.get(9..end)?;
            assert_eq!(rest.get(end), Some(&b'\n'));
            datagram = rest.get(end + 1..)?;
        }
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        fields.push((text(name)?, text(value)?));
    }
    Some(fields)
}

#[test]
fn journald_gets_every_field() -> Outcome {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("socket");
    let journal = UnixDatagram::bind(&path)?;
    journal.set_read_timeout(Some(PATIENCE))?;
    let config = LogConfig {
        format: LogFormat::Journald,
        journal_socket: path,
        ..LogConfig::default()
    };
    let (telemetry, dispatch) = Telemetry::build(&config)?;
    tracing::dispatcher::with_default(&dispatch, || sample(&telemetry));
    let mut buffer = vec![0; 65536];
    let length = journal.recv(&mut buffer)?;
    let fields = fields(buffer.get(..length).unwrap_or_default()).ok_or("malformed")?;
    let value = |name: &str| {
        let values = fields.iter().filter(|(known, _)| known == name);
        values.map(|(_, value)| value.as_str()).collect::<Vec<_>>()
    };
    for (name, expected) in [
        ("PRIORITY", "4"),
        ("SYSLOG_IDENTIFIER", "omnid"),
        (
            "MESSAGE",
            "failed \"badly\"\nfake entry status=500 took=0.25 cached=false error=line 1\nline 2",
        ),
        ("OMNID_TARGET", "omnid_http::engine"),
        ("OMNID_LISTENER", "127.0.0.1:80"),
        ("OMNID_PEER", "192.0.2.1"),
        ("OMNID_USER", "alice@example.org"),
        ("OMNID_PATH", "/a b\n\x1b[31m"),
        ("OMNID_STATUS", "500"),
    ] {
        assert_eq!(value(name), [expected], "{name}");
    }
    assert_eq!(value("OMNID_SPAN"), ["connection", "request"]);
    assert!(
        value("CODE_FILE")
            .iter()
            .all(|file| file.ends_with("tests/mod.rs"))
    );
    Ok(())
}

#[test]
fn a_field_name_is_one_the_journal_takes() {
    let long = "a".repeat(100);
    for name in ["peer", "log.target", "größe", &long] {
        let mut fields_of = record::Fields::default();
        // Names are static in real life.
        fields_of.push(
            Box::leak(name.to_owned().into_boxed_str()),
            record::Value::Bool(true),
        );
        let record = record::Record {
            time: time::OffsetDateTime::UNIX_EPOCH,
            level: tracing::Level::INFO,
            target: String::new(),
            place: None,
            message: String::new(),
            fields: fields_of,
            spans: Vec::new(),
        };
        let fields = fields(&journal::datagram(&record)).unwrap_or_default();
        assert_eq!(fields.len(), 5, "{name}: {fields:?}");
        for (name, _) in fields {
            assert!(name.len() <= 64 && name.starts_with(|c: char| c.is_ascii_uppercase()));
            let legal = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
            assert!(name.chars().all(legal), "{name}");
        }
    }
}

#[test]
fn levels_change_live() -> Outcome {
    let directory = tempfile::tempdir()?;
    let mut before = Vec::new();
    let text = written(directory.path(), LogFormat::Text, |telemetry| {
        // One place in the code, since it is places whose interest is cached.
        let say = |what: &str| {
            tracing::debug!(target: "omnid_dns::io", "dns {what}");
            tracing::debug!(target: "omnid_sip", "sip {what}");
            tracing::info!(target: "omnid_sip", "sip info {what}");
        };
        say("1");
        before.push(telemetry.set_level("warn,dns=debug"));
        say("2");
        before.push(telemetry.set_level("nonsense"));
        before.push(telemetry.set_level("debug"));
        say("3");
        before.push(telemetry.set_level("off"));
        say("4");
    })?;
    let messages: Vec<_> = text
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(_, message)| message)
        .collect();
    assert_eq!(
        messages,
        ["sip info 1", "dns 2", "dns 3", "sip 3", "sip info 3"]
    );
    assert_eq!(
        before,
        [
            Ok("info".to_owned()),
            Err(LevelError::Level("nonsense".to_owned())),
            Ok("warn,dns=debug".to_owned()),
            Ok("debug".to_owned())
        ]
    );
    Ok(())
}

#[test]
fn spans_name_the_peer_whatever_the_level() -> Outcome {
    let directory = tempfile::tempdir()?;
    let text = written(directory.path(), LogFormat::Text, |telemetry| {
        drop(telemetry.set_level("error"));
        let _span = tracing::info_span!("connection", peer = "192.0.2.1").entered();
        tracing::info!("not wanted");
        tracing::error!("wanted");
    })?;
    assert!(
        text.ends_with("connection{peer=192.0.2.1}: wanted\n"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1);
    Ok(())
}

#[test]
fn form_and_place_change_live() -> Outcome {
    let directory = tempfile::tempdir()?;
    let second = directory.path().join("second");
    let text = written(directory.path(), LogFormat::Text, |telemetry| {
        tracing::info!("to the first");
        let config = LogConfig {
            format: LogFormat::Json,
            level: LogLevel::Warn,
            file: Some(second.clone()),
            ..LogConfig::default()
        };
        assert!(telemetry.reconfigure(&config).is_ok());
        tracing::info!("not wanted any more");
        tracing::warn!("to the second");
        let nowhere = LogConfig {
            file: Some("/nowhere/log".into()),
            level: LogLevel::Trace,
            ..LogConfig::default()
        };
        assert!(matches!(
            telemetry.reconfigure(&nowhere),
            Err(TelemetryError::Open { .. })
        ));
        assert_eq!(telemetry.level(), "warn");
        tracing::warn!("still to the second");
    })?;
    assert!(
        text.ends_with(": to the first\n") && text.lines().count() == 1,
        "{text}"
    );
    let second = std::fs::read_to_string(second)?;
    let messages = second
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<Vec<serde_json::Value>, _>>()?;
    let messages: Vec<_> = messages.iter().map(|entry| &entry["message"]).collect();
    assert_eq!(messages, ["to the second", "still to the second"]);
    Ok(())
}

#[test]
fn a_slow_reader_of_the_tail_is_told_what_it_lost() -> Outcome {
    let directory = tempfile::tempdir()?;
    let mut tail = None;
    written(directory.path(), LogFormat::Json, |telemetry| {
        tracing::info!("before");
        tail = Some(telemetry.tail());
        for number in 0..1034 {
            tracing::info!(number, "after");
        }
    })?;
    let mut tail = tail.ok_or("no tail")?;
    assert_eq!(
        tail.try_recv(),
        Err(broadcast::error::TryRecvError::Lagged(10))
    );
    let line = tail.try_recv()?;
    assert!(line.ends_with(": after number=10"), "{line}");
    Ok(())
}

#[test]
fn repeats_are_held_back_and_counted() -> Outcome {
    let directory = tempfile::tempdir()?;
    let text = written(directory.path(), LogFormat::Text, |_| {
        for round in 0..4 {
            let every = Duration::from_millis(if round < 3 { 3_600_000 } else { 0 });
            for peer in ["192.0.2.1", "192.0.2.2"] {
                limited!(every, key = peer, warn, "garbage", peer, round);
            }
            limited!(every, info, round, "fields first");
            limited!(every, info, "alone");
        }
    })?;
    let entries: Vec<_> = text
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(_, entry)| entry)
        .collect();
    assert_eq!(
        entries,
        [
            "garbage peer=192.0.2.1 round=0",
            "garbage peer=192.0.2.2 round=0",
            "fields first round=0",
            "alone",
        ]
    );
    Ok(())
}

/// Set for a process that is to log to standard error, as the daemon does.
const AS_A_PROCESS: &str = "OMNID_TELEMETRY_TEST_PROCESS";

#[test]
fn the_process_logs() -> Outcome {
    if std::env::var_os(AS_A_PROCESS).is_some() {
        let telemetry = init(&LogConfig::default())?;
        assert!(matches!(
            init(&LogConfig::default()),
            Err(TelemetryError::Twice)
        ));
        log::info!(target: "rustls::conn", "from a library");
        log::debug!(target: "rustls::conn", "too much from a library");
        let panicking = std::thread::Builder::new()
            .name("worker".to_owned())
            .spawn(|| {
                let _span = tracing::info_span!("connection", peer = "192.0.2.1").entered();
                panic!("it broke");
            })?;
        assert!(panicking.join().is_err());
        assert!(telemetry.flush(PATIENCE));
        return Ok(());
    }
    let output = std::process::Command::new(std::env::current_exe()?)
        .args(["--exact", "tests::the_process_logs"])
        .env(AS_A_PROCESS, "1")
        .env_remove("RUST_BACKTRACE")
        .output()?;
    let text = String::from_utf8(output.stderr)?;
    assert!(output.status.success(), "{text}");
    let entries: Vec<_> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .collect();
    let [(_, library), (_, panic)] = entries.as_slice() else {
        return Err(text.into());
    };
    assert_eq!(*library, "INFO  rustls::conn: from a library");
    let expected = "ERROR telemetry::panic connection{peer=192.0.2.1}: panic: it broke place=";
    assert!(
        panic.starts_with(expected) && panic.ends_with("thread=worker"),
        "{panic}"
    );
    Ok(())
}

proptest! {
    #[test]
    fn whatever_a_peer_sends_an_entry_is_one_line(message in "\\PC*|(?s).*", value in "(?s).*") {
        let mut fields = record::Fields::default();
        fields.push("value", record::Value::Text(value.clone()));
        let record = record::Record {
            time: time::OffsetDateTime::UNIX_EPOCH,
            level: tracing::Level::INFO,
            target: "omnid_dns".to_owned(),
            place: None,
            message: message.clone(),
            fields,
            spans: vec![],
        };
        let text = text::line(&record, false);
        prop_assert!(text.ends_with('\n') && !text.trim_end_matches('\n').contains(char::is_control), "{text:?}");
        let json: serde_json::Value = serde_json::from_str(&json::line(&record))?;
        prop_assert_eq!(&json["message"], &serde_json::Value::from(message.clone()));
        prop_assert_eq!(&json["fields"]["value"], &serde_json::Value::from(value.clone()));
        let read = tests::fields(&journal::datagram(&record)).unwrap_or_default();
        let entry = read.iter().find(|(name, _)| name == "OMNID_VALUE").map(|(_, value)| value.clone());
        prop_assert_eq!(entry, Some(value));
    }
}
