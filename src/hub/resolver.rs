//! Look-ups of names outside this server, with the word of DNSSEC on what was found.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use futures_util::future::BoxFuture;

use crate::RecordData;

/// What a look-up found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// The records of the type asked for; none if the name has none, or does not exist.
    pub records: Vec<RecordData>,
    /// The name exists.
    pub exists: bool,
    /// Every step of it was validated (RFC 4033 5): a TLSA record may be relied on (RFC 6698 4.1).
    pub secure: bool,
    /// Seconds it counts for.
    pub ttl: u32,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// No resolver runs here: the system's is the one to ask.
    #[error("no resolver is configured")]
    Unavailable,
    /// The servers do not answer, or their answer is no answer.
    #[error("the name could not be looked up")]
    Failed,
    /// The answer is not what its zone signed.
    #[error("the answer failed DNSSEC validation")]
    Bogus,
    /// The name or the type is none.
    #[error("not a name or type that can be looked up")]
    Invalid,
}

/// A service that looks names up.
pub trait Resolve: Send + Sync {
    /// The records of a name and type (`SRV`, `NAPTR`, `TLSA`, `A`, …), aliases followed.
    fn resolve(
        &self,
        name: &str,
        kind: &str,
    ) -> BoxFuture<'static, Result<Resolution, ResolveError>>;
}

/// The resolver, if there is one.
#[derive(Default)]
pub struct Resolver {
    service: ArcSwapOption<Arc<dyn Resolve>>,
}

impl Resolver {
    /// Offers to look names up, in place of who did before.
    pub fn offer(&self, service: Arc<dyn Resolve>) {
        self.service.store(Some(Arc::new(service)));
    }

    /// Looks names up no more.
    pub fn withdraw(&self) {
        self.service.store(None);
    }

    /// The records of a name and type.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn resolve(&self, name: &str, kind: &str) -> Result<Resolution, ResolveError> {
        let service = self.service.load_full().ok_or(ResolveError::Unavailable)?;
        service.resolve(name, kind).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    struct Nobody;

    impl Resolve for Nobody {
        fn resolve(
            &self,
            _: &str,
            _: &str,
        ) -> BoxFuture<'static, Result<Resolution, ResolveError>> {
            Box::pin(std::future::ready(Err(ResolveError::Failed)))
        }
    }

    #[test]
    fn offered_and_withdrawn() {
        use futures_util::FutureExt;
        let resolver = Resolver::default();
        let ask = || resolver.resolve("example.org", "A").now_or_never().unwrap();
        assert_eq!(ask(), Err(ResolveError::Unavailable));
        resolver.offer(Arc::new(Nobody));
        assert_eq!(ask(), Err(ResolveError::Failed));
        resolver.withdraw();
        assert_eq!(ask(), Err(ResolveError::Unavailable));
    }
}
