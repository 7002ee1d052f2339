#!/bin/sh
# roots.sh - root directories of other systems, for tests that install and
# mount in them.  Each is made once; remove it to have it made anew.
#
#	roots.sh DIR NAME...	bookworm, trixie (a newer glibc), musl
#
# Needs root, debootstrap and the Debian mirror.  Tests lay an overlay over them.
set -eu
[ $# -ge 2 ] || { echo "usage: roots.sh DIR NAME..." >&2; exit 2; }
dir=$1
shift
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}

# A musl system as Alpine is one, as far as a driver's installer looks at it:
# the libc, its ldd, and busybox for the rest.
make_musl() { # DIR
	mkdir -p "$1/deb"
	(cd "$1/deb" && apt-get -q download musl busybox-static >/dev/null)
	for d in "$1"/deb/*.deb; do dpkg-deb -x "$d" "$1"; done
	rm -r "$1/deb"
	mkdir -p "$1/usr/bin" "$1/usr/sbin" "$1/etc" "$1/proc" "$1/dev" \
		"$1/sys" "$1/home" "$1/opt" "$1/var"
	[ -d "$1/bin" ] || mkdir "$1/bin"
	for a in $("$1/bin/busybox" --list); do
		[ -e "$1/bin/$a" ] || ln -s busybox "$1/bin/$a"
	done
	ln -sf /lib/ld-musl-x86_64.so.1 "$1/usr/bin/ldd"
	# the guest agent starts all through nice, and templates of E2B have
	# bash everywhere; this busybox has neither
	printf '#!/bin/sh\nshift 2\nexec "$@"\n' >"$1/usr/bin/nice"
	printf '#!/bin/sh\nexec /bin/sh "$@"\n' >"$1/bin/bash"
	chmod 755 "$1/usr/bin/nice" "$1/bin/bash"
	echo 'root:x:0:0:root:/root:/bin/sh' >"$1/etc/passwd"
	echo 'root:x:0:' >"$1/etc/group"
	printf 'ID=alpine\nNAME="Alpine, more or less"\n' >"$1/etc/os-release"
}

for name; do
	[ ! -d "$dir/$name" ] || continue
	rm -rf "$dir/$name.new"
	mkdir -p "$dir/$name.new"
	echo "  ROOT $dir/$name"
	case $name in
	musl) make_musl "$dir/$name.new" ;;
	bookworm | trixie)
		debootstrap --variant=minbase "$name" "$dir/$name.new" \
			"$mirror" >"$dir/$name.log" 2>&1 || {
			tail -5 "$dir/$name.log" >&2
			exit 1
		}
		rm -rf "$dir/$name.new"/var/cache/apt/archives/*.deb
		;;
	*)
		echo "roots.sh: no system \"$name\"" >&2
		exit 2
		;;
	esac
	mv "$dir/$name.new" "$dir/$name"
done
