#!/usr/bin/env python3
"""Run test suites (make targets) one after the other and add up what they say.

    tests/run.py [-O BUILD_DIR] [--log DIR] [--timed SUITES] SUITE...

A suite passes when its target ends with status 0.  Its closing line
"N passed, N failed, N skipped" is what counts; a suite that ends with status 0
and says no such line counts as one test, and one that fails always adds at
least one failure, whatever its line says.  The last line is the sum.

--timed: suites that hold deadlines against a real clock, which a busy machine
can break.  One of them that fails runs once more, and its second result counts;
the first stays in its log and is named at the end.
"""

import argparse
import os
import re
import subprocess
import sys
import threading
import time

LINE = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped\s*$")
# cmocka's closing lines, one of each a program
CMOCKA = re.compile(r"^\[  (PASSED|FAILED|SKIPPED) *\] +(\d+) test")
TAIL = 40


def count(text, status):
    """(passed, failed, skipped) of one suite's output."""
    total = [0, 0, 0]
    seen = False
    lines = text.splitlines()
    sums = [LINE.match(line) for line in lines]
    if any(sums):
        seen = True
        for m in filter(None, sums):
            for i in range(3):
                total[i] += int(m.group(i + 1))
    else:
        for m in filter(None, (CMOCKA.match(line) for line in lines)):
            seen = True
            total[["PASSED", "FAILED", "SKIPPED"].index(m.group(1))] += \
                int(m.group(2))
    if not seen and status == 0:
        total[0] = 1
    if status and not total[1]:
        total[1] = 1
    return total


class Suite:
    def __init__(self, name, make):
        self.name, self.make = name, make

    def exists(self):
        r = subprocess.run(self.make + ["-n", self.name], check=False,
                           capture_output=True, text=True)
        return "No rule to make target" not in r.stderr

    def run(self, log_dir, limit_s):
        path = os.path.join(log_dir, self.name + ".log")
        start = time.monotonic()
        with open(path, "w", encoding="utf-8", errors="replace") as log:
            p = subprocess.Popen(self.make + [self.name], stdout=log,
                                 stderr=subprocess.STDOUT,
                                 stdin=subprocess.DEVNULL,
                                 start_new_session=True)
            timer = threading.Timer(limit_s, lambda: os.killpg(p.pid, 15))
            timer.start()
            try:
                status = p.wait()
            except KeyboardInterrupt:
                os.killpg(p.pid, 15)
                p.wait()
                raise
            finally:
                timer.cancel()
        with open(path, encoding="utf-8", errors="replace") as log:
            text = log.read()
        return status, text, path, time.monotonic() - start


def report(got, text, path, took):
    verdict = "FAIL" if got[1] else "ok  "
    print(f"{verdict} {got[0]} passed, {got[1]} failed, {got[2]} skipped"
          f"  {took:.0f} s", flush=True)
    if got[1]:
        for line in text.splitlines()[-TAIL:]:
            print("    " + line)
        print(f"    all of it: {path}", flush=True)


def run_suite(suite, head, args, log_dir):
    """What counts: (passed, failed, skipped), and whether it ran twice."""
    print(head, end=" ", flush=True)
    status, text, path, took = suite.run(log_dir, args.limit)
    got = count(text, status)
    again = got[1] and suite.name in args.timed.split()
    if again:
        first = path.replace(".log", ".first.log")
        os.replace(path, first)
        path = first
    report(got, text, path, took)
    if not again:
        return got, False
    print(f"{head} once more:", end=" ", flush=True)
    status, text, path, took = suite.run(log_dir, args.limit)
    got = count(text, status)
    report(got, text, path, took)
    return got, not got[1]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("-O", default="build", help="build directory")
    ap.add_argument("--log", help="where the suites' output goes")
    ap.add_argument("--limit", type=float, default=1800,
                    help="seconds that one suite may take")
    ap.add_argument("--timed", default="", help="suites with deadlines")
    ap.add_argument("suite", nargs="+")
    args = ap.parse_args()
    log_dir = args.log or os.path.join(args.O, "test-log")
    os.makedirs(log_dir, exist_ok=True)
    make = ["make", "--no-print-directory", "O=" + args.O]
    total, start, unsteady = [0, 0, 0], time.monotonic(), []
    for i, name in enumerate(args.suite, 1):
        suite = Suite(name, make)
        head = f"[{i}/{len(args.suite)}] {name:<18}"
        if not suite.exists():
            # a suite that is named and is not there is a failure
            print(f"{head} FAIL no such target", flush=True)
            total[1] += 1
            continue
        got, twice = run_suite(suite, head, args, log_dir)
        unsteady += [name] if twice else []
        for k in range(3):
            total[k] += got[k]
    print(f"in {time.monotonic() - start:.0f} s")
    if unsteady:
        print("failed once, then passed (look into it): "
              + " ".join(unsteady))
    print(f"{total[0]} passed, {total[1]} failed, {total[2]} skipped")
    return 1 if total[1] else 0


if __name__ == "__main__":
    sys.exit(main())
