#!/usr/bin/env python3
"""The operations that people meet daily, on one mount, and after a remount.

Every test runs on a plain directory and on the passthrough as well, which is
how the test itself is known to be right.  (tests/posix asks the finer points.)
"""
import errno
import mmap
import os
import stat
import subprocess
import time

import harness
from harness import fails, get, put


def test_files_stay(box):
    m = box.mount()
    p = m.path
    put(p + "/empty", b"")
    put(p + "/small", b"hello\n")
    big = os.urandom(1 << 20) * 5 + b"tail"
    put(p + "/big", big)
    os.makedirs(p + "/a/b/c")
    put(p + "/a/b/c/deep", b"x" * 4097)
    os.symlink("a/b", p + "/sym")
    os.link(p + "/small", p + "/a/hard")
    os.chmod(p + "/small", 0o4751)
    os.utime(p + "/big", ns=(1111111111_123456789, 999999999_987654321))
    before = harness.tree(p)
    for empty in (False, True):
        m.remount(empty_cache=empty)
        after = harness.tree(p)
        assert before == after, [
            (k, before.get(k), after.get(k))
            for k in before.keys() | after.keys()
            if before.get(k) != after.get(k)]
    assert get(p + "/sym/c/deep") == b"x" * 4097
    assert get(p + "/big") == big


def test_overwrite_truncate(box):
    m = box.mount()
    f = m.path + "/f"
    put(f, b"0123456789" * 1000)
    with open(f, "r+b") as h:
        h.seek(5000)
        h.write(b"abc")
        h.truncate(7000)
        h.truncate(9000)
    want = bytearray(b"0123456789" * 700 + bytes(2000))
    want[5000:5003] = b"abc"
    assert get(f) == bytes(want)
    put(f, b"short")          # O_TRUNC: no old tail
    assert get(f) == b"short"
    subprocess.run(["sh", "-c", "echo x > f"], cwd=m.path, check=True)
    assert get(f) == b"x\n"
    os.truncate(f, 0)
    assert os.stat(f).st_size == 0 and get(f) == b""
    put(f, b"12345678")
    m.remount(empty_cache=True)
    assert get(f) == b"12345678"


def test_append(box):
    m = box.mount()
    f = m.path + "/log"
    a = os.open(f, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    b = os.open(f, os.O_WRONLY | os.O_APPEND)
    for i in range(500):
        os.write(a, f"a{i}\n".encode())
        os.write(b, f"b{i}\n".encode())
    os.pwrite(a, b"pwrite appends on Linux\n", 0)
    os.close(a)
    os.close(b)
    want = "".join(f"a{i}\nb{i}\n" for i in range(500)) + \
        "pwrite appends on Linux\n"
    assert get(f) == want.encode()
    m.remount(empty_cache=True)
    assert get(f) == want.encode()


def test_append_processes(box):
    """Whole lines of four processes that append at once: none lost."""
    m = box.mount()
    f = m.path + "/log"
    script = "i=0; while [ $i -lt 300 ]; do echo $1-$i >> log; i=$((i+1)); done"
    procs = [subprocess.Popen(["sh", "-c", script, "sh", str(n)], cwd=m.path)
             for n in range(4)]
    for p in procs:
        assert p.wait(120) == 0
    lines = get(f).decode().splitlines()
    assert sorted(lines) == sorted(f"{n}-{i}" for n in range(4)
                                   for i in range(300)), len(lines)


def test_names(box):
    m = box.mount()
    p = m.path
    put(p + "/a", b"A")
    put(p + "/b", b"B")
    os.rename(p + "/a", p + "/b")
    assert os.listdir(p) == ["b"] and get(p + "/b") == b"A"
    os.mkdir(p + "/d")
    fails(errno.EEXIST, os.mkdir, p + "/d")
    fails(errno.ENOENT, os.mkdir, p + "/no/d")
    fails(errno.ENOTDIR, os.mkdir, p + "/b/d")
    fails(errno.EISDIR, os.rename, p + "/b", p + "/d")
    fails(errno.ENOTDIR, os.rename, p + "/d", p + "/b")
    os.mkdir(p + "/d/e")
    fails(errno.ENOTEMPTY, os.rmdir, p + "/d")
    fails(errno.EINVAL, os.rename, p + "/d", p + "/d/e/f")
    fails(errno.ENOTDIR, os.rmdir, p + "/b")
    fails(errno.EISDIR, os.unlink, p + "/d")
    fails(errno.ENAMETOOLONG, put, p + "/" + "n" * 256, b"")
    put(p + "/" + "n" * 255, b"long")
    os.rename(p + "/d/e", p + "/e2")
    os.rmdir(p + "/d")
    fails(errno.ENOENT, os.stat, p + "/d")
    fails(errno.EEXIST, os.open, p + "/b", os.O_CREAT | os.O_EXCL)
    fails(errno.EEXIST, os.symlink, "x", p + "/b")
    fails(errno.EEXIST, os.link, p + "/b", p + "/e2")
    fails(errno.EPERM, os.link, p + "/e2", p + "/dirlink")
    os.symlink("loop", p + "/loop")
    fails(errno.ELOOP, os.stat, p + "/loop")
    m.remount()
    assert sorted(os.listdir(p)) == sorted(["b", "e2", "loop", "n" * 255])


def test_link_counts(box):
    m = box.mount()
    p = m.path
    base = os.stat(p).st_nlink
    os.mkdir(p + "/d")
    assert os.stat(p).st_nlink == base + 1
    assert os.stat(p + "/d").st_nlink == 2
    os.mkdir(p + "/d/e")
    assert os.stat(p + "/d").st_nlink == 3
    put(p + "/f", b"")
    os.link(p + "/f", p + "/d/g")
    assert os.stat(p + "/f").st_nlink == 2
    assert os.stat(p + "/f").st_ino == os.stat(p + "/d/g").st_ino
    m.remount()
    assert os.stat(p + "/f").st_nlink == 2
    assert os.stat(p + "/f").st_ino == os.stat(p + "/d/g").st_ino
    os.unlink(p + "/f")
    assert os.stat(p + "/d/g").st_nlink == 1
    os.rmdir(p + "/d/e")
    assert os.stat(p + "/d").st_nlink == 2
    assert os.stat(p).st_nlink == base + 1


def test_open_files_outlive_names(box):
    m = box.mount()
    p = m.path
    with open(p + "/f", "w+b") as f:
        f.write(b"before")
        f.flush()
        os.unlink(p + "/f")
        assert os.fstat(f.fileno()).st_nlink == 0
        put(p + "/f", b"another")
        f.write(b" and after")
        f.flush()
        f.seek(0)
        assert f.read() == b"before and after"
        os.ftruncate(f.fileno(), 3)
        f.seek(0)
        assert f.read() == b"bef"
        os.fchmod(f.fileno(), 0o600)
        assert stat.S_IMODE(os.fstat(f.fileno()).st_mode) == 0o600
    assert get(p + "/f") == b"another"
    with open(p + "/f", "r+b") as f:
        os.rename(p + "/f", p + "/g")
        f.write(b"ANO")
        f.flush()
        assert get(p + "/g") == b"ANOther"
        put(p + "/h", b"over")
        os.rename(p + "/h", p + "/g")
        f.seek(0)
        assert f.read() == b"ANOther"
        assert get(p + "/g") == b"over"


def test_mmap_shared(box):
    m = box.mount()
    f = m.path + "/f"
    put(f, bytes(3 * 4096 + 100))
    with open(f, "r+b") as h, mmap.mmap(h.fileno(), 0) as a, \
            mmap.mmap(h.fileno(), 0) as b:
        a[0:5] = b"first"
        a[4090:4100] = b"0123456789"
        assert b[0:5] == b"first"
        b[3 * 4096:3 * 4096 + 3] = b"end"
        a.flush()
        b.flush()
    child = subprocess.run(
        ["/usr/bin/python3", "-c",
         "import mmap,sys\n"
         "f=open(sys.argv[1],'r+b'); a=mmap.mmap(f.fileno(),0)\n"
         "assert a[0:5]==b'first'\na[8192:8196]=b'kid!'\na.flush()", f])
    assert child.returncode == 0
    want = bytearray(3 * 4096 + 100)
    want[0:5] = b"first"
    want[4090:4100] = b"0123456789"
    want[8192:8196] = b"kid!"
    want[3 * 4096:3 * 4096 + 3] = b"end"
    assert get(f) == bytes(want)
    m.remount(empty_cache=True)
    assert get(f) == bytes(want)


def test_execute(box):
    m = box.mount()
    exe = m.path + "/true"
    subprocess.run(["cp", "/usr/bin/true", exe], check=True)
    assert subprocess.run([exe]).returncode == 0
    put(m.path + "/script", b"#!/bin/sh\necho ran\n")
    os.chmod(m.path + "/script", 0o755)
    assert subprocess.check_output([m.path + "/script"]) == b"ran\n"
    m.remount(empty_cache=True)
    assert subprocess.run([exe]).returncode == 0


def test_listing(box):
    m = box.mount()
    d = m.path + "/d"
    os.mkdir(d)
    names = {f"entry-{i:04d}" for i in range(3000)}
    for n in names:
        put(f"{d}/{n}", b"")
    assert set(os.listdir(d)) == names
    assert len(os.listdir(d)) == len(names)
    for n in sorted(names)[::3]:
        os.unlink(f"{d}/{n}")
    left = set(sorted(names)) - set(sorted(names)[::3])
    assert set(os.listdir(d)) == left
    m.remount(empty_cache=True)
    assert set(os.listdir(d)) == left
    subprocess.run(["rm", "-rf", d], check=True)
    assert os.listdir(m.path) == []


def test_times(box):
    m = box.mount()
    f = m.path + "/f"
    start = time.time() - 1
    put(f, b"x")
    st = os.stat(f)
    for t in (st.st_atime, st.st_mtime, st.st_ctime):
        assert start <= t <= time.time() + 1, (start, t)
    os.utime(f, ns=(10**18 + 1, 2 * 10**17 + 999999999))
    st = os.stat(f)
    assert (st.st_atime_ns, st.st_mtime_ns) == (10**18 + 1,
                                                2 * 10**17 + 999999999)
    old = os.stat(m.path).st_mtime_ns
    time.sleep(0.02)
    put(m.path + "/g", b"")
    assert os.stat(m.path).st_mtime_ns > old
    old = os.stat(f).st_ctime_ns
    time.sleep(0.02)
    os.chmod(f, 0o640)
    assert os.stat(f).st_ctime_ns > old
    assert os.stat(f).st_mtime_ns == 2 * 10**17 + 999999999
    os.utime(f, ns=(-10**9, -5 * 10**8))
    assert os.stat(f).st_mtime_ns == -5 * 10**8, os.stat(f).st_mtime_ns
    m.remount()
    assert os.stat(f).st_mtime_ns == -5 * 10**8


def test_fsync(box):
    m = box.mount()
    fd = os.open(m.path + "/f", os.O_CREAT | os.O_WRONLY)
    os.write(fd, b"kept")
    os.fsync(fd)
    os.fdatasync(fd)
    os.close(fd)
    fd = os.open(m.path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    fd = os.open(m.path + "/g", os.O_CREAT | os.O_WRONLY | os.O_DSYNC)
    os.write(fd, b"kept too")
    os.close(fd)
    if m.kind == "deeplake":     # fsync means remote: no flush, no goodbye
        m.kill()
        m = box.mount("b", table="data")
    assert get(m.path + "/f") == b"kept"
    assert get(m.path + "/g") == b"kept too"


def test_many_small_and_remove(box):
    m = box.mount()
    for i in range(2000):
        put(f"{m.path}/f{i}", b"content %d" % i)
    for i in range(0, 2000, 2):
        os.unlink(f"{m.path}/f{i}")
    for i in range(1, 2000, 4):
        os.rename(f"{m.path}/f{i}", f"{m.path}/g{i}")
    m.remount(empty_cache=True)
    want = {f"g{i}": i for i in range(1, 2000, 4)}
    want.update({f"f{i}": i for i in range(3, 2000, 4)})
    assert set(os.listdir(m.path)) == set(want)
    for name, i in want.items():
        assert get(f"{m.path}/{name}") == b"content %d" % i


def test_directory_removed_under_us(box):
    m = box.mount()
    os.mkdir(m.path + "/cwd")
    code = ("cd cwd && rmdir ../cwd && ls . && ! touch x 2>/dev/null && "
            "mkdir ../cwd && ! touch y 2>/dev/null")
    subprocess.run(["sh", "-c", code], cwd=m.path, check=True)
    put(m.path + "/cwd/z", b"")
    assert os.listdir(m.path + "/cwd") == ["z"]


def test_xattr_basic(box):
    m = box.mount()
    f = m.path + "/f"
    put(f, b"")
    os.setxattr(f, "user.k", b"v")
    assert os.getxattr(f, "user.k") == b"v"
    fails(errno.EEXIST, os.setxattr, f, "user.k", b"w", os.XATTR_CREATE)
    fails(errno.ENODATA, os.setxattr, f, "user.q", b"w", os.XATTR_REPLACE)
    fails(errno.ENODATA, os.getxattr, f, "user.q")
    os.setxattr(f, "user.bin", bytes(range(256)))
    m.remount(empty_cache=True)
    assert os.getxattr(f, "user.bin") == bytes(range(256))
    assert sorted(os.listxattr(f)) == ["user.bin", "user.k"]
    os.removexattr(f, "user.k")
    fails(errno.ENODATA, os.removexattr, f, "user.k")


def test_statfs(box):
    m = box.mount()
    st = os.statvfs(m.path)
    assert st.f_namemax == 255 and st.f_blocks > 0 and st.f_bsize > 0
    assert st.f_bavail <= st.f_bfree <= st.f_blocks


if __name__ == "__main__":
    harness.main(globals())
