#!/usr/bin/env python3
"""rename with its flags, links of open files, stable handles, inode numbers."""
import errno
import os

import calls
import harness
from calls import fails, get, put


def test_noreplace(box):
    m = box.mount()
    p = m.path
    put(p + "/a", b"A")
    put(p + "/b", b"B")
    fails(errno.EEXIST, calls.renameat2, p + "/a", p + "/b",
          calls.RENAME_NOREPLACE)
    assert get(p + "/a") == b"A" and get(p + "/b") == b"B"
    calls.renameat2(p + "/a", p + "/c", calls.RENAME_NOREPLACE)
    assert get(p + "/c") == b"A" and not os.path.exists(p + "/a")
    fails(errno.ENOENT, calls.renameat2, p + "/a", p + "/d",
          calls.RENAME_NOREPLACE)
    fails(errno.EINVAL, calls.renameat2, p + "/b", p + "/c",
          calls.RENAME_NOREPLACE | calls.RENAME_EXCHANGE)
    fails(errno.EINVAL, calls.renameat2, p + "/b", p + "/c", 1 << 20)


def test_exchange(box):
    m = box.mount()
    p = m.path
    put(p + "/f", b"file")
    os.makedirs(p + "/d/sub")
    put(p + "/d/x", b"in d")
    os.makedirs(p + "/other")
    n = os.stat(p).st_nlink
    f_ino, d_ino = os.stat(p + "/f").st_ino, os.stat(p + "/d").st_ino
    calls.renameat2(p + "/f", p + "/d", calls.RENAME_EXCHANGE)
    assert get(p + "/d") == b"file" and get(p + "/f/x") == b"in d"
    assert (os.stat(p + "/d").st_ino, os.stat(p + "/f").st_ino) == \
        (f_ino, d_ino)
    assert os.stat(p).st_nlink == n
    calls.renameat2(p + "/f/sub", p + "/d", calls.RENAME_EXCHANGE)
    assert get(p + "/f/sub") == b"file" and os.path.isdir(p + "/d")
    assert os.stat(p).st_nlink == n + 1
    assert os.stat(p + "/f").st_nlink == 2
    fails(errno.ENOENT, calls.renameat2, p + "/f", p + "/none",
          calls.RENAME_EXCHANGE)
    os.mkdir(p + "/f/in")
    fails(errno.EINVAL, calls.renameat2, p + "/f", p + "/f/in",
          calls.RENAME_EXCHANGE)
    os.rmdir(p + "/f/in")
    calls.renameat2(p + "/f", p + "/f", calls.RENAME_EXCHANGE)
    m.remount(empty_cache=True)
    assert get(p + "/f/sub") == b"file" and get(p + "/f/x") == b"in d"
    assert os.path.isdir(p + "/d") and os.listdir(p + "/d") == []


def test_whiteout_refused(box):
    m = box.mount()
    put(m.path + "/a", b"")
    harness.need(m.kind == "deeplake", "only deeplakefs refuses it")
    fails(errno.EINVAL, calls.renameat2, m.path + "/a", m.path + "/b",
          calls.RENAME_WHITEOUT)
    assert os.listdir(m.path) == ["a"]


def test_over_existing(box):
    m = box.mount()
    p = m.path
    for d in ("full", "empty", "src"):
        os.mkdir(f"{p}/{d}")
    put(p + "/full/x", b"")
    put(p + "/src/y", b"")
    fails((errno.ENOTEMPTY, errno.EEXIST), os.rename, p + "/src", p + "/full")
    os.rename(p + "/src", p + "/empty")
    assert os.listdir(p + "/empty") == ["y"]
    put(p + "/a", b"A")
    os.link(p + "/a", p + "/b")
    os.rename(p + "/a", p + "/b")      # two names of one file: nothing
    assert os.path.exists(p + "/a") and os.stat(p + "/a").st_nlink == 2
    os.rename(p + "/a", p + "/a")
    fails(errno.EINVAL, os.rename, p + "/empty", p + "/empty/in")
    fails((errno.EBUSY, errno.EINVAL, errno.ENOTEMPTY), os.rename,
          p + "/full", p + "/full/..")


def test_directories_across_parents(box):
    m = box.mount()
    p = m.path
    os.makedirs(p + "/a/b/c/d")
    os.mkdir(p + "/z")
    put(p + "/a/b/c/d/f", b"deep")
    n_a, n_z = os.stat(p + "/a").st_nlink, os.stat(p + "/z").st_nlink
    os.rename(p + "/a/b", p + "/z/b2")
    assert os.stat(p + "/a").st_nlink == n_a - 1
    assert os.stat(p + "/z").st_nlink == n_z + 1
    assert get(p + "/z/b2/c/d/f") == b"deep"
    assert os.stat(p + "/z/b2/..").st_ino == os.stat(p + "/z").st_ino
    fails(errno.EINVAL, os.rename, p + "/z", p + "/z/b2/c/d/loop")
    cwd = os.getcwd()
    os.chdir(p + "/z/b2/c/d")
    try:
        os.rename(p + "/z/b2", p + "/a/b3")
        assert get("f") == b"deep"
        assert os.getcwd() == p + "/a/b3/c/d"
        assert os.stat("../../..").st_ino == os.stat(p + "/a").st_ino
    finally:
        os.chdir(cwd)


def test_link_of_open_file(box):
    m = box.mount()
    p = m.path
    fd = os.open(p + "/f", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"kept")
    calls.linkat_fd(fd, p + "/g")
    os.unlink(p + "/f")
    assert os.fstat(fd).st_nlink == 1
    os.write(fd, b" on")
    assert get(p + "/g") == b"kept on"
    calls.link_following(f"/proc/self/fd/{fd}", p + "/h")
    assert os.stat(p + "/h").st_ino == os.fstat(fd).st_ino
    os.unlink(p + "/g")
    os.unlink(p + "/h")
    assert os.fstat(fd).st_nlink == 0
    fails(errno.ENOENT, calls.linkat_fd, fd, p + "/again")
    os.close(fd)


def test_handles(box):
    m = box.mount()
    p = m.path
    os.makedirs(p + "/d/e")
    put(p + "/d/e/f", b"by handle")
    harness.need(m.kind != "pass", "the passthrough has no export support")
    hf, hd = calls.name_to_handle(p + "/d/e/f"), calls.name_to_handle(p + "/d")
    top = os.open(p, os.O_RDONLY)
    for _ in range(2):
        fd = calls.open_by_handle(top, hf, os.O_RDONLY)
        assert os.read(fd, 100) == b"by handle"
        os.close(fd)
        harness.drop_caches(2)          # forgotten by the kernel
    fd = calls.open_by_handle(top, hd, os.O_RDONLY | os.O_DIRECTORY)
    assert os.listdir(fd) == ["e"]
    os.close(fd)
    os.rename(p + "/d/e/f", p + "/moved")
    harness.drop_caches(2)
    fd = calls.open_by_handle(top, hf, os.O_RDWR)
    os.write(fd, b"BY")
    os.close(fd)
    assert get(p + "/moved") == b"BY handle"
    os.unlink(p + "/moved")
    harness.drop_caches(2)
    fails(errno.ESTALE, calls.open_by_handle, top, hf, os.O_RDONLY)
    os.close(top)


def inodes(top):
    found = {}
    for path, dirs, files in os.walk(top):
        for name in dirs + files:
            full = os.path.join(path, name)
            found[os.path.relpath(full, top)] = os.lstat(full).st_ino
        found[os.path.relpath(path, top)] = os.stat(path).st_ino
    return found


def test_inode_numbers_stay(box):
    m = box.mount()
    p = m.path
    os.makedirs(p + "/a/b")
    for i in range(50):
        put(f"{p}/a/f{i}", b"%d" % i)
    os.symlink("x", p + "/s")
    os.link(p + "/a/f1", p + "/hard")
    before = inodes(p)
    assert len(set(before.values())) == len(before) - 1
    os.rename(p + "/a/f2", p + "/a/b/f2")
    before["a/b/f2"] = before.pop("a/f2")
    put(p + "/a/f3", b"rewritten")
    assert inodes(p) == before
    with os.scandir(p + "/a") as it:
        for e in it:
            assert e.inode() == before["a/" + e.name], e.name
    m.remount()
    assert inodes(p) == before
    m.remount(empty_cache=True)
    assert inodes(p) == before
    if m.kind == "deeplake":
        m.flush()
        other = box.mount("b")
        assert inodes(other.path) == before


if __name__ == "__main__":
    harness.main(globals())
