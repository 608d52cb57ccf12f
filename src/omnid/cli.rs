//! What can be typed. One definition gives the parser, its help, completions and man pages.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// One daemon for DNS, HTTP, SIP and XMPP.
#[derive(Debug, Parser)]
#[command(
    name = "omnid",
    version,
    propagate_version = true,
    infer_long_args = false
)]
pub struct Arguments {
    /// Configuration file [default: $OMNID_CONFIG, else /etc/omnid/omnid.toml]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Control socket of the running daemon [default: [admin] socket of the configuration]
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon in the foreground
    Run,
    /// Run all four services on loopback with throw-away accounts, and print what to try
    Demo(Demo),
    /// Check the configuration and everything it names
    Check,
    /// Apply the changed configuration to the running daemon
    Reload {
        /// Print what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Show the supervisor tree of the running daemon
    Status,
    /// Accounts: one per person, for every service
    #[command(subcommand)]
    User(User),
    /// Domains and the records that services publish about them
    #[command(subcommand)]
    Domain(Domain),
    /// DNS zones
    #[command(subcommand)]
    Zone(Zone),
    /// The DNS resolver
    #[command(subcommand)]
    Dns(Dns),
    /// TLS certificates
    #[command(subcommand)]
    Cert(Cert),
    /// Chat sessions
    Sessions,
    /// Live calls
    Calls,
    /// Registered telephones
    Registrations,
    /// Trunks: which servers answer, and whether we are registered there
    Trunks,
    /// The running daemon's log
    Log(Log),
    /// A live view of the running daemon
    Top {
        /// Seconds between two looks
        #[arg(long, default_value_t = 1.0)]
        interval: f64,
        /// Print one look and end
        #[arg(long)]
        once: bool,
    },
    /// Copy all that the daemon keeps into an archive, while it runs
    Backup {
        /// Directory to create
        directory: PathBuf,
    },
    /// Put an archive back into an empty store
    Restore {
        /// Directory that `omnid backup` made
        directory: PathBuf,
        /// Overwrite a store that is not empty
        #[arg(long)]
        force: bool,
    },
    /// Check an archive, or the running store
    Verify {
        /// Directory that `omnid backup` made; the running store where missing
        directory: Option<PathBuf>,
    },
    /// The configuration and its reference
    #[command(subcommand)]
    Config(Config),
    /// Move here from another server: its configuration as ours, its users into the store, and what
    /// is lost
    #[command(subcommand)]
    Import(Import),
    /// Move away: write users with all that is kept of them, as XEP-0227 has it
    Export {
        /// A new file, for your eyes only: hashes of passwords are in it [default: standard output]
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Only users of this domain, and its rooms
        domain: Option<String>,
    },
    /// Say what the configuration makes of an HTTP request, or of a call, and why
    Explain(Explain),
    /// Check the [[test]] tables of the configuration; opens no port
    Test,
    /// Print shell completions
    Completions {
        /// For this shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write all of them
    Man {
        /// Write omnid.1, omnid-*.1 and omnid.toml.5 here
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub struct Demo {
    /// Keep everything here [default: a new temporary directory]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// `auto` for free ports, or the first of a row of ports
    #[arg(long, default_value = "auto", value_name = "auto|PORT")]
    pub ports: String,
}

#[derive(Debug, Subcommand)]
pub enum Import {
    /// Apache httpd: a directory such as /etc/apache2, or its first file
    Apache {
        /// The directory or file
        path: PathBuf,
        /// Write the configuration here instead of to standard output
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        /// All paths in it are below this directory: a copy of another machine
        #[arg(long, value_name = "DIR")]
        root: Option<PathBuf>,
        /// A name that is defined, as with httpd -D
        #[arg(long = "define", short = 'D', value_name = "NAME")]
        defines: Vec<String>,
        /// Report lines that are not needed here, too
        #[arg(long)]
        all: bool,
    },
    /// Prosody: its configuration, or its users and rooms
    Prosody {
        /// The data directory, such as /var/lib/prosody, or prosody.cfg.lua
        path: PathBuf,
        /// Of users and rooms: say what would come, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// Write the configuration here instead of to standard output
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Report what is not needed here, too
        #[arg(long)]
        all: bool,
    },
    /// ejabberd's users: the directory that `ejabberdctl export_piefxis DIR` filled
    Ejabberd(Users),
    /// Users of any XMPP server: a document of XEP-0227
    Xep0227(Users),
}

#[derive(Debug, Args)]
pub struct Users {
    /// Where they are
    pub path: PathBuf,
    /// Say what would come, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub enum ExplainWhat {
    /// Where a call goes: each step, and what follows where nobody takes it. The running daemon is
    /// asked who is there; without one, everybody is taken to be
    Call {
        /// Who calls: alice, alice@example.org, or an extension
        from: String,
        /// What is called: a number, a name or an address
        to: String,
        /// When, such as 2026-12-24T10:00 [default: now]
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
    },
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Explain {
    #[command(subcommand)]
    pub what: Option<ExplainWhat>,
    /// The URL, such as https://www.example.org/app/
    #[arg(required = true)]
    pub url: Option<String>,
    /// The request's method
    #[arg(long, short = 'X', default_value = "GET")]
    pub method: String,
    /// A field of the request, such as "User-Agent: x"
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// The client's address
    #[arg(long, value_name = "ADDRESS")]
    pub client: Option<std::net::IpAddr>,
    /// Who has logged in
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum User {
    /// Create an account
    Add {
        /// alice@example.org
        address: String,
        /// Read the password from standard input instead of asking twice
        #[arg(long)]
        stdin: bool,
        /// Make up a password and print it
        #[arg(long, conflicts_with = "stdin")]
        generate: bool,
        /// user, domain-admin or admin; may be repeated
        #[arg(long = "role", default_value = "user")]
        roles: Vec<String>,
    },
    /// Change a password
    Passwd {
        /// alice@example.org
        address: String,
        /// Read the password from standard input instead of asking twice
        #[arg(long)]
        stdin: bool,
        /// Make up a password and print it
        #[arg(long, conflicts_with = "stdin")]
        generate: bool,
    },
    /// List accounts
    List {
        /// Only of this domain
        domain: Option<String>,
    },
    /// Remove an account and all that belongs to it
    Remove {
        /// alice@example.org
        address: String,
    },
    /// Let an account log in again
    Enable {
        /// alice@example.org
        address: String,
    },
    /// Keep an account from logging in
    Disable {
        /// alice@example.org
        address: String,
    },
    /// Passwords for single applications
    #[command(subcommand)]
    AppPassword(AppPassword),
    /// Telephone extensions
    #[command(subcommand)]
    Extension(Extension),
    /// The last security events
    Audit {
        /// How many
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
}

#[derive(Debug, Subcommand)]
pub enum Extension {
    /// Give an account an extension
    Add {
        /// alice@example.org
        address: String,
        /// The number, such as 200
        number: String,
    },
    /// List the extensions of a domain
    List {
        /// The domain
        domain: String,
    },
    /// Take an extension of a domain back
    Remove {
        /// The domain
        domain: String,
        /// The number
        number: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum AppPassword {
    /// Make one up and print it; it is shown only now
    Add {
        /// alice@example.org
        address: String,
        /// What it is for
        label: String,
    },
    /// List labels
    List {
        /// alice@example.org
        address: String,
    },
    /// Take one back
    Remove {
        /// alice@example.org
        address: String,
        /// Its id, as `list` shows it
        id: i64,
    },
}

#[derive(Debug, Subcommand)]
pub enum Domain {
    /// List domains
    List,
    /// Print the records that services publish about a domain, in zone file form
    Records {
        /// The domain
        domain: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum Zone {
    /// List zones with serials
    List,
    /// Print a zone in zone file form
    Show {
        /// The zone's name
        zone: String,
    },
    /// Show where a zone comes from and how it fares
    Status {
        /// The zone's name
        zone: String,
    },
    /// Write a zone to its file and take no updates, so that the file may be edited
    Freeze {
        /// The zone's name
        zone: String,
    },
    /// Read the file of a frozen zone and take updates again
    Thaw {
        /// The zone's name
        zone: String,
    },
    /// Write what updates have made of a zone to its file
    Sync {
        /// The zone's name
        zone: String,
    },
    /// Tell a zone's secondaries to look for a new version
    Notify {
        /// The zone's name
        zone: String,
    },
    /// Ask a zone's primaries for a new version
    Refresh {
        /// The zone's name
        zone: String,
    },
    /// Fetch all of a zone from its primaries
    Retransfer {
        /// The zone's name
        zone: String,
    },
    /// Explain the keys that a zone is signed with: what they do, wait for, and until when
    Keys {
        /// The zone's name
        zone: String,
        /// The parent zone now has exactly the DS records that this command has shown
        #[arg(long)]
        ds_seen: bool,
    },
    /// Begin to replace the keys of a zone
    Roll {
        /// The zone's name
        zone: String,
        /// Only keys of this role: csk, ksk or zsk
        #[arg(long)]
        role: Option<String>,
        /// Only the key with this tag
        #[arg(long)]
        key: Option<u16>,
    },
    /// Replace every signature of a zone
    Sign {
        /// The zone's name
        zone: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum Dns {
    /// Drop what the resolver has learned
    Flush {
        /// About this name only
        name: Option<String>,
        /// And about all names below it
        #[arg(long, requires = "name")]
        tree: bool,
    },
    /// Show what the resolver knows about a name
    Cache {
        /// The name
        name: String,
    },
    /// Negative trust anchors: names that are not validated for a time (RFC 7646)
    #[command(subcommand)]
    Nta(Nta),
    /// Show what has been counted
    Stats,
}

#[derive(Debug, Subcommand)]
pub enum Nta {
    /// Do not validate a name, nor anything below it
    Add {
        /// The name
        name: String,
        /// For how many seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
        seconds: u64,
    },
    /// List them
    List,
    /// Validate a name again
    Remove {
        /// The name
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum Cert {
    /// List certificates with their names and dates
    List,
}

#[derive(Debug, Args)]
pub struct Log {
    /// Follow the log
    #[arg(short, long)]
    pub follow: bool,
    /// Change the level now, until the next reload: `debug`, or `info,omnid_dns=trace`
    #[arg(long, value_name = "LEVEL", conflicts_with = "follow")]
    pub level: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Config {
    /// Print the configuration
    Show {
        /// Every key, with its default and one line of help
        #[arg(long)]
        defaults: bool,
    },
    /// Print the JSON schema
    Schema,
    /// Explain one key, such as `dns.zone.name`
    Explain {
        /// Dotted path of the key
        key: String,
    },
    /// Print the key reference in Markdown
    Reference,
}
