//! Certificates that are asked for and renewed automatically (ACME, RFC 8555).
//!
//! [`plan`] says which certificates are wanted and when the next step for each is due; [`order`]
//! takes the step with an authority, proving the names through [`challenges`]; [`run`] is the loop
//! around them. What it obtains lies in files below `data_dir`/tls/acme, one for each certificate
//! with its key, and comes into use like any other certificate.

mod account;
mod challenges;
mod client;
mod config;
mod files;
mod order;
mod plan;
mod run;

pub use config::{AcmeConfig, Challenge, ExternalAccountConfig};
pub use plan::AutomaticInfo;

pub(crate) use challenges::{ALPN, Challenges};
pub(crate) use plan::{Automatic, State, Wanted, certificates};

/// Why a step with the authority did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AcmeError {
    /// The authority, or the way there.
    #[error("{}", told(.0))]
    Authority(#[from] instant_acme::Error),
    /// A name was not proven.
    #[error("{name}: {why}")]
    Unproven {
        /// The name.
        name: String,
        /// What the authority says.
        why: String,
    },
    /// What came is not what was asked for.
    #[error("the authority's answer: {0}")]
    Answer(String),
    /// A file of ours.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A key or a request for a certificate cannot be made.
    #[error("cannot make a certificate request: {0}")]
    Request(#[from] rcgen::Error),
    /// It took too long.
    #[error("the authority took longer than {0} seconds")]
    Slow(u64),
}

/// The authority's own words, with what it says of single names.
fn told(error: &instant_acme::Error) -> String {
    let instant_acme::Error::Api(problem) = error else {
        return error.to_string();
    };
    problem_text(problem)
}

/// A problem document in one line. It was written by somebody else: its length is bounded.
pub(crate) fn problem_text(problem: &instant_acme::Problem) -> String {
    let mut text = problem
        .detail
        .clone()
        .or_else(|| problem.r#type.clone())
        .unwrap_or_else(|| "no reason given".to_owned());
    for part in problem.subproblems.iter().take(10) {
        if let Some(detail) = &part.detail {
            text.push_str("; ");
            text.push_str(detail);
        }
    }
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(500)
        .collect()
}
