//! RTP relayed between two ends: omnid's relay, plain and from SRTP, a bare epoll loop that does
//! nothing but receive and send, and rtpengine without its kernel module, in turns. And music played
//! to as many ends, with how evenly it comes.
//!
//! `cargo bench -p omnid-media` (needs Debian's rtpengine-daemon). `OMNID_BENCH_SESSIONS=500` for
//! another number of calls than 100, `OMNID_BENCH_SECONDS` for how long each is loaded.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    mem::MaybeUninit,
    net::{SocketAddr, UdpSocket},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use omnid_media::{
    Media, Settings,
    audio::{Coding, sound::Sound, tone},
    engine::{
        Remote, Repeat, Side, Voice,
        srtp::{GROWTH, MasterKey, Protector, Secure, Suite},
    },
    wire::{rtp::Header, sdp::Sdp},
};
use rustix::event::epoll;

/// Which server this process is, when it was started by itself.
const ROLE: &str = "OMNID_BENCH_ROLE";
const FRAME: Duration = Duration::from_millis(20);
/// What 20 ms of G.711 take.
const PAYLOAD: usize = 160;

fn main() {
    match env::var(ROLE).as_deref() {
        Ok(role @ ("omnid" | "secret" | "player")) => omnid(role.to_owned()),
        Ok("bare") => bare(),
        _ => compare(),
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    let value = env::var(name).ok();
    value.map_or(otherwise, |value| value.parse().unwrap())
}

/// A description of one end, as both we and rtpengine read it.
fn description(address: SocketAddr) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n",
        ip = address.ip(),
        port = address.port(),
    )
}

// The servers: each reads lines of two addresses and answers each with the two ports that relay
// between them.

fn ends() -> impl Iterator<Item = [SocketAddr; 2]> {
    std::io::stdin().lock().lines().map(|line| {
        let line = line.unwrap();
        let (a, b) = line.split_once(' ').unwrap();
        [a.parse().unwrap(), b.parse().unwrap()]
    })
}

/// The key that all use: nothing here is secret.
fn key() -> MasterKey {
    MasterKey::new(Suite::AesCm128HmacSha1_80, &[7; 30]).unwrap()
}

#[tokio::main(worker_threads = 2)]
async fn omnid(role: String) {
    let (sender, mut events) = tokio::sync::mpsc::channel(1024);
    let (media, shards) = Media::new(Settings::default(), &sender).unwrap();
    for shard in shards {
        tokio::spawn(async move { shard.run().await.unwrap() });
    }
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    let serve = move || {
        let mut sessions = Vec::new();
        let music = Sound::new(tone::plain(440, 1000));
        for [a, b] in ends() {
            let session = match role.as_str() {
                "player" => media.allocate_end(a.ip(), None).unwrap(),
                _ => media.allocate([a.ip(), b.ip()]).unwrap(),
            };
            if role == "secret" {
                let secure = Secure::new(&key(), &key());
                session.set_secure(Side::A, secure).unwrap();
            }
            let described = if role == "player" { 1 } else { 2 };
            for (side, end) in [(Side::A, a), (Side::B, b)].into_iter().take(described) {
                let sdp: Sdp = description(end).parse().unwrap();
                let remote = Remote::from_sdp(&sdp, 0, None).unwrap();
                session.set_remote(side, remote).unwrap();
            }
            if role == "player" {
                let voice = Voice {
                    coding: Coding::Pcmu,
                    send: 0,
                    receive: 0,
                    events: None,
                };
                session.set_voice(Side::A, Some(voice)).unwrap();
                session
                    .play(Side::A, music.clone(), Repeat::ForEver)
                    .unwrap();
            }
            println!("{} {}", session.local(Side::A), session.local(Side::B));
            sessions.push(session);
        }
    };
    tokio::task::spawn_blocking(serve).await.unwrap();
}

fn bare() {
    let set = Arc::new(epoll::create(epoll::CreateFlags::CLOEXEC).unwrap());
    let (sender, receiver) = std::sync::mpsc::channel::<[(UdpSocket, SocketAddr); 2]>();
    let watched = set.clone();
    thread::spawn(move || {
        let mut relays = Vec::new();
        let mut buffer = [0; 2048];
        loop {
            let mut found = [MaybeUninit::uninit(); 128];
            let (found, _) = epoll::wait(&watched, &mut found, None).unwrap();
            relays.extend(receiver.try_iter());
            for event in found.iter() {
                let number = { event.data }.u64() as usize;
                let (from, to) = (
                    &relays[number / 2][number % 2],
                    &relays[number / 2][1 - number % 2],
                );
                let (length, _) = from.0.recv_from(&mut buffer).unwrap();
                to.0.send_to(&buffer[..length], to.1).unwrap();
            }
        }
    });
    for (index, [a, b]) in (0..).zip(ends()) {
        let pair = [a, b].map(|end| (UdpSocket::bind((end.ip(), 0)).unwrap(), end));
        let [(a, _), (b, _)] = &pair;
        let (a, b) = (a.try_clone().unwrap(), b.try_clone().unwrap());
        sender.send(pair).unwrap();
        for (place, socket) in (0..).zip([&a, &b]) {
            let data = epoll::EventData::new_u64(index * 2 + place);
            epoll::add(&*set, socket, data, epoll::EventFlags::IN).unwrap();
        }
        println!("{} {}", a.local_addr().unwrap(), b.local_addr().unwrap());
    }
}

// The load.

/// Somebody who relays, and how to have a relay of him.
struct Server {
    name: &'static str,
    child: Child,
    relay: Box<dyn FnMut([SocketAddr; 2]) -> [SocketAddr; 2]>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// This program once more, as a server.
fn own(name: &'static str) -> Server {
    let mut child = Command::new(env::current_exe().unwrap())
        .env(ROLE, name)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let relay = move |[a, b]: [SocketAddr; 2]| {
        writeln!(input, "{a} {b}").unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let (a, b) = line.trim().split_once(' ').unwrap();
        [a.parse().unwrap(), b.parse().unwrap()]
    };
    Server {
        name,
        child,
        relay: Box::new(relay),
    }
}

fn rtpengine() -> Server {
    let control = UdpSocket::bind("127.0.0.1:0").unwrap();
    control
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let free = UdpSocket::bind("127.0.0.1:0").unwrap();
    let listen = free.local_addr().unwrap();
    drop(free);
    let child = Command::new("rtpengine")
        .args([
            "--foreground",
            "--table=-1",
            "--log-stderr",
            "--log-level=3",
        ])
        .args([
            "--interface=127.0.0.1",
            "--port-min=40000",
            "--port-max=50000",
        ])
        .arg(format!("--listen-ng={listen}"))
        .stderr(Stdio::null())
        .spawn()
        .expect("rtpengine, of Debian's rtpengine-daemon");
    control.connect(listen).unwrap();
    let mut call = 0;
    // Its control protocol: a cookie and a dictionary in bencode.
    let ask = move |command: &str, call: u64, sdp: &str| -> String {
        let mut fields = vec![
            ("call-id", format!("call{call}")),
            ("command", command.to_owned()),
            ("from-tag", "a".to_owned()),
            ("sdp", sdp.to_owned()),
        ];
        if command == "answer" {
            fields.push(("to-tag", "b".to_owned()));
        }
        let mut text = format!("{call}{command} d");
        for (key, value) in fields {
            text.push_str(&format!("{}:{key}{}:{value}", key.len(), value.len()));
        }
        text.push('e');
        let mut buffer = [0; 4096];
        for _ in 0..20 {
            // While it starts, nobody listens.
            if control.send(text.as_bytes()).is_ok()
                && let Ok(length) = control.recv(&mut buffer)
            {
                return String::from_utf8(buffer[..length].to_vec()).unwrap();
            }
            thread::sleep(Duration::from_millis(100));
        }
        panic!("rtpengine does not answer");
    };
    let port = |reply: &str| -> SocketAddr {
        let line = reply
            .split("m=audio ")
            .nth(1)
            .unwrap_or_else(|| panic!("{reply}"));
        let port = line.split(' ').next().unwrap().parse().unwrap();
        SocketAddr::from(([127, 0, 0, 1], port))
    };
    let relay = move |[a, b]: [SocketAddr; 2]| {
        call += 1;
        // What B is told is where it sends to, and the other way round.
        let for_b = port(&ask("offer", call, &description(a)));
        let for_a = port(&ask("answer", call, &description(b)));
        [for_a, for_b]
    };
    Server {
        name: "rtpengine",
        child,
        relay: Box::new(relay),
    }
}

/// User and system time of a process, in seconds.
fn cpu(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = text.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}

fn memory_kib(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find(|line| line.starts_with("Pss:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

struct Figure {
    packets: u64,
    lost: u64,
    micros: f64,
    p50: Duration,
    p99: Duration,
    kib_per_call: f64,
}

fn load(server: &mut Server, sessions: u64, duration: Duration) -> Figure {
    let pid = server.child.id();
    let secret = server.name == "secret";
    let set = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let mut phones = Vec::new();
    let mut empty = 0;
    for index in 0..sessions {
        let pair = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let ports = (server.relay)([0, 1].map(|side: usize| pair[side].local_addr().unwrap()));
        if index == 0 {
            empty = memory_kib(pid);
        }
        for (socket, port) in pair.into_iter().zip(ports) {
            socket.connect(port).unwrap();
            let data = epoll::EventData::new_u64(phones.len() as u64);
            epoll::add(&set, &socket, data, epoll::EventFlags::IN).unwrap();
            phones.push(socket);
        }
    }
    let phones = Arc::new(phones);
    let began = Instant::now();
    let over = Arc::new(AtomicBool::new(false));
    let sent = Arc::new(AtomicU64::new(0));
    let sender = {
        let (phones, over, sent) = (phones.clone(), over.clone(), sent.clone());
        thread::spawn(move || {
            let mut packet = [0xff; 12 + PAYLOAD + GROWTH];
            let protectors = phones.iter().map(|_| Protector::new(&key()).unwrap());
            let mut protectors: Vec<_> = protectors.collect();
            for frame in 0u32.. {
                // Phones do not send all at once: each has its own place within the 20 ms.
                for (index, phone) in phones.iter().enumerate() {
                    let place = FRAME * index as u32 / phones.len() as u32;
                    let due = began + FRAME * frame + place;
                    if let Some(wait) = due.checked_duration_since(Instant::now()) {
                        thread::sleep(wait);
                    }
                    let header = Header {
                        sequence: frame as u16,
                        timestamp: frame.wrapping_mul(PAYLOAD as u32),
                        ssrc: index as u32 + 1,
                        ..Header::default()
                    };
                    packet[..12].copy_from_slice(&header.to_bytes());
                    packet[12..].fill(0xff);
                    let now = began.elapsed().as_nanos() as u64;
                    packet[12..20].copy_from_slice(&now.to_be_bytes());
                    let mut length = 12 + PAYLOAD;
                    if secret && index % 2 == 0 {
                        length = protectors[index].rtp(&mut packet, length).unwrap();
                    }
                    if phone.send(&packet[..length]).is_ok() {
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                }
                if over.load(Ordering::Relaxed) {
                    return;
                }
            }
        })
    };
    let mut buffer = [0; 2048];
    let mut arrived = 0;
    let mut receive = |delays: &mut Vec<u64>, arrived: &mut u64| {
        let wait = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 50_000_000,
        };
        let mut found = [MaybeUninit::uninit(); 128];
        let (found, _) = epoll::wait(&set, &mut found, Some(&wait)).unwrap();
        for event in found.iter() {
            let phone = &phones[{ event.data }.u64() as usize];
            let Ok(length) = phone.recv(&mut buffer) else {
                continue;
            };
            *arrived += u64::from(length >= 12 + PAYLOAD);
            // What came secret cannot be read here.
            if length == 12 + PAYLOAD {
                let then = u64::from_be_bytes(buffer[12..20].try_into().unwrap());
                delays.push((began.elapsed().as_nanos() as u64).saturating_sub(then));
            }
        }
        !found.is_empty()
    };
    // A second to latch and to settle, which is not counted.
    let mut delays = Vec::new();
    while began.elapsed() < Duration::from_secs(1) {
        receive(&mut delays, &mut arrived);
    }
    delays.clear();
    arrived = 0;
    let (cpu_before, sent_before, since) = (cpu(pid), sent.load(Ordering::Relaxed), Instant::now());
    while since.elapsed() < duration {
        receive(&mut delays, &mut arrived);
    }
    let (cpu_after, sent_after) = (cpu(pid), sent.load(Ordering::Relaxed));
    let (counted, timed) = (arrived, delays.len());
    let memory = memory_kib(pid);
    over.store(true, Ordering::Relaxed);
    sender.join().unwrap();
    while receive(&mut delays, &mut arrived) {}
    let all = sent.load(Ordering::Relaxed) - sent_before;
    let lost = all.saturating_sub(arrived);
    delays.truncate(timed);
    delays.sort_unstable();
    let percentile = |share: f64| {
        let index = (delays.len() as f64 * share) as usize;
        Duration::from_nanos(delays.get(index).copied().unwrap_or(0))
    };
    Figure {
        packets: counted,
        lost,
        micros: (cpu_after - cpu_before) * 1e6 / (sent_after - sent_before).max(1) as f64,
        p50: percentile(0.5),
        p99: percentile(0.99),
        kib_per_call: memory.saturating_sub(empty) as f64 / sessions as f64,
    }
}

fn compare() {
    let sessions = number("OMNID_BENCH_SESSIONS", 100);
    let duration = Duration::from_secs(number("OMNID_BENCH_SECONDS", 10));
    println!("{sessions} calls of G.711, {} s each", duration.as_secs());
    println!("server        packets    lost  µs/packet    p50 µs    p99 µs  KiB/call");
    for _ in 0..number("OMNID_BENCH_ROUNDS", 3) {
        let servers: [fn() -> Server; 4] =
            [|| own("bare"), || own("omnid"), || own("secret"), rtpengine];
        for server in servers {
            let mut server = server();
            let figure = load(&mut server, sessions, duration);
            println!(
                "{:<10} {:>10} {:>7} {:>10.2} {:>9} {:>9} {:>9.1}",
                server.name,
                figure.packets,
                figure.lost,
                figure.micros,
                figure.p50.as_micros(),
                figure.p99.as_micros(),
                figure.kib_per_call,
            );
        }
    }
    played(sessions, duration);
}

/// Music to as many ends: what a packet costs, and how far from 20 ms behind the last it comes.
fn played(sessions: u64, duration: Duration) {
    let mut server = own("player");
    let set = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let mut phones = Vec::new();
    for index in 0..sessions {
        let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = phone.local_addr().unwrap();
        (server.relay)([address, address]);
        let data = epoll::EventData::new_u64(index);
        epoll::add(&set, &phone, data, epoll::EventFlags::IN).unwrap();
        phones.push((phone, None::<Instant>));
    }
    let pid = server.child.id();
    let (before, since) = (cpu(pid), Instant::now());
    let (mut off, mut buffer) = (Vec::new(), [0; 2048]);
    while since.elapsed() < duration {
        let mut found = [MaybeUninit::uninit(); 128];
        let (found, _) = epoll::wait(&set, &mut found, None).unwrap();
        for event in found.iter() {
            let (phone, last) = &mut phones[{ event.data }.u64() as usize];
            phone.recv(&mut buffer).unwrap();
            let now = Instant::now();
            if let Some(last) = last.replace(now) {
                off.push((now - last).abs_diff(FRAME).as_micros());
            }
        }
    }
    let micros = (cpu(pid) - before) * 1e6 / off.len() as f64;
    off.sort_unstable();
    let percentile = |share: f64| off[(off.len() as f64 * share) as usize];
    println!(
        "music to {sessions} ends: {} packets, {micros:.2} µs/packet; off 20 ms by p50 {} µs, p99 {} µs, p99.9 {} µs",
        off.len(),
        percentile(0.5),
        percentile(0.99),
        percentile(0.999),
    );
}
