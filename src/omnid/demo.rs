//! `omnid demo`: all four services on loopback high ports, with a private authority, the zone and
//! site `demo.test`, and two accounts whose passwords are made up and printed.

use std::{
    fs,
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use omnid_identity::{Address, Role};
use serde::Serialize;

use crate::{
    check::check,
    commands::{CommandError, password, runtime},
    daemon::{self, Daemon, services::Services},
    welcome,
};

/// The domain of the demonstration; `.test` is reserved for this (RFC 6761).
pub const DOMAIN: &str = "demo.test";

/// What the demonstration offers; printed whole with `--json`.
#[derive(Debug, Clone, Serialize)]
pub struct Offer {
    pub domain: &'static str,
    pub dns: SocketAddr,
    pub dot: SocketAddr,
    pub http: SocketAddr,
    pub https: SocketAddr,
    pub xmpp: SocketAddr,
    pub xmpps: SocketAddr,
    pub sip: SocketAddr,
    pub sips: SocketAddr,
    pub admin: SocketAddr,
    pub socket: PathBuf,
    pub ca: PathBuf,
    pub config: PathBuf,
    pub accounts: Vec<Account>,
}

/// An account of the demonstration.
#[derive(Debug, Clone, Serialize)]
pub struct Account {
    pub address: String,
    pub password: String,
}

/// Lays everything out below `directory`, runs it, and prints what to try.
///
/// # Errors
/// Where files cannot be written, or the daemon does not come up.
pub fn run(directory: Option<PathBuf>, ports: &str, json: bool) -> Result<ExitCode, CommandError> {
    let directory = match directory {
        Some(directory) => directory,
        None => temporary()?,
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&directory)?;
    let directory = directory.canonicalize()?;
    let offer = lay_out(&directory, ports)?;

    let runtime = runtime()?;
    let _entered = runtime.enter();
    let services = Services::new();
    let checked = check(&offer.config, &services)?;
    let config = offer.config.clone();
    let started = async |daemon: &Arc<Daemon>| {
        // A reader of our output that is gone must not keep the services from running.
        if let Err(error) = announce(daemon, &offer, json).await {
            tracing::error!(%error, "the demonstration cannot say what it offers");
        }
    };
    let code = runtime.block_on(daemon::run(&config, services, checked, started))?;
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    Ok(code)
}

async fn announce(daemon: &Arc<Daemon>, offer: &Offer, json: bool) -> Result<(), CommandError> {
    let identity = &daemon.ground().identity;
    for account in &offer.accounts {
        let address: Address = account.address.parse()?;
        // A directory that is used again has the accounts already, with the passwords of last time.
        if identity.account(&address).await?.is_some() {
            identity.set_password(&address, &account.password).await?;
        } else {
            identity
                .create(&address, &account.password, Role::User)
                .await?;
        }
    }
    welcome::offer(daemon, offer);
    let mut out = io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string(offer)?)?;
    } else {
        write!(out, "{}", text(offer))?;
    }
    out.flush()?;
    Ok(())
}

fn temporary() -> io::Result<PathBuf> {
    let mut random = [0_u8; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    let name = format!("omnid-demo-{:016x}", u64::from_ne_bytes(random));
    Ok(std::env::temp_dir().join(name))
}

fn lay_out(directory: &Path, ports: &str) -> Result<Offer, CommandError> {
    let ports = match ports {
        "auto" => free_ports()?,
        first => row_of_ports(first.parse().map_err(|_| {
            format!("--ports is \"auto\" or the first port of a row, not \"{first}\"")
        })?)?,
    };
    let [dns, dot, http, https, xmpp, xmpps, sip, sips, admin] = ports.map(loopback);
    let account = |name: &str| -> io::Result<Account> {
        Ok(Account {
            address: format!("{name}@{DOMAIN}"),
            password: password::generated()?,
        })
    };
    let offer = Offer {
        domain: DOMAIN,
        dns,
        dot,
        http,
        https,
        xmpp,
        xmpps,
        sip,
        sips,
        admin,
        socket: directory.join("omnid.sock"),
        ca: directory.join("data/tls/authority.pem"),
        config: directory.join("omnid.toml"),
        accounts: vec![account("alice")?, account("bob")?],
    };
    fs::create_dir_all(directory.join("site"))?;
    write_private(&directory.join("demo.test.zone"), &zone())?;
    write_private(
        &directory.join("site/index.html"),
        &welcome::page(&offer, &text(&offer)),
    )?;
    write_private(&offer.config, &config(&offer))?;
    Ok(offer)
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?
        .write_all(text.as_bytes())
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// How many listeners the demonstration has.
const LISTENERS: usize = 9;

/// Ports that are free for TCP and UDP right now. All are held until the last is found, so that
/// none is found twice.
fn free_ports() -> io::Result<[u16; LISTENERS]> {
    let mut held = Vec::new();
    let mut ports = [0; LISTENERS];
    for port in &mut ports {
        *port = loop {
            let tcp = TcpListener::bind(loopback(0))?;
            let address = tcp.local_addr()?;
            if let Ok(udp) = UdpSocket::bind(address) {
                held.push((tcp, udp));
                break address.port();
            }
        };
    }
    Ok(ports)
}

fn row_of_ports(first: u16) -> Result<[u16; LISTENERS], CommandError> {
    let mut ports = [0; LISTENERS];
    for (port, offset) in ports.iter_mut().zip(0_u16..) {
        *port = first
            .checked_add(offset)
            .ok_or("--ports: the row ends beyond 65535")?;
    }
    Ok(ports)
}

fn zone() -> String {
    format!(
        "\
$ORIGIN {DOMAIN}.
$TTL 300
@       SOA   ns hostmaster 1 3600 600 86400 60
@       NS    ns
@       A     127.0.0.1
@       TXT   \"served by omnid\"
ns      A     127.0.0.1
www     CNAME @
*.any   A     127.0.0.1
"
    )
}

fn config(offer: &Offer) -> String {
    let Offer {
        dns,
        dot,
        http,
        https,
        xmpp,
        xmpps,
        sip,
        sips,
        admin,
        ..
    } = offer;
    format!(
        r#"# Written by `omnid demo`. A good start for a configuration of your own.
[server]
hostname  = "{DOMAIN}"
addresses = ["127.0.0.1"]
data_dir  = "data"

[[domain]]
name = "{DOMAIN}"

[log]
level = "warn"

[tls]
self_signed = true

[admin]
socket = "omnid.sock"
listen = ["{admin}"]

[dns]
listen     = ["{dns}"]
listen_tls = ["{dot}"]
  [[dns.zone]]
  name = "{DOMAIN}"
  file = "demo.test.zone"

[http]
listen     = ["{http}"]
listen_tls = ["{https}"]
  [[http.site]]
  hosts   = ["{DOMAIN}", "www.{DOMAIN}"]
  default = true
  root    = "site"
  mounts  = ["/welcome"]
    [[http.site.route]]
    path = "/private"
    auth = {{ basic = "demonstration" }}
    root = "site"

[xmpp]
hosts      = ["{DOMAIN}"]
listen     = ["{xmpp}"]
listen_tls = ["{xmpps}"]

[sip]
domains    = ["{DOMAIN}"]
listen     = ["{sip}"]
listen_tls = ["{sips}"]
"#
    )
}

/// What to try, for a person.
pub fn text(offer: &Offer) -> String {
    let Offer {
        dns,
        dot,
        http,
        https,
        xmpp,
        xmpps,
        sip,
        sips,
        admin,
        ..
    } = offer;
    let ca = offer.ca.display();
    let config = offer.config.display();
    let mut text = format!(
        "\
omnid runs the domain {DOMAIN} on loopback. Ctrl-C ends it.

  page      http://{http}/        https://{DOMAIN}:{}/
  DNS       {dns}   over TLS {dot}
  chat      {xmpp}   direct TLS {xmpps}
  calls     {sip}   TLS {sips}
  metrics   http://{admin}/metrics

",
        https.port()
    );
    for account in &offer.accounts {
        text.push_str(&format!(
            "  account   {}   password {}\n",
            account.address, account.password
        ));
    }
    let [alice, bob] = match offer.accounts.as_slice() {
        [alice, bob, ..] => [alice, bob],
        _ => return text,
    };
    text.push_str(&format!(
        "
Try:
  dig @{dns_ip} -p {dns_port} {DOMAIN} TXT
  kdig @{dns_ip} -p {dot_port} +tls-ca={ca} +tls-hostname={DOMAIN} _xmpp-client._tcp.{DOMAIN} SRV
  curl --cacert {ca} --resolve {DOMAIN}:{https_port}:127.0.0.1 https://{DOMAIN}:{https_port}/
  curl -u {alice_address}:{alice_password} http://{http}/private/
  echo hello | go-sendxmpp --tls-version 12 -n -j 127.0.0.1:{xmpp_port} -u {alice_address} -p {alice_password} {bob_address}
  baresip: <sip:alice@{DOMAIN}:{sip_port};transport=udp>;auth_pass={alice_password};outbound=\"sip:{sip}\"
           and dial sip:bob@{DOMAIN}
  omnid -c {config} status
  omnid -c {config} top
",
        dns_ip = dns.ip(),
        dns_port = dns.port(),
        dot_port = dot.port(),
        https_port = https.port(),
        xmpp_port = xmpp.port(),
        sip_port = sip.port(),
        alice_address = alice.address,
        alice_password = alice.password,
        bob_address = bob.address,
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_are_all_different() {
        let mut ports = free_ports().unwrap_or_default().to_vec();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), LISTENERS);
    }

    #[test]
    fn a_row_of_ports_ends_within_the_range() {
        assert_eq!(
            row_of_ports(5000).map(|ports| ports.last().copied()).ok(),
            Some(Some(5008))
        );
        assert!(row_of_ports(65_530).is_err());
    }
}
