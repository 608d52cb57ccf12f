//! The codecs that a stream offers: payload types with their names, clocks and parameters.

use super::{Attribute, Media};

/// Codecs that mean something here. All others are passed on by their name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CodecName {
    Pcmu,
    Pcma,
    G722,
    Opus,
    TelephoneEvent,
    Other(String),
}

impl CodecName {
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        let known = [
            ("PCMU", Self::Pcmu),
            ("PCMA", Self::Pcma),
            ("G722", Self::G722),
            ("opus", Self::Opus),
            ("telephone-event", Self::TelephoneEvent),
        ];
        let found = known
            .into_iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map_or_else(|| Self::Other(name.to_owned()), |(_, codec)| codec)
    }

    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
            Self::G722 => "G722",
            Self::Opus => "opus",
            Self::TelephoneEvent => "telephone-event",
            Self::Other(name) => name,
        }
    }

    /// The payload type that is always this codec's (RFC 3551 section 6).
    #[must_use]
    pub fn static_payload_type(&self) -> Option<u8> {
        match self {
            Self::Pcmu => Some(0),
            Self::Pcma => Some(8),
            Self::G722 => Some(9),
            _ => None,
        }
    }

    /// Clock rate of the timestamps. G.722 samples at 16 kHz and counts 8,000, by an error that
    /// became the rule (RFC 3551 section 4.5.2).
    #[must_use]
    pub fn clock(&self) -> u32 {
        match self {
            Self::Opus => 48_000,
            _ => 8_000,
        }
    }
}

/// Static assignments of RFC 3551 that phones still use without a=rtpmap.
const STATIC: [(u8, &str, u32); 9] = [
    (0, "PCMU", 8000),
    (3, "GSM", 8000),
    (4, "G723", 8000),
    (8, "PCMA", 8000),
    (9, "G722", 8000),
    (13, "CN", 8000),
    (15, "G728", 8000),
    (18, "G729", 8000),
    (34, "H263", 90_000),
];

/// One payload type of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codec {
    pub payload_type: u8,
    pub name: CodecName,
    pub clock: u32,
    pub channels: u8,
    /// `a=fmtp`'s parameters.
    pub parameters: Option<String>,
}

impl Codec {
    /// Both speak of the same coding, whatever number they gave it.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        let names = match (&self.name, &other.name) {
            (CodecName::Other(one), CodecName::Other(two)) => one.eq_ignore_ascii_case(two),
            (one, two) => one == two,
        };
        names && self.clock == other.clock && self.channels == other.channels
    }

    /// Where this codec's name is looked at in a list that prefers.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        match &self.name {
            CodecName::TelephoneEvent => false,
            CodecName::Other(name) => !["CN", "red"]
                .iter()
                .any(|other| other.eq_ignore_ascii_case(name)),
            _ => true,
        }
    }

    /// The attributes that describe this codec in a stream.
    pub fn attributes(&self) -> impl Iterator<Item = Attribute> {
        let name = self.name.name();
        let mut map = format!("{} {name}/{}", self.payload_type, self.clock);
        if self.channels > 1 {
            map.push_str(&format!("/{}", self.channels));
        }
        let parameters = self.parameters.as_ref();
        let parameters = parameters
            .map(|value| Attribute::new("fmtp", format!("{} {value}", self.payload_type)));
        std::iter::once(Attribute::new("rtpmap", map)).chain(parameters)
    }
}

impl Media {
    /// The payload types in the order of preference. Formats that are no payload types, and
    /// dynamic types that nothing describes, are left out.
    #[must_use]
    pub fn codecs(&self) -> Vec<Codec> {
        let numbers = self.formats.iter().filter_map(|format| format.parse().ok());
        numbers
            .filter(|number: &u8| *number < 128)
            .filter_map(|number| self.codec(number))
            .collect()
    }

    fn codec(&self, payload_type: u8) -> Option<Codec> {
        // What a line "a=NAME:NUMBER REST" says about this payload type.
        let about = |name: &str| {
            self.attributes.iter().find_map(|attribute| {
                let value = attribute.value.as_deref()?;
                let (number, rest) = value.split_once(' ')?;
                let ours = attribute.name == name && number.parse() == Ok(payload_type);
                ours.then(|| rest.trim())
            })
        };
        let (name, clock, channels) = match about("rtpmap") {
            Some(map) => {
                let mut parts = map.split('/');
                let name = parts.next().filter(|name| !name.is_empty())?;
                let clock = parts.next()?.parse().ok().filter(|clock| *clock > 0)?;
                let channels = parts.next().and_then(|channels| channels.parse().ok());
                (name, clock, channels.unwrap_or(1))
            }
            None => {
                let (_, name, clock) = STATIC.iter().find(|(known, ..)| *known == payload_type)?;
                (*name, *clock, 1)
            }
        };
        Some(Codec {
            payload_type,
            name: CodecName::from_name(name),
            clock,
            channels,
            parameters: about("fmtp").map(str::to_owned),
        })
    }
}
