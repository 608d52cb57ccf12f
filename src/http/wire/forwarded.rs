//! The Forwarded field (RFC 7239).

use std::{fmt::Write as _, net::IpAddr};

/// `for=…;host=…;proto=…` for one hop.
#[must_use]
pub fn element(client: IpAddr, host: &str, secure: bool) -> String {
    let mut element = String::with_capacity(64);
    // Writing to a String cannot fail.
    let _ = match client {
        IpAddr::V4(address) => write!(element, "for={address}"),
        // Section 6: an IPv6 address is bracketed, and a bracket needs quotes.
        IpAddr::V6(address) => write!(element, "for=\"[{address}]\""),
    };
    element.push_str(";host=");
    quoted(host, &mut element);
    element.push_str(if secure {
        ";proto=https"
    } else {
        ";proto=http"
    });
    element
}

/// A token as it is, anything else as a quoted-string.
fn quoted(value: &str, into: &mut String) {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !value.is_empty() && value.bytes().all(token) {
        into.push_str(value);
        return;
    }
    into.push('"');
    for character in value.chars() {
        if matches!(character, '"' | '\\') {
            into.push('\\');
        }
        into.push(character);
    }
    into.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements() {
        for (client, host, secure, expected) in [
            (
                "192.0.2.43",
                "example.org",
                false,
                "for=192.0.2.43;host=example.org;proto=http",
            ),
            (
                "2001:db8::1",
                "example.org:8443",
                true,
                "for=\"[2001:db8::1]\";host=\"example.org:8443\";proto=https",
            ),
        ] {
            let client: Result<IpAddr, _> = client.parse();
            assert_eq!(
                client
                    .map(|client| element(client, host, secure))
                    .as_deref(),
                Ok(expected)
            );
        }
    }
}
