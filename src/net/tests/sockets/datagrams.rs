use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use omnid_net::{DatagramSocket, NetConfig, ReceiveBatch, SendBatch, Transport};
use tokio::net::UdpSocket;

use crate::support::{net, soon};

async fn receive(socket: &DatagramSocket, batch: &mut ReceiveBatch) -> usize {
    loop {
        soon(socket.readable()).await;
        match socket.receive(batch) {
            Ok(count) => return count,
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
}

/// Answers every datagram with its own bytes, from the address it was sent to.
async fn echo(socket: DatagramSocket) {
    let (mut inward, mut outward) = (ReceiveBatch::new(16, 2048), SendBatch::new(16, 2048));
    loop {
        receive(&socket, &mut inward).await;
        for (bytes, peer, local) in inward.iter() {
            let slot = outward.next_slot().expect("as many slots as messages");
            slot[..bytes.len()].copy_from_slice(bytes);
            outward.commit(bytes.len(), peer, local);
        }
        socket.send_all(&mut outward).await;
    }
}

#[tokio::test]
async fn answers_leave_from_the_address_that_was_asked() {
    let net = net(&NetConfig::default());
    for (listen, asked) in [
        ("0.0.0.0:0", "127.0.0.1"),
        ("0.0.0.0:0", "127.7.7.7"),
        ("[::]:0", "127.7.7.7"),
        ("[::]:0", "::1"),
        ("[::1]:0", "::1"),
        ("127.0.0.1:0", "127.0.0.1"),
    ] {
        let mut group = net.datagrams("echo", listen.parse().unwrap(), 1).unwrap();
        let socket = group.pop().unwrap();
        let port = socket.local_address().port();
        let server = tokio::spawn(echo(socket));
        let asked = SocketAddr::new(asked.parse().unwrap(), port);
        let own: IpAddr = if asked.is_ipv4() {
            [127, 0, 0, 1].into()
        } else {
            asked.ip()
        };
        let client = UdpSocket::bind((own, 0)).await.unwrap();
        // Connected, so that an answer from any other address would not arrive.
        client.connect(asked).await.unwrap();
        for length in [0, 1, 512, 1400] {
            client.send(&vec![7; length]).await.unwrap();
            let mut bytes = [0; 2048];
            let read = soon(client.recv(&mut bytes)).await.unwrap();
            assert_eq!(bytes[..read], vec![7; length], "{listen} asked as {asked}");
        }
        server.abort();
    }
}

#[tokio::test]
async fn a_batch_is_moved_at_once() {
    let net = net(&NetConfig::default());
    let server = net
        .datagrams("a", "127.0.0.1:0".parse().unwrap(), 1)
        .unwrap()
        .remove(0);
    let client = net
        .datagrams("b", "127.0.0.1:0".parse().unwrap(), 1)
        .unwrap()
        .remove(0);
    let mut outward = SendBatch::new(64, 16);
    for number in 0..64u8 {
        let slot = outward.next_slot().unwrap();
        slot[0] = number;
        outward.commit(1, server.local_address(), None);
    }
    assert!(outward.is_full() && outward.next_slot().is_none());
    assert_eq!(client.send(&mut outward).unwrap(), 64);
    assert!(outward.is_empty());

    let mut inward = ReceiveBatch::new(64, 16);
    let (mut seen, mut calls) = (BTreeSet::new(), 0);
    while seen.len() < 64 {
        receive(&server, &mut inward).await;
        calls += 1;
        for (bytes, peer, local) in inward.iter() {
            assert_eq!(
                (peer, local),
                (client.local_address(), Some([127, 0, 0, 1].into()))
            );
            seen.insert(bytes[0]);
        }
    }
    assert!(calls <= 4, "{calls} calls for 64 datagrams");
    assert_eq!(
        server.receive(&mut inward).unwrap_err().kind(),
        io::ErrorKind::WouldBlock,
        "nothing waits any more"
    );
    assert!(inward.is_empty());
}

#[tokio::test]
async fn one_that_cannot_be_sent_does_not_hold_up_the_others() {
    let net = net(&NetConfig::default());
    let server = net
        .datagrams("a", "127.0.0.1:0".parse().unwrap(), 1)
        .unwrap()
        .remove(0);
    let client = net
        .datagrams("b", "127.0.0.1:0".parse().unwrap(), 1)
        .unwrap()
        .remove(0);
    let mut outward = SendBatch::new(8, 16);
    let good = server.local_address();
    let bad: SocketAddr = "[2001:db8::1]:53".parse().unwrap();
    for to in [bad, good, bad, bad, good, bad] {
        outward.next_slot().unwrap()[0] = 1;
        outward.commit(1, to, None);
    }
    assert_eq!(client.send(&mut outward).unwrap(), 2);
    let mut inward = ReceiveBatch::new(8, 16);
    let mut got = 0;
    while got < 2 {
        got += receive(&server, &mut inward).await;
    }
    assert!(client.send_to(b"x", bad, None).await.is_err());
    client
        .send_to(b"x", good, Some([127, 0, 0, 1].into()))
        .await
        .unwrap();
}

#[tokio::test]
async fn one_that_is_too_long_is_left_out() {
    let net = net(&NetConfig::default());
    let server = net
        .datagrams("a", "127.0.0.1:0".parse().unwrap(), 1)
        .unwrap()
        .remove(0);
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client
        .send_to(&[1; 100], server.local_address())
        .await
        .unwrap();
    client
        .send_to(&[2; 10], server.local_address())
        .await
        .unwrap();
    let mut inward = ReceiveBatch::new(4, 10);
    let mut got = Vec::new();
    while got.is_empty() {
        receive(&server, &mut inward).await;
        got.extend(inward.iter().map(|(bytes, ..)| bytes.to_vec()));
    }
    assert_eq!(got, [vec![2; 10]]);
}

#[tokio::test]
async fn a_group_shares_its_port_and_its_work_and_is_kept() {
    let net = net(&NetConfig::default());
    let any = "127.0.0.1:0".parse().unwrap();
    // It grows as it is asked to.
    assert_eq!(net.datagrams("group", any, 1).unwrap().len(), 1);
    let group = net.datagrams("group", any, 4).unwrap();
    let ports: BTreeSet<_> = group.iter().map(DatagramSocket::local_address).collect();
    assert_eq!((group.len(), ports.len()), (4, 1));
    let place = group[0].local_address();
    let answered: Arc<[AtomicU32; 4]> = Arc::default();
    for (index, socket) in group.clone().into_iter().enumerate() {
        let answered = answered.clone();
        tokio::spawn(async move {
            let mut inward = ReceiveBatch::new(8, 64);
            loop {
                receive(&socket, &mut inward).await;
                answered[index].fetch_add(1, Ordering::Relaxed);
                for (_, peer, local) in inward.iter() {
                    socket.send_to(b"here", peer, local).await.unwrap();
                }
            }
        });
    }
    // Wherever the kernel puts a client, there somebody answers.
    for _ in 0..100 {
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.connect(place).await.unwrap();
        client.send(b"anybody?").await.unwrap();
        let mut bytes = [0; 16];
        assert_eq!(soon(client.recv(&mut bytes)).await.unwrap(), 4);
    }
    // A hundred clients that all fall to three of four sockets: one in 10^12.
    let answered: Vec<_> = answered
        .iter()
        .map(|count| count.load(Ordering::Relaxed))
        .collect();
    assert!(answered.iter().all(|count| *count > 0), "{answered:?}");
    let again = net.datagrams("group", any, 4).unwrap();
    assert_eq!(again[0].local_address(), place);
    assert_eq!(net.datagrams("group", any, 2).unwrap().len(), 2);
    let error = net.datagrams("other", place, 1).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot listen on {place} (UDP): group listens there")
    );
    // Nor does another process slip into the group.
    let rival = crate::support::net(&NetConfig::default());
    let error = rival.datagrams("rival", place, 4).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot listen on {place} (UDP): another process listens there")
    );
    assert!(net.release("group", Transport::Datagram, &any.into()));
}
