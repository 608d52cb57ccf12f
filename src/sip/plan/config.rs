//! The parts of `[sip]` that say where calls go.

use std::time::Duration;

use omnid_config::Spanned;

omnid_config::section! {
    /// Where calls to a number go. The route that says most of a number is taken; of equal ones the
    /// first whose time it is. A number itself goes before the account that has it as an extension,
    /// and that before any pattern.
    pub struct RouteConfig {
        /// The number or name that is called, or after a "_" a pattern: X is a digit, Z one but 0,
        /// N one but 0 and 1, "[1-5]" one of those, "." one or more of anything, "!" any rest.
        #[key = "match"]
        pub pattern: Spanned<String>,
        /// Whose calls: "users", or trunks as "trunk:NAME".
        pub from: Vec<Spanned<String>> = vec![Spanned::from("users".to_owned())],
        /// The calendar by whose hours the route holds; outside them with a "!" in front.
        pub when: Option<Spanned<String>> = None,
        /// Where to, and where to next if nobody is had there: an account ("alice"), a number that
        /// is dialled instead ("200"), "group:NAME", "trunk:NAME", "number" for the number itself as
        /// `strip` and `prefix` have made it, or "reject:STATUS".
        pub to: Vec<Spanned<String>>,
        /// How many characters are taken off the number's beginning …
        #[range(0..=32)]
        pub strip: u8 = 0,
        /// … and what is put there instead.
        pub prefix: Spanned<String> = Spanned::from(String::new()),
        /// How long one place is rung before the next is tried.
        #[range(Duration::from_secs(1)..=Duration::from_secs(3600))]
        pub ring: Option<Duration> = None,
    }
}

omnid_config::section! {
    /// Accounts that are rung together. Their own forwarding does not count here; who has no phone
    /// there or does not want to be disturbed is left out.
    pub struct GroupConfig {
        /// What it is called by routes.
        pub name: Spanned<String>,
        /// The accounts, or their extensions.
        pub members: Vec<Spanned<String>>,
        /// In which order they are rung.
        pub strategy: Strategy = Strategy::All,
        /// How long they are rung: each, where it is one after the other.
        #[range(Duration::from_secs(1)..=Duration::from_secs(3600))]
        pub ring: Duration = Duration::from_secs(20),
        /// Whether members who are in a call are left out.
        pub skip_busy: bool = true,
        /// Where a call goes that nobody took, written as in `route.to`.
        pub otherwise: Option<Spanned<String>> = None,
    }
}

omnid_config::choice! {
    /// An order.
    pub enum Strategy {
        /// All at once.
        All = "all",
        /// One after the other.
        Order = "order",
        /// One after the other, each time in another order.
        Random = "random",
        /// The first one, then the first two, and so on.
        Memory = "memory",
    }
}

omnid_config::section! {
    /// What is particular to an account's calls.
    pub struct UserConfig {
        /// The account: "alice", or "alice@example.org".
        pub account: Spanned<String>,
        /// What it may call outside; `sip.class` unless given.
        pub class: Option<Spanned<String>> = None,
        /// Refuse its calls as busy.
        pub do_not_disturb: bool = false,
        /// Whether its phones ring while it is in a call. Otherwise it is busy.
        pub call_waiting: bool = true,
        /// Where its calls go instead.
        pub forward: ForwardConfig = ForwardConfig::default(),
    }
}

omnid_config::section! {
    /// Where calls go instead, each written as in `route.to`. Trunks are open to them as far as to
    /// the account itself.
    pub struct ForwardConfig {
        /// All of them.
        pub always: Option<Spanned<String>> = None,
        /// Those that find it busy, or that it declines.
        pub busy: Option<Spanned<String>> = None,
        /// Those that it does not answer.
        pub no_answer: Option<Spanned<String>> = None,
        /// Those that find no phone of its registered.
        pub offline: Option<Spanned<String>> = None,
        /// How long it rings before it is taken not to answer.
        #[range(Duration::from_secs(1)..=Duration::from_secs(3600))]
        pub after: Duration = Duration::from_secs(20),
    }
}

omnid_config::section! {
    /// What may be called through trunks. What no class allows, nobody may; emergency numbers
    /// everybody may.
    pub struct ClassConfig {
        /// What accounts name it by.
        pub name: Spanned<String>,
        /// Numbers, as dialled and written as in `route.match`, that may be called …
        pub allow: Vec<Spanned<String>> = vec![],
        /// … but for these.
        pub deny: Vec<Spanned<String>> = vec![],
    }
}

omnid_config::section! {
    /// Hours of the week.
    pub struct CalendarConfig {
        /// What routes name it by.
        pub name: Spanned<String>,
        /// "mon-fri 09:00-17:30", "sat,sun", "22:00-06:00". A night belongs to the day on which it
        /// begins.
        pub hours: Vec<Spanned<String>>,
        /// Days without any: "2026-12-25", or "12-25" in every year.
        pub holidays: Vec<Spanned<String>> = vec![],
        /// Whose time, such as "Europe/Berlin"; the system's unless given.
        pub zone: Option<Spanned<String>> = None,
    }
}
