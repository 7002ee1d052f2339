#!/bin/sh
# deps.sh - install with apt what building and testing needs and is missing.
# Debian 12 or newer.  `deps.sh build` is enough to build; `deps.sh demo` adds
# what make demo uses and `deps.sh test` (the default) what the tests use;
# `deps.sh list` only prints the names.
set -eu

build="build-essential pkg-config libfuse3-dev fuse3 libcurl4-openssl-dev
libsqlite3-dev libzstd-dev libssl-dev libjansson-dev libxxhash-dev
libmicrohttpd-dev libpq-dev libmagic-dev"
demo="git curl dpkg-dev xz-utils bubblewrap python3"
test="libcmocka-dev sqlite3 rsync attr acl procps psmisc strace clang
clang-format pmccabe cppcheck shellcheck codespell mandoc nginx-light
postgresql libcap2-bin busybox python3-venv python3-pip
ca-certificates npm debhelper lintian
debootstrap"

what=${1:-test}
case $what in
build) wanted=$build ;;
demo) wanted="$build $demo" ;;
test | list) wanted="$build $demo $test" ;;
*)
	echo "usage: deps.sh [build|demo|test|list]" >&2
	exit 2
	;;
esac
if [ "$what" = list ]; then
	echo "$wanted" | tr ' ' '\n'
	exit 0
fi

# A program may be here by other ways than its package (npm comes with Node.js).
is_here() {
	case $1 in
	npm) command -v npm >/dev/null && return 0 ;;
	python3-pip) python3 -m pip -V >/dev/null 2>&1 && return 0 ;;
	busybox) command -v busybox >/dev/null && return 0 ;;
	nginx-light) [ -x /usr/sbin/nginx ] && return 0 ;;
	esac
	state=$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null || true)
	[ "$state" = installed ]
}

missing=
for p in $wanted; do
	is_here "$p" || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
echo "installing:$missing"
as_root=
[ "$(id -u)" = 0 ] || as_root="sudo -n"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # lists of words
{
	$as_root apt-get -q update >/dev/null
	$as_root apt-get -q install -y --no-install-recommends $missing >/dev/null
}
