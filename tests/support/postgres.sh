#!/bin/sh
# A PostgreSQL server of a test's own.
#
#   postgres.sh start DIR [PID]   makes a cluster in DIR (created if need be) and starts it; prints
#                                 two URLs, one over its Unix socket and one over TCP on loopback.
#                                 With PID, the server is stopped and DIR removed when that
#                                 process is gone, however it went.
#   postgres.sh restart DIR       starts it again after a stop; same URLs.
#   postgres.sh stop DIR [MODE]   stops it; MODE is fast (default), smart or immediate.
#
# DIR must be short (a Unix socket's path has at most 107 bytes), and every directory above it
# open to the user postgres when root runs this, since the server refuses to be root.
set -eu

verb=${1:-} dir=${2:-}
[ -n "$verb" ] && [ -n "$dir" ] || { sed -n '2,14s/^# \{0,1\}//p' "$0" >&2; exit 2; }

bin=
for candidate in /usr/lib/postgresql/*/bin /usr/local/bin /usr/bin; do
    if [ -x "$candidate/initdb" ] && [ -x "$candidate/pg_ctl" ]; then bin=$candidate; fi
done
[ -n "$bin" ] || { echo "postgres.sh: PostgreSQL's server is not installed" >&2; exit 1; }

as_server() {
    if [ "$(id -u)" = 0 ]; then
        runuser -u postgres -- "$@"
    else
        "$@"
    fi
}

start() {
    # PostgreSQL cannot be asked for any free port, so a few are tried.
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        port=${1:-$(($(od -An -N2 -tu2 /dev/urandom) % 20000 + 12000))}
        if as_server "$bin/pg_ctl" -D "$dir/data" -l "$dir/log" -s -w -t 60 \
            -o "-p $port -k '$dir' -c listen_addresses=127.0.0.1" start >&2; then
            echo "$port" >"$dir/port"
            return 0
        fi
    done
    tail -n 20 "$dir/log" >&2
    return 1
}

case $verb in
start)
    mkdir -p "$dir"
    dir=$(cd "$dir" && pwd)
    if [ "$(id -u)" = 0 ]; then chown postgres "$dir"; fi
    password=$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')
    printf '%s\n' "$password" >"$dir/password"
    if [ "$(id -u)" = 0 ]; then chown postgres "$dir/password"; fi
    cd "$dir"
    as_server "$bin/initdb" -D "$dir/data" -U postgres -E UTF8 --locale=C -N \
        --auth-local=trust --auth-host=scram-sha-256 --pwfile="$dir/password" >"$dir/initdb.log" 2>&1 ||
        { cat "$dir/initdb.log" >&2; exit 1; }
    start
    if [ -n "${3:-}" ]; then
        (
            exec </dev/null >/dev/null 2>&1
            tail --pid="$3" -f /dev/null
            as_server "$bin/pg_ctl" -D "$dir/data" -s -m immediate stop
            cd / && rm -rf "$dir"
        ) &
    fi
    echo "postgres://postgres@/postgres?host=$dir&port=$port"
    echo "postgres://postgres:$password@127.0.0.1:$port/postgres"
    ;;
restart)
    cd "$dir"
    dir=$(pwd)
    start "$(cat port)"
    ;;
stop)
    cd "$dir"
    dir=$(pwd)
    as_server "$bin/pg_ctl" -D "$dir/data" -s -w -m "${3:-fast}" stop
    ;;
*)
    echo "postgres.sh: no such verb: $verb" >&2
    exit 2
    ;;
esac
