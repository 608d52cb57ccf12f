//! Clients that log in and say what is to be measured, many to a thread.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use memchr::memmem;
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, RootCertStore, client::Resumption},
};

use super::scram::{Exchange, Keys};

/// How long a server may take for any answer.
const PATIENCE: Duration = Duration::from_secs(60);
pub const DOMAIN: &str = "bench.test";

/// A server as its clients see it.
#[derive(Clone)]
pub struct Target {
    address: SocketAddr,
    tls: TlsConnector,
    password: &'static str,
    /// Keys derived from the password, by salt: a phone keeps them, too.
    keys: Arc<Mutex<HashMap<Vec<u8>, Keys>>>,
}

impl Target {
    /// A server at a loopback port for direct TLS, whose certificate is the one in the file.
    pub fn new(port: u16, certificate: &Path, password: &'static str) -> Self {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(certificate).unwrap())
            .unwrap();
        let mut config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        // Every login is to be a whole one.
        config.resumption = Resumption::disabled();
        Self {
            address: (Ipv4Addr::LOCALHOST, port).into(),
            tls: Arc::new(config).into(),
            password,
            keys: Arc::default(),
        }
    }
}

/// A session that is logged in and available.
pub struct Session {
    stream: TlsStream<TcpStream>,
    /// What was read and not looked at.
    buffer: Vec<u8>,
    pub jid: String,
}

impl Session {
    /// Connects, proves by SCRAM-SHA-256 who it is, binds a resource, asks for the roster, and says
    /// that it is there.
    pub async fn login(target: &Target, user: usize) -> Self {
        let jid = format!("user{user}@{DOMAIN}/bench");
        let login = Self::try_login(target, user, jid.clone());
        timeout(PATIENCE, login)
            .await
            .unwrap_or_else(|_| panic!("{jid} is not logged in within {PATIENCE:?}"))
    }

    async fn try_login(target: &Target, user: usize, jid: String) -> Self {
        let socket = TcpStream::connect(target.address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let name = ServerName::try_from(DOMAIN).unwrap();
        let stream = target.tls.connect(name, socket).await.unwrap();
        let mut session = Self {
            stream,
            buffer: Vec::new(),
            jid,
        };
        session.open().await;
        let exchange = Exchange::new(&format!("user{user}"));
        session
            .ask(
                &format!(
                    "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-256'>{}</auth>",
                    exchange.first()
                ),
                "</challenge>",
            )
            .await;
        let challenge = session.text();
        let response = exchange.answer(&challenge, |salt, iterations| {
            let mut known = target.keys.lock().unwrap();
            let keys = known.entry(salt.to_vec());
            keys.or_insert_with(|| Keys::derive(target.password, salt, iterations))
                .clone()
        });
        session
            .ask(
                &format!(
                    "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{response}</response>"
                ),
                "</success>",
            )
            .await;
        session.open().await;
        let bind = "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
                    <resource>bench</resource></bind></iq>";
        session.ask(bind, "</iq>").await;
        let roster = "<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>";
        session.ask(roster, "</iq>").await;
        session.write(b"<presence/>").await;
        session
    }

    async fn open(&mut self) {
        let header = format!(
            "<?xml version='1.0'?><stream:stream to='{DOMAIN}' version='1.0' xmlns='jabber:client' \
             xmlns:stream='http://etherx.jabber.org/streams'>"
        );
        self.ask(&header, "</stream:features>").await;
    }

    /// Says something and reads the answer, which ends so; [`Session::text`] has it afterwards.
    async fn ask(&mut self, text: &str, end: &str) {
        self.buffer.clear();
        self.write(text.as_bytes()).await;
        while memmem::find(&self.buffer, end.as_bytes()).is_none() {
            assert!(
                self.read().await,
                "{} was shut out:\n{text}\n{}",
                self.jid,
                String::from_utf8_lossy(&self.buffer)
            );
            let answer = String::from_utf8_lossy(&self.buffer);
            assert!(
                !answer.contains("<failure") && !answer.contains("type='error'"),
                "{} was refused:\n{text}\n{answer}",
                self.jid
            );
        }
    }

    /// What the innermost element of the answer holds.
    fn text(&self) -> String {
        let answer = String::from_utf8_lossy(&self.buffer);
        let end = answer.rfind("</").unwrap();
        let start = answer[..end].rfind('>').unwrap() + 1;
        answer[start..end].to_owned()
    }

    /// Writes at once, in one TLS record where it fits.
    pub async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Reads what has come, behind what was read before. False at the end.
    async fn read(&mut self) -> bool {
        self.stream.read_buf(&mut self.buffer).await.unwrap() > 0
    }

    /// Waits for messages; how many have come.
    pub async fn messages(&mut self) -> usize {
        const END: &[u8] = b"</message>";
        loop {
            let mut count = 0;
            let mut behind = 0;
            for place in memmem::find_iter(&self.buffer, END) {
                count += 1;
                behind = place + END.len();
            }
            self.buffer.drain(..behind);
            if count > 0 {
                return count;
            }
            assert!(self.read().await, "{} was shut out", self.jid);
        }
    }

    /// Ends the stream in order.
    pub async fn logout(mut self) {
        self.write(b"</stream:stream>").await;
        let ended = async {
            while self
                .stream
                .read_buf(&mut self.buffer)
                .await
                .is_ok_and(|n| n > 0)
            {}
        };
        timeout(PATIENCE, ended).await.unwrap();
    }
}
