#!/usr/bin/env python3
"""A cache directory that somebody damaged, took away, or uses already."""
import errno
import os
import shutil
import sqlite3
import subprocess
import time

from rig import harness

NOISE = r"(?i)set aside|segment|journal|database|damaged|not what was written|lost|read again|no whole data"


def filled(box):
    """A mount that was taken down; all of it is in the table."""
    m = box.mount()
    m.allowed.append(NOISE)
    for i in range(40):
        with open(f"{m.path}/f{i}", "wb") as f:
            f.write(b"%d " % i * (20000 if i % 4 == 0 else 10))
    m.down()
    return m


def whole(m):
    m.up()
    assert len(os.listdir(m.path)) == 40
    for i in range(40):
        with open(f"{m.path}/f{i}", "rb") as f:
            assert f.read() == b"%d " % i * (20000 if i % 4 == 0 else 10), i
    m.down()


def files(m, tail):
    found = [os.path.join(d, n) for d, _, names in os.walk(m.cache)
             for n in names if n.endswith(tail)]
    assert found, f"no file ends with {tail}"
    return found


def test_deleted(box):
    m = filled(box)
    shutil.rmtree(m.cache)
    whole(m)


def test_truncated(box):
    m = filled(box)
    for tail in (".j", ".d", ".f", "fold.db", "inline.db", "checkpoint",
                 "view.queue"):
        for path in [p for d, _, ns in os.walk(m.cache)
                     for p in (os.path.join(d, n) for n in ns)
                     if p.endswith(tail)]:
            os.truncate(path, os.path.getsize(path) // 2)
        whole(m)


def flip(path, first):
    with open(path, "r+b") as f:
        for at in range(first, os.path.getsize(path), 3001):
            f.seek(at)
            byte = f.read(1)
            f.seek(at)
            f.write(bytes([byte[0] ^ 0x41]) if byte else b"")


def test_bits_flipped(box):
    m = filled(box)
    for tail, first in ((".j", 64), ("fold.db", 3)):
        for path in files(m, tail):
            flip(path, first)
        whole(m)


def test_bits_flipped_that_still_decode(box):
    """One bit of each object: its sum knows, where decoding does not."""
    m = filled(box)
    db = sqlite3.connect(m.cache + "/fold.db")
    rows = db.execute("SELECT nid, data FROM obj WHERE nid > 1").fetchall()
    assert len(rows) == 40, len(rows)
    for i, (nid, data) in enumerate(rows):
        at = (17 + i) % len(data)  # from behind the id on
        data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]
        db.execute("UPDATE obj SET data = ? WHERE nid = ?", (data, nid))
    db.commit()
    db.close()
    m.up()
    unnoticed = []
    for i in range(40):
        try:
            os.stat(f"{m.path}/f{i}")
            unnoticed.append(i)
        except OSError as e:
            assert e.errno == errno.EIO, e
    assert not unnoticed, unnoticed
    m.down()
    whole(m)


def test_object_damaged(box):
    """What only a read finds is said by EIO, and mended by the next mount."""
    m = filled(box)
    db = sqlite3.connect(m.cache + "/fold.db")
    db.execute("UPDATE obj SET data = X'FFFFFFFFFFFF' WHERE nid > 1")
    db.commit()
    db.close()
    m.up()
    try:
        os.stat(m.path + "/f7")
        assert False, "read from nonsense"
    except OSError as e:
        assert e.errno == errno.EIO, e
    m.down()
    whole(m)


def test_damaged_with_unsent_names(box):
    """What only the database and the journal know is not evicted for bytes that
    the server has."""
    m = box.mount(options={"cache_size": "16M", "flush_delay": "600"})
    m.allowed.append(NOISE)
    big, small = os.urandom(24 << 20), os.urandom(4096)
    with open(m.path + "/big", "wb") as f:
        f.write(big)
    for i in range(40):
        with open(f"{m.path}/f{i}", "wb") as f:
            f.write(b"%d" % i)
    m.flush()
    time.sleep(1.5)
    os.mkdir(m.path + "/first")     # leaves at once
    harness.wait_for("the first change", lambda: not m.status()["dirty_files"])
    for i in range(20):
        os.rename(f"{m.path}/f{i}", f"{m.path}/g{i}")
    for i in range(20, 30):
        os.unlink(f"{m.path}/f{i}")
    with open(m.path + "/again", "wb", buffering=0) as f:
        for _ in range(800):       # the journal goes on in new segments
            os.pwrite(f.fileno(), small, 0)
    assert m.status()["dirty_files"], "they were sent: nothing is shown"
    for i in range(40):             # the database has it, and is synced
        os.chmod(m.path + "/again", 0o600 + i % 2)
        time.sleep(0.25)
    for _ in range(2):
        harness.drop_caches()
        with open(m.path + "/big", "rb") as f:
            assert f.read() == big
        time.sleep(1)
    m.kill()
    with open(m.cache + "/fold.db.damaged", "wb"):
        pass
    m.up()
    want = {f"g{i}" for i in range(20)} | {f"f{i}" for i in range(30, 40)}
    assert set(os.listdir(m.path)) == want | {"big", "first", "again"}, \
        sorted(os.listdir(m.path))
    m.flush()


def set_version(m, version):
    """Of the database; returns the one it had."""
    db = sqlite3.connect(m.cache + "/fold.db")
    old = db.execute("PRAGMA user_version").fetchone()[0]
    db.execute(f"PRAGMA user_version = {version}")
    db.close()
    return old


def test_other_format(box):
    """An older and a newer cache are refused, and left as they were."""
    m = filled(box)
    ours = set_version(m, 99)
    refused(m, "99", "cache_dir")
    set_version(m, ours - 1)
    refused(m, f"version {ours - 1}", "cache_dir")
    set_version(m, ours)
    whole(m)


def test_used_already(box):
    m = box.mount()
    other = harness.Mount(box, "other", "deeplake", {"cache_dir": m.cache},
                          None, "data", m.server)
    r = m.deeplake("init", "--table", "data", "--path", other.path, "-o",
                   other.option_text(), check=False)
    assert r.returncode != 0 and str(m.pid) in r.stderr, r.stderr


def test_no_directory(box):
    """A file in its place: named, with what to do."""
    m = filled(box)
    shutil.rmtree(m.cache)
    with open(m.cache, "w") as f:
        f.write("not a directory")
    r = m.deeplake("init", "--table", "data", "--path", m.path, "-o",
                   m.option_text(), check=False)
    assert r.returncode != 0 and m.cache in r.stderr, r.stderr
    os.unlink(m.cache)
    os.mkdir(m.cache)
    whole(m)


def refused(m, *words):
    """init fails, says these words, and leaves no mount behind."""
    r = m.deeplake("init", "--table", "data", "--path", m.path, "-o",
                   m.option_text(), check=False)
    assert r.returncode != 0, "it was mounted"
    for word in words:
        assert word in r.stderr, (word, r.stderr)
    assert not harness.mounts_under(m.path)


def test_read_only(box):
    """On a disk that takes no writes: refused, named; nothing is harmed."""
    m = filled(box)
    subprocess.run(["mount", "--bind", m.cache, m.cache], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", m.cache], check=True)
        refused(m, m.cache, "Read-only", "cache_dir")
    finally:
        subprocess.run(["umount", m.cache], check=True)
    whole(m)


def give(box, m, uid):
    """The mount point, HOME and the log, to who mounts next."""
    os.chown(m.path, uid, uid)
    os.chown(m.log, uid, uid)
    for top, _, names in os.walk(box.home):
        for name in ["."] + names:
            os.chown(os.path.join(top, name), uid, uid)
    m.run_as = uid


def test_owned_by_somebody_else(box):
    """A user's mount does not take root's cache for its own."""
    harness.need(os.geteuid() == 0, "needs a second user")
    m = filled(box)
    give(box, m, 1000)
    for mode in (0o700, 0o755, 0o777):
        os.chmod(m.cache, mode)
        refused(m, m.cache, "cache_dir")
    os.chmod(m.cache, 0o700)
    give(box, m, 0)
    whole(m)


if __name__ == "__main__":
    harness.main(globals())
