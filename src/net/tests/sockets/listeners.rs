use omnid_net::{ListenAddr, NetConfig, Socket, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::support::{address, connect, free_place, logged, loopback, net, soon, until};

#[tokio::test]
async fn a_connection_is_counted_in_and_out() {
    let net = net(&NetConfig::default());
    let listener = net.listen("echo", &loopback()).unwrap();
    let mut client = connect(&listener).await;
    let mut accepted = soon(listener.accept()).await;
    assert_eq!(accepted.peer, client.local_addr().unwrap());
    assert_eq!(accepted.local, address(&listener));
    assert_eq!(&*accepted.listener, format!("echo {}", address(&listener)));
    assert_eq!(
        (net.connections(), net.clients(), listener.open()),
        (1, 1, 1)
    );
    assert!(matches!(&accepted.socket, Socket::Tcp(stream) if stream.nodelay().unwrap()));
    client.write_all(b"ping").await.unwrap();
    let mut bytes = [0; 4];
    accepted.socket.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"ping");
    drop(accepted);
    assert_eq!(
        (net.connections(), net.clients(), listener.open()),
        (0, 0, 0)
    );
}

#[tokio::test]
async fn a_restarted_service_finds_its_port_open_and_its_queue_whole() {
    let net = net(&NetConfig::default());
    let listener = net.listen("echo", &loopback()).unwrap();
    let place = address(&listener);
    drop(listener);
    // The service is down; its port is not.
    let mut waiting = soon(TcpStream::connect(place)).await.unwrap();
    waiting.write_all(b"still there?").await.unwrap();
    let listener = net.listen("echo", &loopback()).unwrap();
    assert_eq!(address(&listener), place);
    let accepted = soon(listener.accept()).await;
    assert_eq!(accepted.peer, waiting.local_addr().unwrap());
}

#[tokio::test]
async fn an_address_has_one_service_until_it_is_released() {
    let net = net(&NetConfig::default());
    let one = net.listen("one", &loopback()).unwrap();
    // Port 0 is a port for each who asks.
    let other = net.listen("other", &loopback()).unwrap();
    assert_ne!(address(&one), address(&other));

    let fixed = ListenAddr::Ip(free_place([127, 81, 1, 1]));
    drop(net.listen("one", &fixed).unwrap());
    let error = net.listen("two", &fixed).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot listen on {fixed} (TCP): one listens there")
    );
    let every = ListenAddr::any(fixed.ip().unwrap().port());
    let error = net.listen("three", &every).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot listen on {every} (TCP): one listens there")
    );
    assert!(!net.release("two", Transport::Stream, &fixed));
    assert!(net.release("one", Transport::Stream, &fixed));
    assert!(!net.release("one", Transport::Stream, &fixed));
    drop(net.listen("two", &fixed).unwrap());
    let bound: Vec<_> = net.bound().into_iter().map(|bound| bound.service).collect();
    assert_eq!(bound.len(), 3);
    assert!(bound.contains(&"two".to_owned()));
}

#[tokio::test]
async fn errors_say_what_to_do() {
    let net = net(&NetConfig::default());
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap();
    let error = net.listen("a", &ListenAddr::Ip(taken)).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot listen on {taken} (TCP): another process listens there")
    );
    let error = net
        .datagrams("a", "192.0.2.1:0".parse().unwrap(), 1)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot listen on 192.0.2.1:0 (UDP): no interface has this address"
    );
}

#[tokio::test]
async fn every_address_means_ipv4_too() {
    let net = net(&NetConfig::default());
    let listener = net.listen("dual", &ListenAddr::any(0)).unwrap();
    let port = address(&listener).port();
    let four = soon(TcpStream::connect(("127.0.0.1", port))).await.unwrap();
    let accepted = soon(listener.accept()).await;
    // As IPv4, and not in IPv6's clothes.
    assert_eq!(accepted.peer, four.local_addr().unwrap());
    assert_eq!(accepted.local, four.peer_addr().unwrap());
    let six = soon(TcpStream::connect(("::1", port))).await.unwrap();
    assert_eq!(
        soon(listener.accept()).await.peer,
        six.local_addr().unwrap()
    );
}

#[tokio::test]
async fn both_families_can_be_named_one_by_one() {
    let net = net(&NetConfig::default());
    let four = net.listen("four", &"0.0.0.0:0".parse().unwrap()).unwrap();
    let port = address(&four).port();
    // Asked for by the port it has, as a config would.
    drop(four);
    assert!(net.release("four", Transport::Stream, &"0.0.0.0:0".parse().unwrap()));
    let four = net
        .listen("four", &format!("0.0.0.0:{port}").parse().unwrap())
        .unwrap();
    let six = net.listen("six", &ListenAddr::any(port)).unwrap();
    let client = soon(TcpStream::connect(("127.0.0.1", port))).await.unwrap();
    assert_eq!(soon(four.accept()).await.peer, client.local_addr().unwrap());
    let client = soon(TcpStream::connect(("::1", port))).await.unwrap();
    assert_eq!(soon(six.accept()).await.peer, client.local_addr().unwrap());
}

#[tokio::test]
async fn a_unix_socket_left_by_a_dead_process_is_taken_over_and_a_living_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.sock");
    let place = ListenAddr::Unix(path.clone());
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());

    let net = net(&NetConfig::default());
    let listener = net.listen("admin", &place).unwrap();
    let client = soon(UnixStream::connect(&path)).await.unwrap();
    let accepted = soon(listener.accept()).await;
    assert_eq!(accepted.peer.to_string(), "0.0.0.0:0");
    drop((client, accepted));

    let rival = crate::support::net(&NetConfig::default());
    let error = rival.listen("admin", &place).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot listen on unix:{}: another process listens there",
            path.display()
        )
    );
    assert!(net.release("admin", Transport::Stream, &place));
    assert!(!path.exists());

    std::fs::write(&path, "a file, not a socket").unwrap();
    assert!(net.listen("admin", &place).is_err());
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        "a file, not a socket"
    );
}

#[tokio::test]
async fn past_a_bound_a_connection_is_closed_in_order_and_logged_once() {
    let mut config = NetConfig {
        max_connections_per_client: 2,
        ..NetConfig::default()
    };
    let net = net(&config);
    let listener = net.listen("bounded", &loopback()).unwrap();
    let name = listener.name().clone();
    let accepting = tokio::spawn({
        let listener = listener.clone();
        async move {
            let mut held = Vec::new();
            while held.len() < 3 {
                held.push(listener.accept().await);
            }
            held
        }
    });
    let first = connect(&listener).await;
    let second = connect(&listener).await;
    until("both are counted", || net.connections() == 2).await;
    for _ in 0..20 {
        let mut refused = connect(&listener).await;
        // Bytes that arrive unread would make a bare close a reset.
        let _ = refused.write_all(b"hello?").await;
        let mut rest = Vec::new();
        soon(refused.read_to_end(&mut rest))
            .await
            .expect("an end, not a reset");
        assert!(rest.is_empty());
    }
    let lines = logged(&[&name, "net.max_connections_per_client is reached"]);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].starts_with("WARN"), "{lines:?}");

    // The bounds change while connections are open.
    config.max_connections_per_client = 3;
    net.update(&config);
    let third = connect(&listener).await;
    let held = soon(accepting).await.unwrap();
    assert_eq!((held.len(), net.connections(), net.clients()), (3, 3, 1));
    drop((first, second, third, held));
    assert_eq!((net.connections(), net.clients()), (0, 0));
}

#[tokio::test]
async fn a_thousand_refusals_leave_nothing_behind() {
    let net = net(&NetConfig {
        max_connections: 1,
        ..NetConfig::default()
    });
    let listener = net.listen("full", &loopback()).unwrap();
    let _keep = connect(&listener).await;
    let _kept = soon(listener.accept()).await;
    let accepting = tokio::spawn({
        let listener = listener.clone();
        async move { listener.accept().await }
    });
    for _ in 0..1_000 {
        drop(connect(&listener).await);
    }
    assert_eq!(net.connections(), 1);
    assert!(!accepting.is_finished());
    accepting.abort();
}
