//! Content codings (RFC 9110 section 8.4) that a client takes.

/// A coding that files may lie beside their plain form in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// Zstandard (RFC 8878).
    Zstd,
    /// Brotli (RFC 7932).
    Brotli,
    /// gzip (RFC 1952).
    Gzip,
}

impl Coding {
    /// Its name in Accept-Encoding and Content-Encoding.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    /// What the names of files in it end in.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Zstd => ".zst",
            Self::Brotli => ".br",
            Self::Gzip => ".gz",
        }
    }
}

/// How much a client wants a coding, in thousandths (RFC 9110 section 12.5.3); nothing where the
/// field does not name it.
#[must_use]
pub fn quality(accept: &[u8], coding: Coding) -> u16 {
    let mut any = 0;
    for element in accept.split(|&byte| byte == b',') {
        let mut parts = element.split(|&byte| byte == b';');
        let name = parts.next().unwrap_or_default().trim_ascii();
        let weight = parts
            .find_map(|part| {
                let part = part.trim_ascii();
                part.strip_prefix(b"q=").or(part.strip_prefix(b"Q="))
            })
            .map_or(1000, weight);
        let alias = coding == Coding::Gzip && name.eq_ignore_ascii_case(b"x-gzip");
        if name.eq_ignore_ascii_case(coding.name().as_bytes()) || alias {
            return weight;
        }
        if name == b"*" {
            any = weight;
        }
    }
    any
}

/// `0`, `1`, `0.5`: up to three decimals. What is none of that is taken for nothing.
pub(super) fn weight(text: &[u8]) -> u16 {
    let (&[whole @ (b'0' | b'1')], decimals) = (match text.iter().position(|&byte| byte == b'.') {
        Some(dot) => {
            let (whole, decimals) = text.split_at(dot);
            (whole, decimals.get(1..).unwrap_or_default())
        }
        None => (text, &b""[..]),
    }) else {
        return 0;
    };
    if decimals.len() > 3 || !decimals.iter().all(u8::is_ascii_digit) {
        return 0;
    }
    let digit = |index: usize| {
        decimals
            .get(index)
            .map_or(0, |&digit| u16::from(digit - b'0'))
    };
    let weight = u16::from(whole - b'0') * 1000 + digit(0) * 100 + digit(1) * 10 + digit(2);
    weight.min(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qualities() {
        for (accept, zstd, br, gzip) in [
            ("gzip, deflate, br, zstd", 1000, 1000, 1000),
            ("gzip;q=0.5, br;q=1.0", 0, 1000, 500),
            ("gzip ; q=0.123 ,zstd;q=0", 0, 0, 123),
            ("*", 1000, 1000, 1000),
            ("*;q=0.1, gzip;q=0", 100, 100, 0),
            ("GZIP", 0, 0, 1000),
            ("x-gzip", 0, 0, 1000),
            ("identity", 0, 0, 0),
            ("gzip;q=2", 0, 0, 0),
            ("gzip;q=0.1234", 0, 0, 0),
            ("gzip;q=", 0, 0, 0),
            ("", 0, 0, 0),
        ] {
            let of = |coding| quality(accept.as_bytes(), coding);
            assert_eq!(
                (of(Coding::Zstd), of(Coding::Brotli), of(Coding::Gzip)),
                (zstd, br, gzip),
                "{accept}"
            );
        }
    }
}
