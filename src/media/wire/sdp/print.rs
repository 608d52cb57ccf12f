//! Description → text, in the order that RFC 8866 section 5 demands.

use std::fmt::{Display, Formatter, Result};

use super::{Attribute, Connection, Media, Sdp};

impl Display for Connection {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let family = if self.six { "IP6" } else { "IP4" };
        write!(f, "IN {family} {}", self.address)
    }
}

impl Display for Attribute {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match &self.value {
            Some(value) => write!(f, "a={}:{value}\r\n", self.name),
            None => write!(f, "a={}\r\n", self.name),
        }
    }
}

/// The lines of these types, in the order of `types`.
fn write_other(f: &mut Formatter<'_>, other: &[(char, String)], types: &str) -> Result {
    for wanted in types.chars() {
        for (kind, value) in other.iter().filter(|(kind, _)| *kind == wanted) {
            write!(f, "{kind}={value}\r\n")?;
        }
    }
    Ok(())
}

impl Display for Media {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "m={} {}", self.kind, self.port)?;
        if let Some(ports) = self.ports {
            write!(f, "/{ports}")?;
        }
        write!(f, " {}", self.protocol)?;
        for format in &self.formats {
            write!(f, " {format}")?;
        }
        f.write_str("\r\n")?;
        write_other(f, &self.other, "i")?;
        if let Some(connection) = &self.connection {
            write!(f, "c={connection}\r\n")?;
        }
        write_other(f, &self.other, "b")?;
        for attribute in &self.attributes {
            attribute.fmt(f)?;
        }
        Ok(())
    }
}

impl Display for Sdp {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let origin = &self.origin;
        f.write_str("v=0\r\n")?;
        write!(
            f,
            "o={} {} {} {}\r\n",
            origin.user, origin.id, origin.version, origin.address
        )?;
        write!(f, "s={}\r\n", self.name)?;
        write_other(f, &self.other, "iuep")?;
        if let Some(connection) = &self.connection {
            write!(f, "c={connection}\r\n")?;
        }
        write_other(f, &self.other, "b")?;
        write!(f, "t={}\r\n", self.time)?;
        for attribute in &self.attributes {
            attribute.fmt(f)?;
        }
        for media in &self.media {
            media.fmt(f)?;
        }
        Ok(())
    }
}
