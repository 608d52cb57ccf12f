//! The part of `[sip]` that names ways to the outside.

use std::time::Duration;

use omnid_config::{IpNet, Problem, Problems, Secret, Spanned};

omnid_config::section! {
    /// A way to telephones elsewhere: a provider's, or another office's.
    #[check(TrunkConfig::check, needs(register, username, password))]
    pub struct TrunkConfig {
        /// What routes name it by.
        pub name: Spanned<String>,
        /// Its servers, the one to be preferred first: "sip.example.net" or "192.0.2.1:5060". Another
        /// one is called when one does not answer or fails.
        pub servers: Vec<Spanned<String>>,
        /// How it is spoken to.
        pub transport: TrunkTransport = TrunkTransport::Udp,
        /// The domain of its numbers; the host that is called unless given.
        pub domain: Option<Spanned<String>> = None,
        /// The name to log in with there.
        pub username: Option<Spanned<String>> = None,
        /// The password for it.
        pub password: Option<Secret> = None,
        /// Whether to register there, so that calls come in; tried for as long as it takes.
        pub register: Spanned<bool> = Spanned::from(false),
        /// How long a registration is asked to last.
        #[range(Duration::from_secs(60)..=Duration::from_secs(86400))]
        pub expires: Duration = Duration::from_secs(3600),
        /// How long to wait after a failed registration; twice as long after each, up to 10 minutes.
        #[range(Duration::from_secs(1)..=Duration::from_secs(600))]
        pub retry: Duration = Duration::from_secs(15),
        /// How often each server is asked whether it is there (OPTIONS); "0s" never asks. A server
        /// that does not answer is called only if no other does.
        pub qualify: Duration = Duration::from_secs(60),
        /// How long a server may take to say anything to a call before the next is tried.
        #[range(Duration::from_millis(500)..=Duration::from_secs(32))]
        pub reply_within: Duration = Duration::from_secs(4),
        /// Networks that its calls come from, besides its servers.
        pub addresses: Vec<Spanned<IpNet>> = vec![],
        /// The number that is shown for callers; their extension or name unless given.
        pub caller_id: Option<Spanned<String>> = None,
    }
}

omnid_config::choice! {
    /// A transport.
    pub enum TrunkTransport {
        /// Datagrams.
        Udp = "udp",
        /// Connections.
        Tcp = "tcp",
    }
}

impl TrunkConfig {
    fn check(&self, problems: &mut Problems) {
        let known = self.username.is_some() && self.password.is_some();
        if self.register.value && !known {
            problems.push(
                Problem::error(format!("trunk \"{}\" cannot register", self.name.value))
                    .at(self.register.span, "as nobody")
                    .help("give it a username and a password"),
            );
        }
        if self.username.is_some() != self.password.is_some() {
            problems.push(
                Problem::error(format!("trunk \"{}\" cannot log in", self.name.value))
                    .at(
                        self.name.span,
                        "a username without a password, or the reverse",
                    )
                    .help("give it both, or neither"),
            );
        }
        if self.servers.is_empty() {
            problems.push(
                Problem::error(format!("trunk \"{}\" has no server", self.name.value))
                    .at(self.name.span, "leads nowhere")
                    .help("name one in `servers`"),
            );
        }
    }
}
