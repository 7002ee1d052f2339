#!/usr/bin/env python3
"""Two sandboxes on one table: each with its own HOME, cache and namespace."""
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import harness


def pair(box, **options):
    harness.need(box.target == "deeplake", "needs a table")
    server = box.serve()
    return [box.mount(n, home=box.new_home(n), options=options, server=server)
            for n in ("a", "b")]


def put(path, data):
    with open(path, "w") as f:
        f.write(data)


def get(path):
    try:
        with open(path) as f:
            return f.read()
    except OSError:
        return None


def soon(what, check, timeout=10):
    def settled():
        try:
            return check()
        except FileNotFoundError:   # it changes while we look
            return False
    return harness.wait_for(what, settled, timeout)


class Namespace:
    """A mount namespace of its own, as a sandbox has; keeps a shell in it."""

    def __init__(self, box, home):
        self.box, self.home = box, home
        self.shell = subprocess.Popen(
            ["unshare", "-m", "--propagation", "private", "sh", "-c",
             "echo in; read x"], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, env=box.env(home), text=True)
        assert self.shell.stdout.readline() == "in\n"

    def run(self, cmd, **kw):
        return self.box.run(["nsenter", "-t", str(self.shell.pid), "-m", "sh",
                             "-c", cmd], home=self.home, **kw)

    def close(self):
        self.shell.stdin.close()
        self.shell.stdout.close()
        self.shell.wait(10)


def guide(box, killed):
    """The guide's sequence, by hand: same path in both, no flush, no wait."""
    harness.need(box.target == "deeplake", "needs a table")
    harness.need_program("unshare", "nsenter")
    server = box.serve()
    with open(server.creds) as f:
        creds = json.load(f)
    path = box.plain("guide")
    spaces = []
    for name in "ab":
        home = os.path.join(box.dir, "hand-" + name)
        os.makedirs(home + "/.deeplake", mode=0o700)
        hand = {k: creds[k] for k in ("token", "orgId", "workspaceId",
                                      "apiUrl") if k in creds}
        put(home + "/.deeplake/credentials.json", json.dumps(hand, indent=2))
        os.chmod(home + "/.deeplake/credentials.json", 0o600)
        spaces.append(Namespace(box, home))
    a, b = spaces
    try:
        for s in spaces:
            s.run("deeplake init --table shared_workspace --path "
                  f"{path} -o cache_dir={s.home}/cache,log_file={s.home}/log")
        a.run(f'echo "written from sandbox A" > {path}/note.txt')
        start = time.monotonic()
        if killed:
            time.sleep(2)
            out = a.run(f"deeplake status {path} --json").stdout
            pid = json.loads(out)["mounts"][0]["pid"]
            os.kill(pid, signal.SIGKILL)
            box.wait_child(pid)
            start = time.monotonic()
        soon("read in B", lambda: b.run(f"cat {path}/note.txt", check=False)
             .stdout == "written from sandbox A\n", 2.5)
        took = time.monotonic() - start
        assert took <= 2.5, f"B saw it after {took:.1f} s"
        if killed:
            a.run(f"umount -l {path}", check=False)
        else:
            a.run(f"deeplake umount {path}")
        b.run(f"deeplake umount {path}")
    finally:
        for s in spaces:
            s.close()


def test_guide(box):
    guide(box, False)


@harness.waits
def test_guide_killed(box):
    guide(box, True)


def test_each_sees_the_other(box):
    a, b = pair(box)
    put(a.path + "/x", "one")
    soon("x in b", lambda: get(b.path + "/x") == "one")
    put(b.path + "/x", "two, longer")
    soon("the change in a", lambda: get(a.path + "/x") == "two, longer")
    assert os.stat(a.path + "/x").st_ino == os.stat(b.path + "/x").st_ino
    os.makedirs(a.path + "/d/e")
    put(a.path + "/d/e/f", "deep")
    soon("d/e/f in b", lambda: get(b.path + "/d/e/f") == "deep")
    os.rename(b.path + "/d", b.path + "/moved")
    soon("the move in a", lambda: get(a.path + "/moved/e/f") == "deep"
         and not os.path.exists(a.path + "/d"))
    os.unlink(a.path + "/x")
    soon("the removal in b", lambda: not os.path.exists(b.path + "/x"))
    os.chmod(a.path + "/moved/e/f", 0o600)
    soon("the mode in b",
         lambda: os.stat(b.path + "/moved/e/f").st_mode & 0o777 == 0o600)
    soon("equal trees", lambda: not harness.same_tree(a.path, b.path))


def test_where_somebody_stands(box):
    """Files that the other mount makes in a directory do not take its name from
    those who work in it."""
    a, b = pair(box)
    os.mkdir(a.path + "/d")
    soon("d in b", lambda: os.path.isdir(b.path + "/d"))
    stands = ("import os, sys, time\n"
              "os.chdir(sys.argv[1]); print('there', flush=True)\n"
              "until = time.monotonic() + 20\n"
              "for name in sys.argv[2:]:\n"
              "    while name not in os.listdir('.'):\n"
              "        assert time.monotonic() < until, name\n"
              "        time.sleep(0.01)\n"
              "    assert os.getcwd() == sys.argv[1]\n")
    names = [str(n) for n in range(4)]
    with subprocess.Popen([sys.executable, "-c", stands, b.path + "/d"] + names,
                          stdout=subprocess.PIPE) as p:
        p.stdout.readline()
        for name in names:
            put(f"{a.path}/d/{name}", "x")
            a.flush()
        assert p.wait(30) == 0


def test_names_appear_where_they_were_missed(box):
    """A negative answer that the kernel kept must not outlive a poll."""
    a, b = pair(box)
    assert get(b.path + "/later") is None
    assert os.listdir(b.path) == []
    put(a.path + "/later", "here")
    soon("later in b", lambda: get(b.path + "/later") == "here")
    assert os.listdir(b.path) == ["later"]


def test_open_file_sees_changes(box):
    a, b = pair(box)
    put(a.path + "/f", "old")
    soon("f in b", lambda: get(b.path + "/f") == "old")
    with open(b.path + "/f") as f:
        assert f.read() == "old"
        put(a.path + "/f", "newer content")

        def again():
            f.seek(0)
            return f.read() == "newer content"
        soon("the change through the open descriptor", again)


def test_tree_is_identical(box):
    import material
    a, b = pair(box)
    box.run(["cp", "-a", material.source_tree(300) + "/.", a.path])
    a.flush()
    soon("equal trees", lambda: not harness.same_tree(a.path, b.path), 20)
    shutil.rmtree(b.path + "/usr")
    b.flush()
    soon("equal trees again",
         lambda: not harness.same_tree(a.path, b.path), 20)


def test_conflict_keeps_both(box):
    a, b = pair(box)
    put(a.path + "/f", "base")
    a.flush()
    soon("f in b", lambda: get(b.path + "/f") == "base")
    server = box.servers[0]
    port = server.port
    server.stop()
    put(a.path + "/f", "from a")
    time.sleep(0.05)
    put(b.path + "/f", "from b, the newer")
    server.start(port)
    for m in (a, b):
        m.allowed.append(r"(?i)unreachable|connect|refused|offline|timed out"
                         "|reset|server")
        m.flush()

    def both():
        names = sorted(os.listdir(a.path))
        return len(names) == 2 and names == sorted(os.listdir(b.path))
    soon("the file and its conflict copy in both", both, 30)
    for m in (a, b):
        names = sorted(os.listdir(m.path))
        assert names[0] == "f" and names[1].startswith("f.conflict-"), names
        assert get(m.path + "/f") == "from b, the newer"
        assert get(f"{m.path}/{names[1]}") == "from a"


def test_appends_are_merged(box):
    a, b = pair(box)
    put(a.path + "/log", "start\n")
    a.flush()
    soon("log in b", lambda: get(b.path + "/log") == "start\n")
    for i in range(20):
        for m, name in ((a, "a"), (b, "b")):
            with open(m.path + "/log", "a") as f:
                f.write(f"{name}{i}\n")
    a.flush()
    b.flush()
    want = {"start"} | {f"{n}{i}" for n in "ab" for i in range(20)}

    def whole():
        x, y = get(a.path + "/log"), get(b.path + "/log")
        return x == y and set(x.split()) == want
    soon("all lines in both", whole, 20)
    lines = get(a.path + "/log").split()
    assert len(lines) == len(want), "a line came twice"
    for n in "ab":
        mine = [x for x in lines if x[0] == n]
        assert mine == [f"{n}{i}" for i in range(20)], mine
    assert os.listdir(a.path) == ["log"], os.listdir(a.path)


def test_removed_here_edited_there(box):
    a, b = pair(box)
    put(a.path + "/f", "base")
    os.mkdir(a.path + "/d")
    a.flush()
    soon("f in b", lambda: get(b.path + "/f") == "base"
         and os.path.isdir(b.path + "/d"))
    server = box.servers[0]
    port = server.port
    server.stop()
    os.unlink(a.path + "/f")
    os.rmdir(a.path + "/d")
    put(b.path + "/f", "edited")
    put(b.path + "/d/filled", "x")
    server.start(port)
    for m in (a, b):
        m.allowed.append(r"(?i)unreachable|connect|refused|offline|timed out"
                         "|reset|server")
        m.flush()
    for m in (a, b):
        soon("the edit brings the file back",
             lambda m=m: get(m.path + "/f") == "edited", 20)
        soon("the filled directory stays",
             lambda m=m: get(m.path + "/d/filled") == "x", 20)


@harness.waits
def test_offline_start(box):
    """A mount whose cache knows the volume comes up without a server."""
    harness.need(box.target == "deeplake", "needs a table")
    m = box.mount()
    put(m.path + "/f", "cached")
    m.flush()
    assert get(m.path + "/f") == "cached"
    m.down()
    server = box.servers[0]
    port = server.port
    server.stop()
    m.allowed.append(r"(?i)unreachable|connect|refused|offline|server")
    m.up()
    assert get(m.path + "/f") == "cached"
    put(m.path + "/g", "offline")
    start = time.monotonic()
    r = m.deeplake("flush", m.path, "--timeout", "2", check=False)
    assert r.returncode == 5, r
    assert time.monotonic() - start < 8
    server.start(port)
    m.flush()
    m.remount(empty_cache=True)
    assert get(m.path + "/g") == "offline"


@harness.waits
def test_no_server_no_cache(box):
    harness.need(box.target == "deeplake", "needs a table")
    server = box.serve()
    server.stop()
    os.mkdir(box.dir + "/p")
    start = time.monotonic()
    r = box.run([harness.built("deeplake"), "init", "--table", "t", "--path",
                 box.dir + "/p", "-o", f"cache_dir={box.dir}/c"],
                status=4)
    assert time.monotonic() - start < 12
    assert server.url.split("//")[1] in r.stderr or "reach" in r.stderr, \
        r.stderr


if __name__ == "__main__":
    harness.main(globals())
