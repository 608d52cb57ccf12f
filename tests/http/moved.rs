//! A server that moved here: its rules mean what they meant.

use std::{ffi::OsStr, fs, time::Duration};

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

/// What Debian's packages bring for Apache.
#[test]
fn what_packages_bring_comes_over() {
    let directory = tempfile::tempdir().unwrap();
    let mut arguments = vec![binary().as_os_str(), directory.path().as_os_str()];
    let packages = [
        "dokuwiki",
        "javascript-common",
        "php8.2-fpm",
        "phpmyadmin",
        "roundcube-core",
        "wordpress",
    ];
    arguments.extend(packages.iter().map(OsStr::new));
    let output = python("apache_packages.py", &arguments, LIMIT).success();
    println!("{}", output.stdout);
}

/// How Red Hat lays it out: modules loaded by files of their own, PHP in php-fpm.
const RED_HAT: &[(&str, &str)] = &[
    (
        "conf/httpd.conf",
        "ServerRoot \"/etc/httpd\"\nListen 80\nInclude conf.modules.d/*.conf\nUser apache\nGroup apache\n\
         ServerAdmin root@localhost\n<Directory />\n  AllowOverride none\n  Require all denied\n</Directory>\n\
         DocumentRoot \"/var/www/html\"\n<Directory \"/var/www\">\n  AllowOverride None\n  Require all granted\n</Directory>\n\
         <IfModule dir_module>\n  DirectoryIndex index.html\n</IfModule>\n<Files \".ht*\">\n  Require all denied\n</Files>\n\
         ErrorLog \"logs/error_log\"\nLogLevel warn\n<IfModule log_config_module>\n\
         \x20 LogFormat \"%h %l %u %t \\\"%r\\\" %>s %b\" common\n  CustomLog \"logs/access_log\" combined\n</IfModule>\n\
         <IfModule alias_module>\n  ScriptAlias /cgi-bin/ \"/var/www/cgi-bin/\"\n</IfModule>\n\
         <Directory \"/var/www/cgi-bin\">\n  AllowOverride None\n  Options None\n  Require all granted\n</Directory>\n\
         <IfModule mime_module>\n  TypesConfig /etc/mime.types\n  AddType application/x-gzip .gz .tgz\n</IfModule>\n\
         AddDefaultCharset UTF-8\nEnableSendfile on\nIncludeOptional conf.d/*.conf\n",
    ),
    (
        "conf.modules.d/00-base.conf",
        "LoadModule alias_module modules/mod_alias.so\nLoadModule dir_module modules/mod_dir.so\nLoadModule mime_module modules/mod_mime.so\n",
    ),
    (
        "conf.modules.d/01-cgi.conf",
        "<IfModule mpm_event_module>\n  LoadModule cgid_module modules/mod_cgid.so\n</IfModule>\n",
    ),
    (
        "conf.d/php.conf",
        "<Files \".user.ini\">\n  Require all denied\n</Files>\nAddType text/html .php\nDirectoryIndex index.php\n\
         <IfModule !mod_php.c>\n  SetEnvIfNoCase ^Authorization$ \"(.+)\" HTTP_AUTHORIZATION=$1\n\
         \x20 <FilesMatch \\.(php|phar)$>\n    SetHandler \"proxy:unix:/run/php-fpm/www.sock|fcgi://localhost\"\n  </FilesMatch>\n</IfModule>\n",
    ),
];

#[test]
fn red_hats_tree_comes_over_whole() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    for (path, text) in RED_HAT {
        write(&format!("etc/httpd/{path}"), text);
    }
    write("var/www/html/index.php", "<?php");
    write("var/www/cgi-bin/told", "#!/bin/sh");
    let etc = root.join("etc/httpd").display().to_string();
    let config = root.join("omnid.toml").display().to_string();
    let root = root.display().to_string();
    let arguments = ["import", "apache", &etc, "--root", &root, "-o", &config];
    let output = run(binary(), &arguments, LIMIT).success();
    assert!(
        !output.stderr.contains(": not converted: "),
        "{}",
        output.stderr
    );
    run(binary(), &["-c", &config, "check"], LIMIT).success();
    for (url, told) in [
        ("http://any.test/", "html/index.php"),
        ("http://any.test/index.php/x", "html/index.php"),
        ("http://any.test/cgi-bin/told/x", "cgi-bin/told"),
        ("http://any.test/.user.ini", "status  403"),
    ] {
        let arguments = ["-c", &config, "explain", url];
        let explained = run(binary(), &arguments, LIMIT).success().stdout;
        assert!(explained.contains(told), "{url}: no {told} in\n{explained}");
    }
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
        "RewriteEngine On\nRewriteCond %{REQUEST_FILENAME} !-f\nRewriteRule ^(.*)$ start.html?p=$1 [QSA,L]\nExpiresActive On\nExpiresDefault A60\n",
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
