"""Installs PHP applications of Debian's packages behind omnid and logs in to them with curl.

Usage: php_applications.py OMNID DIRECTORY

DokuWiki and Roundcube run through php-fpm over a Unix socket, WordPress and phpMyAdmin over TCP. Their
data, a MariaDB and what stands in for a mail server are in DIRECTORY and end with this script.
"""

import re
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import time
from pathlib import Path

OMNID, BASE = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
SHARE = Path("/usr/share")
started = []


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


PORT, FPM = free_port(), free_port()


def start(log, *command):
    with open(BASE / log, "wb") as out:
        started.append(subprocess.Popen([str(word) for word in command], stdout=out, stderr=out, stdin=subprocess.DEVNULL))


def wait(what, ready, log):
    for _ in range(600):
        if ready():
            return
        if started[-1].poll() is not None:
            break
        time.sleep(0.05)
    sys.exit(f"{what} does not start:\n{(BASE / log).read_text()[-3000:]}")


def connects(address):
    def ready():
        kind = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        with socket.socket(kind) as probe:
            return probe.connect_ex(address) == 0

    return ready


def expect(text, pattern, what):
    found = re.search(pattern, text, re.S)
    if not found:
        sys.exit(f"{what}: no {pattern!r} in\n{text[:6000]}")
    return found.group(found.lastindex or 0)


class Browser:
    """curl, with its cookies."""

    def __init__(self, host):
        self.host = host
        self.url = f"http://{host}:{PORT}"

    def ask(self, path, form=None, *arguments):
        fields = [word for name, value in (form or {}).items() for word in ("--data-urlencode", f"{name}={value}")]
        jar = BASE / f"{self.host}.cookies"
        command = ["curl", "-sS", "-L", "--max-time", "60", "--resolve", f"{self.host}:{PORT}:127.0.0.1", "-b", jar, "-c", jar, "-w", "\n%{http_code}"]
        run = subprocess.run([*command, *fields, *arguments, self.url + path], capture_output=True, text=True, errors="replace")
        if run.returncode:
            sys.exit(f"{self.url}{path}: {run.stderr}")
        body, _, status = run.stdout.rpartition("\n")
        return int(status), body


class Mail(socketserver.StreamRequestHandler):
    """As much of IMAP4rev1 as a login and an empty INBOX need."""

    def handle(self):
        self.wfile.write(b"* OK [CAPABILITY IMAP4rev1 NAMESPACE] ready\r\n")
        for line in self.rfile:
            tag, _, rest = line.decode().strip().partition(" ")
            command = rest.split(" ")[0].upper()
            told = {
                "CAPABILITY": "* CAPABILITY IMAP4rev1 NAMESPACE\r\n",
                "NAMESPACE": '* NAMESPACE (("" "/")) NIL NIL\r\n',
                "LIST": '* LIST (\\HasNoChildren) "/" INBOX\r\n',
                "LSUB": '* LSUB (\\HasNoChildren) "/" INBOX\r\n',
                "SELECT": "* 0 EXISTS\r\n* 0 RECENT\r\n* FLAGS (\\Seen)\r\n* OK [UIDVALIDITY 1] ok\r\n* OK [UIDNEXT 1] ok\r\n",
                "STATUS": "* STATUS INBOX (MESSAGES 0 UNSEEN 0 RECENT 0 UIDNEXT 1 UIDVALIDITY 1)\r\n",
                "LOGOUT": "* BYE\r\n",
            }.get(command, "")
            good = command != "LOGIN" or ("alice" in rest and "secret" in rest)
            self.wfile.write(f"{told}{tag} {'OK done' if good else 'NO wrong'}\r\n".encode())
            if command == "LOGOUT":
                return


def mail_server():
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def database():
    data, log = BASE / "mysql", "mariadb.log"
    run = subprocess.run(
        ["mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={data}", "--auth-root-authentication-method=normal", "--skip-test-db"],
        capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"no database: {run.stdout}{run.stderr}")
    sql = BASE / "init.sql"
    sql.write_text("CREATE DATABASE blog;\nCREATE USER 'blog'@'localhost' IDENTIFIED BY 'secret';\nGRANT ALL ON *.* TO 'blog'@'localhost';\n")
    start(log, "mariadbd", "--no-defaults", "--user=root", f"--datadir={data}", f"--socket={BASE}/mysql.sock", "--skip-networking", f"--init-file={sql}",
          "--innodb-buffer-pool-size=16M", "--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=0")
    wait("MariaDB", connects(f"{BASE}/mysql.sock"), log)


def php():
    prepend = BASE / "prepend.php"
    prepend.write_text(f"""<?php
if (str_starts_with($_SERVER['SCRIPT_FILENAME'], '/var/lib/roundcube/')) define('RCMAIL_CONFIG_DIR', '{BASE}/mail');
""")
    pool = lambda name, listen: (
        f"[{name}]\nuser = root\ngroup = root\nlisten = {listen}\npm = static\npm.max_children = 4\n"
        f"php_admin_value[session.save_path] = {BASE}/sessions\nphp_admin_value[auto_prepend_file] = {prepend}\nphp_admin_value[error_log] = {BASE}/php.log\n"
        f"php_admin_value[mysqli.default_socket] = {BASE}/mysql.sock\nphp_admin_value[memory_limit] = 256M\n")
    conf = BASE / "fpm.conf"
    conf.write_text(f"[global]\nerror_log = {BASE}/fpm.err\ndaemonize = no\n" + pool("unix", BASE / "php.sock") + pool("tcp", f"127.0.0.1:{FPM}"))
    start("fpm.log", "/usr/sbin/php-fpm8.2", "-F", "-R", "-y", conf)
    wait("php-fpm", connects(f"{BASE}/php.sock"), "fpm.log")


def serve():
    unix, tcp = f"unix:{BASE}/php.sock", f"127.0.0.1:{FPM}"
    sites = [("wiki.test", BASE / "wiki", unix), ("mail.test", "/var/lib/roundcube/public_html", unix),
             ("blog.test", BASE / "blog", tcp), ("db.test", SHARE / "phpmyadmin", tcp)]
    text = f'[server]\ndata_dir = "{BASE}/data"\n[admin]\nsocket = "{BASE}/control"\n[http]\nlisten = ["127.0.0.1:{PORT}"]\naccess_log = "{BASE}/access.log"\n'
    for host, root, to in sites:
        text += (f'[[http.site]]\nhosts = ["{host}"]\nroot = "{root}"\nindex = ["index.php", "index.html"]\nsymlinks = "follow"\n'
                 f'fastcgi = {{ to = "{to}" }}\n')
        if host == "blog.test":
            text += 'fallback = "index.php"\n'
    (BASE / "omnid.toml").write_text(text)
    start("omnid.log", OMNID, "-c", BASE / "omnid.toml", "run")
    wait("omnid", connects(("127.0.0.1", PORT)), "omnid.log")


def wiki():
    browser = Browser("wiki.test")
    status, page = browser.ask("/install.php")
    expect(page, 'name="d\\[title\\]"', f"DokuWiki's installer ({status})")
    form = {"l": "en", "d[title]": "Proven", "d[acl]": "on", "d[superuser]": "admin", "d[fullname]": "Admin", "d[email]": "admin@wiki.test",
            "d[password]": "hard2guess", "d[confirm]": "hard2guess", "d[policy]": "0", "d[license]": "cc-by-sa", "submit": "Save"}
    _, page = browser.ask("/install.php", form)
    expect(page, "finished successfully|The configuration was finished|successfully", "DokuWiki's installation")
    _, page = browser.ask("/doku.php?id=start&do=login")
    token = expect(page, 'name="sectok" value="([^"]*)"', "DokuWiki's login")
    _, page = browser.ask("/doku.php?id=start&do=login", {"sectok": token, "id": "start", "do": "login", "u": "admin", "p": "hard2guess"})
    expect(page, "do=logout", "DokuWiki after the login")
    expect(page, "do=admin", "DokuWiki's administration")


def mail():
    browser = Browser("mail.test")
    _, page = browser.ask("/")
    token = expect(page, 'name="_token" value="([^"]+)"', "Roundcube's login")
    form = {"_token": token, "_task": "login", "_action": "login", "_timezone": "UTC", "_url": "", "_user": "alice", "_pass": "wrong"}
    status, page = browser.ask("/?_task=login", form)
    if status != 401:
        sys.exit(f"Roundcube let somebody in with a wrong password: {status}")
    token = expect(page, 'name="_token" value="([^"]+)"', "Roundcube's login")
    _, page = browser.ask("/?_task=login", {**form, "_token": token, "_pass": "secret"})
    expect(page, "_task=logout", "Roundcube after the login")
    expect(page, 'id="messagelist', "Roundcube's mailbox")


def blog():
    browser = Browser("blog.test")
    _, page = browser.ask("/wp-admin/install.php?step=1")
    expect(page, 'name="weblog_title"', "WordPress's installer")
    form = {"weblog_title": "Proven", "user_name": "admin", "admin_password": "hard2guess", "admin_password2": "hard2guess", "pw_weak": "on",
            "admin_email": "admin@blog.test", "language": "", "Submit": "Install WordPress"}
    _, page = browser.ask("/wp-admin/install.php?step=2", form)
    expect(page, "Success!", "WordPress's installation")
    browser.ask("/wp-login.php")
    _, page = browser.ask("/wp-login.php", {"log": "admin", "pwd": "hard2guess", "wp-submit": "Log In", "redirect_to": browser.url + "/wp-admin/profile.php", "testcookie": "1"})
    expect(page, "wp-admin-bar-logout|Log Out", "WordPress after the login")
    _, page = browser.ask("/?p=1")
    expect(page, "Hello world", "WordPress's first post")


def tables():
    browser = Browser("db.test")
    _, page = browser.ask("/")
    token = expect(page, 'name="token" value="([^"]+)"', "phpMyAdmin's login")
    session = expect(page, 'name="set_session" value="([^"]+)"', "phpMyAdmin's session")
    form = {"pma_username": "blog", "pma_password": "secret", "server": "1", "token": token, "set_session": session, "route": "/"}
    _, page = browser.ask("/index.php?route=/", form)
    expect(page, "logged_in: ?true|logged_in:true|index.php\\?route=/logout", "phpMyAdmin after the login")
    _, page = browser.ask("/index.php?route=/server/databases")
    expect(page, "information_schema", "phpMyAdmin's databases")


def lay_out():
    for folder in ["sessions", "mail/temp"]:
        (BASE / folder).mkdir(parents=True)
    # The package's installer looks for all of it where upstream has it.
    shutil.copytree(SHARE / "dokuwiki", BASE / "wiki", ignore_dangling_symlinks=True)
    (BASE / "wiki/inc/preload.php").unlink()
    shutil.copytree("/etc/dokuwiki", BASE / "wiki/conf")
    for name in ["local.php", "acl.auth.php", "users.auth.php", "plugins.local.php"]:
        (BASE / "wiki/conf" / name).unlink(missing_ok=True)
    shutil.copytree("/var/lib/dokuwiki/data", BASE / "wiki/data")
    main = BASE / "wiki/conf/dokuwiki.php"
    main.write_text(main.read_text().replace("/var/lib/dokuwiki/data", f"{BASE}/wiki/data"))
    shutil.copy("/etc/roundcube/defaults.inc.php", BASE / "mail")
    shutil.copy("/etc/roundcube/mimetypes.php", BASE / "mail")
    (BASE / "mail/config.inc.php").write_text(f"""<?php
$config['db_dsnw'] = 'sqlite:///{BASE}/mail/mail.db?mode=0600';
$config['imap_host'] = '127.0.0.1:{mail_server()}';
$config['des_key'] = 'twenty-four-characters!!';
$config['plugins'] = [];
$config['skin'] = 'elastic';
$config['log_dir'] = '{BASE}/mail/';
$config['temp_dir'] = '{BASE}/mail/temp/';
""")
    shutil.copytree(SHARE / "wordpress", BASE / "blog", symlinks=True, ignore=shutil.ignore_patterns("languages"))
    # Themes are packages of their own.
    theme = BASE / "blog/wp-content/themes/plain"
    theme.mkdir(parents=True)
    (theme / "style.css").write_text("/* Theme Name: Plain */\n")
    (theme / "index.php").write_text("<?php wp_head(); while (have_posts()) { the_post(); the_title(); the_content(); }\n")
    (BASE / "blog/wp-config.php").unlink()
    (BASE / "blog/wp-config.php").write_text(f"""<?php
define('DB_NAME', 'blog'); define('DB_USER', 'blog'); define('DB_PASSWORD', 'secret'); define('DB_HOST', 'localhost:{BASE}/mysql.sock');
define('DB_CHARSET', 'utf8mb4'); define('DB_COLLATE', ''); define('WP_HTTP_BLOCK_EXTERNAL', true); define('DISABLE_WP_CRON', true); define('WP_DEFAULT_THEME', 'plain');
foreach (['AUTH', 'SECURE_AUTH', 'LOGGED_IN', 'NONCE'] as $name) {{ define($name . '_KEY', $name); define($name . '_SALT', $name); }}
$table_prefix = 'wp_';
if (!defined('ABSPATH')) define('ABSPATH', __DIR__ . '/');
require_once ABSPATH . 'wp-settings.php';
""")


def main():
    BASE.mkdir(parents=True, exist_ok=True)
    try:
        lay_out()
        database()
        php()
        serve()
        for application in [wiki, mail, blog, tables]:
            since = time.monotonic()
            application()
            print(f"{application.__name__}: installed and logged in, {time.monotonic() - since:.1f} s", flush=True)
        log = (BASE / "access.log").read_text()
        bad = [line for line in log.splitlines() if re.search(r'" 5\d\d ', line)]
        if bad:
            sys.exit("failures:\n" + "\n".join(bad) + (BASE / "omnid.log").read_text()[-3000:])
        print(f"{len(log.splitlines())} requests, no failure")
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait(60)


main()
