#!/bin/sh
# with_postgres.sh COMMAND... - run COMMAND with the URL of a PostgreSQL of its
# own as last argument: own data directory, a Unix socket, no TCP port.
set -eu
bin=$(dirname "$(readlink -f "$(command -v pg_ctl || echo /usr/lib/postgresql/15/bin/pg_ctl)")")
[ -x "$bin/initdb" ] || bin=/usr/lib/postgresql/15/bin
if ! [ -x "$bin/initdb" ]; then
	echo "skipped: no PostgreSQL here (apt install postgresql)" >&2
	exit 77
fi
dir=$(mktemp -d /tmp/dl-pg-XXXXXX)
as=
if [ "$(id -u)" = 0 ]; then # initdb refuses root
	as="setpriv --reuid=postgres --regid=postgres --clear-groups"
	chown postgres "$dir"
fi
stop() {
	$as "$bin/pg_ctl" -D "$dir/data" -m immediate -w stop >/dev/null 2>&1 || :
	rm -rf "$dir"
}
trap stop EXIT
trap 'exit 130' INT TERM
cd "$dir"
$as "$bin/initdb" -D "$dir/data" -U deeplake -A trust --no-sync \
	--locale=C.UTF-8 --lc-collate=C --encoding=UTF8 >/dev/null
$as "$bin/pg_ctl" -D "$dir/data" -l "$dir/log" -w start -o \
	"-k $dir -c listen_addresses='' -c max_connections=60" >/dev/null
cd "$OLDPWD"
chmod 755 "$dir"
export DEEPLAKE_TEST_PG="$dir"
"$@" "postgres://deeplake@%2Ftmp%2F$(basename "$dir")/postgres"
