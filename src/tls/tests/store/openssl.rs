//! OpenSSL's client on a real port, so that not only our own library says that we speak TLS.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use omnid_net::{Listener, Net, NetConfig, tls_accept};
use omnid_tls::{CertStore, ClientCertificates, TlsConfig};
use tokio::io::AsyncWriteExt;

struct Server {
    _net: Net,
    port: u16,
    authority: String,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = TlsConfig {
            self_signed: true,
            ..TlsConfig::default()
        };
        let names = ["demo.test".to_owned()];
        let store =
            CertStore::new(CertStore::load(&config, &names, folder.path()).unwrap()).unwrap();
        let net = Net::new(&NetConfig::default());
        let listener = net
            .listen("tls", &omnid_net::ListenAddr::loopback(0))
            .unwrap();
        let port = listener.local_address().ip().unwrap().port();
        let authority = store.private_authority().unwrap().display().to_string();
        tokio::spawn(serve(listener, store));
        Self {
            _net: net,
            port,
            authority,
            _folder: folder,
        }
    }

    async fn s_client(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = Command::new("timeout");
        command
            .args([
                "20",
                "openssl",
                "s_client",
                "-connect",
                &format!("127.0.0.1:{}", self.port),
            ])
            .args(["-servername", "demo.test", "-verify_hostname", "demo.test"])
            .args([
                "-verify_return_error",
                "-CAfile",
                &self.authority,
                "-ign_eof",
            ])
            .args(arguments)
            .stdin(Stdio::null());
        let run = move || command.output();
        let Output {
            status,
            stdout,
            stderr,
        } = tokio::task::spawn_blocking(run).await.unwrap().unwrap();
        let text = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
        (status.success(), text)
    }
}

/// Greets every client and closes.
async fn serve(listener: Listener, store: CertStore) {
    loop {
        let accepted = listener.accept().await;
        let config = store.server_config(&["h2", "dot"], ClientCertificates::None);
        tokio::spawn(async move {
            let deadline = Duration::from_secs(10);
            if let Ok(mut stream) = tls_accept(accepted.socket, config, deadline).await {
                stream.write_all(b"hello, openssl\n").await.unwrap();
                stream.shutdown().await.unwrap();
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssl_agrees_on_versions_and_protocols() {
    let server = Server::start();
    let table: [(&[&str], bool, &[&str]); 7] = [
        (
            &["-tls1_3"],
            true,
            &["TLSv1.3", "Verification: OK", "hello, openssl"],
        ),
        (
            &["-tls1_2"],
            true,
            &["TLSv1.2", "Verification: OK", "hello, openssl"],
        ),
        (&["-tls1_3", "-alpn", "dot"], true, &["ALPN protocol: dot"]),
        (
            &["-tls1_2", "-alpn", "spdy,h2"],
            true,
            &["ALPN protocol: h2"],
        ),
        (
            &["-alpn", "spdy"],
            false,
            &["alert no application protocol"],
        ),
        (
            &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"],
            false,
            &["SSL alert number"],
        ),
        (
            &["-tls1_2", "-cipher", "AES128-SHA"],
            false,
            &["alert handshake failure"],
        ),
    ];
    for (arguments, success, expected) in table {
        let (succeeded, text) = server.s_client(arguments).await;
        assert_eq!(succeeded, success, "{arguments:?}: {text}");
        for words in expected {
            assert!(
                text.contains(words),
                "{arguments:?}: no {words:?} in {text}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssl_resumes_its_sessions() {
    let server = Server::start();
    for version in ["-tls1_2", "-tls1_3"] {
        let folder = tempfile::tempdir().unwrap();
        let session = folder.path().join("session").display().to_string();
        let (ok, text) = server.s_client(&[version, "-sess_out", &session]).await;
        assert!(ok && text.contains("New, TLSv1"), "{text}");
        let (ok, text) = server.s_client(&[version, "-sess_in", &session]).await;
        assert!(ok && text.contains("Reused, TLSv1"), "{version}: {text}");
    }
}
