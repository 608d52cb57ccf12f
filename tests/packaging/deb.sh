#!/usr/bin/env bash
# The Debian package in a scratch root: what it installs, that an upgrade keeps what the
# administrator changed, and that nothing is left behind.
set -euo pipefail
cd "$(dirname "$0")/../.."
# Owners are part of what is checked; fakeroot lets anybody do that.
if [ "$(id -u)" != 0 ]; then exec fakeroot "$0" "$@"; fi
export LC_ALL=C CARGO_TERM_COLOR=never

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "deb.sh: $*" >&2; exit 1; }
same() { [ "$2" = "$3" ] || fail "$1: $2 instead of $3"; }

cargo build --quiet
deb=$(DEB_LEVEL=0 packaging/deb/build "${CARGO_TARGET_DIR:-target}/debug/omnid" "$work")

# The same sources make the same package.
mkdir "$work/again"
cmp "$deb" "$(DEB_LEVEL=0 packaging/deb/build "${CARGO_TARGET_DIR:-target}/debug/omnid" "$work/again")" ||
  fail "two builds differ"

# A later version, whose configuration differs.
dpkg-deb --raw-extract "$deb" "$work/later"
sed -i 's/^Version: .*/Version: 99.0.0/' "$work/later/DEBIAN/control"
echo '# new' >>"$work/later/etc/omnid/omnid.toml"
later=$work/omnid_99.deb
dpkg-deb --root-owner-group -Znone --build "$work/later" "$later" >/dev/null

# A system with what the package depends on, as far as dpkg can tell.
scratch() {
  root=$(mktemp -d "$work/root.XXXXXX")
  chmod 755 "$root"
  mkdir -p "$root"/etc "$root"/var/{lib/dpkg/{info,updates,triggers},log,cache} "$root"/{run,tmp,usr/bin}
  : >"$root/var/lib/dpkg/available"
  for package in libc6 libgcc-s1 libstdc++6; do
    printf 'Package: %s\nStatus: install ok installed\nMaintainer: x\nArchitecture: %s\nVersion: 99\nDescription: x\n\n' \
      "$package" "$(dpkg --print-architecture)"
    printf '/.\n/etc\n/usr\n/usr/bin\n' >"$root/var/lib/dpkg/info/$package.list"
  done >"$root/var/lib/dpkg/status"
  echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
  echo 'root:x:0:' >"$root/etc/group"
  echo 'root:*:19000:0:99999:7:::' >"$root/etc/shadow"
  echo 'root:*::' >"$root/etc/gshadow"
  cp "$root/etc/passwd" "$root/etc/group" "$work/"
  chmod 640 "$root"/etc/{g,}shadow
  # The account files have backups and a lock beside them, which belong to no package.
  listing >"$work/before"
}
listing() {
  (cd "$root" && find . -path ./var/lib/dpkg -prune -o -print |
    grep -vE '^\./etc/(passwd|group|shadow|gshadow|subuid|subgid)-?$|^\./etc/\.pwd\.lock$' | sort)
}
# dpkg's own lines are expected; the package's scripts have nothing to say.
quietly() {
  local said
  said=$(dpkg --root="$root" --force-script-chrootless --no-triggers --log=/dev/null "$@" 2>&1) ||
    fail "dpkg $*: $said"
  said=$(grep -vE '^(Selecting|Preparing|Unpacking|Setting up|\(Reading|Removing|Purging|Processing)|^dpkg: warning: while removing omnid, directory ./etc/omnid. not empty|^(Installing new|Configuration file|\s*==> (Modified|Package|Using|File))' <<<"$said" || true)
  same "said by dpkg $1" "$said" ""
}
mode() { stat -c '%a %u %g' "$root$1"; }

life() {
  scratch
  quietly --install "$deb"
  group=$(sed -n 's/^omnid:[^:]*:\([0-9]*\):.*/\1/p' "$root/etc/group")
  [ -n "$group" ] || fail "no group"
  grep -q '^omnid:x:[0-9]*:'"$group"':.*:/var/lib/omnid:.*nologin$' "$root/etc/passwd" || fail "no user: $(cat "$root/etc/passwd")"
  same /etc/omnid "$(mode /etc/omnid)" "750 0 $group"
  same /etc/omnid/omnid.d "$(mode /etc/omnid/omnid.d)" "750 0 $group"
  same /etc/omnid/omnid.toml "$(mode /etc/omnid/omnid.toml)" "640 0 $group"
  same /usr/bin/omnid "$(mode /usr/bin/omnid)" "755 0 0"
  same "state before the first start" "$(ls -A "$root/var/lib" | grep -v dpkg || true)" ""
  same "writable for all" "$(find "$root/usr" "$root/etc/omnid" ! -type l -perm /o=w)" ""
  same "configuration readable for all" "$(find "$root/etc/omnid" -perm /o=rwx)" ""
  same "unreadable for all" "$(find "$root/usr" ! -perm -o=r)" ""
  for path in usr/lib/systemd/system/omnid.{service,socket} usr/share/man/man1/omnid.1.gz \
    usr/share/man/man1/omnid-user-add.1.gz usr/share/man/man5/omnid.toml.5.gz \
    usr/share/bash-completion/completions/omnid usr/share/zsh/vendor-completions/_omnid \
    usr/share/fish/vendor_completions.d/omnid.fish usr/share/doc/omnid/{copyright,config.md,reference.md,changelog.gz}; do
    [ -s "$root/$path" ] || fail "$path is missing"
  done
  same "broken files" "$(dpkg --root="$root" --verify omnid)" ""
  "$root/usr/bin/omnid" -c "$root/etc/omnid/omnid.toml" check >/dev/null
  for example in "$root"/usr/share/doc/omnid/examples/*.toml; do
    "$root/usr/bin/omnid" -c "$example" check >/dev/null
  done

  # The administrator's and the daemon's own.
  echo '# mine' >>"$root/etc/omnid/omnid.toml"
  chmod 600 "$root/etc/omnid/omnid.toml"
  mkdir -p "$root"/var/lib/private/omnid "$root"/var/log/private/omnid
  chmod 700 "$root"/var/{lib,log}/private
  ln -s private/omnid "$root/var/lib/omnid"
  ln -s private/omnid "$root/var/log/omnid"
  echo state >"$root/var/lib/private/omnid/omnid.db"
  echo log >"$root/var/log/private/omnid/access.log"

  # Over itself, and to a version with another configuration.
  quietly --install "$deb"
  quietly --force-confold --install "$later"
  grep -q '^# mine' "$root/etc/omnid/omnid.toml" || fail "an edited configuration was replaced"
  same "edited configuration" "$(mode /etc/omnid/omnid.toml)" "600 0 $group"
  same "configuration readable for all" "$(find "$root/etc/omnid" -perm /o=rwx)" ""
  same state "$(cat "$root/var/lib/omnid/omnid.db")" state

  quietly --remove omnid
  [ ! -e "$root/usr/bin/omnid" ] || fail "the program is still there"
  grep -q '^# mine' "$root/etc/omnid/omnid.toml" || fail "a removal took the configuration"
  same state "$(cat "$root/var/lib/omnid/omnid.db")" state

  quietly --purge omnid
  listing | diff "$work/before" - || fail "a purge leaves something behind"
  cmp "$work/passwd" "$root/etc/passwd" || fail "a purge leaves the user"
  cmp "$work/group" "$root/etc/group" || fail "a purge leaves the group"

  # What the administrator put there is his, and so it stays.
  quietly --install "$deb"
  echo 'zone' >"$root/etc/omnid/example.org.zone"
  quietly --purge omnid
  same "the administrator's file" "$(cat "$root/etc/omnid/example.org.zone")" zone
}

life
# A system without systemd.
mkdir "$work/bin"
for program in /usr/sbin/* /usr/bin/* /sbin/* /bin/*; do
  case $program in */systemd-sysusers | */systemctl) ;; *) ln -sf "$program" "$work/bin/" ;; esac
done
PATH=$work/bin life
echo "deb.sh: good"
