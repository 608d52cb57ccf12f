//! What the service keeps: zones read from files, the records other services publish in them, and
//! the serials that tell secondaries of both.

mod files;
mod load;
mod publish;
mod resolver;
mod serials;

pub(crate) use load::{Loaded, load};
pub(crate) use publish::merge;
pub(crate) use resolver::{
    COMPONENT, Kept, RESOLVER_MIGRATIONS, keep_anchor, keep_exempt, load as load_resolver,
};
pub(crate) use serials::{MIGRATIONS, Serials};
