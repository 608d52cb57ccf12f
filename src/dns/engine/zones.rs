//! The zones served, found by the names in them.

use std::fmt;
use std::sync::Arc;

use super::access::Access;
use super::history::History;
use super::policy::Policy;
use super::trie::{Key, Trie, common_labels};
use super::zone::Zone;
use crate::wire::code::RrType;
use crate::wire::name::{Name, NameRef};

/// What tells a zone from all others of this server: its name, and the view that it is in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ZoneId {
    /// Its name.
    pub name: Name,
    /// The view; none for a zone that is in no view, or as good as in all of them.
    pub view: Option<Arc<str>>,
}

impl ZoneId {
    /// Of a zone that is in no view.
    pub fn outside(name: Name) -> ZoneId {
        ZoneId { name, view: None }
    }

    /// As [`Display`](fmt::Display) writes it.
    pub fn from_text(text: &str) -> Result<ZoneId, crate::wire::name::NameError> {
        let (name, view) = match text.rsplit_once('@') {
            Some((name, view)) if !name.ends_with('\\') => (name, Some(view.into())),
            _ => (text, None),
        };
        let name = Name::from_text(name)?;
        Ok(ZoneId { name, view })
    }
}

/// `example.org`, or `example.org@view`: in lower case, and no two of them alike.
impl fmt::Display for ZoneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.name.to_string().to_ascii_lowercase();
        let short = text.strip_suffix('.').filter(|short| !short.is_empty());
        f.write_str(short.unwrap_or(&text))?;
        match &self.view {
            Some(view) => write!(f, "@{view}"),
            None => Ok(()),
        }
    }
}

/// A zone, and who may do what with it.
#[derive(Debug, Clone)]
pub struct Served {
    /// The zone.
    pub zone: Arc<Zone>,
    /// The view that it is in.
    pub view: Option<Arc<str>>,
    /// Its last changes.
    pub history: Arc<History>,
    /// Who may do what with it.
    pub rules: Arc<Rules>,
    /// Other servers are its primaries.
    pub secondary: bool,
    /// There is no version of it that may be served: no copy, or none that is signed.
    pub expired: bool,
}

impl Served {
    /// What tells it from all others.
    pub fn id(&self) -> ZoneId {
        ZoneId {
            name: self.zone.apex().to_owned(),
            view: self.view.clone(),
        }
    }
}

/// Who may do what with a zone.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Who may ask for its records; none: everybody.
    pub query: Option<Access>,
    /// Who may have all of it.
    pub transfer: Access,
    /// It is sent over TLS 1.3 only (RFC 9103).
    pub transfer_by_tls: bool,
    /// Who may change it.
    pub update: Policy,
    /// Who may say that its primary has changed.
    pub notify: Access,
}

/// The zones of a server.
#[derive(Debug, Default, Clone)]
pub struct Zones {
    /// In canonical order.
    list: Vec<Entry>,
    trie: Arc<Trie>,
}

#[derive(Debug, Clone)]
struct Entry {
    served: Arc<Served>,
    labels: usize,
    /// The zone whose name ends this one's.
    above: Option<u32>,
}

impl Zones {
    /// Of zones with different names; of two with one name the later counts.
    pub fn new(zones: Vec<Served>) -> Zones {
        Zones::of(zones.into_iter().map(Arc::new).collect())
    }

    /// The same, of zones that others may have as well.
    pub(super) fn of(zones: Vec<Arc<Served>>) -> Zones {
        let mut zones = zones;
        zones.reverse();
        zones.sort_by(|left, right| left.zone.apex().canonical_cmp(right.zone.apex()));
        zones.dedup_by(|later, first| later.zone.apex() == first.zone.apex());
        let mut list: Vec<Entry> = Vec::with_capacity(zones.len());
        for served in zones {
            let apex = served.zone.apex().to_owned();
            let apex = apex.as_ref();
            // The zones above one are those before it in this order, and nested.
            let mut above = (list.len() as u32).checked_sub(1);
            while let Some(index) = above {
                let Some(entry) = list.get(index as usize) else {
                    break;
                };
                if apex.is_within(entry.served.zone.apex()) {
                    break;
                }
                above = entry.above;
            }
            let labels = apex.label_count();
            list.push(Entry {
                served,
                labels,
                above,
            });
        }
        let nowhere = NameRef::ROOT;
        let apex = |number: u32| {
            list.get(number as usize)
                .map_or(nowhere, |e| e.served.zone.apex())
        };
        let trie = Trie::build(list.len() as u32, apex);
        let trie = Arc::new(trie);
        Zones { list, trie }
    }

    /// The zone a question belongs to: that with the longest name, except that the DS set of a
    /// zone's name is kept in the zone above (RFC 4035 3.1.4.1).
    pub(crate) fn find(
        &self,
        key: &Key,
        name: NameRef<'_>,
        rr_type: RrType,
    ) -> Option<&Arc<Served>> {
        let nearest = self.trie.nearest(key)?;
        let mut entry = self.list.get(nearest as usize)?;
        let apex = entry.served.zone.apex();
        let common = common_labels(name, key.labels(), apex, entry.labels);
        while entry.labels > common {
            entry = self.list.get(entry.above? as usize)?;
        }
        if rr_type == RrType::DS && entry.labels == key.labels() {
            let above = entry.above.and_then(|index| self.list.get(index as usize));
            entry = above.unwrap_or(entry);
        }
        Some(&entry.served)
    }

    /// The zone that holds what is known here of a name and type.
    pub fn above(&self, name: NameRef<'_>, rr_type: RrType) -> Option<&Served> {
        self.find(&Key::of(name), name, rr_type).map(Arc::as_ref)
    }

    /// The zone of a name.
    pub fn get(&self, apex: NameRef<'_>) -> Option<&Served> {
        self.entry(apex).map(Arc::as_ref)
    }

    pub(super) fn entry(&self, apex: NameRef<'_>) -> Option<&Arc<Served>> {
        let served = self.find(&Key::of(apex), apex, RrType::SOA)?;
        Some(served).filter(|served| served.zone.apex() == apex)
    }

    /// The same zones with one of them in another version: what costs is a pointer for each zone,
    /// not the zones.
    pub(super) fn with(&self, running: &Arc<Served>, served: &Arc<Served>) -> Zones {
        let mut zones = self.clone();
        let apex = served.zone.apex();
        let place = self
            .list
            .binary_search_by(|entry| entry.served.zone.apex().canonical_cmp(apex));
        if let Some(entry) = place.ok().and_then(|at| zones.list.get_mut(at))
            && Arc::ptr_eq(&entry.served, running)
        {
            entry.served = served.clone();
        }
        zones
    }

    /// All zones, in canonical order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Served> {
        self.list.iter().map(|entry| &*entry.served)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::engine::zone::tests::load;
    use crate::wire::name::Name;

    #[test]
    fn the_longest_name_wins() {
        let zone = |apex: &str| {
            let text = "@ 1 SOA ns hm 1 2 3 4 5\n@ 1 NS ns\nns 1 A 192.0.2.1";
            Served {
                zone: Arc::new(load(apex, text).zone.unwrap()),
                view: None,
                history: Arc::default(),
                rules: Arc::default(),
                secondary: false,
                expired: false,
            }
        };
        let apexes = [
            "org",
            "example.org",
            "a.b.example.org",
            "example.com",
            "x.org",
        ];
        let zones = Zones::new(apexes.iter().map(|apex| zone(apex)).collect());
        let find = |name: &str, rr_type| {
            let name = Name::from_text(name).unwrap();
            let found = zones.find(&Key::of(name.as_ref()), name.as_ref(), rr_type);
            found.map_or("-".to_owned(), |served| served.zone.apex().to_string())
        };
        let cases = [
            ("www.example.org", "example.org."),
            ("Example.ORG", "example.org."),
            ("b.example.org", "example.org."),
            ("q.a.b.example.org", "a.b.example.org."),
            ("c.b.example.org", "example.org."),
            ("other.org", "org."),
            ("com", "-"),
            ("www.example.com", "example.com."),
            ("notexample.com", "-"),
            (".", "-"),
        ];
        for (name, expected) in cases {
            assert_eq!(find(name, RrType::A), expected, "{name}");
        }
        assert_eq!(find("example.org", RrType::DS), "org.");
        assert_eq!(find("www.example.org", RrType::DS), "example.org.");
        assert_eq!(find("org", RrType::DS), "org.");
        assert_eq!(
            zones
                .get(Name::from_text("x.org").unwrap().as_ref())
                .unwrap()
                .zone
                .serial(),
            1
        );
        assert!(
            zones
                .get(Name::from_text("y.x.org").unwrap().as_ref())
                .is_none()
        );
    }
}
