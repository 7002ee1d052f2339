#!/usr/bin/env python3
"""A local disk that fails: each kind of call, at the n-th time, until the
workload runs through; once, and from then on for ever.

Whatever happens, an operation is answered with an error that says so or is
kept, the daemon lives, and the next mount has everything that was answered.
The daemon is built with -DDF_FAULT.  DF_SHORT=1: fewer n.
"""
import errno
import os
import random
import re
import time

from history import Worker, digest, found
from rig import harness, points

SHORT = os.environ.get("DF_SHORT") == "1"
SEED = int(os.environ.get("SEED", "1"))
OPS = 50
EVERY = "fold.every:1:set"    # each transaction is synced
CLEAN = (errno.EIO, errno.ENOSPC, errno.ETIMEDOUT)
NOISE = r"injected|error|journal|segment|local database|fold|cannot be written"


class Disk:
    """One volume that lives through many faulty lives."""

    def __init__(self, box, **options):
        self.box, self.server = box, box.serve()
        self.m = harness.Mount(box, "a", "deeplake",
                               dict(options, cache_size="64M",
                                    sync_timeout=5), None, "data",
                               self.server)
        self.m.allowed.append(NOISE)
        box.mounts.append(self.m)
        self.plan, self.said, self.run = "", "", self.m.deeplake
        self.m.deeplake = self.deeplake
        self.rng = random.Random(SEED)
        self.m.up()
        os.mkdir(self.m.path + "/w")
        self.worker = Worker(self.m.path + "/w", self.rng.random())
        self.faults = {}
        self.stats = {"lives": 0, "faults": 0, "errors": 0, "operations": 0}

    def deeplake(self, *args, **kw):
        """With the plan; what the daemon says before it is in the background
        is kept."""
        try:
            r = self.run(*args, **dict(kw, env=dict(self.box.env(),
                                                    DF_FAULT=self.plan + "," + EVERY)))
        except AssertionError as e:
            self.said += str(e)
            raise
        self.said += r.stderr
        return r

    def injected(self):
        with open(self.m.log, errors="replace") as f:
            return (f.read() + self.said).count("injected at")

    def look(self):
        """What is there; a read may fail, and is then tried again."""
        for _ in range(20):
            try:
                return found(self.worker.top)
            except OSError as e:
                assert e.errno in CLEAN, f"a read ended with {e}"
        return None             # the disk is gone for good

    def operate(self):
        """Some operations; how many ended with an error."""
        w, bad = self.worker, 0
        for _ in range(OPS):
            try:
                w.one()
                self.stats["operations"] += 1
            except OSError as e:
                assert e.errno in CLEAN or "bytes of" in str(e), \
                    f"{w.under_way[:2]} ended with {e}"
                bad += 1
                if not self.settle(w) or bad > 5:
                    break
        time.sleep(1)           # the database is written meanwhile
        self.stats["errors"] += bad
        return bad

    def settle(self, w):
        """An operation failed.  If nothing of it shows, go on; else only the
        next life shows whether it was kept."""
        is_ = self.look()
        if is_ is None or self.m.status()["failsafe"] or digest(is_) != w.digests[-1]:
            return False
        w.under_way = None
        return True

    def life(self, plan):
        """One life with a plan; how many faults were injected in it."""
        self.stats["lives"] += 1
        self.worker = self.worker.again()
        before = self.injected()
        self.m.kill()
        self.plan = plan
        try:
            self.m.up()
        except AssertionError as e:
            assert re.search("mount|cache|open|journal|disk|space|input", str(e),
                             re.I), f"a refusal that says nothing: {e}"
        else:
            self.operate()
            assert harness.process_state(self.m.pid) not in ("Z", ""), \
                "the daemon died: " + harness.tail(self.m.log)
            self.m.kill()
        self.plan = ""
        fired = self.injected() - before
        self.stats["faults"] += fired
        kind = plan.split(":")[0] + ":" + plan.split(":")[2]
        self.faults[kind] = self.faults.get(kind, 0) + fired
        self.m.up()
        try:
            self.worker.meet(True)
            # the disk is never thrown away: nobody asks for the past
            self.worker.rewind(len(self.worker.ops))
        except AssertionError as e:
            raise AssertionError(f"after {plan}: {e}") from e
        self.m.deeplake("status", self.m.path, "--clear")
        return fired

    def report(self):
        harness.counted("rounds", "disk", self.stats)
        harness.counted("faults", "disk", self.faults)
        assert self.stats["faults"], "no fault was injected"


def steps():
    """1, 2, 3 ...; in the short form ever longer steps."""
    n, step = 1, 1
    while n < 4000:
        yield n
        n, step = n + step, step * 3 if SHORT else max(1, n // 4)


def loop(box, names, whats, forever=False, **options):
    disk = Disk(box, **options)
    have = set(points())
    for name in names:
        assert name in have, f"{name} is no point of this build"
        for what in whats:
            fired = 0
            for n in steps():
                once = disk.life(f"{name}:{n}{'+' if forever else ''}:{what}")
                fired += once
                if not once:
                    break
            assert fired, f"{name} was never reached"
    disk.report()


def test_journal_and_data_files(box):
    loop(box, ["seg.pwrite", "seg.put"], ["EIO", "ENOSPC", "short"])


def test_making_files(box):
    loop(box, ["seg.create", "seg.head", "seg.next", "seg.fallocate"],
         ["EIO", "ENOSPC"])


def test_reading(box):
    loop(box, ["seg.pread", "seg.open"], ["EIO"])


def test_sync(box):
    loop(box, ["seg.fdatasync"], ["EIO"], fsync="local")


def test_sqlite(box):
    loop(box, ["sql.write", "sql.sync", "sql.truncate"],
         ["EIO", "ENOSPC", "short"])


def test_sqlite_reads(box):
    loop(box, ["sql.read", "sql.open"], ["EIO"])


def test_a_disk_that_stays_broken(box):
    loop(box, ["seg.pwrite", "seg.put", "sql.write"], ["EIO", "ENOSPC"],
         forever=True)


if __name__ == "__main__":
    os.umask(0)
    harness.main(globals())
