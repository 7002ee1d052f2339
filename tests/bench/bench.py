#!/usr/bin/env python3
"""Measure deeplakefs against the disk, a passthrough and the floor of FUSE.

    bench.py [--quick] [--rounds N] [--only GROUP,...] [--json FILE]
             [--files N] [--mib N] [--total N] [--no-deep]

Groups: small, large, busy, idle, programs, remote, million (the last one only
when it is named).  Every figure is a ratio of one run: rounds are interleaved,
medians are shown.  --quick is for `make check`: smaller, within five minutes,
bars at half strength; it fails only when a row misses even that.  --no-deep
measures the yardsticks alone.  Exit status 1: a bar of a quick run was missed.
docs/performance.md says what limits each row.
"""
import argparse
import ctypes
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from targets import Target, harness  # noqa: E402  (first: sets the path)
import local  # noqa: E402
import programs  # noqa: E402
import remote  # noqa: E402
import table  # noqa: E402

DEFAULT = ("small", "large", "busy", "idle", "programs", "remote")
QUICK = ("small", "large", "programs", "remote")


def arguments():
    p = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    p.add_argument("--quick", action="store_true")
    p.add_argument("--no-deep", action="store_true")
    p.add_argument("--rounds", type=int)
    p.add_argument("--only", default="")
    p.add_argument("--parts", default="",
                   help="of the remote group: functions of remote.py")
    p.add_argument("--json", default="")
    p.add_argument("--files", type=int)
    p.add_argument("--mib", type=int)
    p.add_argument("--total", type=int, default=1000000)
    a = p.parse_args()
    a.rounds = a.rounds or (3 if not a.quick else 2)
    a.files = a.files or (2000 if a.quick else 10000)
    a.mib = a.mib or (64 if a.quick else 1024)
    a.groups = a.only.split(",") if a.only else \
        list(QUICK if a.quick else DEFAULT)
    unknown = set(a.groups) - set(DEFAULT) - {"million"}
    if unknown:
        p.error(f"no such group: {', '.join(sorted(unknown))}")
    return a


class Bench:
    def __init__(self, box, args):
        self.box, self.args = box, args
        self.groups = []
        self.strength = 0.5 if args.quick else 1.0

    def targets(self, kinds):
        """{kind: Target} of those that can be had here, all up."""
        found = {}
        server = None
        for kind in kinds:
            if kind.startswith("deep"):
                if self.args.no_deep:
                    continue
                server = server or self.server()
            if kind == "ll" and not os.path.exists(
                    os.path.join(harness.BUILD,
                                 "tests/bench/passthrough_ll")):
                continue
            found[kind] = Target(self.box, kind, server).up()
        return found

    def server(self):
        if not self.box.servers:
            s = self.box.serve()
            os.setpriority(os.PRIO_PROCESS, s.proc.pid, 19)
        return self.box.servers[0]

    def show(self, title, rows):
        if rows:
            self.groups.append((title, rows))
            print(table.text(title, rows, self.strength), flush=True)

    def local(self):
        a, g = self.args, self.args.groups
        wanted = {"small", "large", "busy", "idle"} & set(g)
        if not wanted:
            return
        t = self.targets(("disk", "pass", "ll", "floor", "deep",
                          "deep-local"))
        if "small" in g:
            self.show(f"Local, {a.files:,} files of 4 KiB",
                      local.small(t, a.rounds, a.files))
        if "large" in g:
            self.show(f"Local, a file of {a.mib:,} MiB",
                      local.large(t, a.rounds, a.mib,
                                  2000 if a.quick else 10000))
        if "busy" in g:
            self.show("While the uploader works",
                      local.busy(t, a.rounds, a.files, a.mib))
        if "idle" in g and "deep" in t:
            self.show("At rest", local.idle(self.box, t["deep"]))
        for target in t.values():
            target.down()

    def programs(self):
        if "programs" not in self.args.groups:
            return
        t = self.targets(("disk", "pass", "keep", "deep", "deep-local"))
        files = 300 if self.args.quick else 1500
        self.show(f"Programs, a tree of {files:,} files",
                  programs.measure(self.box, t, self.args.rounds, files,
                                   self.args.quick))
        for target in t.values():
            target.down()

    def remote(self):
        if "remote" in self.args.groups and not self.args.no_deep:
            self.show("Remote, 20 ms of round trip",
                      remote.measure(self.box, self.server(),
                                     self.args.rounds, self.args.quick,
                                     self.args.parts.split(",")
                                     if self.args.parts else ()))

    def million(self):
        if "million" in self.args.groups:
            t = self.targets(("deep",))
            self.show(f"At {self.args.total:,} files",
                      local.million(t["deep"], self.args.files,
                                    self.args.total))

    def run(self):
        self.local()
        self.programs()
        self.remote()
        self.million()
        if self.args.json:
            table.save(self.args.json, self.groups, vars(self.args))
        rows = [r for _, rows in self.groups for r in rows]
        short = [r.name for r in rows if r.reached(self.strength) is False]
        done = sum(r.reached(self.strength) is True for r in rows)
        print(f"{done} bars reached, {len(short)} not"
              + (": " + "; ".join(short) if short else ""))
        return 1 if short and self.args.quick else 0


def main():
    args = arguments()
    ctypes.CDLL(None).prctl(harness.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    start = time.monotonic()
    status = 1
    try:
        with harness.Box("bench") as box:
            status = Bench(box, args).run()
    except harness.Skip as e:
        print(f"bench: {e}")
        sys.exit(77)
    print(f"in {time.monotonic() - start:.0f} s")
    sys.exit(status)


main()
