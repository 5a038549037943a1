#!/bin/sh
# Starts a temporary PostgreSQL server for tests and experiments: in a new folder, on a free port of the loopback interface, without
# fsync. Prints the server's URL (its role is a superuser), then reads commands from standard input. When standard input closes, it
# stops the server and deletes the folder. Commands and their replies:
#   kill     kill the server at once, as in a crash; prints `killed`
#   start    start it again; prints `started`
#   encrypt  restart it with TLS; prints `encrypting`. A certificate and its key follow in PEM, then a line `end`.
# Exits with status 3 if PostgreSQL is not installed.
set -eu

if [ "$(id -u)" = 0 ]; then # PostgreSQL refuses to run as root
    id postgres >/dev/null 2>&1 && command -v runuser >/dev/null || exit 3
    # The user `postgres` may be unable to read this file, the current folder or root's temporary folder: pass the text instead.
    text=$(cat "$0")
    unset TMPDIR
    cd /
    exec runuser -u postgres -- sh -c "$text" "$0"
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
trap 'crash; cd /; rm -rf "$here"' EXIT
trap 'exit 1' INT TERM HUP
cd "$here"
echo secret >password
initdb -D data -U rankstill --pwfile=password -A scram-sha-256 -E UTF8 --no-locale --no-sync >log 2>&1 || { cat log >&2; exit 1; }

tls=off
# Fails if another process has the port.
start() {
    postgres -D data -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off \
        -c ssl="$tls" -c ssl_cert_file="$here/tls.pem" -c ssl_key_file="$here/tls.pem" >>log 2>&1 &
    server=$!
    # Trust only its own pid file: another server may be listening on that port.
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
