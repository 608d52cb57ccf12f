"""Imports the Apache configuration of Debian packages, and checks what comes of it.

Usage: apache_packages.py OMNID DIRECTORY [PACKAGE...]

The packages are installed ones; without any, DIRECTORY holds one unpacked package in each folder
(dpkg-deb -x). Each one's snippets are included by a Debian-like server; the import must not fail, the
result must pass `omnid check`, and every directive must be in the result or in the report.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

OMNID, BASE = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
INSTALLED = sys.argv[3:]

SERVER = """ServerRoot "/etc/apache2"
Listen 80
DocumentRoot /var/www/html
<Directory />
Options FollowSymLinks
AllowOverride None
Require all denied
</Directory>
<Directory /usr/share>
AllowOverride All
Require all granted
</Directory>
<Directory /var/www/>
AllowOverride All
Require all granted
</Directory>
"""


def files(package):
    if not INSTALLED:
        return sorted(package.rglob("*"))
    listed = subprocess.run(["dpkg", "-L", package.name], capture_output=True, text=True, check=True)
    return sorted(Path(line) for line in listed.stdout.splitlines() if line.startswith("/"))


def snippets(package):
    names = re.compile(r"(apache2?[^/]*|conf-available/.*|sites-available/.*|conf\.d/.*)\.conf[^/]*$|httpd[^/]*\.conf$")
    for path in files(package):
        name = str(path if INSTALLED else path.relative_to(package))
        if path.is_file() and names.search(name) and not {"man", "lighttpd", "nginx"} & {*path.parts}:
            try:
                text = path.read_text()
            except UnicodeDecodeError:
                continue
            if re.search(r"^\s*(<(Directory|Location|VirtualHost|IfModule)|Alias\s)", text, re.M | re.I):
                yield path


def main():
    good, bad, lost, total = [], [], 0, 0
    packages = [BASE / name for name in INSTALLED] or sorted(path for path in BASE.iterdir() if path.is_dir())
    for package in packages:
        found = list(snippets(package))
        rules = [path for path in files(package) if path.name == ".htaccess"]
        if not found and not rules:
            continue
        (package / "var/www/html").mkdir(parents=True, exist_ok=True)
        conf = package / "import.conf"
        conf.write_text(SERVER.replace("DocumentRoot /var", f"DocumentRoot {package}/var" if INSTALLED else "DocumentRoot /var") + "".join(f"Include {path}\n" for path in found))
        run = subprocess.run([OMNID, "--json", "import", "apache", conf, *([] if INSTALLED else ["--root", package])], capture_output=True, text=True)
        if not run.stdout:
            bad.append((package.name, run.stderr.strip()))
            continue
        answer = json.loads(run.stdout)
        config = package / "omnid.toml"
        config.write_text(answer["toml"] + f'\n[server]\ndata_dir = "{package}/data"\n')
        check = subprocess.run([OMNID, "-c", config, "check"], capture_output=True, text=True)
        for finding in answer["findings"]:
            if not finding["file"] or not finding["line"] or not finding["advice"]:
                bad.append((package.name, f"a finding without a place or advice: {finding}"))
        count = sum(finding["kind"] == "lost" for finding in answer["findings"])
        lost, total = lost + count, total + answer["directives"]
        (good if check.returncode == 0 else bad).append((package.name, check.stderr.strip()[:1500] if check.returncode else count))
        print(f"{package.name}: {len(found)} snippets, {len(rules)} .htaccess, {answer['directives']} directives, {count} lost, {'checks' if not check.returncode else 'FAILS'}")
    for name, why in bad:
        print(f"--- {name}\n{why}")
    print(f"{len(good)} of {len(good) + len(bad)} packages convert and pass the check; {lost} of {total} directives are reported as lost")
    sys.exit(1 if bad or (INSTALLED and len(good) < len(INSTALLED)) else 0)


main()
