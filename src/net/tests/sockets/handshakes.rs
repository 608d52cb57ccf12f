use std::sync::Arc;
use std::time::Duration;

use omnid_net::{
    HandshakeError, Listener, Net, NetConfig, Socket, Spoken, TlsSocket, alpn, plain_accept,
    tls_accept,
};
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{connect, logged, loopback, net, soon, tls, tls_connect};

const ALERT: &[u8] = &[21, 3, 3, 0, 2, 2, 10];
const DEADLINE: Duration = Duration::from_secs(10);

fn listen(name: &str) -> (Net, Listener) {
    let net = net(&NetConfig::default());
    let listener = net.listen(name, &loopback()).unwrap();
    (net, listener)
}

/// One connection, and what became of it at the server.
fn serve_tls(
    listener: &Listener,
    config: Arc<ServerConfig>,
    deadline: Duration,
) -> tokio::task::JoinHandle<Result<TlsSocket, HandshakeError>> {
    let listener = listener.clone();
    tokio::spawn(async move {
        let accepted = listener.accept().await;
        tls_accept(accepted.socket, config, deadline).await
    })
}

async fn rest(mut client: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    soon(client.read_to_end(&mut bytes))
        .await
        .expect("an end, not a reset");
    bytes
}

#[tokio::test]
async fn one_port_tells_protocols_apart_by_alpn() {
    let (_net, listener) = listen("alpn");
    let (server, client) = tls(&["h2", "xmpp-client"]);
    for (offered, agreed) in [
        (&["xmpp-client"][..], Some("xmpp-client")),
        (&["spdy", "h2"], Some("h2")),
        (&[], None),
    ] {
        let serving = serve_tls(&listener, server.clone(), DEADLINE);
        let mut stream = tls_connect(&client, offered, connect(&listener).await)
            .await
            .unwrap();
        let mut served = soon(serving).await.unwrap().unwrap();
        assert_eq!(alpn(&served), agreed, "{offered:?}");
        stream.write_all(b"hello").await.unwrap();
        let mut bytes = [0; 5];
        served.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"hello");
    }
    // RFC 7301 3.2: no protocol in common is an alert, not a guess.
    let serving = serve_tls(&listener, server, DEADLINE);
    let error = tls_connect(&client, &["spdy"], connect(&listener).await)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("NoApplicationProtocol"),
        "{error}"
    );
    assert!(matches!(
        soon(serving).await.unwrap(),
        Err(HandshakeError::Tls(_))
    ));
    assert_eq!(logged(&[&name(&listener), "TLS handshake failed"]).len(), 1);
}

/// How the log names a listener's address.
fn name(listener: &Listener) -> String {
    format!("local={}", listener.local_address())
}

#[tokio::test]
async fn plain_text_to_a_tls_port_gets_an_alert_and_one_line_of_log() {
    let (_net, listener) = listen("https");
    let (server, _) = tls(&[]);
    for _ in 0..5 {
        let serving = serve_tls(&listener, server.clone(), DEADLINE);
        let mut client = connect(&listener).await;
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await
            .unwrap();
        assert_eq!(rest(client).await, ALERT);
        let error = soon(serving).await.unwrap().unwrap_err();
        assert!(
            matches!(error, HandshakeError::NotTls(Spoken::Http)),
            "{error}"
        );
    }
    let lines = logged(&[&name(&listener), "client spoke plain HTTP to a TLS port"]);
    assert_eq!(lines.len(), 1, "{lines:#?}");
}

#[tokio::test]
async fn tls_to_a_plain_port_gets_an_alert_and_one_line_of_log() {
    let (_net, listener) = listen("http");
    let (_, client) = tls(&[]);
    for _ in 0..5 {
        let serving = tokio::spawn({
            let listener = listener.clone();
            async move { plain_accept(listener.accept().await.socket, DEADLINE).await }
        });
        let error = tls_connect(&client, &[], connect(&listener).await)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("UnexpectedMessage"), "{error}");
        assert!(matches!(
            soon(serving).await.unwrap(),
            Err(HandshakeError::NotPlain)
        ));
    }
    let lines = logged(&[&name(&listener), "client spoke TLS to a plain-text port"]);
    assert_eq!(lines.len(), 1, "{lines:#?}");
}

#[tokio::test]
async fn silence_has_a_deadline() {
    let (_net, listener) = listen("silent");
    let (server, _) = tls(&[]);
    let deadline = Duration::from_millis(50);
    let serving = serve_tls(&listener, server.clone(), deadline);
    let client = connect(&listener).await;
    assert!(matches!(
        soon(serving).await.unwrap(),
        Err(HandshakeError::Timeout(_))
    ));
    assert_eq!(rest(client).await, b"");

    // Beginning is not enough.
    let serving = serve_tls(&listener, server, deadline);
    let mut client = connect(&listener).await;
    client.write_all(&[22, 3, 1]).await.unwrap();
    assert!(matches!(
        soon(serving).await.unwrap(),
        Err(HandshakeError::Timeout(_))
    ));

    let client = connect(&listener).await;
    let accepted = soon(listener.accept()).await;
    let error = plain_accept(accepted.socket, deadline).await.unwrap_err();
    assert_eq!(error.to_string(), "no first byte within the time allowed");
    assert_eq!(rest(client).await, b"");
}

#[tokio::test]
async fn a_peer_that_leaves_or_ends_its_side_is_let_go() {
    let (_net, listener) = listen("leaving");
    let (server, _) = tls(&[]);
    for bytes in [&b""[..], &[22], &[22, 3, 1, 0, 200, 1, 0, 0]] {
        let serving = serve_tls(&listener, server.clone(), DEADLINE);
        let mut client = connect(&listener).await;
        client.write_all(bytes).await.unwrap();
        client.shutdown().await.unwrap();
        let error = soon(serving).await.unwrap().unwrap_err();
        assert!(
            matches!(error, HandshakeError::Closed(_)),
            "{bytes:?}: {error:?}"
        );
        rest(client).await;
    }
}

#[tokio::test]
async fn a_handshake_in_single_bytes_is_a_handshake() {
    let (_net, listener) = listen("bytewise");
    let (server, client) = tls(&["h2"]);
    let serving = serve_tls(&listener, server, DEADLINE);
    let (near, far) = tokio::io::duplex(1 << 16);
    let (mut from_server, mut to_server) = connect(&listener).await.into_split();
    let (mut from_client, mut to_client) = tokio::io::split(far);
    tokio::spawn(async move {
        while let Ok(byte) = from_client.read_u8().await {
            to_server.write_u8(byte).await.unwrap();
        }
    });
    tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
    let stream = tls_connect(&client, &["h2"], near).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    soon(serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn starttls_takes_a_socket_that_has_spoken_before() {
    let (_net, listener) = listen("starttls");
    let (server, client) = tls(&[]);
    let serving = tokio::spawn({
        let listener = listener.clone();
        async move {
            let mut socket: Socket = listener.accept().await.socket;
            let mut word = [0; 8];
            socket.read_exact(&mut word).await.unwrap();
            socket.write_all(b"proceed").await.unwrap();
            tls_accept(socket, server, DEADLINE).await
        }
    });
    let mut stream = connect(&listener).await;
    stream.write_all(b"starttls").await.unwrap();
    let mut word = [0; 7];
    stream.read_exact(&mut word).await.unwrap();
    tls_connect(&client, &[], stream).await.unwrap();
    soon(serving).await.unwrap().unwrap();
}
