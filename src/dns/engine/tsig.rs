//! TSIG: messages signed with a shared secret (RFC 8945), one by one and in streams.

use std::sync::Arc;

use aws_lc_rs::hmac;
use md5::{Digest as _, Md5};

use crate::wire::code::{Class, RrType};
use crate::wire::name::{Name, NameRef};
use crate::wire::query::Tsig;
use crate::wire::reader::{Header, Reader};

/// How a message is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// HMAC-MD5: broken as a hash, kept for peers that know nothing else.
    Md5,
    /// HMAC-SHA1.
    Sha1,
    /// HMAC-SHA224.
    Sha224,
    /// HMAC-SHA256.
    Sha256,
    /// HMAC-SHA384.
    Sha384,
    /// HMAC-SHA512.
    Sha512,
}

const ALGORITHMS: [(Algorithm, &str, &[u8], usize); 6] = [
    (
        Algorithm::Md5,
        "hmac-md5",
        b"\x08hmac-md5\x07sig-alg\x03reg\x03int\0",
        16,
    ),
    (Algorithm::Sha1, "hmac-sha1", b"\x09hmac-sha1\0", 20),
    (Algorithm::Sha224, "hmac-sha224", b"\x0bhmac-sha224\0", 28),
    (Algorithm::Sha256, "hmac-sha256", b"\x0bhmac-sha256\0", 32),
    (Algorithm::Sha384, "hmac-sha384", b"\x0bhmac-sha384\0", 48),
    (Algorithm::Sha512, "hmac-sha512", b"\x0bhmac-sha512\0", 64),
];

impl Algorithm {
    /// By its name in a configuration.
    pub fn from_text(text: &str) -> Option<Algorithm> {
        let found = ALGORITHMS
            .iter()
            .find(|(_, name, ..)| name.eq_ignore_ascii_case(text));
        found.map(|(algorithm, ..)| *algorithm)
    }

    fn wire(self) -> &'static [u8] {
        let found = ALGORITHMS.iter().find(|(known, ..)| *known == self);
        found.map_or(&[0], |(_, _, wire, _)| wire)
    }

    fn len(self) -> usize {
        let found = ALGORITHMS.iter().find(|(known, ..)| *known == self);
        found.map_or(0, |(.., length)| *length)
    }
}

/// A shared secret.
pub struct Key {
    /// Its name, which both sides know it by.
    pub name: Name,
    algorithm: Algorithm,
    secret: Secret,
}

enum Secret {
    Hmac(Box<hmac::Key>),
    /// The secret as HMAC pads it, inner and outer (RFC 2104).
    Md5([u8; 64], [u8; 64]),
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({}, {:?})", self.name, self.algorithm)
    }
}

impl Key {
    /// A key of a name and a secret.
    pub fn new(name: Name, algorithm: Algorithm, secret: &[u8]) -> Key {
        let hmac = |algorithm| Secret::Hmac(Box::new(hmac::Key::new(algorithm, secret)));
        let secret = match algorithm {
            Algorithm::Md5 => {
                let mut padded = [0u8; 64];
                let hashed = Md5::digest(secret);
                let short = if secret.len() > 64 {
                    &hashed[..]
                } else {
                    secret
                };
                padded
                    .iter_mut()
                    .zip(short)
                    .for_each(|(to, from)| *to = *from);
                Secret::Md5(
                    padded.map(|octet| octet ^ 0x36),
                    padded.map(|octet| octet ^ 0x5c),
                )
            }
            Algorithm::Sha1 => hmac(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
            Algorithm::Sha224 => hmac(hmac::HMAC_SHA224),
            Algorithm::Sha256 => hmac(hmac::HMAC_SHA256),
            Algorithm::Sha384 => hmac(hmac::HMAC_SHA384),
            Algorithm::Sha512 => hmac(hmac::HMAC_SHA512),
        };
        Key {
            name,
            algorithm,
            secret,
        }
    }

    fn mac(&self, data: &[u8]) -> Vec<u8> {
        match &self.secret {
            Secret::Hmac(key) => hmac::sign(key, data).as_ref().to_vec(),
            Secret::Md5(inner, outer) => {
                let inner = Md5::new_with_prefix(inner).chain_update(data).finalize();
                let outer = Md5::new_with_prefix(outer).chain_update(inner);
                outer.finalize().to_vec()
            }
        }
    }

    /// Octets of a signature record by this key, nothing in its last field.
    pub fn record_len(&self) -> usize {
        self.name.as_ref().wire().len()
            + 10
            + self.algorithm.wire().len()
            + 16
            + self.algorithm.len()
    }
}

/// The keys of a server.
#[derive(Debug, Clone, Default)]
pub struct Keys(Vec<Arc<Key>>);

impl Keys {
    /// Of some keys.
    pub fn new(keys: Vec<Arc<Key>>) -> Keys {
        Keys(keys)
    }

    /// The number of a key.
    pub fn position(&self, name: NameRef<'_>) -> Option<u16> {
        let found = self.0.iter().position(|key| key.name.as_ref() == name)?;
        u16::try_from(found).ok()
    }

    /// The name of a key by its number.
    pub fn name(&self, number: u16) -> Option<NameRef<'_>> {
        let key = self.0.get(usize::from(number))?;
        Some(key.name.as_ref())
    }

    /// A key by its name.
    pub fn get(&self, name: NameRef<'_>) -> Option<&Arc<Key>> {
        self.0.iter().find(|key| key.name.as_ref() == name)
    }
}

/// Error codes that stand in a signature record itself (RFC 8945 3).
pub mod error {
    /// The signature is not the key's.
    pub const BADSIG: u16 = 16;
    /// The key is not known.
    pub const BADKEY: u16 = 17;
    /// The clocks are too far apart.
    pub const BADTIME: u16 = 18;
    /// The signature is cut shorter than the server allows.
    pub const BADTRUNC: u16 = 22;
}

/// How far clocks may be apart, in seconds.
const FUDGE: u16 = 300;

/// The fields of a signature record.
struct Fields<'a> {
    algorithm: NameRef<'a>,
    time: u64,
    fudge: u16,
    mac: &'a [u8],
    original_id: u16,
    error: u16,
    other: &'a [u8],
}

impl<'a> Fields<'a> {
    fn read(rdata: &'a [u8]) -> Option<Fields<'a>> {
        let (algorithm, rest) = NameRef::split_wire(rdata).ok()?;
        let mut reader = Reader::new(rest);
        let time = u64::from(reader.u16().ok()?) << 32 | u64::from(reader.u32().ok()?);
        let fudge = reader.u16().ok()?;
        let length = reader.u16().ok()?;
        let mac = reader.bytes(length.into()).ok()?;
        let original_id = reader.u16().ok()?;
        let error = reader.u16().ok()?;
        let length = reader.u16().ok()?;
        let other = reader.bytes(length.into()).ok()?;
        (reader.position() == rest.len()).then_some(Fields {
            algorithm,
            time,
            fudge,
            mac,
            original_id,
            error,
            other,
        })
    }
}

/// What is hashed of a record in front of its MAC (RFC 8945 4.3.3).
fn variables(to: &mut Vec<u8>, key: &Key, time: u64, fudge: u16, error: u16, other: &[u8]) {
    to.extend(key.name.as_ref().wire().to_ascii_lowercase());
    to.extend(Class::ANY.0.to_be_bytes());
    to.extend([0; 4]);
    to.extend(key.algorithm.wire());
    timers(to, time, fudge);
    to.extend(error.to_be_bytes());
    to.extend((other.len() as u16).to_be_bytes());
    to.extend(other);
}

fn timers(to: &mut Vec<u8>, time: u64, fudge: u16) {
    let [_, _, octets @ ..] = time.to_be_bytes();
    to.extend(octets);
    to.extend(fudge.to_be_bytes());
}

fn prior(to: &mut Vec<u8>, mac: &[u8]) {
    if !mac.is_empty() {
        to.extend((mac.len() as u16).to_be_bytes());
        to.extend(mac);
    }
}

/// A message as it was before it was signed (RFC 8945 4.3.2).
fn unsigned(to: &mut Vec<u8>, message: &[u8], original_id: u16, end: usize) {
    let start = to.len();
    to.extend(message.get(..end).unwrap_or_default());
    let count = message.get(10..12).map_or(0, |octets| {
        octets.iter().fold(0u16, |n, o| n << 8 | u16::from(*o))
    });
    for (at, value) in [(0, original_id), (10, count.saturating_sub(1))] {
        if let Some(slot) = to.get_mut(start + at..start + at + 2) {
            slot.copy_from_slice(&value.to_be_bytes());
        }
    }
}

/// A request whose signature is good.
#[derive(Debug, Clone)]
pub struct Signature {
    /// The key.
    pub key: Arc<Key>,
    /// The MAC, which goes into that of the response.
    pub mac: Vec<u8>,
    /// The error to be told, signed: 0, or BADTIME.
    error: u16,
    /// The time of the request, for BADTIME.
    time: u64,
}

/// Why a signature does not count.
#[derive(Debug, Clone)]
pub enum Rejection {
    /// The record is malformed.
    Malformed,
    /// An error that is told without a signature.
    Unsigned(u16),
    /// An error that is told with one: the secret is right, the clock is not.
    Signed(Signature),
}

/// Checks the signature of a request.
pub fn verify(
    keys: &Keys,
    message: &[u8],
    tsig: &Tsig<'_>,
    now: u64,
) -> Result<Signature, Rejection> {
    let fields = Fields::read(tsig.rdata).ok_or(Rejection::Malformed)?;
    let key = keys
        .get(tsig.key)
        .filter(|key| NameRef::from_wire(key.algorithm.wire()) == Ok(fields.algorithm))
        .ok_or(Rejection::Unsigned(error::BADKEY))?;
    let mut data = Vec::with_capacity(message.len() + 128);
    unsigned(&mut data, message, fields.original_id, tsig.start);
    variables(
        &mut data,
        key,
        fields.time,
        fields.fudge,
        fields.error,
        fields.other,
    );
    check_mac(key, &data, fields.mac)?;
    let late = now.abs_diff(fields.time) > u64::from(fields.fudge);
    let signature = Signature {
        key: key.clone(),
        mac: fields.mac.to_vec(),
        error: if late { error::BADTIME } else { 0 },
        time: fields.time,
    };
    if late {
        Err(Rejection::Signed(signature))
    } else {
        Ok(signature)
    }
}

fn check_mac(key: &Key, data: &[u8], mac: &[u8]) -> Result<(), Rejection> {
    let full = key.algorithm.len();
    // RFC 8945 5.2.2.1: shorter than half or than ten octets is malformed, longer as well.
    if mac.len() > full || mac.len() < (full / 2).max(10) {
        return Err(Rejection::Malformed);
    }
    let made = key.mac(data);
    let same = made
        .get(..mac.len())
        .is_some_and(|made| aws_lc_rs::constant_time::verify_slices_are_equal(made, mac).is_ok());
    if !same {
        return Err(Rejection::Unsigned(error::BADSIG));
    }
    if mac.len() < full {
        return Err(Rejection::Unsigned(error::BADTRUNC));
    }
    Ok(())
}

/// Appends a record to a message of `len` octets in a buffer; gives the new length.
fn append(out: &mut [u8], len: usize, record: &[u8]) -> Option<usize> {
    let end = len.checked_add(record.len())?;
    out.get_mut(len..end)?.copy_from_slice(record);
    let slot = out.get_mut(10..12)?;
    let count = slot.iter().fold(0u16, |n, o| n << 8 | u16::from(*o));
    slot.copy_from_slice(&count.checked_add(1)?.to_be_bytes());
    Some(end)
}

struct Parts<'a> {
    key: NameRef<'a>,
    algorithm: &'a [u8],
    time: u64,
    mac: &'a [u8],
    id: u16,
    error: u16,
    other: &'a [u8],
}

fn record(parts: &Parts<'_>) -> Vec<u8> {
    let mut record = parts.key.wire().to_vec();
    record.extend(RrType::TSIG.0.to_be_bytes());
    record.extend(Class::ANY.0.to_be_bytes());
    record.extend([0; 4]);
    let length = parts.algorithm.len() + 16 + parts.mac.len() + parts.other.len();
    record.extend((length as u16).to_be_bytes());
    record.extend(parts.algorithm);
    timers(&mut record, parts.time, FUDGE);
    record.extend((parts.mac.len() as u16).to_be_bytes());
    record.extend(parts.mac);
    record.extend(parts.id.to_be_bytes());
    record.extend(parts.error.to_be_bytes());
    record.extend((parts.other.len() as u16).to_be_bytes());
    record.extend(parts.other);
    record
}

/// Appends the record that tells of an error without a signature (RFC 8945 5.3.2).
pub fn append_error(
    out: &mut [u8],
    len: usize,
    tsig: &Tsig<'_>,
    id: u16,
    error: u16,
    now: u64,
) -> Option<usize> {
    let (algorithm, _) = NameRef::split_wire(tsig.rdata).ok()?;
    let record = record(&Parts {
        key: tsig.key,
        algorithm: algorithm.wire(),
        time: now,
        mac: &[],
        id,
        error,
        other: &[],
    });
    append(out, len, &record)
}

/// Octets that signatures by a key take at most.
pub fn room_for(key: &Key) -> usize {
    key.record_len() + 6
}

impl Signature {
    /// Signs the one response to the request.
    pub fn sign_response(&self, out: &mut [u8], len: usize, now: u64) -> Option<usize> {
        let bad_time = self.error == error::BADTIME;
        // RFC 8945 5.2.3: the client's time, and ours in the last field.
        let time = if bad_time { self.time } else { now };
        let [_, _, ours @ ..] = now.to_be_bytes();
        let other: &[u8] = if bad_time { &ours } else { &[] };
        let mut data = Vec::with_capacity(len + 256);
        prior(&mut data, &self.mac);
        data.extend(out.get(..len)?);
        variables(&mut data, &self.key, time, FUDGE, self.error, other);
        let mac = self.key.mac(&data);
        self.key
            .append_signature(out, len, time, &mac, self.error, other)
    }

    /// Signs the rows of messages that answer the request.
    pub fn stream(self) -> StreamSigner {
        StreamSigner {
            key: self.key,
            mac: self.mac,
            first: true,
        }
    }
}

impl Key {
    fn append_signature(
        &self,
        out: &mut [u8],
        len: usize,
        time: u64,
        mac: &[u8],
        error: u16,
        other: &[u8],
    ) -> Option<usize> {
        let id = Header::read(out).ok()?.id;
        let record = record(&Parts {
            key: self.name.as_ref(),
            algorithm: self.algorithm.wire(),
            time,
            mac,
            id,
            error,
            other,
        });
        append(out, len, &record)
    }

    /// Signs a request; gives its MAC, which the response is checked with.
    pub fn sign_request(&self, message: &mut Vec<u8>, now: u64) -> Vec<u8> {
        let mut data = message.clone();
        variables(&mut data, self, now, FUDGE, 0, &[]);
        let mac = self.mac(&data);
        let len = message.len();
        message.resize(len + self.record_len(), 0);
        // There is room: it was made.
        let end = self.append_signature(message, len, now, &mac, 0, &[]);
        message.truncate(end.unwrap_or(len));
        mac
    }
}

/// Signs message after message of a transfer (RFC 8945 5.3.1).
#[derive(Debug)]
pub struct StreamSigner {
    key: Arc<Key>,
    mac: Vec<u8>,
    first: bool,
}

impl StreamSigner {
    /// Signs the next message.
    pub fn sign(&mut self, out: &mut [u8], len: usize, now: u64) -> Option<usize> {
        let mut data = Vec::with_capacity(len + 256);
        prior(&mut data, &self.mac);
        data.extend(out.get(..len)?);
        if std::mem::take(&mut self.first) {
            variables(&mut data, &self.key, now, FUDGE, 0, &[]);
        } else {
            timers(&mut data, now, FUDGE);
        }
        self.mac = self.key.mac(&data);
        self.key.append_signature(out, len, now, &self.mac, 0, &[])
    }
}

/// Checks the messages that answer a request that was signed here.
#[derive(Debug)]
pub struct StreamVerifier {
    key: Arc<Key>,
    mac: Vec<u8>,
    first: bool,
    /// Messages since the last signature.
    pending: Vec<u8>,
    unsigned: usize,
}

/// RFC 8945 5.3.1: at most 99 messages go by without a signature.
const MAX_UNSIGNED: usize = 99;

/// Why an answer does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// No signature where there must be one.
    #[error("the answer is not signed")]
    Missing,
    /// A signature that is malformed or not the key's.
    #[error("the answer's signature is wrong")]
    Wrong,
    /// The other side does not know the key, or has another secret.
    #[error("the server refuses the key: {}", match .0 { 16 => "BADSIG", 17 => "BADKEY", 18 => "BADTIME", 22 => "BADTRUNC", _ => "an error of TSIG" })]
    Refused(u16),
    /// The clocks are too far apart.
    #[error("the answer was signed at another time than ours")]
    Time,
}

impl StreamVerifier {
    /// For the answer to a request with that MAC.
    pub fn new(key: Arc<Key>, mac: Vec<u8>) -> StreamVerifier {
        StreamVerifier {
            key,
            mac,
            first: true,
            pending: Vec::new(),
            unsigned: 0,
        }
    }

    /// Takes the next message; gives its length without the signature.
    pub fn take(&mut self, message: &[u8], now: u64) -> Result<usize, Untrusted> {
        let Some((start, name, rdata)) = last_record(message) else {
            self.unsigned += 1;
            if self.first || self.unsigned > MAX_UNSIGNED {
                return Err(Untrusted::Missing);
            }
            self.pending.extend(message);
            return Ok(message.len());
        };
        let fields = Fields::read(rdata).ok_or(Untrusted::Wrong)?;
        if fields.error != 0 && fields.mac.is_empty() {
            return Err(Untrusted::Refused(fields.error));
        }
        if name.as_ref() != self.key.name.as_ref() {
            return Err(Untrusted::Wrong);
        }
        let mut data = Vec::with_capacity(message.len() + self.pending.len() + 256);
        prior(&mut data, &self.mac);
        data.append(&mut self.pending);
        unsigned(&mut data, message, fields.original_id, start);
        if self.first {
            variables(
                &mut data,
                &self.key,
                fields.time,
                fields.fudge,
                fields.error,
                fields.other,
            );
        } else {
            timers(&mut data, fields.time, fields.fudge);
        }
        check_mac(&self.key, &data, fields.mac).map_err(|_| Untrusted::Wrong)?;
        if fields.error != 0 {
            return Err(Untrusted::Refused(fields.error));
        }
        if now.abs_diff(fields.time) > u64::from(fields.fudge) {
            return Err(Untrusted::Time);
        }
        self.mac = fields.mac.to_vec();
        self.first = false;
        self.unsigned = 0;
        Ok(start)
    }

    /// True if nothing has come since the last signature.
    pub fn is_settled(&self) -> bool {
        !self.first && self.unsigned == 0
    }
}

/// The signature of a message: where it begins, by which key, its data.
fn last_record(message: &[u8]) -> Option<(usize, crate::wire::name::NameBuf, &[u8])> {
    let header = Header::read(message).ok()?;
    let mut reader = Reader::at(message, Header::LEN);
    for _ in 0..header.questions {
        reader.skip_name().ok()?;
        reader.bytes(4).ok()?;
    }
    let total =
        u32::from(header.answers) + u32::from(header.authorities) + u32::from(header.additionals);
    let mut last = None;
    for _ in 0..total {
        let start = reader.position();
        reader.skip_name().ok()?;
        let rr_type = RrType(reader.u16().ok()?);
        reader.bytes(6).ok()?;
        let length = reader.u16().ok()?;
        let rdata = reader.bytes(length.into()).ok()?;
        last = Some((start, rr_type, rdata));
    }
    let (start, rr_type, rdata) = last.filter(|_| header.additionals > 0)?;
    let name = Reader::at(message, start).name().ok()?;
    (rr_type == RrType::TSIG).then_some((start, name, rdata))
}

#[cfg(test)]
mod tests;
