#!/usr/bin/env python3
"""Space: fallocate, holes, copies, sparse giants, statfs and du."""
import errno
import os

import calls
import harness
from calls import fails, get, put

K = 1024
M = 1024 * K


def new(path, data=b""):
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    if data:
        os.write(fd, data)
    return fd


def test_fallocate_preallocates(box):
    m = box.mount()
    fd = new(m.path + "/f", b"head")
    calls.fallocate(fd, 0, 0, 1 * M)
    assert os.fstat(fd).st_size == 1 * M
    assert os.pread(fd, 8, 0) == b"head\0\0\0\0"
    calls.fallocate(fd, calls.KEEP_SIZE, 0, 2 * M)
    assert os.fstat(fd).st_size == 1 * M
    if m.kind != "deeplake":    # nothing is reserved: docs/posix.md
        assert os.fstat(fd).st_blocks * 512 >= 1 * M
    calls.fallocate(fd, 0, 3 * M, 10)
    assert os.fstat(fd).st_size == 3 * M + 10
    os.close(fd)
    m.remount(empty_cache=True)
    assert os.stat(m.path + "/f").st_size == 3 * M + 10
    assert get(m.path + "/f") == b"head" + bytes(3 * M + 6)


def test_fallocate_errors(box):
    m = box.mount()
    fd = new(m.path + "/f", b"x")
    fails(errno.EINVAL, calls.fallocate, fd, 0, 0, 0)
    fails(errno.EINVAL, calls.fallocate, fd, 0, -1, 10)
    fails(errno.EOPNOTSUPP, calls.fallocate, fd, calls.PUNCH_HOLE, 0, 10)
    ro = os.open(m.path + "/f", os.O_RDONLY)
    fails(errno.EBADF, calls.fallocate, ro, 0, 0, 10)
    d = os.open(m.path, os.O_RDONLY)
    fails((errno.EBADF, errno.EISDIR), calls.fallocate, d, 0, 0, 10)
    fails(errno.EFBIG, calls.fallocate, fd, 0, 2 ** 62, 2 ** 62 - 1)
    for f in (fd, ro, d):
        os.close(f)


def test_punch_and_zero(box):
    m = box.mount()
    data = bytes(range(1, 251)) * 4000
    fd = new(m.path + "/f", data)
    want = bytearray(data)
    punch = calls.PUNCH_HOLE | calls.KEEP_SIZE
    for mode, at, n in ((punch, 4096, 8192), (punch, 100, 50),
                        (punch, 65535, 2), (punch, 0, 1),
                        (calls.ZERO_RANGE, 500000, 70000),
                        (calls.ZERO_RANGE | calls.KEEP_SIZE, 999000, 5000),
                        (punch, 990000, 100000)):
        calls.fallocate(fd, mode, at, n)
        end = min(at + n, len(want))
        want[at:end] = bytes(end - at)
        assert os.fstat(fd).st_size == len(want), (mode, at, n)
    assert os.pread(fd, 2 * M, 0) == bytes(want)
    calls.fallocate(fd, calls.ZERO_RANGE, 990000, 100000)
    want += bytes(90000)
    assert os.fstat(fd).st_size == len(want)
    os.close(fd)
    assert get(m.path + "/f") == bytes(want)
    m.remount(empty_cache=True)
    assert get(m.path + "/f") == bytes(want)


def extents(fd):
    """[(from, to)] of the data that SEEK_DATA and SEEK_HOLE show."""
    found, at, end = [], 0, os.fstat(fd).st_size
    while at < end:
        try:
            a = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as e:
            assert e.errno == errno.ENXIO
            break
        b = os.lseek(fd, a, os.SEEK_HOLE)
        assert a < b <= end, (a, b, end)
        found.append((a, b))
        at = b
    return found


def test_seek_holes(box):
    m = box.mount()
    fd = new(m.path + "/f")
    os.ftruncate(fd, 10 * M)
    assert extents(fd) == []
    fails(errno.ENXIO, os.lseek, fd, 0, os.SEEK_DATA)
    assert os.lseek(fd, 0, os.SEEK_HOLE) == 0
    os.pwrite(fd, b"x" * 4096, 1 * M)
    os.pwrite(fd, b"y" * 8192, 5 * M)
    want = [(1 * M, 1 * M + 4096), (5 * M, 5 * M + 8192)]
    assert extents(fd) == want, extents(fd)
    assert os.lseek(fd, 1 * M + 5, os.SEEK_DATA) == 1 * M + 5
    assert os.lseek(fd, 1 * M + 5, os.SEEK_HOLE) == 1 * M + 4096
    fails(errno.ENXIO, os.lseek, fd, 10 * M, os.SEEK_DATA)
    fails(errno.ENXIO, os.lseek, fd, 10 * M, os.SEEK_HOLE)
    fails(errno.ENXIO, os.lseek, fd, 6 * M, os.SEEK_DATA)
    calls.fallocate(fd, calls.PUNCH_HOLE | calls.KEEP_SIZE, 5 * M, 4096)
    want[1] = (5 * M + 4096, 5 * M + 8192)
    assert extents(fd) == want, extents(fd)
    os.close(fd)
    m.remount(empty_cache=True)
    fd = os.open(m.path + "/f", os.O_RDONLY)
    assert extents(fd) == want, extents(fd)
    os.close(fd)


def test_blocks_are_honest(box):
    m = box.mount()
    fd = new(m.path + "/sparse")
    os.ftruncate(fd, 1 << 30)
    assert os.fstat(fd).st_blocks <= 16
    os.pwrite(fd, b"z" * 65536, 512 * M)
    os.fsync(fd)
    assert 128 <= os.fstat(fd).st_blocks <= 128 + 16, os.fstat(fd).st_blocks
    calls.fallocate(fd, calls.PUNCH_HOLE | calls.KEEP_SIZE, 512 * M, 65536)
    assert os.fstat(fd).st_blocks <= 16, os.fstat(fd).st_blocks
    os.close(fd)
    put(m.path + "/full", b"q" * 100000)
    with open(m.path + "/full", "rb") as f:
        os.fsync(f.fileno())
    n = os.stat(m.path + "/full").st_blocks
    assert 196 <= n <= 208, n


def test_blocks_of_many_extents(box):
    """Also in a mount that knows only the attributes of it so far."""
    m = box.mount()
    fd = new(m.path + "/f")
    for i in range(200):
        os.pwrite(fd, os.urandom(8192), i * M)
    os.close(fd)
    m.remount(empty_cache=True)
    for look in range(2):
        n = os.stat(m.path + "/f").st_blocks
        assert 3200 <= n <= 3400, (look, n)
        assert len(get(m.path + "/f")) == 199 * M + 8192


def test_sparse_giant(box):
    """16 TiB less a block on ext4; here exactly to there as well."""
    m = box.mount()
    fd = new(m.path + "/giant")
    top = (1 << 44) - 4096
    os.pwrite(fd, b"end", top - 3)
    assert os.fstat(fd).st_size == top
    assert os.pread(fd, 10, top - 5) == b"\0\0end"
    assert os.pread(fd, 4, 1 << 43) == bytes(4)
    assert os.fstat(fd).st_blocks < 64
    os.close(fd)
    m.remount(empty_cache=True)
    fd = os.open(m.path + "/giant", os.O_RDWR)
    assert os.fstat(fd).st_size == top
    assert os.pread(fd, 10, top - 5) == b"\0\0end"
    os.ftruncate(fd, 10)
    assert os.fstat(fd).st_size == 10 and os.pread(fd, 99, 0) == bytes(10)
    os.close(fd)


def copy(fd_in, fd_out, n, at_in=0, at_out=0):
    done = 0
    while done < n:
        got = os.copy_file_range(fd_in, fd_out, n - done, at_in + done,
                                 at_out + done)
        if got == 0:
            break
        done += got
    return done


def test_copy_file_range(box):
    m = box.mount()
    data = os.urandom(3 * M + 777)
    a, b = new(m.path + "/a", data), new(m.path + "/b")
    assert copy(a, b, 10 * M) == len(data)
    assert os.pread(b, 10 * M, 0) == data
    want = bytearray(data)
    assert copy(a, b, 1000, 12345, 777777) == 1000
    want[777777:778777] = data[12345:13345]
    assert copy(a, b, 5000, 0, len(data) + 100) == 5000
    want += bytes(100) + data[:5000]
    assert os.pread(b, 10 * M, 0) == bytes(want)
    os.pwrite(a, b"changed", 12345)       # the copy does not follow
    assert os.pread(b, 1000, 777777) == data[12345:13345]
    assert copy(a, a, 1000, 0, 2 * M) == 1000
    fails(errno.EINVAL, os.copy_file_range, a, a, 1000, 0, 500)
    assert os.copy_file_range(a, b, 100, 10 * M, 0) == 0
    os.close(a)
    os.close(b)
    m.remount(empty_cache=True)
    assert get(m.path + "/b") == bytes(want)


def test_copy_keeps_holes_and_sends_nothing(box):
    m = box.mount()
    a = new(m.path + "/a", os.urandom(4 * M))
    os.ftruncate(a, 64 * M)
    if m.kind == "deeplake":
        m.flush()
        before = m.server.metrics()
    b = new(m.path + "/b")
    assert copy(a, b, 64 * M) == 64 * M
    os.fsync(b)
    assert os.pread(b, 4 * M, 0) == os.pread(a, 4 * M, 0)
    if m.kind == "deeplake":
        m.flush()
        grown = sum(v - before.get(k, 0) for k, v in
                    m.server.metrics().items()
                    if "bytes" in k and ("in" in k or "received" in k))
        assert grown < 256 * K, f"a copy of 4 MiB sent {grown} bytes"
        assert os.fstat(b).st_blocks * 512 <= 5 * M
    os.close(a)
    os.close(b)


def received(m):
    """Bytes that the server got so far, for what is dirty too."""
    m.flush()
    return m.server.metrics()["deeplake_bytes_in_total"]


def test_copy_of_a_gibibyte(box):
    """Its bytes are sent once; the copy sends registers, and so do its parts.

    The source is 16 MiB repeated by copies inside the file.
    """
    m = box.mount()
    harness.need(m.kind == "deeplake", "needs a table")
    part, size = os.urandom(16 * M), 1 << 30
    a, b = new(m.path + "/a", part), new(m.path + "/b")
    first = received(m)
    assert first > 16 * M, "the server counts no bytes of data"
    kept = m.status()["cache_bytes"]
    have = len(part)
    while have < size:
        assert copy(a, a, have, 0, have) == have
        have *= 2
    assert copy(a, b, size) == size
    grown = received(m) - first
    assert grown < 256 * K, f"copies of 1 GiB sent {grown} bytes"
    kept = m.status()["cache_bytes"] - kept
    assert kept < 8 * M, f"copies of 1 GiB took {kept} bytes of local disk"
    os.close(a)
    os.close(b)
    m.remount(empty_cache=True)
    with open(m.path + "/b", "rb", buffering=0) as f:
        assert os.fstat(f.fileno()).st_size == size
        for at in (0, 16 * M - 5, 777 * M + 3, size - 10):
            want = (part + part)[at % len(part):][:10]
            assert os.pread(f.fileno(), 10, at) == want, at
    used = used_bytes(os.statvfs(m.path))
    assert 2 * size <= used < 2 * size + M, used


def test_holes_cost_nothing(box):
    m = box.mount()
    harness.need(m.kind == "deeplake", "needs a table")
    m.flush()
    before = m.server.metrics()
    fd = new(m.path + "/holes")
    os.ftruncate(fd, 1 << 40)
    os.pwrite(fd, b"x", 1 << 39)
    os.close(fd)
    m.flush()
    grown = sum(v - before.get(k, 0) for k, v in m.server.metrics().items()
                if "bytes" in k and ("in" in k or "received" in k))
    assert grown < 64 * K, f"a hole of 1 TiB sent {grown} bytes"


def used_bytes(st):
    return (st.f_blocks - st.f_bfree) * st.f_frsize


def test_statfs_follows(box):
    m = box.mount()
    a = os.statvfs(m.path)
    for i in range(20):
        put(f"{m.path}/f{i}", os.urandom(1 * M))
    os.sync()
    fd = os.open(m.path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    b = os.statvfs(m.path)
    # free is what the server or an option says; used is what df shows
    used = ((b.f_blocks - b.f_bfree) - (a.f_blocks - a.f_bfree)) * a.f_frsize
    if m.kind == "deeplake":    # others write to the plain disk meanwhile
        assert 20 * M <= used <= 20 * M + 20 * 4096 + M, used
        assert (b.f_files - b.f_ffree) - (a.f_files - a.f_ffree) == 20
    assert b.f_bavail <= b.f_bfree < b.f_blocks
    out = box.run(["du", "-s", "-B1", m.path]).stdout.split()[0]
    assert 20 * M <= int(out) <= 20 * M + 32 * 4096, out
    out = box.run(["du", "-s", "-b", m.path]).stdout.split()[0]
    assert 20 * M <= int(out) <= 20 * M + 4 * 4096, out
    box.run(["df", m.path])
    box.run(["stat", "-f", m.path])


def test_du_of_small_files(box):
    """df and du agree with what was written, within a block a file."""
    m = box.mount()
    before = os.statvfs(m.path)
    sizes = [0, 1, 511, 512, 513, 4095, 4096, 4097, 10000, 70000] * 20
    for i, n in enumerate(sizes):
        put(f"{m.path}/f{i}", os.urandom(n))
    fd = os.open(m.path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    total, slack = sum(sizes), 4096 * (len(sizes) + 4)
    du = int(box.run(["du", "-s", "-B1", m.path]).stdout.split()[0])
    assert total <= du <= total + slack, (du, total)
    for i, n in enumerate(sizes):
        assert n <= os.stat(f"{m.path}/f{i}").st_blocks * 512 <= n + 4096
    if m.kind == "deeplake":    # others use the plain disk meanwhile
        after = os.statvfs(m.path)
        at_start = used_bytes(before)
        used = used_bytes(after) - at_start
        assert total <= used <= total + slack, (used, total)
        out = box.run(["df", "-B1", "--output=used", m.path]).stdout
        assert int(out.split()[1]) - at_start == used, out
        out = box.run(["stat", "-f", "-c", "%b %f %S %c %d", m.path]).stdout
        blocks, free, size, files, spare = map(int, out.split())
        assert (blocks - free) * size - at_start == used, out
        assert files - spare - (before.f_files - before.f_ffree) == len(sizes)
    for i in range(len(sizes)):
        os.unlink(f"{m.path}/f{i}")
    if m.kind == "deeplake":
        end = os.statvfs(m.path)
        assert used_bytes(end) == at_start, "removed files still count"
        assert end.f_files - end.f_ffree == before.f_files - before.f_ffree


if __name__ == "__main__":
    harness.main(globals())
