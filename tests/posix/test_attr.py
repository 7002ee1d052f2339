#!/usr/bin/env python3
"""Times, owners, modes, set-id bits, supplementary groups, sticky bits."""
import errno
import os
import stat
import time

import calls
import harness
from calls import as_user, fails, get, put

USER, GROUP, OTHER = 40001, 40002, 40003


def mode(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


def moved(path, work, fields):
    """Which of a, m and c move when work() runs; must be these fields."""
    time.sleep(0.03)
    a = os.lstat(path)
    time.sleep(0.03)
    work()
    b = os.lstat(path)
    got = "".join(f for f, x, y in (
        ("a", a.st_atime_ns, b.st_atime_ns),
        ("m", a.st_mtime_ns, b.st_mtime_ns),
        ("c", a.st_ctime_ns, b.st_ctime_ns)) if x != y)
    assert got == fields, f"{path}: {got or 'nothing'} moved, not " \
        + (fields or "nothing")


def test_times_of_a_file(box):
    p = box.mount().path
    f = p + "/f"
    put(f, b"0123456789")
    get(f)
    moved(f, lambda: put(f, b"x", "r+b"), "mc")
    moved(f, lambda: os.truncate(f, 3), "mc")
    moved(f, lambda: os.truncate(f, 3), "mc")
    moved(f, lambda: os.chmod(f, 0o600), "c")
    moved(f, lambda: os.chown(f, USER, GROUP), "c")
    moved(f, lambda: os.link(f, p + "/g"), "c")
    moved(f, lambda: os.unlink(p + "/g"), "c")
    moved(f, lambda: os.rename(f, f + "2") or os.rename(f + "2", f), "c")
    moved(f, lambda: os.setxattr(f, "user.a", b"1"), "c")
    moved(f, lambda: os.utime(f, ns=(5, 7)), "amc")
    moved(f, lambda: put(f, b""), "mc")
    moved(f, lambda: os.stat(f), "")
    fd = os.open(f, os.O_RDWR)
    moved(f, lambda: os.write(fd, b""), "")
    moved(f, lambda: os.lseek(fd, 0, os.SEEK_SET), "")
    moved(f, lambda: calls.fallocate(fd, 0, 0, 100), "mc")
    os.close(fd)


def test_times_of_a_directory(box):
    p = box.mount().path
    d = p + "/d"
    os.mkdir(d)
    moved(d, lambda: put(d + "/f", b"1"), "mc")
    moved(d, lambda: put(d + "/f", b"2"), "")
    moved(d, lambda: os.mkdir(d + "/e"), "mc")
    moved(d, lambda: os.symlink("x", d + "/s"), "mc")
    moved(d, lambda: os.link(d + "/f", d + "/h"), "mc")
    moved(d, lambda: os.rename(d + "/h", d + "/i"), "mc")
    moved(d, lambda: os.unlink(d + "/i"), "mc")
    moved(d, lambda: os.rmdir(d + "/e"), "mc")
    moved(p, lambda: os.rename(d, p + "/d2"), "mc")
    moved(p + "/d2", lambda: fails(errno.EEXIST, os.mkdir, p + "/d2/f"), "")


def test_relatime(box):
    """atime is older than mtime: a read that reaches the daemon moves it."""
    p = box.mount().path
    f = p + "/f"
    put(f, b"content")
    os.utime(f, ns=(10**18, 10**18 + 10**9))
    harness.drop_caches(3)
    get(f)
    assert os.stat(f).st_atime_ns > 10**18 + 10**9
    os.mkdir(p + "/d")
    os.utime(p + "/d", ns=(10**18, 10**18))
    harness.drop_caches(3)
    os.listdir(p + "/d")
    assert os.stat(p + "/d").st_atime_ns >= 10**18


def test_reading_commits_nothing(box):
    """atimes that move are nobody else's business: no row, nothing dirty."""
    m = box.mount()
    harness.need(m.kind == "deeplake", "needs a table")
    p = m.path
    os.mkdir(p + "/d")
    os.symlink("f", p + "/s")
    for i in range(20):
        put(f"{p}/d/f{i}", b"content")
    names = ["d", "s"] + [f"d/f{i}" for i in range(20)]
    for n in names:
        os.utime(f"{p}/{n}", ns=(10**18, 10**18), follow_symlinks=False)
    m.flush()
    time.sleep(1.5)             # the view's rows follow the commit

    def rows():
        return m.server.metrics()["deeplake_rows_inserted_total"]
    before = rows()
    harness.drop_caches(3)
    box.run(["cp", "-r", p, box.dir + "/copy"])
    os.readlink(p + "/s")
    for n in names:
        assert os.lstat(f"{p}/{n}").st_atime_ns > 10**18, n
    assert m.status()["dirty_files"] == 0, "reading made something dirty"
    m.flush()
    time.sleep(1.5)
    assert rows() == before, f"reading sent {rows() - before} rows"
    other = box.mount("b")
    assert os.lstat(other.path + "/d/f3").st_atime_ns != \
        os.lstat(p + "/d/f3").st_atime_ns, "an atime is seen elsewhere"


def test_nanoseconds_and_range(box):
    m = box.mount()
    values = (0, 1, 999_999_999, -1, -999_999_999, 1_700_000_000_123_456_789,
              (2**31 - 1) * 10**9, 2**32 * 10**9 + 5, -(2**31) * 10**9)
    for i, v in enumerate(values):
        put(f"{m.path}/f{i}", b"")
        os.utime(f"{m.path}/f{i}", ns=(v, v))
    for again in (False, True):
        for i, v in enumerate(values):
            st = os.stat(f"{m.path}/f{i}")
            assert st.st_mtime_ns == v, (v, st.st_mtime_ns, again)
        m.remount(empty_cache=not again)


def test_utime_permissions(box):
    p = box.mount().path
    put(p + "/f", b"")
    os.chmod(p, 0o777)
    os.chmod(p + "/f", 0o666)

    def as_writer():
        os.utime(p + "/f")                       # now: a writer may
        fails(errno.EPERM, os.utime, p + "/f", ns=(1, 1))
    as_user(USER, GROUP, as_writer)
    os.chmod(p + "/f", 0o644)
    as_user(USER, GROUP, lambda: fails(errno.EACCES, os.utime, p + "/f"))


def test_owner_of_new_things(box):
    p = box.mount().path
    os.chmod(p, 0o777)

    def make():
        os.umask(0o027)
        put(p + "/f", b"")
        os.mkdir(p + "/d")
        os.symlink("x", p + "/s")
        os.mkfifo(p + "/p")
    as_user(USER, GROUP, make)
    for name, want in (("f", 0o640), ("d", 0o750), ("s", 0o777),
                       ("p", 0o640)):
        st = os.lstat(f"{p}/{name}")
        assert (st.st_uid, st.st_gid) == (USER, GROUP), name
        assert mode(f"{p}/{name}") == want, (name, oct(mode(f"{p}/{name}")))


def test_permissions_are_enforced(box):
    p = box.mount().path
    put(p + "/f", b"secret")
    os.chmod(p + "/f", 0o600)
    os.mkdir(p + "/d", 0o700)
    put(p + "/d/x", b"")

    def other():
        fails(errno.EACCES, open, p + "/f")
        fails(errno.EACCES, os.listdir, p + "/d")
        fails(errno.EACCES, os.stat, p + "/d/x")
        fails(errno.EACCES, put, p + "/new", b"")
        fails(errno.EACCES, os.unlink, p + "/f")
        fails(errno.EPERM, os.chmod, p + "/f", 0o777)
        fails(errno.EPERM, os.chown, p + "/f", USER, GROUP)
        fails(errno.EACCES, os.truncate, p + "/f", 0)
    as_user(USER, GROUP, other)
    os.chown(p + "/f", 0, GROUP)
    os.chmod(p + "/f", 0o640)
    as_user(USER, OTHER, lambda: get(p + "/f"), groups=[GROUP])
    as_user(USER, OTHER, lambda: fails(errno.EACCES, get, p + "/f"))


def test_sticky(box):
    p = box.mount().path
    d = p + "/d"
    os.mkdir(d)
    os.chmod(d, 0o1777)
    as_user(USER, GROUP, lambda: put(d + "/mine", b""))

    def other():
        fails(errno.EPERM, os.unlink, d + "/mine")
        fails(errno.EPERM, os.rename, d + "/mine", d + "/yours")
        put(d + "/other", b"")
        fails(errno.EPERM, os.rename, d + "/other", d + "/mine")
        os.unlink(d + "/other")
    as_user(OTHER, GROUP, other)
    as_user(USER, GROUP, lambda: os.unlink(d + "/mine"))


def test_setgid_directory(box):
    p = box.mount().path
    d = p + "/d"
    os.mkdir(d)
    os.chown(d, USER, OTHER)
    os.chmod(d, 0o2775)

    def make():
        put(d + "/f", b"")
        os.mkdir(d + "/sub")
    as_user(USER, GROUP, make)
    assert os.stat(d + "/f").st_gid == OTHER
    assert os.stat(d + "/sub").st_gid == OTHER
    assert mode(d + "/sub") & stat.S_ISGID
    assert not mode(d + "/f") & stat.S_ISGID


def test_setid_is_killed(box):
    p = box.mount().path
    os.chmod(p, 0o777)
    f = p + "/f"

    def fresh(m=0o6777):
        put(f, b"program")
        os.chown(f, USER, GROUP)
        os.chmod(f, m)
    fresh()
    as_user(OTHER, OTHER, lambda: put(f, b"y", "r+b"))
    assert mode(f) == 0o777, f"write by another left {mode(f):o}"
    fresh()
    as_user(OTHER, OTHER, lambda: os.truncate(f, 1))
    assert mode(f) == 0o777, f"truncate by another left {mode(f):o}"
    fresh(0o6755)
    as_user(USER, GROUP, lambda: put(f, b"y", "r+b"))
    assert mode(f) == 0o755, f"write by the owner left {mode(f):o}"
    fresh(0o2745)           # setgid without group x is not an id bit
    as_user(USER, GROUP, lambda: put(f, b"y", "r+b"))
    assert mode(f) in (0o2745, 0o745), f"{mode(f):o}"
    fresh(0o6755)
    as_user(USER, OTHER, lambda: os.chown(f, -1, GROUP), groups=[GROUP])
    assert mode(f) == 0o755, f"chown by the owner left {mode(f):o}"
    fresh(0o6755)
    os.chown(f, OTHER, OTHER)
    assert mode(f) == 0o755, f"chown by root left {mode(f):o}"
    fresh()
    put(f, b"z", "r+b")
    assert mode(f) == 0o6777, f"root's write left {mode(f):o}"
    fresh(0o755)
    as_user(USER, OTHER, lambda: os.chmod(f, 0o2755))
    assert mode(f) == 0o755, "setgid for a group that one is not in"


def test_chown_rules(box):
    p = box.mount().path
    f = p + "/f"
    put(f, b"")
    os.chown(f, USER, GROUP)

    def owner():
        os.chown(f, -1, OTHER)
        fails(errno.EPERM, os.chown, f, OTHER, -1)
        fails(errno.EPERM, os.chown, f, -1, 49999)
        os.chown(f, USER, -1)
    as_user(USER, GROUP, owner, groups=[OTHER])
    assert os.stat(f).st_gid == OTHER
    os.symlink("f", p + "/s")
    os.lchown(p + "/s", OTHER, OTHER)
    assert os.lstat(p + "/s").st_uid == OTHER and os.stat(f).st_uid == USER


def test_attributes_stay(box):
    m = box.mount()
    p = m.path
    for i in range(64):
        put(f"{p}/f{i}", b"")
        os.chown(f"{p}/f{i}", i * 1000, 2**32 - 2 - i)
        os.chmod(f"{p}/f{i}", (i * 67) & 0o7777)
    want = {n: (os.stat(f"{p}/{n}").st_uid, os.stat(f"{p}/{n}").st_gid,
                mode(f"{p}/{n}")) for n in os.listdir(p)}
    assert len(want) == 64
    m.remount(empty_cache=True)
    got = {n: (os.stat(f"{p}/{n}").st_uid, os.stat(f"{p}/{n}").st_gid,
               mode(f"{p}/{n}")) for n in os.listdir(p)}
    assert got == want


if __name__ == "__main__":
    harness.main(globals())
