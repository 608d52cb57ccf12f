//! Catalog zones (RFC 9432): zones that say which zones a secondary has.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::zone::{NodeId, RrSet, Zone};
use super::zones::ZoneId;
use crate::wire::code::RrType;
use crate::wire::name::{Name, NameRef};

/// A zone that a catalog names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub zone: Name,
    /// The label that it has in the catalog: another one means another zone of the same name.
    pub label: String,
    /// How it is to be served (RFC 9432 4.3.2).
    pub group: Option<String>,
    /// The catalog that may take it over (4.3.1).
    pub moves_to: Option<Name>,
}

/// Reads a catalog; where it is broken, why: it is not to be followed then (RFC 9432 5.1).
pub fn read(catalog: &Zone) -> Result<Vec<Member>, String> {
    let apex = catalog.apex();
    let version = below("version", apex).ok_or("its name is too long")?;
    match texts(catalog, version.as_ref()).as_slice() {
        [version] if version == "2" => {}
        [version] => return Err(format!("its version is {version}, and this server knows 2")),
        [] => return Err("it has no version".to_owned()),
        _ => return Err("it has more than one version".to_owned()),
    }
    let Some(zones) = below("zones", apex) else {
        return Ok(Vec::new());
    };
    let labels = zones.as_ref().label_count() + 1;
    let (mut members, mut seen) = (Vec::new(), HashSet::new());
    for node in catalog.node_ids() {
        let name = catalog.name(node);
        if name.label_count() != labels || !name.is_within(zones.as_ref()) {
            continue;
        }
        let zone = match pointers(catalog, node).as_slice() {
            [] => continue,
            [zone] => zone.clone(),
            _ => return Err(format!("{name} names more than one zone")),
        };
        if !seen.insert(zone.clone()) {
            return Err(format!("it has {zone} twice"));
        }
        let moves_to = below("coo", name).and_then(|name| {
            let (node, _) = catalog.search(name.as_ref());
            let mut pointers = pointers(catalog, node?);
            (pointers.len() == 1).then(|| pointers.pop()).flatten()
        });
        let group = below("group", name).map(|name| texts(catalog, name.as_ref()));
        let text = name.to_string().to_ascii_lowercase();
        let end = zones.to_string().to_ascii_lowercase();
        members.push(Member {
            zone,
            label: text.strip_suffix(&end).unwrap_or(&text).to_owned(),
            group: group.and_then(|mut texts| (texts.len() == 1).then(|| texts.pop()).flatten()),
            moves_to,
        });
    }
    Ok(members)
}

fn below(label: &str, name: NameRef<'_>) -> Option<Name> {
    Name::from_text(&format!("{label}.{name}")).ok()
}

fn pointers(zone: &Zone, node: NodeId) -> Vec<Name> {
    let set = zone.set(node, RrType::PTR);
    let records = set.iter().flat_map(RrSet::records);
    let names = records.filter_map(|(rdata, _)| NameRef::from_wire(rdata).ok());
    names.map(NameRef::to_owned).collect()
}

/// The TXT records of a name, of each its first string.
fn texts(zone: &Zone, name: NameRef<'_>) -> Vec<String> {
    let (node, _) = zone.search(name);
    let set = node.and_then(|node| zone.set(node, RrType::TXT));
    let records = set.iter().flat_map(RrSet::records);
    let text = |(rdata, _): (&[u8], _)| {
        let (length, rest) = rdata.split_first()?;
        let text = rest.get(..usize::from(*length))?;
        Some(String::from_utf8_lossy(text).into_owned())
    };
    records.filter_map(text).collect()
}

/// A zone that is served because a catalog names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The catalog.
    pub catalog: ZoneId,
    /// As [`Member::label`].
    pub label: String,
    /// As [`Member::group`].
    pub group: Option<String>,
}

/// What catalogs make of the zones that a server has.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// All members now.
    pub members: BTreeMap<ZoneId, Membership>,
    /// Those that are none any more, or others of the same name: what is kept of them is to go.
    pub gone: Vec<ZoneId>,
    /// What was left out, and why.
    pub left_out: Vec<String>,
}

/// Follows catalogs: those that could be read, in the order of the configuration, and as `None`
/// those that could not, whose members stay. `is_own` tells of zones that the configuration has.
pub fn follow(
    catalogs: &[(ZoneId, Option<Vec<Member>>)],
    before: &BTreeMap<ZoneId, Membership>,
    is_own: impl Fn(&ZoneId) -> bool,
) -> Followed {
    let mut followed = Followed::default();
    let listed: HashMap<(&ZoneId, ZoneId), &Member> = catalogs
        .iter()
        .flat_map(|(catalog, members)| {
            let members = members.iter().flatten();
            members.map(move |member| {
                let zone = ZoneId {
                    name: member.zone.clone(),
                    view: catalog.view.clone(),
                };
                ((catalog, zone), member)
            })
        })
        .collect();
    for (catalog, members) in catalogs {
        let Some(members) = members else {
            let kept = before.iter().filter(|(_, held)| held.catalog == *catalog);
            followed
                .members
                .extend(kept.map(|(id, held)| (id.clone(), held.clone())));
            continue;
        };
        for member in members {
            let id = ZoneId {
                name: member.zone.clone(),
                view: catalog.view.clone(),
            };
            if is_own(&id) {
                let reason = format!("{catalog}: the configuration has {id} itself");
                followed.left_out.push(reason);
                continue;
            }
            // Whose a zone is it stays while that catalog has it, and does not let it go to this one.
            let owner = before.get(&id).map(|held| &held.catalog);
            let held_by_other = owner
                .filter(|owner| *owner != catalog)
                .is_some_and(|owner| {
                    let known = catalogs.iter().find(|(other, _)| other == owner);
                    match known {
                        None => false,
                        Some((_, None)) => true,
                        Some((_, Some(_))) => {
                            let theirs = listed.get(&(owner, id.clone()));
                            theirs.is_some_and(|theirs| {
                                theirs.moves_to.as_ref() != Some(&catalog.name)
                            })
                        }
                    }
                });
            let moves_on = member.moves_to.as_ref().is_some_and(|next| {
                let next = ZoneId {
                    name: next.clone(),
                    view: catalog.view.clone(),
                };
                owner == Some(catalog)
                    && next != *catalog
                    && listed.contains_key(&(&next, id.clone()))
            });
            let taken = followed.members.contains_key(&id);
            if held_by_other || (taken && !moves_on) {
                followed
                    .left_out
                    .push(format!("{catalog}: {id} is another catalog's"));
            } else if !moves_on && !taken {
                let membership = Membership {
                    catalog: catalog.clone(),
                    label: member.label.clone(),
                    group: member.group.clone(),
                };
                followed.members.insert(id, membership);
            }
        }
    }
    for (id, held) in before {
        let same = followed
            .members
            .get(id)
            .is_some_and(|now| now.label == held.label);
        if !same {
            followed.gone.push(id.clone());
        }
    }
    followed
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::super::zone::tests::load;
    use super::*;

    fn catalog(rows: &str) -> Result<Vec<Member>, String> {
        let text =
            format!("$TTL 0\n@ SOA invalid. invalid. 1 3600 600 86400 0\n@ NS invalid.\n{rows}");
        read(&load("cat.example", &text).zone.unwrap())
    }

    /// RFC 9432 4.1 to 4.4.
    #[test]
    fn catalogs_as_they_are_written() {
        let members = catalog(
            "version TXT 2\n\
             5960775b.zones PTR example.com.\n\
             group.5960775b.zones TXT nodnssec\n\
             coo.5960775b.zones PTR other.example.\n\
             Ab-1.zones PTR example.net.\n\
             group.Ab-1.zones TXT one\ngroup.Ab-1.zones TXT two\n\
             foo.ext.Ab-1.zones TXT ignored\next TXT ignored\nempty.zones TXT none\n",
        );
        let name = |text: &str| Name::from_text(text).unwrap();
        let mut members = members.unwrap();
        members.sort_by_key(|member| member.label.clone());
        assert_eq!(
            members,
            [
                Member {
                    zone: name("example.com"),
                    label: "5960775b.".to_owned(),
                    group: Some("nodnssec".to_owned()),
                    moves_to: Some(name("other.example")),
                },
                Member {
                    zone: name("example.net"),
                    label: "ab-1.".to_owned(),
                    group: None,
                    moves_to: None,
                },
            ]
        );
    }

    #[test]
    fn broken_catalogs() {
        let cases = [
            ("a.zones PTR example.com.", "no version"),
            ("version TXT 1", "its version is 1"),
            ("version TXT 2\nversion TXT 1", "more than one version"),
            (
                "version TXT 2\na.zones PTR x.\na.zones PTR y.",
                "more than one zone",
            ),
            ("version TXT 2\na.zones PTR x.\nb.zones PTR X.", "X. twice"),
        ];
        for (rows, reason) in cases {
            let told = catalog(rows).unwrap_err();
            assert!(told.contains(reason), "{told}");
        }
        assert_eq!(catalog("version TXT 2"), Ok(Vec::new()));
    }

    fn id(text: &str) -> ZoneId {
        ZoneId::from_text(text).unwrap()
    }

    /// `ZONE=LABEL` or `ZONE=LABEL>CATALOG`.
    fn members(list: &[&str]) -> Option<Vec<Member>> {
        let member = |text: &&str| {
            let (zone, rest) = text.split_once('=').unwrap();
            let (label, next) = rest
                .split_once('>')
                .map_or((rest, None), |(a, b)| (a, Some(b)));
            Member {
                zone: id(zone).name,
                label: label.to_owned(),
                group: None,
                moves_to: next.map(|next| id(next).name),
            }
        };
        Some(list.iter().map(member).collect())
    }

    /// What is followed, as `ZONE=LABEL@CATALOG`, and what is gone.
    fn step(
        before: &Followed,
        catalogs: &[(&str, Option<Vec<Member>>)],
    ) -> (Followed, Vec<String>, Vec<String>) {
        let catalogs: Vec<_> = catalogs
            .iter()
            .map(|(name, members)| (id(name), members.clone()))
            .collect();
        let followed = follow(&catalogs, &before.members, |id| id.to_string() == "own");
        let shown = followed.members.iter();
        let shown = shown.map(|(id, held)| format!("{id}={}@{}", held.label, held.catalog));
        let shown = shown.collect();
        let gone = followed.gone.iter().map(ToString::to_string).collect();
        (followed, shown, gone)
    }

    #[test]
    fn members_come_and_go_and_change_hands() {
        let nothing = Followed::default();
        let (one, shown, gone) = step(
            &nothing,
            &[
                ("a", members(&["x=1", "y=2", "own=3"])),
                ("b", members(&["x=9", "z=4"])),
            ],
        );
        assert_eq!(shown, ["x=1@a", "y=2@a", "z=4@b"]);
        assert!(gone.is_empty());
        assert_eq!(one.left_out.len(), 2, "{:?}", one.left_out);

        // A catalog that is broken keeps what it has.
        let (same, shown, gone) = step(&one, &[("a", None), ("b", members(&["x=9", "z=4"]))]);
        assert_eq!((shown.len(), gone.len()), (3, 0));
        assert_eq!(same.members, one.members);

        // Another label is another zone; one that is not named any more goes.
        let (_, shown, gone) = step(&one, &[("a", members(&["x=5"])), ("b", members(&["z=4"]))]);
        assert_eq!(shown, ["x=5@a", "z=4@b"]);
        assert_eq!(gone, ["x", "y"]);

        // Handed over: with the same label as it is, with another one anew.
        let both = |label: &str| {
            let taken = format!("x={label}");
            [
                ("a", members(&["x=1>b", "y=2"])),
                ("b", members(&[&taken, "z=4"])),
            ]
        };
        let (_, shown, gone) = step(&one, &both("1"));
        assert_eq!(shown, ["x=1@b", "y=2@a", "z=4@b"]);
        assert!(gone.is_empty());
        let (moved, shown, gone) = step(&one, &both("9"));
        assert_eq!((&*shown[0], gone), ("x=9@b", vec!["x".to_owned()]));
        // The one that let it go cannot take it back on its own.
        let (_, shown, _) = step(
            &moved,
            &[("a", members(&["x=1"])), ("b", members(&["x=9"]))],
        );
        assert_eq!(shown, ["x=9@b"]);
        // Announced, but not taken yet.
        let (_, shown, _) = step(&one, &[("a", members(&["x=1>b"])), ("b", members(&[]))]);
        assert_eq!(shown, ["x=1@a"]);
        // The catalog is gone, and its zones with it.
        let (_, shown, gone) = step(&one, &[("b", members(&["x=9"]))]);
        assert_eq!(shown, ["x=9@b"]);
        assert_eq!(gone, ["x", "y", "z"]);
    }
}
