"""Moves an Apache server with many rule sets here, and asks both servers the same.

Usage: apache_replay.py OMNID DIRECTORY

Each rule set is a virtual host. Apache serves the configuration; `omnid import apache` converts it,
`omnid check` accepts it, and the daemon serves what came of it. Every request must have the same
status and the same place to go to, and a page the same text.
"""

import json
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urljoin

OMNID, BASE = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
ROOT = BASE / "root"
USERS = BASE / "users"

TOLD = ["SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "REQUEST_URI", "HTTP_X_KIND", "HTTP_X_MORE", "HTTP_USER_AGENT", "KIND"]
PATHS = ["/", "/a.html", "/b.html", "/sub/", "/sub", "/sub/c.html", "/none", "/none/x?y=1", "/a%20b.html", "/index.php"]


def variants():
    """(name, directives of the server, directives of the directory, requests)"""
    server, directory = [], []
    add = lambda rules, *requests: server.append((rules, list(requests) or PATHS))
    inside = lambda rules, *requests: directory.append((rules, list(requests) or PATHS))

    # Every redirecting status, in both places, with and without what makes queries.
    for flags in ["R", "R=301", "R=302", "R=303", "R=307", "R=308", "R=permanent", "R=temp", "R=seeother"]:
        add(f"RewriteRule ^/old/(.*)$ /new/$1 [{flags},L]", "/old/", "/old/x", "/old/x/y?q=1", "/older", "/a.html")
        inside(f"RewriteRule ^old/(.*)$ /new/$1 [{flags},L]", "/old/", "/old/x", "/old/x/y?q=1", "/older", "/a.html")
    for flags in ["", ",QSA", ",QSD", ",NE", ",B", ",QSA,NE", ",B,QSA"]:
        # Apache refuses spaces in what a rule makes of a query, sends them raw with NE, and escapes
        # twice with B; omnid escapes them once. So no spaces here.
        for to in ["/new/$1", "/new?p=$1", "/new?p=$1&z=2", "/new?", "https://other.test/$1", "/n%2$1"]:
            add(f"RewriteRule ^/old/(.*)$ {to} [R=302,L{flags}]", "/old/x", "/old/x?q=1", "/old/", *([] if "B" in flags else ["/old/a+b/c"]),
                *(["/old/a%20b"] if flags in ["", ",QSA", ",QSD"] and "?p" not in to else []))
        add(f"RewriteRule ^/old/(.*)$ /a.html?p=$1 [L{flags}]", "/old/x", "/old/x?q=1")
        inside(f"RewriteRule ^old/(.*)$ b.html?p=$1 [L{flags}]", "/old/x", "/old/x?q=1")
    for flags in ["F", "G", "R=404", "R=403", "R=410", "R=451", "R=500", "R=503"]:
        add(f"RewriteRule ^/no - [{flags}]", "/no", "/none", "/a.html")
        inside(f"RewriteRule ^no - [{flags}]", "/no", "/none", "/a.html")
    # Patterns.
    for pattern in ["^/a", "\\.html$", "^/(a|b)\\.html$", "^/sub/?$", "^/[ab]\\.html", "^/\\w\\.html$",
                    "^/(?!a)", "^/.*(?<!b)\\.html$", "!\\.html$", "!^/(a|b)", "(.)\\1", "^/[[:alpha:]]+$", "^/none(/.*)?$"]:
        add(f"RewriteRule {pattern} - [G]")
        add(f"RewriteRule {pattern} - [G,NC]", *PATHS, "/A.HTML", "/SUB/")
        inside(f"RewriteRule {pattern.replace('^/', '^')} - [G]")
    # Conditions.
    for condition in [
        "%{REQUEST_METHOD} ^GET$", "%{REQUEST_METHOD} =POST", "%{REQUEST_METHOD} !=GET", "%{QUERY_STRING} y=(\\d)",
        "%{QUERY_STRING} ^$", "%{QUERY_STRING} !^$", "%{QUERY_STRING} =\"\"", "%{HTTP_HOST} ^s\\d+\\.test", "%{HTTP_HOST} ^S\\d+ [NC]",
        "%{HTTP_HOST} =www.test", "%{HTTPS} off", "%{HTTPS} =on", "%{HTTP_USER_AGENT} replay", "%{HTTP_USER_AGENT} =Replay [NC]",
        "%{HTTP:X-Kind} odd", "%{HTTP:X-None} ^$", "%{REMOTE_ADDR} ^127\\.", "%{REMOTE_ADDR} !^127\\.", "%{SERVER_PORT} -eq80",
        "%{REQUEST_URI} \\.html$", "%{REQUEST_URI} !\\.html$", "%{REQUEST_URI} ^/sub/ [OR]\nRewriteCond %{REQUEST_URI} ^/none",
        "%{THE_REQUEST} \"^GET /none\"", "%{THE_REQUEST} \" /a\"",
        "%{DOCUMENT_ROOT}%{REQUEST_URI} -f", "%{DOCUMENT_ROOT}%{REQUEST_URI} -d", "%{DOCUMENT_ROOT}%{REQUEST_URI} !-f",
        "%{DOCUMENT_ROOT}%{REQUEST_URI} -s", "expr \"%{REQUEST_URI} =~ m#^/sub#\"", "expr \"! -f '%{DOCUMENT_ROOT}%{REQUEST_URI}'\"",
        "%{REQUEST_SCHEME} =http", "%{IS_SUBREQ} =false", "%{REMOTE_USER} ^$", "%{SERVER_PROTOCOL} HTTP/1\\.1",
    ]:
        add(f"RewriteCond {condition}\nRewriteRule ^/(.*)$ /seen/$1?c=%1 [R=302,L]")
    for condition in ["%{REQUEST_FILENAME} !-f", "%{REQUEST_FILENAME} !-d", "%{REQUEST_FILENAME} -f", "%{REQUEST_FILENAME} -d",
                      "%{REQUEST_FILENAME} !-f\nRewriteCond %{REQUEST_FILENAME} !-d", "%{REQUEST_FILENAME} -f [OR]\nRewriteCond %{REQUEST_FILENAME} -d",
                      "%{REQUEST_FILENAME} -s", "%{REQUEST_FILENAME} -l", "%{REQUEST_URI} !=/index.php", "%{REQUEST_FILENAME}.html -f"]:
        inside(f"RewriteCond {condition}\nRewriteRule . /b.html [END]", *PATHS, "/a", "/b")
        inside(f"RewriteCond {condition}\nRewriteRule ^(.*)$ - [G]", *PATHS, "/a")
    # What comes next.
    add("RewriteRule ^/a$ /b\nRewriteRule ^/b$ /a.html", "/a", "/b")
    add("RewriteRule ^/a$ /b [L]\nRewriteRule ^/b$ /a.html [L]", "/a", "/b")
    add("RewriteRule ^/a$ /b [END]\nRewriteRule ^/b$ /a.html", "/a", "/b")
    add("RewriteRule ^/a$ - [S=1]\nRewriteRule ^ - [G]\nRewriteRule ^/a$ /a.html", "/a", "/b", "/a.html")
    add("RewriteRule ^/(a|b)$ /$1x [C]\nRewriteRule ^/ax$ /a.html", "/a", "/b", "/ax")
    add("RewriteRule ^/(.*)_(.*)$ /$1-$2 [N]\nRewriteRule ^/x-y-z$ /a.html", "/x_y_z", "/x_y")
    add("RewriteRule ^/x$ - [E=KIND:odd]\nRewriteCond %{ENV:KIND} =odd\nRewriteRule ^ /a.html", "/x", "/y")
    add("RewriteRule ^ - [E=ONE:1,E=TWO:2]\nRewriteCond %{ENV:ONE}%{ENV:TWO} =12\nRewriteRule ^/x$ /b.html", "/x", "/y")
    add("RewriteRule ^/c$ /a.html [CO=k:v:.test:60:/:0:1]", "/c")
    add("RewriteRule ^/t$ /a.html [T=text/x-odd]", "/t")
    add("RewriteRule ^/f$ /a.html [PT]\nRewriteRule ^/x$ - [F]", "/f", "/x")
    add("RewriteMap up int:toupper\nRewriteRule ^/up/(.*)$ /seen/${up:$1} [R]".replace("up int:toupper", "toupper int:toupper").replace("${up:", "${toupper:"), "/up/abc")
    add(f"RewriteMap words txt:{BASE}/words\nRewriteRule ^/w/(.*)$ /seen/${{words:$1|none}} [R]", "/w/one", "/w/two", "/w/three", "/w/")
    add("RewriteCond %{HTTP_HOST} ^(s)(\\d+)\\.\nRewriteRule ^/h/(.*)$ http://www%2.test/%1/$1 [R=301,L]", "/h/x", "/h/x?y=1")
    add("RewriteCond %{QUERY_STRING} ^id=(\\d+)$\nRewriteRule ^/p$ /page/%1? [R=301,L]", "/p?id=7", "/p?id=x", "/p")
    add("RewriteRule ^(.*[^/])$ $1/ [R=301,L]", "/x", "/x/", "/x?y=1")
    add("RewriteRule ^/?$ /a.html [L]", "/", "/a.html")
    # Applications as they are delivered.
    inside("RewriteBase /\nRewriteRule ^index\\.php$ - [L]\nRewriteCond %{REQUEST_FILENAME} !-f\nRewriteCond %{REQUEST_FILENAME} !-d\nRewriteRule . /index.php [L]")
    inside("RewriteCond %{REQUEST_FILENAME} !-d\nRewriteCond %{REQUEST_URI} (.+)/$\nRewriteRule ^ %1 [L,R=301]\nRewriteCond %{REQUEST_FILENAME} !-d\nRewriteCond %{REQUEST_FILENAME} !-f\nRewriteRule ^ index.php [L]", *PATHS, "/none/")
    inside("RewriteRule \"/\\.|^\\.(?!well-known/)\" \"-\" [F]\nRewriteCond %{REQUEST_FILENAME} !-f\nRewriteCond %{REQUEST_FILENAME} !-d\nRewriteCond %{REQUEST_URI} !=/favicon.ico\nRewriteRule ^ index.php [L]", *PATHS, "/.git/config", "/favicon.ico")
    inside("RewriteRule ^(?:build|tests|config|lib|3rdparty|templates)/.* - [R=404,L]\nRewriteRule ^\\.well-known/(?!acme-challenge|pki-validation) /index.php [L]\nRewriteRule ^(?:\\.(?!well-known)|autotest|occ|issue|indie|db_|console).* - [R=404,L]", *PATHS, "/lib/x", "/occ", "/.well-known/caldav")
    inside("RewriteCond %{QUERY_STRING} base64_encode[^(]*\\([^)]*\\) [OR]\nRewriteCond %{QUERY_STRING} (<|%3C)([^s]*s)+cript.*(>|%3E) [NC,OR]\nRewriteCond %{QUERY_STRING} GLOBALS(=|\\[|\\%[0-9A-Z]{0,2})\nRewriteRule .* index.php [F]", "/a.html", "/a.html?x=base64_encode(x)", "/a.html?GLOBALS=1", "/a.html?%3Cscript%3E")
    inside("RewriteRule ^([^/]+)/([^/]+)/?$ index.php?c=$1&a=$2 [QSA,L]", "/x/y", "/x/y/?z=1", "/a.html")
    inside("RewriteCond %{HTTPS} off\nRewriteRule ^(.*)$ https://%{HTTP_HOST}/$1 [R=301,L]", "/", "/a.html?x=1")
    # Redirects of mod_alias.
    for rule, requests in [
        ("Redirect /old /new", ["/old", "/old/", "/old/x?y=1", "/older"]), ("Redirect 301 /old http://o.test/new", ["/old", "/old/x"]),
        ("Redirect permanent /old/ http://o.test/new/", ["/old", "/old/", "/old/x"]), ("Redirect gone /old", ["/old", "/old/x", "/a.html"]),
        ("Redirect 410 /old", ["/old/x"]), ("Redirect seeother /old /new?fixed=1", ["/old", "/old?x=1"]), ("RedirectPermanent /o /n", ["/o", "/o/x"]),
        ("RedirectTemp /o /n", ["/o/%20x"]), ("RedirectMatch ^/o(\\d+)$ /n/$1", ["/o7", "/ox"]), ("RedirectMatch 301 \\.gif$ /a.html", ["/x.gif", "/x.gif?y=1"]),
        ("RedirectMatch 404 ^/hid", ["/hidden", "/a.html"]), ("RedirectMatch 403 /\\.", ["/.git", "/a.html"]),
    ]:
        add(rule, *requests)
    # Access, in 2.4's words and in 2.2's.
    for rule in [
        "Require all granted", "Require all denied", "Require local", "Require ip 127.0.0.1", "Require ip 127", "Require ip 10.0.0.0/8", "Require not ip 127.0.0.1\nRequire all granted",
        "Require ip 127.0.0.0/255.0.0.0", "Require method GET", "Require method POST", "Require env KIND", "Require expr \"%{REQUEST_URI} =~ /a/\"", "Require expr %{QUERY_STRING} == 'y=1'",
        "<RequireAny>\nRequire ip 10.1\nRequire local\n</RequireAny>", "<RequireAll>\nRequire local\nRequire method GET\n</RequireAll>", "<RequireAll>\nRequire local\n<RequireNone>\nRequire ip 127\n</RequireNone>\n</RequireAll>",
        "<RequireAll>\nRequire all granted\nRequire not ip 10\n</RequireAll>", "Order allow,deny\nAllow from all", "Order deny,allow\nDeny from all", "Order deny,allow\nDeny from all\nAllow from 127.0.0.1",
        "Order allow,deny\nAllow from 127\nDeny from 127.0.0.1", "Order allow,deny\nAllow from 10", "<Limit POST>\nRequire all denied\n</Limit>\nRequire all granted",
        "<Files \"a.*\">\nRequire all denied\n</Files>", "<FilesMatch \"^(a|b)\\.html$\">\nRequire all denied\n</FilesMatch>", "<FilesMatch \"\\.(html|php)$\">\nRequire ip 10\n</FilesMatch>",
    ]:
        if rule.startswith("Require not"):
            rule = f"<RequireAll>\n{rule}\n</RequireAll>"
        inside(rule)
    login = f"AuthType Basic\nAuthName r\nAuthUserFile {USERS}\n"
    for rule in ["Require valid-user", "Require user alice", "Require user bob", "Require group staff", "<RequireAny>\nRequire ip 10\nRequire valid-user\n</RequireAny>",
                 "<RequireAny>\nRequire local\nRequire valid-user\n</RequireAny>", "<RequireAll>\nRequire valid-user\nRequire ip 127\n</RequireAll>", "<RequireAll>\nRequire valid-user\n<RequireNone>\nRequire user bob\n</RequireNone>\n</RequireAll>",
                 "Order allow,deny\nAllow from all\nRequire valid-user", "Order deny,allow\nDeny from all\nSatisfy any\nRequire valid-user"]:
        groups = f"AuthGroupFile {BASE}/groups\n" if "group" in rule else ""
        inside(login + groups + rule, "/a.html", "alice:secret@/a.html", "bob:secret@/a.html", *(["bob:wrong@/a.html", "eve:secret@/none"] if "group" in rule else []))
    # Fields, types, indexes.
    inside("Header set X-One 1\nHeader add X-Two 2\nHeader unset X-Three", "/a.html")
    inside("DirectoryIndex b.html", "/", "/sub/")
    inside("FallbackResource /b.html", "/none", "/none/x", "/a.html")
    inside("ForceType text/x-odd", "/a.html")
    inside("AddType text/x-php .php", "/index.php")
    inside("<If \"%{REQUEST_URI} =~ m#/a#\">\nHeader set X-If yes\n</If>\n<Else>\nHeader set X-If no\n</Else>", "/a.html", "/b.html")
    for rule in [
        "Header append X-One b\nHeader append X-One c", "Header merge X-One a\nHeader merge X-One a\nHeader merge X-One b", "Header setifempty X-One 1\nHeader setifempty X-One 2",
        "Header set X-One a/b/c\nHeader edit X-One / -", "Header set X-One a/b/c\nHeader edit* X-One \"/(.)\" \"-$1$1\"", "Header add X-One 1\nHeader add X-One 2\nHeader unset X-Two",
        "Header set X-One 1\nHeader set X-One 2", "Header set X-One 1\nHeader unset X-One\nHeader add X-One 2", "Header always set X-One 1", "Header onsuccess set X-One 1",
        "Header onsuccess unset X-One\nHeader always set X-One 1", "Header set X-One \"50%%\"", "SetEnvIf Request_URI a\\.html KIND\nHeader set X-One 1 env=KIND\nHeader set X-Two 2 env=!KIND",
        "Header set X-One 1 \"expr=%{REQUEST_URI} =~ /a/\"", "Header always set X-One 1 \"expr=-n %{QUERY_STRING}\"", "Header always append X-One 1\nHeader append X-One 2",
    ]:
        inside(rule, "/a.html", "/none", "/none?x", "/sub")
    for rule in [
        "ExpiresActive On\nExpiresDefault \"access plus 1 month\"", "ExpiresActive On\nExpiresByType text/html A600\nExpiresDefault A60", "ExpiresActive On\nExpiresByType text/css A600",
        "ExpiresActive Off\nExpiresDefault A60", "ExpiresDefault A60", "ExpiresActive On\nExpiresDefault A60\nHeader append Cache-Control public", "ExpiresActive On\nExpiresDefault A0\nHeader set Cache-Control no-store",
    ]:
        inside(rule, "/a.html", "/none", "/", "/sub")
    inside("RequestHeader set X-Kind other\nRequestHeader append X-More 1\nRequestHeader unset User-Agent", "/cgi/told", "/a.html")
    inside("RequestHeader edit X-Kind (o)d+ $1ld\nRequestHeader setifempty X-Kind x", "/cgi/told")
    inside("SetEnv KIND fixed", "/cgi/told", "/cgi/told/behind?q=1")
    inside("SetEnvIf X-Kind (o.d) KIND=$1", "/cgi/told")
    inside("RewriteRule told$ - [E=KIND:rule]", "/cgi/told")
    inside("AddCharset utf-8 .html", "/a.html", "/index.php")
    inside("AddDefaultCharset utf-8\nAddCharset iso-8859-15 .html", "/a.html")
    inside("AddEncoding gzip .html", "/a.html")
    inside("AddType text/x-odd .html\nExpiresActive On\nExpiresByType text/x-odd A5", "/a.html")
    add(f"ScriptAlias /run {BASE}/cgi/told", "/run", "/run/behind?q=1", "/runs")
    add(f"ScriptAliasMatch ^/r/(.*) {BASE}/cgi/$1", "/r/told", "/r/none")
    add(f"Alias /alike {BASE}/cgi\n<Directory {BASE}/cgi>\nOptions +ExecCGI\nAddHandler cgi-script .cgi\n</Directory>", "/alike/a.cgi", "/alike/a.cgi/x", "/alike/b.txt")
    return server, directory


def lay_out():
    for folder in [ROOT / "sub", BASE / "run", BASE / "cgi"]:
        folder.mkdir(parents=True)
    for name in ["index.html", "a.html", "b.html", "a b.html", "index.php", "sub/c.html", "sub/index.html"]:
        (ROOT / name).write_text(f"the page {name}\n")
    (BASE / "words").write_text("# words\none eins\ntwo zwei\n")
    (BASE / "groups").write_text("staff: alice\n")
    hashed = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="
    USERS.write_text(f"alice:{hashed}\nbob:{hashed}\n")
    told = "#!/bin/sh\necho 'Content-Type: text/plain'\necho\n" + "".join(f'echo "{name}=${name}"\n' for name in TOLD)
    for name in ["told", "a.cgi", "b.txt"]:
        (BASE / "cgi" / name).write_text(told)
    for path in [BASE, *BASE.rglob("*")]:
        if "data" not in path.parts:
            path.chmod(0o755 if path.is_dir() or path.parent.name == "cgi" else 0o644)


def configuration(port, server, directory):
    modules = ["mpm_event", "authz_core", "authz_host", "authz_user", "authz_groupfile", "authn_core", "authn_file", "auth_basic",
               "access_compat", "alias", "autoindex", "dir", "rewrite", "headers", "mime", "setenvif", "env", "expires", "cgid"]
    lines = [f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in modules]
    lines += [f"ServerRoot {BASE}/run", f"PidFile {BASE}/run/pid", f"ErrorLog {BASE}/run/error.log", "ServerName localhost",
              f"Listen 127.0.0.1:{port}", "User www-data", "Group www-data", "TypesConfig /etc/mime.types", "TraceEnable off",
              "DirectoryIndex index.html", "<Directory />", "AllowOverride None", "Require all denied", "</Directory>",
              f"ScriptSock {BASE}/run/cgi", f"ScriptAlias /cgi/ {BASE}/cgi/", f"<Directory {BASE}/cgi>", "Require all granted", "</Directory>"]
    number = 0
    sets = []
    for rules, requests in server:
        lines += [f"<VirtualHost *:{port}>", f"ServerName s{number}.test", f"DocumentRoot {ROOT}", "RewriteEngine on", rules,
                  f"<Directory {ROOT}>", "Options FollowSymLinks", "Require all granted", "</Directory>", "</VirtualHost>"]
        sets.append((number, rules, requests))
        number += 1
    for rules, requests in directory:
        own = "" if "Require" in rules or "Order" in rules else "Require all granted"
        if "<Limit" in rules or "<Files" in rules or "<If" in rules:
            own = "Require all granted"
        lines += [f"<VirtualHost *:{port}>", f"ServerName s{number}.test", f"DocumentRoot {ROOT}",
                  f"<Directory {BASE if '/cgi/' in requests[0] else ROOT}>", "Options FollowSymLinks", own, "RewriteEngine on", rules, "</Directory>", "</VirtualHost>"]
        sets.append((number, rules, requests))
        number += 1
    return "\n".join(lines) + "\n", sets


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(port, host, path):
    import base64

    login, _, path = path.rpartition("@")
    head = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: replay\r\nX-Kind: odd\r\nConnection: close\r\n"
    if login:
        head += "Authorization: Basic " + base64.b64encode(login.encode()).decode() + "\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall((head + "\r\n").encode())
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    status = int(lines[0].split()[1])
    fields = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        fields.setdefault(name.lower(), []).append(value.strip())
    if fields.get("transfer-encoding") == ["chunked"]:
        whole = b""
        while body:
            length, _, rest = body.partition(b"\r\n")
            whole, body = whole + rest[: int(length, 16)], rest[int(length, 16) + 2 :]
        body = whole
    here = f"http://{host}:{port}"
    location = urljoin(here + path, fields.get("location", [""])[0]) if "location" in fields else ""
    told = {
        "status": status,
        "location": location.replace(here, "http://here").replace(f"https://{host}:{port}", "https://here"),
        "body": body.decode("latin-1") if status == 200 else "",
        "type": fields.get("content-type", [""])[0].split(";")[0] if status == 200 else "",
        "cookies": [cookie.split(";")[0] for cookie in fields.get("set-cookie", [])],
        "challenge": "www-authenticate" in fields,
    }
    told["charset"] = "".join(fields.get("content-type", [""])[0].split(";")[1:]).strip() if status == 200 else ""
    told.update({name: ", ".join(fields[name]) for name in ["x-one", "x-two", "x-if", "cache-control", "content-encoding"] if name in fields})
    told["expires"] = "expires" in fields
    return told


def wait(port, process, log):
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.1)
    sys.exit(f"nobody listens at {port}:\n{Path(log).read_text()[-4000:]}")


def main():
    lay_out()
    server, directory = variants()
    theirs, ours = free_port(), free_port()
    text, sets = configuration(theirs, server, directory)
    conf = BASE / "run" / "httpd.conf"
    conf.write_text(text)
    imported = subprocess.run([OMNID, "--json", "import", "apache", conf], capture_output=True, text=True)
    if not imported.stdout:
        sys.exit(f"the import failed: {imported.stderr}")
    imported = json.loads(imported.stdout)
    lost = [finding for finding in imported["findings"] if finding["kind"] == "lost"]
    for finding in lost:
        print(f"lost: {finding['file']}:{finding['line']}: {finding['text']}: {finding['advice']}")
    toml = imported["toml"].replace(f":{theirs}\"", f":{ours}\"")
    toml += f'\n[server]\ndata_dir = "{BASE}/data"\n[admin]\nsocket = "{BASE}/control"\n'
    config = BASE / "omnid.toml"
    config.write_text(toml)
    check = subprocess.run([OMNID, "-c", config, "check"], capture_output=True, text=True)
    if check.returncode:
        sys.exit(f"the result does not pass the check:\n{check.stderr[-6000:]}")
    processes = []
    try:
        for command, log, port in [
            (["apache2", "-f", str(conf), "-DFOREGROUND"], BASE / "run" / "out", theirs),
            ([str(OMNID), "-c", str(config), "run"], BASE / "log", ours),
        ]:
            with open(log, "wb") as out:
                processes.append(subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL))
            wait(port, processes[-1], log)
        compare(sets, theirs, ours, len(lost))
    finally:
        for process in processes:
            process.terminate()
            process.wait(60)


def compare(sets, theirs, ours, lost):
    asked = [(number, rules, path) for number, rules, paths in sets for path in paths]

    def both(item):
        number, rules, path = item
        return item, ask(theirs, f"s{number}.test", path), ask(ours, f"s{number}.test", path)

    different, failed = [], set()
    with ThreadPoolExecutor(8) as pool:
        for (number, rules, path), expected, got in pool.map(both, asked):
            if expected != got:
                failed.add(number)
                differs = {key: (expected.get(key), got.get(key)) for key in {*expected, *got} if expected.get(key) != got.get(key)}
                different.append(f"s{number} {path}\n  {rules!r}\n  {differs}")
    for text in different:
        print(text)
    print(f"{len(sets)} rule sets, {len(asked)} requests, {len(different)} answers differ in {len(failed)} sets, {lost} lines lost")
    sys.exit(1 if different else 0)


main()
