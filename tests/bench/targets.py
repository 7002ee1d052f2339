"""What is measured: the disk, the yardsticks and deeplakefs, side by side."""
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))), "mount"))
import harness  # noqa: E402

WORK = "tests/bench/work"


class Target:
    """A directory on one of: disk, pass, ll, floor, keep, deep, deep-local.

    ll is libfuse's own passthrough_ll, keep the floor that keeps bytes, and
    deep-local deeplakefs with fsync=local.
    """

    def __init__(self, box, kind, server=None, options=None):
        self.box, self.kind, self.server = box, kind, server
        self.options = options or {}
        self.mount = None
        self.turn = 0
        self.top = os.path.join(box.dir, "mnt-" + kind)
        self.source = os.path.join(box.dir, "src-" + kind)

    def up(self):
        os.makedirs(self.top, exist_ok=True)
        os.makedirs(self.source, exist_ok=True)
        start = getattr(self, "up_" + self.kind.replace("-", "_"))
        start()
        self.prime()
        return self

    def up_disk(self):
        pass

    def up_pass(self):
        self.start("pass", f"source={self.source}")

    def up_ll(self):
        self.start("passthrough_ll", f"source={self.source},cache=always")
        # it serves its source under the path of the source's root
        inside = self.top + self.source
        if os.path.isdir(inside):
            self.top = inside

    def up_floor(self):
        self.start("floor", "fsname=floor")

    def up_keep(self):
        self.start("floor", "fsname=keep,keep")

    def start(self, program, options):
        prog = harness.built("tests/bench/" + program)
        self.box.run([prog, "-o", options
                      + ",allow_other,default_permissions", self.top])

    def up_deep(self, **more):
        options = dict(self.options, **more)
        self.mount = self.box.mount("bench-" + self.kind, "deeplake",
                                    options, server=self.server,
                                    table="bench_"
                                    + self.kind.replace("-", "_"))
        self.top = self.mount.path

    def up_deep_local(self):
        self.up_deep(fsync="local")

    def prime(self):
        """One file opened: the kernel knows that OPEN is declined."""
        name = os.path.join(self.top, "prime")
        for flags in (os.O_CREAT | os.O_WRONLY, os.O_RDONLY):
            os.close(os.open(name, flags))
        os.unlink(name)
        os.listdir(self.top)

    def fresh(self):
        """A new empty directory to work in."""
        self.turn += 1
        path = os.path.join(self.top, f"turn{self.turn}")
        os.mkdir(path)
        return path

    def work(self, op, path, **settings):
        """(seconds, operations) of one timed loop."""
        args = [f"{k}={v}" for k, v in settings.items()]
        out = self.box.run([harness.built(WORK), op, path] + args,
                           timeout=1200).stdout.split()
        return float(out[0]), int(out[1])

    def settle(self):
        """Nothing of ours runs on in the background when this returns."""
        if self.mount:
            self.mount.flush(timeout=600)
        os.sync()

    def clear(self, path):
        shutil.rmtree(path, ignore_errors=True)
        self.settle()

    def down(self):
        if self.mount:
            self.mount.down()
        elif self.kind != "disk":
            point = os.path.join(self.box.dir, "mnt-" + self.kind)
            if harness.mounts_under(point):
                subprocess.run(["umount", point], check=True)
