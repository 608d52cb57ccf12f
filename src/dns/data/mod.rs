//! What the service keeps: zones read from files, the records other services publish in them, and
//! the serials that tell secondaries of both.

mod durable;
mod files;
mod held;
mod journal;
mod keys;
mod load;
mod publish;
mod resolver;
mod serials;
mod signed;

#[cfg(test)]
pub(crate) use durable::faults;
pub(crate) use held::{Held, HeldError, copy_path, journal_path, peek};
pub(crate) use journal::fuzz_journal;
pub(crate) use keys::KeyStore;
pub(crate) use load::{Loaded, load};
pub(crate) use publish::merge;
pub(crate) use resolver::{
    COMPONENT, Kept, RESOLVER_MIGRATIONS, keep_anchor, keep_exempt, load as load_resolver,
};
pub(crate) use serials::{MIGRATIONS, Serials};
pub(crate) use signed::{read_key_files, replace, signed_path};
