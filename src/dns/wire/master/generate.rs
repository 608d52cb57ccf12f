//! `$GENERATE`: one line for a row of records (BIND's own extension; reverse zones are full of it).

use std::io::Write;

use crate::wire::rdata::read_number;

/// `start-stop`, or `start-stop/step`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: u32,
    pub(crate) stop: u32,
    pub(crate) step: u32,
}

impl Range {
    pub(crate) fn read(text: &[u8]) -> Option<Range> {
        let text = std::str::from_utf8(text).ok()?;
        let (range, step) = text.split_once('/').unwrap_or((text, "1"));
        let (start, stop) = range.split_once('-')?;
        let number = |text: &str| read_number(text.as_bytes()).filter(|n| *n <= i32::MAX as u32);
        let range = Range {
            start: number(start)?,
            stop: number(stop)?,
            step: number(step)?,
        };
        (range.start <= range.stop && range.step > 0).then_some(range)
    }

    pub(crate) fn len(self) -> u64 {
        u64::from((self.stop - self.start) / self.step) + 1
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = u32> {
        (self.start..=self.stop).step_by(self.step as usize)
    }
}

/// Writes a template with `$` and `${offset,width,base}` replaced by a number.
pub(crate) fn substitute(
    template: &[u8],
    number: u32,
    out: &mut Vec<u8>,
) -> Result<(), &'static str> {
    let mut rest = template;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match (byte, rest.first()) {
            (b'$', Some(b'$')) => {
                out.push(b'$');
                rest = rest.get(1..).unwrap_or(&[]);
            }
            (b'$', Some(b'{')) => {
                let end = rest
                    .iter()
                    .position(|byte| *byte == b'}')
                    .ok_or("`${` without `}`")?;
                let modifier = Modifier::read(rest.get(1..end).unwrap_or(&[]))
                    .ok_or("bad modifier, expected `${offset,width,base}`")?;
                modifier.write(number, out)?;
                rest = rest.get(end + 1..).unwrap_or(&[]);
            }
            (b'$', _) => Modifier::PLAIN.write(number, out)?,
            (b'\\', Some(&escaped)) => {
                out.extend_from_slice(&[b'\\', escaped]);
                rest = rest.get(1..).unwrap_or(&[]);
            }
            _ => out.push(byte),
        }
    }
    Ok(())
}

#[derive(Debug, Clone, Copy)]
struct Modifier {
    offset: i64,
    width: usize,
    base: u8,
}

impl Modifier {
    const PLAIN: Modifier = Modifier {
        offset: 0,
        width: 0,
        base: b'd',
    };

    fn read(text: &[u8]) -> Option<Modifier> {
        let mut parts = std::str::from_utf8(text).ok()?.split(',');
        let offset: i32 = parts.next()?.parse().ok()?;
        let width: u8 = parts.next().map_or(Some(0), |width| width.parse().ok())?;
        let base = match parts.next() {
            None => b'd',
            Some(base) => *base.as_bytes().first().filter(|_| base.len() == 1)?,
        };
        let known = b"doxXnN".contains(&base) && parts.next().is_none();
        known.then_some(Modifier {
            offset: offset.into(),
            width: width.into(),
            base,
        })
    }

    fn write(self, number: u32, out: &mut Vec<u8>) -> Result<(), &'static str> {
        let value = i64::from(number) + self.offset;
        if value < 0 {
            return Err("the offset makes a number below zero");
        }
        let width = self.width;
        // Writing to a Vec cannot fail.
        let _ = match self.base {
            b'o' => write!(out, "{value:0width$o}"),
            b'x' => write!(out, "{value:0width$x}"),
            b'X' => write!(out, "{value:0width$X}"),
            b'n' | b'N' => {
                self.write_nibbles(value, out);
                Ok(())
            }
            _ => write!(out, "{value:0width$}"),
        };
        Ok(())
    }

    /// Hexadecimal digits from the lowest up with dots between, so many characters wide; the dot
    /// counts, so that a width of 4 makes `1.0.` and 3 makes `1.0`.
    fn write_nibbles(self, mut value: i64, out: &mut Vec<u8>) {
        let mut left = self.width;
        loop {
            let digit = char::from_digit((value & 15) as u32, 16).unwrap_or('0');
            let digit = if self.base == b'N' {
                digit.to_ascii_uppercase()
            } else {
                digit
            };
            out.push(digit as u8);
            left = left.saturating_sub(1);
            value >>= 4;
            if left == 0 && value == 0 {
                return;
            }
            out.push(b'.');
            left = left.saturating_sub(1);
            if left == 0 && value == 0 {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn shown(template: &str, number: u32) -> Result<String, &'static str> {
        let mut out = Vec::new();
        substitute(template.as_bytes(), number, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn templates() {
        let cases = [
            ("host$", 7, "host7"),
            ("$.$", 12, "12.12"),
            ("$$a", 1, "$a"),
            (r"\$a$", 1, r"\$a1"),
            ("h${0,3}", 7, "h007"),
            ("h${-5}", 7, "h2"),
            ("h${16,4,x}", 1, "h0011"),
            ("h${0,0,X}", 171, "hAB"),
            ("h${0,3,o}", 8, "h010"),
            ("${0,4,n}x", 0x1a, "a.1.x"),
            ("${0,3,n}", 0x1a, "a.1"),
            ("${0,7,N}", 0x1a, "A.1.0.0"),
            ("${0,0,n}", 0x1a2, "2.a.1"),
        ];
        for (template, number, expected) in cases {
            assert_eq!(
                shown(template, number).as_deref(),
                Ok(expected),
                "{template}"
            );
        }
        for bad in ["${", "${a}", "${0,1,z}", "${0,1,d,5}", "${-8}"] {
            assert!(shown(bad, 7).is_err(), "{bad}");
        }
    }

    #[test]
    fn ranges() {
        assert_eq!(
            Range::read(b"1-10/3").unwrap().iter().collect::<Vec<_>>(),
            [1, 4, 7, 10]
        );
        assert_eq!(Range::read(b"0-255").unwrap().len(), 256);
        for bad in ["1", "2-1", "1-2/0", "-1-2", "1-", "1-99999999999", ""] {
            assert_eq!(Range::read(bad.as_bytes()), None, "{bad}");
        }
    }
}
