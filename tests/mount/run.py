#!/usr/bin/env python3
"""Run test scripts and sum them up.

    run.py [--target T] [--counted] SCRIPT...

Each script prints `ok NAME`, `FAIL NAME: why` or `skip NAME: why` lines and
exits 0, 1 or 77.  A script that ends otherwise, or prints nothing, counts as
one failure.  The last line is `N passed, N failed, N skipped`.

Tests say what they did as lines `rounds GROUP: N WHAT, N WHAT ...`, and what
they broke as `faults GROUP: N KIND, ...` (harness.counted); the sums come
before the last line.  With --counted a kind of fault that in all of the run
never happened is a failure, and so is a run that injected none.

Asked with --list a script may say which tests it has, as lines `waits NAME` and
`alone NAME`.  Those that wait, of all scripts, run first, JOBS of them at a
time (DF_TEST_JOBS), each in a process of its own: `SCRIPT NAME`.  All else runs
one after the other.
"""
import concurrent.futures
import os
import re
import subprocess
import sys
import threading

LIMIT_S = int(os.environ.get("DF_TEST_LIMIT_S", "1800"))
JOBS = int(os.environ.get("DF_TEST_JOBS", "12"))
LISTED = re.compile(r"(waits|alone) (\S+)")
COUNTED = re.compile(r"(rounds|faults) ([^:]+): (\d+ \S+(?:, \d+ \S+)*)")
SUMS = {}       # (rounds or faults, group): {what: how many}


def listed(script, extra):
    """{"waits": names, "alone": names}; {} of a script that cannot say."""
    r = subprocess.run([sys.executable, script, "--list"] + extra, text=True,
                       stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                       stdin=subprocess.DEVNULL, check=False)
    found = [LISTED.fullmatch(line) for line in r.stdout.splitlines()]
    if r.returncode or not found or not all(found):
        return {}
    return {kind: [m[2] for m in found if m[1] == kind]
            for kind in ("waits", "alone")}


def add_up(line):
    m = COUNTED.fullmatch(line.strip())
    if not m:
        return
    group = SUMS.setdefault((m[1], m[2]), {})
    for item in m[3].split(", "):
        n, what = item.split(" ")
        group[what] = group.get(what, 0) + int(n)


def say_sums(must):
    """The sums, and how many kinds of fault failed to happen."""
    missing = [] if any(word == "faults" for word, _ in SUMS) else ["any"]
    for (word, name), group in sorted(SUMS.items(), reverse=True):
        items = ", ".join(f"{n} {what}" for what, n in sorted(group.items()))
        if word == "faults":
            items = f"{sum(group.values())} of {len(group)} kinds: {items}"
            missing += [f"{name} {what}" for what, n in group.items() if not n]
        print(f"# all {word} {name}: {items}")
    if not must:
        return 0
    for what in missing:
        print(f"FAIL faults: {what} was never injected")
    return len(missing)


def run(script, args, say):
    """What it said, counted; say(line) gets each line of it."""
    count = {"ok": 0, "FAIL": 0, "skip": 0}
    with subprocess.Popen([sys.executable, script] + args, text=True,
                          errors="replace", stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT) as p:
        timer = threading.Timer(LIMIT_S, p.kill)
        timer.start()
        for line in p.stdout:
            say(line)
            add_up(line)
            word = line.split(" ", 1)[0]
            if word in count:
                count[word] += 1
        status = p.wait()
        timer.cancel()
    if status not in (0, 1, 77) or (status == 1 and not count["FAIL"]) or \
       not sum(count.values()):
        name = " ".join([os.path.basename(script)] + args)
        say(f"FAIL {name}: ended with status {status}\n")
        count["FAIL"] += 1
    return count


def say_now(line):
    sys.stdout.write(line)
    sys.stdout.flush()


def side_by_side(tests, extra):
    """Run (script, name) pairs, JOBS at a time; yields their counts."""
    def one(test):
        lines = []
        count = run(test[0], [test[1]] + extra, lines.append)
        say_now("".join(lines))
        return count
    if tests:
        say_now(f"# {len(tests)} that wait, {JOBS} at a time\n")
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        yield from pool.map(one, tests)


def main():
    args = sys.argv[1:]
    extra = []
    if args[:1] == ["--target"]:
        extra, args = args[:2], args[2:]
    must = args[:1] == ["--counted"]
    if must:
        del args[0]
    total = {"ok": 0, "FAIL": 0, "skip": 0}
    lists = [(script, listed(script, extra)) for script in args]
    counts = list(side_by_side([(script, name) for script, found in lists
                                for name in found.get("waits", [])], extra))
    for script, found in lists:
        if found and not found["alone"]:
            continue
        say_now(f"# {os.path.relpath(script)}\n")
        counts.append(run(script, found.get("alone", []) + extra, say_now))
    for count in counts:
        for word, n in count.items():
            total[word] += n
    total["FAIL"] += say_sums(must)
    print(f"{total['ok']} passed, {total['FAIL']} failed, "
          f"{total['skip']} skipped")
    sys.exit(1 if total["FAIL"] else 0)


main()
