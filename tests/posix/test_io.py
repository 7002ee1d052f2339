#!/usr/bin/env python3
"""mmap, O_DIRECT, executing, readahead; files removed, moved or cut in use."""
import errno
import mmap
import os
import random
import shutil
import signal
import subprocess
import threading
import time

import calls
import harness
from calls import fails, get, put

PAGE = 4096


def test_private_map(box):
    p = box.mount().path
    put(p + "/f", b"a" * 2 * PAGE)
    with open(p + "/f", "r+b") as f, mmap.mmap(
            f.fileno(), 0, flags=mmap.MAP_PRIVATE) as a:
        a[0:3] = b"own"
        assert get(p + "/f")[:3] == b"aaa"
        a[PAGE:PAGE + 3] = b"own"
        assert get(p + "/f") == b"a" * 2 * PAGE


def test_shared_map_of_several_processes(box):
    m = box.mount()
    f = m.path + "/f"
    procs, pages = 4, 64
    put(f, bytes(pages * PAGE))
    kids = []
    for n in range(procs):
        pid = os.fork()
        if pid == 0:
            fd = os.open(f, os.O_RDWR)
            a = mmap.mmap(fd, 0)
            for page in range(pages):
                at = page * PAGE + n * 1000
                a[at:at + 1000] = bytes([n + 1]) * 1000
            a.flush()
            os._exit(0)
        kids.append(pid)
    for pid in kids:
        assert os.waitpid(pid, 0)[1] == 0
    want = b"".join(bytes([n + 1]) * 1000 for n in range(procs)) + bytes(96)
    assert get(f) == want * pages
    m.remount(empty_cache=True)
    assert get(f) == want * pages


def test_map_and_write_agree(box):
    p = box.mount().path
    put(p + "/f", bytes(4 * PAGE))
    with open(p + "/f", "r+b", buffering=0) as f, mmap.mmap(
            f.fileno(), 0) as a:
        os.pwrite(f.fileno(), b"by write", 5000)
        assert a[5000:5008] == b"by write"
        a[9000:9006] = b"by map"
        assert os.pread(f.fileno(), 6, 9000) == b"by map"
        os.ftruncate(f.fileno(), PAGE + 10)
        os.ftruncate(f.fileno(), 4 * PAGE)
        assert a[5000:5008] == bytes(8), "the cut off tail came back"
        assert os.pread(f.fileno(), 6, 9000) == bytes(6)


def test_map_past_the_end(box):
    """Bytes stored between the end of file and of the page do not stay."""
    m = box.mount()
    put(m.path + "/f", b"x" * 100)
    with open(m.path + "/f", "r+b") as f, mmap.mmap(f.fileno(), 100) as a:
        a[0:3] = b"map"
        a.flush()
    os.truncate(m.path + "/f", 200)
    assert get(m.path + "/f") == b"map" + b"x" * 97 + bytes(100)
    m.remount(empty_cache=True)
    assert get(m.path + "/f") == b"map" + b"x" * 97 + bytes(100)


def aligned(size):
    return mmap.mmap(-1, size)


def test_direct(box):
    m = box.mount()
    f = m.path + "/f"
    put(f, os.urandom(16 * PAGE))
    fd = os.open(f, os.O_RDWR | os.O_DIRECT)
    buf = aligned(4 * PAGE)
    assert os.preadv(fd, [buf], 8 * PAGE) == 4 * PAGE
    assert buf[:] == get(f)[8 * PAGE:12 * PAGE]
    buf[:] = b"D" * 4 * PAGE
    assert os.pwritev(fd, [buf], 2 * PAGE) == 4 * PAGE
    assert get(f)[2 * PAGE:6 * PAGE] == b"D" * 4 * PAGE
    assert os.pwritev(fd, [buf], 15 * PAGE) == 4 * PAGE
    assert os.fstat(fd).st_size == 19 * PAGE
    assert os.preadv(fd, [buf], 18 * PAGE) == PAGE
    os.close(fd)
    want = get(f)
    m.remount(empty_cache=True)
    assert get(f) == want


def test_running_program(box):
    m = box.mount()
    exe = m.path + "/sleep"
    subprocess.run(["cp", "/usr/bin/sleep", exe], check=True)
    with subprocess.Popen([exe, "60"]) as p:
        try:
            fails(errno.ETXTBSY, open, exe, "r+b")
            os.rename(exe, exe + "-old")
            subprocess.run(["cp", "/usr/bin/sleep", exe], check=True)
            os.unlink(exe + "-old")
            assert p.poll() is None
        finally:
            p.kill()
    assert subprocess.run([exe, "0"]).returncode == 0


def test_sequential_and_backward_reads(box):
    m = box.mount()
    data = random.Random(3).randbytes(3 << 20)
    put(m.path + "/f", data)
    m.remount(empty_cache=True)
    with open(m.path + "/f", "rb", buffering=0) as f:
        assert b"".join(iter(lambda: f.read(7777), b"")) == data
    m.remount(empty_cache=True)
    fd = os.open(m.path + "/f", os.O_RDONLY)
    for at in range(len(data) - 5000, -1, -5000):
        assert os.pread(fd, 5000, at) == data[at:at + 5000], at
    os.close(fd)


def test_truncated_in_use(box):
    p = box.mount().path
    put(p + "/f", b"0123456789" * 1000)
    a = os.open(p + "/f", os.O_RDWR)
    b = os.open(p + "/f", os.O_RDWR)
    os.lseek(a, 5000, os.SEEK_SET)
    os.ftruncate(b, 100)
    assert os.read(a, 10) == b""
    os.write(a, b"after")
    assert os.fstat(b).st_size == 5005
    assert os.pread(b, 10000, 90) == b"0123456789" + bytes(4900) + b"after"
    os.close(a)
    os.close(b)
    fd = os.open(p + "/f", os.O_WRONLY | os.O_TRUNC)
    assert os.fstat(fd).st_size == 0
    os.close(fd)
    fails(errno.EINVAL, os.truncate, p + "/f", -1)
    fails(errno.EISDIR, os.truncate, p, 0)


def test_removed_while_read(box):
    """rm -rf of a tree that others walk and read: no error but ENOENT."""
    p = box.mount().path
    for d in range(20):
        os.makedirs(f"{p}/t/d{d}")
        for i in range(50):
            put(f"{p}/t/d{d}/f{i}", b"%d" % i * 100)
    bad, stop = [], threading.Event()

    def walk():
        while not stop.is_set():
            for path, _, files in os.walk(p + "/t"):
                for f in files:
                    try:
                        get(os.path.join(path, f))
                    except FileNotFoundError:
                        pass
                    except OSError as e:
                        bad.append(e)
    threads = [threading.Thread(target=walk) for _ in range(2)]
    for t in threads:
        t.start()
    r = subprocess.run(["rm", "-rf", p + "/t"], capture_output=True)
    stop.set()
    for t in threads:
        t.join()
    assert r.returncode == 0 and not bad, (r.stderr, bad[:3])
    assert os.listdir(p) == []


def test_removed_keeps_space_until_closed(box):
    m = box.mount()
    fd = os.open(m.path + "/f", os.O_RDWR | os.O_CREAT)
    os.unlink(m.path + "/f")
    for i in range(64):
        os.pwrite(fd, bytes([i]) * 65536, i * 65536)
    assert os.fstat(fd).st_size == 64 * 65536
    for i in range(64):
        assert os.pread(fd, 65536, i * 65536) == bytes([i]) * 65536
    with mmap.mmap(fd, 0) as a:
        assert a[65536] == 1
        a[0] = 99
    assert os.pread(fd, 1, 0) == b"c"
    os.close(fd)
    m.remount(empty_cache=True)
    assert os.listdir(m.path) == []


def test_removed_directory_in_use(box):
    p = box.mount().path
    os.mkdir(p + "/d")
    fd = os.open(p + "/d", os.O_RDONLY)
    os.rmdir(p + "/d")
    assert os.listdir(fd) == []
    assert os.fstat(fd).st_nlink == 0
    fails(errno.ENOENT, os.open, "x", os.O_CREAT | os.O_WRONLY, dir_fd=fd)
    fails(errno.ENOENT, os.mkdir, "x", dir_fd=fd)
    os.mkdir(p + "/d")
    put(p + "/d/new", b"")
    assert os.listdir(fd) == []
    os.close(fd)


def test_removed_working_directory(box):
    p = box.mount().path
    os.mkdir(p + "/d")
    os.chdir(p + "/d")
    try:
        os.rmdir(p + "/d")
        fails(errno.ENOENT, os.getcwd)
        assert os.listdir(".") == [] and os.stat(".").st_nlink == 0
        fails(errno.ENOENT, put, "x", b"")
        fails(errno.ENOENT, os.mkdir, "x")
        fails(errno.ENOENT, os.symlink, "y", "x")
        os.mkdir(p + "/d")         # another one
        put(p + "/d/x", b"")
        fails(errno.ENOENT, os.stat, "x")
        os.chdir("..")
        assert os.path.samefile(".", p)
    finally:
        os.chdir("/")


def ways_to_sync(p):
    """{name: function that writes bytes to p/name, durable when it returns}"""
    def with_flag(flag):
        def write(path, data):
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | flag)
            os.write(fd, data)
            os.close(fd)
        return write

    def with_call(call):
        def write(path, data):
            with open(path, "wb", buffering=0) as f:
                f.write(data)
                call(f.fileno())
        return write

    def by_msync(path, data):
        with open(path, "w+b", buffering=0) as f:
            f.truncate(len(data))
            with mmap.mmap(f.fileno(), 0) as a:
                a[:] = data
                a.flush()

    def by_pwritev2(path, data):
        with open(path, "wb", buffering=0) as f:
            os.pwritev(f.fileno(), [data], 0, os.RWF_DSYNC)

    def by_directory(path, data):
        put(path, data)
        fd = os.open(p, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(fd)
        os.close(fd)
    return {"O_SYNC": with_flag(os.O_SYNC), "O_DSYNC": with_flag(os.O_DSYNC),
            "fsync": with_call(os.fsync), "fdatasync": with_call(os.fdatasync),
            "RWF_DSYNC": by_pwritev2, "MS_SYNC": by_msync,
            "directory": by_directory}


def test_synchronous_writes(box):
    """While the server does not answer they do not return; a plain one does.

    And what has returned is in the table: the daemon is killed and its cache
    thrown away right after.
    """
    m = box.mount(options={"flush_delay": "1h"} if box.target == "deeplake"
                  else None)
    for name, write in ways_to_sync(m.path).items():
        server = m.server.proc.pid if m.kind == "deeplake" else 0
        if server:
            os.kill(server, signal.SIGSTOP)
        try:
            put(m.path + "/plain", b"not waited for")
            pid = os.fork()
            if pid == 0:
                write(f"{m.path}/{name}", name.encode() * 100)
                os._exit(0)
            time.sleep(0.3)
            assert not server or os.waitpid(pid, os.WNOHANG)[0] == 0, \
                f"{name} returned and the server had not answered"
        finally:
            if server:
                os.kill(server, signal.SIGCONT)
        assert box.wait_child(pid, 60) == 0, f"{name} failed"
        if server:
            m.kill()
            shutil.rmtree(m.cache)
            os.makedirs(m.cache)
            m.up()
        assert get(f"{m.path}/{name}") == name.encode() * 100, name


def test_descriptor_modes(box):
    p = box.mount().path
    put(p + "/f", b"abc")
    w = os.open(p + "/f", os.O_WRONLY)
    fails(errno.EBADF, os.read, w, 1)
    r = os.open(p + "/f", os.O_RDONLY)
    fails(errno.EBADF, os.write, r, b"x")
    fails(errno.EINVAL, os.ftruncate, r, 0)
    fails(errno.EISDIR, os.open, p, os.O_WRONLY)
    fails(errno.ENOTDIR, os.open, p + "/f", os.O_RDONLY | os.O_DIRECTORY)
    o = os.open(p + "/f", os.O_PATH)
    assert os.fstat(o).st_size == 3
    fails(errno.EBADF, os.read, o, 1)
    for fd in (w, r, o):
        os.close(fd)
    fd = os.open(p + "/dup", os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o000)
    os.write(fd, b"mode 0 and open")
    assert os.pread(fd, 99, 0) == b"mode 0 and open"
    os.close(fd)


def test_vectors_and_big_writes(box):
    m = box.mount()
    parts = [os.urandom(n) for n in (1, 4095, 4097, 131072, 1 << 20, 3, 77777)]
    fd = os.open(m.path + "/f", os.O_CREAT | os.O_RDWR)
    assert os.writev(fd, parts) == sum(map(len, parts))
    whole = b"".join(parts)
    assert os.pread(fd, len(whole), 0) == whole
    bigger = os.urandom(9 << 20)
    assert os.pwrite(fd, bigger, 333) == len(bigger)
    assert os.pread(fd, len(bigger), 333) == bigger
    os.close(fd)
    m.remount(empty_cache=True)
    assert get(m.path + "/f") == whole[:333] + bigger


def test_threads_write_one_file(box):
    m = box.mount()
    fd = os.open(m.path + "/f", os.O_CREAT | os.O_RDWR)

    def work(n):
        for i in range(100):
            os.pwrite(fd, bytes([n]) * 5000, (i * 8 + n) * 5000)
    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    want = b"".join(bytes([n]) * 5000 for _ in range(100) for n in range(8))
    assert os.pread(fd, len(want) + 1, 0) == want
    os.close(fd)
    m.remount(empty_cache=True)
    assert get(m.path + "/f") == want


if __name__ == "__main__":
    harness.main(globals())
