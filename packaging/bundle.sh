#!/bin/sh
# Make the driver's archive: everything that a glibc guest (Debian 12 or
# newer) needs, in one tar.gz that `deeplake sandbox create` uploads.
#
#	bundle.sh OUT VERSION PROGRAM...
#
# Programs that are ELF files bring their libraries, but for those of glibc
# itself, and find them through $ORIGIN/../lib (linked so by the Makefile).
set -eu
[ $# -ge 3 ] || { echo "usage: bundle.sh OUT VERSION PROGRAM..." >&2; exit 2; }
out=$1 version=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
top=$work/deeplake-$version-$(uname -m)
mkdir -p "$top/bin" "$top/lib"

libraries() {
	ldd "$1" 2>/dev/null | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p' |
		grep -Ev '/(ld-linux[^/]*|lib(c|m|dl|rt|pthread|resolv|util)\.so\.[0-9]+)$'
}
for p; do
	cp "$p" "$top/bin/"
	for l in $(libraries "$p" || true); do
		cp -L "$l" "$top/lib/"
	done
done
fm=$(command -v fusermount3 || true)
[ -z "$fm" ] || { cp -L "$fm" "$top/bin/fusermount3"; chmod 755 "$top/bin/fusermount3"; }
# libraries of libraries look beside themselves
if command -v strip >/dev/null; then
	strip --strip-unneeded "$top"/lib/*.so* 2>/dev/null || true
	for p in "$top"/bin/*; do strip "$p" 2>/dev/null || true; done
fi
cp "$here/bundle-setup" "$top/setup"
chmod 755 "$top/setup"
mkdir -p "$(dirname "$out")"
tar -C "$work" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner \
	-cf - "${top##*/}" | gzip -n9 >"$out.tmp"
mv "$out.tmp" "$out"
