//! One certificate, from the order to the chain.

use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeType, Identifier, NewOrder,
    Order, OrderStatus, RetryPolicy,
};
use omnid_hub::Hub;
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls_pki_types::CertificateDer;

use super::challenges::{Challenges, Shown};
use super::{AcmeConfig, AcmeError, Challenge, problem_text};

/// How long the authority may take to look at the proofs, and to sign.
const PATIENCE: Duration = Duration::from_secs(120);
/// More than the authority asks for is not what was ordered.
const AUTHORIZATIONS_MAX: usize = 100;

/// What is ordered.
pub(crate) struct Request<'a> {
    pub(crate) config: &'a AcmeConfig,
    pub(crate) names: &'a [String],
    /// Domains that we can publish records about.
    pub(crate) domains: &'a [String],
    /// The certificate that is renewed.
    pub(crate) replaces: Option<CertificateDer<'static>>,
    /// Tries that failed before: each takes another way to prove the names.
    pub(crate) failures: u32,
    pub(crate) challenges: &'a Arc<Challenges>,
    pub(crate) hub: &'a Hub,
}

/// What is obtained, in PEM.
pub(crate) struct Obtained {
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl Request<'_> {
    /// Orders it, proves the names and fetches it.
    pub(crate) async fn obtain(&self, account: &Account) -> Result<Obtained, AcmeError> {
        let identifiers: Vec<Identifier> =
            self.names.iter().cloned().map(Identifier::Dns).collect();
        let mut new = NewOrder::new(&identifiers);
        if let Some(profile) = &self.config.profile {
            new = new.profile(profile);
        }
        let replaced = self.replaces.as_ref().and_then(|der| {
            // An authority without renewal information refuses to hear of it.
            CertificateIdentifier::try_from(der).ok()
        });
        let with_replaced = replaced.map(|replaced| {
            let mut new = NewOrder::new(&identifiers);
            if let Some(profile) = &self.config.profile {
                new = new.profile(profile);
            }
            new.replaces(replaced)
        });
        let mut order = match with_replaced {
            Some(with) => match account.new_order(&with).await {
                Ok(order) => order,
                // It does no harm to order without; only a limit is then less generous.
                Err(_) => account.new_order(&new).await?,
            },
            None => account.new_order(&new).await?,
        };
        let shown = self.prove(&mut order).await?;
        let policy = RetryPolicy::new()
            .initial_delay(Duration::from_millis(500))
            .backoff(1.5)
            .timeout(PATIENCE);
        let status = match order.poll_ready(&policy).await {
            Ok(status) => status,
            Err(error) => return Err(unproven(&mut order).await.unwrap_or(error.into())),
        };
        drop(shown);
        if status != OrderStatus::Ready {
            let unclear = || AcmeError::Answer(format!("the order became {status:?}"));
            return Err(unproven(&mut order).await.unwrap_or_else(unclear));
        }
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(self.names)?;
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&key)?;
        order.finalize_csr(request.der()).await?;
        let chain = order.poll_certificate(&policy).await?;
        Ok(Obtained {
            chain,
            key: key.serialize_pem(),
        })
    }

    /// Shows a proof for each name that needs one, and tells the authority to look.
    async fn prove(&self, order: &mut Order) -> Result<Vec<Shown>, AcmeError> {
        let mut shown = Vec::new();
        let mut published = false;
        // Twice over the list: all proofs are on show before the first look.
        let mut authorizations = order.authorizations();
        let mut count = 0;
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            count += 1;
            if count > AUTHORIZATIONS_MAX {
                return Err(AcmeError::Answer("too many authorizations".to_owned()));
            }
            let Some(way) = self.way(&authorization)? else {
                continue;
            };
            let identifier = authorization.identifier().to_string();
            let name = identifier.strip_prefix("*.").unwrap_or(&identifier);
            let Some(handle) = authorization.challenge(kind(way)) else {
                continue;
            };
            let key = handle.key_authorization();
            shown.push(match way {
                Challenge::Http => self
                    .challenges
                    .show_page(self.hub, &handle.token, key.as_str()),
                Challenge::TlsAlpn => {
                    let digest = key.digest();
                    self.challenges
                        .show_certificate(self.hub, name, digest.as_ref())?
                }
                Challenge::Dns => {
                    published = true;
                    let domain = self.domain_of(name).unwrap_or_default();
                    self.challenges
                        .show_record(self.hub, domain, name, &key.dns_value())
                }
            });
        }
        if published {
            // The zone is built anew, and its other servers are told of it.
            tokio::time::sleep(self.config.dns_wait.max(Duration::from_millis(500))).await;
        }
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if let Some(way) = self.way(&authorization)?
                && let Some(mut handle) = authorization.challenge(kind(way))
            {
                handle.set_ready().await?;
            }
        }
        Ok(shown)
    }

    /// How a name is proven this time; `None` if it is proven already.
    fn way(
        &self,
        authorization: &instant_acme::AuthorizationState,
    ) -> Result<Option<Challenge>, AcmeError> {
        let identifier = authorization.identifier();
        let name = identifier.to_string();
        let fail = |why: String| AcmeError::Unproven {
            name: name.clone(),
            why,
        };
        match authorization.status {
            AuthorizationStatus::Valid => return Ok(None),
            AuthorizationStatus::Pending => {}
            status => return Err(fail(format!("the authorization is {status:?}"))),
        }
        let ways: Vec<Challenge> = self
            .config
            .challenges
            .iter()
            .copied()
            .filter(|&way| {
                let offered = authorization
                    .challenges
                    .iter()
                    .any(|challenge| challenge.r#type == kind(way));
                let dns = way == Challenge::Dns;
                offered
                    && (dns || !identifier.wildcard)
                    && (!dns || self.domain_of(&name).is_some())
            })
            .collect();
        let turn = usize::try_from(self.failures).unwrap_or(0);
        let way = turn
            .checked_rem(ways.len())
            .and_then(|turn| ways.get(turn).copied());
        match way {
            Some(way) => Ok(Some(way)),
            None if identifier.wildcard => Err(fail(
                "a wildcard is proven by a record in a zone of this server's own, \
                 and no [[domain]] has it"
                    .to_owned(),
            )),
            None => Err(fail(
                "no way to prove it that the authority takes".to_owned(),
            )),
        }
    }

    /// The longest domain of ours that a name lies in.
    fn domain_of(&self, name: &str) -> Option<&str> {
        let name = name.strip_prefix("*.").unwrap_or(name);
        let within = |domain: &&String| {
            name.strip_suffix(domain.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        let longest = self.domains.iter().filter(within);
        longest
            .max_by_key(|domain| domain.len())
            .map(String::as_str)
    }
}

fn kind(way: Challenge) -> ChallengeType {
    match way {
        Challenge::Http => ChallengeType::Http01,
        Challenge::TlsAlpn => ChallengeType::TlsAlpn01,
        Challenge::Dns => ChallengeType::Dns01,
    }
}

/// What the authority says of the names that it did not find proven.
async fn unproven(order: &mut Order) -> Option<AcmeError> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.ok()?;
        let name = authorization.identifier().to_string();
        let state = authorization.refresh().await.ok()?;
        let error = state
            .challenges
            .iter()
            .find_map(|challenge| challenge.error.as_ref());
        if let Some(problem) = error {
            let why = problem_text(problem);
            return Some(AcmeError::Unproven { name, why });
        }
    }
    None
}
