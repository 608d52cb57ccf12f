//! Text → description. What does not matter is let through, what cannot be bounded is not.

use std::str::FromStr;

use super::{
    Attribute, Connection, MAX_ATTRIBUTES, MAX_FORMATS, MAX_LENGTH, MAX_MEDIA, Media, Origin, Sdp,
};

/// Why a body is no session description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    #[error("the description is longer than 64 KiB")]
    TooLong,
    #[error("the description is not UTF-8")]
    NotText,
    #[error("the description does not begin with v=0")]
    Version,
    #[error("line {0} is not TYPE=VALUE")]
    Line(usize),
    #[error("line {0} cannot be read as what its type says")]
    Value(usize),
    #[error("no o= line")]
    NoOrigin,
    #[error("more than 32 streams")]
    TooManyMedia,
    #[error("more attributes or lines in one section than are allowed")]
    TooManyAttributes,
    #[error("a stream offers more than 64 formats")]
    TooManyFormats,
}

/// `b=`, `i=` and the like that one section may have.
const MAX_OTHER: usize = 16;

impl Sdp {
    /// Reads a description. Line ends may lack their CR, and the order of lines is not insisted on:
    /// phones get both wrong, and neither makes the meaning doubtful.
    pub fn parse(body: &[u8]) -> Result<Self, SdpError> {
        if body.len() > MAX_LENGTH {
            return Err(SdpError::TooLong);
        }
        let text = str::from_utf8(body).map_err(|_| SdpError::NotText)?;
        let mut lines = text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line.trim_end_matches(['\r', '\0', ' '])))
            .filter(|(_, line)| !line.is_empty());
        match lines.next() {
            Some((_, "v=0")) => {}
            _ => return Err(SdpError::Version),
        }
        let mut origin = None;
        let mut sdp = Self {
            origin: Origin {
                user: String::new(),
                id: String::new(),
                version: String::new(),
                address: Connection {
                    six: false,
                    address: String::new(),
                },
            },
            name: "-".to_owned(),
            connection: None,
            other: Vec::new(),
            time: "0 0".to_owned(),
            attributes: Vec::new(),
            media: Vec::new(),
        };
        for (number, line) in lines {
            // RFC 8866 section 9: neither is part of any text, and some take a CR for a line's end.
            if line.contains(['\r', '\0']) {
                return Err(SdpError::Line(number));
            }
            let (kind, value) = line.split_once('=').ok_or(SdpError::Line(number))?;
            let mut kinds = kind.chars();
            let (Some(kind), None) = (kinds.next(), kinds.next()) else {
                return Err(SdpError::Line(number));
            };
            let wrong = SdpError::Value(number);
            match kind {
                'm' => {
                    if sdp.media.len() == MAX_MEDIA {
                        return Err(SdpError::TooManyMedia);
                    }
                    sdp.media.push(media(value, wrong)?);
                }
                'o' => origin = Some(origin_line(value).ok_or(wrong)?),
                's' => value.clone_into(&mut sdp.name),
                't' => value.clone_into(&mut sdp.time),
                // A second c= is one more address of a layered group: the first counts.
                'c' => {
                    let read = connection(value).ok_or(wrong)?;
                    let place = match sdp.media.last_mut() {
                        Some(media) => &mut media.connection,
                        None => &mut sdp.connection,
                    };
                    place.get_or_insert(read);
                }
                'a' => {
                    let place = match sdp.media.last_mut() {
                        Some(media) => &mut media.attributes,
                        None => &mut sdp.attributes,
                    };
                    if place.len() == MAX_ATTRIBUTES {
                        return Err(SdpError::TooManyAttributes);
                    }
                    place.push(attribute(value).ok_or(wrong)?);
                }
                'i' | 'u' | 'e' | 'p' | 'b' | 'k' => {
                    let in_session = sdp.media.is_empty();
                    let place = match sdp.media.last_mut() {
                        Some(media) => &mut media.other,
                        None => &mut sdp.other,
                    };
                    if place.len() == MAX_OTHER {
                        return Err(SdpError::TooManyAttributes);
                    }
                    // A key in clear (k=) is obsolete and is not passed on (RFC 8866 section 5.12);
                    // a stream has no address for letters.
                    if kind != 'k' && (in_session || "ib".contains(kind)) {
                        place.push((kind, value.to_owned()));
                    }
                }
                // Repeat times and zones of a broadcast say nothing to a call.
                'r' | 'z' => {}
                'v' => return Err(SdpError::Version),
                _ => return Err(SdpError::Line(number)),
            }
        }
        sdp.origin = origin.ok_or(SdpError::NoOrigin)?;
        in_order(&mut sdp.other);
        for media in &mut sdp.media {
            in_order(&mut media.other);
        }
        Ok(sdp)
    }
}

/// Puts the lines that are only kept into the order in which they are printed.
fn in_order(other: &mut [(char, String)]) {
    other.sort_by_key(|(kind, _)| "iuepb".find(*kind));
}

impl FromStr for Sdp {
    type Err = SdpError;

    fn from_str(text: &str) -> Result<Self, SdpError> {
        Self::parse(text.as_bytes())
    }
}

fn connection(value: &str) -> Option<Connection> {
    let mut words = value.split_ascii_whitespace();
    let ("IN", family, address) = (words.next()?, words.next()?, words.next()?) else {
        return None;
    };
    let six = match family {
        "IP4" => false,
        "IP6" => true,
        _ => return None,
    };
    Some(Connection {
        six,
        address: address.to_owned(),
    })
}

fn origin_line(value: &str) -> Option<Origin> {
    // Some put a name with spaces first: the last five words are what they must be.
    let mut words = value.rsplitn(6, ' ');
    let address = words.next()?;
    let (family, network) = (words.next()?, words.next()?);
    let (version, id) = (words.next()?, words.next()?);
    let user = words.next()?;
    if user.is_empty() || id.is_empty() || version.is_empty() {
        return None;
    }
    Some(Origin {
        user: user.to_owned(),
        id: id.to_owned(),
        version: version.to_owned(),
        address: connection(&format!("{network} {family} {address}"))?,
    })
}

fn attribute(value: &str) -> Option<Attribute> {
    let (name, value) = match value.split_once(':') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (value, None),
    };
    (!name.is_empty()).then(|| Attribute {
        name: name.to_owned(),
        value,
    })
}

fn media(value: &str, wrong: SdpError) -> Result<Media, SdpError> {
    let mut words = value.split_ascii_whitespace();
    let (Some(kind), Some(port), Some(protocol)) = (words.next(), words.next(), words.next())
    else {
        return Err(wrong);
    };
    let (port, ports) = match port.split_once('/') {
        Some((port, ports)) => (port, Some(ports.parse().map_err(|_| wrong)?)),
        None => (port, None),
    };
    let formats: Vec<_> = words
        .by_ref()
        .take(MAX_FORMATS)
        .map(str::to_owned)
        .collect();
    if formats.is_empty() {
        return Err(wrong);
    }
    if words.next().is_some() {
        return Err(SdpError::TooManyFormats);
    }
    Ok(Media {
        kind: kind.to_owned(),
        port: port.parse().map_err(|_| wrong)?,
        ports,
        protocol: protocol.to_owned(),
        formats,
        connection: None,
        other: Vec::new(),
        attributes: Vec::new(),
    })
}
