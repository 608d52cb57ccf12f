//! Response policy zones: answers replaced by what an operator's lists say (RPZ,
//! draft-vixie-dnsop-dns-rpz). Triggers are the name asked for, the addresses in an answer, the
//! names and addresses of the servers of its zone, and the address of the client.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use super::record::RrSet;
use crate::wire::code::RrType;
use crate::wire::name::{Name, NameBuf, NameRef};

/// What is done with an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// The name does not exist.
    NoName,
    /// The name has no such data.
    NoData,
    /// The answer is let be, whatever the lists behind this one say.
    Pass,
    /// There is no answer.
    Drop,
    /// Over UDP, a hint to ask over TCP.
    TcpOnly,
    /// These records.
    Local(Vec<Arc<RrSet>>),
}

/// What a list's rules are turned into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Override {
    /// What each says.
    Given,
    /// A log line and nothing else.
    Disabled,
    NoName,
    NoData,
    Pass,
    Drop,
}

/// Rules by network; the longest prefix counts.
#[derive(Debug, Default)]
struct Networks {
    rules: HashMap<(u8, u128), Action>,
    /// Prefix lengths in use, longest first.
    lengths: Vec<u8>,
}

/// Rules by name: exact ones, and those for all below a name.
#[derive(Debug, Default)]
struct Names {
    exact: HashMap<Name, Action>,
    below: HashMap<Name, Action>,
}

/// One list.
#[derive(Debug)]
pub(crate) struct List {
    pub(crate) name: Name,
    over: Override,
    names: Names,
    server_names: Names,
    addresses: Networks,
    server_addresses: Networks,
    clients: Networks,
}

/// All lists, in the order in which they count.
#[derive(Debug, Default)]
pub(crate) struct Policy {
    lists: Vec<List>,
}

/// A rule that applies: the number of its list, and what it says.
pub(crate) type Hit<'a> = (usize, &'a Action);

fn bits(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn masked(bits: u128, length: u8) -> u128 {
    let spare = 128u32.saturating_sub(length.into());
    bits.checked_shr(spare).map_or(0, |kept| kept << spare)
}

impl Networks {
    fn add(&mut self, (length, bits): (u8, u128), action: Action) {
        self.rules.insert((length, masked(bits, length)), action);
        if let Err(at) = self.lengths.binary_search_by(|held| length.cmp(held)) {
            self.lengths.insert(at, length);
        }
    }

    fn get(&self, address: IpAddr) -> Option<&Action> {
        let bits = bits(address);
        let mut lengths = self.lengths.iter();
        lengths.find_map(|length| self.rules.get(&(*length, masked(bits, *length))))
    }

    fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

impl Names {
    fn add(&mut self, name: NameRef<'_>, action: Action) {
        match name.parent().filter(|_| name.is_wildcard()) {
            Some(above) => self.below.insert(above.to_owned(), action),
            None => self.exact.insert(name.to_owned(), action),
        };
    }

    fn get(&self, name: &Name) -> Option<&Action> {
        if let Some(action) = self.exact.get(name) {
            return Some(action);
        }
        if self.below.is_empty() {
            return None;
        }
        let mut above = name.as_ref().parent();
        while let Some(at) = above {
            if let Some(action) = self.below.get(&at.to_owned()) {
                return Some(action);
            }
            above = at.parent();
        }
        None
    }

    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.below.is_empty()
    }
}

/// Reads `24.0.2.0.192`, or `48.zz.db8.2001`: a prefix length, and an address backwards.
fn network(labels: &[&[u8]]) -> Option<(u8, u128)> {
    let texts: Option<Vec<&str>> = labels
        .iter()
        .map(|label| std::str::from_utf8(label).ok())
        .collect();
    let texts = texts?;
    let (length, parts) = texts.split_first()?;
    let length: u8 = length.parse().ok()?;
    let v4 = parts.len() == 4 && parts.iter().all(|part| part.parse::<u8>().is_ok());
    if v4 {
        let mut octets = [0u8; 4];
        for (octet, part) in octets.iter_mut().zip(parts.iter().rev()) {
            *octet = part.parse().ok()?;
        }
        let bits = bits(IpAddr::from(octets));
        return (length <= 32).then_some((length + 96, bits));
    }
    let text = parts.iter().rev().copied().collect::<Vec<_>>().join(":");
    let text = match text.as_str() {
        "zz" => "::".to_owned(),
        other if other.starts_with("zz:") => other.replacen("zz", ":", 1),
        other if other.ends_with(":zz") => other.replacen("zz", ":", 1),
        other => other.replacen(":zz:", "::", 1),
    };
    let address: Ipv6Addr = text.parse().ok()?;
    (length <= 128).then_some((length, address.to_bits()))
}

impl List {
    /// Makes a list of a zone's records; what is no rule is counted.
    pub(crate) fn new<'r>(
        apex: &Name,
        over: Override,
        records: impl Iterator<Item = (NameRef<'r>, RrType, u32, &'r [u8])>,
    ) -> (List, usize) {
        let mut list = List {
            name: apex.clone(),
            over,
            names: Names::default(),
            server_names: Names::default(),
            addresses: Networks::default(),
            server_addresses: Networks::default(),
            clients: Networks::default(),
        };
        let mut sets: HashMap<Name, Vec<RrSet>> = HashMap::new();
        for (owner, rr_type, ttl, data) in records {
            let own = owner == apex.as_ref() || !owner.is_within(apex.as_ref());
            let dnssec = matches!(
                rr_type,
                RrType::RRSIG | RrType::NSEC | RrType::NSEC3 | RrType::NSEC3PARAM | RrType::DNSKEY
            );
            if own || dnssec {
                continue;
            }
            let of_name = sets.entry(owner.to_owned()).or_default();
            match of_name.iter_mut().find(|set| set.rr_type == rr_type) {
                Some(set) => set.data.push(data.into()),
                None => of_name.push(RrSet {
                    owner: owner.to_owned(),
                    rr_type,
                    ttl,
                    data: vec![data.into()],
                    signatures: Vec::new(),
                }),
            }
        }
        let mut odd = 0;
        for (owner, sets) in sets {
            let action = action(sets);
            if list.rule(apex, &owner, action).is_none() {
                odd += 1;
            }
        }
        (list, odd)
    }

    fn rule(&mut self, apex: &Name, owner: &Name, action: Action) -> Option<()> {
        let labels: Vec<&[u8]> = owner.as_ref().labels().collect();
        let own = labels.len().checked_sub(apex.as_ref().label_count())?;
        let trigger = labels.get(..own)?;
        let (last, front) = trigger.split_last()?;
        let kind = last.to_ascii_lowercase();
        match kind.as_slice() {
            b"rpz-ip" => self.addresses.add(network(front)?, action),
            b"rpz-nsip" => self.server_addresses.add(network(front)?, action),
            b"rpz-client-ip" => self.clients.add(network(front)?, action),
            b"rpz-nsdname" => self.server_names.add(from_labels(front)?.as_ref(), action),
            kind if kind.starts_with(b"rpz-") => return None,
            _ => self.names.add(from_labels(trigger)?.as_ref(), action),
        }
        Some(())
    }

    /// What a rule comes to under this list's settings; none: only a log line.
    fn effect<'a>(&'a self, action: &'a Action) -> Option<&'a Action> {
        match self.over {
            Override::Given => Some(action),
            Override::Disabled => None,
            Override::NoName => Some(&Action::NoName),
            Override::NoData => Some(&Action::NoData),
            Override::Pass => Some(&Action::Pass),
            Override::Drop => Some(&Action::Drop),
        }
    }
}

fn from_labels(labels: &[&[u8]]) -> Option<Name> {
    let mut wire = Vec::new();
    for label in labels {
        wire.push(label.len() as u8);
        wire.extend_from_slice(label);
    }
    wire.push(0);
    Name::from_wire(&wire).ok()
}

fn action(sets: Vec<RrSet>) -> Action {
    let alias = sets.iter().find(|set| set.rr_type == RrType::CNAME);
    let target = alias
        .and_then(RrSet::target)
        .map(|target| target.to_string());
    match target.as_deref() {
        Some(".") => Action::NoName,
        Some("*.") => Action::NoData,
        Some(target) if target.eq_ignore_ascii_case("rpz-passthru.") => Action::Pass,
        Some(target) if target.eq_ignore_ascii_case("rpz-drop.") => Action::Drop,
        Some(target) if target.eq_ignore_ascii_case("rpz-tcp-only.") => Action::TcpOnly,
        _ => Action::Local(sets.into_iter().map(Arc::new).collect()),
    }
}

impl Policy {
    pub(crate) fn new(lists: Vec<List>) -> Policy {
        Policy { lists }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    /// True if clients are told apart.
    pub(crate) fn has_clients(&self) -> bool {
        self.lists.iter().any(|list| !list.clients.is_empty())
    }

    /// True if a list before this one has rules that only an answer can match.
    pub(crate) fn needs_answer_before(&self, number: usize) -> bool {
        self.lists.iter().take(number).any(|list| {
            !list.addresses.is_empty()
                || !list.server_names.is_empty()
                || !list.server_addresses.is_empty()
        })
    }

    /// True if the servers of zones matter.
    pub(crate) fn has_servers(&self) -> bool {
        self.lists
            .iter()
            .any(|list| !list.server_names.is_empty() || !list.server_addresses.is_empty())
    }

    fn first<'a>(
        &'a self,
        what: &str,
        about: &dyn std::fmt::Display,
        rule: impl Fn(&'a List) -> Option<&'a Action>,
    ) -> Option<Hit<'a>> {
        for (number, list) in self.lists.iter().enumerate() {
            let Some(action) = rule(list) else { continue };
            let effect = list.effect(action);
            tracing::info!(
                target: "omnid_dns::policy",
                list = %list.name, trigger = what, %about, action = word(effect), "policy rule applies"
            );
            if let Some(effect) = effect {
                return Some((number, effect));
            }
        }
        None
    }

    pub(crate) fn client(&self, address: IpAddr) -> Option<Hit<'_>> {
        self.first("client", &address, |list| list.clients.get(address))
    }

    pub(crate) fn name(&self, name: &Name) -> Option<Hit<'_>> {
        self.first("name", name, |list| list.names.get(name))
    }

    pub(crate) fn address(&self, address: IpAddr) -> Option<Hit<'_>> {
        self.first("address", &address, |list| list.addresses.get(address))
    }

    pub(crate) fn server_name(&self, name: &Name) -> Option<Hit<'_>> {
        self.first("server name", name, |list| list.server_names.get(name))
    }

    pub(crate) fn server_address(&self, address: IpAddr) -> Option<Hit<'_>> {
        self.first("server address", &address, |list| {
            list.server_addresses.get(address)
        })
    }
}

fn word(action: Option<&Action>) -> &'static str {
    match action {
        None => "none",
        Some(Action::NoName) => "nxdomain",
        Some(Action::NoData) => "nodata",
        Some(Action::Pass) => "passthru",
        Some(Action::Drop) => "drop",
        Some(Action::TcpOnly) => "tcp-only",
        Some(Action::Local(_)) => "local data",
    }
}

/// The record set of a rule for a name and type: that of the type, or a CNAME. A target that
/// begins with `*` has the name put in its place.
pub(crate) fn local(sets: &[Arc<RrSet>], name: &Name, rr_type: RrType) -> Option<RrSet> {
    let of = |wanted: RrType| sets.iter().find(|set| set.rr_type == wanted);
    let set = of(rr_type).or_else(|| of(RrType::CNAME))?;
    let mut set = RrSet::clone(set);
    set.owner = name.clone();
    if set.rr_type == RrType::CNAME
        && let Some(target) = set.target().filter(|target| target.is_wildcard())
        && let Some(Ok(target)) = target
            .parent()
            .map(|above| NameBuf::join(name.as_ref(), above))
    {
        set.data = vec![target.as_ref().wire().into()];
    }
    Some(set)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::wire::record::OwnRecord;

    fn name(text: &str) -> Name {
        Name::from_text(text).unwrap()
    }

    fn list(over: Override, lines: &[(&str, &str, &str)]) -> (List, usize) {
        let records: Vec<OwnRecord> = lines
            .iter()
            .map(|(owner, rr_type, data)| {
                let owner = name(&format!("{owner}.rpz."));
                let rr_type = RrType::from_text(rr_type.as_bytes()).unwrap();
                OwnRecord::from_text(owner, rr_type, 60, data).unwrap()
            })
            .collect();
        let rows = records.iter().map(|record| {
            (
                record.owner.as_ref(),
                record.rr_type,
                record.ttl,
                record.rdata.as_slice(),
            )
        });
        List::new(&name("rpz."), over, rows)
    }

    #[test]
    fn triggers_and_actions() {
        let (rules, odd) = list(
            Override::Given,
            &[
                ("bad.example", "CNAME", "."),
                ("*.bad.example", "CNAME", "*."),
                ("good.bad.example", "CNAME", "rpz-passthru."),
                ("garden.example", "A", "192.0.2.200"),
                ("*.walled.example", "CNAME", "*.garden.example."),
                ("24.0.2.0.192.rpz-ip", "CNAME", "."),
                ("32.9.2.0.192.rpz-ip", "CNAME", "rpz-passthru."),
                ("32.zz.db8.2001.rpz-ip", "CNAME", "rpz-drop."),
                ("128.1.zz.2.db8.2001.rpz-nsip", "CNAME", "."),
                ("ns.evil.example.rpz-nsdname", "CNAME", "."),
                ("8.0.0.0.10.rpz-client-ip", "CNAME", "rpz-tcp-only."),
                ("33.0.0.0.10.rpz-client-ip", "CNAME", "."),
                ("x.rpz-unknown", "CNAME", "."),
            ],
        );
        assert_eq!(odd, 2);
        let policy = Policy::new(vec![rules]);
        let says = |hit: Option<Hit<'_>>| hit.map(|(_, action)| word(Some(action)));
        let by_name = |text: &str| says(policy.name(&name(text)));
        assert_eq!(by_name("BAD.example."), Some("nxdomain"));
        assert_eq!(by_name("a.b.bad.example."), Some("nodata"));
        assert_eq!(by_name("good.bad.example."), Some("passthru"));
        assert_eq!(by_name("garden.example."), Some("local data"));
        assert_eq!(by_name("example."), None);
        let by_address = |text: &str| says(policy.address(text.parse().unwrap()));
        assert_eq!(by_address("192.0.2.1"), Some("nxdomain"));
        assert_eq!(
            by_address("192.0.2.9"),
            Some("passthru"),
            "the longest prefix"
        );
        assert_eq!(by_address("192.0.3.1"), None);
        assert_eq!(by_address("2001:db8::9"), Some("drop"));
        assert_eq!(
            says(policy.server_address("2001:db8:2::1".parse().unwrap())),
            Some("nxdomain")
        );
        assert_eq!(
            says(policy.server_name(&name("ns.evil.example."))),
            Some("nxdomain")
        );
        assert_eq!(
            says(policy.client("10.1.2.3".parse().unwrap())),
            Some("tcp-only")
        );

        let Some((_, Action::Local(sets))) = policy.name(&name("x.walled.example.")) else {
            panic!("no local data");
        };
        let set = local(sets, &name("x.walled.example."), RrType::A).unwrap();
        assert_eq!(
            set.target().unwrap().to_string(),
            "x.walled.example.garden.example."
        );
    }

    #[test]
    fn overrides() {
        let rules = [("bad.example", "CNAME", ".")];
        let policy = Policy::new(vec![
            list(Override::Disabled, &rules).0,
            list(Override::NoData, &rules).0,
        ]);
        assert_eq!(
            policy.name(&name("bad.example.")),
            Some((1, &Action::NoData))
        );
    }
}
