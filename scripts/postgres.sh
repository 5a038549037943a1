#!/bin/sh
# A temporary PostgreSQL server for tests and experiments: in a new folder, on a free loopback port, without fsync.
# Prints its URL (the role is a superuser), reads commands from standard input, and removes everything when the input ends:
#   kill     stops the server at once, as in a crash; prints `killed`
#   start    starts it again; prints `started`
#   encrypt  followed by lines of PEM (a certificate and its key) and `end`: restarts it with them; prints `encrypting`
# Exits with status 3 if PostgreSQL is not installed.
set -eu

if [ "$(id -u)" = 0 ]; then # PostgreSQL refuses to run as root
    id postgres >/dev/null 2>&1 && command -v runuser >/dev/null || exit 3
    exec runuser -u postgres -- "$0" "$@"
fi
for folder in $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -Vr); do PATH="$PATH:$folder"; done
command -v initdb >/dev/null && command -v postgres >/dev/null || exit 3

here=$(mktemp -d "${TMPDIR:-/tmp}/postgres.XXXXXX")
server=
crash() {
    [ -z "$server" ] || kill -QUIT "$server" 2>/dev/null || true
    [ -z "$server" ] || wait "$server" 2>/dev/null || true
    server=
}
trap 'crash; rm -rf "$here"' EXIT
trap 'exit 1' INT TERM HUP
cd "$here"
echo secret >password
initdb -D data -U rankstill --pwfile=password -A scram-sha-256 -E UTF8 --no-locale --no-sync >log 2>&1 || { cat log >&2; exit 1; }

tls=off
# Fails if the port is taken.
start() {
    postgres -D data -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off \
        -c ssl="$tls" -c ssl_cert_file="$here/tls.pem" -c ssl_key_file="$here/tls.pem" >>log 2>&1 &
    server=$!
    # Check its own pid file: another server may be listening on that port.
    until [ "$(head -n 1 data/postmaster.pid 2>/dev/null)" = "$server" ] && grep -q ready data/postmaster.pid; do
        kill -0 "$server" 2>/dev/null || { server=; return 1; }
        sleep 0.05
    done
}
port=$((20000 + $$ % 20000))
until start; do
    port=$((port + 1))
    [ "$port" -lt 40100 ] || { cat log >&2; exit 1; }
done
echo "postgres://rankstill:secret@127.0.0.1:$port/postgres"
while read -r line; do
    case $line in
    kill) crash && echo killed ;;
    start) start && echo started ;;
    encrypt)
        while read -r line && [ "$line" != end ]; do echo "$line"; done >tls.pem
        chmod 600 tls.pem
        tls=on
        crash && start && echo encrypting
        ;;
    esac
done
