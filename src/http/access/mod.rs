//! Who may come in: conditions on the client and on who it is, and the files that say who that
//! could be.
//!
//! [`tree`] is the language of `access`; [`users`] keeps htpasswd and group files; [`hashes`] has
//! every way that such files keep a password.

mod crypt;
mod hashes;
mod tree;
mod users;

pub use hashes::fits;
pub use tree::{Access, Answer, Client};
pub use users::{GroupFile, UserFile};
