//! A service manager of our own making: a notify socket that keeps what it is given.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use omnid_net::systemd::{Notify, Passed};
use omnid_net::{ListenAddr, Net, NetConfig, ReceiveBatch, Transport};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::support::{address, loopback, soon};

struct Manager {
    socket: UnixDatagram,
    name: Vec<u8>,
}

impl Manager {
    fn new(test: &str) -> Self {
        let name = format!("omnid-net-test-{test}-{}", std::process::id()).into_bytes();
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self {
            socket,
            name: [b"@", &name[..]].concat(),
        }
    }

    fn line(&self) -> Notify {
        Notify::connect(&self.name, Some(Duration::from_secs(30))).unwrap()
    }

    /// What has been said since the last call.
    fn heard(&self) -> Vec<(String, Vec<OwnedFd>)> {
        let mut heard = Vec::new();
        loop {
            let mut text = [0; 4096];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let received = rustix::net::recvmsg(
                self.socket.as_fd(),
                &mut [IoSliceMut::new(&mut text)],
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            );
            let Ok(received) = received else { return heard };
            let mut descriptors = Vec::new();
            for message in ancillary.drain() {
                if let RecvAncillaryMessage::ScmRights(rights) = message {
                    descriptors.extend(rights);
                }
            }
            let text = String::from_utf8(text[..received.bytes].to_vec()).unwrap();
            heard.push((text, descriptors));
        }
    }

    fn texts(&self) -> Vec<String> {
        self.heard().into_iter().map(|(text, _)| text).collect()
    }
}

#[test]
fn states_are_told_in_the_managers_words() {
    let manager = Manager::new("states");
    let line = manager.line();
    assert!(line.is_connected());
    assert_eq!(line.watchdog_interval(), Some(Duration::from_secs(15)));
    line.status("serving 4 zones\nREADY=1");
    line.ready();
    line.watchdog();
    line.reloading();
    line.stopping();
    let texts = manager.texts();
    let (reloading, said): (Vec<_>, Vec<_>) = texts
        .iter()
        .map(String::as_str)
        .partition(|text| text.starts_with("RELOADING"));
    assert_eq!(
        said,
        // A line break cannot smuggle in another assignment.
        [
            "STATUS=serving 4 zones READY=1",
            "READY=1",
            "WATCHDOG=1",
            "STOPPING=1"
        ]
    );
    let microseconds = reloading[0]
        .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
        .unwrap();
    assert!(microseconds.parse::<u64>().unwrap() > 0);
}

#[test]
fn what_is_said_waits_for_a_manager_that_is_slow_and_not_for_one_that_is_deaf() {
    let manager = Manager::new("slow");
    let line = manager.line();
    // More than the kernel holds for a manager (net.unix.max_dgram_qlen, at least 10).
    let lines = 600;
    let slow = std::thread::spawn(move || {
        let mut heard = Vec::new();
        while heard.last().is_none_or(|text| text != "READY=1") {
            std::thread::sleep(Duration::from_millis(20));
            heard.extend(manager.texts());
        }
        (heard, manager)
    });
    for _ in 0..lines {
        line.watchdog();
    }
    line.ready();
    let (heard, manager) = slow.join().unwrap();
    assert_eq!(heard.len(), lines + 1);

    let since = std::time::Instant::now();
    for _ in 0..2 * lines {
        line.watchdog();
    }
    assert!(since.elapsed() < Duration::from_secs(5), "{since:?}");
    // Whoever reads again is told again.
    manager.texts();
    line.stopping();
    assert_eq!(manager.texts(), ["STOPPING=1"]);
}

#[test]
fn a_path_does_as_well_and_without_a_manager_nothing_happens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let line = Notify::connect(path.to_str().unwrap().as_bytes(), None).unwrap();
    line.ready();
    let mut text = [0; 64];
    let read = socket.recv(&mut text).unwrap();
    assert_eq!(&text[..read], b"READY=1");
    assert_eq!(line.watchdog_interval(), None);

    drop(socket);
    line.ready();
    Notify::default().ready();
    assert!(Notify::connect(b"vsock:2:1", None).is_err());
    assert!(Notify::connect(b"/nowhere/at/all", None).is_err());
}

#[tokio::test]
async fn sockets_are_kept_over_a_restart_of_the_process() {
    let manager = Manager::new("restart");
    let config = NetConfig::default();
    let folder = tempfile::tempdir().unwrap();
    let unix = ListenAddr::Unix(folder.path().join("admin.sock"));

    let net = Net::with(&config, Passed::default(), manager.line());
    let tcp = address(&net.listen("web", &loopback()).unwrap());
    drop(net.listen("admin", &unix).unwrap());
    let group = net
        .datagrams("dns", "127.0.0.1:0".parse().unwrap(), 2)
        .unwrap();
    let udp = group[0].local_address();
    let stored = manager.heard();
    assert_eq!(stored.len(), 4);
    let mut kept = Vec::new();
    for (text, mut descriptors) in stored {
        let name = text.strip_prefix("FDSTORE=1\nFDNAME=").unwrap().to_owned();
        assert!(!name.contains([':', '\n']), "{name}");
        kept.push((descriptors.remove(0), name));
    }
    drop((net, group));

    // Nobody runs, and nobody is refused.
    let mut client = soon(TcpStream::connect(tcp)).await.unwrap();
    client.write_all(b"early").await.unwrap();
    let asking = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    asking.send_to(b"early", udp).await.unwrap();

    let net = Net::with(&config, Passed::from_descriptors(kept), manager.line());
    let listener = net.listen("web", &ListenAddr::Ip(tcp)).unwrap();
    let mut accepted = soon(listener.accept()).await;
    let mut bytes = [0; 5];
    accepted.socket.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"early");

    drop(net.listen("admin", &unix).unwrap());
    let group = net.datagrams("dns", udp, 2).unwrap();
    let mut inward = ReceiveBatch::new(4, 64);
    let waiting = async {
        loop {
            for socket in &group {
                if socket.receive(&mut inward).is_ok() {
                    return;
                }
            }
            tokio::task::yield_now().await;
        }
    };
    soon(waiting).await;
    assert_eq!(inward.iter().next().unwrap().0, b"early");
    assert!(inward.iter().next().unwrap().2.is_some());

    // All were adopted: there is nothing left to close.
    net.close_unclaimed();
    assert!(
        !manager
            .texts()
            .iter()
            .any(|text| text.starts_with("FDSTOREREMOVE"))
    );
    assert!(net.release("web", Transport::Stream, &ListenAddr::Ip(tcp)));
    assert_eq!(manager.texts().len(), 1);
}

#[tokio::test]
async fn what_nobody_asks_for_is_closed() {
    let manager = Manager::new("unclaimed");
    let old = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = old.local_addr().unwrap();
    let passed = Passed::from_descriptors([(OwnedFd::from(old), "old.socket".to_owned())]);
    let net = Net::with(&NetConfig::default(), passed, manager.line());
    drop(net.listen("web", &loopback()).unwrap());
    manager.texts();
    net.close_unclaimed();
    assert_eq!(manager.texts(), ["FDSTOREREMOVE=1\nFDNAME=old.socket"]);
    assert!(soon(TcpStream::connect(place)).await.is_err());
}

#[tokio::test]
async fn a_surplus_of_a_group_is_given_back() {
    let manager = Manager::new("surplus");
    let config = NetConfig::default();
    let net = Net::with(&config, Passed::default(), manager.line());
    let place = net
        .datagrams("dns", "127.0.0.1:0".parse().unwrap(), 4)
        .unwrap()[0]
        .local_address();
    let kept: Vec<_> = manager
        .heard()
        .into_iter()
        .map(|(text, mut fds)| (fds.remove(0), text.rsplit_once('=').unwrap().1.to_owned()))
        .collect();
    drop(net);
    let net = Net::with(&config, Passed::from_descriptors(kept), manager.line());
    assert_eq!(net.datagrams("dns", place, 3).unwrap().len(), 3);
    let removed = manager.texts();
    assert_eq!(removed.len(), 1, "{removed:?}");
    assert!(
        removed[0].starts_with("FDSTOREREMOVE=1\nFDNAME=datagram-"),
        "{removed:?}"
    );
}

#[test]
fn what_is_no_listening_socket_is_not_taken() {
    let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let file = tempfile::tempfile().unwrap();
    let passed = Passed::from_descriptors([
        (OwnedFd::from(one), "stream".to_owned()),
        (OwnedFd::from(file), "file".to_owned()),
    ]);
    assert!(passed.is_empty());
}

/// The real thing: systemd's own tool opens the port, and starts us when somebody comes.
#[test]
fn a_socket_unit_hands_over_its_socket() {
    let place = crate::support::free_place([127, 81, 1, 2]);
    let mut unit = std::process::Command::new("systemd-socket-activate")
        .args(["-l", &place.to_string(), "-E", &format!("{PLACE}={place}")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "manager::activated"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let start = std::time::Instant::now();
    let mut client = loop {
        match std::net::TcpStream::connect(place) {
            Ok(client) => break client,
            Err(error) => assert!(start.elapsed() < crate::support::LONG, "{error}"),
        }
        #[allow(clippy::disallowed_methods)] // Waits for another process, on a thread of its own.
        std::thread::sleep(Duration::from_millis(10));
    };
    client.set_read_timeout(Some(crate::support::LONG)).unwrap();
    let mut greeting = String::new();
    std::io::Read::read_to_string(&mut client, &mut greeting).unwrap();
    assert_eq!(greeting, "from the passed socket");
    assert!(unit.wait().unwrap().success());
}

const PLACE: &str = "OMNID_NET_TEST_PLACE";

/// Does nothing unless started by the test above.
#[tokio::test]
async fn activated() {
    let Some(place) = std::env::var_os(PLACE) else {
        return;
    };
    let place = place.to_str().unwrap().parse().unwrap();
    let net = Net::new(&NetConfig::default());
    let listener = net.listen("web", &place).unwrap();
    let mut accepted = soon(listener.accept()).await;
    accepted
        .socket
        .write_all(b"from the passed socket")
        .await
        .unwrap();
    accepted.socket.shutdown().await.unwrap();
}
