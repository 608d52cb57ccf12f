//! Who may change what of a zone (RFC 3007 3.1): a list of those who may change anything, or rules
//! by key, name and type. The first rule that fits decides.

use std::net::IpAddr;

use super::access::{Access, Who};
use crate::wire::code::{Rcode, RrType};
use crate::wire::name::{Name, NameRef};

/// Who asks for a change.
#[derive(Debug, Clone, Copy)]
pub struct Requester<'a> {
    /// From where.
    pub address: IpAddr,
    /// With whose signature.
    pub key: Option<NameRef<'a>>,
}

impl std::fmt::Display for Requester<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.key {
            Some(key) => write!(f, "{} with key {key}", self.address),
            None => write!(f, "{} without a key", self.address),
        }
    }
}

/// Names that a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// This name.
    Name(Name),
    /// This name and all below it.
    Subdomain(Name),
    /// All of the zone.
    Zone,
    /// The name that is the key's.
    Own,
    /// The key's name and all below it.
    OwnSubdomain,
    /// All below the key's name, it not among them.
    OwnWildcard,
    /// What a wildcard stands for.
    Wildcard(Name),
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// It lets change, or keeps from it.
    pub grant: bool,
    /// The key, or a wildcard for a number of keys.
    pub identity: Name,
    /// Names.
    pub scope: Scope,
    /// Types; none means all but those that hold a zone together.
    pub types: Vec<RrType>,
    /// As it was written.
    pub text: Box<str>,
}

/// Who may change a zone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Who may change anything.
    pub from: Access,
    /// Rules for everybody else.
    pub rules: Vec<Rule>,
}

impl Policy {
    /// True if nobody may change anything.
    pub fn is_closed(&self) -> bool {
        self.from.is_empty() && self.rules.is_empty()
    }

    /// Whether a client may ask for changes at all.
    pub fn admits(&self, requester: &Requester<'_>) -> Result<(), (Rcode, String)> {
        if self.allows_all(requester) {
            return Ok(());
        }
        if let Some(entry) = self.from.decider(&requester.who()) {
            return refused(
                requester,
                &format!("rule \"{}\" of update.from", entry.text),
            );
        }
        if self.rules.is_empty() {
            return refused(requester, "no rule of update.from fits");
        }
        let Some(key) = requester.key else {
            return refused(requester, "the rules of update.policy are about keys");
        };
        if !self.rules.iter().any(|rule| rule.grant && rule.is_of(key)) {
            return refused(
                requester,
                "no rule of update.policy grants its key anything",
            );
        }
        Ok(())
    }

    fn allows_all(&self, requester: &Requester<'_>) -> bool {
        self.from.allows(&requester.who())
    }

    /// Whether a client may change a set.
    pub fn permits(
        &self,
        requester: &Requester<'_>,
        apex: NameRef<'_>,
        owner: NameRef<'_>,
        rr_type: RrType,
    ) -> Result<(), (Rcode, String)> {
        if self.allows_all(requester) {
            return Ok(());
        }
        let fits = |rule: &&Rule| rule.fits(requester, apex, owner, rr_type);
        match self.rules.iter().find(fits) {
            Some(rule) if rule.grant => Ok(()),
            Some(rule) => refused(
                requester,
                &format!("{owner} {rr_type}: rule \"{}\" of update.policy", rule.text),
            ),
            None => refused(
                requester,
                &format!("{owner} {rr_type}: no rule of update.policy fits"),
            ),
        }
    }
}

fn refused(requester: &Requester<'_>, why: &str) -> Result<(), (Rcode, String)> {
    Err((Rcode::REFUSED, format!("{requester}: {why}")))
}

impl<'a> Requester<'a> {
    fn who(&self) -> Who<'a> {
        Who {
            address: self.address,
            key: self.key,
            certified: &[],
        }
    }
}

impl Rule {
    /// True if it is about a key.
    fn is_of(&self, key: NameRef<'_>) -> bool {
        key == self.identity.as_ref() || stands_for(self.identity.as_ref(), key)
    }

    fn fits(
        &self,
        requester: &Requester<'_>,
        apex: NameRef<'_>,
        owner: NameRef<'_>,
        rr_type: RrType,
    ) -> bool {
        let Some(key) = requester.key else {
            return false;
        };
        let scope = match &self.scope {
            Scope::Name(name) => owner == name.as_ref(),
            Scope::Subdomain(name) => owner.is_within(name.as_ref()),
            Scope::Zone => owner.is_within(apex),
            Scope::Own => owner == key,
            Scope::OwnSubdomain => owner.is_within(key),
            Scope::OwnWildcard => owner.is_within(key) && owner != key,
            Scope::Wildcard(name) => stands_for(name.as_ref(), owner),
        };
        let types = if self.types.is_empty() {
            // What holds a zone together is only changed where a rule says so.
            !matches!(
                rr_type,
                RrType::NS | RrType::SOA | RrType::RRSIG | RrType::NSEC | RrType::NSEC3
            )
        } else {
            self.types.contains(&rr_type) || self.types.contains(&RrType::ANY)
        };
        self.is_of(key) && scope && types
    }
}

/// True of a wildcard and a name below what it hangs under.
fn stands_for(wildcard: NameRef<'_>, name: NameRef<'_>) -> bool {
    let above = wildcard.parent().filter(|_| wildcard.is_wildcard());
    above.is_some_and(|above| name.is_within(above) && name != above)
}

/// Reads a rule: `grant KEY SCOPE [NAME] [TYPE …]`.
pub fn read_rule(text: &str, apex: &Name) -> Result<Rule, String> {
    let mut words = text.split_whitespace();
    let mut word = |what: &str| words.next().ok_or_else(|| format!("the rule lacks {what}"));
    let grant = match word("`grant` or `deny`")? {
        "grant" => true,
        "deny" => false,
        other => return Err(format!("`{other}` is neither `grant` nor `deny`")),
    };
    let name = |text: &str| match text {
        "." | "@" => Ok(apex.clone()),
        text => Name::from_text(text).map_err(|error| format!("`{text}`: {error}")),
    };
    let identity = word("the name of a key")?;
    let identity = Name::from_text(identity).map_err(|error| format!("`{identity}`: {error}"))?;
    let scope = match word("what it is about")? {
        "name" => Scope::Name(name(word("a name")?)?),
        "subdomain" => Scope::Subdomain(name(word("a name")?)?),
        "zonesub" => Scope::Zone,
        "self" => Scope::Own,
        "selfsub" => Scope::OwnSubdomain,
        "selfwild" => Scope::OwnWildcard,
        "wildcard" => {
            let name = name(word("a name")?)?;
            if !name.as_ref().is_wildcard() {
                return Err(format!("`{name}` is not a wildcard"));
            }
            Scope::Wildcard(name)
        }
        other => {
            return Err(format!(
                "`{other}` is none of name, subdomain, zonesub, self, selfsub, selfwild, wildcard"
            ));
        }
    };
    let types: Result<Vec<RrType>, String> = words
        .map(|word| {
            RrType::from_text(word.as_bytes())
                .ok_or_else(|| format!("`{word}` is not a record type"))
        })
        .collect();
    Ok(Rule {
        grant,
        identity,
        scope,
        types: types?,
        text: text.into(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn name(text: &str) -> Name {
        Name::from_text(text).unwrap()
    }

    #[test]
    fn rules() {
        let apex = name("example.org");
        let cases = [
            (
                "grant k name a.example.org A",
                "k",
                "a.example.org",
                RrType::A,
                true,
            ),
            (
                "grant k name a.example.org A",
                "k",
                "a.example.org",
                RrType::TXT,
                false,
            ),
            (
                "grant k name a.example.org A",
                "j",
                "a.example.org",
                RrType::A,
                false,
            ),
            (
                "grant k subdomain a.example.org",
                "k",
                "x.a.example.org",
                RrType::TXT,
                true,
            ),
            (
                "grant k subdomain a.example.org",
                "k",
                "a.example.org",
                RrType::NS,
                false,
            ),
            (
                "grant k subdomain a.example.org ANY",
                "k",
                "a.example.org",
                RrType::NS,
                true,
            ),
            (
                "grant k zonesub TXT",
                "k",
                "x.example.org",
                RrType::TXT,
                true,
            ),
            (
                "grant *.example.org self A",
                "h.example.org",
                "h.example.org",
                RrType::A,
                true,
            ),
            (
                "grant *.example.org self A",
                "h.example.org",
                "g.example.org",
                RrType::A,
                false,
            ),
            (
                "grant *.example.org selfsub A",
                "h.example.org",
                "x.h.example.org",
                RrType::A,
                true,
            ),
            (
                "grant *.example.org selfwild A",
                "h.example.org",
                "h.example.org",
                RrType::A,
                false,
            ),
            (
                "grant k wildcard *.d.example.org A",
                "k",
                "x.d.example.org",
                RrType::A,
                true,
            ),
            (
                "grant k wildcard *.d.example.org A",
                "k",
                "d.example.org",
                RrType::A,
                false,
            ),
            (
                "deny k subdomain a.example.org\ngrant k zonesub",
                "k",
                "a.example.org",
                RrType::A,
                false,
            ),
            (
                "deny k subdomain a.example.org\ngrant k zonesub",
                "k",
                "b.example.org",
                RrType::A,
                true,
            ),
        ];
        for (texts, key, owner, rr_type, expected) in cases {
            let rules = texts
                .lines()
                .map(|text| read_rule(text, &apex).unwrap())
                .collect();
            let policy = Policy {
                from: Access::default(),
                rules,
            };
            let key = name(key);
            let requester = Requester {
                address: "192.0.2.1".parse().unwrap(),
                key: Some(key.as_ref()),
            };
            let owner = name(owner);
            let result = policy.permits(&requester, apex.as_ref(), owner.as_ref(), rr_type);
            assert_eq!(
                result.is_ok(),
                expected,
                "{texts} {owner} {rr_type}: {result:?}"
            );
        }
        for (text, message) in [
            ("allow k self", "`allow` is neither `grant` nor `deny`"),
            ("grant k", "the rule lacks what it is about"),
            (
                "grant k near a",
                "`near` is none of name, subdomain, zonesub, self, selfsub, selfwild, wildcard",
            ),
            ("grant k self A5", "`A5` is not a record type"),
            ("grant k wildcard a", "`a.` is not a wildcard"),
        ] {
            assert_eq!(read_rule(text, &apex).unwrap_err(), message);
        }
    }
}
