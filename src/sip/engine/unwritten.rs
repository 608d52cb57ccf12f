//! Users whose bindings have changed since they were last written down.

use std::collections::{BTreeMap, HashMap};

use omnid_identity::Address;

/// A queue in which a user who is in it does not stand again. Each place has a number, in order:
/// once all places up to a number are written down, so is whatever was given one of them.
#[derive(Default)]
pub(super) struct Unwritten {
    last: u64,
    places: BTreeMap<u64, Address>,
    users: HashMap<Address, u64>,
}

impl Unwritten {
    /// A user's place: the one they have, or a new one at the end.
    pub(super) fn enter(&mut self, user: &Address) -> u64 {
        if let Some(place) = self.users.get(user) {
            return *place;
        }
        self.last += 1;
        self.places.insert(self.last, user.clone());
        self.users.insert(user.clone(), self.last);
        self.last
    }

    /// Takes the first out.
    pub(super) fn take(&mut self, limit: usize) -> Vec<(u64, Address)> {
        let mut taken = Vec::new();
        while taken.len() < limit
            && let Some((place, user)) = self.places.pop_first()
        {
            if self.users.get(&user) == Some(&place) {
                self.users.remove(&user);
            }
            taken.push((place, user));
        }
        taken
    }

    /// Puts back what was taken and not written, each to its place: who waits for it waits on.
    pub(super) fn put_back(&mut self, taken: Vec<(u64, Address)>) {
        for (place, user) in taken {
            // A user who has come again since has two places then, which does no harm.
            self.users.entry(user.clone()).or_insert(place);
            self.places.insert(place, user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_a_place_is_never_passed_over() {
        let user = |name: &str| {
            Address::new(name, "example.org").unwrap_or_else(|error| panic!("{error}"))
        };
        let names = |taken: &[(u64, Address)]| -> Vec<(u64, String)> {
            let name = |(place, user): &(u64, Address)| (*place, user.user().to_owned());
            taken.iter().map(name).collect()
        };
        let mut queue = Unwritten::default();
        assert_eq!(queue.enter(&user("a")), 1);
        assert_eq!(queue.enter(&user("b")), 2);
        assert_eq!(queue.enter(&user("a")), 1);
        let taken = queue.take(1);
        assert_eq!(names(&taken), [(1, "a".into())]);
        // Changed again while it was being written: that is another place, and not yet done.
        assert_eq!(queue.enter(&user("a")), 3);
        // It was not written: the first place comes first again.
        queue.put_back(taken);
        assert_eq!(queue.enter(&user("a")), 3);
        let taken = queue.take(9);
        let all = [(1, "a".into()), (2, "b".into()), (3, "a".into())];
        assert_eq!(names(&taken), all);
        assert!(queue.take(9).is_empty());
        assert_eq!(queue.enter(&user("a")), 4);
    }
}
