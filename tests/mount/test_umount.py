#!/usr/bin/env python3
"""Ways to unmount, with a server that takes five seconds for an answer.

Whoever was told "done" finds all of it in a fresh mount; whoever was told
"not yet" (status 5) is still mounted and has lost nothing.  The helpers are in
/usr/sbin of a mount namespace of our own (sbin.py).
"""
import ctypes
import os
import signal
import subprocess
import time

import harness
import sbin

SLOW_S = 5
NOISE = r"(?i)unreachable|connect|refused|offline|timed? ?out|reset|server"


def mount_slow(box, name="a", data=b"x" * 300000, options=None, run_as=0):
    """A mount with unsent changes, behind a link that is slow from now on."""
    harness.need(box.target == "deeplake", "needs a table")
    m = box.far(0.001, name=name, options=options, run_as=run_as)
    m.allowed.append(NOISE)
    m.link.set_rtt(SLOW_S)
    for i in range(20):
        m.as_owner(["sh", "-c", 'cat > "$0"', f"{m.path}/f{i}"],
                   stdin=f"{i}" + data.decode())
    return m


def found_elsewhere(box, want=20, data=b"x" * 300000):
    """What a fresh mount with an empty cache sees, on the quick link."""
    m = box.mount(f"check{len(box.mounts)}", server=box.servers[0])
    try:
        names = os.listdir(m.path)
        assert len(names) == want, f"{len(names)} of {want} files"
        for name in names:
            with open(f"{m.path}/{name}", "rb") as f:
                assert f.read() == name[1:].encode() + data, name
    finally:
        m.down()


def test_deeplake_umount(box):
    m = mount_slow(box)
    start = time.monotonic()
    m.deeplake("umount", m.path, "--timeout", "100", timeout=120)
    assert time.monotonic() - start > SLOW_S * 0.8
    assert not harness.mounts_under(m.path)
    m.reap()
    found_elsewhere(box)


def test_timeout_keeps_it_mounted(box):
    m = mount_slow(box)
    start = time.monotonic()
    r = m.deeplake("umount", m.path, "--timeout", "1", check=False)
    assert r.returncode == 5, (r.returncode, r.stdout, r.stderr)
    assert time.monotonic() - start < 5
    assert harness.mounts_under(m.path), "unmounted with unsent changes"
    assert len(os.listdir(m.path)) == 20
    m.link.set_rtt(0.001)
    m.deeplake("umount", m.path, "--timeout", "60", timeout=70)
    m.reap()
    found_elsewhere(box)


def test_flush_then_umount_is_quick(box):
    m = mount_slow(box)
    m.deeplake("flush", m.path, "--timeout", "100", timeout=120)
    start = time.monotonic()
    m.deeplake("umount", m.path, timeout=60)
    assert time.monotonic() - start < 3 * SLOW_S
    m.reap()
    found_elsewhere(box)


def test_sigterm(box):
    """SIGTERM ends the daemon; its status says whether all was flushed."""
    m = mount_slow(box)
    os.kill(m.pid, signal.SIGTERM)
    pid, m.pid = m.pid, 0
    code = box.wait_child(pid, 100)
    assert code in (0, 5), f"status {code}"
    assert not harness.mounts_under(m.path)
    if code == 5:
        m.link.set_rtt(0.001)
        m.up(init=False)
        m.deeplake("umount", m.path, timeout=60)
        m.reap()
    found_elsewhere(box)


# ---- umount(8), which calls our helper

def waits(box, cmd):
    """cmd returns when all is in the table and the daemon has ended."""
    m = mount_slow(box)
    start = time.monotonic()
    box.run(cmd + [m.path], timeout=120)
    assert time.monotonic() - start > SLOW_S * 0.8, "it did not wait"
    assert not harness.mounts_under(m.path)
    m.reap(timeout=1)
    found_elsewhere(box)


def test_umount(box):
    waits(box, ["umount"])


def test_umount_helper_by_name(box):
    waits(box, ["umount.fuse.deeplakefs"])


def test_umount_helper_for_people(box):
    waits(box, ["umount.deeplakefs"])


def test_umount_in_time_or_not_at_all(box):
    """The flush failed: status 5, still mounted, and nothing is lost."""
    m = mount_slow(box, options={"umount_timeout": 2})
    r = box.run(["umount", m.path], check=False)
    assert r.returncode == 5, (r.returncode, r.stderr)
    assert "still mounted" in r.stderr, r.stderr
    assert len(os.listdir(m.path)) == 20
    m.link.set_rtt(0.001)
    m.flush()
    box.run(["umount", m.path])
    m.reap(timeout=1)
    found_elsewhere(box)


def at_once(box, unmount):
    """unmount(mount) waits for nothing; the daemon sends the rest and ends."""
    m = mount_slow(box)
    start = time.monotonic()
    unmount(m)
    assert time.monotonic() - start < 2, "it waited"
    assert not harness.mounts_under(m.path)
    assert harness.process_state(m.pid), "the daemon has gone with the mount"
    m.reap(timeout=100)
    found_elsewhere(box)


def test_umount_force(box):
    at_once(box, lambda m: box.run(["umount", "-f", m.path]))


def test_umount_lazy(box):
    at_once(box, lambda m: box.run(["umount", "-l", m.path]))


def test_deeplake_umount_lazy(box):
    at_once(box, lambda m: m.deeplake("umount", m.path, "--lazy"))


# ---- the mount goes away in a way that tells nobody

def umount2(path, flags=0):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(os.fsencode(path), flags):
        raise OSError(ctypes.get_errno(), path)


def test_umount2(box):
    at_once(box, lambda m: umount2(m.path))


def test_umount2_detach(box):
    at_once(box, lambda m: umount2(m.path, 2))


def test_umount_internal(box):
    at_once(box, lambda m: box.run(["umount", "-i", m.path]))


def test_umount_internal_lazy(box):
    at_once(box, lambda m: box.run(["umount", "-i", "-l", m.path]))


def test_umount_recursive(box):
    at_once(box, lambda m: box.run(["umount", "-i", "-R", m.path]))


def test_fusermount(box):
    harness.need_program("fusermount3")
    at_once(box, lambda m: box.run(["fusermount3", "-u", m.path]))


def test_busybox(box):
    harness.need_program("busybox")
    at_once(box, lambda m: box.run(["busybox", "umount", m.path]))


def test_deadline(box):
    """Sending after the mount has gone ends; the next mount goes on."""
    m = mount_slow(box, options={"umount_timeout": 2})
    box.run(["umount", "-i", m.path])
    pid, m.pid = m.pid, 0
    assert box.wait_child(pid, SLOW_S + 5) == 5
    m.link.set_rtt(0.001)
    m.up(init=False)
    assert len(os.listdir(m.path)) == 20
    m.down()
    found_elsewhere(box)


def test_a_user(box):
    """fusermount3 unmounts for who is not root; the command waits as well."""
    harness.need(os.geteuid() == 0, "becoming a user wants root")
    harness.need_program("setpriv", "fusermount3")
    harness.need(os.path.exists("/etc/mtab"),
                 "fusermount3 reads /etc/mtab, which is not here")
    m = mount_slow(box, options={"log_file": "syslog"}, run_as=65534)
    start = time.monotonic()
    m.deeplake("umount", m.path, timeout=120)
    assert time.monotonic() - start > SLOW_S * 0.8, "it did not wait"
    assert not harness.mounts_under(m.path)
    m.reap(timeout=1)
    found_elsewhere(box)


def test_next_mount_takes_over(box):
    """The daemon still sends; the same path and cache are mounted again."""
    m = mount_slow(box)
    pid = m.pid
    box.run(["umount", "-i", m.path])
    m.link.set_rtt(0.05)
    m.deeplake("mount", m.path, timeout=100)
    m.pid = int(m.status()["pid"])
    if m.pid != pid:
        box.wait_child(pid, 60)
    assert len(os.listdir(m.path)) == 20
    m.flush()
    m.down()
    found_elsewhere(box)


def test_busy_is_refused(box):
    m = mount_slow(box)
    m.link.set_rtt(0.001)
    with open(m.path + "/f0", "rb"):
        r = m.deeplake("umount", m.path, check=False)
        assert r.returncode == 1, (r.returncode, r.stderr)
        assert "busy" in r.stderr.lower(), r.stderr
        assert harness.mounts_under(m.path)
    m.down()
    found_elsewhere(box)


def test_killed_daemon_is_taken_over(box):
    """ENOTCONN at the mount point; the next mount clears and replays it."""
    m = mount_slow(box)
    pid, m.pid = m.pid, 0
    os.kill(pid, signal.SIGKILL)
    box.wait_child(pid)
    try:
        os.listdir(m.path)
        raise AssertionError("the dead mount still answers")
    except OSError:
        pass
    m.link.set_rtt(0.001)
    m.up(init=False)
    assert len(os.listdir(m.path)) == 20
    m.down()
    found_elsewhere(box)


def test_bind_mount(box):
    """Unmounting a bind mount of it neither flushes nor ends anything."""
    m = mount_slow(box)
    bind = box.plain("bind")
    box.run(["mount", "--bind", m.path, bind])
    start = time.monotonic()
    box.run(["umount", bind])
    assert time.monotonic() - start < 2
    assert len(os.listdir(m.path)) == 20
    m.link.set_rtt(0.001)
    m.down()
    found_elsewhere(box)


def test_all(box):
    """umount --all takes every mount that there is in this namespace."""
    harness.need(box.target == "deeplake", "needs a table")
    mounts = [box.mount(n, table="t_" + n) for n in "abc"]
    for m in mounts:
        with open(m.path + "/f", "w") as f:
            f.write("x")
    mounts[0].deeplake("umount", "--all", timeout=60)
    for m in mounts:
        assert not harness.mounts_under(m.path)
        m.reap()
    mounts[0].deeplake("mount", "--all", timeout=60)
    for m in mounts:
        assert os.listdir(m.path) == ["f"]
        m.pid = int(m.status()["pid"])


def test_while_written(box):
    """A writer goes on until umount gets through; nothing answered is lost."""
    harness.need(box.target == "deeplake", "needs a table")
    m = box.mount()
    done = box.dir + "/done"
    script = ("i=0; while [ $i -lt 400 ]; do echo $i > $1/f$i 2>/dev/null "
              "&& echo f$i >> $2 || exit 0; i=$((i+1)); done")
    with subprocess.Popen(["sh", "-c", script, "sh", m.path, done],
                          cwd="/") as p:
        time.sleep(0.2)
        for _ in range(200):
            r = m.deeplake("umount", m.path, check=False)
            if r.returncode == 0:
                break
            time.sleep(0.05)
        p.wait(60)
    m.reap()
    below = set(os.listdir(m.path))         # written after it was gone
    m.up(init=False)
    with open(done) as f:
        told = set(f.read().split())
    assert told - below <= set(os.listdir(m.path)), "an answered file is gone"


if __name__ == "__main__":
    harness.main(globals(), True, lambda: sbin.helpers(
        os.path.join(harness.BUILD, "deeplake")))
