//! Prosody's modules and settings: what becomes of each.

/// Modules whose work is done here, without a word in the configuration.
pub(super) const DONE: &[&str] = &[
    "roster",
    "saslauth",
    "tls",
    "disco",
    "blocklist",
    "bookmarks",
    "carbons",
    "pep",
    "private",
    "smacks",
    "vcard",
    "vcard_legacy",
    "vcard4",
    "csi",
    "csi_simple",
    "ping",
    "time",
    "version",
    "mam",
    "offline",
    "presence",
    "message",
    "iq",
    "c2s",
    "s2s",
    "s2s_auth_certs",
    "limits",
    "muc_mam",
    "lastactivity",
    "pep_simple",
    "cron",
    "admin_shell",
    "admin_socket",
    "user_account_management",
    "auth_internal_hashed",
    "auth_internal_plain",
    "stream_limits",
];

/// Modules that have nothing to do here.
pub(super) const NEEDLESS: &[(&str, &str)] = &[
    (
        "posix",
        "omnid stays in the foreground; its unit is in systemd/",
    ),
    ("uptime", "`omnid status` says it"),
    ("http_openmetrics", "metrics are at admin.listen"),
    (
        "admin_telnet",
        "`omnid status`, `sessions` and `reload` take its place",
    ),
    (
        "storage_internal",
        "what is kept is in the store: see `omnid import prosody /var/lib/prosody`",
    ),
    ("storage_sql", "see [store]"),
    ("http", "is a service of its own: see [http]"),
    ("windows", "nothing here runs there"),
];

/// Modules that nothing here takes the place of yet, and what to do.
pub(super) const MISSING: &[(&str, &str)] = &[
    ("register", "accounts are made with `omnid user add`"),
    ("register_ibr", "accounts are made with `omnid user add`"),
    ("register_limits", "accounts are made with `omnid user add`"),
    (
        "watchregistrations",
        "accounts are made with `omnid user add`",
    ),
    ("welcome", "accounts are made with `omnid user add`"),
    ("groups", "shared contacts are not there yet"),
    ("legacyauth", "no client needs it any more"),
    ("http_files", "a site with `root` does that: see [http]"),
    ("admin_adhoc", "`omnid user` and `omnid status` do that"),
];

/// Settings that need no word here.
pub(super) const QUIET: &[(&str, &str)] = &[
    ("daemonize", "omnid stays in the foreground"),
    ("pidfile", "the unit knows the process"),
    ("prosody_user", "the unit names the user"),
    ("prosody_group", "the unit names the user"),
    ("run_as_root", "the unit names the user"),
    (
        "plugin_paths",
        "modules of Prosody's run only there; see [script]",
    ),
    ("log", "see [log]: standard error or the journal"),
    (
        "data_path",
        "see server.data_dir; `omnid import prosody` takes what is there",
    ),
    ("storage", "what is kept is in the store: see [store]"),
    (
        "default_storage",
        "what is kept is in the store: see [store]",
    ),
    ("sql", "what is kept is in the store: see [store]"),
    ("password_hash", "every hash is made of a password"),
    ("use_libevent", "is of Prosody's own"),
    ("network_backend", "is of Prosody's own"),
    ("gc", "is of Prosody's own"),
    (
        "http_ports",
        "the HTTP service has its listeners: see [http]",
    ),
    (
        "https_ports",
        "the HTTP service has its listeners: see [http]",
    ),
    ("umask", "files are for the daemon's eyes only"),
    (
        "c2s_require_encryption",
        "nothing but TLS is accepted, always",
    ),
    (
        "s2s_require_encryption",
        "nothing but TLS is accepted, always",
    ),
    (
        "allow_registration",
        "accounts are made with `omnid user add`",
    ),
    (
        "modules_disabled",
        "see xmpp.disable for what can be switched off",
    ),
    ("statistics", "metrics are always kept"),
    ("statistics_interval", "metrics are always kept"),
];

/// Settings that are read.
pub(super) const READ: &[&str] = &[
    "ssl",
    "https_ssl",
    "certificates",
    "interfaces",
    "c2s_ports",
    "c2s_direct_tls_ports",
    "legacy_ssl_ports",
    "s2s_ports",
    "s2s_direct_tls_ports",
    "archive_expires_after",
    "max_history_messages",
    "restrict_room_creation",
    "s2s_secure_auth",
    "s2s_insecure_domains",
    "s2s_secure_domains",
    "component_secret",
    "enabled",
    "smacks_hibernation_time",
    "name",
];
