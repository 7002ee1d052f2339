#!/usr/bin/env python3
"""Installed, used and removed in a clean Debian: the package with apt, and the
release archive with its install.sh.

BUILD, VERSION and ARCHIVE name the build, ROOTS the systems of roots.sh.  Needs
root and the Debian mirror (what the package depends on comes from there).
"""
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from test_install import (ARCHIVE, BUILD, Skipped, deb_path,  # noqa: E402
                          need, run_tests)

SERVER = """
mkdir -m 700 -p /root/.deeplake
deeplake serve --listen 127.0.0.1:0 --store sqlite:/var/lib/t \\
	--write-credentials /root/.deeplake/credentials.json >/tmp/serve.log 2>&1 &
for i in $(seq 100); do
	grep -q ready /tmp/serve.log && break; sleep 0.1
done
"""
# init, write, unmount, and by mount(8) again
USE = SERVER + """
deeplake init --table my_agent_data --path /mnt/data
echo kept >/mnt/data/f
deeplake umount /mnt/data
! test -e /mnt/data/f
mount -t deeplakefs my_agent_data /mnt/data
test "$(cat /mnt/data/f)" = kept
umount /mnt/data
deeplake query my_agent_data 'SELECT path FROM my_agent_data' | grep -q f
deeplake-sandbox help >/dev/null
deeplake sandbox template init /tmp/tpl
test -s /tmp/tpl/deeplake-bundle.tar.gz
kill $!
"""
TRACES = """
find / -xdev \\( -name '*deeplake*' -o -name 'guide.mjs' \\) \\
	-not -path '/proc/*' -not -path '/root/*' -not -path '/tmp/*' \\
	-not -path '/in/*' -not -path '/var/lib/apt/*' -not -path '/var/log/*'
"""


class Chroot:
    """A system of its own over the clean one, gone at the end."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="chroot-")
        base = os.path.join(os.environ["ROOTS"], "bookworm")
        need(os.path.isdir(base), base + " is not there: roots.sh makes it")
        for d in ("root", "files"):
            os.mkdir(os.path.join(self.dir, d))
        self.setup = """
set -e
d='%s'
mount -t tmpfs -o size=2g tmpfs "$d/files"
mkdir "$d/files/upper" "$d/files/work"
mount -t overlay overlay -o "lowerdir=%s,upperdir=$d/files/upper,\
workdir=$d/files/work" "$d/root"
r="$d/root"
mount -t proc proc "$r/proc"
mount --rbind /dev "$r/dev"
cp -L /etc/resolv.conf "$r/etc/resolv.conf"
mkdir -p "$r/in"
cp '%s' '%s' "$r/in/"
exec chroot "$r" /bin/bash -e /dev/stdin
""" % (self.dir, base, deb_path(), ARCHIVE)

    def run(self, script):
        """In namespaces that end with it: no mount and no server stays."""
        p = subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh",
             "-c", self.setup], input="export DEBIAN_FRONTEND=noninteractive "
            "LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:"
            "/usr/bin:/sbin:/bin HOME=/root\nset -x\n" + script,
            capture_output=True, text=True, timeout=900, check=False,
            env={"PATH": os.environ["PATH"]})
        need(p.returncode == 0, "status %d\n%s\n%s" % (
            p.returncode, p.stdout[-1500:], p.stderr[-2500:]))
        return p.stdout

    def remove(self):
        shutil.rmtree(self.dir, ignore_errors=True)


def in_chroot(script):
    if os.geteuid() != 0:
        raise Skipped("needs root")
    c = Chroot()
    try:
        return c.run(script)
    finally:
        c.remove()


def test_deb():
    deb = os.path.basename(deb_path())
    out = in_chroot("""
apt-get -q update >/dev/null
apt-get -q install -y --no-install-recommends /in/%s >/dev/null
command -v fusermount3
test -x /sbin/mount.deeplakefs
test -e /usr/share/man/man8/umount.deeplakefs.8.gz -o \
	-e /etc/dpkg/dpkg.cfg.d/docker
%s
dpkg -V deeplakefs
apt-get -q purge -y deeplakefs >/dev/null
! command -v deeplake
echo LEFT:
%s
""" % (deb, USE, TRACES))
    left = out.split("LEFT:\n")[1].split()
    need(left == [], "left behind: %s" % left)


def test_install_sh():
    out = in_chroot("""
cd /tmp; tar -xzf /in/%s; cd deeplakefs-*
# without the libraries: says which, and installs nothing
! ./install.sh >/tmp/no.log 2>&1
grep 'libraries are missing: .*libfuse3' /tmp/no.log
! test -e /usr/local/bin/deeplake
# what it says is enough
apt-get -q update >/dev/null
apt-get -q install -y --no-install-recommends fuse3 \
	$(sed -n 's/^Debian: apt-get install //p' /tmp/no.log) >/dev/null
./install.sh
%s
./install.sh --uninstall
rm -rf /var/cache/deeplake /run/deeplake  # what mounts made is the user's
! command -v deeplake
cd /; rm -rf /tmp/deeplakefs-*
echo LEFT:
%s
""" % (os.path.basename(ARCHIVE), USE, TRACES))
    left = out.split("LEFT:\n")[1].split()
    need(left == [], "left behind: %s" % left)


if __name__ == "__main__":
    sys.exit(run_tests([("chroot/deb", test_deb),
                        ("chroot/install.sh", test_install_sh)]))
