//! The account with an authority: made once, kept in a file, found again after a restart.

use std::path::{Path, PathBuf};

use instant_acme::{Account, AccountCredentials, ExternalAccountKey, NewAccount};
use serde::{Deserialize, Serialize};

use super::client::Client;
use super::{AcmeConfig, AcmeError, files};
use crate::info::{hex, sha256};

#[derive(Serialize, Deserialize)]
struct Kept {
    directory: String,
    contact: Option<String>,
    credentials: AccountCredentials,
}

fn path(config: &AcmeConfig, folder: &Path) -> PathBuf {
    // Each authority has an account of its own: a test run must not end the real one.
    let digest = hex(&sha256(config.directory.as_bytes()));
    folder.join(format!(
        "account-{}.json",
        digest.get(..16).unwrap_or_default()
    ))
}

/// The account of the folder, or a new one.
pub(crate) async fn open(
    config: &AcmeConfig,
    folder: &Path,
    client: &Client,
) -> Result<Account, AcmeError> {
    let path = path(config, folder);
    let builder = || Account::builder_with_http(Box::new(client.clone()));
    let contact = config.contact.as_ref().map(|contact| contact.value.clone());
    let contacts: Vec<&str> = contact.iter().map(String::as_str).collect();
    if let Some(kept) = files::read_json::<Kept>(&path)
        && kept.directory == config.directory.value
    {
        let changed = kept.contact != contact;
        let account = builder().from_credentials(kept.credentials).await?;
        if changed {
            account.update_contacts(&contacts).await?;
            let credentials = files::read_json::<Kept>(&path).map(|kept| kept.credentials);
            if let Some(credentials) = credentials {
                keep(&path, config, contact, credentials)?;
            }
        }
        return Ok(account);
    }
    let external = config.external_account.as_ref().and_then(|external| {
        let key = external.key_bytes()?;
        Some(ExternalAccountKey::new(external.key_id.clone(), &key))
    });
    let new = NewAccount {
        contact: &contacts,
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let directory = config.directory.value.clone();
    let (account, credentials) = builder().create(&new, directory, external.as_ref()).await?;
    keep(&path, config, contact, credentials)?;
    tracing::info!(
        directory = config.directory.value,
        account = account.id(),
        "account made with the certificate authority"
    );
    Ok(account)
}

fn keep(
    path: &Path,
    config: &AcmeConfig,
    contact: Option<String>,
    credentials: AccountCredentials,
) -> Result<(), AcmeError> {
    let kept = Kept {
        directory: config.directory.value.clone(),
        contact,
        credentials,
    };
    files::write_json(path, &kept)
}

/// Forgets an account that the authority no longer knows, so that the next try makes a new one.
pub(crate) fn forget_if_unknown(config: &AcmeConfig, folder: &Path, error: &AcmeError) {
    const UNKNOWN: &str = "urn:ietf:params:acme:error:accountDoesNotExist";
    let AcmeError::Authority(instant_acme::Error::Api(problem)) = error else {
        return;
    };
    if problem.r#type.as_deref() != Some(UNKNOWN) {
        return;
    }
    let path = path(config, folder);
    match std::fs::rename(&path, path.with_extension("unknown")) {
        Ok(()) => tracing::warn!("the certificate authority does not know our account any more"),
        Err(error) => tracing::error!(%error, "the account's file stays"),
    }
}
