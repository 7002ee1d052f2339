#!/usr/bin/env python3
"""Run test scripts one after the other and sum them up.

    run.py [--target T] SCRIPT...

Each script prints `ok NAME`, `FAIL NAME: why` or `skip NAME: why` lines and
exits 0, 1 or 77.  A script that ends otherwise, or prints nothing, counts as
one failure.  The last line is `N passed, N failed, N skipped`.
"""
import os
import subprocess
import sys

LIMIT_S = int(os.environ.get("DF_TEST_LIMIT_S", "1800"))


def run(script, extra):
    count = {"ok": 0, "FAIL": 0, "skip": 0}
    print(f"# {os.path.relpath(script)}", flush=True)
    with subprocess.Popen([sys.executable, script] + extra, text=True,
                          errors="replace", stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT) as p:
        try:
            for line in p.stdout:
                sys.stdout.write(line)
                sys.stdout.flush()
                word = line.split(" ", 1)[0]
                if word in count:
                    count[word] += 1
            status = p.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            p.kill()
            status = -9
    if status not in (0, 1, 77) or (status == 1 and not count["FAIL"]) or \
       not sum(count.values()):
        print(f"FAIL {os.path.basename(script)}: ended with status {status}")
        count["FAIL"] += 1
    return count


def main():
    args = sys.argv[1:]
    extra = []
    if args[:1] == ["--target"]:
        extra, args = args[:2], args[2:]
    total = {"ok": 0, "FAIL": 0, "skip": 0}
    for script in args:
        for word, n in run(script, extra).items():
            total[word] += n
    print(f"{total['ok']} passed, {total['FAIL']} failed, "
          f"{total['skip']} skipped")
    sys.exit(1 if total["FAIL"] else 0)


main()
