//! Which of Apache's modules have something here that does their work.

/// Without `mod_` and `.c`.
const HERE: &[&str] = &[
    "access_compat",
    "alias",
    "allowmethods",
    "auth_basic",
    "authn_core",
    "authn_file",
    "authz_core",
    "authz_groupfile",
    "authz_host",
    "authz_user",
    "cgi",
    "cgid",
    "core",
    "dir",
    "env",
    "expires",
    "headers",
    "http",
    "http2",
    "log_config",
    "mime",
    "mpm_event",
    "proxy",
    "proxy_fcgi",
    "proxy_http",
    "proxy_wstunnel",
    "reqtimeout",
    "rewrite",
    "setenvif",
    "so",
    "ssl",
    "unixd",
    "version",
];

/// Whether a module is here, by any of its names.
pub(super) fn is_here(name: &str) -> bool {
    HERE.contains(&bare(name))
}

/// A module's name without what its other names have around it.
pub(super) fn bare(name: &str) -> &str {
    let name = name.trim_end_matches(".c").trim_end_matches("_module");
    name.strip_prefix("mod_").unwrap_or(name)
}
