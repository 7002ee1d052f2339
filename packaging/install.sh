#!/bin/sh
# Install a built release archive:
#
#	tar -xzf deeplakefs-VERSION-linux-x86_64.tar.gz && cd deeplakefs-VERSION
#	sudo ./install.sh [--prefix /usr/local] [--sbindir /sbin]
#	sudo ./install.sh --uninstall
#
# The archive is made by `make release`: what `make install` puts below a DESTDIR,
# with this script at its top.  What was installed is listed in
# PREFIX/share/doc/deeplakefs/installed, which --uninstall goes by.
set -eu
prefix=/usr/local sbindir=/sbin remove=
usage() { sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 2; }
while [ $# -gt 0 ]; do
	case $1 in
	--prefix) [ $# -gt 1 ] || usage; prefix=$2; shift ;;
	--sbindir) [ $# -gt 1 ] || usage; sbindir=$2; shift ;;
	--uninstall) remove=1 ;;
	*) usage ;;
	esac
	shift
done
case $prefix:$sbindir in
/*:/*) ;;
*) echo "install.sh: --prefix and --sbindir must be absolute" >&2; exit 2 ;;
esac
here=$(cd "$(dirname "$0")" && pwd)
list=$prefix/share/doc/deeplakefs/installed

if [ -n "$remove" ]; then
	[ -r "$list" ] || { echo "install.sh: nothing installed below $prefix" >&2; exit 1; }
	while IFS= read -r f; do rm -f "$f"; done <"$list"
	rm -f "$list"
	for d in share/doc/deeplakefs/examples share/doc/deeplakefs \
		share/deeplakefs libexec/deeplake; do
		rmdir "$prefix/$d" 2>/dev/null || true
	done
	echo "removed"
	exit 0
fi

# Say what is missing before anything is copied.
[ "$(uname -s)" = Linux ] || { echo "install.sh: Linux only" >&2; exit 1; }
[ -d "$here/usr/local" ] || { echo "install.sh: run it from the unpacked release" >&2; exit 1; }
if ldd --version 2>&1 | grep -qi musl; then
	echo "install.sh: this system uses musl; the programs need glibc 2.36" >&2
	exit 1
fi
missing=$(ldd "$here/usr/local/bin/deeplake" "$here/usr/local/bin/deeplake-serve" \
	"$here/usr/local/bin/deeplake-sandbox" 2>/dev/null |
	sed -n 's/^[[:space:]]*\([^ ]*\) => not found.*/\1/p' | sort -u | tr '\n' ' ')
if [ -n "$missing" ]; then
	echo "install.sh: libraries are missing: $missing" >&2
	echo "Debian: apt-get install libfuse3-3 libcurl4 libsqlite3-0 libzstd1 libjansson4 libmicrohttpd12 libpq5 libmagic1 libxxhash0" >&2
	exit 1
fi
command -v fusermount3 >/dev/null ||
	echo "install.sh: note: fusermount3 is missing (Debian: apt-get install fuse3); only root can mount" >&2
mkdir -p "$(dirname "$list")" "$sbindir"
if [ ! -w "$prefix" ] || [ ! -w "$sbindir" ]; then
	echo "install.sh: $prefix or $sbindir is not writable: use sudo" >&2
	exit 1
fi

: >"$list.new"
place() { # FROM TO
	mkdir -p "$(dirname "$2")"
	if [ -L "$1" ]; then
		ln -sf "$(readlink "$1" | sed "s,^/usr/local,$prefix,")" "$2"
	else
		# to a new name first: a running program keeps its file
		cp -p "$1" "$2.new"
		mv -f "$2.new" "$2"
	fi
	echo "$2" >>"$list.new"
}
(cd "$here/usr/local" && find . -type f -o -type l) | while IFS= read -r f; do
	place "$here/usr/local/$f" "$prefix/${f#./}"
done
for f in "$here"/sbin/*; do
	{ [ -e "$f" ] || [ -L "$f" ]; } && place "$f" "$sbindir/${f##*/}"
done
mv "$list.new" "$list"
"$prefix/bin/deeplake" version
echo "installed below $prefix and in $sbindir"
