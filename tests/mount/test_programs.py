#!/usr/bin/env python3
"""Real programs on a mount give what they give on a plain directory.

After each program the mount's tree is compared with the oracle's, then the
mount is taken down, its cache thrown away, and what the table holds is
compared again.
"""
import os
import shutil
import sys

import harness
import material


def both(box, work):
    """work(directory) on the mount and on a plain directory beside it."""
    m = box.mount()
    plain = box.plain()
    got, want = work(m.path), work(plain)
    assert got == want, f"{got!r} != {want!r}"
    return m, plain


def compare(m, plain, times=False, skip=()):
    for again in (False, True):
        if again:
            m.remount(empty_cache=True)
        diffs = [d for d in harness.same_tree(m.path, plain, times)
                 if not d.startswith(tuple(skip))]
        assert not diffs, ("after a remount without cache: " if again else "")\
            + "\n".join(diffs)


def test_tar(box):
    tar = material.tarball()

    def work(d):
        box.run(["tar", "xpf", tar, "-C", d])
        box.run(["tar", "--sort=name", "-cf", box.dir + "/again.tar", "-C", d,
                 "."])
        out = box.run(["tar", "df", tar, "-C", d], check=False)
        return out.returncode, out.stdout
    m, plain = both(box, work)
    assert work(plain) == (0, "")
    compare(m, plain, times=True)


def test_cp_rm(box):
    def work(d):
        box.run(["cp", "-a", material.source_tree(), d + "/tree"])
        box.run(["cp", "-r", d + "/tree", d + "/copy"])
        box.run(["mv", d + "/copy", d + "/moved"])
        box.run(["rm", "-rf", d + "/tree"])
        return box.run(["grep", "-rc", "import", "moved"], cwd=d,
                       check=False).stdout.count(":0")
    compare(*both(box, work))


def test_rsync_twice(box):
    harness.need_program("rsync")
    src = material.source_tree() + "/"

    def work(d):
        box.run(["rsync", "-aH", src, d + "/copy/"])
        second = box.run(["rsync", "-aHi", src, d + "/copy/"]).stdout
        third = box.run(["rsync", "-aHic", src, d + "/copy/"]).stdout
        assert second == "" and third == "", \
            "the second run copied:\n" + second[:500] + third[:500]
        return second
    compare(*both(box, work), times=True, skip=(".: ",))


def test_git(box):
    harness.need_program("git")
    repo = material.repository()

    def work(d):
        c = d + "/clone"
        box.run(["git", "clone", "-q", "file://" + repo, c])
        out = [box.run(["git", "status", "--porcelain"], cwd=c).stdout]
        box.run(["git", "checkout", "-q", "other"], cwd=c)
        out.append(box.run(["git", "status", "--porcelain"], cwd=c).stdout)
        box.run(["git", "checkout", "-q", "main"], cwd=c)
        with open(c + "/new file", "w") as f:
            f.write("one\n")
        box.run(["git", "add", "-A"], cwd=c)
        box.run(["git", "-c", "user.name=T", "-c", "user.email=t@e", "commit",
                 "-qm", "New", "--date=2026-01-01T00:00:00Z"], cwd=c)
        box.run(["git", "gc", "-q"], cwd=c, timeout=300)
        box.run(["git", "fsck", "--full", "--strict"], cwd=c, timeout=300)
        out.append(box.run(["git", "rev-parse", "HEAD^{tree}"], cwd=c).stdout)
        out.append(box.run(["git", "status", "--porcelain"], cwd=c).stdout)
        assert out[0] == out[1] == out[3] == "", out
        return out
    m, plain = both(box, work)
    c = m.path + "/clone"
    m.remount(empty_cache=True)
    box.run(["git", "fsck", "--full", "--strict"], cwd=c, timeout=300)
    assert box.run(["git", "status", "--porcelain"], cwd=c).stdout == ""
    shutil.rmtree(c + "/.git")
    shutil.rmtree(plain + "/clone/.git")
    compare(m, plain)


def sqlite_work(box, d, mode):
    db = d + "/db"
    sql = [f"PRAGMA journal_mode={mode};",
           "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT);", "BEGIN;"]
    sql += [f"INSERT INTO t(v) VALUES('row {i} ' || hex({i}));"
            for i in range(10000)]
    sql += ["COMMIT;"]
    sql += [f"UPDATE t SET v = v || '!' WHERE id % 97 = {i};"
            for i in range(40)]
    sql += ["DELETE FROM t WHERE id % 5 = 0;", "VACUUM;",
            "PRAGMA wal_checkpoint(TRUNCATE);", "PRAGMA integrity_check;",
            "SELECT count(*), sum(length(v)) FROM t;"]
    return box.run(["sqlite3", db], stdin="\n".join(sql)).stdout


def sqlite_test(box, mode):
    harness.need_program("sqlite3")
    m, _ = both(box, lambda d: sqlite_work(box, d, mode))
    m.remount(empty_cache=True)
    out = box.run(["sqlite3", m.path + "/db"], stdin="PRAGMA integrity_check;"
                  "SELECT count(*) FROM t;").stdout
    assert out == "ok\n8000\n", out


def test_sqlite_rollback(box):
    sqlite_test(box, "delete")


def test_sqlite_wal(box):
    sqlite_test(box, "wal")


def test_sqlite_two_processes(box):
    """Writers of two processes take turns by the kernel's locks."""
    harness.need_program("sqlite3")
    m = box.mount()
    db = m.path + "/db"
    box.run(["sqlite3", db], stdin="CREATE TABLE t(w, i);")
    loop = ("i=0; while [ $i -lt 60 ]; do echo \".timeout 60000\n"
            "INSERT INTO t VALUES($1, $i);\"; i=$((i+1)); done"
            " | sqlite3 \"$2\"")
    box.run(["sh", "-c", f"f() {{ {loop}; }}; f 1 \"$0\" & f 2 \"$0\" & wait",
             db])
    out = box.run(["sqlite3", db], stdin="SELECT w, count(*) FROM t "
                  "GROUP BY w; PRAGMA integrity_check;").stdout
    assert out == "1|60\n2|60\nok\n", out


def test_make(box):
    harness.need_program("make", "gcc")
    src = material.c_project()

    def work(d):
        box.run(["cp", "-r", src, d + "/p"])
        box.run(["make", "-j2", "-s"], cwd=d + "/p", timeout=300)
        again = box.run(["make", "-q"], cwd=d + "/p", check=False)
        assert again.returncode == 0, "make wants to build again"
        return box.run([d + "/p/prog"]).stdout
    compare(*both(box, work))


def test_npm_install(box):
    cache = material.npm_cache()

    def work(d):
        mine = box.dir + "/npm-cache"
        if not os.path.exists(mine):
            shutil.copytree(cache, mine)
        os.mkdir(d + "/app")
        box.run(["npm", "install", "--cache", mine, "--offline", "--no-audit",
                 "--no-fund", "--ignore-scripts"]
                + list(material.NPM_PACKAGES), cwd=d + "/app", timeout=300)
        return box.run(["node", "-e", "require('express'); "
                        "console.log(require('typescript').version)"],
                       cwd=d + "/app").stdout
    compare(*both(box, work))


def test_pip_install(box):
    wheels = material.wheels()

    def work(d):
        box.run([sys.executable, "-m", "pip", "install", "-q", "--no-index",
                 "--no-compile", "--find-links", wheels, "--target",
                 d + "/lib"] + list(material.PIP_PACKAGES), timeout=300)
        env = box.env(PYTHONPATH=d + "/lib", PYTHONDONTWRITEBYTECODE="1")
        return box.run([sys.executable, "-c", "import requests, jinja2, yaml; "
                        "print(requests.__version__)"], env=env).stdout
    compare(*both(box, work))


if __name__ == "__main__":
    harness.main(globals())
