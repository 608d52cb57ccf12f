//! Bad peers on a plain and a TLS port, in a process of its own so that what they leave behind can
//! be counted: no connection, no descriptor, no memory, and few lines of log.

use std::sync::Arc;
use std::time::Duration;

use omnid_net::{Accepted, Listener, Net, NetConfig, plain_accept, tls_accept};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{
    address, alone, is_alone, logged, loopback, net, soon, tls, tls_connect, until,
};

#[test]
fn garbage_leaves_nothing_behind() {
    let printed = alone("garbage::assault");
    assert!(printed.contains("clean after"), "{printed}");
}

#[test]
fn ten_thousand_idle_connections_are_cheap() {
    let printed = alone("garbage::idleness");
    assert!(printed.contains("bytes each"), "{printed}");
}

struct Server {
    net: Net,
    plain: Listener,
    secure: Listener,
    client: Arc<rustls::ClientConfig>,
}

impl Server {
    fn start(config: &NetConfig) -> Self {
        let net = net(config);
        let plain = net.listen("plain", &loopback()).unwrap();
        let secure = net.listen("secure", &loopback()).unwrap();
        let (server, client) = tls(&[]);
        let deadline = config.first_byte_timeout;
        tokio::spawn(accept(plain.clone(), move |accepted| async move {
            let Accepted { socket, permit, .. } = accepted;
            if let Ok(socket) = plain_accept(socket, deadline).await {
                echo(socket).await;
            }
            drop(permit);
        }));
        tokio::spawn(accept(secure.clone(), move |accepted| {
            let server = server.clone();
            async move {
                let Accepted { socket, permit, .. } = accepted;
                if let Ok(socket) = tls_accept(socket, server, deadline).await {
                    echo(socket).await;
                }
                drop(permit);
            }
        }));
        Self {
            net,
            plain,
            secure,
            client,
        }
    }

    /// Are decent clients served on both ports?
    async fn serves(&self) {
        let plain = soon(TcpStream::connect(address(&self.plain)))
            .await
            .unwrap();
        ping(plain).await;
        let secure = soon(TcpStream::connect(address(&self.secure)))
            .await
            .unwrap();
        ping(tls_connect(&self.client, &[], secure).await.unwrap()).await;
    }
}

async fn accept<F, T>(listener: Listener, serve: F)
where
    F: Fn(Accepted) -> T,
    T: Future<Output = ()> + Send + 'static,
{
    loop {
        tokio::spawn(serve(listener.accept().await));
    }
}

/// A protocol of lines of at most 64 bytes.
async fn echo(mut socket: impl AsyncRead + AsyncWrite + Unpin) {
    let mut line = Vec::new();
    while let Ok(Ok(byte)) = tokio::time::timeout(IDLE, socket.read_u8()).await {
        line.push(byte);
        if byte == b'\n' {
            if socket.write_all(&line).await.is_err() || socket.flush().await.is_err() {
                return;
            }
            line.clear();
        }
        if line.len() > 64 {
            return;
        }
    }
}

async fn ping(mut socket: impl AsyncRead + AsyncWrite + Unpin) {
    socket.write_all(b"ping\n").await.unwrap();
    let mut answer = [0; 5];
    soon(socket.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"ping\n");
}

const IDLE: Duration = Duration::from_millis(300);

/// xorshift64*: the same garbage in every run.
struct Noise(u64);

impl Noise {
    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length)
            .map(|_| {
                self.0 ^= self.0 >> 12;
                self.0 ^= self.0 << 25;
                self.0 ^= self.0 >> 27;
                (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8
            })
            .collect()
    }
}

#[test]
fn assault() {
    if !is_alone("garbage::assault") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let server = Server::start(&NetConfig {
            first_byte_timeout: IDLE,
            ..NetConfig::default()
        });
        let mut noise = Noise(0x6f6d_6e69_6421);
        // The first round warms up what stays: the allocator's pools, the runtime's slabs.
        round(&server, &mut noise).await;
        let (memory, descriptors) = (memory(), descriptors());
        for _ in 0..2 {
            round(&server, &mut noise).await;
        }
        let grown = self::memory().saturating_sub(memory);
        assert!(grown < 4 << 20, "{grown} bytes more than before");
        let more = self::descriptors().saturating_sub(descriptors);
        assert!(more < 8, "{more} descriptors more than before");
        // Two ports, and a handful of kinds of offence.
        let lines = logged(&[]).len();
        assert!(lines < 12, "{lines} lines of log: {:#?}", logged(&[]));
        println!("clean after: {grown} bytes, {more} descriptors, {lines} lines of log");
    });
}

async fn round(server: &Server, noise: &mut Noise) {
    for listener in [&server.plain, &server.secure] {
        let place = address(listener);
        let dial = move || async move { soon(TcpStream::connect(place)).await.unwrap() };
        let mut peers = tokio::task::JoinSet::new();

        let mut words = Vec::new();
        for length in [1, 5, 64, 4_096, 100_000] {
            words.extend((0..20).map(|_| noise.bytes(length)));
        }
        // Records that begin well.
        for length in [0, 3, 100, 16_384] {
            let record = |_| [&[22, 3, 1, 64, 0][..], &noise.bytes(length)].concat();
            words.extend((0..10).map(record));
        }
        // The other port's language.
        words.extend((0..20).map(|_| b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()));
        // Nothing: idle.
        words.extend((0..100).map(|_| Vec::new()));
        for word in words {
            peers.spawn(async move {
                let mut client = dial().await;
                // The server may close before all is written.
                drop(client.write_all(&word).await);
                drain(client).await;
            });
        }
        for _ in 0..20 {
            let config = server.client.clone();
            peers.spawn(async move {
                drop(tls_connect(&config, &[], dial().await).await);
            });
        }
        // Half-closed at once, and after a byte.
        for bytes in [&b""[..], b"\x16", b"p"] {
            peers.spawn(async move {
                let mut client = dial().await;
                client.write_all(bytes).await.unwrap();
                client.shutdown().await.unwrap();
                drain(client).await;
            });
        }
        // Byte by byte, without an end.
        let endless = noise.bytes(500);
        peers.spawn(async move {
            let mut client = dial().await;
            for byte in endless {
                if client.write_all(&[byte]).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        });
        // Connected and dropped.
        for _ in 0..1_000 {
            drop(dial().await);
        }
        server.serves().await;
        while let Some(peer) = peers.join_next().await {
            peer.unwrap();
        }
    }
    until("every connection is counted out", || {
        server.net.connections() == 0
    })
    .await;
    assert_eq!(server.net.clients(), 0);
    server.serves().await;
    until("every connection is counted out", || {
        server.net.connections() == 0
    })
    .await;
    // Sockets that linger after a refusal are let go within a second.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
}

/// Reads until the server has closed, in order or by a reset: what arrives after a close is reset.
async fn drain(mut client: TcpStream) {
    let mut bytes = [0; 4096];
    while soon(client.read(&mut bytes))
        .await
        .is_ok_and(|read| read > 0)
    {}
}

#[test]
fn idleness() {
    if !is_alone("garbage::idleness") {
        return;
    }
    let limits = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limits.maximum,
            ..limits
        },
    )
    .unwrap();
    // Both ends of each are in this process.
    let most = limits
        .maximum
        .map_or(10_000, |limit| (limit.saturating_sub(200) / 2).min(10_000));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let net = net(&NetConfig {
            max_connections_per_client: 20_000,
            ..NetConfig::default()
        });
        let listener = net.listen("idle", &loopback()).unwrap();
        let place = address(&listener);
        let held = tokio::spawn(accept(listener, |accepted| async move {
            let Accepted { socket, permit, .. } = accepted;
            drop(plain_accept(socket, Duration::from_secs(600)).await);
            drop(permit);
        }));
        let before = memory();
        let mut clients = Vec::new();
        for _ in 0..most {
            clients.push(soon(TcpStream::connect(place)).await.unwrap());
        }
        until("all are accepted", || u64::from(net.connections()) == most).await;
        let each = memory().saturating_sub(before) as u64 / most;
        // The client's end lives here too.
        assert!(each < 8 << 10, "{each} bytes each");
        let mut last = soon(TcpStream::connect(place)).await.unwrap();
        last.write_all(b"x").await.unwrap();
        drain(last).await;
        clients.clear();
        until("all are counted out", || net.connections() == 0).await;
        println!("{most} idle connections, {each} bytes each");
        held.abort();
    });
}

fn memory() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
