use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// A server that says `response` to each request, and what it was asked.
struct Server {
    port: u16,
    asked: tokio::sync::mpsc::Receiver<String>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(response: Vec<u8>, tls: Option<Arc<rustls::ServerConfig>>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, asked) = tokio::sync::mpsc::channel(100);
    let task = tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (tell, response, tls) = (tell.clone(), response.clone(), tls.clone());
            tokio::spawn(async move {
                match tls {
                    None => answer(socket, &response, &tell).await,
                    Some(config) => {
                        let acceptor = tokio_rustls::TlsAcceptor::from(config);
                        if let Ok(socket) = acceptor.accept(socket).await {
                            answer(socket, &response, &tell).await;
                        }
                    }
                }
            });
        }
    });
    Server { port, asked, task }
}

async fn answer(
    mut socket: impl AsyncRead + AsyncWrite + Unpin,
    response: &[u8],
    tell: &tokio::sync::mpsc::Sender<String>,
) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = socket.read(&mut buffer).await {
        request.extend_from_slice(&buffer[..length]);
        let text = String::from_utf8_lossy(&request);
        if text.contains("\r\n\r\n") && (!text.contains("content-length") || text.ends_with("END"))
        {
            break;
        }
    }
    drop(
        tell.send(String::from_utf8_lossy(&request).into_owned())
            .await,
    );
    drop(socket.write_all(response).await);
    drop(socket.shutdown().await);
}

/// A script that fetches what it is told to and returns all that it gets.
const FETCHING: &str = "omnid.hook('dns.query', function(query)
    local response, problem = omnid.fetch(query.url, query.options)
    return {response = response, problem = problem}
end)";

async fn fetch(stage: &Stage, url: &str, options: Value) -> (Value, String) {
    let asked = stage.ask(json!({"url": url, "options": options})).await;
    let mut answer = asked.unwrap().expect("it returns something");
    let problem = answer["problem"].as_str().unwrap_or_default().to_owned();
    (answer["response"].take(), problem)
}

fn deny(fetch: FetchConfig) -> ScriptConfig {
    ScriptConfig {
        on_error: OnError::Deny,
        fetch,
        ..ScriptConfig::default()
    }
}

#[tokio::test]
async fn a_request_goes_out_and_a_response_comes_in() {
    let response =
        b"HTTP/1.1 201 Created\r\nX-One: a\r\nX-One: b\r\ncontent-length: 5\r\n\r\nhello";
    let mut server = serve(response.to_vec(), None).await;
    let stage = Stage::with(FETCHING, deny(FetchConfig::default())).await;
    let url = format!("http://127.0.0.1:{}/path?query=1", server.port);
    let (response, _) = fetch(&stage, &url, json!({})).await;
    assert_eq!(
        response,
        json!({"status": 201, "headers": {"x-one": "a, b", "content-length": "5"}, "body": "hello"})
    );
    let asked = server.asked.recv().await.unwrap();
    assert!(
        asked.starts_with("GET /path?query=1 HTTP/1.1\r\n"),
        "{asked}"
    );
    assert!(
        asked.contains(&format!("host: 127.0.0.1:{}\r\n", server.port)),
        "{asked}"
    );
    assert!(asked.contains("user-agent: omnid/"), "{asked}");

    let options =
        json!({"method": "POST", "headers": {"X-Key": "value"}, "body": "text END", "timeout": 5});
    let (response, _) = fetch(&stage, &url, options).await;
    assert_eq!(response["status"], 201);
    let asked = server.asked.recv().await.unwrap();
    assert!(
        asked.starts_with("POST /path?query=1 HTTP/1.1\r\n"),
        "{asked}"
    );
    assert!(asked.contains("x-key: value\r\n"), "{asked}");
    assert!(
        asked.contains("content-length: 8\r\n") && asked.ends_with("\r\n\r\ntext END"),
        "{asked}"
    );
}

#[tokio::test]
async fn what_comes_in_is_bounded() {
    let large = serve(
        [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 3000]].concat(),
        None,
    )
    .await;
    let head = [
        b"HTTP/1.1 200 OK\r\nx: ".to_vec(),
        vec![b'x'; 200_000],
        b"\r\n\r\n".to_vec(),
    ]
    .concat();
    let head = serve(head, None).await;
    let broken = serve(
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf".to_vec(),
        None,
    )
    .await;
    let garbage = serve(b"SSH-2.0-OpenSSH\r\n".to_vec(), None).await;
    let limits = FetchConfig {
        max_size: omnid_config::ByteSize(2000),
        ..FetchConfig::default()
    };
    let stage = Stage::with(FETCHING, deny(limits)).await;
    for (server, expected) in [
        (&large, "the response is larger than 2000 bytes"),
        (&head, "message head is too large"),
        (&broken, "the response breaks off"),
        (&garbage, "invalid HTTP version"),
    ] {
        let (_, problem) = fetch(
            &stage,
            &format!("http://127.0.0.1:{}/", server.port),
            json!({}),
        )
        .await;
        assert!(
            problem.contains(expected),
            "{problem} instead of {expected}"
        );
    }
}

#[tokio::test]
async fn a_slow_server_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let stage = Stage::with(FETCHING, deny(FetchConfig::default())).await;
    let url = format!("http://127.0.0.1:{port}/");
    let (_, problem) = fetch(&stage, &url, json!({"timeout": 0.1})).await;
    assert_eq!(problem, "no response within 100ms");
    drop(listener);
    let (_, problem) = fetch(&stage, &url, json!({})).await;
    assert!(
        problem.starts_with("cannot connect to 127.0.0.1: "),
        "{problem}"
    );
}

#[tokio::test]
async fn only_allowed_destinations_are_connected_to() {
    let server = serve(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(), None).await;
    let stage = Stage::with(FETCHING, ScriptConfig::default()).await;
    for (allow, host, works) in [
        (vec![], "127.0.0.1", true),
        (vec!["127.0.0.0/8"], "127.0.0.1", true),
        (vec!["127.0.0.0/8"], "localhost", true),
        (vec!["127.0.0.2"], "127.0.0.1", false),
        (vec!["127.0.0.2"], "localhost", false),
        (vec!["localhost"], "LOCALHOST", true),
        (vec!["localhost"], "127.0.0.1", false),
        (vec!["*.localhost", "192.0.2.0/24"], "localhost", false),
    ] {
        let entries = allow
            .iter()
            .map(|entry| Spanned::from((*entry).to_owned()))
            .collect();
        stage.play(
            FETCHING,
            deny(FetchConfig {
                allow: entries,
                ..FetchConfig::default()
            }),
        );
        let (response, problem) = fetch(
            &stage,
            &format!("http://{host}:{}/", server.port),
            json!({}),
        )
        .await;
        assert_eq!(
            response["status"] == 204,
            works,
            "{host} with {allow:?}: {problem}"
        );
        if !works {
            assert_eq!(
                problem,
                format!("[script.fetch] does not allow requests to {host}")
            );
        }
    }
}

#[tokio::test]
async fn https_is_checked_against_authorities() {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key =
        rustls_pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let response = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret".to_vec();
    let server = serve(response, Some(Arc::new(config))).await;
    let url = format!("https://localhost:{}/", server.port);

    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, certified.cert.pem()).unwrap();
    let trusting = FetchConfig {
        ca_file: Some(ca_file.clone()),
        ..FetchConfig::default()
    };
    let stage = Stage::with(FETCHING, deny(trusting.clone())).await;
    let (response, problem) = fetch(&stage, &url, json!({})).await;
    assert_eq!(response["body"], "secret", "{problem}");
    let (_, problem) = fetch(&stage, &url.replace("localhost", "127.0.0.1"), json!({})).await;
    assert!(problem.contains("not valid for name"), "{problem}");

    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(&ca_file, other.cert.pem()).unwrap();
    stage.play(FETCHING, deny(trusting.clone()));
    let (_, problem) = fetch(&stage, &url, json!({})).await;
    assert!(
        problem.starts_with("TLS with localhost: invalid peer certificate"),
        "{problem}"
    );

    std::fs::write(&ca_file, "nothing").unwrap();
    stage.play(FETCHING, deny(trusting));
    let (_, problem) = fetch(&stage, &url, json!({})).await;
    assert!(problem.contains("no certificates in it"), "{problem}");
}
