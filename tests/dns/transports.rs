//! The ways in beside UDP and TCP: HTTPS, as kdig and curl speak it.

use super::*;

/// A zone that is for everybody, and one that is for 127.0.0.9 only.
fn lay_out(directory: &Path) {
    let text = "$TTL 300\n@ SOA ns hostmaster 10 3600 600 86400 45\n@ NS ns\nns A 127.0.0.1\n\
                host 60 A 127.0.0.1\nhost 60 A 127.0.0.2\nalias CNAME host\n";
    for name in ["open", "closed"] {
        fs::write(directory.join(name), text).unwrap();
    }
}

struct Secure {
    daemon: Daemon,
    https: u16,
    http: u16,
}

fn start_secure() -> Secure {
    let (https, http) = (free_port(), free_port());
    let config = format!(
        r#"
[tls]
self_signed = true
[dns]
https = "/dns-query"
  [[dns.zone]]
  name = "open.test"
  file = "{{dir}}/open"
  transfer = {{ to = ["any"] }}
  update = {{ from = ["any"] }}
  [[dns.zone]]
  name = "closed.test"
  file = "{{dir}}/closed"
  query_from = ["127.0.0.9"]
[http]
listen = ["127.0.0.1:{http}"]
listen_tls = ["127.0.0.1:{https}"]
  [[http.site]]
  hosts = ["dns.test"]
  default = true
  [[http.site]]
  hosts = ["other.test"]
  mounts = []
"#
    );
    let daemon = Daemon::start_with(&config, &[], lay_out);
    Secure {
        daemon,
        https,
        http,
    }
}

/// Status, header fields and body of a request that curl makes.
fn curl(arguments: &[&str], message: &[u8]) -> (u16, String, Vec<u8>) {
    let all = [
        &["-sSik", "--max-time", "20", "--data-binary", "@-"],
        arguments,
    ]
    .concat();
    let all = if arguments.contains(&"-G") {
        [&["-sSik", "--max-time", "20"], arguments].concat()
    } else {
        all
    };
    let output = run_bytes("curl", &all, message);
    let end = output
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap_or_else(|| panic!("curl {all:?} got {output:?}"));
    let head = String::from_utf8_lossy(&output[..end]).to_lowercase();
    let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
    (status, head, output[end + 4..].to_vec())
}

/// Runs a program with these octets as its input; gives its output.
fn run_bytes(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    use std::process::{Command, Stdio};
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap().stdout
}

#[test]
fn kdig_and_curl_ask_over_https() {
    let server = start_secure();
    for how in ["+https", "+https-get"] {
        // One after the other: kdig takes no second request on a connection.
        let answer = kdig(server.https, &["+https", how, "alias.open.test", "A"]);
        assert!(answer.contains("NOERROR"), "{answer}");
        assert!(answer.contains("127.0.0.2"), "{answer}");
        // RFC 8467: nobody learns from the size.
        let padded = kdig(
            server.https,
            &["+https", how, "+padding=64", "nobody.open.test", "A"],
        );
        assert!(padded.contains("NXDOMAIN"), "{padded}");
        assert!(padded.contains("PADDING"), "{padded}");
    }
    // What the zone's list says is about the client, not about the site.
    let refused = kdig(server.https, &["+https", "host.closed.test", "A"]);
    assert!(refused.contains("REFUSED"), "{refused}");
    let let_in = kdig(
        server.https,
        &["-b", "127.0.0.9", "+https", "host.closed.test", "A"],
    );
    assert!(let_in.contains("NOERROR"), "{let_in}");

    // curl asks for the address of what it fetches.
    let doh = format!("https://127.0.0.1:{}/dns-query", server.https);
    let url = format!("http://host.open.test:{}/nothing", server.http);
    let arguments = [
        "-s",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %{remote_ip}",
        "--doh-insecure",
        "--doh-url",
        &doh,
        &url,
    ];
    let fetched = run("curl", &arguments, LIMIT).success().stdout;
    assert_eq!(fetched, "404 127.0.0.1");
    drop(server.daemon);
}

#[test]
fn requests_over_https_by_the_letter() {
    let server = start_secure();
    let url = format!("https://127.0.0.1:{}/dns-query", server.https);
    let media = "content-type: application/dns-message";
    let post = |message: &[u8]| curl(&["-H", media, &url], message);
    let ask = |name: &str, kind| question(name, kind, Class::IN, None);

    for (name, age) in [
        ("host.open.test", 60),
        ("alias.open.test", 60),
        ("ns.open.test", 300),
        ("nobody.open.test", 45),
        ("host.elsewhere.test", 0),
    ] {
        for version in ["--http1.1", "--http2"] {
            let message = ask(name, RrType::A);
            let (status, head, body) = curl(&[version, "-H", media, &url], &message);
            assert_eq!(status, 200, "{head}");
            assert!(head.contains(media), "{head}");
            let line = format!("cache-control: private, max-age={age}");
            assert!(head.lines().any(|found| found == line), "{name}: {head}");
            assert_eq!(body[..2], message[..2], "the ID is the request's");
        }
    }
    // The example of RFC 8484 4.1.1.
    let example = "dns=AAABAAABAAAAAAAAA3d3dwdleGFtcGxlA2NvbQAAAQAB";
    let (status, _, body) = curl(&["-G", &format!("{url}?{example}")], b"");
    assert_eq!((status, Answer::of(&body).rcode.as_str()), (200, "REFUSED"));

    let query = ask("host.open.test", RrType::A);
    let status = |arguments: &[&str], message: &[u8]| curl(arguments, message).0;
    assert_eq!(
        status(&["-H", "content-type: text/plain", &url], &query),
        415
    );
    assert_eq!(status(&["-X", "PUT", "-H", media, &url], &query), 405);
    assert_eq!(status(&["-G", &url], b""), 400);
    assert_eq!(status(&["-G", &format!("{url}?dns=%00")], b""), 400);
    assert_eq!(post(&query[..11]).0, 400);
    let long = vec![0; 70_000];
    assert_eq!(status(&["--http1.1", "-H", media, &url], &long), 413);
    assert_eq!(post(&[&[0, 0, 0x80, 0], &query[4..]].concat()).0, 400);
    let elsewhere = format!("{url}/more");
    assert_eq!(status(&["-H", media, &elsewhere], &query), 404);
    // A site that takes no mounts.
    let asked = format!("{url}?{example}");
    let other = ["-H", "host: other.test", "-G", &asked];
    assert_ne!(status(&other, b""), 200);

    // Zones are neither copied nor changed this way, whoever may otherwise.
    let (_, _, body) = post(&ask("open.test", RrType::AXFR));
    assert_eq!(Answer::of(&body).rcode, "NOTIMP");
    let mut update = ask("open.test", RrType::SOA);
    update[2] = 0x28;
    assert_eq!(Answer::of(&post(&update).2).rcode, "NOTIMP");
    drop(server.daemon);
}
