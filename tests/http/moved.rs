//! A server that moved here: its rules mean what they meant.

use std::{fs, time::Duration};

use super::{
    LIMIT,
    support::{binary, python, run},
};

/// Over 250 rule sets of Apache's, imported, and the same requests asked of both servers.
#[test]
fn rules_that_were_imported_answer_as_they_did() {
    let directory = tempfile::Builder::new()
        .prefix("omnid-moved-")
        .tempdir()
        .unwrap();
    let base = directory.path().join("both");
    let arguments = [binary().as_os_str(), base.as_os_str()];
    let output = python("apache_replay.py", &arguments, Duration::from_secs(300)).success();
    println!("{}", output.stdout);
}

/// What packages bring: one snippet of each kind.
const SNIPPETS: &[(&str, &str)] = &[
    ("envvars", "export APACHE_LOG_DIR=/var/log/apache2$SUFFIX\n"),
    (
        "apache2.conf",
        "ServerRoot \"/etc/apache2\"\nListen 80\nDefine APP /usr/share/app\n\
         <Directory />\n  Require all denied\n</Directory>\n\
         <Directory /usr/share>\n  AllowOverride All\n  Require all granted\n</Directory>\n\
         IncludeOptional conf-enabled/*.conf\nIncludeOptional sites-enabled/*.conf\n",
    ),
    (
        "sites-enabled/000-default.conf",
        "<VirtualHost *:80>\n  ServerName www.example.org\n  ServerAlias example.org\n  DocumentRoot /usr/share/www\n\
         \x20 CustomLog ${APACHE_LOG_DIR}/access.log combined\n  ErrorDocument 404 /none.html\n</VirtualHost>\n",
    ),
    (
        "conf-enabled/app.conf",
        "Alias /app ${APP}\n<Directory ${APP}>\n  Options FollowSymLinks\n  DirectoryIndex start.html\n\
         \x20 <IfModule mod_php7.c>\n    php_flag register_globals off\n  </IfModule>\n\
         \x20 <IfModule !mod_authz_core.c>\n    Order deny,allow\n  </IfModule>\n\
         \x20 php_admin_value memory_limit 64M\n\
         \x20 <FilesMatch \"\\.inc$\">\n    Order allow,deny\n    Deny from all\n  </FilesMatch>\n</Directory>\n\
         <Directory ${APP}/setup>\n  Require local\n</Directory>\n",
    ),
    (
        "conf-enabled/old.conf",
        "ScriptAlias /cgi /usr/lib/cgi-bin\nWSGIScriptAlias /w /usr/share/w.py\nPerlModule Foo\n\
         Frobnicate on\n<Location /status>\n  SetHandler server-status\n  Require ip 10\n</Location>\n\
         <Macro Redirected $from $to>\n  Redirect 301 $from $to\n</Macro>\nUse Redirected /a /b\n",
    ),
];

#[test]
fn every_line_is_converted_or_reported_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    for (path, text) in SNIPPETS {
        write(&format!("etc/apache2/{path}"), text);
    }
    write("usr/share/www/none.html", "none");
    write("usr/share/app/start.html", "start");
    write(
        "usr/share/app/.htaccess",
        "RewriteEngine On\nRewriteCond %{REQUEST_FILENAME} !-f\nRewriteRule ^(.*)$ start.html?p=$1 [QSA,L]\nExpiresActive On\n",
    );
    let etc = root.join("etc/apache2").display().to_string();
    let config = root.join("omnid.toml").display().to_string();
    let root = root.display().to_string();
    let arguments = ["import", "apache", &etc, "--root", &root, "-o", &config];
    let output = run(binary(), &arguments, LIMIT).failure();
    assert_eq!(output.code, Some(1), "{output:?}");
    let lost: Vec<String> = output
        .stderr
        .lines()
        .filter(|line| line.contains(": not converted: "))
        .map(|line| line.replace(&etc, "etc").replace(&root, ""))
        .map(|line| line.split(" not converted").next().unwrap().to_owned())
        .collect();
    assert_eq!(
        lost,
        [
            "etc/conf-enabled/app.conf:5:",
            "etc/conf-enabled/app.conf:11:",
            "etc/conf-enabled/old.conf:1:",
            "etc/conf-enabled/old.conf:2:",
            "etc/conf-enabled/old.conf:3:",
            "etc/conf-enabled/old.conf:4:",
            "etc/conf-enabled/old.conf:6:",
            "/usr/share/app/.htaccess:4:",
        ],
        "{}",
        output.stderr
    );
    run(binary(), &["-c", &config, "check"], LIMIT).success();
    let explain = |url: &str, client: &str| {
        let arguments = ["-c", &config, "explain", url, "--client", client];
        run(binary(), &arguments, LIMIT).success().stdout
    };
    for (url, client, told) in [
        ("http://example.org/app/", "192.0.2.1", "status  200"),
        (
            "http://example.org/app/none/x",
            "192.0.2.1",
            "/usr/share/app/start.html",
        ),
        (
            "http://example.org/app/secret.inc",
            "192.0.2.1",
            "status  403",
        ),
        ("http://example.org/app/setup/", "192.0.2.1", "status  403"),
        ("http://example.org/status", "192.0.2.1", "status  403"),
        (
            "http://example.org/a/x",
            "192.0.2.1",
            "field   location: http://example.org/b/x",
        ),
    ] {
        let explained = explain(url, client);
        assert!(explained.contains(told), "{url}: no {told} in\n{explained}");
    }
}
