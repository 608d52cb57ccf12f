use std::path::Path;
use std::sync::Arc;

use omnid_config::Spanned;
use omnid_tls::{CertStore, ClientCertificates};
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{
    BOTH, authority, client, client_with, config, issued, listed, load, made, put, shake, store,
};

fn store_trusting(folder: &Path, authority: &str) -> CertStore {
    let file = folder.join("clients.pem");
    put(&file, authority);
    let mut config = config(vec![listed(made(&["here.test"]).write(folder, "server"))]);
    config.client_authorities = vec![Spanned::from(file)];
    store(&config)
}

/// Connects and exchanges a byte, which in TLS 1.3 is when a client learns that it was refused.
/// Returns how many certificates the server was shown.
async fn visit(
    store: &CertStore,
    clients: ClientCertificates,
    client: ClientConfig,
) -> std::io::Result<usize> {
    let server = store.server_config(&[], clients);
    let (mut near, mut far) = shake(server, &Arc::new(client), "here.test").await?;
    far.write_all(b"x").await?;
    far.flush().await?;
    near.read_u8().await?;
    let shown = far.get_ref().1.peer_certificates().unwrap_or_default();
    if clients == ClientCertificates::Unverified && !shown.is_empty() {
        return match store.verify_client(shown) {
            Ok(()) => Ok(10 + shown.len()),
            Err(_) => Ok(shown.len()),
        };
    }
    Ok(shown.len())
}

#[tokio::test]
async fn each_mode_asks_what_it_says() {
    use ClientCertificates::{None, Optional, Required, Unverified};
    let folder = tempfile::tempdir().unwrap();
    let (trusted, issuer) = authority("trusted");
    let (_, stranger) = authority("stranger");
    let store = store_trusting(folder.path(), &trusted);
    let known = || client_with(&issued(&issuer, "known.test"));
    let unknown = || client_with(&issued(&stranger, "unknown.test"));
    let table = [
        (None, Some(0), Some(0), Some(0)),
        (Optional, Some(0), Some(1), Option::None),
        (Required, Option::None, Some(1), Option::None),
        (Unverified, Some(0), Some(11), Some(1)),
    ];
    for (mode, bare, good, bad) in table {
        assert_eq!(
            visit(&store, mode, client(BOTH)).await.ok(),
            bare,
            "{mode:?} without"
        );
        assert_eq!(
            visit(&store, mode, known()).await.ok(),
            good,
            "{mode:?} with a known one"
        );
        assert_eq!(
            visit(&store, mode, unknown()).await.ok(),
            bad,
            "{mode:?} with an unknown one"
        );
    }
}

#[tokio::test]
async fn authorities_change_live_and_sessions_under_the_old_ones_do_not_resume() {
    let folder = tempfile::tempdir().unwrap();
    let (first, first_issuer) = authority("first");
    let (second, second_issuer) = authority("second");
    let store = store_trusting(folder.path(), &first);
    let config = Arc::new(client_with(&issued(&first_issuer, "a.test")));
    let required = ClientCertificates::Required;
    let server = store.server_config(&[], required);
    let enter = |server: Arc<rustls::ServerConfig>, client: Arc<ClientConfig>| async move {
        let (mut near, mut far) = shake(server, &client, "here.test").await?;
        far.write_all(b"x").await?;
        far.flush().await?;
        near.read_u8().await
    };
    enter(server.clone(), config.clone()).await.unwrap();
    put(&folder.path().join("clients.pem"), &second);
    store.refresh();
    // With a ticket from before, and a certificate that is good no longer.
    assert!(enter(server.clone(), config).await.is_err());
    let newcomer = Arc::new(client_with(&issued(&second_issuer, "b.test")));
    enter(server.clone(), newcomer.clone()).await.unwrap();

    // Broken authorities are no authorities' change.
    put(&folder.path().join("clients.pem"), "nothing");
    store.refresh();
    enter(server, newcomer).await.unwrap();
}

#[test]
fn broken_authorities_are_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clients.pem");
    put(&file, "nothing");
    let mut config = config(vec![]);
    config.client_authorities = vec![Spanned::from(file.clone())];
    let problems = load(&config).unwrap_err();
    assert_eq!(
        problems[0].message,
        format!(
            "client authorities {}: it holds no PEM certificate",
            file.display()
        )
    );
}
