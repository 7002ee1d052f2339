#!/usr/bin/env python3
"""Mount options: what they forbid, what they keep, a directory as the root.

On a plain directory the kernel's own options are tried on a bind mount.
"""
import contextlib
import errno
import os
import shutil
import stat
import subprocess

import calls
import harness
from calls import as_user, fails, get, put

USER = 40001


@contextlib.contextmanager
def with_options(box, name, fill, *options):
    """The path of a mount with these options, filled by fill(path) before."""
    m = box.mount(name, table=name)
    fill(m.path)
    if m.kind == "deeplake":
        m.down()
        m.options.update({o: True for o in options})
        m.up()
        yield m.path
        return
    if m.kind == "pass":
        m.down()
        m.options.update({o: True for o in options})
        m.up()
        yield m.path
        m.down()
        return
    box.run(["mount", "--bind", m.path, m.path])
    try:
        box.run(["mount", "-o", "remount,bind," + ",".join(options), m.path])
        yield m.path
    finally:
        box.run(["umount", m.path])


def fill_usual(p):
    put(p + "/f", b"content")
    os.mkdir(p + "/d")
    os.symlink("f", p + "/s")
    os.setxattr(p + "/f", "user.a", b"1")
    for prog in ("id", "true"):
        shutil.copy("/usr/bin/" + prog, p)
    os.chown(p + "/id", 0, 0)
    os.chmod(p + "/id", 0o4755)


def refuses_changes(p):
    for func, *args in (
            (put, p + "/f", b"x"), (put, p + "/new", b""),
            (os.truncate, p + "/f", 1), (os.mkdir, p + "/e"),
            (os.rmdir, p + "/d"), (os.unlink, p + "/f"),
            (os.rename, p + "/f", p + "/g"), (os.link, p + "/f", p + "/g"),
            (os.symlink, "f", p + "/t"), (os.mkfifo, p + "/p"),
            (os.chmod, p + "/f", 0o600), (os.chown, p + "/f", 1, 1),
            (os.utime, p + "/f"), (os.setxattr, p + "/f", "user.b", b""),
            (os.removexattr, p + "/f", "user.a")):
        fails(errno.EROFS, func, *args)
    assert get(p + "/f") == b"content" and os.readlink(p + "/s") == "f"
    assert os.getxattr(p + "/f", "user.a") == b"1"
    assert os.statvfs(p).f_flag & os.ST_RDONLY


def test_read_only(box):
    with with_options(box, "a", fill_usual, "ro") as p:
        refuses_changes(p)


def test_noexec(box):
    with with_options(box, "a", fill_usual, "noexec") as p:
        fails(errno.EACCES, subprocess.run, [p + "/true"])
        assert os.statvfs(p).f_flag & os.ST_NOEXEC


def effective(prog):
    """The effective user of prog (a copy of id) when USER runs it."""
    out = []

    def run():
        out.append(subprocess.check_output([prog, "-u"]).strip())
        raise AssertionError(out[0].decode())
    try:
        as_user(USER, USER, run)
    except AssertionError as e:
        return int(str(e).rsplit(" ", 1)[1])


def test_nosuid(box):
    """The default of deeplakefs; suid turns it off."""
    more = () if box.target == "deeplake" else ("nosuid",)
    with with_options(box, "a", fill_usual, *more, "rw") as p:
        assert effective(p + "/id") == USER
        assert os.stat(p + "/id").st_mode & stat.S_ISUID
    with with_options(box, "b", fill_usual, "suid") as p:
        assert effective(p + "/id") == 0


def test_nodev(box):
    def fill(p):
        os.mknod(p + "/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    more = () if box.target == "deeplake" else ("nodev",)
    with with_options(box, "a", fill, *more, "rw") as p:
        fails(errno.EACCES, open, p + "/null", "rb")
    with with_options(box, "b", fill, "dev") as p:
        assert get(p + "/null") == b""


def test_noatime(box):
    """noatime: no read moves it; else relatime, and READLINK counts too."""
    def fill(p):
        put(p + "/f", b"content")
        os.mkdir(p + "/d")
        os.symlink("f", p + "/s")
        for name in "fds":
            os.utime(f"{p}/{name}", ns=(10**18, 10**18 + 10**9),
                     follow_symlinks=False)

    def read_all(p):
        before = {n: os.lstat(f"{p}/{n}").st_atime_ns for n in "fds"}
        harness.drop_caches(3)
        get(p + "/f")
        os.listdir(p + "/d")
        os.readlink(p + "/s")
        return {n for n in "fds"
                if os.lstat(f"{p}/{n}").st_atime_ns != before[n]}
    harness.need(box.target != "pass", "it has the atime of the disk below")
    with with_options(box, "a", fill, "noatime") as p:
        assert read_all(p) == set()
    with with_options(box, "b", fill, "relatime") as p:
        assert read_all(p) == {"f", "d", "s"}


def test_strictatime_refused(box):
    harness.need(box.target == "deeplake", "only deeplakefs refuses it")
    m = box.mount()
    m.down()
    r = m.deeplake("mount", "data", m.path, "-o",
                   m.option_text() + ",strictatime", check=False)
    assert r.returncode == 2, r
    assert "strictatime" in r.stderr and "cached reads" in r.stderr, r.stderr
    assert not harness.mounts_under(m.path)


def helper(box, m, *args, **kw):
    """mount(8)'s helper for us, called as mount(8) calls it."""
    link = os.path.join(box.dir, "mount.deeplakefs")
    if not os.path.islink(link):
        os.symlink(harness.built("deeplake"), link)
    return box.run([link, *args], home=m.home, **kw)


def test_remount(box):
    """ro and rw of what is mounted; the rest needs a new mount."""
    harness.need(box.target == "deeplake", "the helper is ours")
    m = box.mount()
    fill_usual(m.path)
    with open(m.path + "/f", "r+b") as f:
        helper(box, m, "data", m.path, "-o", "remount,ro", status=1)
        f.write(b"c")              # a file open for writing keeps it rw
    helper(box, m, "data", m.path, "-o", "remount,ro")
    refuses_changes(m.path)
    helper(box, m, "data", m.path, "-o", "remount,rw")
    put(m.path + "/f", b"rw again")
    m.remount(empty_cache=True)
    assert get(m.path + "/f") == b"rw again"
    m.down()
    m.options["ro"] = True
    m.up()
    r = helper(box, m, "data", m.path, "-o", "remount,rw", status=1)
    assert "mounted read-only" in r.stderr, r.stderr


def test_directory_as_root(box):
    """T:/sub/dir shows that directory: same numbers, nothing above."""
    harness.need(box.target == "deeplake", "needs a table")
    whole = box.mount("whole")
    p = whole.path
    os.makedirs(p + "/sub/dir/deep")
    put(p + "/sub/dir/f", b"here")
    put(p + "/sub/outside", b"")
    os.link(p + "/sub/dir/f", p + "/sub/hard")
    whole.flush()
    m = harness.Mount(box, "part", "deeplake", {}, None, "data",
                      box.servers[0])
    box.mounts.append(m)

    def mount():
        m.deeplake("mount", "data:/sub/dir", m.path, "-o", m.option_text())
        m.pid = m.find_daemon(set())
    mount()
    assert sorted(os.listdir(m.path)) == ["deep", "f"]
    for name in ("", "/f", "/deep"):
        assert os.stat(m.path + name).st_ino == \
            os.stat(f"{p}/sub/dir{name}").st_ino, name
    assert os.stat(m.path + "/f").st_nlink == 2
    assert os.path.realpath(m.path + "/deep/../..") == box.dir
    put(m.path + "/deep/new", b"from the part")
    os.rename(m.path + "/f", m.path + "/deep/g")
    m.flush()
    harness.wait_for("the part's changes", lambda: os.path.exists(
        p + "/sub/dir/deep/g") and get(p + "/sub/dir/deep/new")
        == b"from the part")
    m.down()
    shutil.rmtree(m.cache)
    os.mkdir(m.cache)
    mount()
    assert sorted(os.listdir(m.path + "/deep")) == ["g", "new"]
    m.down()
    r = m.deeplake("mount", "data:/sub/none", m.path, "-o", m.option_text(),
                   check=False)
    assert r.returncode != 0 and "/sub/none" in r.stderr, r.stderr


def test_ownerless(box):
    """uid=, gid= and umask= are for rows that other programs put there."""
    harness.need(box.target == "deeplake", "needs a table")
    m = box.mount(options={"uid": USER, "gid": 40002, "umask": "027"})
    m.deeplake("query", "data", """INSERT INTO "data"
        (_id, path, filename, content, content_text, mime_type, size_bytes)
        VALUES ('u1', '/in/one.txt', 'one.txt', NULL, 'text', 'text/plain',
        4)""")
    put(m.path + "/own", b"")
    m.remount(empty_cache=True)     # rows that are there already come first
    harness.wait_for("the row's file", lambda: os.path.exists(
        m.path + "/in/one.txt"), 100, 0.5)

    def looks(uid, gid, mask):
        for name, mode in (("/in", 0o777), ("/in/one.txt", 0o666)):
            st = os.stat(m.path + name)
            assert (st.st_uid, st.st_gid) == (uid, gid), (name, st)
            assert stat.S_IMODE(st.st_mode) == mode & ~mask, \
                f"{name}: {st.st_mode:o}"
        st = os.stat(m.path + "/own")
        assert (st.st_uid, stat.S_IMODE(st.st_mode)) == (0, 0o644)
    looks(USER, 40002, 0o027)
    as_user(USER, USER, lambda: put(m.path + "/in/one.txt", b"mine"))
    m.down()
    m.options = {"uid": 7, "gid": 8, "umask": "077"}
    m.up()
    looks(7, 8, 0o077)
    os.chown(m.path + "/in/one.txt", 9, 9)      # has one from here on
    os.chmod(m.path + "/in/one.txt", 0o604)
    m.down()
    m.options = {}
    m.up()
    st = os.stat(m.path + "/in/one.txt")
    assert (st.st_uid, stat.S_IMODE(st.st_mode)) == (9, 0o604)
    assert calls.get(m.path + "/in/one.txt") == b"mine"


if __name__ == "__main__":
    harness.main(globals())
