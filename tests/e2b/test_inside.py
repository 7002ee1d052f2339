"""What holds inside a guest, with the real driver: a daemon keeps nothing of
the call that started it, the platform's file API works on the mount, a fork is
noticed while idle, and connections that died in a pause are."""
import json
import os
import sys
import time

import harness
from harness import Server, need, wait_for
from test_guide import Table
from test_kill import Proxy

FDS = ("for fd in /proc/$1/fd/*; do echo \"${fd##*/} $(readlink $fd)\"; done; "
       "cut -d' ' -f6,7 /proc/$1/stat")


def status(t, name, path="/mnt/data"):
    return json.loads(t.run("exec", name, "--", "deeplake", "status",
                            "--json", path))["mounts"][0]


def init(t, where, *how):
    """`deeplake init` as a user would call it; the place is made before."""
    t.run("exec", "I", "--user", "root", "--", "sh", "-c",
          "mkdir -p /mnt/%s && chown user /mnt/%s" % (where, where))
    began = time.monotonic()
    t.run("exec", *how, "I", "--", "deeplake", "init", "--table",
          t.table + "_" + where, "--path", "/mnt/" + where)
    need(time.monotonic() - began < 10, "init held its caller for %.1f s" %
         (time.monotonic() - began))


def works(t, where):
    t.run("exec", "I", "--", "sh", "-c", "echo %s > /mnt/%s/f && "
          "deeplake flush /mnt/%s" % (where, where, where))


def stream(t):
    """init returns at once, and what it started outlives the call's stream,
    pipe or terminal; it holds nothing that the agent leaked."""
    # two tables: the sandbox's token is for all of the workspace
    t.run("create", "--name", "I", "--mount", t.table + "_i:/mnt/data",
          "--mount", t.table + "_j:/mnt/more")
    init(t, "pipe")
    works(t, "pipe")
    init(t, "tty", "-t")
    time.sleep(0.5)  # the terminal is gone: SIGHUP would have come
    works(t, "tty")
    if t.server:
        t.run("exec", "I", "--user", "root", "--", "sh", "-c",
              "mkdir -p /mnt/cut && chown user /mnt/cut")
        t.server.fault("POST /process.Process/Start", "cut:260")
        t.run("exec", "I", "--", "sh", "-c", "echo begun; exec deeplake init "
              "--table %s_cut --path /mnt/cut" % t.table)
        works(t, "cut")
    for where in ("data", "pipe", "tty"):
        pid = status(t, "I", "/mnt/" + where)["pid"]
        lines = t.text("exec", "I", "--user", "root", "--", "sh", "-c", FDS,
                       "sh", str(pid)).splitlines()
        fds = dict(line.split(" ", 1) for line in lines[:-1])
        need(len(fds) > 3, fds)
        need(all(fds[n] == "/dev/null" for n in "012"), fds)
        # the agent of the tests leaks the directory /run into what it starts
        need("/run" not in fds.values(), fds)
        need(not any(v.startswith(("/dev/pts", "/dev/tty")) for v in
                     fds.values()), fds)
        # no terminal, and a session of its own
        session, tty = lines[-1].split()
        need(tty == "0" and session != "0", lines[-1])
    t.run("kill", "I")


def file_api(t):
    """Write, read, list, move and remove by the platform's API, whoever asks:
    it is root that does it, and chowns before the data."""
    t.run("create", "--name", "F", "--mount", t.table + "_f:/mnt/data")
    for user in ("user", "root"):
        mine = "/mnt/data/" + user
        t.run("cp", "-", "F:%s/new/f" % mine, "--user", user,
              input=b"u" * 100000)
        need(t.run("cat", "F:%s/new/f" % mine) == b"u" * 100000, "read back")
        t.run("cp", "-", "F:%s/new/f" % mine, "--user", user, input=b"2")
        need(t.run("cat", "F:%s/new/f" % mine, "--user", user) == b"2",
             "replaced")
        owners = t.text("exec", "F", "--", "stat", "-c", "%U", mine + "/new",
                        mine + "/new/f").split()
        want = user if t.server else "user"  # one user in a local sandbox
        need(owners == [want, want], owners)
        t.run("mv", "F:%s/new/f" % mine, mine + "/g", "--user", user)
        need(sorted(e["name"] for e in t.json("ls", "F:" + mine)) ==
             ["g", "new"], "listed")
        t.run("rm", "-r", "F:" + mine + "/new", "--user", user)
    t.run("kill", "F")
    need(t.run("run", "--mount", t.table + "_f:/mnt/data", "--", "cat",
               "/mnt/data/user/g", "/mnt/data/root/g") == b"22", "kept")


def fork_noticed(t):
    """The id file changes under an idle mount: another node from then on."""
    t.run("create", "--name", "N", "--mount", t.table + "_n:/mnt/data")
    t.run("exec", "N", "--", "sh", "-c", "echo 1 > /mnt/data/one && "
          "deeplake flush /mnt/data")
    node = status(t, "N")["node"]
    time.sleep(3)
    need(status(t, "N")["node"] == node, "it changes by itself")
    t.run("exec", "N", "--user", "root", "--", "sh", "-c",
          "echo another >/run/e2b/.E2B_SANDBOX_ID")
    wait_for("the fork to be noticed", lambda: status(t, "N")["node"] != node,
             75)  # a feed may be waited for until then
    t.run("exec", "N", "--", "sh", "-c", "echo 2 > /mnt/data/two")
    t.run("kill", "N")
    need(t.run("run", "--mount", t.table + "_n:/mnt/data", "--", "cat",
               "/mnt/data/one", "/mnt/data/two") == b"1\n2\n", "kept")


def dead_connections(t, proxy):
    """What was connected before the pause looks alive after it, and is not."""
    t.run("create", "--name", "P", "--timeout", "900", "--mount",
          t.table + "_p:/mnt/data")
    t.run("exec", "P", "--", "sh", "-c", "echo 1 > /mnt/data/one")
    t.run("pause", "P")
    need(proxy.freeze() > 0, "no connection was open")
    t.run("resume", "P")
    began = time.monotonic()
    t.run("exec", "P", "--", "sh", "-c", "echo 2 > /mnt/data/two && "
          "deeplake flush /mnt/data --timeout 100", timeout=150)
    need(time.monotonic() - began < 60, "%.0f s" % (time.monotonic() - began))
    # and the other way: the connection that brings news is dead as well
    t.run("run", "--mount", t.table + "_p:/mnt/data", "--", "sh", "-c",
          "echo 3 > /mnt/data/three")
    wait_for("news", lambda: t.run("cat", "P:/mnt/data/three", status=None) ==
             b"3\n", 120)
    t.run("kill", "P")


def main():
    with harness.folder() as d:
        table = Table(d)
        server = Server(d)
        proxy = Proxy(int(table.url.rsplit(":", 1)[1]))
        local, e2b = table.tool(d + "/l", {}), table.tool(d + "/e",
                                                          server.env())
        far = table.tool(d + "/p", server.env())
        with open(table.credentials, encoding="utf-8") as f:
            far_credentials = dict(json.load(f), apiUrl=proxy.url)
        with open(d + "/p/home/.deeplake/credentials.json", "w",
                  encoding="utf-8") as f:
            json.dump(far_credentials, f)
        local.server, e2b.server, far.server = None, server, server
        tests = [("inside/%s/%s" % (t.provider, f.__name__),
                  lambda f=f, t=t: f(t)) for t in (local, e2b)
                 for f in (stream, file_api)]
        tests += [("inside/e2b/fork_noticed", lambda: fork_noticed(e2b)),
                  ("inside/e2b/dead_connections",
                   lambda: dead_connections(far, proxy))]
        try:
            return harness.run_tests(tests)
        finally:
            for t in (local, e2b):
                t.run("kill", "--all", "--force", status=None)
            server.stop()
            table.stop()


if __name__ == "__main__":
    sys.exit(main())
