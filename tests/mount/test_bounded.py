#!/usr/bin/env python3
"""Promises 8 and 9: nothing hangs, and nothing grows without end.

LONG=1: 100,000 files instead of 20,000 and a million besides, and more bytes
through the cache.
"""
import concurrent.futures
import errno
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import harness

LONG = harness.LONG
MIB = 1 << 20
NOISE = r"(?i)unreachable|connect|refused|offline|timed? ?out|reset|server"


def disk_used(path):
    total = 0
    for top, _, files in os.walk(path):
        for name in files:
            try:
                total += os.lstat(os.path.join(top, name)).st_blocks * 512
            except FileNotFoundError:
                pass            # evicted while we look
    return total


def rss(pid):
    with open(f"/proc/{pid}/status") as f:
        for line in f:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} is gone")


def block(i):
    """A MiB that does not compress and is known without keeping it."""
    return random.Random(i).randbytes(MIB)


def test_cache_smaller_than_the_data(box):
    """A slow uplink slows the writer down; the cache keeps its limit."""
    harness.need(box.target == "deeplake", "needs a table")
    m = box.far(0.005, mbit=400, options={"cache_size": "16M"})
    count = 256 if LONG else 64
    most = 0
    for i in range(count):
        with open(f"{m.path}/f{i % 8}", "ab") as f:
            f.write(block(i))
        most = max(most, disk_used(m.cache))
    m.flush(300)
    assert most <= 24 * MIB, f"the cache had {most >> 20} MiB on disk"
    assert m.status()["dirty_bytes"] == 0, m.status()
    for k in range(8):
        with open(f"{m.path}/f{k}", "rb") as f:
            for i in range(k, count, 8):
                assert f.read(MIB) == block(i), f"file {k}, block {i}"
            assert f.read() == b""


@harness.waits
def test_slow_uplink_slows(box):
    """10 Mbit/s: twice the cache goes through it; no write fails."""
    harness.need(box.target == "deeplake", "needs a table")
    m = box.far(0.05, mbit=10, options={"cache_size": "16M"})
    count = 128 if LONG else 32
    start = time.monotonic()
    for i in range(count):
        with open(f"{m.path}/f{i}", "wb") as f:
            f.write(block(i))
    took = time.monotonic() - start
    # What does not fit into the cache has to pass the link (base64).
    least = (count - 16) * MIB * 4 / 3 * 8 / 10e6
    print(f"  {count} MiB in {took:.0f} s, at least {least:.0f} s")
    assert took > least * 0.8, "the link did not slow anybody down"
    m.flush(300)
    for i in range(count - 1, -1, -11):
        with open(f"{m.path}/f{i}", "rb") as f:
            assert f.read() == block(i), i


@harness.waits
def test_slow_uplink_slows_names(box):
    """What makes and moves names beside a writer is slowed down, too."""
    harness.need(box.target == "deeplake", "needs a table")
    m = box.far(0.05, mbit=10, options={"cache_size": "8M"})
    writing, failed = threading.Event(), []
    writing.set()

    def write():
        try:    # 16 KiB each: until nothing is left for a name either
            with open(m.path + "/big", "wb", buffering=0) as f:
                for i in range(32 if LONG else 16):
                    data = block(i)
                    for at in range(0, MIB, 16384):
                        f.write(data[at:at + 16384])
        except OSError as e:
            failed.append(f"write: {e}")
        writing.clear()

    def names(k):
        top, i = f"{m.path}/n{k}", 0
        try:
            os.mkdir(top)
            while writing.is_set():
                i += 1
                os.mkdir(f"{top}/d{i}")
                os.close(os.open(f"{top}/d{i}/f", os.O_CREAT | os.O_EXCL))
                os.link(f"{top}/d{i}/f", f"{top}/hard{i}")
                os.symlink("x" * 3000, f"{top}/soft{i}")
                os.setxattr(f"{top}/hard{i}", "user.x", bytes(30000))
                os.chmod(f"{top}/d{i}", 0o700)
                os.rename(f"{top}/soft{i}", f"{top}/d{i}/soft")
        except OSError as e:
            failed.append(f"names {i}: {e}")

    threads = [threading.Thread(target=write)] + [
        threading.Thread(target=names, args=(k,)) for k in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed, failed
    m.flush(300)
    assert not m.status()["errors"], m.status()["errors"]


class Whole(threading.Thread):
    """Writes a MiB as programs do: what a short count leaves, once more."""

    def __init__(self, top, i):
        super().__init__(daemon=True)
        self.path, self.i, self.counts, self.failure = f"{top}/p{i}", i, [], ""

    def run(self):
        data = memoryview(block(self.i))
        fd = os.open(self.path, os.O_CREAT | os.O_WRONLY, 0o644)
        try:
            while data:
                n = os.write(fd, data)
                self.counts.append(n)
                data = data[n:]
        except OSError as e:
            self.failure = str(e)
        os.close(fd)


def test_many_writers_wait(box):
    """Each that waits has its bytes in the daemon: not all of 160 MiB."""
    harness.need(box.target == "deeplake", "needs a table")
    harness.need("san" not in harness.BUILD, "sanitizers take memory")
    m = box.far(0.005, mbit=200, options={"cache_size": "16M", "view": "off"})
    for i in range(16):
        with open(f"{m.path}/f{i}", "wb") as f:
            f.write(block(1000 + i))
    before = most = rss(m.pid)
    writers = [Whole(m.path, i) for i in range(160)]
    for w in writers:
        w.start()
    while any(w.is_alive() for w in writers):
        most = max(most, rss(m.pid))
        time.sleep(0.02)
    failed = [w.failure for w in writers if w.failure]
    assert not failed, failed[:3]
    short = sum(len(w.counts) > 1 for w in writers)
    print(f"  {before >> 20} MiB resident, {most >> 20} at most; "
          f"{short} writers had short counts")
    assert most - before <= 72 * MIB
    assert short, "nobody waited behind 16 MiB"
    m.flush(300)
    for w in writers[::7]:
        with open(w.path, "rb") as f:
            assert f.read() == block(w.i), w.i


def test_threads_in_a_small_cache(box):
    """Large, small and overwriting writes at once, each more than it holds."""
    harness.need(box.target == "deeplake", "needs a table")
    m = box.far(0.005, mbit=200, options={"cache_size": "16M"})
    rounds = 60 if LONG else 20
    failed = []

    def work(k):
        want = bytearray(2 * MIB)
        rng = random.Random(k)
        try:
            fd = os.open(f"{m.path}/t{k}", os.O_CREAT | os.O_RDWR)
            for _ in range(rounds):
                size = rng.choice([4096, 65536, 200000, MIB])
                at = rng.randrange(0, len(want) - size)
                data = rng.randbytes(size)
                assert os.pwrite(fd, data, at) == size
                want[at:at + size] = data
            os.fsync(fd)
            end = os.fstat(fd).st_size
            assert os.pread(fd, end, 0) == want[:end], f"t{k} differs"
            os.close(fd)
        except (OSError, AssertionError) as e:
            failed.append(f"thread {k}: {e}")

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed, failed
    assert not m.status()["errors"], m.status()["errors"]


def share(source, target):
    """Another file of the same bytes, of which the kernel has no page."""
    with open(source, "rb") as f, open(target, "wb") as g:
        while os.copy_file_range(f.fileno(), g.fileno(), 1 << 30):
            pass


def test_reads_push_each_other_out(box):
    """In a cache full of unsent bytes a read keeps what it has of its range
    while the rest is fetched."""
    harness.need(box.target == "deeplake", "needs a table")
    rules = box.dir + "/simulate.json"
    harness.put(rules, b"{}")
    server = box.serve(args=["--simulate", rules])
    part, count = MIB // 8, 64
    whole = b"".join(block(i)[:part] for i in range(count))
    other = box.mount("b", server=server)
    with open(other.path + "/a", "wb", buffering=0) as f:
        for i in range(count):      # a pack each
            f.write(whole[i * part:(i + 1) * part])
            os.fsync(f.fileno())
    m = box.mount("a", server=server, options={"cache_size": "8M"})
    m.allowed.append(NOISE)
    harness.put(rules, b'{"rules": [{"what": "latency_ms", "kind": "insert",'
                       b' "value": 8000}]}')

    def write():
        with open(m.path + "/w", "wb") as f:
            for i in range(12):
                f.write(block(100 + i))

    full = threading.Thread(target=write)
    full.start()
    harness.wait_for("a full cache", lambda: m.status()["dirty_bytes"]
                     > 7 * MIB)
    try:
        with open(m.path + "/a", "rb", buffering=0) as f:
            for i in range(60):     # one part, then all around it
                at, fd = i % 7 * MIB, f.fileno()
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
                os.pread(fd, 4096, at + i % 8 * part)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_NORMAL)
                assert os.pread(fd, MIB, at) == whole[at:at + MIB]
    finally:
        harness.put(rules, b"{}")
        full.join()


def test_reads_from_a_full_cache(box):
    """What was fetched is read before others push it out: slow, no EIO."""
    harness.need(box.target == "deeplake", "needs a table")
    m = box.far(0.01, options={"cache_size": "8M"})
    count = 256 if LONG else 64
    with open(m.path + "/a", "wb") as f:
        for i in range(count):
            f.write(block(i))
    failed, reading = [], threading.Event()
    reading.set()

    def read(k):
        try:
            fd = os.open(f"{m.path}/b{k}", os.O_RDONLY)
            for n in range(count):
                i = (n + k * 2) % count
                if os.pread(fd, MIB, i * MIB) != block(i):
                    failed.append(f"MiB {i} of b{k} differs")
            os.close(fd)
        except OSError as e:
            failed.append(f"b{k}: {e}")

    def write():
        i = 0
        try:
            while reading.is_set():
                with open(f"{m.path}/w{i % 4}", "wb") as f:
                    f.write(block(count + i % 8))
                i += 1
        except OSError as e:
            failed.append(f"write {i}: {e}")

    threads = [threading.Thread(target=read, args=(k,)) for k in range(6)]
    for k in range(6):
        share(m.path + "/a", f"{m.path}/b{k}")
    writer = threading.Thread(target=write)
    for t in threads + [writer]:
        t.start()
    for t in threads:
        t.join()
    reading.clear()
    writer.join()
    assert not failed, failed[:5]
    m.flush(300)
    harness.wait_for("a cache within its limit again",
                     lambda: disk_used(m.cache) < 24 * MIB)


@harness.takes_minutes
def test_ten_gib_through_one(box):
    """10 GiB through a cache of 1 GiB, its limit kept."""
    harness.need(box.target == "deeplake", "needs a table")
    m = box.mount(options={"cache_size": "1G"})
    most = 0
    with open(m.path + "/big", "wb", buffering=0) as f:
        for i in range(10240):
            assert f.write(block(i)) == MIB
            if i % 32 == 0:
                most = max(most, disk_used(m.cache))
    m.flush(600)
    memory = rss(m.pid)
    print(f"  cache at most {most >> 20} MiB, {memory >> 20} MiB resident")
    assert most < 1100 * MIB, f"{most >> 20} MiB on disk"
    assert memory < 128 * MIB, f"{memory >> 20} MiB resident"
    with open(m.path + "/big", "rb") as f:
        for i in range(0, 10240, 97):
            f.seek(i * MIB)
            assert f.read(MIB) == block(i), f"MiB {i}"
    assert disk_used(m.cache) < 1100 * MIB


def test_no_core(box):
    """The token is in memory: no core file, nobody else reads it."""
    harness.need(box.target == "deeplake", "needs a daemon")
    harness.need("dbg" not in harness.BUILD and "san" not in harness.BUILD,
                 "release builds only")
    m = box.mount()
    with open(f"/proc/{m.pid}/limits") as f:
        core = [line.split()[4:6] for line in f if "core file" in line]
    assert core == [["0", "0"]], core


def fill(path):
    """Write MiBs until there is no room; how many were taken."""
    for i in range(64):
        fd = os.open(f"{path}/full{i}", os.O_CREAT | os.O_WRONLY)
        try:
            data, at = block(i), 0
            while at < MIB:
                at += os.write(fd, data[at:])
        except OSError as e:
            assert e.errno == errno.ENOSPC, e
            return i
        finally:
            os.close(fd)
    raise AssertionError("64 MiB went into a cache of 16 without a server")


@harness.waits
def test_offline_until_full(box):
    """Without a server: ENOSPC at the limit; removing works; nothing lost."""
    harness.need(box.target == "deeplake", "needs a table")
    server = box.serve()
    m = box.mount(server=server, options={"cache_size": "16M"})
    m.allowed.append(NOISE)
    with open(m.path + "/first", "wb") as f:
        f.write(b"first" * 1000)
    m.flush()
    port = server.port
    server.stop()
    start = time.monotonic()
    taken = fill(m.path)
    assert 8 <= taken <= 20, f"{taken} MiB fit into a cache of 16 MiB"
    assert time.monotonic() - start < 30, "a full cache was noticed late"
    assert any("reach" in e or "full" in e for e in m.status()["errors"]), \
        m.status()["errors"]
    os.truncate(f"{m.path}/full0", 100)
    os.unlink(f"{m.path}/full1")
    os.rename(f"{m.path}/full2", f"{m.path}/renamed")
    with open(m.path + "/first", "rb") as f:
        assert f.read() == b"first" * 1000
    server.start(port)
    m.flush()
    with open(m.path + "/after", "wb") as f:
        f.write(block(99))
    m.remount(empty_cache=True)
    with open(m.path + "/full0", "rb") as f:
        assert f.read() == block(0)[:100]
    assert not os.path.exists(m.path + "/full1")
    for i, name in [(2, "renamed"), (99, "after")] + \
            [(i, f"full{i}") for i in range(3, taken)]:
        with open(f"{m.path}/{name}", "rb") as f:
            assert f.read() == block(i), name


@harness.waits
def test_blocked_read_is_interrupted(box):
    """A read that waits for a dead network ends with the signal."""
    harness.need(box.target == "deeplake", "needs a table")
    m = box.far(0.001)
    m.allowed.append(NOISE)
    with open(m.path + "/f", "wb") as f:
        f.write(block(1))
    m.remount(empty_cache=True)
    os.stat(m.path + "/f")
    m.link.set_rtt(30)
    p = subprocess.Popen(["cat", m.path + "/f"], stdout=subprocess.PIPE)
    try:
        time.sleep(1)
        assert p.poll() is None, "the read did not have to wait"
        start = time.monotonic()
        assert os.listdir(m.path) == ["f"], "others wait as well"
        p.send_signal(signal.SIGINT)
        p.wait(5)
        assert time.monotonic() - start < 5
    finally:
        p.kill()
        p.stdout.close()
        p.wait()
        m.link.set_rtt(0.001)


def memory_after(box, count):
    """Make count small files, look at each; most MiB that were resident."""
    harness.need(box.target == "deeplake", "needs a table")
    harness.need("san" not in harness.BUILD, "sanitizers take memory")
    m = box.mount()
    most = 0
    for i in range(count):
        if i % 1000 == 0:
            os.mkdir(f"{m.path}/d{i // 1000}")
            most = max(most, rss(m.pid))
        fd = os.open(f"{m.path}/d{i // 1000}/file-{i}",
                     os.O_CREAT | os.O_WRONLY)
        os.write(fd, b"%d" % i)
        os.close(fd)
    m.flush(600)
    for top, _, files in os.walk(m.path):
        most = max(most, rss(m.pid))
        for name in files:
            os.lstat(os.path.join(top, name))
    used = rss(m.pid)
    most = max(most, used)
    print(f"  {count} files: {used >> 20} MiB resident, {most >> 20} at most")
    fds = len(os.listdir(f"/proc/{m.pid}/fd"))
    assert fds < 256, f"{fds} descriptors"
    return most >> 20


# Makes files until it is killed, and says how many it has.
MAKER = r"""
import os, sys
top, i = sys.argv[1], 0
while True:
    i += 1
    os.mknod(f"{top}/{i}", 0o644)
    os.write(1, b"%d\n" % i)
"""


def last_said(p, said):
    """What a maker says when it has said nothing for two seconds."""
    at, end = time.monotonic(), time.monotonic() + 9
    while time.monotonic() - at < 2:
        line = p.stdout.readline()
        while line:
            said, at = int(line), time.monotonic()
            line = p.stdout.readline()
        assert time.monotonic() < end, f"it never had to wait: {said} files"
        time.sleep(0.01)
    return said


def test_changes_wait_for_the_database(box):
    """What SQLite lacks is in memory: makers wait before it is too much."""
    harness.need(box.target == "deeplake", "needs a table")
    m = box.mount()
    db = sqlite3.connect(m.cache + "/fold.db", isolation_level=None)
    os.mkdir(m.path + "/d")
    os.mkdir(m.path + "/e")
    p = subprocess.Popen([sys.executable, "-c", MAKER, m.path + "/d"],
                         stdout=subprocess.PIPE, text=True)
    os.set_blocking(p.stdout.fileno(), False)
    try:
        time.sleep(0.2)
        db.execute("BEGIN IMMEDIATE")       # less than SQLite's patience
        made = last_said(p, 0)
        assert os.listdir(m.path + "/e") == [], "reading waits as well"
        p.kill()
        assert p.wait(2) == -signal.SIGKILL
        start = time.monotonic()
        db.execute("ROLLBACK")
        os.unlink(f"{m.path}/d/{made}")
        took = time.monotonic() - start
        print(f"  waited after {made} files, {rss(m.pid) >> 20} MiB resident;"
              f" went on after {took:.1f} s")
        assert 1000 < made < 20000, f"{made} files before it had to wait"
        assert took < 5, f"removing took {took:.1f} s"
    finally:
        p.kill()
        p.wait()
        p.stdout.close()
        db.close()
    m.flush()
    names = os.listdir(m.path + "/d")
    assert len(set(names) & {str(i) for i in range(1, made)}) == made - 1
    assert not m.status()["errors"], m.status()["errors"]


def test_file_descriptors(box):
    """Many open files, a cache that evicts, many readers: few of ours."""
    harness.need(box.target == "deeplake", "needs a table")
    m = box.mount(options={"cache_size": "32M"})

    def used():
        return len(os.listdir(f"/proc/{m.pid}/fd"))

    most, before, count = 0, used(), 800
    held = []
    for i in range(count):
        held.append(os.open(f"{m.path}/f{i}", os.O_CREAT | os.O_RDWR))
        assert os.write(held[-1], block(i)[:128 << 10]) == 128 << 10
        most = max(most, used())
    m.flush(300)

    def read(k):
        for i in range(k, count, 20):
            with open(f"{m.path}/f{i}", "rb") as f:
                assert f.read() == block(i)[:128 << 10], f"f{i}"

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        reads = [pool.submit(read, k) for k in range(20)]
        while not all(r.done() for r in reads):
            most = max(most, used())
            time.sleep(0.01)
        for r in reads:
            r.result()
    for fd in held:
        os.close(fd)
    print(f"  {before} descriptors at first, {most} at most, {used()} now, "
          f"for {count} open files")
    assert most < 128, f"{most} descriptors"


def test_memory(box):
    count = 100000 if LONG else 20000
    most = memory_after(box, count)
    assert most < 64, f"{most} MiB for {count} files"


@harness.takes_minutes
def test_memory_of_a_million(box):
    most = memory_after(box, 1000000)
    assert most < 128, f"{most} MiB for a million files"


if __name__ == "__main__":
    harness.main(globals())
