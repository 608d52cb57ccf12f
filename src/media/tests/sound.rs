//! Sound over real sockets: what is played is recognised where it arrives, by its tones.

use std::{io::Cursor, sync::Arc, time::Duration};

use super::ports::{Phone, World};
use crate::{
    Channels, ConferenceId, Event, Recorder, Session, Settings,
    audio::{Coding, Decoder, share_of, sound::Sound, tone, wav},
    engine::{Remote, Repeat, Side, Voice, relay},
    wire::rtp::{Header, Packet},
};

const VOICE: Voice = Voice {
    coding: Coding::Pcmu,
    send: 0,
    receive: 0,
    events: None,
};

impl Phone {
    /// Says a tone: one frame of it.
    fn say(&self, session: &Session, side: Side, frequency: u16, index: u16) {
        let samples = tone::plain(frequency, 1000);
        let frame = usize::from(index) % 50 * 160;
        let mut payload = Vec::new();
        Coding::Pcmu.encode(&samples[frame..frame + 160], &mut payload);
        let header = Header {
            sequence: index,
            timestamp: u32::from(index) * 160,
            ssrc: u32::from(frequency),
            ..Header::default()
        };
        let packet = [header.to_bytes().as_slice(), &payload].concat();
        self.0.send_to(&packet, session.local(side)).unwrap();
    }

    /// Hears so many frames.
    fn hear(&self, frames: usize) -> Vec<i16> {
        let (mut samples, mut buffer) = (Vec::new(), [0; 500]);
        for _ in 0..frames {
            let length = self.0.recv(&mut buffer).unwrap();
            let packet = Packet::parse(&buffer[..length]).unwrap();
            Coding::Pcmu.decode(packet.payload, &mut samples);
        }
        samples
    }

    /// Talks in a steady tone from a thread of its own, at a phone's pace, until it is dropped.
    fn talk(self: &Arc<Self>, session: &Session, frequency: u16) -> Talk {
        let (phone, local) = (self.clone(), session.local(Side::A));
        let socket = phone.0.try_clone().unwrap();
        let (over, ended) = std::sync::mpsc::channel::<()>();
        std::thread::spawn(move || {
            let samples = tone::plain(frequency, 1000);
            for index in 0u16.. {
                let frame = usize::from(index) % 50 * 160;
                let mut payload = Vec::new();
                Coding::Pcmu.encode(&samples[frame..frame + 160], &mut payload);
                let header = Header {
                    sequence: index,
                    timestamp: u32::from(index) * 160,
                    ssrc: u32::from(frequency),
                    ..Header::default()
                };
                let packet = [header.to_bytes().as_slice(), &payload].concat();
                socket.send_to(&packet, local).unwrap();
                let pace = Duration::from_millis(20);
                if ended.recv_timeout(pace) == Err(std::sync::mpsc::RecvTimeoutError::Disconnected)
                {
                    return;
                }
            }
        });
        Talk(over)
    }

    /// Listens until it has heard these tones, and only these, for a while: the world's machine
    /// may be slow, so that it begins anew until it succeeds.
    fn recognises(&self, wanted: &[u16], others: &[u16]) {
        let mut last = String::new();
        for _ in 0..40 {
            let samples = self.hear(10);
            let share = |frequency: &u16| share_of(f32::from(*frequency), &samples);
            let least = 0.6 / wanted.len() as f32;
            last = format!(
                "{:?} {:?}",
                wanted.iter().map(share).collect::<Vec<_>>(),
                others.iter().map(share).collect::<Vec<_>>()
            );
            if wanted.iter().all(|tone| share(tone) > least)
                && others.iter().all(|tone| share(tone) < 0.05)
            {
                return;
            }
        }
        panic!("never heard {wanted:?} without {others:?}: {last}");
    }
}

struct Talk(#[allow(dead_code)] std::sync::mpsc::Sender<()>);

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_is_heard_whole_and_its_end_is_told() {
    let mut world = World::new(Settings::default());
    let session = world.end(None);
    let phone = Phone::new();
    session.set_remote(Side::A, phone.remote()).unwrap();
    session.set_voice(Side::A, Some(VOICE)).unwrap();
    let prompt = Sound::new([tone::plain(600, 200), tone::plain(1200, 200)].concat());
    session.play(Side::A, prompt, Repeat::Once).unwrap();
    let heard = blocking(move || phone.hear(20)).await;
    assert!(share_of(600.0, &heard[..1600]) > 0.98);
    assert!(share_of(1200.0, &heard[1600..]) > 0.98);
    match world.event().await {
        Event::Played(id, Side::A) => assert_eq!(id, session.id()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn music_takes_the_other_ends_place_while_it_plays() {
    let world = World::new(Settings::default());
    let session = world.session();
    let (alice, bob) = (Phone::new(), Phone::new());
    session.set_remote(Side::A, alice.remote()).unwrap();
    session.set_remote(Side::B, bob.remote()).unwrap();
    session.set_voice(Side::B, Some(VOICE)).unwrap();
    alice.say(&session, Side::A, 500, 1);
    let bob = blocking(move || {
        bob.hear(1);
        bob
    })
    .await;
    let music = Sound::new(tone::plain(900, 100));
    session.play(Side::B, music, Repeat::ForEver).unwrap();
    let (bob, heard) = blocking(move || {
        let heard = bob.hear(10);
        (bob, heard)
    })
    .await;
    assert!(share_of(900.0, &heard) > 0.98);
    // Alice talks into the music, and is not heard.
    for index in 2..10 {
        alice.say(&session, Side::A, 500, index);
    }
    let (bob, heard) = blocking(move || {
        let heard = bob.hear(20);
        (bob, heard)
    })
    .await;
    assert!(share_of(500.0, &heard) < 0.01);
    session.stop(Side::B).unwrap();
    // What was on its way comes; then Alice alone.
    blocking(move || {
        for index in 10..400 {
            alice.say(&session, Side::A, 500, index);
            let heard = bob.hear(1);
            if share_of(500.0, &heard) > 0.98 {
                return;
            }
        }
        panic!("Alice is not heard again");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_conference_each_hears_the_others_and_not_himself() {
    let world = World::new(Settings::default());
    let conference = ConferenceId(5);
    let tones = [500, 1000, 1500];
    let mut sessions = Vec::new();
    let mut members = Vec::new();
    for frequency in tones {
        let session = world.end(Some(conference));
        let phone = Arc::new(Phone::new());
        session.set_remote(Side::A, phone.remote()).unwrap();
        session.set_voice(Side::A, Some(VOICE)).unwrap();
        session.join(Some(conference)).unwrap();
        let talk = phone.talk(&session, frequency);
        sessions.push(session);
        members.push((phone, talk));
    }
    blocking(move || {
        for ((phone, _), own) in members.iter().zip(tones) {
            let others = tones.into_iter().filter(|tone| *tone != own);
            phone.recognises(&others.collect::<Vec<_>>(), &[own]);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_without_a_common_codec_hear_each_other() {
    let world = World::new(Settings::default());
    let session = world.session();
    let (alice, bob) = (Arc::new(Phone::new()), Phone::new());
    session.set_remote(Side::A, alice.remote()).unwrap();
    let other = Remote {
        payload_types: 1 << 9,
        ..bob.remote()
    };
    session.set_remote(Side::B, other).unwrap();
    session.set_voice(Side::A, Some(VOICE)).unwrap();
    let voice = Voice {
        coding: Coding::G722,
        send: 9,
        receive: 9,
        events: None,
    };
    session.set_voice(Side::B, Some(voice)).unwrap();
    session.transcode(true).unwrap();
    let talk = alice.talk(&session, 700);
    blocking(move || {
        let mut buffer = [0; 500];
        let mut decoder = Decoder::new(Coding::G722);
        for _ in 0..40 {
            let mut samples = Vec::new();
            for _ in 0..10 {
                let length = bob.0.recv(&mut buffer).unwrap();
                let packet = Packet::parse(&buffer[..length]).unwrap();
                assert_eq!(packet.header.payload_type, 9);
                decoder.decode(packet.payload, &mut samples);
            }
            if share_of(700.0, &samples) > 0.9 {
                return;
            }
        }
        panic!("Bob never heard Alice");
    })
    .await;
    drop(talk);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_holds_both_ends_each_on_its_side() {
    let file = tempfile();
    let world = World::new(Settings::default());
    let session = world.session();
    let (alice, bob) = (Arc::new(Phone::new()), Phone::new());
    session.set_remote(Side::A, alice.remote()).unwrap();
    session.set_remote(Side::B, bob.remote()).unwrap();
    for side in Side::BOTH {
        session.set_voice(side, Some(VOICE)).unwrap();
    }
    let (recorder, written) = Recorder::new(file.clone(), Channels::Both);
    session.record(Some(recorder)).unwrap();
    let talk = alice.talk(&session, 700);
    // The relay goes on: Bob hears Alice.
    let bob = blocking(move || {
        bob.recognises(&[700], &[]);
        bob
    })
    .await;
    drop(bob);
    drop(session);
    tokio::time::timeout(super::ports::LIMIT, written)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    drop(talk);
    let bytes = file.0.lock().unwrap().get_ref().clone();
    let mut reader = hound::WavReader::new(Cursor::new(bytes.clone())).unwrap();
    assert_eq!(reader.spec().channels, 2);
    let samples: Vec<i16> = reader.samples().map(Result::unwrap).collect();
    let side =
        |first: usize| -> Vec<i16> { samples.iter().skip(first).step_by(2).copied().collect() };
    assert!(
        side(1).iter().all(|sample| *sample == 0),
        "Bob said nothing"
    );
    let (a, least) = (side(0), 800);
    assert!(a.len() > least);
    let best = a.chunks(least).map(|part| share_of(700.0, part));
    assert!(best.fold(0.0, f32::max) > 0.9);
    assert!(wav::read(&bytes[..]).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_pressed_as_tones_are_told() {
    let mut world = World::new(Settings::default());
    let session = world.end(None);
    let phone = Phone::new();
    session.set_remote(Side::A, phone.remote()).unwrap();
    session.set_voice(Side::A, Some(VOICE)).unwrap();
    session.detect_keys(Side::A, true).unwrap();
    let mut said = vec![0; 1600];
    for key in "42#".chars() {
        said.extend(tone::key(key, 120).unwrap());
        said.extend([0; 800]);
    }
    let mut payload = Vec::new();
    Coding::Pcmu.encode(&said, &mut payload);
    let local = session.local(Side::A);
    // All within the jitter buffer's two seconds, so that no pace decides.
    for (index, frame) in (0u16..).zip(payload.chunks(160)) {
        let header = Header {
            sequence: index,
            timestamp: u32::from(index) * 160,
            ssrc: 3,
            ..Header::default()
        };
        let packet = [header.to_bytes().as_slice(), frame].concat();
        phone.0.send_to(&packet, local).unwrap();
    }
    let mut keys = String::new();
    while keys.len() < 3 {
        match world.event().await {
            Event::Ends(_, relay::Event::Key(Side::A, key, _)) => keys.push(key),
            Event::Ends(_, relay::Event::Locked(..)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(keys, "42#");
}

/// A file in memory that two may look at.
#[derive(Clone)]
struct Shared(Arc<std::sync::Mutex<Cursor<Vec<u8>>>>);

fn tempfile() -> Shared {
    Shared(Arc::new(std::sync::Mutex::new(Cursor::new(Vec::new()))))
}

impl std::io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl std::io::Seek for Shared {
    fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
        self.0.lock().unwrap().seek(to)
    }
}
