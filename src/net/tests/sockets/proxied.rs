use std::time::Duration;

use omnid_net::{Listener, Net, NetConfig, ProxyProtocolConfig, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::support::{connect, logged, loopback, net, soon, until};

fn trusting(networks: &[&str]) -> NetConfig {
    NetConfig {
        first_byte_timeout: Duration::from_millis(300),
        max_connections_per_client: 1,
        proxy_protocol: ProxyProtocolConfig {
            trusted: networks.iter().map(|net| net.parse().unwrap()).collect(),
            ..ProxyProtocolConfig::default()
        },
        ..NetConfig::default()
    }
}

fn listen(config: &NetConfig, name: &str) -> (Net, Listener) {
    let net = net(config);
    let listener = net.listen(name, &loopback()).unwrap();
    (net, listener)
}

#[tokio::test]
async fn a_trusted_balancer_names_the_client_and_the_client_is_what_counts() {
    let (net, listener) = listen(&trusting(&["127.0.0.0/8"]), "proxied");
    let headers: [&[u8]; 3] = [
        b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\nGET /",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x08\xc6\x33\x64\x01\x12\x67\x01\xbbGET /",
        b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\nGET /",
    ];
    let peers = ["192.0.2.7:4711", "192.0.2.8:4711", "[2001:db8::7]:4711"];
    let mut held = Vec::new();
    for (header, peer) in headers.into_iter().zip(peers) {
        let mut client = connect(&listener).await;
        client.write_all(header).await.unwrap();
        let mut accepted = soon(listener.accept()).await;
        assert_eq!(accepted.peer.to_string(), peer);
        assert_eq!(accepted.local.port(), 443);
        let mut rest = [0; 5];
        accepted.socket.read_exact(&mut rest).await.unwrap();
        assert_eq!(&rest, b"GET /");
        held.push((client, accepted));
    }
    // One connection a client: three clients have one each through one balancer.
    assert_eq!((net.connections(), net.clients()), (3, 3));
}

#[tokio::test]
async fn a_header_may_come_in_bytes_and_holds_up_nobody() {
    let (net, listener) = listen(&trusting(&["127.0.0.1/32"]), "slow");
    let silent = connect(&listener).await;
    let mut slow = connect(&listener).await;
    let mut quick = connect(&listener).await;
    slow.set_nodelay(true).unwrap();
    let accepting = tokio::spawn({
        let listener = listener.clone();
        async move { [listener.accept().await, listener.accept().await] }
    });
    quick
        .write_all(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n")
        .await
        .unwrap();
    for byte in b"PROXY TCP4 192.0.2.3 192.0.2.2 1 2\r\n" {
        slow.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let [first, second] = soon(accepting).await.unwrap();
    assert_eq!(first.peer.to_string(), "192.0.2.1:1");
    assert_eq!(second.peer.to_string(), "192.0.2.3:1");
    // The silent one is put out when its time is over.
    until("the silent one is counted out", || net.connections() == 2).await;
    let lines = logged(&[listener.name(), "no PROXY header within the time allowed"]);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    drop(silent);
}

#[tokio::test]
async fn from_a_trusted_balancer_nothing_but_a_header_is_taken() {
    let (net, listener) = listen(&trusting(&["127.0.0.1"]), "strict");
    let accepting = tokio::spawn({
        let listener = listener.clone();
        async move { listener.accept().await }
    });
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"PROXY TCP4 x y 1 2\r\n",
        b"\x16\x03\x01\x02\x00",
    ] {
        let mut client = connect(&listener).await;
        client.write_all(bytes).await.unwrap();
        client.shutdown().await.unwrap();
        let mut rest = Vec::new();
        soon(client.read_to_end(&mut rest))
            .await
            .expect("an end, not a reset");
        assert!(rest.is_empty());
    }
    until("all are counted out", || net.connections() == 0).await;
    assert!(!accepting.is_finished());
    let lines = logged(&[
        listener.name(),
        "connection of a trusted load balancer refused",
    ]);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    accepting.abort();
}

#[tokio::test]
async fn from_anybody_else_a_header_is_just_bytes() {
    let (_net, listener) = listen(&trusting(&["192.0.2.0/24"]), "untrusted");
    let mut client = connect(&listener).await;
    client
        .write_all(b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n")
        .await
        .unwrap();
    let accepted = soon(listener.accept()).await;
    assert_eq!(accepted.peer, client.local_addr().unwrap());
    let error = omnid_net::plain_accept(accepted.socket, Duration::from_secs(5))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "client sent a PROXY header, but is not in net.proxy_protocol.trusted"
    );
}

#[tokio::test]
async fn listeners_that_are_not_named_expect_no_header() {
    let mut config = trusting(&["127.0.0.1"]);
    config.proxy_protocol.listen = vec!["127.0.0.1:1".parse().unwrap()];
    let (_net, listener) = listen(&config, "unnamed");
    let client = connect(&listener).await;
    assert_eq!(
        soon(listener.accept()).await.peer,
        client.local_addr().unwrap()
    );
}

#[tokio::test]
async fn a_unix_socket_that_is_named_expects_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.sock");
    drop(UnixListener::bind(&path).unwrap());
    let place = omnid_net::ListenAddr::Unix(path.clone());
    let mut config = trusting(&[]);
    config.proxy_protocol.listen = vec![place.clone()];
    let net = net(&config);
    let listener = net.listen("web", &place).unwrap();
    let mut client = soon(UnixStream::connect(&path)).await.unwrap();
    client
        .write_all(b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n")
        .await
        .unwrap();
    assert_eq!(
        soon(listener.accept()).await.peer.to_string(),
        "192.0.2.7:4711"
    );
}

#[tokio::test]
async fn a_header_that_is_awaited_does_not_keep_a_released_port() {
    let mut config = trusting(&["127.0.0.1"]);
    config.first_byte_timeout = Duration::from_secs(60);
    let (net, listener) = listen(&config, "released");
    let place = listener.local_address().ip().unwrap();
    let silent = connect(&listener).await;
    let accepting = tokio::spawn(async move { listener.accept().await });
    until("the connection is taken in", || net.connections() == 1).await;
    assert!(net.release("released", Transport::Stream, &loopback()));
    accepting.abort();
    assert!(soon(accepting).await.is_err());
    drop(std::net::TcpListener::bind(place).expect("the port is free"));
    drop(silent);
}
