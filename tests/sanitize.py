#!/usr/bin/env python3
"""Run test suites in sanitized builds; a report of any process is a failure.

    tests/sanitize.py [-O BUILD_DIR] [FLAVOUR...]

FLAVOUR is asan (address and undefined behaviour) or tsan (threads); both if
none is given.  The builds are BUILD_DIR-asan and BUILD_DIR-tsan.  Every program
of such a build writes its reports into BUILD/reports (tests/sanitize.c), so
none is lost with a daemon's stderr; that they come is tried first, with
planted faults.  LONG=1 goes on to the suites.  The last line is the sum.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FLAVOURS = {
    "asan": ("address,undefined", ("address", "undefined", "leak"),
             ("check-unit", "check-points", "check-kill", "check-hostile",
              "check-sim", "check-posix", "check-mount", "check-cli")),
    "tsan": ("thread", ("thread",),
             ("check-unit", "check-points", "check-kill", "check-hostile",
              "check-sim", "check-posix", "check-mount")),
}
LINE = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$")
SHOWN = 60      # lines of a report


class Flavour:
    def __init__(self, name, build):
        self.name = name
        self.sanitize, self.planted, self.suites = FLAVOURS[name]
        self.build = os.path.abspath(build + "-" + name)
        # the fault points are in a build of their own below this one
        self.reports = [self.build + "/reports",
                        self.build + "/points/reports"]
        self.env = dict(os.environ, SANITIZE=self.sanitize)
        for var in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"):
            self.env.pop(var, None)     # they would move the reports
        self.total = [0, 0, 0]

    def count(self, good, text):
        print(("ok " if good else "FAIL ") + f"{self.name} {text}",
              flush=True)
        self.total[0 if good else 1] += 1
        return good

    def forget_reports(self):
        for path in self.reports:
            shutil.rmtree(path, ignore_errors=True)
            os.makedirs(path)

    def found(self):
        return [f"{path}/{name}" for path in self.reports
                for name in sorted(os.listdir(path))]

    def compile(self):
        cmd = ["make", "-s", "--no-print-directory", "O=" + self.build, "all",
               self.build + "/tests/planted"]
        return self.count(subprocess.run(cmd, env=self.env, cwd=TOP,
                                         check=False).returncode == 0,
                          "builds")

    def plant(self):
        """Each planted fault must leave a report; true if all did."""
        good = True
        for kind in self.planted:
            self.forget_reports()
            subprocess.run([self.build + "/tests/planted", kind], check=False,
                           env={}, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
            found = self.found()
            good &= self.count(bool(found), f"a planted fault ({kind}) is "
                               + ("reported" if found else
                                  f"not reported in {self.reports[0]}"))
        self.forget_reports()
        return good

    def run(self):
        if not self.compile() or not self.plant():
            return
        cmd = [TOP + "/tests/run.py", "-O", self.build, "--limit", "7200"]
        with subprocess.Popen(cmd + list(self.suites), env=self.env, cwd=TOP,
                              stdout=subprocess.PIPE, text=True,
                              errors="replace") as p:
            last = ""
            for last in p.stdout:
                print(last, end="", flush=True)
        found = LINE.match(last.strip())
        if not found:
            self.count(False, "the suites ended without a sum")
        else:
            self.total = [a + int(b) for a, b in zip(self.total,
                                                     found.groups())]
        self.show_reports()

    def show_reports(self):
        names = self.found()
        for name in names:
            with open(name, errors="replace") as f:
                print(f"--- {name}")
                print("".join(f.readlines()[:SHOWN]), flush=True)
        self.count(not names, f"{len(names)} reports")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("-O", default="build", help="build directory")
    ap.add_argument("flavour", nargs="*", choices=[[], *FLAVOURS],
                    default=[])
    args = ap.parse_args()
    total = [0, 0, 0]
    for name in args.flavour or FLAVOURS:
        flavour = Flavour(name, args.O)
        flavour.run()
        total = [a + b for a, b in zip(total, flavour.total)]
    print(f"{total[0]} passed, {total[1]} failed, {total[2]} skipped")
    sys.exit(1 if total[1] else 0)


if __name__ == "__main__":
    main()
