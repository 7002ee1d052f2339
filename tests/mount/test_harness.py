#!/usr/bin/env python3
"""The harness itself: what it is there to notice, it notices."""
import os
import signal
import subprocess
import sys
import time

import harness


def complains(about, func):
    """A box of its own in which func(box) makes a mess that must be named."""
    try:
        with harness.Box("inner", "plain") as inner:
            func(inner)
    except AssertionError as e:
        assert about in str(e), f"said {e!s}, nothing of {about!r}"
        return
    raise AssertionError(f"nothing was said of {about!r}")


def test_left_process(box):
    complains("still running", lambda b: subprocess.Popen(
        ["sleep", "60"], env=b.env(), start_new_session=True))


def test_left_mount(box):
    harness.need(os.geteuid() == 0, "mounting wants root")

    def leave(b):
        os.mkdir(b.dir + "/left")
        b.run(["mount", "-t", "tmpfs", "none", b.dir + "/left"])
        assert harness.mounts_under(b.dir)
    complains("still mounted", leave)


def test_failed_command(box):
    complains("status 3, not 0", lambda b: b.run(["sh", "-c", "exit 3"]))
    complains("status 0, not 3", lambda b: b.run(["true"], status=3))


def test_hanging_command(box):
    start = time.monotonic()
    complains("no end within", lambda b: b.run(["sleep", "60"], timeout=0.3))
    assert time.monotonic() - start < 10


def test_daemon_status(box):
    # proc is kept: the next Popen reaps processes whose object has gone
    def crash(b):
        m = harness.Mount(b, "x", "plain", None, None, "t", None)
        b.mounts.append(m)
        m.proc = subprocess.Popen(["sh", "-c", "exit 7"])
        m.pid = m.proc.pid
    complains("ended with status 7", crash)

    def killed(b):
        m = harness.Mount(b, "x", "plain", None, None, "t", None)
        b.mounts.append(m)
        m.proc = subprocess.Popen(["sleep", "60"])
        m.pid = m.proc.pid
        os.kill(m.pid, signal.SIGSEGV)
    complains("ended with status -11", killed)


def test_log_lines(box):
    def log(text):
        def write(b):
            m = harness.Mount(b, "x", "plain", None, None, "t", None)
            b.mounts.append(m)
            with open(m.log, "w") as f:
                f.write(text + "\n")
        return write
    for text in ("12:00 error: lost it", "Segmentation fault",
                 "use of uninitialised value", "aborted", "2 errors",
                 "==1==ERROR: AddressSanitizer: heap-use-after-free",
                 "Assertion `x' failed"):
        complains("log of x says", log(text))
    with harness.Box("inner", "plain") as inner:
        log("info: defaults used, terror averted by default")(inner)


def test_sanitizer_reports(box):
    found, harness.REPORTS = harness.REPORTS, box.plain("reports")

    def report(_):
        with open(harness.REPORTS + "/san.123", "w") as f:
            f.write("WARNING: ThreadSanitizer: data race")
    try:
        complains("data race", report)
    finally:
        harness.REPORTS = found


def test_tree_differences(box):
    a, b = box.plain("a"), box.plain("b")

    def fill(top):
        os.makedirs(top + "/d")
        for name in ("f", "g", "d/h"):
            with open(f"{top}/{name}", "w") as f:
                f.write(name)
        os.symlink("f", top + "/s")
        os.link(top + "/g", top + "/k")
        for name in ("f", "g", "s", "d/h", "d", "."):
            os.utime(f"{top}/{name}", ns=(10**18, 10**18),
                     follow_symlinks=False)
    fill(a)
    fill(b)
    assert harness.same_tree(a, b) == []
    changes = (
        lambda: os.utime(b + "/f", ns=(1, 10**18 + 1)),
        lambda: os.chmod(b + "/d/h", 0o600),
        lambda: open(b + "/g", "r+").write("G"),
        lambda: os.mkdir(b + "/more"),
        lambda: os.unlink(b + "/s"),
        lambda: (os.unlink(b + "/k"), open(b + "/k", "w").write("G")),
    )
    seen = 0
    for change in changes:
        change()
        now = len(harness.same_tree(a, b))
        assert now > seen or now >= 6, "a change was not noticed"
        seen = now


def test_runner_counts(box):
    """run.py: a script that dies is a failure, a silent one too; each listed
    test runs once."""
    run = os.path.join(os.path.dirname(os.path.abspath(__file__)), "run.py")
    scripts = {"good": "print('ok a'); print('skip b: c')",
               "dies": "import os; print('ok a', flush=True); os._exit(9)",
               "silent": "pass",
               "fails": "print('FAIL a: why'); raise SystemExit(1)",
               "lists": "import os, sys\n"
                        "if '--list' in sys.argv:\n"
                        "    print('waits a\\nalone b\\nwaits c\\nalone d')\n"
                        "elif 'c' in sys.argv: os._exit(9)\n"
                        "else: print('\\n'.join('ok ' + a "
                        "for a in sys.argv[1:]))"}
    for name, text in scripts.items():
        path = f"{box.dir}/{name}.py"
        with open(path, "w") as f:
            f.write(text)
        r = box.run([sys.executable, run, path], check=False)
        last = r.stdout.strip().splitlines()[-1]
        want = {"good": (0, "1 passed, 0 failed, 1 skipped"),
                "dies": (1, "1 passed, 1 failed, 0 skipped"),
                "silent": (1, "0 passed, 1 failed, 0 skipped"),
                "fails": (1, "0 passed, 1 failed, 0 skipped"),
                "lists": (1, "3 passed, 1 failed, 0 skipped")}[name]
        assert (r.returncode, last) == want, (name, r.returncode, last)


def test_runner_sums(box):
    """run.py --counted: a kind of fault that never came fails the run."""
    run = os.path.join(os.path.dirname(os.path.abspath(__file__)), "run.py")
    scripts = {"came": ("faults a: 2 x, 1 y", 0, "# all faults a: 6 of 2 kinds"
                        ": 4 x, 2 y"),
               "not": ("faults a: 1 x, 0 y", 1, "FAIL faults: a y was never"),
               "none": ("rounds b: 3 c", 1, "FAIL faults: any was never")}
    for name, (line, status, said) in scripts.items():
        path = f"{box.dir}/{name}.py"
        with open(path, "w") as f:
            f.write(f"print('  {line}')\nprint('  {line}')\nprint('ok t')\n")
        r = box.run([sys.executable, run, "--counted", path], check=False)
        assert r.returncode == status and said in r.stdout, (name, r.stdout)


if __name__ == "__main__":
    harness.main(globals())
