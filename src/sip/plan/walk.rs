//! A call's way through the plan.

mod group;

use std::{sync::Arc, time::Duration};

use omnid_identity::Address;

use super::{Place, Plan, User};

/// How often a call may be sent on: more is a mistake in a plan.
const DIVERSIONS_MAX: usize = 10;

/// A call that is placed.
#[derive(Debug, Clone)]
pub(crate) struct Call<'a> {
    /// Whose it is.
    pub(crate) caller: Caller,
    /// What was called: the user part of a URI.
    pub(crate) number: &'a str,
    /// The domain of ours in which it was called.
    pub(crate) domain: &'a str,
    /// The account that this is, where one was found.
    pub(crate) account: Option<&'a Address>,
    /// When, in Unix seconds.
    pub(crate) unix: u64,
    /// What random orders come from.
    pub(crate) seed: u64,
    /// How often it has been sent on before it came here.
    pub(crate) diverted: usize,
}

/// Whose call it is, and so what it may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Caller {
    /// An account's, which has shown its password.
    User(Address),
    /// One that came in through a trunk.
    Trunk(usize),
}

/// What a plan has to know of the world.
pub(crate) trait Office {
    /// Whether a phone of the account is registered.
    fn is_reachable(&self, account: &Address) -> bool;
    /// Whether the account is in a call.
    fn is_busy(&self, account: &Address) -> bool;
    /// The account that an extension rings.
    fn extension(&self, domain: &str, number: &str) -> Option<Address>;
}

/// Where a call goes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Way {
    /// Who is rung, stage after stage; nobody where the call is refused.
    pub(crate) stages: Vec<Stage>,
    /// With what it is refused if nobody is rung.
    pub(crate) refusal: Option<(u16, &'static str)>,
    /// What follows when nobody has taken it; the last one first.
    pub(crate) then: Vec<Then>,
    /// Each step, in words.
    pub(crate) steps: Vec<String>,
}

/// Those who are rung at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stage {
    pub(crate) legs: Vec<Leg>,
    /// How long.
    pub(crate) ring: Option<Duration>,
    /// Where the stage before goes on ringing meanwhile: how long after its beginning this one joins.
    pub(crate) join: Option<Duration>,
}

/// One who is rung.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leg {
    pub(crate) end: End,
    /// Who pays for it, where it leads outside.
    pub(crate) caller: Option<Address>,
    /// By whom the call was sent on, the first one first.
    pub(crate) diversions: Arc<[Diversion]>,
}

/// Where a leg leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// To an account's phones.
    Account(Address),
    /// Out through a trunk.
    Trunk {
        /// Which.
        trunk: usize,
        /// The number that is called there.
        number: String,
    },
}

/// That a call was sent on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Diversion {
    /// By whom.
    pub(crate) by: Address,
    /// Why, in RFC 5806's words.
    pub(crate) reason: &'static str,
}

/// Why nobody took a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Somebody is busy, or declined.
    Busy,
    /// It rang long enough.
    NoAnswer,
    /// No phone could be reached, or what is in between failed.
    Failed,
    /// Whoever was asked wants something else of the caller, or knows no such number.
    Refused,
}

impl Cause {
    /// What a final response stands for.
    pub(crate) const fn of(status: u16) -> Self {
        match status {
            486 | 600 | 603 => Self::Busy,
            408 | 487 => Self::NoAnswer,
            480 | 430 | 500..=599 => Self::Failed,
            _ => Self::Refused,
        }
    }
}

/// What may follow when nobody has taken a call.
#[derive(Debug, Clone)]
pub(crate) struct Then {
    what: Next,
    trail: Trail,
}

#[derive(Debug, Clone)]
enum Next {
    /// An account's forwardings.
    Account(Address),
    /// A group's.
    Group(usize),
    /// The further places of a route.
    Route {
        route: usize,
        place: usize,
        number: String,
        dialled: String,
    },
}

/// What has happened to a call so far.
#[derive(Debug, Clone)]
struct Trail {
    /// Who answers for where it goes.
    authority: Caller,
    domain: String,
    been: Vec<String>,
    diversions: Arc<[Diversion]>,
    before: usize,
    seed: u64,
    unix: u64,
}

type Found = Result<Vec<Stage>, (u16, &'static str)>;

impl Plan {
    /// Where a call goes first.
    pub(crate) fn place(&self, call: &Call<'_>, office: &dyn Office) -> Way {
        let trail = Trail {
            authority: call.caller.clone(),
            domain: call.domain.to_owned(),
            been: Vec::new(),
            diversions: Arc::default(),
            before: call.diverted,
            seed: call.seed,
            unix: call.unix,
        };
        let mut walk = Walk::new(self, office);
        let found = walk.dial(call.number, call.account, trail);
        walk.finish(found)
    }

    /// Where it goes after that, if anywhere: nobody of those before has taken it.
    pub(crate) fn next(&self, mut then: Vec<Then>, cause: Cause, office: &dyn Office) -> Way {
        let mut steps = Vec::new();
        while let Some(next) = then.pop() {
            let mut walk = Walk::new(self, office);
            walk.then = std::mem::take(&mut then);
            walk.steps = std::mem::take(&mut steps);
            let found = match next.what {
                Next::Account(account) => walk.forward(&account, cause, next.trail),
                Next::Group(group) => walk.otherwise(group, next.trail),
                Next::Route {
                    route,
                    place,
                    number,
                    dialled,
                } => walk.next_place(route, place, cause, &number, &dialled, &next.trail),
            };
            match found {
                Some(Ok(stages)) => return walk.finish(Ok(stages)),
                Some(Err(_)) | None => (then, steps) = (walk.then, walk.steps),
            }
        }
        Way {
            steps,
            ..Way::default()
        }
    }
}

impl Plan {
    /// Whether a route is for calls to a number that come in through a trunk.
    pub(crate) fn takes_from(&self, trunk: usize, number: &str) -> bool {
        let is_for =
            |route: &super::Route| route.trunks.contains(&trunk) && route.pattern.matches(number);
        self.routes.iter().any(is_for)
    }
}

struct Walk<'a> {
    plan: &'a Plan,
    office: &'a dyn Office,
    then: Vec<Then>,
    steps: Vec<String>,
}

impl<'a> Walk<'a> {
    fn new(plan: &'a Plan, office: &'a dyn Office) -> Self {
        Self {
            plan,
            office,
            then: Vec::new(),
            steps: Vec::new(),
        }
    }

    fn finish(self, found: Found) -> Way {
        let (stages, refusal) = match found {
            Ok(stages) => (stages, None),
            Err(refusal) => (Vec::new(), Some(refusal)),
        };
        Way {
            stages,
            refusal,
            then: self.then,
            steps: self.steps,
        }
    }

    fn say(&mut self, step: String) {
        self.steps.push(step);
    }

    /// A number is dialled. What is said of it with most words goes first: the number's own route,
    /// the account that has it, a pattern.
    fn dial(&mut self, number: &str, account: Option<&Address>, mut trail: Trail) -> Found {
        if !trail.enter(&format!("number {number}")) {
            self.say(format!(
                "{number} has been dialled for this call before: a loop"
            ));
            return Err((482, "Loop Detected"));
        }
        let emergency = self.plan.is_emergency(number);
        if let Some(route) = self.route_to(number, &trail, !emergency) {
            return self.take(route, number, &trail);
        }
        // From outside nobody is called but by a route that says so.
        let outside = matches!(trail.authority, Caller::Trunk(_)) && trail.been.len() == 1;
        let known = account
            .cloned()
            .or_else(|| self.office.extension(&trail.domain, number))
            .or_else(|| {
                let named = Address::new(number, &trail.domain).ok()?;
                self.office.is_reachable(&named).then_some(named)
            });
        if let Some(account) = known.filter(|_| !outside) {
            if account.user() != number {
                self.say(format!("{number} is {account}"));
            }
            return self.account(&account, None, trail);
        }
        if let Some(route) = self.route_to(number, &trail, false) {
            return self.take(route, number, &trail);
        }
        self.say(format!("{number} is no account, and no route is for it"));
        Err((404, "Not Found"))
    }

    /// The route that says most of a number, of those whose time it is.
    fn route_to(&mut self, number: &str, trail: &Trail, exact: bool) -> Option<usize> {
        let mut best: Option<usize> = None;
        for (index, route) in self.plan.routes.iter().enumerate() {
            let whose = match &trail.authority {
                Caller::User(_) => route.users,
                Caller::Trunk(trunk) => route.trunks.contains(trunk),
            };
            if !whose || exact && !route.pattern.is_exact() || !route.pattern.matches(number) {
                continue;
            }
            if let Some((calendar, open)) = route.when
                && let Some(calendar) = self.plan.calendars.get(calendar)
            {
                let (is_open, time) = calendar.is_open(trail.unix);
                let state = if is_open { "open" } else { "closed" };
                let line = format!("{} is {state} ({time})", calendar.name);
                if self.steps.last() != Some(&line) {
                    self.steps.push(line);
                }
                if is_open != open {
                    continue;
                }
            }
            let better = |best: usize| {
                self.plan
                    .routes
                    .get(best)
                    .is_none_or(|best| route.pattern.compare(&best.pattern).is_gt())
            };
            if best.is_none_or(better) {
                best = Some(index);
            }
        }
        best
    }

    fn take(&mut self, index: usize, dialled: &str, trail: &Trail) -> Found {
        let Some(route) = self.plan.routes.get(index) else {
            return Err((500, "No Such Route"));
        };
        let kept: String = dialled.chars().skip(route.strip).collect();
        let number = format!("{}{kept}", route.prefix);
        let pattern = route.pattern.as_str();
        if number == dialled {
            self.say(format!("route \"{pattern}\" is for {dialled}"));
        } else {
            self.say(format!(
                "route \"{pattern}\" is for {dialled}, and makes it {number}"
            ));
        }
        self.places(index, 0, &number, dialled, trail)
    }

    /// Tries a route's places from one on, until one has somebody to ring.
    fn places(
        &mut self,
        index: usize,
        from: usize,
        number: &str,
        dialled: &str,
        trail: &Trail,
    ) -> Found {
        let plan = self.plan;
        let mut refusal = (404, "Not Found");
        let Some(route) = plan.routes.get(index) else {
            return Err(refusal);
        };
        for (at, place) in route.to.iter().enumerate().skip(from) {
            let depth = self.then.len();
            if at + 1 < route.to.len() {
                self.then.push(Then {
                    what: Next::Route {
                        route: index,
                        place: at + 1,
                        number: number.to_owned(),
                        dialled: dialled.to_owned(),
                    },
                    trail: trail.clone(),
                });
            }
            match self.go(place, number, dialled, route.ring, trail.clone()) {
                Ok(stages) => return Ok(stages),
                Err(reason) => refusal = reason,
            }
            self.then.truncate(depth);
        }
        Err(refusal)
    }

    fn go(
        &mut self,
        place: &Place,
        number: &str,
        dialled: &str,
        ring: Option<Duration>,
        trail: Trail,
    ) -> Found {
        match place {
            Place::Account(account) => self.account(account, ring, trail),
            Place::Number(number) => {
                self.say(format!("on to {number}"));
                self.dial(number, None, trail)
            }
            Place::Itself => self.dial(number, None, trail),
            Place::Group(group) => self.group(*group, trail),
            Place::Trunk(trunk) => self.trunk(*trunk, number, dialled, ring, &trail),
            Place::Reject(status) => {
                self.say(format!("refused with {status}"));
                Err((*status, ""))
            }
        }
    }

    fn account(&mut self, account: &Address, ring: Option<Duration>, mut trail: Trail) -> Found {
        if !trail.enter(&format!("account {account}")) {
            self.say(format!(
                "{account} has been tried for this call before: a loop"
            ));
            return Err((482, "Loop Detected"));
        }
        let unknown = User {
            call_waiting: true,
            ..User::default()
        };
        let user = self.plan.user(account).unwrap_or(&unknown);
        if let Some(place) = &user.always {
            self.say(format!("{account} forwards all calls"));
            return self.divert(account, "unconditional", place, trail);
        }
        let forwarded = |walk: &mut Self, place: &Option<Place>, reason, trail| {
            let place = place.as_ref();
            place.map(|place| walk.divert(account, reason, place, trail))
        };
        if user.do_not_disturb {
            self.say(format!("{account} does not want to be disturbed"));
            let found = forwarded(self, &user.busy, "do-not-disturb", trail);
            return found.unwrap_or(Err((486, "Do Not Disturb")));
        }
        if !user.call_waiting && self.office.is_busy(account) {
            self.say(format!("{account} is in a call"));
            let found = forwarded(self, &user.busy, "user-busy", trail);
            return found.unwrap_or(Err((486, "Busy Here")));
        }
        if !self.office.is_reachable(account) {
            self.say(format!("no phone of {account} is registered"));
            let found = forwarded(self, &user.offline, "unavailable", trail);
            return found.unwrap_or(Err((480, "Temporarily Unavailable")));
        }
        let ring = if user.no_answer.is_some() {
            Some(ring.map_or(user.after, |ring| ring.min(user.after)))
        } else {
            ring
        };
        let leg = Leg {
            end: End::Account(account.clone()),
            caller: None,
            diversions: trail.diversions.clone(),
        };
        self.say(format!("ring the phones of {account}{}", for_so_long(ring)));
        if user.busy.is_some() || user.no_answer.is_some() || user.offline.is_some() {
            self.then.push(Then {
                what: Next::Account(account.clone()),
                trail,
            });
        }
        Ok(vec![Stage {
            legs: vec![leg],
            ring,
            join: None,
        }])
    }

    /// An account's forwarding, after its phones have been tried.
    fn forward(&mut self, account: &Address, cause: Cause, trail: Trail) -> Option<Found> {
        let user = self.plan.user(account)?;
        let (place, reason, what) = match cause {
            Cause::Busy => (&user.busy, "user-busy", "is busy"),
            Cause::NoAnswer => (&user.no_answer, "no-answer", "does not answer"),
            Cause::Failed => (&user.offline, "unavailable", "cannot be reached"),
            Cause::Refused => return None,
        };
        let place = place.as_ref()?;
        self.say(format!("{account} {what}, and forwards such calls"));
        Some(self.divert(account, reason, place, trail))
    }

    fn divert(
        &mut self,
        by: &Address,
        reason: &'static str,
        place: &Place,
        mut trail: Trail,
    ) -> Found {
        if trail.diversions.len() + trail.before >= DIVERSIONS_MAX {
            self.say(format!(
                "it has been sent on {DIVERSIONS_MAX} times: a loop"
            ));
            return Err((482, "Loop Detected"));
        }
        let new = Diversion {
            by: by.clone(),
            reason,
        };
        trail.diversions = trail.diversions.iter().cloned().chain([new]).collect();
        trail.authority = Caller::User(by.clone());
        // The number that a trunk is given is the one that the forwarding names.
        let number = match place {
            Place::Number(number) => number.clone(),
            _ => String::new(),
        };
        self.go(place, &number, &number, None, trail)
    }

    /// A route's next place, if the one before was of a kind, and failed in a way, that lets another
    /// do better.
    fn next_place(
        &mut self,
        index: usize,
        place: usize,
        cause: Cause,
        number: &str,
        dialled: &str,
        trail: &Trail,
    ) -> Option<Found> {
        let plan = self.plan;
        let before = plan.routes.get(index)?.to.get(place.checked_sub(1)?)?;
        let through_trunk = matches!(before, Place::Trunk(_));
        // Whom a trunk has found busy is so through another as well.
        let another = match cause {
            Cause::Failed => true,
            Cause::Busy | Cause::NoAnswer => !through_trunk,
            Cause::Refused => false,
        };
        another.then(|| self.places(index, place, number, dialled, trail))
    }

    fn trunk(
        &mut self,
        trunk: usize,
        number: &str,
        dialled: &str,
        ring: Option<Duration>,
        trail: &Trail,
    ) -> Found {
        let name = self.plan.trunks.get(trunk).map_or("", String::as_str);
        let Caller::User(user) = &trail.authority else {
            self.say(format!(
                "calls from outside do not go out through trunk {name}"
            ));
            return Err((403, "Not Allowed"));
        };
        let is_dialled = |byte: u8| byte.is_ascii_alphanumeric() || b"*#+-._".contains(&byte);
        if number.is_empty() || !number.bytes().all(is_dialled) {
            self.say(format!("there is no number that trunk {name} could call"));
            return Err((484, "Address Incomplete"));
        }
        if self.plan.is_emergency(dialled) {
            self.say(format!(
                "{dialled} is an emergency number: everybody may call it"
            ));
        } else {
            let class = self.plan.user(user).and_then(|user| user.class);
            let class = class.or(self.plan.class);
            let class = class.and_then(|class| self.plan.classes.get(class));
            match class {
                Some(class) if class.allows(dialled) => {
                    self.say(format!("class {} lets {user} call {dialled}", class.name));
                }
                Some(class) => {
                    self.say(format!(
                        "class {} does not let {user} call {dialled}",
                        class.name
                    ));
                    return Err((403, "Not Allowed"));
                }
                None => {
                    self.say(format!(
                        "{user} has no class, and may call nothing through trunks"
                    ));
                    return Err((403, "Not Allowed"));
                }
            }
        }
        self.say(format!(
            "call {number} through trunk {name}{}",
            for_so_long(ring)
        ));
        let leg = Leg {
            end: End::Trunk {
                trunk,
                number: number.to_owned(),
            },
            caller: Some(user.clone()),
            diversions: trail.diversions.clone(),
        };
        Ok(vec![Stage {
            legs: vec![leg],
            ring,
            join: None,
        }])
    }
}

impl Trail {
    /// Notes that a call comes somewhere; false if it has been there before.
    fn enter(&mut self, place: &str) -> bool {
        let new = !self.been.iter().any(|been| been == place);
        if new {
            self.been.push(place.to_owned());
        }
        new
    }
}

fn for_so_long(ring: Option<Duration>) -> String {
    ring.map_or_else(String::new, |ring| format!(" for {} s", ring.as_secs()))
}
