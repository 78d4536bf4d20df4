#!/usr/bin/env bash
# PgBouncer, unpacked from Debian's packages (not installed): transaction pooling before a PostgreSQL, one server connection a database.
# Args: [port] [server's host] [server's port] [server's user]. Any user and password are taken.
. "$(dirname "$0")/common.sh"
P=${1:-16432}; D=$CACHE/pgbouncer; H=$RUN/pgbouncer-$P
program pgbouncer/root/usr/sbin/pgbouncer pgbouncer deb_root "$D" pgbouncer libc-ares2 libevent-2.1-7
mkdir -p "$H"
cat > "$H/pgbouncer.ini" <<C
[databases]
* = host=${2:-127.0.0.1} port=${3:-5432} user=${4:-postgres}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $P
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 1
max_client_conn = 500
ignore_startup_parameters = extra_float_digits
C
[ -n "${RECEIVER_PROGRAM:-}" ] || export LD_LIBRARY_PATH=$D/root/usr/lib/$(uname -m)-linux-gnu
# It refuses to run as root.
as=(); [ "$(id -u)" != 0 ] || { as=(-u nobody); chmod a+rx "$H"; chmod a+r "$H/pgbouncer.ini"; }
launch pgbouncer "$P" 20 "$PROGRAM" "${as[@]}" "$H/pgbouncer.ini"
