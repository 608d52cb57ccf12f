//! Names and passwords (RFC 7617), checked against the accounts of the server.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use omnid_identity::{Address, AuthError, Role, Source};

use super::slow::Job;
use crate::{access::UserFile, answer::Failure, site::Auth, walk::Known, wire::credentials::Basic};

impl Job {
    /// Who it is.
    ///
    /// # Errors
    /// The challenge, or why the door stays shut.
    pub(super) async fn authenticate(
        &self,
        auth: &Auth,
        headers: &HeaderMap,
    ) -> Result<Known, Failure> {
        let challenge = || {
            Failure::new(StatusCode::UNAUTHORIZED)
                .with(header::WWW_AUTHENTICATE, auth.challenge.clone())
        };
        if let Some(groups) = &auth.groups {
            groups.refresh().await;
        }
        let mut fields = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(field), None) = (fields.next(), fields.next()) else {
            return Err(challenge());
        };
        let basic = Basic::parse(field.as_bytes()).ok_or_else(challenge)?;
        if let Some(users) = &auth.users {
            return self.look_up(auth, users, basic).await;
        }
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
        let groups = [
            (Role::User, "user"),
            (Role::DomainAdmin, "domain-admin"),
            (Role::Admin, "admin"),
        ]
        .into_iter()
        .filter(|&(role, _)| account.roles.has(role))
        .map(|(_, group)| group.to_owned());
        Ok(Known {
            auth: auth.id(),
            user: name.to_owned(),
            groups: groups.collect(),
        })
    }

    /// The same, by a file of users.
    async fn look_up(
        &self,
        auth: &Auth,
        users: &Arc<UserFile>,
        basic: Basic,
    ) -> Result<Known, Failure> {
        let challenge = || {
            Failure::new(StatusCode::UNAUTHORIZED)
                .with(header::WWW_AUTHENTICATE, auth.challenge.clone())
        };
        let source = Source {
            ip: self.connection.peer.ip().to_canonical(),
            service: "http",
        };
        let identity = &self.handler.identity;
        let Basic { user, password } = basic;
        let known = Known {
            auth: auth.id(),
            user: user.clone(),
            groups: Vec::new(),
        };
        users.refresh().await;
        // Files know nothing of each other's users, nor of accounts: whoever proves to be one's may
        // go on guessing at no other's.
        let counted = format!("{}:{user}", users.path().display());
        // A source that is shut out learns nothing from what others have just proven.
        identity
            .is_open(&counted, source)
            .map_err(|error| refused(&error))?;
        if users.remembers(&user, &password) {
            return Ok(known);
        }
        let (file, name) = (users.clone(), user.clone());
        let checked = identity
            .verify_elsewhere(&counted, source, move || file.check(&name, &password))
            .await;
        match checked {
            Ok(()) => Ok(known),
            Err(AuthError::BadCredentials) => Err(challenge()),
            Err(error) => Err(refused(&error)),
        }
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
