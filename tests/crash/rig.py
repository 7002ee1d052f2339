"""A table and a mount that dies again and again under load; see history.py."""
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "mount"))
import harness                                          # noqa: E402
from history import Worker                              # noqa: E402

LOAD_S = 2.0        # how long a round writes, if nothing kills it before
# Checkpoints after a few rows, database syncs after a few transactions.
OFTEN = "ckpt.rows:8:set,ckpt.wait_ms:200:set,fold.every:2:set"


def points():
    """Names of all fault points, as the daemon lists them."""
    r = subprocess.run([harness.built("deeplake")], text=True, check=False,
                       env={"DF_FAULT": "list"}, capture_output=True)
    harness.need("seg.pwrite" in r.stdout.split(),
                 "built without -DDF_FAULT: no points")
    return r.stdout.split()


class Other(threading.Thread):
    """A second mount that lives, so that there is something to merge."""

    def __init__(self, box, server):
        super().__init__(daemon=True)
        self.m = box.mount("b", home=box.new_home("b"), server=server)
        os.mkdir(self.m.path + "/other")
        self.halt, self.count, self.failure = threading.Event(), 0, None

    def run(self):
        while not self.halt.wait(0.05):
            try:
                with open(f"{self.m.path}/other/{self.count % 20}", "w") as f:
                    f.write(f"{self.count}")
                self.count += 1
            except OSError as e:
                self.failure = f"the mount that lives: {e}"
                return

    def end(self, first):
        """Stop; in the end both mounts show the same."""
        self.halt.set()
        self.join(30)
        assert not self.failure, self.failure
        first.flush()
        self.m.flush()
        harness.wait_for("equal trees", lambda: not harness.same_tree(
            first.path, self.m.path, False), 30, 1)


class Rig:
    """A table, a mount that dies again and again, and its workers."""

    def __init__(self, box, seed, **options):
        self.box, self.rng = box, random.Random(seed)
        self.server = box.serve()
        self.m = harness.Mount(box, "a", "deeplake", options, None, "data",
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
        self.fired = {}     # point: how often the daemon died there
        self.stats = {"rounds": 0, "kills": 0, "fired": 0, "operations": 0, "lost": 0,
                      "fsyncs": 0}
        self.other = Other(box, self.server)
        self.other.start()

    def env(self):
        """Every life has the plan OFTEN, besides the round's."""
        plan = ",".join(filter(None, (self.plan, OFTEN)))
        return dict(self.box.env(), DF_FAULT=plan)

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
        self.stats["kills"] += 1
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

    def lose_disk(self):
        # What is on its way to the server arrives, and is done there (this
        # question is a request, too).
        time.sleep(0.3)
        harness.wait_for("an idle server", lambda: self.server.metrics()[
            "deeplake_in_flight"] <= 1, 30)
        self.clear_dead()
        shutil.rmtree(self.m.cache)
        os.makedirs(self.m.cache)

    def check(self, kept):
        if not kept:
            self.lose_disk()
        self.plan = None
        assert self.up(), "it does not mount again"
        for w in self.workers:
            new = w.ops[w.before:]
            w.before = len(w.ops)
            self.stats["operations"] += len(new)
            self.stats["fsyncs"] += sum(op[0] == "fsync" for op in new)
            self.stats["lost"] += w.meet(kept)
            if not os.path.isdir(w.top):
                os.mkdir(w.top)

    def clear_dead(self):
        if harness.mounts_under(self.m.path):
            subprocess.run(["umount", "-i", "-l", self.m.path], check=False,
                           stderr=subprocess.DEVNULL)

    def begin(self, plan, born):
        """A life with a plan; born: in a cache that knows nothing."""
        if born:
            self.m.flush()
            for w in self.workers:
                w.floor = len(w.ops)
        self.die()
        if born:
            self.lose_disk()
        self.plan = plan
        return self.up()

    def round(self, plan, kept, seconds=LOAD_S, born=False):
        """One life under load, its end, and what is left of it."""
        self.stats["rounds"] += 1
        if not plan:
            own = self.load(seconds, True)
        else:
            own = not self.begin(plan, born) or self.load(seconds, False)
        if plan:
            point = plan.split(":")[0]
            self.stats["fired"] += own
            self.fired[point] = self.fired.get(point, 0) + own
        try:
            self.check(kept)
        except AssertionError as e:
            raise AssertionError(f"after {plan or 'a random kill'}, disk "
                                 f"{'kept' if kept else 'gone'}: {e}") from e
        return own

    def report(self):
        self.other.end(self.m)
        harness.counted("rounds", "kill", dict(
            self.stats, writes_of_a_second_mount=self.other.count))
        if self.fired:
            harness.counted("faults", "points", self.fired)
