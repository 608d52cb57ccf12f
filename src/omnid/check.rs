//! From a file to everything that is ready to be applied, or to every problem that stands in the
//! way. Changes nothing.

use std::{
    io::IsTerminal,
    net::{IpAddr, Ipv6Addr},
    path::Path,
};

use omnid_config::{DomainName, Draft, ListenAddr, Problem, Problems};
use omnid_ground::{ListenerClaim, Prepare};
use omnid_net::Transport;

use crate::{
    daemon::services::{Prepared, Services},
    root::{Root, directory},
};

/// A configuration without errors, and all that it names, loaded.
pub struct Checked {
    /// The configuration.
    pub root: Root,
    /// What each service made of its section.
    pub services: Prepared,
    /// Certificates.
    pub certificates: omnid_tls::Prepared,
    /// Scripts, compiled.
    pub scripts: omnid_script::Prepared,
    /// Warnings, rendered; empty where there are none.
    pub warnings: String,
}

/// Every problem, rendered for the operator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Rejected(pub String);

/// Loads and checks a configuration and everything it names.
///
/// # Errors
/// All problems at once.
pub fn check(path: &Path, services: &Services) -> Result<Checked, Rejected> {
    let colour = std::io::stderr().is_terminal();
    let Draft {
        value,
        mut sources,
        mut problems,
    } = omnid_config::draft::<Root>(path);
    let Some(root) = value else {
        return Err(Rejected(sources.render(&problems, colour)));
    };
    // A misspelt key is no reason to keep quiet about a missing file, which is looked for as well.
    let sound = !problems.has_errors();
    let mut found = Problems::default();

    let names = certificate_names(&root);
    let certificates = match omnid_tls::CertStore::load(&root.tls, &names, &root.server.data_dir) {
        Ok(mut certificates) => {
            let domains: Vec<String> = published(&root).map(ToString::to_string).collect();
            certificates.need(&certificate_groups(&root), &domains);
            found.extend(certificates.warnings().iter().cloned());
            Some(certificates)
        }
        Err(faults) => {
            found.extend(faults);
            None
        }
    };
    let scripts = match omnid_script::Scripts::load(&root.script, &mut sources) {
        Ok(scripts) => {
            found.extend(scripts.warnings().iter().cloned());
            Some(scripts)
        }
        Err(faults) => {
            found.extend(faults);
            None
        }
    };
    let context = Prepare {
        server: &root.server,
        domains: &root.domain,
        directory: directory(path),
        tls: certificates
            .as_ref()
            .is_none_or(|certificates| !certificates.is_empty()),
    };
    let mut claims = services.claims(&root);
    claims.extend(admin_claims(&root).map(|claim| ("admin", claim)));
    listeners_are_claimed_once(&claims, &mut found);
    let prepared = services.prepare(&root, &context, &mut found);
    // But what seems to be lacking may be the very thing that is misspelt.
    found.retain(|problem| sound || !problem.is_absence);
    problems.append(&mut found);

    let rendered = sources.render(&problems, colour);
    match (certificates, scripts, prepared) {
        (Some(certificates), Some(scripts), Some(services)) if !problems.has_errors() => {
            Ok(Checked {
                root,
                services,
                certificates,
                scripts,
                warnings: rendered,
            })
        }
        _ => Err(Rejected(rendered)),
    }
}

/// The names that a private authority must certify.
fn certificate_names(root: &Root) -> Vec<String> {
    let mut names = vec![root.server.hostname.to_string()];
    names.extend(root.domain.iter().map(|domain| domain.name.to_string()));
    names.sort();
    names.dedup();
    names
}

/// The names that certificates are asked for, those of one certificate together: the hosts of each
/// site, and the domains that telephones and chat are spoken under.
fn certificate_groups(root: &Root) -> Vec<Vec<String>> {
    let sites = root.http.iter().flat_map(|http| &http.site);
    let mut groups: Vec<Vec<String>> = sites
        .map(|site| site.hosts.iter().map(|host| host.value.clone()).collect())
        .collect();
    if root.xmpp.is_some() || root.sip.is_some() {
        let domains = root.domain.iter();
        groups.extend(domains.map(|domain| vec![domain.name.to_string()]));
    }
    groups
}

/// The domains that this server's own zones publish records about.
fn published(root: &Root) -> impl Iterator<Item = &DomainName> {
    let zones = root.dns.iter().flat_map(|dns| &dns.zone);
    let zones: Vec<&DomainName> = zones.map(|zone| &zone.name.value).collect();
    let domains = root.domain.iter().filter(|domain| domain.publish);
    domains
        .map(|domain| &domain.name.value)
        .filter(move |domain| zones.iter().any(|zone| domain.is_within(zone)))
}

fn admin_claims(root: &Root) -> impl Iterator<Item = ListenerClaim> {
    let socket = ListenerClaim {
        transport: Transport::Stream,
        address: ListenAddr::Unix(root.admin.socket.clone()),
        span: None,
    };
    let watched = ListenerClaim::all(Transport::Stream, &root.admin.listen);
    watched.into_iter().chain([socket])
}

fn listeners_are_claimed_once(claims: &[(&'static str, ListenerClaim)], problems: &mut Problems) {
    // UDP and TCP of one key conflict alike, and are one mistake.
    let mut reported = Vec::new();
    for (index, (service, claim)) in claims.iter().enumerate() {
        let earlier = claims.iter().take(index).find(|(_, earlier)| {
            earlier.transport == claim.transport && conflict(&earlier.address, &claim.address)
        });
        if let Some((first_service, first)) = earlier {
            if reported.contains(&(claim.span, first.span)) {
                continue;
            }
            reported.push((claim.span, first.span));
            problems.push(
                Problem::error(format!("{} is claimed twice", claim.address))
                    .at(claim.span, format!("taken again by [{service}] here"))
                    .also(first.span, format!("taken by [{first_service}] here"))
                    .help(way_out(
                        &first.address,
                        &claim.address,
                        service == first_service,
                    )),
            );
        }
    }
}

fn way_out(one: &ListenAddr, other: &ListenAddr, same_service: bool) -> String {
    let every = |address: &ListenAddr| {
        address
            .ip()
            .is_some_and(|ip| ip.ip() == Ipv6Addr::UNSPECIFIED)
    };
    let is_ipv4 = |address: &ListenAddr| address.ip().is_some_and(|ip| ip.is_ipv4());
    match (one, other) {
        (wide, narrow) | (narrow, wide) if same_service && every(wide) && is_ipv4(narrow) => {
            format!("\"{wide}\" takes IPv4 too: leave \"{narrow}\" out")
        }
        _ => "give one of them another address or port".to_owned(),
    }
}

/// Whether two addresses cannot both be bound: a wildcard takes in every address of its family,
/// and IPv6's takes in IPv4. Port 0 is another port each time.
fn conflict(one: &ListenAddr, other: &ListenAddr) -> bool {
    match (one, other) {
        (ListenAddr::Ip(one), ListenAddr::Ip(other)) => {
            let covers = |wide: IpAddr, narrow: IpAddr| {
                wide.is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4())
            };
            one.port() != 0
                && one.port() == other.port()
                && (one.ip() == other.ip()
                    || covers(one.ip(), other.ip())
                    || covers(other.ip(), one.ip()))
        }
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_take_in_their_family() {
        let conflicts = |one: &str, other: &str| {
            let parse = |text: &str| text.parse::<std::net::SocketAddr>().map(ListenAddr::from);
            parse(one).is_ok_and(|one| parse(other).is_ok_and(|other| conflict(&one, &other)))
        };
        assert!(conflicts("127.0.0.1:53", "127.0.0.1:53"));
        assert!(conflicts("[::]:53", "127.0.0.1:53"));
        assert!(conflicts("127.0.0.1:53", "0.0.0.0:53"));
        assert!(!conflicts("0.0.0.0:53", "[::1]:53"));
        assert!(!conflicts("127.0.0.1:53", "127.0.0.2:53"));
        assert!(!conflicts("127.0.0.1:0", "127.0.0.1:0"));
    }
}
