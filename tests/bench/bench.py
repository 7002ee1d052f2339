#!/usr/bin/env python3
"""Measure deeplakefs against the disk, a passthrough and the floor of FUSE.

    bench.py [--quick | --short] [--rounds N] [--only GROUP,...] [--json FILE]
             [--files N] [--mib N] [--total N] [--minutes N] [--limit N]
             [--no-deep]

Groups: small, remote, programs, idle, busy, large; million and peers only when
they are named.  Every figure is a ratio of one run: rounds are interleaved,
medians are shown.  --quick: smaller, within five minutes, bars at half strength
(absolute times at a fifth), and a row counts as missed when it missed even that
three times.  --short is the part of it that `make check` runs.  --minutes: no
group begins after that (its rows are missing then, and it is said); --limit:
what still runs then is ended.  --no-deep measures the yardsticks alone.  A group
that fails or is ended is a row that is short, beside what it has measured, and
the others run all the same.  The JSON file is written after each group.  Exit
status 1: a bar of a quick run was missed.  docs/performance.md says what limits
each row.
"""
import argparse
import ctypes
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from targets import Target, harness  # noqa: E402  (first: sets the path)
import local  # noqa: E402
import peers  # noqa: E402
import programs  # noqa: E402
import remote  # noqa: E402
import table  # noqa: E402

DEFAULT = ("small", "remote", "programs", "idle", "busy", "large")
QUICK = ("small", "large", "programs", "remote")
SHORT = ("small", "large", "remote")
SHORT_PARTS = ("small_files", "clone", "fsyncs")
NAMED = ("million", "peers")
TRIES = 3                       # of a quick run's group with a row that misses


def arguments():
    p = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    p.add_argument("--quick", action="store_true")
    p.add_argument("--short", action="store_true")
    p.add_argument("--no-deep", action="store_true")
    p.add_argument("--rounds", type=int)
    p.add_argument("--only", default="")
    p.add_argument("--parts", default="",
                   help="of the remote group: functions of remote.py")
    p.add_argument("--json", default="")
    p.add_argument("--files", type=int)
    p.add_argument("--mib", type=int)
    p.add_argument("--total", type=int, default=1000000)
    p.add_argument("--minutes", type=float, default=60)
    p.add_argument("--limit", type=float, default=60)
    a = p.parse_args()
    a.quick = a.quick or a.short
    a.rounds = a.rounds or (2 if a.quick else 3)
    a.files = a.files or (1000 if a.short else 2000 if a.quick else 10000)
    a.mib = a.mib or (32 if a.short else 64 if a.quick else 1024)
    a.parts = a.parts.split(",") if a.parts else \
        list(SHORT_PARTS if a.short else ())
    a.groups = a.only.split(",") if a.only else \
        list(SHORT if a.short else QUICK if a.quick else DEFAULT)
    unknown = set(a.groups) - set(DEFAULT) - set(NAMED)
    if unknown:
        p.error(f"no such group: {', '.join(sorted(unknown))}")
    return a


class Bench:
    def __init__(self, box, args):
        self.box, self.args = box, args
        self.groups = []

    def targets(self, kinds, options):
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
            found[kind] = Target(self.box, kind, server)
            found[kind].options.update(options)
            found[kind].up()
        return found

    def server(self):
        if not self.box.servers:
            s = self.box.serve()
            os.setpriority(os.PRIO_PROCESS, s.proc.pid, 19)
        return self.box.servers[0]

    def local_group(self, title, kinds, measure, **options):
        """Rows of one group; its mounts live as long as it runs."""
        t = self.targets(kinds, options)
        try:
            return title, measure(t)
        finally:
            for target in t.values():
                target.down()

    def group(self, name):
        """(title, rows) of one group."""
        a = self.args
        yardsticks = ("disk", "pass", "floor", "deep") if a.short else \
            ("disk", "pass", "ll", "floor", "deep")
        if name == "small":
            return self.local_group(
                f"Local, {a.files:,} files of 4 KiB",
                yardsticks + (() if a.short else ("deep-local",)),
                lambda t: local.small(t, a.rounds, a.files))
        if name == "large":
            return self.local_group(
                f"Local, a file of {a.mib:,} MiB", yardsticks,
                lambda t: local.large(t, a.rounds, a.mib,
                                      2000 if a.quick else 10000),
                # What is measured is the cache: all of it has to be in it.
                cache_size=f"{12 * a.mib}M")
        if name == "busy":
            return self.local_group(
                "While the uploader works", ("deep",),
                lambda t: local.busy(t, a.rounds, a.files, a.mib))
        if name == "idle":
            return self.local_group(
                "At rest", ("deep",),
                lambda t: local.idle(self.box, t["deep"]))
        if name == "million":
            return self.local_group(
                f"At {a.total:,} files", ("deep",),
                lambda t: local.million(t["deep"], a.files, a.total))
        if name == "programs":
            files = 300 if a.quick else 1500
            return self.local_group(
                f"Programs, a tree of {files:,} files",
                ("disk", "pass", "keep", "deep", "deep-local"),
                lambda t: programs.measure(self.box, t, a.rounds, files,
                                           a.quick))
        if name == "peers":
            return ("Beside what else there is, 20 ms of round trip",
                    peers.measure(self.box, self.server(), a.rounds,
                                  min(a.files, 300)))
        return ("Remote, 20 ms of round trip",
                remote.measure(self.box, self.server(), a.rounds, a.quick,
                               a.parts))

    def strength(self, row):
        """Of a bar: absolute times say as much about the machine as about us,
        and so does a row that waits for the disk or the link each time."""
        if not self.args.quick:
            return 1.0
        return 0.2 if "fsync" in row.name or "of the link" in row.name or \
            row.kind in ("limit", "least") and row.unit in ("s", "/s") else 0.5

    def short(self, rows):
        return [r for r in rows if r.reached(self.strength(r)) is False]

    def whole_group(self, name):
        """(title, rows); what ends a group is a row of it."""
        table.Row.made.clear()
        try:
            return self.group(name)
        except (AssertionError, OSError, subprocess.SubprocessError,
                TimeOver) as e:
            rows = [r for r in table.Row.made if r.values]
            rows.append(table.Row(name, "limit"))
            rows[-1].failed = " ".join(str(e).split())[:400]
            return f"{name}: not to its end", rows

    def measure(self, name):
        start = time.monotonic()
        title, rows = self.whole_group(name)
        for _ in range(TRIES - 1):
            short = {r.name for r in self.short(rows)}
            if not self.args.quick or not short:
                break
            print(f"{name}: once more, for these were short: "
                  + "; ".join(sorted(short)), flush=True)
            title, again = self.whole_group(name)
            rows = [r for r in rows if r.name not in short]
            kept = {r.name for r in rows}
            rows += [r for r in again if r.name not in kept]
        self.groups.append((title, rows))
        print(table.text(title, rows, self.strength), flush=True)
        print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)
        if self.args.json:
            table.save(self.args.json, self.groups, vars(self.args))

    def run(self):
        end = time.monotonic() + 60 * min(self.args.minutes,
                                          self.args.limit)
        needs_us = {"remote", "idle", "busy", "million", "peers"}
        for name in self.args.groups:
            if self.args.no_deep and name in needs_us:
                continue
            if time.monotonic() > end:
                print(f"{name}: not measured, the time was over")
                continue
            try:
                self.measure(name)
            except harness.Skip as e:
                print(f"{name}: not measured: {e}")
        rows = [r for _, rows in self.groups for r in rows]
        short = [r.name for r in self.short(rows)]
        done = sum(r.reached(self.strength(r)) is True for r in rows)
        print(f"{done} bars reached, {len(short)} not"
              + (": " + "; ".join(short) if short else ""))
        return 1 if short and self.args.quick else 0


class TimeOver(Exception):
    """--limit has passed."""


def time_over(*_):
    raise TimeOver("the time was over")


def main():
    args = arguments()
    signal.signal(signal.SIGALRM, time_over)
    signal.setitimer(signal.ITIMER_REAL, args.limit * 60)
    harness.own_namespace()
    ctypes.CDLL(None).prctl(harness.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    start = time.monotonic()
    status = 1
    try:
        with harness.Box("bench") as box:
            status = Bench(box, args).run()
    except harness.Skip as e:
        print(f"bench: {e}")
        sys.exit(77)
    except AssertionError as e:     # what was left behind
        print(f"bench: {e}")
        status = 1
    print(f"in {time.monotonic() - start:.0f} s")
    sys.exit(status)


main()
