#!/usr/bin/env python3
"""SIGKILL of the daemon, at every named point and at random, under load.

The daemon is built with -DDF_FAULT (make check-crash does); the points are
those that it lists.  DF_SHORT=1: a few dozen rounds in two minutes, some of
the points; else hundreds, and a point that was never reached is a failure.
SEED=n repeats a run's choices (not its timing).
"""
import os

from rig import Rig, harness, points

SHORT = os.environ.get("DF_SHORT") == "1"
SEED = int(os.environ.get("SEED", "1"))
MANY = 6.0          # seconds of load, for what happens seldom


def test_kill_at_random(box):
    rig = Rig(box, SEED)
    for i in range(10 if SHORT else 200):
        rig.round(None, i % 2 == 0)
    rig.report()
    assert rig.stats["operations"] > 10 * rig.stats["rounds"], \
        "too few operations between the kills to mean anything"
    assert rig.stats["fsyncs"], "no fsync succeeded"


def test_kill_with_a_small_cache(box):
    """Eviction under way: what goes must be nobody's only copy."""
    rig = Rig(box, SEED + 3, cache_size="16M")
    for i in range(4 if SHORT else 40):
        rig.round(None, i % 4 != 3, MANY)
    rig.report()


def test_kill_at_points(box):
    names = points()
    rig = Rig(box, SEED + 1, cache_size="16M")
    fired, missed = set(), set(names)
    if SHORT:
        names = rig.rng.sample(names, 12)
    for _ in range(1 if SHORT else 5):
        for name in names:
            n = rig.rng.choice([1, 2, 3, 5, 9])
            if rig.round(f"{name}:{n}:kill", rig.rng.random() < 0.5):
                fired.add(name)
    for name in sorted(set(names) - fired):     # seldom, or at a birth only
        for born in (False, True):
            if name not in fired and rig.round(f"{name}:1:kill", True, MANY,
                                               born):
                fired.add(name)
    missed = set(names) - fired - set(LOCAL)
    rig.report()
    print(f"  {len(fired)} of {len(names)} points fired; never: "
          + (" ".join(sorted(missed)) or "none"))
    assert not missed, f"never reached: {sorted(missed)}"


# Reached by fsync=local alone; at the how manieth time.
LOCAL = {"seg.fdatasync": (1, 2, 5), "seg.ahead": (1,)}


def test_kill_in_a_local_fsync(box):
    rig = Rig(box, SEED + 4, fsync="local")
    missed = [f"{name}:{n}" for name, times in LOCAL.items() for n in times
              if not rig.round(f"{name}:{n}:kill", True)]
    rig.report()
    assert not missed, f"never reached: {missed}"


def test_sync_then_nothing_lost(box):
    """fsync of a file and of a directory: all of it is in the table."""
    rig = Rig(box, SEED + 2)
    for _ in range(2 if SHORT else 10):
        rig.workers = [w.again() for w in rig.workers]
        for w in rig.workers:
            for _ in range(40):
                w.one()
        fd = os.open(rig.m.path, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
        for w in rig.workers:
            w.floor = len(w.ops)
        rig.die()
        rig.check(False)
    rig.report()
    assert not rig.stats["lost"]


def test_noted_row_whose_registers_are_in_packs(box):
    """What came after stands on it, though the row cannot be read at start:
    no conflict of this node with itself."""
    m = harness.Mount(box, "a", "deeplake", {"flush_delay": "3"}, None,
                      "data", box.serve())
    box.mounts.append(m)
    points()
    env = dict(box.env(), DF_FAULT="row.noted:2:kill")
    m.deeplake("init", "--table", "data", "--path", m.path, "-o",
               m.option_text(), env=env)
    m.pid = int(m.status()["pid"])
    with open(m.path + "/f0", "wb"):
        pass
    m.flush()                   # the first row
    for i in range(80):         # 160 kB of registers: not in the row
        with open(f"{m.path}/f{i}", "wb") as f:
            f.write(b"first %d" % i)
        os.setxattr(f"{m.path}/f{i}", "user.x", os.urandom(2000))
    pid, m.pid = m.pid, 0
    assert box.wait_child(pid, 30) == -9
    m.up()
    for i in range(80):
        with open(f"{m.path}/f{i}", "wb") as f:
            f.write(b"second %d" % i)
    m.remount(empty_cache=True)
    assert sorted(os.listdir(m.path)) == sorted(f"f{i}" for i in range(80)), \
        sorted(os.listdir(m.path))[:6]
    for i in range(80):
        with open(f"{m.path}/f{i}", "rb") as f:
            assert f.read() == b"second %d" % i


if __name__ == "__main__":
    os.umask(0)
    harness.main(globals())
