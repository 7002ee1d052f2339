"""Programs on a mount: time, against the disk and the passthrough."""
import os
import shutil
import sys
import time

import harness
import material
from table import Row

ROWS = (  # key, name, n
    ("tar", "tar x of a source tree", 0.6),
    ("cp", "cp -r of it", 0.6),
    ("rsync", "rsync -a of it", 0.6),
    ("grep", "grep -r through it", 0.8),
    ("rm", "rm -rf of it", 0.8),
    ("clone", "git clone", 1.0),
    ("status", "git status", 1.0),
    ("checkout", "git checkout of another branch", 1.0),
    ("gc", "git gc", 1.0),
    ("make", "make -j2", 1.0),
    ("npm", "npm install", 1.0),
    ("pip", "pip install", 1.0),
    ("sqlite", "sqlite3: 10,000 rows, one transaction, fsync=local", 1.0),
    ("sqlite-each", "sqlite3: a row a transaction, fsync=local", 0.8),
)


def timed(box, cmd, cwd, stdin=None, check=True, env=None):
    start = time.perf_counter()
    box.run(cmd, cwd=cwd, stdin=stdin, check=check, timeout=900, env=env)
    return time.perf_counter() - start


class Programs:
    def __init__(self, box, files, small=False):
        self.box = box
        self.tar = material.tarball(files)
        self.tree = material.source_tree(files)
        self.repo = material.repository(files)
        self.project = material.c_project()
        self.small = small
        self.skipped = {}
        self.npm = self.maybe("npm", material.npm_cache)
        self.wheels = self.maybe("pip", material.wheels)

    def maybe(self, key, get):
        try:
            return None if self.small else get()
        except harness.Skip as e:
            self.skipped[key] = str(e)
            return None

    def files(self, d):
        t, box = {}, self.box
        os.mkdir(d + "/tree")
        t["tar"] = timed(box, ["tar", "xf", self.tar, "-C", "tree"], d)
        t["cp"] = timed(box, ["cp", "-r", "tree", "copy"], d)
        t["rsync"] = timed(box, ["rsync", "-a", self.tree + "/", "sync/"], d)
        t["grep"] = timed(box, ["grep", "-rc", "zzyzx", "tree"], d,
                          check=False)
        t["rm"] = timed(box, ["rm", "-rf", "tree"], d)
        shutil.rmtree(d + "/copy")
        shutil.rmtree(d + "/sync")
        return t

    def git(self, d):
        t, box, c = {}, self.box, d + "/clone"
        t["clone"] = timed(box, ["git", "clone", "-q", "file://" + self.repo,
                                 c], d)
        t["status"] = timed(box, ["git", "status", "--porcelain"], c)
        t["checkout"] = timed(box, ["git", "checkout", "-q", "other"], c)
        t["gc"] = timed(box, ["git", "gc", "-q"], c)
        shutil.rmtree(c)
        return t

    def builds(self, d):
        t, box = {}, self.box
        if not self.small:
            shutil.copytree(self.project, d + "/p")
            t["make"] = timed(box, ["make", "-j2", "-s"], d + "/p")
        if self.npm:
            mine = box.dir + "/npm-cache"
            if not os.path.exists(mine):
                shutil.copytree(self.npm, mine)
            os.mkdir(d + "/app")
            t["npm"] = timed(box, ["npm", "install", "--cache", mine,
                                   "--offline", "--no-audit", "--no-fund",
                                   "--ignore-scripts"]
                             + list(material.NPM_PACKAGES), d + "/app")
        if self.wheels:
            t["pip"] = timed(
                box, [sys.executable, "-m", "pip", "install", "-q",
                      "--no-index", "--find-links", self.wheels, "--target",
                      d + "/lib"] + list(material.PIP_PACKAGES), d)
        return t

    def sqlite(self, d):
        t, box = {}, self.box
        n = 200 if self.small else 1000
        make = "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT);"
        rows = [f"INSERT INTO t(v) VALUES('row {i}');" for i in range(10000)]
        t["sqlite"] = timed(box, ["sqlite3", "one.db"], d, stdin="\n".join(
            [make, "BEGIN;"] + rows + ["COMMIT;"]))
        t["sqlite-each"] = timed(box, ["sqlite3", "each.db"], d,
                                 stdin="\n".join([make] + rows[:n]))
        return t


def measure(box, targets, rounds, files, small=False):
    """Rows of all programs; targets is {kind: Target}, floor keeps bytes."""
    progs = Programs(box, files, small)
    rows = {key: Row(name, "time", n, unit="s") for key, name, n in ROWS}
    for key, why in progs.skipped.items():
        rows[key].note = "not measured: " + why
    for _ in range(rounds):
        for kind, target in targets.items():
            path = target.fresh()
            if kind != "deep-local":
                for part in (progs.files, progs.git, progs.builds):
                    for key, seconds in part(path).items():
                        rows[key].add(named(kind), seconds)
                    target.settle()
            if kind != "deep":
                for key, seconds in progs.sqlite(path).items():
                    rows[key].add(named(kind), seconds)
            target.clear(path)
    return [r for r in rows.values() if r.values or r.note]


def named(kind):
    return {"keep": "floor", "deep-local": "deep"}.get(kind, kind)
