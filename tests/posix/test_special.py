#!/usr/bin/env python3
"""Odd names, long links, deep paths, devices, big and moving directories."""
import errno
import os
import random
import socket
import stat
import subprocess

import calls
import harness
from calls import fails, get, put


def test_names_of_any_bytes(box):
    m = box.mount()
    p = os.fsencode(m.path)
    names = [bytes([b]) for b in range(1, 256) if b not in (0x2f, 0x2e)]
    names += [b"\xff\xfe\xfd", b"\xc3\xa9", b"e\xcc\x81", b" ", b"a\nb",
              b"-rf", b"*", b"...", b".hidden", b"\\", b'"quoted"', b"'",
              "日本語".encode(), b"\xf0\x9f\x98\x80", b"x" * 255,
              b"\xe3\x81\x82" * 85, b"A", b"a\xcc", b"%s%n"]
    names = sorted(set(names))
    for i, name in enumerate(names):
        put(p + b"/" + name, b"%d" % i)
    assert sorted(os.listdir(p)) == names
    m.remount(empty_cache=True)
    assert sorted(os.listdir(p)) == names
    for i, name in enumerate(names):
        assert get(p + b"/" + name) == b"%d" % i, name
    fails(errno.ENAMETOOLONG, put, p + b"/" + b"x" * 256, b"")
    for name in names:
        os.rename(p + b"/" + name, p + b"/moved")
        os.unlink(p + b"/moved")
    assert os.listdir(p) == []


def test_symlinks(box):
    m = box.mount()
    p = m.path
    long = "a/" * 2047 + "b"
    assert len(long) == 4095
    os.symlink(long, p + "/long")
    os.symlink(b"\xff\x01 \n", p + "/odd")
    fails(errno.ENAMETOOLONG, os.symlink, "a" * 4096, p + "/longer")
    fails(errno.ENOENT, os.symlink, "", p + "/empty")
    put(p + "/f", b"target")
    os.symlink("f", p + "/1")
    os.symlink("1", p + "/2")
    os.symlink(p + "/2", p + "/abs")
    m.remount(empty_cache=True)
    assert os.readlink(p + "/long") == long
    assert os.lstat(p + "/long").st_size == 4095
    assert os.readlink(os.fsencode(p) + b"/odd") == b"\xff\x01 \n"
    assert get(p + "/abs") == b"target"
    fails(errno.EINVAL, os.readlink, p + "/f")
    fails(errno.ELOOP, os.open, p + "/1", os.O_RDONLY | os.O_NOFOLLOW)


def test_deep(box):
    """1,024 levels, made and removed step by step: longer than PATH_MAX."""
    m = box.mount()
    levels = 1024
    top = fd = os.open(m.path, os.O_RDONLY)
    fds = [fd]
    for i in range(levels):
        os.mkdir("level-%04d" % i, dir_fd=fd)
        fd = os.open("level-%04d" % i, os.O_RDONLY, dir_fd=fd)
        fds.append(fd)
    f = os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=fd)
    os.write(f, b"deep")
    os.close(f)
    for x in fds[1:]:
        os.close(x)
    os.close(top)
    m.remount(empty_cache=True)
    out = subprocess.check_output(["find", ".", "-name", "bottom"],
                                  cwd=m.path)
    assert out.count(b"/") == levels + 1
    subprocess.run(["rm", "-rf", m.path + "/level-0000"], check=True)
    assert os.listdir(m.path) == []


def test_mknod(box):
    m = box.mount()
    p = m.path
    os.mkfifo(p + "/fifo", 0o640)
    os.mknod(p + "/reg", 0o600 | stat.S_IFREG)
    os.mknod(p + "/sock", 0o600 | stat.S_IFSOCK)
    os.mknod(p + "/chr", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    os.mknod(p + "/blk", 0o600 | stat.S_IFBLK, os.makedev(7, 300))
    fails(errno.EEXIST, os.mkfifo, p + "/reg")

    def check():
        for name, kind, dev in (("fifo", stat.S_ISFIFO, 0),
                                ("reg", stat.S_ISREG, 0),
                                ("sock", stat.S_ISSOCK, 0),
                                ("chr", stat.S_ISCHR, os.makedev(1, 3)),
                                ("blk", stat.S_ISBLK, os.makedev(7, 300))):
            st = os.lstat(f"{p}/{name}")
            assert kind(st.st_mode) and st.st_rdev == dev, (name, st)
        with os.scandir(p) as it:
            for e in it:
                assert e.is_file() == (e.name == "reg"), e.name
    check()
    m.remount(empty_cache=True)
    check()
    pid = os.fork()
    if pid == 0:
        put(p + "/fifo", b"through")
        os._exit(0)
    assert get(p + "/fifo") == b"through"
    os.waitpid(pid, 0)
    if m.kind == "deeplake":       # nodev by default
        fails(errno.EACCES, open, p + "/chr", "rb")
    for name in os.listdir(p):
        os.unlink(f"{p}/{name}")


def test_unix_socket(box):
    p = box.mount().path
    os.chdir(p)
    with socket.socket(socket.AF_UNIX) as a, socket.socket(
            socket.AF_UNIX) as b:
        a.bind("s")
        a.listen()
        b.connect("s")
        c, _ = a.accept()
        b.sendall(b"hello")
        assert c.recv(10) == b"hello"
        c.close()
    os.chdir("/")
    os.unlink(p + "/s")


def test_readdir_while_it_changes(box):
    """What stays the whole time is seen exactly once."""
    p = box.mount().path
    stay = {b"stay-%04d" % i for i in range(1500)}
    for n in stay:
        put(os.fsencode(p) + b"/" + n, b"")
    for i in range(500):
        put(f"{p}/go-{i}", b"")
    rng = random.Random(1)
    seen, step = [], 0
    with calls.Dir(p) as d:
        while True:
            e = d.read()
            if e is None:
                break
            seen.append(e[0])
            step += 1
            if step % 3 == 0 and step // 3 < 500:
                i = step // 3
                if rng.random() < 0.5:
                    os.unlink(f"{p}/go-{i}")
                else:
                    os.rename(f"{p}/go-{i}", f"{p}/went-{i}")
                put(f"{p}/come-{i}", b"")
    counted = [n for n in seen if n in stay]
    assert len(counted) == len(set(counted)), "an entry came twice"
    assert set(counted) == stay, f"{len(stay - set(counted))} were not seen"
    assert seen.count(b".") == 1 and seen.count(b"..") == 1


def test_seekdir(box):
    p = box.mount().path
    for i in range(700):
        put(f"{p}/e{i}", b"")
    with calls.Dir(p) as d:
        places, names = [], []
        while True:
            at = d.tell()
            e = d.read()
            if e is None:
                break
            places.append(at)
            names.append(e[0])
        assert len(names) == 702
        rng = random.Random(2)
        for _ in range(300):
            i = rng.randrange(len(names))
            d.seek(places[i])
            assert d.read()[0] == names[i]
            if i + 1 < len(names):
                assert d.read()[0] == names[i + 1]
        for n in names[100:200]:
            os.unlink(os.fsencode(p) + b"/" + n) if n not in (b".", b"..") \
                else None
        for i in range(500):
            put(f"{p}/later{i}", b"")
        d.seek(places[300])
        assert d.read()[0] == names[300], "an offset moved"
        d.rewind()
        again = []
        while (e := d.read()) is not None:
            again.append(e[0])
        assert len(again) == len(set(again)) and \
            set(names[200:]) | set(names[:100]) <= set(again) | {b".", b".."}
        assert {b"later%d" % i for i in range(500)} <= set(again)
    assert all(-1 < at < 2**63 for at in places)


def test_big_directory(box):
    """As many entries as DF_BIG_DIR says; a million (LONG=1) takes minutes."""
    m = box.mount()
    n = int(os.environ.get("DF_BIG_DIR", "20000"))
    if m.kind == "pass":           # it holds a descriptor for each inode
        n = min(n, 8000)
    d = m.path + "/big"
    os.mkdir(d)
    for i in range(n):
        os.mknod(f"{d}/{i}", 0o600 | stat.S_IFREG)
    assert len(set(os.listdir(d))) == n
    os.stat(f"{d}/{n // 2}")
    m.flush(1800)
    m.remount(empty_cache=True)
    names = os.listdir(d)
    assert len(names) == n and len(set(names)) == n
    for i in range(0, n, 2):
        os.unlink(f"{d}/{i}")
    assert len(os.listdir(d)) == n // 2
    box.run(["rm", "-rf", d], timeout=600 + n // 200)
    assert os.listdir(m.path) == []


def test_dots(box):
    p = box.mount().path
    os.mkdir(p + "/d")
    fails(errno.EINVAL, os.rmdir, p + "/d/.")
    fails((errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY), os.rmdir, p + "/d/..")
    fails(errno.EEXIST, os.mkdir, p + "/d/.")
    assert os.stat(p + "/d/..").st_ino == os.stat(p).st_ino
    assert os.stat(p + "/d/.").st_ino == os.stat(p + "/d").st_ino
    put(p + "/f", b"")
    fails(errno.ENOTDIR, os.stat, p + "/f/.")
    fails(errno.ENOTDIR, os.stat, p + "/f/x")
    fails((errno.EISDIR, errno.ENOENT, errno.ENOTDIR), open, p + "/new/", "w")
    os.rename(p + "/d", p + "/d2/")
    assert os.path.isdir(p + "/d2")


if __name__ == "__main__":
    harness.main(globals())
