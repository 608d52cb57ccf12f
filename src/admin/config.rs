//! `[admin]`.

use std::path::PathBuf;

use omnid_config::{ListenAddr, Problem, Problems, Spanned};

omnid_config::section! {
    /// How the operator reaches the running daemon.
    #[check(Config::check)]
    pub struct Config {
        /// Unix socket of the control commands. Root and the daemon's own user may speak to it.
        pub socket: PathBuf = PathBuf::from("/run/omnid/omnid.sock"),
        /// Numeric ids of further users who may use the control commands.
        pub users: Vec<u32> = Vec::new(),
        /// HTTP addresses for /metrics (Prometheus), /health and /status.
        pub listen: Vec<Spanned<ListenAddr>> = Vec::new(),
    }
}

impl Config {
    fn check(&self, problems: &mut Problems) {
        for address in &self.listen {
            if let ListenAddr::Ip(socket) = &address.value
                && !socket.ip().is_loopback()
            {
                problems.push(
                    Problem::warning(
                        "metrics and status are readable by anybody who reaches this address",
                    )
                    .at(address.span, "not a loopback address")
                    .help("use \"127.0.0.1:9090\", or keep strangers out with a firewall"),
                );
            }
        }
    }
}
