#!/usr/bin/env python3
"""pjdfstest, built elsewhere and named by PJDFSTEST_DIR: all of it must pass.

PJDFSTEST_DIR is its checkout with the program `pjdfstest` built in it.
"""
import os
import re

import calls  # noqa: F401  (sets the path of harness)
import harness


def test_pjdfstest(box):
    top = os.environ.get("PJDFSTEST_DIR")
    harness.need(top, "PJDFSTEST_DIR is not set: give the directory of a "
                 "built pjdfstest")
    harness.need_program("prove")
    harness.need(os.geteuid() == 0, "it wants root")
    assert os.path.exists(top + "/pjdfstest"), \
        f"{top}/pjdfstest is missing: build it there first"
    only = os.environ.get("PJDFSTEST_ONLY", "")
    m = box.mount()
    work = m.path + "/pjd"
    os.mkdir(work)
    box.run(["prove", "--version"])
    r = box.run(["prove", "-r", f"{top}/tests/{only}"], cwd=work,
                check=False, timeout=3600)
    found = re.search(r"Tests=(\d+)", r.stdout)
    count = int(found[1]) if found else 0
    failed = sorted(set(re.findall(r"^(\S+\.t) .*Failed: [1-9]", r.stdout,
                                   re.M)))
    print(f"  pjdfstest: {count} tests, {len(failed)} files with failures")
    assert r.returncode == 0, r.stdout[-3000:]
    assert only or count >= 8000, f"only {count} tests ran"


if __name__ == "__main__":
    harness.main(globals())
