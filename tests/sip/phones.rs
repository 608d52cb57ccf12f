//! baresip calls baresip: what one plays is what the other hears.

use std::{
    f64::consts::TAU,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{DOMAIN, LIMIT, Stage, is_bound, password};
use crate::support::{Background, free_port, free_ports, wait_until};

/// Samples a second, as G.711 has them.
const RATE: usize = 8000;

/// A soft phone without a sound card: it plays a tone, and writes down what it hears.
struct Baresip {
    process: Background,
    directory: PathBuf,
    control: u16,
}

impl Baresip {
    /// Starts it; it registers over `transport`, and answers by itself if it is to.
    fn start(stage: &Stage, user: &str, transport: &str, tone: f64, answers: bool) -> Self {
        let directory = stage.daemon.path(&format!("baresip-{user}-{transport}"));
        fs::create_dir_all(&directory).unwrap();
        // The port after the one it is given is its port for TLS.
        let sip = free_ports(2);
        let control = free_port();
        let shown = directory.display();
        let media = 40_000 + (sip % 500) * 40;
        let authority = stage.daemon.path("data/tls/authority.pem");
        let server = if transport == "tls" {
            stage.tls
        } else {
            stage.port
        };
        write_tone(&directory.join("tone.wav"), tone, 30);
        let config = format!(
            "sip_listen 127.0.0.1:{sip}\nsip_cafile {}\naudio_path {shown}\n\
             audio_player aubridge,{user}\naudio_alert aubridge,{user}\n\
             audio_source aufile,{shown}/tone.wav\nsnd_path {shown}\n\
             ausrc_srate {RATE}\nauplay_srate {RATE}\nrtp_ports {media}-{}\n\
             module_path /usr/lib/baresip/modules\nmodule g711.so\nmodule aufile.so\n\
             module aubridge.so\nmodule sndfile.so\nmodule_tmp uuid.so\nmodule_tmp account.so\n\
             module_app menu.so\nmodule_app ctrl_tcp.so\nctrl_tcp_listen 127.0.0.1:{control}\n",
            authority.display(),
            media + 38,
        );
        let mode = if answers { "auto" } else { "manual" };
        let account = format!(
            "<sip:{user}@{DOMAIN};transport={transport}>;auth_pass={};regint=600;\
             outbound=\"sip:127.0.0.1:{server};transport={transport}\";answermode={mode};\
             audio_codecs=PCMU\n",
            password(user)
        );
        fs::write(directory.join("config"), config).unwrap();
        fs::write(directory.join("accounts"), account).unwrap();
        fs::write(directory.join("contacts"), "").unwrap();
        let log = directory.join("log");
        let arguments = ["-f", directory.to_str().unwrap(), "-s", "-v"];
        let process = Background::start("baresip", &arguments, &log);
        let address = format!("{user}@{DOMAIN}");
        wait_until("the phone registers", LIMIT, || {
            is_bound("tcp", control)
                && stage
                    .registrations()
                    .iter()
                    .any(|row| row["address"] == *address && row["transport"] == *transport)
        });
        Self {
            process,
            directory,
            control,
        }
    }

    /// Gives it a command, such as `dial`.
    fn command(&self, command: &str, parameters: &str) {
        use std::io::{Read, Write};
        let text =
            format!("{{\"command\":\"{command}\",\"params\":\"{parameters}\",\"token\":\"t\"}}");
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.control)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        // A netstring, which it wants whole.
        let netstring = format!("{}:{text},", text.len());
        stream.write_all(netstring.as_bytes()).unwrap();
        // What happens meanwhile is told first.
        let mut answer = String::new();
        let mut buffer = [0; 4096];
        while !answer.contains("\"response\":true") {
            let length = stream.read(&mut buffer).unwrap();
            assert!(length > 0, "{command}: {answer}\n{}", self.log());
            answer += &String::from_utf8_lossy(&buffer[..length]);
        }
        assert!(answer.contains("\"ok\":true"), "{command}: {answer}");
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// What it has heard so far.
    fn heard(&self) -> Vec<f64> {
        let dump = fs::read_dir(&self.directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.to_str().unwrap().ends_with("-dec.wav"));
        let octets = dump.map(|path| fs::read(path).unwrap()).unwrap_or_default();
        octets
            .get(44..)
            .unwrap_or_default()
            .chunks_exact(2)
            .map(|sample| f64::from(i16::from_le_bytes([sample[0], sample[1]])))
            .collect()
    }

    /// Ends it, so that all it has heard is on the disk.
    fn hang_up_for_good(mut self) -> Vec<f64> {
        self.command("quit", "");
        wait_until("the phone ends", LIMIT, || {
            self.process.0.try_wait().unwrap().is_some()
        });
        self.heard()
    }
}

/// A WAV file with a sine.
fn write_tone(path: &Path, frequency: f64, seconds: usize) {
    let samples = RATE * seconds;
    let length = u32::try_from(samples * 2).unwrap();
    let mut octets = Vec::new();
    octets.extend_from_slice(b"RIFF");
    octets.extend_from_slice(&(length + 36).to_le_bytes());
    octets.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    octets.extend_from_slice(&8000_u32.to_le_bytes());
    octets.extend_from_slice(&16_000_u32.to_le_bytes());
    octets.extend_from_slice(b"\x02\0\x10\0data");
    octets.extend_from_slice(&length.to_le_bytes());
    for at in 0..samples {
        let sample = 8000.0 * (TAU * frequency * at as f64 / RATE as f64).sin();
        octets.extend_from_slice(&(sample as i16).to_le_bytes());
    }
    fs::write(path, octets).unwrap();
}

/// How much of the sound is that tone, from 0 to 1 (Goertzel).
fn share(sound: &[f64], frequency: f64) -> f64 {
    let turn = 2.0 * (TAU * frequency / RATE as f64).cos();
    let (mut last, mut before) = (0.0, 0.0);
    for sample in sound {
        (last, before) = (sample + turn * last - before, last);
    }
    let power = last * last + before * before - turn * last * before;
    let energy: f64 = sound.iter().map(|sample| sample * sample).sum();
    2.0 * power / (sound.len() as f64 * energy.max(1.0))
}

/// A call in which both are heard by the other.
fn talk(stage: &Stage, alice_over: &str, bob_over: &str) {
    let bob = Baresip::start(stage, "bob", bob_over, 880.0, true);
    let alice = Baresip::start(stage, "alice", alice_over, 440.0, false);
    alice.command("dial", &format!("sip:bob@{DOMAIN}"));
    wait_until("they talk", LIMIT, || {
        stage.calls().iter().any(|call| call["state"] == "talking")
    });
    wait_until("they hear each other for two seconds", LIMIT, || {
        alice.heard().len() > 2 * RATE && bob.heard().len() > 2 * RATE
    });
    alice.command("hangup", "");
    wait_until("the call is over", LIMIT, || stage.calls().is_empty());
    let (alice_log, bob_log) = (alice.log(), bob.log());
    for (who, heard, tone) in [
        ("alice", alice.hang_up_for_good(), 880.0),
        ("bob", bob.hang_up_for_good(), 440.0),
    ] {
        let middle = &heard[RATE / 2..(RATE * 3 / 2).min(heard.len())];
        assert!(
            share(middle, tone) > 0.9,
            "{who} does not hear the other but {:.2} and {:.2}\n{alice_log}\n{bob_log}",
            share(middle, 440.0),
            share(middle, 880.0),
        );
    }
    // They sign off as they end.
    wait_until("both are gone", LIMIT, || stage.registrations().is_empty());
}

#[test]
fn two_phones_hear_each_other_over_datagrams() {
    talk(&Stage::start(""), "udp", "udp");
}

#[test]
fn two_phones_hear_each_other_over_tls() {
    talk(&Stage::start(""), "tls", "tls");
}

#[test]
fn phones_on_different_transports_hear_each_other() {
    let stage = Stage::start("");
    talk(&stage, "tcp", "tls");
    talk(&stage, "tls", "udp");
}
