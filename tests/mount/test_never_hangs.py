#!/usr/bin/env python3
"""Promise 8: whatever the server does, everything ends by its deadline.

The server is stopped in the middle, refuses connections, answers 503 to all,
or is a black hole.  harness.py fails each test that leaves a process in D
state, a mount or a daemon behind.
"""
import concurrent.futures
import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time

import harness

MIB = 1 << 20
NOISE = r"(?i)unreachable|connect|refused|offline|timed? ?out|reset|server|" \
    r"not everything|unmounted|cancel"
# What a loaded machine may add to a deadline.
SLACK_S = 6

# Writes into a full cache until it is killed; says when it begins to wait.
WRITER = r"""
import os, sys, time
fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
data = os.urandom(int(sys.argv[2]))
while True:
    print("next", flush=True)
    os.write(fd, data)
"""


class Trouble:
    """A mount whose server can be made bad, in one of four ways."""

    def __init__(self, box, kind, options=None):
        harness.need(box.target == "deeplake", "needs a table")
        self.kind = kind
        self.rules = os.path.join(box.dir, "simulate.json")
        self.tell({})
        self.server = box.serve(args=["--simulate", self.rules])
        self.port = self.server.port
        self.link = harness.Link(box, self.server, 0.001)
        box.links.append(self.link)
        # Whoever refuses must be seen refusing: no proxy in between.
        home = None if kind == "refusing" else self.link.home("far")
        self.mount = box.mount(home=home, server=self.server, options=options)
        self.mount.allowed.append(NOISE)

    def tell(self, rules):
        with open(self.rules + ".new", "w") as f:
            json.dump(rules, f)
        os.rename(self.rules + ".new", self.rules)

    def begin(self):
        if self.kind == "stopped":
            os.kill(self.server.proc.pid, signal.SIGSTOP)
        elif self.kind == "refusing":
            self.server.stop()
        elif self.kind == "503":
            self.tell({"status_503": True})
            time.sleep(0.2)
        else:
            self.link.set_rtt(600)

    def end(self):
        if self.kind == "stopped":
            os.kill(self.server.proc.pid, signal.SIGCONT)
        elif self.kind == "refusing":
            self.server.start(self.port)
        elif self.kind == "503":
            self.tell({})
        else:
            self.link.set_rtt(0.001)


def took(what, start, limit):
    s = time.monotonic() - start
    print(f"  {what}: {s:.1f} s", flush=True)
    assert s < limit, f"{what} took {s:.1f} s"


def commands_end(box, kind):
    """flush, umount, SIGTERM: each by its deadline, and nothing is lost."""
    t = Trouble(box, kind, {"umount_timeout": "4"})
    m = t.mount
    with open(m.path + "/before", "wb") as f:
        f.write(b"b" * 100)
    m.flush()
    t.begin()
    with open(m.path + "/after", "wb") as f:
        f.write(b"a" * 300000)
    start = time.monotonic()
    r = m.deeplake("flush", m.path, "--timeout", "3", check=False)
    took("flush --timeout 3", start, 3 + SLACK_S)
    assert r.returncode == 5, (r.returncode, r.stderr)
    start = time.monotonic()
    r = m.deeplake("umount", m.path, "--timeout", "5", check=False)
    took("umount --timeout 5", start, 5 + SLACK_S)
    assert r.returncode == 5, (r.returncode, r.stderr)
    assert os.listdir(m.path), "not mounted any more"
    m.expected_status = 5
    pid, m.pid = m.pid, 0
    start = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    status = box.wait_child(pid, 60)
    took("SIGTERM", start, 4 + SLACK_S)
    assert status in (None, 5), status
    assert not harness.mounts_under(m.path)
    t.end()
    m.expected_status = 0
    m.up(init=False)
    with open(m.path + "/after", "rb") as f:
        assert f.read() == b"a" * 300000
    m.flush()


def test_commands_end_stopped(box):
    commands_end(box, "stopped")


def test_commands_end_refusing(box):
    commands_end(box, "refusing")


def test_commands_end_503(box):
    commands_end(box, "503")


def test_commands_end_hole(box):
    commands_end(box, "hole")


def table_commands(box, port, limit, word):
    """All at once: by the limit, with the status for it and the address."""
    tries = [(["query"], "SELECT 1"), (["grep"], "x"), (["fsck"],),
             (["gc"],), (["export"], box.dir + "/out"),
             (["destroy", "--yes"],), (["query"], "DELETE FROM absent")]

    def one(words):
        begun = time.monotonic()
        r = box.run([harness.built("deeplake"), *words[0], "absent",
                     *words[1:]], check=False)
        return words[0][0], time.monotonic() - begun, r

    with concurrent.futures.ThreadPoolExecutor(len(tries)) as pool:
        for name, seconds, r in pool.map(one, tries):
            print(f"  {name}: {seconds:.1f} s")
            assert seconds < limit + SLACK_S, f"{name} took {seconds:.1f} s"
            assert r.returncode == (8 if name == "fsck" else 4), \
                (name, r.returncode, r.stderr)
            assert word in r.stderr and str(port) in r.stderr, \
                (name, r.stderr)


def test_table_commands_end_silent(box):
    """A server that accepts and never answers: twice the patience."""
    t = Trouble(box, "stopped")
    t.begin()
    table_commands(box, t.port, 20, "no answer in time")
    t.end()


def test_table_commands_end(box):
    """With no server at all: 10 s."""
    harness.need(box.target == "deeplake", "needs a table")
    server = box.serve()
    m = box.mount(server=server)
    m.allowed.append(NOISE)
    with open(m.path + "/f", "w") as f:
        f.write("x")
    m.flush()
    server.stop()
    start = time.monotonic()
    harness.wait_for("the loss in status", lambda: any(
        "reached" in e for e in m.status()["errors"]), 5, 0.1)
    took("status", start, 5)
    table_commands(box, server.port, 10, "connect")
    server.start(server.port)
    m.flush()


def test_refusals_are_said(box):
    """The server's own word is in status, and credentials are not blamed for
    what they did not do."""
    t = Trouble(box, "503")
    for rules, word in (({"status_401": True}, "credentials"),
                        ({"status_402": True}, "credit or quota"),
                        ({"status_503": True}, "503")):
        t.tell(rules)
        with open(t.mount.path + "/f", "wb") as f:
            f.write(word.encode())
        harness.wait_for(word, lambda w=word: any(
            w in e for e in t.mount.status()["errors"]), 40)
    t.end()
    t.mount.flush()
    assert not t.mount.status()["errors"]


def waiting_writer(t, path, size=MIB):
    """A process that waits in write(2), for room in the cache."""
    p = subprocess.Popen([sys.executable, "-c", WRITER, path, str(size)],
                         stdout=subprocess.PIPE, text=True,
                         stderr=subprocess.DEVNULL, env=t.mount.box.env())
    assert p.stdout.readline(), "the writer did not start"
    said, at = 1, time.monotonic()
    os.set_blocking(p.stdout.fileno(), False)
    while time.monotonic() - at < 2:
        if p.stdout.readline():
            said, at = said + 1, time.monotonic()
        assert p.poll() is None, f"the writer ended with {p.returncode}"
        time.sleep(0.01)
    assert said > 4, "it never wrote"
    return p


def ends(p, what, limit=4):
    start = time.monotonic()
    try:
        p.wait(limit + 30)
    except subprocess.TimeoutExpired:
        state = harness.process_state(p.pid)
        raise AssertionError(f"{what}: still there, state {state}") from None
    finally:
        p.stdout.close()
    took(what, start, limit)


def full_cache(box, sig):
    t = Trouble(box, "stopped", {"cache_size": "16M", "umount_timeout": "3"})
    t.begin()
    p = waiting_writer(t, t.mount.path + "/f")
    p.send_signal(sig)
    ends(p, f"signal {sig} to a writer that waits")
    # The others go on.
    start = time.monotonic()
    os.mkdir(t.mount.path + "/d")
    os.rename(t.mount.path + "/f", t.mount.path + "/g")
    took("mkdir and rename in a full cache", start, 3)
    os.unlink(t.mount.path + "/g")
    t.end()
    t.mount.flush()


def test_waiting_writer_is_terminated(box):
    full_cache(box, signal.SIGTERM)


def test_waiting_writer_is_killed(box):
    full_cache(box, signal.SIGKILL)


def change(t, what, *args):
    """A process that makes one change; its status is the errno."""
    code = ("import os, sys\ntry: os." + what + "(*sys.argv[1:])\n"
            "except OSError as e: sys.exit(e.errno)")
    return subprocess.Popen(
        [sys.executable, "-c", code] + [t.mount.path + a for a in args],
        stdout=subprocess.PIPE, env=t.mount.box.env())


def waiting_names(t):
    """One of each kind of change, all of which wait for room.  Each in its own
    directory: the kernel holds the lock of one in which something changes."""
    path = t.mount.path
    for k in range(5):
        os.mkdir(f"{path}/d{k}")
    os.mkdir(path + "/other")
    os.symlink("x", path + "/d3/link")
    t.mount.flush()
    t.begin()
    # Little ones: nothing is left for a name either.
    writer = waiting_writer(t, path + "/other/f", 20000)
    found = [change(t, "mkdir", "/d0/new"), change(t, "mkfifo", "/d1/new"),
             change(t, "symlink", "/target", "/d2/new"),
             change(t, "rename", "/d3/link", "/d3/new"),
             change(t, "mknod", "/d4/new"), writer]
    time.sleep(2)
    assert [p.poll() for p in found] == [None] * len(found), \
        "some did not wait: " + str([p.poll() for p in found])
    start = time.monotonic()
    assert os.listdir(path + "/other") == ["f"]
    assert os.readlink(path + "/d3/link") == "x"
    took("others read", start, 2)
    return found


def test_names_wait_for_room(box):
    """mkdir, mknod, symlink, rename in a full cache: as slow as writes."""
    t = Trouble(box, "stopped", {"cache_size": "16M"})
    found = waiting_names(t)
    found[-1].kill()
    os.unlink(t.mount.path + "/other/f")    # never waits for room
    t.end()
    for p in found:
        ends(p, "a change, when the server came back", 15)
    assert [p.returncode for p in found[:-1]] == [0] * 5, \
        [p.returncode for p in found]
    t.mount.flush()
    t.mount.remount(empty_cache=True)
    assert [os.listdir(f"{t.mount.path}/d{k}") for k in range(5)] == \
        [["new"]] * 5


def test_waiting_names_are_interrupted(box):
    """By a signal; and all of them by the end of their patience."""
    t = Trouble(box, "stopped", {"cache_size": "16M"})
    found = waiting_names(t)
    for p in found[:2] + found[-1:]:
        p.kill()
    for p in found[:2] + found[-1:]:
        ends(p, "a killed change")
    for p in found[2:-1]:       # a request was given up, nothing leaves
        ends(p, "a change without hope", 40 + SLACK_S)
    assert [p.returncode for p in found[2:-1]] == [errno.ENOSPC] * 3, \
        [p.returncode for p in found]
    t.end()
    t.mount.flush()


def test_daemon_ends_with_waiting_names(box):
    t = Trouble(box, "stopped", {"cache_size": "16M", "umount_timeout": "3"})
    m = t.mount
    found = waiting_names(t)
    pid, m.pid = m.pid, 0
    start = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    for p in found:
        ends(p, "a change, when the daemon got SIGTERM", 5 + SLACK_S)
    box.wait_child(pid, 60)
    took("the daemon", start, 5 + SLACK_S)
    t.end()


def test_daemon_ends_with_waiting_writer(box):
    t = Trouble(box, "stopped", {"cache_size": "16M", "umount_timeout": "3"})
    m = t.mount
    t.begin()
    p = waiting_writer(t, m.path + "/f")
    pid, m.pid = m.pid, 0
    start = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    ends(p, "the writer, when the daemon got SIGTERM", 5 + SLACK_S)
    box.wait_child(pid, 60)
    took("the daemon", start, 5 + SLACK_S)
    t.end()


def test_daemon_killed_with_waiting_writer(box):
    t = Trouble(box, "stopped", {"cache_size": "16M"})
    t.begin()
    p = waiting_writer(t, t.mount.path + "/f")
    t.mount.kill()
    ends(p, "the writer, when the daemon was killed")
    t.end()


def test_daemon_ends_with_a_silent_client(box):
    """Who asks on the control socket and reads no answer, as a command that was
    stopped, does not keep the daemon from ending."""
    harness.need(box.target == "deeplake", "needs a table")
    m = box.mount()
    where = os.open(m.cache, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(f"/proc/self/fd/{where}/control")
        os.close(where)
        s.settimeout(1)
        try:
            while True:     # until the daemon waits to say more
                s.sendall(b'{"cmd": "status"}\n' * 100)
        except TimeoutError:
            pass
        start = time.monotonic()
        m.down()
        took("umount", start, 4 + SLACK_S)


def test_fsync_is_interrupted(box):
    t = Trouble(box, "stopped")
    t.begin()
    p = subprocess.Popen(
        [sys.executable, "-c", "import os, sys\n"
         "fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)\n"
         "os.write(fd, b'x')\nprint('now', flush=True)\nos.fsync(fd)\n",
         t.mount.path + "/f"], stdout=subprocess.PIPE, env=box.env())
    p.stdout.readline()
    time.sleep(0.5)
    assert p.poll() is None, "fsync did not have to wait"
    p.send_signal(signal.SIGTERM)
    ends(p, "SIGTERM during fsync")
    os.stat(t.mount.path + "/f")
    t.end()


def calls(top):
    """One of each kind of call, on files whose bytes are far."""
    def opened(name, func, flags=os.O_RDWR):
        fd = os.open(f"{top}/{name}", flags)
        try:
            return func(fd)
        finally:
            os.close(fd)

    return {
        "stat": lambda: os.stat(top + "/a"),
        "stat of none": lambda: os.path.exists(top + "/none"),
        "readdir": lambda: os.listdir(top),
        "statvfs": lambda: os.statvfs(top),
        "readlink": lambda: os.readlink(top + "/link"),
        "read": lambda: opened("b", lambda fd: os.read(fd, 100)),
        "write inside": lambda: opened("d", lambda fd: os.pwrite(fd, b"x", 9)),
        "append": lambda: opened("e", lambda fd: os.write(fd, b"x"),
                                 os.O_WRONLY | os.O_APPEND),
        "O_SYNC": lambda: opened("f", lambda fd: os.write(fd, b"x"),
                                 os.O_WRONLY | os.O_SYNC),
        "fsync": lambda: opened("g", os.fsync),
        "fsync of a directory": lambda: opened("synced", os.fsync,
                                               os.O_RDONLY),
        "truncate": lambda: os.truncate(top + "/h", 7),
        "fallocate": lambda: opened(
            "i", lambda fd: os.posix_fallocate(fd, 0, 1 << 19)),
        "lseek": lambda: opened("j", lambda fd: os.lseek(fd, 0, os.SEEK_HOLE)),
        "copy_file_range": lambda: opened("k", lambda a: opened(
            "new1", lambda b: os.copy_file_range(a, b, 70000),
            os.O_CREAT | os.O_RDWR)),
        "create": lambda: opened("new2", os.fstat, os.O_CREAT | os.O_RDWR),
        "O_TRUNC": lambda: opened("l", os.fstat, os.O_TRUNC | os.O_RDWR),
        "mkdir": lambda: os.mkdir(top + "/new3"),
        "mknod": lambda: os.mkfifo(top + "/new4"),
        "symlink": lambda: os.symlink("a", top + "/new5"),
        "link": lambda: os.link(top + "/m", top + "/new6"),
        "rename": lambda: os.rename(top + "/n", top + "/new7"),
        "unlink": lambda: os.unlink(top + "/o"),
        "rmdir": lambda: os.rmdir(top + "/dir"),
        "chmod": lambda: os.chmod(top + "/p", 0o600),
        "chown": lambda: os.chown(top + "/p", 1, 1),
        "utimens": lambda: os.utime(top + "/p", (1, 1)),
        "setxattr": lambda: os.setxattr(top + "/q", "user.a", b"b"),
        "getxattr": lambda: os.getxattr(top + "/r", "user.x"),
        "listxattr": lambda: os.listxattr(top + "/r"),
        "removexattr": lambda: os.removexattr(top + "/s", "user.x"),
        "flock": lambda: opened("t", lambda fd: fcntl.flock(
            fd, fcntl.LOCK_EX)),
        "lockf": lambda: opened("t", lambda fd: fcntl.lockf(
            fd, fcntl.LOCK_EX)),
    }


def every_call_ends(box, kind):
    """Each by the deadline of a request, with an answer or a clean error.

    The kernel holds a directory's lock while it is synced, so that one has
    nothing else in it; and a read(2) can be two requests, one after the other,
    for what could not be read ahead is asked for again.
    """
    deadline = 6
    t = Trouble(box, kind, {"read_timeout": deadline, "umount_timeout": "4",
                            "sync_timeout": deadline})
    m = t.mount
    for name in "abcdefghijklmnopqrst":
        with open(f"{m.path}/{name}", "wb") as f:
            f.write(os.urandom(100000))
        os.setxattr(f"{m.path}/{name}", "user.x", b"y")
    os.symlink("a", m.path + "/link")
    os.mkdir(m.path + "/dir")
    os.mkdir(m.path + "/synced")
    m.remount(empty_cache=True)
    m.allowed.append(NOISE)
    t.begin()

    def one(item):
        start, err = time.monotonic(), 0
        try:
            item[1]()
        except OSError as e:
            err = e.errno
        return item[0], time.monotonic() - start, err

    todo = calls(m.path)
    with concurrent.futures.ThreadPoolExecutor(len(todo)) as pool:
        found = list(pool.map(one, todo.items()))
    slow = [f"{name} {s:.1f} s" + (f" {errno.errorcode[err]}" if err else "")
            for name, s, err in found if s > 1 or err]
    print("  waited or failed: " + ", ".join(slow), flush=True)
    for name, seconds, err in found:
        assert seconds < 2 * deadline + SLACK_S, \
            f"{name} took {seconds:.1f} s"
        assert err in (0, errno.EIO, errno.ETIMEDOUT), \
            f"{name} ended with {errno.errorcode[err]}"
    assert "read" in {name for name, _, err in found if err}, \
        "a read of what is far succeeded: was the server bad at all?"
    t.end()
    m.flush(120)


def test_every_call_ends_stopped(box):
    every_call_ends(box, "stopped")


def test_every_call_ends_refusing(box):
    every_call_ends(box, "refusing")


def test_every_call_ends_503(box):
    every_call_ends(box, "503")


def test_every_call_ends_hole(box):
    every_call_ends(box, "hole")


def holes(path, n):
    """A file of so many extents that its map is in pages, and these in a
    pack; what is in it."""
    want = bytearray((n - 1) * 1024 + 512)
    with open(path, "wb", buffering=0) as f:
        for i in range(n):
            block = b"%08d" % i * 64
            f.seek(i * 1024)
            f.write(block)
            want[i * 1024:i * 1024 + 512] = block
    return want


def test_maps_that_are_far(box):
    """Truncate, seek and write wait for a far map, and nobody else does."""
    t = Trouble(box, "hole")
    m = t.mount
    for i in range(12):
        want = holes(f"{m.path}/f{i}", 1500)
    m.remount(empty_cache=True)
    os.stat(m.path + "/f0")
    t.begin()
    code = ("import os, sys\nfd = os.open(sys.argv[1], os.O_RDWR)\n"
            "i = int(sys.argv[2])\n"
            "print('now', flush=True)\n"
            "if i % 3 == 0: os.ftruncate(fd, 5000)\n"
            "elif i % 3 == 1: os.lseek(fd, 0, os.SEEK_HOLE)\n"
            "else: os.pwrite(fd, b'new', 100)\n")
    procs = [subprocess.Popen(
        [sys.executable, "-c", code, f"{m.path}/f{i}", str(i)],
        stdout=subprocess.PIPE, env=box.env()) for i in range(12)]
    for p in procs:
        p.stdout.readline()
    time.sleep(1)
    # The last of them may have come inside the row.
    waiting = [p for p in procs if p.poll() is None]
    assert len(waiting) >= 8, f"{len(waiting)} maps of 12 were far"
    start = time.monotonic()
    os.mkdir(m.path + "/d")
    os.listdir(m.path)
    took("mkdir and ls beside 12 that wait", start, 3)
    for p in waiting[:3]:
        p.send_signal(signal.SIGTERM)
        ends(p, "SIGTERM to one that waits")
    t.end()
    rest = [i for i, p in enumerate(procs) if p not in waiting[:3]]
    for i in rest:
        ends(procs[i], "one that waited", 90)
        assert procs[i].returncode == 0, procs[i].returncode
    for i in rest:
        with open(f"{m.path}/f{i}", "rb") as f:
            data = f.read()
        new = bytearray(want[:5000] if i % 3 == 0 else want)
        if i % 3 == 2:
            new[100:103] = b"new"
        assert data == new, f"f{i} has other bytes"


def test_far_map_survives_a_kill(box):
    """A write on a map that was just loaded, then SIGKILL: the rest stays."""
    harness.need(box.target == "deeplake", "needs a table")
    m = box.mount()
    want = holes(m.path + "/f", 300)
    m.remount(empty_cache=True)
    fd = os.open(m.path + "/f", os.O_RDWR)
    os.pwrite(fd, b"new", 100)
    os.close(fd)
    m.kill()
    m.up(init=False)
    want[100:103] = b"new"
    for empty in (False, True):
        with open(m.path + "/f", "rb") as f:
            assert f.read() == want, f"other bytes, empty cache: {empty}"
        if not empty:
            m.remount(empty_cache=True)


if __name__ == "__main__":
    harness.main(globals(), all_wait=True)
