//! What a TLS connection offers to bind an authentication to.

use aws_lc_rs::digest;
use omnid_net::TlsSocket;
use omnid_tls::CertStore;

use crate::engine::sasl::Channel;

/// The bindings of a connection whose handshake is done.
pub(crate) fn channel(socket: &TlsSocket, certificates: &CertStore) -> Channel {
    let (_, connection) = socket.get_ref();
    // RFC 9266 3: in TLS 1.2 only together with extended master secrets, and nobody tells us
    // whether there are any.
    let exporter = (connection.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3))
        .then(|| connection.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", None))
        .and_then(Result::ok);
    let certificate = certificates.certificate(connection.server_name());
    let certificate = certificate.as_ref().and_then(|key| key.cert.first());
    Channel {
        exporter: exporter.map(|data| data.to_vec()),
        server_end_point: certificate.and_then(|certificate| end_point(certificate)),
    }
}

/// RFC 5929 4.1: the certificate's hash, by the hash of its own signature; SHA-256 where that is
/// MD5 or SHA-1. `None` for signatures that name no single hash.
fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    // Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signatureValue }
    let (whole, _) = element(certificate, 0x30)?;
    let (_, rest) = element(whole, 0x30)?;
    let (algorithm, _) = element(rest, 0x30)?;
    let (oid, _) = element(algorithm, 0x06)?;
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04];
    let hash = if let Some(rest) = oid.strip_prefix(RSA) {
        match rest {
            // md5, sha1 and sha256WithRSAEncryption.
            [4 | 5 | 11] => &digest::SHA256,
            [12] => &digest::SHA384,
            [13] => &digest::SHA512,
            _ => return None,
        }
    } else {
        match oid.strip_prefix(ECDSA)? {
            [1] | [3, 2] => &digest::SHA256,
            [3, 3] => &digest::SHA384,
            [3, 4] => &digest::SHA512,
            _ => return None,
        }
    };
    Some(digest::digest(hash, certificate).as_ref().to_vec())
}

/// The content of the DER element with `tag` at the front, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if bytes.is_empty() || bytes.len() > 4 {
            return None;
        }
        (
            bytes
                .iter()
                .fold(0, |length, &byte| length << 8 | usize::from(byte)),
            rest,
        )
    };
    (found == tag).then_some(())?;
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// As much of a certificate as is looked at.
    fn certificate(oid: &[u8]) -> Vec<u8> {
        let wrap = |tag: u8, content: &[u8]| {
            [&[tag, u8::try_from(content.len()).unwrap()], content].concat()
        };
        let algorithm = wrap(0x30, &wrap(0x06, oid));
        wrap(
            0x30,
            &[wrap(0x30, b"tbs"), algorithm, wrap(0x03, b"signature")].concat(),
        )
    }

    #[test]
    fn rfc_5929_4_1() {
        let rsa = |last| [&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1][..], &[last]].concat();
        let ecdsa = |last| [&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3][..], &[last]].concat();
        for (oid, bits) in [
            (rsa(5), Some(256)),
            (rsa(11), Some(256)),
            (rsa(12), Some(384)),
            (rsa(13), Some(512)),
            (rsa(10), None),
            (ecdsa(2), Some(256)),
            (ecdsa(3), Some(384)),
            // Ed25519 hashes as it likes.
            (vec![0x2b, 0x65, 0x70], None),
        ] {
            let length = end_point(&certificate(&oid)).map(|hash| hash.len() * 8);
            assert_eq!(length, bits, "{oid:?}");
        }
        for broken in [
            &b""[..],
            b"\x30",
            b"\x30\x84\xff\xff\xff\xff",
            b"\x30\x02\x30\x05",
            b"\x30\x80",
        ] {
            assert_eq!(end_point(broken), None);
        }
    }
}
