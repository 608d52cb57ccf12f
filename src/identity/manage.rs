//! Making and changing accounts.

use omnid_hub::Event;
use omnid_store::{StoreError, Transaction};
use zeroize::Zeroizing;

use crate::audit::AuditEvent;
use crate::credentials::{Derived, app_password_hash, new_app_password};
use crate::data::{accounts, app_passwords, audit, names};
use crate::identity::unix_now;
use crate::{Account, Address, Identity, IdentityError, Roles};

/// App passwords of one account.
const APP_PASSWORDS: i64 = 100;
/// Characters of a label or a display name.
const LABEL: usize = 200;
/// Longest password, in bytes: what a login may make us hash.
const PASSWORD_LIMIT: usize = 1024;

/// A password made for one device or program; the password itself was shown once.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct AppPassword {
    /// Its number, to revoke it by.
    pub id: i64,
    /// What it is for.
    pub label: String,
    /// When it was made, in seconds since 1970.
    pub created_at: i64,
    /// When it was last used, in seconds since 1970.
    pub used_at: Option<i64>,
}

impl Identity {
    /// Makes an account.
    pub async fn create(
        &self,
        address: &Address,
        password: &str,
        roles: impl Into<Roles>,
    ) -> Result<Account, IdentityError> {
        let roles = roles.into();
        let derived = self.derive(address, password).await?;
        let new = address.clone();
        let created = self
            .inner
            .database
            .write(move |tx| {
                if accounts::find(tx, &new)?.is_some() || names::alias(tx, &new)?.is_some() {
                    return Ok(None);
                }
                let event = AuditEvent::now("account.created", new.as_str());
                audit::insert(tx, &event.detail(roles.to_text()))?;
                accounts::insert(tx, &new, roles, &derived, unix_now()).map(Some)
            })
            .await?
            .ok_or_else(|| IdentityError::Exists(address.to_string()))?;
        self.inner.changed("account.created", address);
        Ok(created)
    }

    /// Gives an account a new password. App passwords stay.
    pub async fn set_password(
        &self,
        address: &Address,
        password: &str,
    ) -> Result<(), IdentityError> {
        let derived = self.derive(address, password).await?;
        self.change("account.password", address, None, move |tx, id, address| {
            accounts::replace_password(tx, id, address, &derived, unix_now())
        })
        .await?;
        self.inner.throttle().forget(address.as_str());
        Ok(())
    }

    /// Removes an account and all that identity keeps of it.
    pub async fn remove(&self, address: &Address) -> Result<(), IdentityError> {
        self.change("account.removed", address, None, |tx, id, _| {
            accounts::remove(tx, id)
        })
        .await?;
        self.inner.throttle().forget(address.as_str());
        Ok(())
    }

    /// Lets an account log in, or stops that.
    pub async fn set_enabled(&self, address: &Address, enabled: bool) -> Result<(), IdentityError> {
        let event = if enabled {
            "account.enabled"
        } else {
            "account.disabled"
        };
        self.change(event, address, None, move |tx, id, _| {
            accounts::set_enabled(tx, id, enabled)
        })
        .await
    }

    /// Gives an account these roles, and no others.
    pub async fn set_roles(
        &self,
        address: &Address,
        roles: impl Into<Roles>,
    ) -> Result<(), IdentityError> {
        let roles = roles.into();
        self.change(
            "account.roles",
            address,
            Some(roles.to_text()),
            move |tx, id, _| accounts::set_roles(tx, id, roles),
        )
        .await
    }

    /// Sets the name that people are shown; empty for none.
    pub async fn set_display_name(
        &self,
        address: &Address,
        name: &str,
    ) -> Result<(), IdentityError> {
        let name = label(name, "display name")?;
        self.change("account.name", address, None, move |tx, id, _| {
            accounts::set_display_name(tx, id, &name)
        })
        .await
    }

    /// The accounts of a domain, or of all, by domain and name.
    pub async fn list(&self, domain: Option<&str>) -> Result<Vec<Account>, StoreError> {
        let domain = domain.map(str::to_owned);
        self.inner
            .database
            .read(move |reader| accounts::list(reader, domain.as_deref()))
            .await
    }

    /// The account at an address.
    pub async fn account(&self, address: &Address) -> Result<Option<Account>, StoreError> {
        let address = address.clone();
        let found = self
            .inner
            .database
            .read(move |reader| accounts::find(reader, &address))
            .await?;
        Ok(found.map(|(_, account)| account))
    }

    /// Makes an app password. This is the only time that it can be seen.
    pub async fn create_app_password(
        &self,
        address: &Address,
        for_what: &str,
    ) -> Result<String, IdentityError> {
        let for_what = label(for_what, "label")?;
        let password = new_app_password();
        let hash = app_password_hash(&password);
        let (whose, event) = (address.clone(), for_what.clone());
        let room = self
            .change(
                "app-password.created",
                address,
                Some(event),
                move |tx, id, _| {
                    if app_passwords::count(tx, id)? >= APP_PASSWORDS {
                        return Err(StoreError::other(TooMany));
                    }
                    app_passwords::insert(tx, id, &for_what, &hash, unix_now())
                },
            )
            .await;
        match room {
            Err(IdentityError::Store(StoreError::Other(error))) if error.is::<TooMany>() => Err(
                IdentityError::Name(format!("{whose} has {APP_PASSWORDS} app passwords already")),
            ),
            outcome => outcome.map(|()| password),
        }
    }

    /// The app passwords of an account, without the passwords.
    pub async fn app_passwords(
        &self,
        address: &Address,
    ) -> Result<Vec<AppPassword>, IdentityError> {
        self.of(address, app_passwords::list).await
    }

    /// Makes an app password useless.
    pub async fn revoke_app_password(
        &self,
        address: &Address,
        id: i64,
    ) -> Result<(), IdentityError> {
        self.change(
            "app-password.revoked",
            address,
            Some(id.to_string()),
            move |tx, account, _| match app_passwords::remove(tx, account, id)? {
                Some(_) => Ok(()),
                None => Err(StoreError::other(NotThere)),
            },
        )
        .await
        .map_err(|error| not_there(error, || format!("app password {id}")))
    }

    /// Lets an address stand for an account.
    pub async fn add_alias(&self, alias: &Address, account: &Address) -> Result<(), IdentityError> {
        let new = alias.clone();
        self.change(
            "alias.added",
            account,
            Some(alias.to_string()),
            move |tx, id, _| {
                if accounts::find(tx, &new)?.is_some() || names::alias(tx, &new)?.is_some() {
                    return Err(StoreError::other(Taken));
                }
                names::add_alias(tx, &new, id)
            },
        )
        .await
        .map_err(|error| taken(error, || alias.to_string()))
    }

    /// Removes an alias.
    pub async fn remove_alias(&self, alias: &Address) -> Result<(), IdentityError> {
        let old = alias.clone();
        let removed = self
            .inner
            .database
            .write(move |tx| {
                let removed = names::remove_alias(tx, &old)?;
                if removed {
                    audit::insert(tx, &AuditEvent::now("alias.removed", old.as_str()))?;
                }
                Ok(removed)
            })
            .await?;
        if removed {
            Ok(())
        } else {
            Err(IdentityError::NotFound(format!("alias {alias}")))
        }
    }

    /// The aliases of an account.
    pub async fn aliases(&self, address: &Address) -> Result<Vec<Address>, IdentityError> {
        self.of(address, names::aliases).await
    }

    /// The account that an address reaches: itself, or the one that it is an alias of.
    pub async fn resolve(&self, address: &Address) -> Result<Option<Address>, StoreError> {
        let address = address.clone();
        self.inner
            .database
            .read(move |reader| {
                if accounts::find(reader, &address)?.is_some() {
                    return Ok(Some(address.clone()));
                }
                names::alias(reader, &address)
            })
            .await
    }

    /// Gives an account a telephone extension in its domain.
    pub async fn add_extension(
        &self,
        extension: &str,
        account: &Address,
    ) -> Result<(), IdentityError> {
        let is_dialled = |c: char| c.is_ascii_digit() || "*#+".contains(c);
        if extension.is_empty() || extension.len() > 32 || !extension.chars().all(is_dialled) {
            return Err(IdentityError::Name(format!(
                "{extension:?} cannot be dialled"
            )));
        }
        let new = extension.to_owned();
        let detail = Some(new.clone());
        self.change(
            "extension.added",
            account,
            detail,
            move |tx, id, address| {
                if names::extension(tx, address.domain(), &new)?.is_some() {
                    return Err(StoreError::other(Taken));
                }
                names::add_extension(tx, address.domain(), &new, id)
            },
        )
        .await
        .map_err(|error| taken(error, || format!("extension {extension}")))
    }

    /// Removes an extension of a domain.
    pub async fn remove_extension(
        &self,
        domain: &str,
        extension: &str,
    ) -> Result<(), IdentityError> {
        let (domain, old) = (domain.to_owned(), extension.to_owned());
        let whose = domain.clone();
        let removed = self
            .inner
            .database
            .write(move |tx| {
                let removed = names::remove_extension(tx, &domain, &old)?;
                if removed {
                    let event = AuditEvent::now("extension.removed", &domain);
                    audit::insert(tx, &event.detail(old.clone()))?;
                }
                Ok(removed)
            })
            .await?;
        if removed {
            self.inner.hub.events().publish(Event::Custom {
                topic: "extension.removed".to_owned(),
                data: serde_json::json!({ "domain": whose, "extension": extension }),
            });
            Ok(())
        } else {
            Err(IdentityError::NotFound(format!("extension {extension}")))
        }
    }

    /// The account that an extension of a domain rings.
    pub async fn extension(
        &self,
        domain: &str,
        extension: &str,
    ) -> Result<Option<Address>, StoreError> {
        let (domain, extension) = (domain.to_owned(), extension.to_owned());
        self.inner
            .database
            .read(move |reader| names::extension(reader, &domain, &extension))
            .await
    }

    /// The extensions of a domain, with the account that each rings.
    pub async fn extensions(&self, domain: &str) -> Result<Vec<(String, Address)>, StoreError> {
        let domain = domain.to_owned();
        self.inner
            .database
            .read(move |reader| names::extensions(reader, &domain))
            .await
    }

    /// Changes an account that exists, records that, and tells whom it concerns.
    async fn change<F>(
        &self,
        event: &'static str,
        address: &Address,
        detail: Option<String>,
        mut change: F,
    ) -> Result<(), IdentityError>
    where
        F: FnMut(&mut Transaction<'_>, i64, &Address) -> Result<(), StoreError> + Send + 'static,
    {
        let whose = address.clone();
        let found = self
            .inner
            .database
            .write(move |tx| {
                let Some((id, _)) = accounts::find(tx, &whose)? else {
                    return Ok(false);
                };
                let record = AuditEvent {
                    detail: detail.clone(),
                    ..AuditEvent::now(event, whose.as_str())
                };
                audit::insert(tx, &record)?;
                change(tx, id, &whose)?;
                Ok(true)
            })
            .await?;
        if !found {
            return Err(IdentityError::NoAccount(address.clone()));
        }
        self.inner.look_who_lacks().await;
        self.inner.changed(event, address);
        Ok(())
    }

    async fn of<T: Send + 'static>(
        &self,
        address: &Address,
        read: fn(&mut omnid_store::Reader<'_>, i64) -> Result<T, StoreError>,
    ) -> Result<T, IdentityError> {
        let whose = address.clone();
        self.inner
            .database
            .read(move |reader| match accounts::find(reader, &whose)? {
                Some((id, _)) => read(reader, id).map(Some),
                None => Ok(None),
            })
            .await?
            .ok_or_else(|| IdentityError::NoAccount(address.clone()))
    }

    async fn derive(&self, address: &Address, password: &str) -> Result<Derived, IdentityError> {
        let shortest = self.inner.password_length;
        if password.chars().count() < shortest {
            return Err(IdentityError::Password(format!(
                "has fewer than {shortest} characters"
            )));
        }
        if password.len() > PASSWORD_LIMIT {
            return Err(IdentityError::Password(format!(
                "has more than {PASSWORD_LIMIT} bytes"
            )));
        }
        let (address, password) = (address.clone(), Zeroizing::new(password.to_owned()));
        let iterations = self.inner.iterations;
        self.inner
            .hash(move || Derived::new(&address, &password, iterations))
            .await?
    }
}

/// Reasons to roll back, on their way out of a closure.
#[derive(Debug, thiserror::Error)]
#[error("the name is taken")]
struct Taken;
#[derive(Debug, thiserror::Error)]
#[error("it is not there")]
struct NotThere;
#[derive(Debug, thiserror::Error)]
#[error("there are too many")]
struct TooMany;

fn taken(error: IdentityError, what: impl FnOnce() -> String) -> IdentityError {
    match error {
        IdentityError::Store(StoreError::Other(error)) if error.is::<Taken>() => {
            IdentityError::Exists(what())
        }
        other => other,
    }
}

fn not_there(error: IdentityError, what: impl FnOnce() -> String) -> IdentityError {
    match error {
        IdentityError::Store(StoreError::Other(error)) if error.is::<NotThere>() => {
            IdentityError::NotFound(what())
        }
        other => other,
    }
}

fn label(text: &str, what: &str) -> Result<String, IdentityError> {
    let text = text.trim();
    if text.chars().count() > LABEL || text.chars().any(char::is_control) {
        return Err(IdentityError::Name(format!(
            "a {what} has at most {LABEL} characters, and no control characters"
        )));
    }
    Ok(text.to_owned())
}
