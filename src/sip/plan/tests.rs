//! Plans as an operator writes them, and the ways that calls take through them.

use std::collections::{HashMap, HashSet};

use omnid_config::Problems;
use omnid_identity::Address;

use super::{Call, Caller, Cause, End, Office, Plan, Way, calendar::read_moment, compile, explain};
use crate::Config;

const DOMAIN: &str = "example.org";

#[derive(Default)]
struct People {
    reachable: HashSet<String>,
    busy: HashSet<String>,
    extensions: HashMap<String, String>,
}

impl Office for People {
    fn is_reachable(&self, account: &Address) -> bool {
        self.reachable.contains(account.user())
    }

    fn is_busy(&self, account: &Address) -> bool {
        self.busy.contains(account.user())
    }

    fn extension(&self, _: &str, number: &str) -> Option<Address> {
        self.extensions.get(number).map(|user| address(user))
    }
}

fn address(user: &str) -> Address {
    Address::new(user, DOMAIN).unwrap_or_else(|error| panic!("{error}"))
}

fn office(reachable: &[&str]) -> People {
    People {
        reachable: reachable.iter().map(|user| (*user).to_owned()).collect(),
        extensions: [("200", "alice"), ("201", "bob"), ("202", "carol")]
            .map(|(number, user)| (number.to_owned(), user.to_owned()))
            .into(),
        ..People::default()
    }
}

fn plan(text: &str) -> Plan {
    let loaded = omnid_config::load_str::<Config>(text);
    let config = loaded.unwrap_or_else(|error| panic!("{error}")).value;
    let mut problems = Problems::default();
    let plan = compile(&config, DOMAIN, &mut problems);
    assert_eq!(problems.errors(), 0, "{text}");
    plan
}

fn call<'a>(from: &str, number: &'a str) -> Call<'a> {
    let caller = match from.strip_prefix("trunk") {
        Some(number) => Caller::Trunk(number.parse().unwrap_or_else(|_| panic!("{from}"))),
        None => Caller::User(address(from)),
    };
    let known = [
        "alice", "bob", "carol", "dave", "erin", "frank", "ann", "ben",
    ];
    Call {
        caller,
        number,
        domain: DOMAIN,
        account: known
            .contains(&number)
            .then(|| &*Box::leak(Box::new(address(number)))),
        unix: 1_800_000_000,
        seed: 7,
        diverted: 0,
    }
}

/// A way in few letters: stages behind each other, legs beside each other.
fn short(way: &Way) -> String {
    if let Some((status, _)) = way.refusal {
        return status.to_string();
    }
    let stages = way.stages.iter().map(|stage| {
        let legs = stage.legs.iter().map(|leg| match &leg.end {
            End::Account(account) => account.user().to_owned(),
            End::Trunk { trunk, number } => format!("{number}@{trunk}"),
        });
        let legs: Vec<String> = legs.collect();
        let ring = stage
            .ring
            .map_or_else(String::new, |ring| format!("/{}", ring.as_secs()));
        let join = stage
            .join
            .map_or_else(String::new, |join| format!("+{}", join.as_secs()));
        format!("{}{ring}{join}", legs.join("&"))
    });
    stages.collect::<Vec<_>>().join(" ")
}

/// Where a call goes, and then where after each of these.
fn course(plan: &Plan, call: &Call<'_>, people: &People, causes: &[Cause]) -> String {
    let mut way = plan.place(call, people);
    let mut course = short(&way);
    for cause in causes {
        way = plan.next(way.then, *cause, people);
        course += &format!(", {}", short(&way));
    }
    course
}

const OFFICE: &str = r#"
emergency = ["112"]
default_class = "inland"
trunk = [
  { name = "one", servers = ["192.0.2.1"] },
  { name = "two", servers = ["192.0.2.2"] },
]
class = [
  { name = "inland", allow = ["_0Z."], deny = ["_0190."] },
  { name = "all", allow = ["_0."] },
]
calendar = [
  { name = "office", hours = ["mon-fri 09:00-17:00"], holidays = ["12-25"], zone = "Europe/Berlin" },
]
user = [
  { account = "boss", class = "all" },
  { account = "carol", do_not_disturb = true, forward = { busy = "bob" } },
  { account = "dave", forward = { always = "00331234", busy = "bob" } },
  { account = "erin", call_waiting = false, forward = { no_answer = "bob", offline = "201", after = "9s" } },
  { account = "ann", forward = { always = "ben" } },
  { account = "ben", forward = { always = "ann" } },
]
group = [
  { name = "sales", members = ["200", "bob", "carol", "erin"], ring = "10s", otherwise = "frank" },
  { name = "turn", members = ["alice", "bob", "frank"], strategy = "order", ring = "5s" },
  { name = "more", members = ["alice", "bob", "frank"], strategy = "memory", ring = "5s" },
  { name = "dice", members = ["alice", "bob", "frank", "erin"], strategy = "random" },
]
route = [
  { match = "600", to = ["group:sales"] },
  { match = "601", to = ["group:turn"] },
  { match = "602", to = ["group:more"] },
  { match = "603", to = ["group:dice"] },
  { match = "604", to = ["alice", "group:turn"], ring = "7s" },
  { match = "112", to = ["trunk:one"] },
  { match = "_0.", to = ["trunk:one", "trunk:two"], strip = 1, prefix = "+" },
  { match = "_X.", to = ["reject:410"] },
  { match = "_8XX", to = ["number"], strip = 1, prefix = "2" },
  { match = "+4930123", from = ["trunk:one", "trunk:two"], when = "office", to = ["group:sales"] },
  { match = "+4930123", from = ["trunk:one", "trunk:two"], when = "!office", to = ["frank"] },
  { match = "+4930124", from = ["trunk:one"], to = ["dave"] },
]
"#;

#[test]
fn calls_take_their_ways() {
    let plan = plan(OFFICE);
    let mut people = office(&["alice", "bob", "carol", "dave", "erin", "frank"]);
    for (from, number, way) in [
        // Accounts, and extensions, go before patterns.
        ("alice", "bob", "bob"),
        ("alice", "201", "bob"),
        ("alice", "999", "410"),
        ("alice", "zoe", "404"),
        ("alice", "801", "bob"),
        ("alice", "899", "410"),
        // Groups: whom one calls from, who is not to be disturbed, and who calls, is left out.
        ("zoe", "600", "alice&bob&erin/10"),
        ("alice", "600", "bob&erin/10"),
        ("zoe", "601", "alice/5 bob/5 frank/5"),
        ("zoe", "602", "alice/15 bob/10+5 frank/5+5"),
        ("zoe", "604", "alice/7"),
        // Classes.
        ("alice", "030123", "+30123@0"),
        ("alice", "0331234", "+331234@0"),
        ("alice", "0190666", "403"),
        ("alice", "00331234", "403"),
        ("boss", "00331234", "+0331234@0"),
        ("alice", "112", "112@0"),
        // What an account forwards to is called at its own expense.
        ("boss", "dave", "403"),
        ("trunk0", "+4930124", "403"),
        // From outside, only what is a route's.
        ("trunk0", "alice", "404"),
        ("trunk0", "201", "404"),
        ("trunk0", "030123", "404"),
        ("trunk0", "112", "404"),
        ("trunk1", "+4930124", "404"),
        // Forwarded.
        ("alice", "carol", "bob"),
        ("alice", "ann", "482"),
    ] {
        assert_eq!(
            short(&plan.place(&call(from, number), &people)),
            way,
            "{from} {number}"
        );
    }
    people.busy.extend(["bob".to_owned(), "erin".to_owned()]);
    for (from, number, way) in [
        ("zoe", "600", "alice/10"),
        ("zoe", "erin", "486"),
        ("zoe", "bob", "bob"),
        (
            "zoe",
            "601",
            "alice/5 frank/5 erin/20".trim_end_matches(" erin/20"),
        ),
    ] {
        assert_eq!(
            short(&plan.place(&call(from, number), &people)),
            way,
            "{from} {number}"
        );
    }
}

#[test]
fn what_follows_depends_on_why() {
    let plan = plan(OFFICE);
    let people = office(&["alice", "bob", "erin", "frank"]);
    use Cause::{Busy, Failed, NoAnswer, Refused};
    for (from, number, causes, expected) in [
        ("zoe", "erin", &[NoAnswer][..], "erin/9, bob"),
        ("zoe", "erin", &[Failed], "erin/9, bob"),
        ("zoe", "erin", &[Busy], "erin/9, "),
        ("zoe", "erin", &[NoAnswer, NoAnswer], "erin/9, bob, "),
        ("zoe", "600", &[NoAnswer], "alice&bob&erin/10, frank"),
        ("zoe", "604", &[Busy], "alice/7, alice/5 bob/5 frank/5"),
        ("zoe", "604", &[Refused], "alice/7, "),
        // A trunk that fails is followed by the next; one that finds the number busy is not.
        ("zoe", "030123", &[Failed], "+30123@0, +30123@1"),
        ("zoe", "030123", &[Failed, Failed], "+30123@0, +30123@1, "),
        ("zoe", "030123", &[Busy], "+30123@0, "),
        ("zoe", "030123", &[Refused], "+30123@0, "),
    ] {
        assert_eq!(
            course(&plan, &call(from, number), &people, causes),
            expected,
            "{number}"
        );
    }
    let nobody = office(&["frank"]);
    let course = |number, causes: &[Cause]| course(&plan, &call("zoe", number), &nobody, causes);
    assert_eq!(course("600", &[]), "frank");
    assert_eq!(course("erin", &[]), "480");
    assert_eq!(course("604", &[]), "frank/5");
}

#[test]
fn diversions_are_told_and_bounded() {
    let plan = plan(OFFICE);
    let people = office(&["bob"]);
    let way = plan.place(&call("alice", "carol"), &people);
    let diversions = &way.stages[0].legs[0].diversions;
    assert_eq!(diversions.len(), 1);
    assert_eq!(diversions[0].by.user(), "carol");
    assert_eq!(diversions[0].reason, "do-not-disturb");
    let often = Call {
        diverted: 10,
        ..call("alice", "carol")
    };
    assert_eq!(short(&plan.place(&often, &people)), "482");
}

#[test]
fn day_and_night() {
    let plan = plan(OFFICE);
    let people = office(&["alice", "frank"]);
    for (at, way) in [
        ("2026-11-25T08:59:00+01:00", "frank"),
        ("2026-11-25T09:00:00+01:00", "alice/10"),
        ("2026-07-01T07:00:00Z", "alice/10"),
        ("2026-11-28T12:00:00+01:00", "frank"),
        ("2026-12-25T12:00:00+01:00", "frank"),
    ] {
        let unix = read_moment(at, &jiff::tz::TimeZone::UTC).unwrap_or_default();
        let call = Call {
            unix,
            ..call("trunk0", "+4930123")
        };
        assert_eq!(short(&plan.place(&call, &people)), way, "{at}");
    }
}

#[test]
fn dice_are_fair_enough() {
    let plan = plan(OFFICE);
    let people = office(&["alice", "bob", "erin", "frank"]);
    let mut first: HashMap<String, usize> = HashMap::new();
    for seed in 0..4000 {
        let call = Call {
            seed,
            ..call("zoe", "603")
        };
        let way = short(&plan.place(&call, &people));
        let name = way.split('/').next().unwrap_or_default();
        *first.entry(name.to_owned()).or_default() += 1;
    }
    assert_eq!(first.len(), 4);
    assert!(
        first.values().all(|count| (800..1200).contains(count)),
        "{first:?}"
    );
}

#[test]
fn a_way_is_explained() {
    let plan = plan(OFFICE);
    let people = office(&["erin", "bob"]);
    let explained = |from, number| {
        let way = plan.place(&call(from, number), &people);
        let answer = explain(&plan, &way, &people);
        let steps = answer["steps"].as_array().cloned().unwrap_or_default();
        let steps: Vec<String> = steps
            .iter()
            .filter_map(|step| Some(step.as_str()?.to_owned()))
            .collect();
        steps.join("\n")
    };
    assert_eq!(
        explained("zoe", "erin"),
        "ring the phones of erin@example.org for 9 s\n\
         if not answered:\n  erin@example.org does not answer, and forwards such calls\n  \
         ring the phones of bob@example.org\n\
         if not reached:\n  erin@example.org cannot be reached, and forwards such calls\n  \
         on to 201\n  201 is bob@example.org\n  ring the phones of bob@example.org"
    );
    assert_eq!(
        explained("zoe", "030123"),
        "route \"_0.\" is for 030123, and makes it +30123\n\
         class inland lets zoe@example.org call 030123\n\
         call +30123 through trunk one\n\
         if not reached:\n  class inland lets zoe@example.org call 030123\n  \
         call +30123 through trunk two"
    );
}

#[test]
fn what_cannot_be_is_refused() {
    for (text, problems) in [
        ("route = [{ match = '_1.2', to = ['alice'] }]", 1),
        ("route = [{ match = '1', to = ['group:x'] }]", 1),
        ("route = [{ match = '1', to = ['trunk:x'] }]", 1),
        ("route = [{ match = '1', to = [] }]", 1),
        (
            "route = [{ match = '1', from = ['strangers'], to = ['alice'] }]",
            1,
        ),
        (
            "route = [{ match = '1', to = ['reject:200', 'reject:x', 'what:x'] }]",
            3,
        ),
        (
            "route = [{ match = '1', to = ['alice'], when = 'x', prefix = ' ' }]",
            1,
        ),
        ("route = [{ match = '1', to = ['alice'], prefix = ' ' }]", 1),
        (
            "group = [{ name = 'a', members = [] }, { name = 'a', members = ['b c'] }]",
            2,
        ),
        (
            "calendar = [{ name = 'a', hours = ['9-5'], zone = 'Nowhere/None' }]",
            1,
        ),
        (
            "calendar = [{ name = 'a', hours = ['9-5'], holidays = ['x'] }]",
            2,
        ),
        (
            "user = [{ account = 'a' }, { account = 'A', class = 'x' }]",
            2,
        ),
        ("default_class = 'x'", 1),
        (
            "trunk = [{ name = 't', servers = ['192.0.2.1'] }]\n\
             route = [{ match = '1', from = ['trunk:t'], to = ['trunk:t'] }]",
            1,
        ),
    ] {
        let loaded = omnid_config::load_str::<Config>(text);
        let config = loaded.unwrap_or_else(|error| panic!("{error}")).value;
        let mut found = Problems::default();
        compile(&config, DOMAIN, &mut found);
        assert_eq!(found.errors(), problems, "{text}");
    }
}
