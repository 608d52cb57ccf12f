//! The configuration of rewriting.

use std::{collections::BTreeMap, path::PathBuf};

use omnid_config::Spanned;

omnid_config::section! {
    /// A rule that changes where a request goes, or answers it.
    pub struct RewriteConfig {
        /// A regular expression for the path, decoded and without the query; with "!" in front, for
        /// what it must not match. In a site's rules the path begins with a slash; in those of a
        /// route or filter it begins behind the route's path. Every path unless given.
        #[key = "match"]
        pub pattern: Spanned<String> = Spanned::from(String::new()),
        /// A condition that must hold as well, such as "!-f %{REQUEST_FILENAME}".
        pub when: Option<Spanned<String>> = None,
        /// What takes the place of the path: a path or URL, perhaps with a query, in which "$1"
        /// stands for a group of `match`, "%1" for one of `when`, "%{NAME}" for a variable,
        /// "${map:key|default}" for a value of a table. Without it the path stays.
        pub to: Option<Spanned<String>> = None,
        /// The status to answer with: of a redirect where there is a `to`, else of a failure.
        pub status: Option<Spanned<u16>> = None,
        /// What becomes of the request's own query.
        pub query: QueryChoice = QueryChoice::Replace,
        /// What comes next where the rule applied.
        pub then: ThenChoice = ThenChoice::Stop,
        /// How many rules are passed over where the rule applied and then is "next".
        pub skip: u16 = 0,
        /// Whether the next rule is passed over where this one does not apply.
        pub chain: bool = false,
        /// Whether a redirect's path is percent-encoded.
        pub escape: bool = true,
        /// Whether what groups captured is percent-encoded.
        pub escape_groups: bool = false,
        /// Variables that are set, by name.
        pub set: BTreeMap<String, Spanned<String>> = BTreeMap::new(),
        /// Variables that are unset.
        pub unset: Vec<String> = vec![],
        /// Cookies that are set, each a whole Set-Cookie field.
        pub cookies: Vec<Spanned<String>> = vec![],
        /// The media type that the answer is given.
        pub content_type: Option<Spanned<String>> = None,
    }
}

omnid_config::section! {
    /// A table that rewriting and conditions look keys up in.
    pub struct MapConfig {
        /// A file with a key and a value on each line.
        pub file: Option<Spanned<PathBuf>> = None,
        /// Whether a value is a list, divided by bars, of which one is taken at random.
        pub random: bool = false,
        /// Keys and their values, beside those of the file.
        pub values: BTreeMap<String, String> = BTreeMap::new(),
    }
}

omnid_config::choice! {
    /// What becomes of the request's own query.
    pub enum QueryChoice {
        /// It stays unless `to` has a query.
        Replace = "replace",
        /// It is added behind the query of `to`.
        Append = "append",
        /// It is dropped.
        Drop = "drop",
    }
}

omnid_config::choice! {
    /// What comes next where a rule applied.
    pub enum ThenChoice {
        /// No further rule of this list.
        Stop = "stop",
        /// The next rule.
        Next = "next",
        /// The first rule again.
        Again = "again",
        /// No further rule at all, of this list or another.
        End = "end",
    }
}
