"""The guide, end to end, with the real driver and its real server.

	test_guide.py PYTHON   (of the environment that has the SDKs)
"""
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request

import harness
from harness import HERE, Server, Tool, need, wait_for

EXAMPLES = os.path.join(HERE, "../../packaging/examples")


class Table:
    """deeplake-serve, with credentials for a tool's home."""

    def __init__(self, folder):
        self.credentials = folder + "/credentials.json"
        self.process = subprocess.Popen(
            [os.environ["SANDBOX_SERVE"], "--listen", "127.0.0.1:0",
             "--store", "sqlite:" + folder + "/store", "--write-credentials",
             self.credentials], stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        need(line.startswith("ready "), "server: " + line)
        self.url = line.split()[1]

    def tool(self, folder, env):
        t = Tool(env, folder, os.environ["SANDBOX_BUNDLE"])
        t.provider = "e2b" if env else "local"
        t.table = "shared_e2b" if env else "shared_local"
        os.makedirs(folder + "/home/.deeplake", exist_ok=True)
        shutil.copy(self.credentials, folder + "/home/.deeplake/")
        return t

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


def once(t):
    """Create two, mount, write, read, umount, kill: how long it took."""
    began = time.monotonic()
    t.run("create", "--name", "A", "--mount", t.table + ":/mnt/data")
    t.run("create", "--name", "B", "--mount", t.table + ":/mnt/data")
    t.run("exec", "A", "--", "sh", "-c",
          "echo 'written from sandbox A' > /mnt/data/hello.txt")
    wait_for("A's file in B", lambda: t.run(
        "cat", "B:/mnt/data/hello.txt", status=None) ==
        b"written from sandbox A\n")
    t.run("exec", "A", "--", "deeplake", "umount", "/mnt/data")
    t.run("kill", "A", "B")
    took = time.monotonic() - began
    # C starts and finds everything
    need(t.run("run", "--mount", t.table + ":/mnt/data", "--", "rm", "-v",
               "/mnt/data/hello.txt").startswith(b"removed"), "C")
    return took


def guide(t, limit):
    """Up to three times, for this machine may have other things to do."""
    took = []
    while len(took) < 3 and not (took and took[-1] < limit):
        took.append(once(t))
    need(took[-1] < limit, "the guide took %s s" % took)


def sudden(t):
    """Killed without a word after a flush: nothing is lost."""
    t.run("create", "--name", "D", "--mount", t.table + ":/mnt/data")
    t.run("exec", "D", "--", "sh", "-c", "echo kept > /mnt/data/kept && "
          "deeplake flush /mnt/data")
    if t.env.get("E2B_API_URL"):
        sid = t.json("info", "D")["sandboxID"]
        urllib.request.urlopen(urllib.request.Request(
            t.env["E2B_API_URL"] + "/sandboxes/" + sid, method="DELETE",
            headers={"X-API-Key": harness.KEY})).close()
    else:
        os.kill(t.json("info", "D")["pid"], 9)
    wait_for("its end", lambda: not t.ids())
    need(t.run("run", "--mount", t.table + ":/mnt/data", "--", "cat",
               "/mnt/data/kept") == b"kept\n", "kept")


def pause(t):
    t.run("create", "--name", "P", "--mount", t.table + "_pf:/mnt/data")
    t.run("exec", "P", "--", "sh", "-c", "echo 1 > /mnt/data/one")
    t.run("pause", "P")
    time.sleep(1)
    t.run("resume", "P")
    t.run("exec", "P", "--", "sh", "-c", "cat /mnt/data/one && "
          "echo 2 > /mnt/data/two")
    t.run("kill", "P")
    need(t.run("run", "--mount", t.table + "_pf:/mnt/data", "--", "cat",
               "/mnt/data/two") == b"2\n", "written after the resume")


def own_token(t, table):
    """A sandbox has a token of its own, for its table only, as long as it
    lives; a copy has another."""
    with open(table.credentials, encoding="utf-8") as f:
        mine = json.load(f)

    def ask(token, name, sql="SELECT 1 FROM \"%s\" LIMIT 1"):
        r = urllib.request.Request(
            mine["apiUrl"] + "/workspaces/default/tables/query",
            json.dumps({"query": sql % name}).encode(),
            {"Authorization": "Bearer " + token})
        try:
            return urllib.request.urlopen(r).status
        except urllib.error.HTTPError as e:
            return e.code

    def token_of(name):
        return json.loads(t.run("cat", name + ":.deeplake/credentials.json")
                          )["token"]

    own, other = t.table + "_own", t.table + "_other"
    t.run("run", "--mount", other + ":/mnt/data", "--", "true")
    t.run("create", "--name", "T", "--mount", own + ":/mnt/data")
    first = token_of("T")
    need(first != mine["token"], "the user's own token is in the sandbox")
    need(ask(first, own) == 200 and ask(first, other) == 403, "its scope")
    copy = t.text("fork", "T")
    second = token_of(copy)
    need(second not in (first, mine["token"]), "the copy's token")
    need(ask(second, own) == 200 and ask(second, other) == 403, "its scope")
    t.run("kill", t.json("info", "T" if t.provider == "local" else
                         first_id(t, copy))["sandboxID"])
    need(ask(first, own) == 401, "ended with its sandbox")
    # and the copy goes on
    t.run("exec", copy, "--", "sh", "-c", "echo on > /mnt/data/on && "
          "deeplake flush /mnt/data")
    t.run("kill", copy)
    need(ask(second, own) == 401 and ask(mine["token"], own) == 200, "ended")
    need(t.run("run", "--mount", own + ":/mnt/data", "--", "cat",
               "/mnt/data/on") == b"on\n", "kept")
    # reading only, where all mounts are read-only
    t.run("create", "--name", "R", "--mount", own + ":/mnt/data:ro")
    need(ask(token_of("R"), own, "DELETE FROM \"%s\"") in (400, 403), "ro")
    t.run("kill", "R")


def first_id(t, copy):
    """The service's copies keep the metadata, hence the name."""
    return next(i for i in t.ids() if i != copy)


def both_kinds(one, other):
    """A table first made in one kind of sandbox is used in the other."""
    table = "first_" + one.provider
    one.run("run", "--mount", table + ":/mnt/data", "--", "sh", "-c",
            "umask 077; mkdir /mnt/data/d && echo 1 > /mnt/data/d/f && "
            "touch /mnt/data/empty")
    other.run("run", "--mount", table + ":/mnt/data", "--", "sh", "-ec",
              "cd /mnt/data; echo 2 >> d/f; touch new d/new; mv d/f d/g; "
              "chmod 600 d/g; rm empty; test \"$(stat -c %u d/g)\" = 1000")
    need(one.text("run", "--mount", table + ":/mnt/data", "--", "sh", "-ec",
                  "cd /mnt/data; echo 3 >> d/g; cat d/g; ls . d") ==
         "1\n2\n3\n.:\nd\nnew\n\nd:\ng\nnew", "back in the first kind")


def eight(t, table):
    """Eight sandboxes in parallel on one table; a ninth sees all of it."""
    name = t.table + "_eight"
    made = t.json("create", "--count", "8", "--concurrency", "8", "--name",
                  "w", "--mount", name + ":/mnt/data", timeout=300)
    need(len(made) == 8, "made %d" % len(made))
    work = ("set -e; n=$1; mkdir -p /mnt/data/own-$n /mnt/data/shared; i=0; "
            "while [ $i -lt 1000 ]; do echo $n > /mnt/data/own-$n/$i; "
            "echo $n > /mnt/data/shared/$n-$i; i=$((i+1)); done; "
            "echo $n >> /mnt/data/shared/all")
    jobs = [t.start("exec", "w-%d" % n, "--", "sh", "-c", work, "sh", str(n))
            for n in range(1, 9)]
    for j in jobs:
        _, err = j.communicate(timeout=500)
        need(j.returncode == 0 and not err, err)
    t.run("kill", *["w-%d" % n for n in range(1, 9)], timeout=500)
    # every file with its content; the directory made eight times is one; the
    # appends of all are in one file, in whatever order
    seen = t.text("run", "--mount", name + ":/mnt/data", "--", "sh", "-ec",
                  "cd /mnt/data; ls | tr '\\n' ' '; echo; "
                  "cat own-*/* | sort -n | uniq -c; "
                  "ls shared | wc -l; cat shared/?-* | sort -n | uniq -c; "
                  "sort -n shared/all | tr -d '\\n'", timeout=500)
    thousand = ["%d %d" % (1000, n) for n in range(1, 9)]
    want = ["".join("own-%d " % n for n in range(1, 9)) + "shared"] + \
        thousand + ["8001"] + thousand + ["12345678"]
    need([x.strip() for x in seen.splitlines()] == want, seen)
    # The files view follows in its own time (2): what is missing of it is made.
    for want, more in (((0, 2), []), ((0, 1), ["--repair"]), ((0,), [])):
        fsck = subprocess.run([os.environ["SANDBOX_DRIVER"], "fsck", name] +
                              more, env=t.env, capture_output=True, text=True,
                              timeout=300, check=False)
        need(fsck.returncode in want, (fsck.stdout + fsck.stderr)[-2000:])


def examples(table, folder, server, python):
    t = table.tool(folder, server.env())
    d = folder + "/tpl"
    t.run("template", "init", d)
    t.run("template", "build", d, "--name", "my-data-sandbox", timeout=300)
    env = dict(t.env, PATH=os.environ["PATH"],
               E2B_NODE_MODULES=os.environ["E2B_NODE_MODULES"])
    for argv in ([python, EXAMPLES + "/guide.py"],
                 [shutil.which("node"), EXAMPLES + "/guide.mjs"]):
        p = subprocess.run(argv + ["my-data-sandbox"], env=env, text=True,
                           capture_output=True, timeout=180,
                           stdin=subprocess.DEVNULL)
        need(p.returncode == 0 and "written from sandbox A" in p.stdout and
             "later: 42" in p.stdout, p.stdout + p.stderr)
    # what the mount adds to a sandbox of the template: the quickest of three,
    # for this machine may have other things to do
    took = {"": [], "mounted": []}
    for _ in range(3):
        for kind, times in took.items():
            began = time.monotonic()
            t.run("create", "--template", "my-data-sandbox", "--name", "T",
                  *(["--mount", "shared_workspace:/mnt/data"] if kind else []))
            times.append(time.monotonic() - began)
            t.run("kill", "T")
    mount = min(took["mounted"]) - min(took[""])
    need(mount < 1, "the mount took %.2f s" % mount)
    print("     a sandbox of the template: %.2f s, mounted %.2f s" % (
        min(took[""]), min(took["mounted"])))


def main():
    python = sys.argv.pop(1)
    with harness.folder() as d:
        table = Table(d)
        server = Server(d)
        tools = {"local": table.tool(d + "/l", {}),
                 "e2b": table.tool(d + "/e", server.env())}
        tests = []
        for name, t in tools.items():
            tests += [
                ("guide/" + name, lambda t=t, n=name: guide(
                    t, 5 if n == "local" else 60)),
                ("guide/%s/sudden" % name, lambda t=t: sudden(t)),
                ("guide/%s/pause" % name, lambda t=t: pause(t)),
                ("guide/%s/token" % name, lambda t=t: own_token(t, table)),
            ]
        tests += [("guide/first-" + a, lambda a=a, b=b: both_kinds(
            tools[a], tools[b])) for a, b in (("local", "e2b"),
                                              ("e2b", "local"))]
        tests += [("guide/eight-" + name, lambda t=t: eight(t, table))
                  for name, t in tools.items()]
        tests.append(("guide/examples", lambda: examples(
            table, d + "/x", server, python)))
        try:
            return harness.run_tests(tests)
        finally:
            for t in tools.values():
                t.run("kill", "--all", "--force", status=None)
            server.stop()
            table.stop()


if __name__ == "__main__":
    sys.exit(main())
