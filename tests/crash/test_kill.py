#!/usr/bin/env python3
"""SIGKILL of the daemon, at every named point and at random, under load.

The daemon is built with -DDF_FAULT (make check-crash does); the points are
those that the sources name.  LONG=1: hundreds of rounds; else a few dozen.
SEED=n repeats a run's choices (not its timing).
"""
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "mount"))
import harness                                          # noqa: E402
from history import Worker                              # noqa: E402

LONG = os.environ.get("LONG") == "1"
SEED = int(os.environ.get("SEED", "1"))
LOAD_S = 2.0        # how long a round writes, if nothing kills it before


def points():
    """Names of all df_fault() points in the daemon's sources."""
    names = set()
    for room in ("cache", "backend", "fs", "base"):
        top = os.path.join(harness.TOP, room)
        for name in os.listdir(top):
            if name.endswith(".c") and name != "fault.c":
                with open(os.path.join(top, name)) as f:
                    names |= set(re.findall(r'df_fault\("([\w.-]+)"\)',
                                            f.read()))
    return sorted(names)


class Rig:
    """A table, a mount that dies again and again, and its workers."""

    def __init__(self, box, seed):
        self.box, self.rng = box, random.Random(seed)
        self.server = box.serve()
        self.m = harness.Mount(box, "a", "deeplake", {}, None, "crash",
                               self.server)
        box.mounts.append(self.m)
        self.m.expected_status = 0
        self.plan = None
        run = self.m.deeplake
        self.m.deeplake = lambda *a, **kw: run(
            *a, **dict(kw, env=self.env()))
        self.up()
        self.workers = []
        for i in range(3):
            top = os.path.join(self.m.path, f"w{i}")
            os.mkdir(top)
            self.workers.append(Worker(top, self.rng.random(), i < 2))
        self.m.flush()
        self.stats = {"rounds": 0, "fired": 0, "operations": 0, "lost": 0,
                      "fsyncs": 0}

    def env(self):
        env = self.box.env()
        if self.plan:
            env["DF_FAULT"] = self.plan
        return env

    def up(self):
        """Mount; a dead mount point of the last round is taken over."""
        try:
            self.m.up()
        except AssertionError:
            if not self.plan:
                raise           # with a plan it may die while it mounts
            return False
        return True

    def die(self):
        """The daemon's end by SIGKILL: its own or ours; was it its own?"""
        pid, self.m.pid = self.m.pid, 0
        if not pid:
            return True
        own = harness.process_state(pid) in ("Z", "")
        if not own:
            os.kill(pid, signal.SIGKILL)
        code = self.box.wait_child(pid, 30)
        if code not in (-signal.SIGKILL, None):
            raise AssertionError(f"the daemon ended with status {code}: "
                                 + harness.tail(self.m.log))
        return own

    def load(self, seconds, random_kill):
        self.workers = [w.again() for w in self.workers]
        for w in self.workers:
            w.peers = self.workers
            w.start()
        end = time.monotonic() + seconds
        if random_kill:
            end = time.monotonic() + self.rng.uniform(0.01, seconds)
        while time.monotonic() < end and \
                any(w.is_alive() for w in self.workers):
            time.sleep(0.005)
        own = self.die()
        for w in self.workers:
            w.halt.set()
            w.join(30)
            if w.is_alive():
                raise AssertionError(f"a call hangs: {w.under_way}")
            if w.failure:
                raise AssertionError(w.failure)
        return own

    def check(self, kept):
        if not kept:
            time.sleep(0.3)     # what is on its way to the server arrives
            self.clear_dead()
            shutil.rmtree(self.m.cache)
            os.makedirs(self.m.cache)
        self.plan = None
        assert self.up(), "it does not mount again"
        for w in self.workers:
            self.stats["operations"] += len(w.ops)
            self.stats["fsyncs"] += sum(op[0] == "fsync" for op in w.ops)
            self.stats["lost"] += w.meet(kept)
            if not os.path.isdir(w.top):
                os.mkdir(w.top)

    def clear_dead(self):
        if harness.mounts_under(self.m.path):
            subprocess.run(["umount", "-i", "-l", self.m.path], check=False,
                           stderr=subprocess.DEVNULL)

    def round(self, plan, kept):
        """One life under load, its end, and what is left of it."""
        self.stats["rounds"] += 1
        if plan:
            self.die()
            self.plan = plan
            if self.up():
                own = self.load(LOAD_S, False)
            else:
                own = True
        else:
            own = self.load(LOAD_S, True)
        self.stats["fired"] += bool(plan and own)
        try:
            self.check(kept)
        except AssertionError as e:
            raise AssertionError(f"after {plan or 'a random kill'}, disk "
                                 f"{'kept' if kept else 'gone'}: {e}") from e
        return own

    def report(self):
        print("  " + ", ".join(f"{n} {k}" for k, n in self.stats.items()),
              flush=True)


def test_kill_at_random(box):
    rig = Rig(box, SEED)
    for i in range(200 if LONG else 14):
        rig.round(None, i % 2 == 0)
    rig.report()
    assert rig.stats["operations"] > 10 * rig.stats["rounds"], \
        "too few operations between the kills to mean anything"
    assert rig.stats["fsyncs"], "no fsync succeeded"


def test_kill_at_points(box):
    names = points()
    harness.need(names, "the sources name no points")
    rig = Rig(box, SEED + 1)
    fired = set()
    for turn in range(6 if LONG else 1):
        for name in names:
            n = rig.rng.choice([1, 2, 3, 5, 9])
            if rig.round(f"{name}:{n}:kill", rig.rng.random() < 0.5):
                fired.add(name)
    rig.report()
    print("  never reached: " + (" ".join(sorted(set(names) - fired))
                                 or "none"))
    assert rig.stats["fired"], "no point was reached: is it built with " \
        "-DDF_FAULT?"


def test_sync_then_nothing_lost(box):
    """fsync of a file and of a directory: all of it is in the table."""
    rig = Rig(box, SEED + 2)
    for _ in range(10 if LONG else 3):
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


if __name__ == "__main__":
    os.umask(0)
    harness.main(globals())
