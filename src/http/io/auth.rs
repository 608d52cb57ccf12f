//! Names and passwords (RFC 7617), checked against the accounts of the server.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use omnid_identity::{Address, AuthError, Source};

use super::slow::Job;
use crate::{answer::Failure, site::Auth, wire::credentials::Basic};

impl Job {
    /// Who it is.
    ///
    /// # Errors
    /// The challenge, or why the door stays shut.
    pub(super) async fn authenticate(
        &self,
        auth: &Auth,
        headers: &HeaderMap,
    ) -> Result<String, Failure> {
        let challenge = || {
            Failure::new(StatusCode::UNAUTHORIZED)
                .with(header::WWW_AUTHENTICATE, auth.challenge.clone())
        };
        let mut fields = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(field), None) = (fields.next(), fields.next()) else {
            return Err(challenge());
        };
        let basic = Basic::parse(field.as_bytes()).ok_or_else(challenge)?;
        let domain = self.site.domain.as_deref().unwrap_or_default();
        let address = Address::parse_in(&basic.user, domain).map_err(|_| challenge())?;
        let source = Source {
            ip: self.connection.peer.ip().to_canonical(),
            service: "http",
        };
        let account = match self
            .handler
            .identity
            .verify(&address, &basic.password, source)
            .await
        {
            Ok(account) => account,
            Err(AuthError::BadCredentials) => return Err(challenge()),
            Err(error) => return Err(refused(&error)),
        };
        let roles = auth.roles.is_empty() || auth.roles.iter().any(|&role| account.roles.has(role));
        let name = account.address.as_str();
        let accounts = auth.accounts.is_empty() || auth.accounts.iter().any(|other| other == name);
        if !roles || !accounts {
            return Err(Failure::new(StatusCode::FORBIDDEN));
        }
        Ok(name.to_owned())
    }
}

fn refused(error: &AuthError) -> Failure {
    let later = |wait: Duration| {
        // Whole seconds, rounded up: a client that comes back then is let in.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Failure::new(StatusCode::TOO_MANY_REQUESTS)
            .with(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    };
    match error {
        AuthError::Throttled { retry_after } => later(*retry_after),
        AuthError::Locked { until } => {
            later(until.duration_since(SystemTime::now()).unwrap_or_default())
        }
        AuthError::Disabled => Failure::new(StatusCode::FORBIDDEN),
        error => {
            Failure::new(StatusCode::SERVICE_UNAVAILABLE).because(format!("accounts: {error}"))
        }
    }
}
