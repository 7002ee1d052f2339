#!/usr/bin/env python3
"""Fuzz one target after the other, and say what came of each.

    tests/fuzz/each.py BUILD_DIR NAME...

Runs `make fuzz-NAME` for each.  The lines at the end are the counts that
libFuzzer gave: runs, seconds, inputs that reached something new, crashes (of
these also hangs and too much memory), with the file that holds the input.  A
crash, or a target that ran nothing, makes the status 1; the others still run.
"""
import os
import re
import subprocess
import sys
import time

STAT = re.compile(r"^stat::(\w+): +(\d+)")
KEPT = re.compile(r"Test unit written to (\S+)")


def fuzz(build, name):
    """(what came of it, was it good)"""
    runs = new = 0
    kept, start = [], time.monotonic()
    cmd = ["make", "--no-print-directory", "O=" + build, "fuzz-" + name]
    with subprocess.Popen(cmd, text=True, errors="replace",
                          stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT) as p:
        for line in p.stdout:
            sys.stdout.write(line)
            if m := STAT.match(line):
                runs = int(m[2]) if m[1] == "number_of_executed_units" else runs
                new = int(m[2]) if m[1] == "new_units_added" else new
            elif m := KEPT.search(line):
                kept.append(m[1])
    good = p.returncode == 0 and not kept and runs > 0
    seconds = time.monotonic() - start
    text = f"{name:16} {runs:>9} runs {seconds:>4.0f} s {new:>6} new inputs " \
           f"{len(kept):>2} crashes"
    if not good:
        text += f"; status {p.returncode} " + " ".join(kept)
    return text, good


def main():
    build, names = sys.argv[1], sys.argv[2:]
    if not names:
        sys.exit("each.py: no target named: give BUILD_DIR NAME...")
    found = [fuzz(build, name) for name in names]
    for text, good in found:
        print(("ok   " if good else "FAIL ") + text)
    bad = sum(not good for _, good in found)
    print(f"{len(found) - bad} passed, {bad} failed, 0 skipped")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    sys.exit(main())
