use std::sync::Arc;

use omnid_tls::{CertStore, ClientCertificates, MinVersion};
use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, NamedGroup, ProtocolVersion, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{
    BOTH, client, client_reading, config, listed, load, made, made_as, names_of, shake, shown,
    store, store_of,
};

#[tokio::test]
async fn the_name_asked_for_chooses_the_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_of(
        folder.path(),
        &[
            &["default.test"],
            &["example.org", "*.example.org"],
            &["chat.example.org"],
            &["*.test"],
        ],
    );
    let table = [
        ("example.org", "example.org"),
        ("EXAMPLE.org", "example.org"),
        // Exact before wildcard.
        ("chat.example.org", "chat.example.org"),
        ("www.example.org", "example.org"),
        // RFC 9525 6.3: a wildcard is one label.
        ("a.b.example.org", "default.test"),
        ("other.test", "*.test"),
        ("default.test", "default.test"),
        ("unknown.example", "default.test"),
        // No name is asked for by address (RFC 6066 3).
        ("127.0.0.1", "default.test"),
    ];
    for (asked, expected) in table {
        let names = shown(&store, asked).await.unwrap();
        assert_eq!(names[0], expected, "{asked}");
    }
    assert!(store.covers("www.example.org") && !store.covers("a.b.example.org"));
    assert!(store.certificate(Some("chat.example.org")).is_some());
}

#[tokio::test]
async fn without_a_certificate_there_is_no_handshake() {
    let store = store(&config(vec![]));
    assert!(store.certificate(None).is_none());
    assert!(shown(&store, "example.org").await.is_err());
}

#[tokio::test]
async fn names_of_the_config_stand_in_for_those_of_the_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let first = listed(made(&["first.test"]).write(folder.path(), "first"));
    let mut named = listed(made(&["inside.test"]).write(folder.path(), "named"));
    named.names = vec![
        "outside.test".to_owned().into(),
        "*.outside.test".to_owned().into(),
    ];
    let store = store(&config(vec![first, named]));
    for (asked, expected) in [
        ("outside.test", "inside.test"),
        ("www.outside.test", "inside.test"),
        ("inside.test", "first.test"),
    ] {
        assert_eq!(shown(&store, asked).await.unwrap(), [expected], "{asked}");
    }
}

#[tokio::test]
async fn of_two_for_one_name_the_one_is_shown_that_the_client_can_read() {
    let folder = tempfile::tempdir().unwrap();
    let modern = made(&["both.test", "modern.test"]);
    let classic = made_as(
        &["both.test", "classic.test"],
        &rcgen::PKCS_RSA_SHA256,
        |_| {},
    );
    let store = store(&config(vec![
        listed(modern.write(folder.path(), "a")),
        listed(classic.write(folder.path(), "b")),
    ]));
    assert_eq!(shown(&store, "both.test").await.unwrap()[1], "modern.test");
    let old = client_reading(
        &[&TLS12],
        vec![
            SignatureScheme::RSA_PSS_SHA256,
            SignatureScheme::RSA_PKCS1_SHA256,
        ],
    );
    let server = store.server_config(&[], ClientCertificates::None);
    let (near, _) = shake(server, &Arc::new(old), "both.test").await.unwrap();
    assert_eq!(names_of(near.get_ref().1)[1], "classic.test");
}

#[tokio::test]
async fn a_swap_reaches_the_next_handshake_and_no_open_connection() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_of(folder.path(), &[&["old.test"]]);
    let server = store.server_config(&["h2"], ClientCertificates::None);
    let client = Arc::new(client(BOTH));
    let (mut near, mut far) = shake(server.clone(), &client, "any.test").await.unwrap();
    assert_eq!(names_of(near.get_ref().1), ["old.test"]);

    let new = config(vec![listed(
        made(&["new.test"]).write(folder.path(), "new"),
    )]);
    store.swap(load(&new).unwrap()).unwrap();
    near.write_all(b"still here").await.unwrap();
    near.flush().await.unwrap();
    let mut bytes = [0; 10];
    far.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"still here");

    // The very config that a listener has held all along.
    let fresh = Arc::new(crate::support::client(BOTH));
    let (near, _) = shake(server.clone(), &fresh, "any.test").await.unwrap();
    assert_eq!(names_of(near.get_ref().1), ["new.test"]);
    assert_eq!(store.list().len(), 1);
    assert!(Arc::ptr_eq(
        &server,
        &store.server_config(&["h2"], ClientCertificates::None)
    ));
    assert!(!Arc::ptr_eq(
        &server,
        &store.server_config(&["http/1.1"], ClientCertificates::None)
    ));
}

/// Connects, lets the tickets arrive, and says what kind of handshake it was.
async fn visit(
    store: &CertStore,
    alpn: &[&str],
    clients: ClientCertificates,
    client: &Arc<rustls::ClientConfig>,
) -> HandshakeKind {
    let mut offering = rustls::ClientConfig::clone(client);
    offering.alpn_protocols = alpn.iter().map(|id| id.as_bytes().to_vec()).collect();
    let server = store.server_config(alpn, clients);
    let (mut near, mut far) = shake(server, &Arc::new(offering), "here.test")
        .await
        .unwrap();
    far.write_all(b"x").await.unwrap();
    far.flush().await.unwrap();
    near.read_u8().await.unwrap();
    near.get_ref().1.handshake_kind().unwrap()
}

#[tokio::test]
async fn sessions_resume_over_ports_and_swaps() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_of(folder.path(), &[&["here.test"]]);
    for version in [&TLS12, &TLS13] {
        let client = Arc::new(client(&[version]));
        let none = ClientCertificates::None;
        assert_eq!(
            visit(&store, &["h2"], none, &client).await,
            HandshakeKind::Full
        );
        assert_eq!(
            visit(&store, &["h2"], none, &client).await,
            HandshakeKind::Resumed
        );
        // Another port with another protocol, and tickets that it did not issue.
        assert_eq!(
            visit(&store, &["xmpp-client"], none, &client).await,
            HandshakeKind::Resumed
        );
        let renewed = config(vec![listed(
            made(&["here.test"]).write(folder.path(), "renewed"),
        )]);
        store.swap(load(&renewed).unwrap()).unwrap();
        assert_eq!(
            visit(&store, &["h2"], none, &client).await,
            HandshakeKind::Resumed
        );
    }
}

#[tokio::test]
async fn a_session_does_not_resume_where_more_is_asked_of_clients() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_of(folder.path(), &[&["here.test"]]);
    for version in [&TLS12, &TLS13] {
        let client = Arc::new(client(&[version]));
        let (none, optional) = (ClientCertificates::None, ClientCertificates::Optional);
        assert_eq!(visit(&store, &[], none, &client).await, HandshakeKind::Full);
        assert_eq!(
            visit(&store, &[], optional, &client).await,
            HandshakeKind::Full
        );
        assert_eq!(
            visit(&store, &[], optional, &client).await,
            HandshakeKind::Resumed
        );
        // The one that matters: a session of a client without a certificate must not open the
        // door where one is required.
        let required = store.server_config(&[], ClientCertificates::Required);
        let entered = async {
            let (mut near, mut far) = shake(required, &client, "here.test").await?;
            far.write_all(b"x").await?;
            near.read_u8().await
        };
        assert!(entered.await.is_err());
    }
}

#[tokio::test]
async fn post_quantum_comes_first_and_others_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_of(folder.path(), &[&["here.test"]]);
    let server = store.server_config(&[], ClientCertificates::None);
    let (near, _) = shake(server.clone(), &Arc::new(client(BOTH)), "here.test")
        .await
        .unwrap();
    let (_, connection) = near.get_ref();
    assert_eq!(
        connection.protocol_version(),
        Some(ProtocolVersion::TLSv1_3)
    );
    let group = connection.negotiated_key_exchange_group().unwrap();
    assert_eq!(group.name(), NamedGroup::X25519MLKEM768);

    let (near, _) = shake(server, &Arc::new(client(&[&TLS12])), "here.test")
        .await
        .unwrap();
    let (_, connection) = near.get_ref();
    assert_eq!(
        connection.protocol_version(),
        Some(ProtocolVersion::TLSv1_2)
    );
    let group = connection.negotiated_key_exchange_group().unwrap();
    assert_eq!(group.name(), NamedGroup::X25519);
}

#[tokio::test]
async fn an_old_version_is_refused_when_the_config_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(vec![listed(
        made(&["here.test"]).write(folder.path(), "here"),
    )]);
    let store = store(&config);
    let old = Arc::new(client(&[&TLS12]));
    let server = || store.server_config(&[], ClientCertificates::None);
    shake(server(), &old, "here.test").await.unwrap();
    config.min_version = MinVersion::Tls13;
    store.swap(load(&config).unwrap()).unwrap();
    let error = shake(server(), &old, "here.test").await.unwrap_err();
    assert!(error.to_string().contains("ProtocolVersion"), "{error}");
    shake(server(), &Arc::new(client(BOTH)), "here.test")
        .await
        .unwrap();
}
