//! A compact trie over domain names in canonical order (RFC 4034 6.1), built once and then only
//! read: the "DNS-trie" of Tony Finch, a qp-trie whose branches pick one of at most 48 ways by the
//! next character of the name, read label by label from the right.
//!
//! A branch is twelve octets and its twigs lie side by side, so that a step down costs one cache
//! line. Leaves hold a number: the caller keeps the names, and compares the one that a search
//! ends at. Of all names in the trie that one has the longest part in common with the name sought,
//! which is what a search for the closest encloser needs (RFC 4592 3.3.1).

use crate::wire::name::NameRef;

/// Longest key: two codes for each octet of a name and one for each of its labels.
const MAX_KEY: usize = 512;

/// The code after a label, and of everything past the end of a name. The lowest, so that a name
/// sorts before those below it.
const END: u8 = 0;

/// A name as the trie reads it.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    codes: [u8; MAX_KEY],
    len: usize,
    labels: usize,
}

impl Default for Key {
    fn default() -> Key {
        Key {
            codes: [END; MAX_KEY],
            len: 0,
            labels: 0,
        }
    }
}

impl Key {
    pub(crate) fn of(name: NameRef<'_>) -> Key {
        let mut key = Key::default();
        key.set(name);
        key
    }

    /// Makes this the key of another name.
    pub(crate) fn set(&mut self, name: NameRef<'_>) {
        let wire = name.wire();
        let mut starts = [0u8; 128];
        let (mut labels, mut at) = (0usize, 0usize);
        while let Some(&length) = wire.get(at).filter(|length| **length > 0) {
            let Some(slot) = starts.get_mut(labels) else {
                break;
            };
            *slot = at as u8;
            labels += 1;
            at += 1 + usize::from(length);
        }
        let mut len = 0;
        let mut push = |code: u8| {
            if let Some(slot) = self.codes.get_mut(len) {
                *slot = code;
                len += 1;
            }
        };
        for start in starts.get(..labels).unwrap_or(&[]).iter().rev() {
            let start = usize::from(*start);
            let length = usize::from(wire.get(start).copied().unwrap_or(0));
            for byte in wire.get(start + 1..start + 1 + length).unwrap_or(&[]) {
                let (first, second) = CODES[usize::from(*byte)];
                push(first);
                if second != NO_SECOND {
                    push(second);
                }
            }
            push(END);
        }
        self.len = len;
        self.labels = labels;
    }

    /// Labels of the name, the root's not counted.
    pub(crate) fn labels(&self) -> usize {
        self.labels
    }

    fn code(&self, at: usize) -> u8 {
        if at < self.len {
            self.codes.get(at).copied().unwrap_or(END)
        } else {
            END
        }
    }

    /// The codes, without the endless row of `END` behind them.
    pub(crate) fn codes(&self) -> &[u8] {
        self.codes.get(..self.len).unwrap_or(&[])
    }
}

const NO_SECOND: u8 = u8::MAX;

/// For each octet the one or two codes that stand for it. Octets of host names, `_` and `*` have a
/// code each; what lies between two of them shares an escape and tells itself apart by a second
/// code. Upper case reads as lower.
static CODES: [(u8, u8); 256] = {
    let mut codes = [(0u8, NO_SECOND); 256];
    let mut next = END + 1;
    let mut escape = 0u8;
    let mut in_escape = 0u8;
    let mut byte = 0usize;
    while byte < 256 {
        if byte >= b'A' as usize && byte <= b'Z' as usize {
            byte += 1;
            continue;
        }
        let common = byte == b'*' as usize
            || byte == b'-' as usize
            || byte == b'_' as usize
            || (byte >= b'0' as usize && byte <= b'9' as usize)
            || (byte >= b'a' as usize && byte <= b'z' as usize);
        if common {
            codes[byte] = (next, NO_SECOND);
            next += 1;
            in_escape = 0;
        } else {
            // A second code must fit into the bitmap as well as a first one.
            if in_escape == 0 || in_escape == WAYS {
                escape = next;
                next += 1;
                in_escape = 0;
            }
            codes[byte] = (escape, in_escape);
            in_escape += 1;
        }
        byte += 1;
    }
    assert!(next <= WAYS, "more codes than the bitmap has bits");
    let mut upper = b'A' as usize;
    while upper <= b'Z' as usize {
        codes[upper] = codes[upper + 32];
        upper += 1;
    }
    codes
};

/// Bits of a branch's map: codes are below this.
const WAYS: u8 = 48;

/// A branch, or with an empty map a leaf.
#[derive(Debug, Clone, Copy, Default)]
struct Node {
    /// Lower 32 bits of the map.
    low: u32,
    /// Upper 16 bits of the map; offset of the code it looks at.
    high: u16,
    offset: u16,
    /// Where its twigs begin; of a leaf, its number.
    twigs: u32,
}

impl Node {
    fn map(self) -> u64 {
        u64::from(self.low) | u64::from(self.high) << 32
    }

    fn is_leaf(self) -> bool {
        self.low == 0 && self.high == 0
    }
}

/// The trie.
#[derive(Debug, Default)]
pub(crate) struct Trie {
    nodes: Vec<Node>,
}

impl Trie {
    /// Builds the trie of `count` names, given by number and in canonical order, no two equal.
    pub(crate) fn build<'n>(count: u32, name: impl Fn(u32) -> NameRef<'n>) -> Trie {
        let mut forks = Vec::with_capacity(count as usize);
        let (mut previous, mut key) = (Key::default(), Key::default());
        for number in 0..count {
            key.set(name(number));
            forks.push(Fork::between(&previous, &key));
            std::mem::swap(&mut previous, &mut key);
        }
        let mut trie = Trie {
            nodes: Vec::with_capacity(count as usize * 4 / 3 + 1),
        };
        if count > 0 {
            trie.nodes.push(Node::default());
            trie.branch_out(&forks);
        }
        trie.nodes.shrink_to_fit();
        trie
    }

    /// Lays down branches from the top. In a row of sorted keys the lowest fork says where the
    /// branch over them all looks, and each fork as low as that begins another twig.
    fn branch_out(&mut self, forks: &[Fork]) {
        let mut pending = vec![(0usize, 0usize, forks.len())];
        let mut starts = Vec::new();
        while let Some((slot, from, to)) = pending.pop() {
            let inner = forks.get(from + 1..to).unwrap_or(&[]);
            let Some(lowest) = inner.iter().map(|fork| fork.at).min() else {
                self.set(
                    slot,
                    Node {
                        twigs: from as u32,
                        ..Node::default()
                    },
                );
                continue;
            };
            starts.clear();
            starts.push(from);
            let mut map = 0u64;
            for (index, fork) in inner
                .iter()
                .enumerate()
                .filter(|(_, fork)| fork.at == lowest)
            {
                map |= 1 << fork.left | 1 << fork.right;
                starts.push(from + 1 + index);
            }
            let twigs = self.nodes.len();
            self.nodes.resize(twigs + starts.len(), Node::default());
            self.set(
                slot,
                Node {
                    low: map as u32,
                    high: (map >> 32) as u16,
                    offset: lowest,
                    twigs: twigs as u32,
                },
            );
            let ends = starts.iter().skip(1).copied().chain([to]);
            for (index, (start, end)) in starts.iter().zip(ends).enumerate() {
                pending.push((twigs + index, *start, end));
            }
        }
    }

    fn set(&mut self, slot: usize, node: Node) {
        if let Some(target) = self.nodes.get_mut(slot) {
            *target = node;
        }
    }

    /// The number of the name that has the longest part in common with a key; none if the trie is
    /// empty.
    pub(crate) fn nearest(&self, key: &Key) -> Option<u32> {
        let mut node = *self.nodes.first()?;
        while !node.is_leaf() {
            let bit = 1u64 << key.code(usize::from(node.offset));
            let map = node.map();
            // Where the way is missing every name below has the same part in common.
            let index = if map & bit == 0 {
                0
            } else {
                (map & (bit - 1)).count_ones()
            };
            node = *self.nodes.get(node.twigs as usize + index as usize)?;
        }
        Some(node.twigs)
    }

    /// The number of the last name before a key that is not in the trie; none if there is none.
    pub(crate) fn before<'n>(&self, key: &Key, name: impl Fn(u32) -> NameRef<'n>) -> Option<u32> {
        let nearest = Key::of(name(self.nearest(key)?));
        let fork = Fork::between(key, &nearest);
        let mut node = *self.nodes.first()?;
        // All below the branch where the key parts from them have the same part in common with it.
        while !node.is_leaf() && node.offset < fork.at {
            let index = index_of(node.map(), key.code(node.offset.into()));
            node = *self.nodes.get(node.twigs as usize + index)?;
        }
        if !node.is_leaf() && node.offset == fork.at {
            let index = index_of(node.map(), fork.left);
            return match index.checked_sub(1) {
                Some(lower) => self.end(*self.nodes.get(node.twigs as usize + lower)?, true),
                None => self.end(node, false)?.checked_sub(1),
            };
        }
        if fork.left > fork.right {
            self.end(node, true)
        } else {
            self.end(node, false)?.checked_sub(1)
        }
    }

    /// The last or the first leaf at or below a node.
    fn end(&self, mut node: Node, last: bool) -> Option<u32> {
        while !node.is_leaf() {
            let index = if last { node.map().count_ones() - 1 } else { 0 };
            node = *self.nodes.get(node.twigs as usize + index as usize)?;
        }
        Some(node.twigs)
    }

    /// Octets of memory.
    pub(crate) fn size(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>()
    }
}

/// How many twigs stand before that of a code.
fn index_of(map: u64, code: u8) -> usize {
    (map & ((1u64 << code) - 1)).count_ones() as usize
}

/// Where two neighbours part, and the codes by which they do.
#[derive(Debug, Clone, Copy)]
struct Fork {
    at: u16,
    left: u8,
    right: u8,
}

impl Fork {
    fn between(left: &Key, right: &Key) -> Fork {
        let same = left
            .codes()
            .iter()
            .zip(right.codes())
            .take_while(|(l, r)| l == r)
            .count();
        Fork {
            at: same as u16,
            left: left.code(same),
            right: right.code(same),
        }
    }
}

/// How many labels two names have in common, counted from the root.
pub(crate) fn common_labels(
    left: NameRef<'_>,
    left_labels: usize,
    right: NameRef<'_>,
    right_labels: usize,
) -> usize {
    let skip_left = left_labels.saturating_sub(right_labels);
    let skip_right = right_labels.saturating_sub(left_labels);
    let pairs = left
        .labels()
        .skip(skip_left)
        .zip(right.labels().skip(skip_right));
    pairs.fold(0, |common, (left, right)| {
        if left == right || left.eq_ignore_ascii_case(right) {
            common + 1
        } else {
            0
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::wire::name::{Name, NameBuf};
    use proptest::prelude::*;

    fn build(names: &mut Vec<Name>) -> Trie {
        names.sort();
        names.dedup();
        Trie::build(names.len() as u32, |number| names[number as usize].as_ref())
    }

    fn common(left: &Name, right: &Name) -> usize {
        let (left, right) = (left.as_ref(), right.as_ref());
        common_labels(left, left.label_count(), right, right.label_count())
    }

    #[test]
    fn common_parts() {
        let cases = [
            ("a.b.c", "x.B.c", 2),
            ("a.b.c", "b.c", 2),
            (".", "a", 0),
            ("a.a", "a", 1),
            ("b.a.c", "a.a.c", 2),
            ("x.y", "x.z", 0),
        ];
        for (left, right, count) in cases {
            let (left, right) = (
                Name::from_text(left).unwrap(),
                Name::from_text(right).unwrap(),
            );
            assert_eq!(common(&left, &right), count, "{left} {right}");
            assert_eq!(common(&right, &left), count, "{left} {right}");
        }
    }

    /// Names near each other: few letters, with octets of every kind of code.
    fn near_name() -> impl Strategy<Value = Name> {
        let byte = prop::sample::select(b"aAbz09-_*\x00\x1f/@[`{\xab\xff".to_vec());
        let label = prop::collection::vec(byte, 1..4);
        prop::collection::vec(label, 0..5).prop_map(|labels| {
            labels
                .iter()
                .rev()
                .fold(Name::from_text(".").unwrap(), |name, label| {
                    let mut wire = vec![label.len() as u8];
                    wire.extend_from_slice(label);
                    wire.push(0);
                    let label = Name::from_wire(&wire).unwrap();
                    NameBuf::join(label.as_ref(), name.as_ref())
                        .unwrap()
                        .as_ref()
                        .to_owned()
                })
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn keys_sort_as_names_do(left in near_name(), right in near_name()) {
            let (left_key, right_key) = (Key::of(left.as_ref()), Key::of(right.as_ref()));
            prop_assert_eq!(left_key.codes().cmp(right_key.codes()), left.cmp(&right));
            prop_assert_eq!(left_key.labels(), left.as_ref().label_count());
        }

        #[test]
        fn nearest_is_nearest(mut names in prop::collection::vec(near_name(), 1..60),
                              sought in prop::collection::vec(near_name(), 1..20)) {
            let trie = build(&mut names);
            for (number, name) in names.iter().enumerate() {
                prop_assert_eq!(trie.nearest(&Key::of(name.as_ref())), Some(number as u32));
            }
            for name in &sought {
                let found = trie.nearest(&Key::of(name.as_ref())).unwrap();
                let best = names.iter().map(|other| common(other, name)).max().unwrap();
                prop_assert_eq!(common(&names[found as usize], name), best, "{}", name);
                if let Err(place) = names.binary_search(name) {
                    let before = trie.before(&Key::of(name.as_ref()), |n| names[n as usize].as_ref());
                    prop_assert_eq!(before, place.checked_sub(1).map(|n| n as u32), "{}", name);
                }
            }
        }
    }

    #[test]
    fn longest_names_fit() {
        let label = r"\001".repeat(63);
        let name = format!("{label}.{label}.{label}.{}", r"\002".repeat(61));
        let name = Name::from_text(&name).unwrap();
        let key = Key::of(name.as_ref());
        assert_eq!(key.codes().len(), 250 * 2 + 4);
        let deep = Name::from_text(&"a.".repeat(127)).unwrap();
        assert_eq!(Key::of(deep.as_ref()).labels(), 127);
        assert_eq!(Trie::default().nearest(&key), None);
    }
}
