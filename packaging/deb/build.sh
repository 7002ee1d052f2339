#!/bin/sh
# build.sh - make the Debian package from what is built in BUILD_DIR.
#
#	build.sh BUILD_DIR VERSION
#
# DEBFULLNAME and DEBEMAIL say who maintains the package.
set -eu
[ $# = 2 ] || { echo "usage: build.sh BUILD_DIR VERSION" >&2; exit 2; }
out=$1 version=$2
arch=$(dpkg --print-architecture)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
umask 022

make --no-print-directory O="$out" PREFIX=/usr SBINDIR=/sbin \
	UNITDIR=/lib/systemd/system DESTDIR="$root" install >/dev/null

for p in "$root"/usr/bin/*; do
	strip --remove-section=.comment --remove-section=.note "$p"
done
doc=$root/usr/share/doc/deeplakefs
find "$root/usr/share/man" -type f -exec gzip -9n {} +
find "$root/usr/share/man" -type l | while read -r l; do
	ln -s "$(readlink "$l").gz" "$l.gz"
	rm "$l"
done
cp packaging/deb/copyright "$doc/copyright"
who="${DEBFULLNAME:-The deeplakefs authors} <${DEBEMAIL:-deeplakefs@example.org}>"
when=$(date -R -d "@${SOURCE_DATE_EPOCH:-$(stat -c %Y CHANGELOG.md)}")
printf 'deeplakefs (%s) unstable; urgency=medium\n\n  * %s\n\n -- %s  %s\n' \
	"$version" "CHANGELOG.md has what changed." "$who" "$when" |
	gzip -9n >"$doc/changelog.gz"

# dpkg-shlibdeps wants a source tree
mkdir -p "$work/debian" "$root/DEBIAN"
install -m 755 packaging/deb/postrm "$root/DEBIAN/postrm"
printf 'Source: deeplakefs\n\nPackage: deeplakefs\nArchitecture: any\n' \
	>"$work/debian/control"
depends=$(cd "$work" && dpkg-shlibdeps -O root/usr/bin/* 2>/dev/null |
	sed -n 's/^shlibs:Depends=//p')
size=$(du -ks --exclude=DEBIAN "$root" | cut -f1)
sed -e "s/@VERSION@/$version/" -e "s/@ARCH@/$arch/" -e "s/@SIZE@/$size/" \
	-e "s/@DEPENDS@/$depends/" -e "s/@WHO@/$who/" packaging/deb/control.in \
	>"$root/DEBIAN/control"
(cd "$root" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' |
	LC_ALL=C sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
deb=$out/deeplakefs_${version}_$arch.deb
dpkg-deb --root-owner-group -Zxz --build "$root" "$deb" >/dev/null
echo "$deb"
