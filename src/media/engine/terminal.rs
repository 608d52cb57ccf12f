//! One end of a call that ends here: what it is told, and what it says.
//!
//! Every 20 ms it is first heard ([`Terminal::hear`]) and then spoken to ([`Terminal::speak`]).

use std::collections::VecDeque;

use crate::{
    audio::{
        Coding, Decoder, Encoder, FRAME, Frame,
        dtmf::Detector,
        jitter::{Heard, JitterBuffer},
        sound::Sound,
        tone,
    },
    wire::{
        event::{self, TelephoneEvent},
        rtcp::{self, ReportBlock, SenderInfo},
        rtp::{self, Header, Packet},
    },
};

/// How sound goes to and comes from this end, as offer and answer agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Voice {
    pub coding: Coding,
    /// The number to send it with.
    pub send: u8,
    /// The number that it comes with.
    pub receive: u8,
    /// The number to send telephone events with; without, keys are sent as their tones.
    pub events: Option<u8>,
}

/// Whether a sound is played once or for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    Once,
    ForEver,
}

/// Keys that may wait to be sent.
const MAX_KEYS: usize = 64;
/// Frames that a key lasts, that its end is repeated, and that lie between two keys: 100, 60, 60 ms.
const KEY: u16 = 5;
const ENDS: u16 = 3;
const PAUSE: u16 = 3;

#[derive(Debug)]
struct Playing {
    sound: Sound,
    next: usize,
    repeat: Repeat,
}

#[derive(Debug)]
struct Pressing {
    code: u8,
    timestamp: u32,
    frame: u16,
}

/// An end that ends here.
#[derive(Debug)]
pub struct Terminal {
    voice: Voice,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    /// The last frame was not sent, so that the next begins a spurt of talk.
    paused: bool,
    packets: u32,
    octets: u32,
    playing: Option<Playing>,
    keys: VecDeque<char>,
    pressing: Option<Pressing>,
    tones: Option<Playing>,
    jitter: JitterBuffer,
    detector: Option<Detector>,
    encoder: Encoder,
    decoder: Decoder,
    decoded: Vec<i16>,
    coded: Vec<u8>,
    heard: Frame,
    silent: bool,
}

impl Terminal {
    /// `random` makes the stream's source, and where its numbers begin.
    #[must_use]
    pub fn new(voice: Voice, random: [u32; 2]) -> Self {
        let [ssrc, start] = random;
        Self {
            voice,
            ssrc,
            sequence: start as u16,
            timestamp: start,
            paused: true,
            packets: 0,
            octets: 0,
            playing: None,
            keys: VecDeque::new(),
            pressing: None,
            tones: None,
            jitter: JitterBuffer::default(),
            detector: None,
            encoder: Encoder::new(voice.coding),
            decoder: Decoder::new(voice.coding),
            decoded: Vec::new(),
            coded: Vec::new(),
            heard: [0; FRAME],
            silent: true,
        }
    }

    /// Another agreement for the same stream: what is played and heard goes on.
    pub fn set_voice(&mut self, voice: Voice) {
        if voice.coding != self.voice.coding {
            self.encoder = Encoder::new(voice.coding);
            self.decoder = Decoder::new(voice.coding);
        }
        self.voice = voice;
    }

    /// Keys are heard as tones, or no more.
    pub fn detect_keys(&mut self, detect: bool) {
        self.detector = detect.then(Detector::default);
    }

    /// Plays a sound instead of what was played before.
    pub fn play(&mut self, sound: Sound, repeat: Repeat) {
        self.playing = Some(Playing {
            sound,
            next: 0,
            repeat,
        });
    }

    pub fn stop(&mut self) {
        self.playing = None;
    }

    /// Something is being said to this end by us, so that nobody else may.
    #[must_use]
    pub fn is_speaking(&self) -> bool {
        self.playing.is_some() || self.is_pressing()
    }

    fn is_pressing(&self) -> bool {
        self.pressing.is_some() || self.tones.is_some() || !self.keys.is_empty()
    }

    /// Presses keys, one after the other. What is no key is left out.
    pub fn press(&mut self, keys: &str) {
        let keys = keys.chars().filter(|key| event::code(*key).is_some());
        let room = MAX_KEYS.saturating_sub(self.keys.len());
        self.keys.extend(keys.take(room));
    }

    /// Takes a packet of this end's stream.
    pub fn receive(&mut self, datagram: &[u8]) {
        let Some(packet) = Packet::parse(datagram) else {
            return;
        };
        if packet.header.payload_type != self.voice.receive {
            return;
        }
        self.decoded.clear();
        self.decoder.decode(packet.payload, &mut self.decoded);
        let header = packet.header;
        self.jitter
            .insert(header.ssrc, header.timestamp, &self.decoded);
    }

    /// The next 20 ms of what this end says, and the keys in them.
    pub fn hear(&mut self, key: impl FnMut(char)) -> &Frame {
        self.silent = self.jitter.frame(&mut self.heard) == Heard::Silence;
        if let Some(detector) = &mut self.detector {
            detector.listen(&self.heard, key);
        }
        &self.heard
    }

    /// A report on what was sent and, by `block`, on what was received.
    pub fn report(&self, network_time: u64, block: Option<ReportBlock>, out: &mut Vec<u8>) {
        let sender = SenderInfo {
            ntp: network_time,
            timestamp: self.timestamp,
            packets: self.packets,
            octets: self.octets,
        };
        let sender = (self.packets > 0).then_some(&sender);
        rtcp::write_report(self.ssrc, sender, block.as_slice(), "omnid", out);
    }

    /// What [`Self::hear`] last gave.
    #[must_use]
    pub fn heard(&self) -> &Frame {
        &self.heard
    }

    /// The same, unless nothing has come for a while.
    #[must_use]
    pub fn said(&self) -> Option<&Frame> {
        (!self.silent).then_some(&self.heard)
    }

    /// The next packet for this end, if there is something to say: keys before sounds, and sounds
    /// before the `mix` of a conference.
    pub fn speak(&mut self, mix: Option<&Frame>, out: &mut [u8]) -> Spoken {
        let timestamp = self.timestamp;
        self.timestamp = timestamp.wrapping_add(FRAME as u32);
        let mut spoken = Spoken::default();
        spoken.length = match self.key(timestamp, out) {
            Some(length) => length,
            None => self.sound(timestamp, mix, out, &mut spoken),
        };
        self.paused = spoken.length.is_none();
        if let Some(length) = spoken.length {
            let payload = length.saturating_sub(rtp::HEADER) as u32;
            self.packets = self.packets.wrapping_add(1);
            self.octets = self.octets.wrapping_add(payload);
        }
        spoken
    }

    /// A packet about a key that is being pressed. The inner `None`: the pause behind it.
    #[allow(clippy::option_option)]
    fn key(&mut self, timestamp: u32, out: &mut [u8]) -> Option<Option<usize>> {
        if self.pressing.is_none() && self.tones.is_none() {
            let key = self.keys.pop_front()?;
            match self.voice.events {
                Some(_) => {
                    self.pressing = Some(Pressing {
                        code: event::code(key)?,
                        timestamp,
                        frame: 0,
                    });
                }
                None => {
                    let mut samples = tone::key(key, 20 * u32::from(KEY))?;
                    samples.resize(samples.len() + usize::from(PAUSE) * FRAME, 0);
                    self.tones = Some(Playing {
                        sound: Sound::new(samples),
                        next: 0,
                        repeat: Repeat::Once,
                    });
                }
            }
        }
        let (pressing, number) = (self.pressing.as_mut()?, self.voice.events?);
        let frame = pressing.frame;
        pressing.frame += 1;
        if frame >= KEY + ENDS {
            if frame + 1 >= KEY + ENDS + PAUSE {
                self.pressing = None;
            }
            return Some(None);
        }
        let event = TelephoneEvent {
            code: pressing.code,
            end: frame >= KEY,
            volume: 10,
            duration: (frame + 1).min(KEY) * FRAME as u16,
        };
        // All packets of one event have the timestamp of its beginning (RFC 4733 section 2.5.1).
        let header = Header {
            marker: frame == 0,
            payload_type: number,
            sequence: self.sequence,
            timestamp: pressing.timestamp,
            ssrc: self.ssrc,
        };
        self.sequence = self.sequence.wrapping_add(1);
        Some(header.write(&event.to_bytes(), out))
    }

    fn sound(
        &mut self,
        timestamp: u32,
        mix: Option<&Frame>,
        out: &mut [u8],
        spoken: &mut Spoken,
    ) -> Option<usize> {
        let header = Header {
            marker: self.paused,
            payload_type: self.voice.send,
            sequence: self.sequence,
            timestamp,
            ssrc: self.ssrc,
        };
        let coding = self.voice.coding;
        let playing = match &mut self.tones {
            Some(_) => &mut self.tones,
            None => &mut self.playing,
        };
        let length = if let Some(now) = playing {
            let length = header.write(now.sound.coded(coding, now.next)?, out);
            now.next += 1;
            if now.next >= now.sound.frames() {
                now.next = 0;
                if now.repeat == Repeat::Once {
                    spoken.finished = self.tones.is_none();
                    *(if spoken.finished {
                        &mut self.playing
                    } else {
                        &mut self.tones
                    }) = None;
                }
            }
            length
        } else {
            self.coded.clear();
            self.encoder.encode(mix?, &mut self.coded);
            header.write(&self.coded, out)
        };
        self.sequence = self.sequence.wrapping_add(1);
        length
    }
}

/// What [`Terminal::speak`] made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spoken {
    /// Length of the packet, where there is one.
    pub length: Option<usize>,
    /// With this packet, what was played has ended.
    pub finished: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::share_of;

    fn voice(coding: Coding, events: Option<u8>) -> Voice {
        Voice {
            coding,
            send: 8,
            receive: 8,
            events,
        }
    }

    /// Two terminals whose packets go straight from one to the other.
    struct Pair(Terminal, Terminal);

    impl Pair {
        fn new(events: Option<u8>) -> Self {
            let terminal = |random| Terminal::new(voice(Coding::Pcma, events), random);
            Self(terminal([1, 77]), terminal([2, u32::MAX - 300]))
        }

        /// What the second hears in so many frames of what the first says, its packets, its keys.
        fn run(&mut self, frames: usize) -> (Vec<i16>, Vec<Vec<u8>>, String) {
            let (mut heard, mut packets, mut keys) = (Vec::new(), Vec::new(), String::new());
            for _ in 0..frames {
                let mut out = [0; 200];
                if let Some(length) = self.0.speak(None, &mut out).length {
                    self.1.receive(&out[..length]);
                    packets.push(out[..length].to_vec());
                }
                heard.extend(self.1.hear(|key| keys.push(key)));
            }
            (heard, packets, keys)
        }
    }

    #[test]
    fn what_is_played_here_is_heard_there() {
        let mut pair = Pair::new(None);
        pair.0.play(Sound::new(tone::plain(700, 400)), Repeat::Once);
        let (heard, packets, _) = pair.run(40);
        assert_eq!(packets.len(), 20);
        let mut report = Vec::new();
        pair.0.report(5, None, &mut report);
        let first = rtcp::Compound::parse(&report).unwrap().next().unwrap();
        let rtcp::Rtcp::SenderReport(1, info, _) = first else {
            panic!("{first:?}");
        };
        assert_eq!((info.packets, info.octets, info.ntp), (20, 3200, 5));
        assert!(share_of(700.0, &heard[480..3200]) > 0.99);
        assert!(!pair.0.is_speaking());
        // The first packet begins a spurt; numbers and times go on evenly.
        let headers = packets
            .iter()
            .map(|packet| Packet::parse(packet).unwrap().header);
        let headers: Vec<_> = headers.collect();
        assert!(headers[0].marker && !headers[1].marker);
        for pair in headers.windows(2) {
            assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
            assert_eq!(pair[1].timestamp, pair[0].timestamp.wrapping_add(160));
        }
    }

    #[test]
    fn music_has_no_end_and_no_seam() {
        let mut pair = Pair::new(None);
        pair.0
            .play(Sound::new(tone::plain(400, 100)), Repeat::ForEver);
        let (heard, packets, _) = pair.run(100);
        assert_eq!(packets.len(), 100);
        assert!(share_of(400.0, &heard[480..]) > 0.99);
        pair.0.stop();
        assert_eq!(pair.run(10).1.len(), 0);
    }

    #[test]
    fn keys_go_as_events() {
        let mut pair = Pair::new(Some(101));
        pair.0.press("1x#");
        let (_, packets, _) = pair.run(30);
        let events = packets.iter().map(|packet| {
            let packet = Packet::parse(packet).unwrap();
            assert_eq!(packet.header.payload_type, 101);
            let event = TelephoneEvent::parse(packet.payload).unwrap();
            (
                event.key().unwrap(),
                event.end,
                event.duration,
                packet.header.timestamp,
            )
        });
        let events: Vec<_> = events.collect();
        assert_eq!(events.len(), 16);
        for (pressed, key) in events.chunks(8).zip("1#".chars()) {
            assert!(
                pressed
                    .iter()
                    .all(|event| event.0 == key && event.3 == pressed[0].3)
            );
            let ends: Vec<_> = pressed.iter().map(|event| event.1).collect();
            assert_eq!(ends, [false, false, false, false, false, true, true, true]);
            let durations: Vec<_> = pressed.iter().map(|event| event.2).collect();
            assert_eq!(durations, [160, 320, 480, 640, 800, 800, 800, 800]);
        }
        // 220 ms from key to key: pressed, end, pause.
        assert_eq!(events[8].3.wrapping_sub(events[0].3), 11 * 160);
    }

    #[test]
    fn keys_go_as_tones_where_events_are_not_understood() {
        let mut pair = Pair::new(None);
        pair.1.detect_keys(true);
        pair.0.press("0123456789*#");
        let (_, _, keys) = pair.run(120);
        assert_eq!(keys, "0123456789*#");
        assert!(!pair.0.is_speaking());
    }

    #[test]
    fn keys_that_wait_are_bounded() {
        let mut pair = Pair::new(Some(101));
        pair.0.press(&"1".repeat(1000));
        assert_eq!(pair.run(2000).1.len(), MAX_KEYS * 8);
    }
}
