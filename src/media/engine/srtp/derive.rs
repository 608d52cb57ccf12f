//! Session keys out of a master key (RFC 3711 section 4.3; RFC 7714 section 11).

use super::{
    MasterKey,
    suite::{Keys, counter_mode},
};

const RTP_KEY: u8 = 0;
const RTP_AUTHENTICATION: u8 = 1;
const RTP_SALT: u8 = 2;
const RTCP_KEY: u8 = 3;
const RTCP_AUTHENTICATION: u8 = 4;
const RTCP_SALT: u8 = 5;

/// `length` bytes for `label`: AES in counter mode over zeros, from a counter that the label and
/// the salt make. The derivation rate is zero: keys last as long as the call.
pub(super) fn derive(key: &MasterKey, label: u8, length: usize) -> Option<Vec<u8>> {
    let (master, salt) = key.split();
    let mut counter = [0; 16];
    // A salt of 96 bits stands at the same place as one of 112.
    counter.get_mut(..salt.len())?.copy_from_slice(salt);
    *counter.get_mut(7)? ^= label;
    let mut bytes = vec![0; length];
    counter_mode(master)?.apply(counter, &mut bytes)?;
    Some(bytes)
}

/// The keys for RTP, and those for RTCP.
pub(super) fn keys(key: &MasterKey) -> Option<(Keys, Keys)> {
    let suite = key.suite();
    let one = |labels: [u8; 3], rtcp| {
        let [encryption, authentication, salt] = labels;
        let encryption = derive(key, encryption, suite.key_length())?;
        let authentication = derive(key, authentication, 20)?;
        let salt = derive(key, salt, suite.salt_length())?;
        Keys::new(suite, rtcp, &encryption, &authentication, &salt)
    };
    Some((
        one([RTP_KEY, RTP_AUTHENTICATION, RTP_SALT], false)?,
        one([RTCP_KEY, RTCP_AUTHENTICATION, RTCP_SALT], true)?,
    ))
}
