//! Groups: who of them is rung, and in which order.

use omnid_identity::Address;

use super::{
    super::{Group, Member, Place, Strategy},
    Caller, End, Found, Leg, Next, Stage, Then, Trail, Walk, for_so_long,
};

impl Walk<'_> {
    /// Rings a group.
    pub(super) fn group(&mut self, index: usize, mut trail: Trail) -> Found {
        let plan = self.plan;
        let Some(group) = plan.groups.get(index) else {
            return Err((404, "Not Found"));
        };
        if !trail.enter(&format!("group {}", group.name)) {
            self.say(format!(
                "group {} has been rung for this call before: a loop",
                group.name
            ));
            return Err((482, "Loop Detected"));
        }
        let mut members = self.members(group, &trail);
        if group.strategy == Strategy::Random {
            shuffle(&mut members, trail.seed);
        }
        let order = group.strategy.as_str();
        if members.is_empty() {
            self.say(format!("nobody of group {} can be rung", group.name));
            let found = self.otherwise(index, trail);
            return found.unwrap_or(Err((480, "Temporarily Unavailable")));
        }
        let names: Vec<&str> = members.iter().map(Address::as_str).collect();
        self.say(format!(
            "ring group {} ({order}): {}{}",
            group.name,
            names.join(", "),
            for_so_long(Some(group.ring))
        ));
        let legs = members.into_iter().map(|account| Leg {
            end: End::Account(account),
            caller: None,
            diversions: trail.diversions.clone(),
        });
        let legs: Vec<Leg> = legs.collect();
        self.then.push(Then {
            what: Next::Group(index),
            trail,
        });
        Ok(stages(group, legs))
    }

    /// Those of a group who can be rung.
    fn members(&mut self, group: &Group, trail: &Trail) -> Vec<Address> {
        let mut members: Vec<Address> = Vec::new();
        for member in &group.members {
            let account = match member {
                Member::Account(account) => Some(account.clone()),
                Member::Extension(number) => {
                    let found = self.office.extension(&trail.domain, number);
                    found.or_else(|| Address::new(number, &trail.domain).ok())
                }
            };
            let Some(account) = account else {
                continue;
            };
            let user = self.plan.user(&account);
            let why = if members.contains(&account) {
                "is in it twice"
            } else if user.is_some_and(|user| user.do_not_disturb) {
                "does not want to be disturbed"
            } else if !self.office.is_reachable(&account) {
                "has no phone registered"
            } else if group.skip_busy && self.office.is_busy(&account) {
                "is in a call"
            } else if trail.authority == Caller::User(account.clone())
                && trail.diversions.is_empty()
            {
                "is the caller"
            } else {
                members.push(account);
                continue;
            };
            self.say(format!(
                "{account} {why}, and is left out of group {}",
                group.name
            ));
        }
        members
    }

    /// Where a call goes that nobody of a group took.
    pub(super) fn otherwise(&mut self, index: usize, trail: Trail) -> Option<Found> {
        let plan = self.plan;
        let group = plan.groups.get(index)?;
        let place = group.otherwise.as_ref()?;
        self.say(format!("nobody of group {} took it", group.name));
        let number = match place {
            Place::Number(number) => number.as_str(),
            _ => "",
        };
        Some(self.go(place, number, number, None, trail))
    }
}

/// A group's legs in the stages that its strategy wants.
fn stages(group: &Group, legs: Vec<Leg>) -> Vec<Stage> {
    if group.strategy == Strategy::All {
        return vec![Stage {
            legs,
            ring: Some(group.ring),
            join: None,
        }];
    }
    let count = legs.len();
    let memory = group.strategy == Strategy::Memory;
    let stage = |(index, leg): (usize, Leg)| {
        // Who is rung from the beginning is rung longest.
        let turns = if memory { count - index } else { 1 };
        let turns = u32::try_from(turns).unwrap_or(1);
        Stage {
            legs: vec![leg],
            ring: Some(group.ring.saturating_mul(turns)),
            join: (memory && index > 0).then_some(group.ring),
        }
    };
    legs.into_iter().enumerate().map(stage).collect()
}

/// Another order for every seed (Fisher and Yates's, with a 64-bit mixer for dice).
fn shuffle(members: &mut [Address], seed: u64) {
    let mut state = seed;
    for last in (1..members.len()).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let choices = u64::try_from(last).unwrap_or(0) + 1;
        let other = usize::try_from(mixed % choices).unwrap_or(0);
        members.swap(last, other);
    }
}
