//! What is spoken on the control socket: one JSON object a line, each way. A request names a verb
//! and its arguments; the answer is one reply, or, for a verb that follows something, items until
//! either side closes.

use omnid_hub::ControlError;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The longest request or reply line, in octets.
pub(crate) const LINE_MAX: u64 = 16 * 1024 * 1024;
/// The longest request line, in octets: requests come from outside the process.
pub(crate) const REQUEST_MAX: u64 = 256 * 1024;

/// What the operator asks for.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// `status`, `zone.list` ….
    pub verb: String,
    /// An object, or null.
    #[serde(default)]
    pub arguments: Value,
}

/// What comes back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply {
    /// The verb was carried out.
    Ok(Value),
    /// One of many.
    Item(Value),
    /// It was not.
    Error(ControlError),
}
