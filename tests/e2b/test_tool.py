"""The tool through every command, on both providers, with the stand-in
driver: SANDBOX_TOOL, SANDBOX_PASS name the programs."""
import filecmp
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time

import harness
from harness import Server, Tool, need, wait_for
from store import Store

BIG = os.urandom(3_000_000)


def clean(b, test):
    """Each test begins with nothing, whatever the one before left."""
    b.store.mode = "ok"
    b.server.clear()
    b.tool.credentials(b.store.url)
    b.tool.run("kill", "--all", "--force", status=None)
    test(b)


class Bed:
    """One provider, with a table server."""

    def __init__(self, provider, folder, server, store, bundle):
        self.server = server
        self.store = store
        self.folder = folder
        env = server.env() if provider == "e2b" else {}
        self.tool = Tool(env, folder, bundle)
        self.tool.credentials(store.url)
        self.out = folder + "/out"
        os.makedirs(self.out)

    def path(self, name, data=None, mode=0o644):
        p = os.path.join(self.out, name)
        if data is not None:
            os.makedirs(os.path.dirname(p), exist_ok=True)
            with open(p, "wb") as f:
                f.write(data)
            os.chmod(p, mode)
        return p


def test_create(b):
    t = b.tool
    sid = t.text("create", "--name", "one", "--env", "FOO=bar baz",
                 "--metadata", "app=t", "--timeout", "100", "--workdir",
                 "/home/user/w")
    info = t.json("info", "one")
    need(info["sandboxID"] == sid and info["metadata"]["app"] == "t", info)
    need("envdAccessToken" not in info, "token shown")
    need(t.text("exec", sid[:8], "--", "sh", "-c", "echo $FOO; pwd") ==
         "bar baz\n/home/user/w", "env and workdir")
    need(sid in t.text("list", "--metadata", "app=t"), "listed")
    need(t.json("list", "--metadata", "app=other") == [], "filter")
    need(t.json("list", "--state", "paused") == [], "state filter")
    env = b.path("env", b"# c\nA=1\nexport B=x y\n")
    two = t.json("create", "--env-file", env)["sandboxID"]
    need(t.text("exec", two, "--", "sh", "-c", "echo $A $B") == "1 x y", "env")
    t.run("kill", two, sid)
    need(t.ids() == [], "all killed")
    made = t.json("create", "--count", "3", "--concurrency", "3", "--name",
                  "n")
    need(len(made) == 3 and len(t.ids()) == 3, made)
    t.run("exec", "n-2", "--", "true")
    t.run("kill", "--all")
    t.run("create", "--name", "twice")
    t.run("create", "--name", "twice", status=1)
    need("taken" in t.err, t.err)
    t.run("kill", "twice")
    t.run("create", "--template", "nothing-like-it", status=None)
    need(t.status != 0 and "nothing-like-it" in t.err, t.err)
    need(t.ids() == [], "nothing left")


def test_usage(b):
    t = b.tool
    t.run("exec", "x", status=125)
    t.run("frobnicate", status=2)
    t.run("create", "--nope", status=2)
    t.run("create", "--timeout", "abc", status=2)
    t.run("create", "--mount", "no-path", status=2)
    t.run("kill", status=2)
    t.run("info", "no-such-sandbox", status=1)
    t.run("exec", "no-such-sandbox", "--", "true", status=125)
    for c in ("create", "template build"):
        need(b"--" in t.run(*c.split(), "--help"), c)


def test_exec(b):
    t = b.tool
    t.run("create", "--name", "x")
    p = t.json("exec", "x", "--", "sh", "-c", "echo out; echo err >&2; exit 7",
               status=7)
    need((p["stdout"], p["stderr"], p["status"]) == ("out\n", "err\n", 7), p)
    t.run("exec", "x", "--", "sh", "-c", "kill -9 $$", status=137)
    t.run("exec", "x", "--", "sh", "-c", "kill -TERM $$", status=143)
    t.run("exec", "x", "--", "no-such-program", status=127)
    t.run("exec", "x", "--cwd", "/no/such", "--", "true", status=None)
    need(t.status in (125, 126), t.status)
    began = time.monotonic()
    t.run("exec", "x", "--timeout", "1", "--", "sh", "-c",
          "sleep 30 & sleep 30; wait", status=124)
    need(time.monotonic() - began < 10, "timeout took too long")
    need(t.run("exec", "x", "-i", "--", "sha256sum", input=BIG).split()[0] ==
         subprocess.run(["sha256sum"], input=BIG, check=True,
                        capture_output=True).stdout.split()[0], "stdin")
    need(t.run("exec", "x", "-i", "--", "cat", input=BIG) == BIG, "bytes")
    need(t.run("exec", "x", "--", "head", "-c", "20000000", "/dev/zero") ==
         bytes(20000000), "much output")
    pid = t.text("exec", "x", "-d", "--", "sleep", "600")
    need(t.text("exec", "x", "--", "pgrep", "-x", "sleep").split().count(pid),
         "background runs")
    need(t.text("exec", "x", "-e", "Q=a'b", "--", "sh", "-c",
                "echo \"$Q\" \"$1\"", "sh", "c d") == "a'b c d", "quoting")
    need(t.json("exec", "x", "--", "printf", r"\377")["stdout_base64"] ==
         "/w==", "not UTF-8")
    t.run("kill", "x")


def test_signal(b):
    t = b.tool
    t.run("create", "--name", "x")
    p = t.start("exec", "x", "--", "sh", "-c",
                "trap 'echo got; exit 9' INT; echo ready; "
                "while :; do sleep 0.1; done")
    need(p.stdout.readline() == b"ready\n", "started")
    p.send_signal(signal.SIGINT)
    out, _ = p.communicate(timeout=20)
    need(p.returncode == 9 and out == b"got\n", (p.returncode, out))
    t.run("kill", "x")


def test_tty(b):
    t = b.tool
    t.run("create", "--name", "x")
    master, slave = pty.openpty()
    import fcntl
    import struct
    import termios
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
    p = t.start("exec", "-t", "x", "--", "sh", "-c",
                "stty size; read l; echo got-$l; trap 'stty size; exit 3' "
                "WINCH; echo wait; while :; do sleep 0.1; done",
                stdin=slave)
    seen = b""

    def more(what):
        nonlocal seen
        end = time.monotonic() + 15
        while what not in seen:
            need(time.monotonic() < end, "no %s in %r" % (what, seen))
            if select.select([p.stdout], [], [], 0.2)[0]:
                seen += os.read(p.stdout.fileno(), 4096)

    more(b"33 77")
    os.write(master, b"hello\r")
    more(b"got-hello")
    more(b"wait")
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 90, 0, 0))
    p.send_signal(signal.SIGWINCH)
    more(b"40 90")
    need(p.wait(15) == 3, p.returncode)
    os.close(master)
    os.close(slave)
    t.run("kill", "x")


def test_files(b):
    t = b.tool
    t.run("create", "--name", "x")
    big = b.path("big", BIG, 0o751)
    t.run("cp", big, "x:/tmp/d/big")
    t.run("cp", "x:/tmp/d/big", b.path("back"))
    need(filecmp.cmp(big, b.path("back"), False), "same bytes")
    need(os.stat(b.path("back")).st_mode & 0o777 == 0o751, "mode")
    t.run("cp", "-", "x:/tmp/d/in", input=b"\0\1")
    need(t.run("cp", "x:/tmp/d/in", "-") == b"\0\1", "streams")
    need(t.run("cat", "x:/tmp/d/in") == b"\0\1", "cat")
    b.path("tree/a/b", b"1", 0o600)
    b.path("tree/run", b"2", 0o755)
    os.symlink("run", b.path("tree/link"))
    t.run("cp", b.path("tree"), "x:t", status=1)
    t.run("cp", "-r", b.path("tree"), "x:t")
    t.run("cp", "-r", "x:t", b.path("tree2"))
    need(os.readlink(b.path("tree2/link")) == "run", "symlink")
    need(os.stat(b.path("tree2/a/b")).st_mode & 0o777 == 0o600, "modes")
    names = [e["name"] for e in t.json("ls", "x:t")]
    need(sorted(names) == ["a", "link", "run"], names)
    need(re.search(r"-rwxr-xr-x .* run$", t.text("ls", "x:t"), re.M), "ls")
    t.run("mv", "x:t/run", "t/ran")
    t.run("mkdir", "x:t/new/deep")
    t.run("mkdir", "x:t/new/deep", status=1)
    t.run("mkdir", "-p", "x:t/new/deep")
    t.run("rm", "x:t/new", status=1)
    t.run("rm", "-r", "x:t/new")
    t.run("rm", "x:t/none", status=1)
    t.run("cat", "x:/nope", status=1)
    t.run("cp", "x:/tmp", b.path("no"), status=1)
    need(sorted(e["name"] for e in t.json("ls", "x:t")) ==
         ["a", "link", "ran"], "after all")
    t.run("kill", "x")


def test_life(b):
    t = b.tool
    sid = t.text("create", "--name", "x", "--timeout", "60")
    t.run("exec", "x", "-d", "--", "sleep", "4321")
    t.run("timeout", "x", "500")
    t.run("pause", "x")
    need(t.json("info", "x")["state"] == "paused", "paused")
    need([o["sandboxID"] for o in t.json("list", "--state", "paused")] ==
         [sid], "list paused")
    t.run("exec", "x", "--", "true", status=125)
    t.run("resume", "x")
    need(t.text("exec", "x", "--", "pgrep", "-f", "sleep 4321"), "as before")
    t.run("exec", "x", "--", "sh", "-c", "echo kept > ~/kept")
    snap = t.text("snapshot", "x")
    t.run("create", "--template", snap, "--name", "y")
    need(t.text("cat", "y:kept") == "kept", "snapshot")
    copies = t.json("fork", "x", "--count", "2")
    need(len(set(copies)) == 2 and t.text("cat", copies[1] + ":kept") ==
         "kept", copies)
    need(t.text("logs", sid), "a log")
    need(t.text("url", sid, "8000").startswith("http"), "url")
    t.run("kill", "--all")
    need(t.ids() == [], "killed")
    t.run("create", "--timeout", "1")
    wait_for("the end of its time", lambda: not t.ids())
    t.run("create", "--timeout", "1", "--auto-pause")
    wait_for("auto-pause", lambda: t.json("list", "--state", "paused"))
    t.run("kill", "--all")


def test_choices(b):
    """Options that choose: which sandboxes, which user, how long a log."""
    t = b.tool
    t.run("create", "--name", "x", "--metadata", "job=1")
    t.run("create", "--name", "y", "--metadata", "job=2")
    p = t.start("logs", "-f", "x")
    t.run("exec", "x", "--user", "root", "--cwd", "/tmp", "--", "pwd")
    time.sleep(2)  # a log is looked at once a second
    t.run("kill", "--all", "--metadata", "job=1")
    out, err = p.communicate(timeout=20)  # the log ends with its sandbox
    need(p.returncode == 0 and out, (p.returncode, out, err))
    need([o["metadata"]["job"] for o in t.json("list")] == ["2"],
         "the other was not asked for")
    need(t.text("exec", "y", "--user", "root", "--cwd", "/tmp", "-e", "A=1",
                "--", "sh", "-c", "pwd; echo $A") == "/tmp\n1", "cwd, env")
    t.run("exec", "y", "--", "true")
    usual = t.err
    t.run("exec", "y", "--verbose", "--", "true")
    need(len(t.err) > len(usual) and "debug" in t.err, "verbose: " + t.err)
    t.run("kill", "y", "--quiet")
    need(t.err == "", "quiet: " + t.err)


def test_mount(b):
    t = b.tool
    b.store.mode = "ok"
    t.run("create", "--name", "a", "--mount", "shared:/mnt/data")
    t.run("create", "--name", "c", "--mount", "shared:/mnt/data")
    t.run("exec", "a", "--", "sh", "-c", "echo from-a > /mnt/data/f")
    # the platform's own file API works on the mount
    need(t.text("cat", "a:/mnt/data/f") == "from-a", "file API reads")
    t.run("cp", b.path("up", b"up"), "a:/mnt/data/up")
    t.run("kill", "a")
    need(b.store.files("shared") == {"f": b"from-a\n", "up": b"up"},
         b.store.files("shared"))
    t.run("create", "--name", "d", "--mount", "shared:/mnt/data")
    need(t.text("cat", "d:/mnt/data/f") == "from-a", "seen elsewhere")
    mode = t.text("exec", "d", "--", "sh", "-c",
                  "stat -c %a ~/.deeplake ~/.deeplake/credentials.json")
    need(mode.split() == ["700", "600"], mode)
    t.run("pause", "d")
    t.run("resume", "d")
    need(t.text("cat", "d:/mnt/data/f") == "from-a", "after resume")
    t.run("kill", "--all")


def test_mount_fails(b):
    t = b.tool
    t.credentials(b.store.url, token="wrong")
    t.run("create", "--mount", "x:/mnt/data", status=4)
    need(t.ids() == [], "no sandbox stays")
    t.run("create", "--mount", "x:/mnt/data", "--keep", status=4)
    need(len(t.ids()) == 1, "--keep")
    t.run("kill", "--all")
    t.credentials(b.store.url)
    os.rename(t.folder + "/home/.deeplake", t.folder + "/home/away")
    t.run("create", "--mount", "x:/mnt/data", status=3)
    os.rename(t.folder + "/home/away", t.folder + "/home/.deeplake")


def test_run(b):
    t = b.tool
    b.store.mode = "ok"
    script = b.path("task.py", b"import os\n"
                    b"open('/mnt/data/output.txt','w').write('done')\n"
                    b"print(os.getcwd())\nraise SystemExit(4)\n")
    out = t.text("run", "--mount", "agents:/mnt/data", "--upload",
                 script + ":/tmp/task.py", "--download",
                 "/mnt/data/output.txt:" + b.path("got"), "--", "python3",
                 "/tmp/task.py", status=4)
    need(out == "/home/user", out)
    need(b.store.files("agents")["output.txt"] == b"done", "in the table")
    with open(b.path("got"), "rb") as f:
        need(f.read() == b"done", "downloaded")
    need(t.ids() == [], "killed")
    j = t.json("run", "--", "sh", "-c", "echo hi; exit 3", status=3)
    need(j["stdout"] == "hi\n" and j["exit"] == 3, j)
    for sig in (signal.SIGINT, signal.SIGTERM):
        p = t.start("run", "--mount", "agents:/mnt/data", "--", "sh", "-c",
                    "echo %d > /mnt/data/s%d; echo ready; sleep 100" %
                    (sig, sig))
        need(p.stdout.readline() == b"ready\n", "runs")
        # dash that is signalled while it forks waits for its child
        time.sleep(0.3)
        p.send_signal(sig)
        p.communicate(timeout=30)
        need(p.returncode == 128 + sig, p.returncode)
        need("s%d" % sig in b.store.files("agents"), "flushed")
        need(t.ids() == [], "cleaned up")


def test_not_flushed(b):
    t = b.tool
    b.store.mode = "refuse"
    t.run("run", "--mount", "nf:/mnt/data", "--flush-timeout", "2", "--",
          "sh", "-c", "echo x > /mnt/data/x", status=5)
    need("NOT killed" in t.err and len(t.ids()) == 1, t.err)
    sid = t.ids()[0]
    t.run("kill", sid, "--flush-timeout", "2", status=5)
    t.run("pause", sid, "--flush-timeout", "2", status=5)
    need(t.ids() == [sid], "still there")
    b.store.mode = "ok"
    t.run("kill", sid)
    need(b.store.files("nf") == {"x": b"x\n"} and t.ids() == [], "saved")
    b.store.mode = "refuse"
    t.run("run", "--mount", "nf:/mnt/data", "--flush-timeout", "2", "--",
          "sh", "-c", "exit 9", status=9)
    need("NOT killed" in t.err, "the command's status wins")
    t.run("kill", "--all", "--force")
    t.run("run", "--mount", "nf:/mnt/data", "--flush-timeout", "2", "--force",
          "--", "true")
    need(t.ids() == [], "forced")
    b.store.mode = "ok"


def test_busy_umount(b):
    t = b.tool
    t.run("create", "--name", "x", "--mount", "busy:/mnt/data")
    t.run("exec", "x", "-d", "--", "sh", "-c",
          "cd /mnt/data; echo 1 > f; exec sleep 1000")
    wait_for("the file", lambda: t.run("cat", "x:/mnt/data/f", status=None))
    t.run("kill", "x")
    need(b.store.files("busy") == {"f": b"1\n"}, "flushed")


# ---- what only the service has

def secrets_stay_secret(b):
    """Bodies of all calls but /files: envd logs them."""
    for r in b.server.log():
        need(harness.TOKEN not in r["body"] + r["path"],
             "the token travelled in %s" % r["path"])


def test_lost_create(b):
    t, s = b.tool, b.server
    s.fault("POST /v2/sandboxes$", "lose")
    t.run("create", "--name", "x")
    need(len(t.ids()) == 1, "one sandbox, not two")
    t.run("kill", "--all")
    s.fault("POST /v2/sandboxes$", "status:504")
    t.run("create")
    need(len(t.ids()) == 1, "made after a 504")
    t.run("kill", "--all")
    s.fault("POST /v2/sandboxes$", "status:429", retry_after=1,
            message="Rate limit exceeded")
    began = time.monotonic()
    t.run("create")
    need(time.monotonic() - began >= 1, "waited for Retry-After")
    t.run("kill", "--all")
    s.fault("POST /v2/sandboxes$", "status:429", message="too many sandboxes")
    t.run("create", status=1)
    need("too many sandboxes" in t.err, t.err)
    s.fault("POST /v2/sandboxes$", "status:503", times=2)
    t.run("run", "--", "true")
    s.fault("POST /v2/sandboxes$", "text:404")
    t.run("run", "--", "true")  # falls back to v1
    s.fault("POST /process.Process/Start", "status:502", times=3)
    t.run("run", "--", "true")  # not up yet
    need(t.ids() == [], "none left")


def test_cut_stream(b):
    t, s = b.tool, b.server
    t.run("create", "--name", "x")
    s.fault("POST /process.Process/Start", "cut:300")
    t.run("exec", "x", "--", "sh", "-c", "echo a; sleep 1; echo b; exit 6",
          status=6)
    s.fault("POST /process.Process/Start", "cut:0")
    t.run("exec", "x", "--", "sh", "-c", "exit 6", status=6)
    s.fault("POST /process.Process/Start", "cut:0")
    t.run("exec", "x", "--", "sh", "-c", "echo 1 >> ~/once")
    need(t.run("cat", "x:once") == b"1\n", "a command ran twice")
    s.fault("POST /process.Process/Start", "cut:240")
    s.fault("POST /process.Process/Connect", "cut:0", times=2)
    t.run("exec", "x", "--", "sh", "-c", "echo a; sleep 2; exit 6", status=6)
    need("output is lost" in t.err, t.err)
    s.fault("POST /process.Process/Start", "cut:240")
    s.fault("POST /process.Process/Connect", "status:401", times=20)
    t.run("exec", "x", "--", "sh", "-c", "echo a; sleep 2", status=125)
    s.clear()
    s.fault("POST /files$", "lose")
    t.run("cp", b.path("f", b"x"), "x:/tmp/f", status=None)
    need(t.status != 0, "a lost answer to an upload is a failure")
    t.run("kill", "x")


def test_v1(b):
    with harness.folder() as d:
        s = Server(d, "--v1-only")
        t = Tool(s.env(), d)
        t.run("run", "--", "true")
        t.text("create", "--name", "x")
        t.run("pause", "x")
        t.run("resume", "x")
        t.run("kill", "x")
        s.stop()


def test_bad_key(b):
    t = Tool(dict(b.server.env(), E2B_API_KEY="e2b_wrong"), b.folder)
    t.run("create", status=3)
    need("E2B_API_KEY" in t.err, t.err)
    t = Tool({"DEEPLAKE_SANDBOX_PROVIDER": "e2b"}, b.folder)
    t.run("create", status=3)
    t = Tool({"E2B_API_KEY": "e2b_0", "E2B_API_URL": "http://127.0.0.1:9"},
             b.folder)
    t.run("list", status=4)


def test_hosts(b):
    """Where a sandbox's ports are, by domain and by what is set."""
    t = b.tool
    sid = t.text("create", "--name", "x")
    other = Tool(dict(b.server.env(), E2B_DOMAIN="example.org"), b.folder)
    need(other.text("url", sid, "8000") == "https://8000-%s.example.org" %
         sid, "by domain")
    t.run("kill", "x")
    # without a control plane: one agent on localhost
    t = Tool({"E2B_DEBUG": "true"}, b.folder)
    need(t.text("url", "any", "80") == "http://localhost:80", "debug")


def test_code(b):
    t = b.tool
    t.run("create", "--template", "code-interpreter-v1", "--name", "x")
    need(t.run("code", "x", "-", input=b"hello") == b"hello\n", "stdout")
    t.run("code", "x", "-", "--language", "bash", input=b"hello")
    need('"language": "bash"' in json.dumps([json.loads(
        r["body"]).get("language") and json.loads(r["body"])
        for r in b.server.log() if r["path"] == "/execute"]), "language")
    t.run("code", "x", "-", "--context", "k", input=b"x = 5")
    need(t.run("code", "x", "-", "--context", "k", input=b"x") == b"5\n",
         "context")
    t.run("code", "x", "-", input=b"raise", status=1)
    need("ValueError" in t.err, t.err)
    t.run("code", "x", "-", "--output", b.path("pics"), input=b"plot")
    with open(b.path("pics/result-1.png"), "rb") as f:
        need(f.read(4) == b"\x89PNG", "picture")
    lines = json.loads(t.run("code", "x", "-", "--json", input=b"plot"))
    need([o["type"] for o in lines][:2] == ["stdout", "result"], lines)
    t.run("kill", "x")
    t.run("create", "--name", "plain")
    t.run("code", "plain", "-", input=b"1", status=None)
    need(t.status != 0 and "interpreter" in t.err, t.err)
    t.run("kill", "plain")


def started(b):
    """The body of the last request that started a build."""
    return next(json.loads(r["body"]) for r in reversed(b.server.log())
                if "/builds/" in r["path"] and r["method"] == "POST")


def test_template(b):
    t = b.tool
    d = b.path("tpl")
    t.run("template", "init", d)
    t.run("template", "init", d, status=1)
    need(re.search("^FROM e2b/base$", open(d + "/Dockerfile").read(), re.M),
         "Dockerfile")
    t.run("template", "build", d, "--name", "with-driver")
    need("with-driver" in t.text("template", "list"), "listed")
    t.run("create", "--template", "with-driver", "--mount",
          "tt:/mnt/data", "--name", "x")
    need("uploading" not in t.err, "the driver was inside")
    need("deeplakefs" in t.text("exec", "x", "--", "cat", "/etc/fstab"),
         "fstab")
    t.run("kill", "x")
    t.run("template", "build", "--base", "base", "--name", "opts",
          "--cpu", "1", "--memory", "512", "--start", "true", "--ready",
          "true")
    t.run("run", "--template", "opts", "--mount", "tt:/mnt/data", "--",
          "true")
    b.path("bad/Dockerfile", b"FROM base\n\nRUN true\nHEALTHCHECK x\n")
    t.run("template", "build", b.path("bad"), "--name", "bad", status=2)
    need("line 4" in t.err and "HEALTHCHECK" in t.err, t.err)
    b.path("fail/Dockerfile", b"FROM base\nRUN echo before; exit 3\n")
    t.run("template", "build", b.path("fail"), "--name", "bad", status=1)
    # packages become steps; nothing is fetched here, so the start is refused
    b.server.fault("POST /v2/templates/[^/]+/builds/", "status:500")
    t.run("template", "build", "--base", "python:3.11", "--name", "pk",
          "--apt", "git,jq", "--pip", "six", "--npm", "left-pad", status=1)
    body = started(b)
    steps = " / ".join(s["args"][0] for s in body["steps"]
                       if s["type"] == "RUN")
    need(body["fromImage"] == "python:3.11" and re.search(
        "apt-get install -y .*git jq / .*pip install .*six / .*npm install "
        "-g left-pad", steps), body)
    need(body["force"] is False, body)
    # another file's name; and the cache of layers may be left aside
    b.path("other/Dockerfile", b"FROM base\nRUN exit 3\n")
    b.path("other/My.docker", b"FROM base\nRUN echo of-my-own\n")
    build = ["template", "build", b.path("other"), "--name", "mine"]
    said = t.text(*build, "--dockerfile", "My.docker", "--no-cache")
    need("of-my-own" in said, "the build's log: " + said)
    body = started(b)
    need(body["force"] is True and "of-my-own" in str(body["steps"]), body)
    t.run(*build, status=1)
    t.run(*build, "--dockerfile", "none", status=None)
    need(t.status != 0 and "none" in t.err, t.err)
    said = t.text(*build, "--dockerfile", "My.docker", "--quiet")
    need("of-my-own" not in said and not t.err, said + t.err)
    t.run("template", "build", "--base", "base", "--apt", "a;reboot",
          "--name", "pk", status=None)
    need(t.status != 0 and "not a list of packages" in t.err, t.err)
    t.run("template", "delete", "with-driver", "opts", "mine")
    t.run("template", "delete", "with-driver", status=1)


# ---- what only the local provider promises

def test_local_closed(b):
    t = b.tool
    t.run("create", "--name", "x", "--memory", "128")
    inside = ("touch /usr/x 2>/dev/null && echo wrote; "
              "mount -o remount,rw /usr 2>/dev/null && echo remounted; "
              "umount /usr 2>/dev/null && echo unmounted; "
              "v=$(cat /proc/sys/kernel/core_pattern); "
              "(echo \"$v\" >/proc/sys/kernel/core_pattern) 2>/dev/null && "
              "echo sysctl; ls /root 2>/dev/null; "
              "test -e /etc/shadow && echo shadow; "
              "ls /sys/class/net 2>/dev/null; true")
    need(t.text("exec", "x", "--", "sh", "-c", inside) == "",
         t.text("exec", "x", "--", "sh", "-c", inside))
    need(t.text("exec", "x", "--", "sh", "-c",
                "cat /proc/net/dev | grep -c :") == "1", "only lo")
    t.run("exec", "x", "-d", "--", "python3", "-m", "http.server", "8123")
    url = t.text("url", "x", "8123")
    wait_for("the port", lambda: subprocess.run(
        ["curl", "-sf", url], capture_output=True).returncode == 0)
    t.run("kill", "x")


def test_local_sudden(b):
    """Killing the keeper kills the sandbox, and nothing stays."""
    t = b.tool
    t.run("create", "--name", "x")
    pid = t.json("info", "x")["pid"]
    with open("/proc/%d/status" % pid, encoding="ascii") as f:
        parent = int(re.search(r"PPid:\s+(\d+)", f.read()).group(1))
    with open("/proc/%d/status" % parent, encoding="ascii") as f:
        keeper = int(re.search(r"PPid:\s+(\d+)", f.read()).group(1))
    os.kill(keeper, signal.SIGKILL)
    wait_for("its death", lambda: not os.path.exists("/proc/%d" % pid))
    need(t.ids() == [], "not listed")
    need(sorted(os.listdir(t.env["DEEPLAKE_SANDBOX_DIR"])) == ["disks"],
         "left behind")


def test_local_user(b):
    """As a user that is not root, through user namespaces."""
    uid = 4321
    with harness.folder() as d:
        os.chmod(d, 0o755)
        for f in ("standin.tar.gz", "deeplake-sandbox"):
            shutil.copy(os.path.join(b.folder, "..", f), d)
        t = Tool({"XDG_RUNTIME_DIR": d + "/run"}, d + "/u",
                 d + "/standin.tar.gz")
        t.program = d + "/deeplake-sandbox"
        t.credentials(b.store.url)
        os.mkdir(d + "/run")
        for top, dirs, files in os.walk(d):
            for name in ["."] + dirs + files:
                os.chown(os.path.join(top, name), uid, uid)
        t.user = uid
        if not os.stat("/dev/fuse").st_mode & 0o002:
            raise harness.Skipped("/dev/fuse is root's only")
        t.run("create", "--name", "x", "--mount", "users:/mnt/data")
        need(t.text("exec", "x", "--", "id", "-un") == "user", "user")
        t.run("exec", "x", "--", "sh", "-c", "echo 1 > /mnt/data/f")
        t.run("kill", "x")
        need(b.store.files("users") == {"f": b"1\n"}, "in the table")
        need(t.ids() == [], "killed")


BOTH = [test_create, test_usage, test_exec, test_signal, test_tty, test_files,
        test_life, test_choices, test_mount, test_mount_fails, test_run, test_not_flushed,
        test_busy_umount]
ONLY = {"e2b": [test_lost_create, test_cut_stream, test_v1, test_bad_key,
                test_hosts, test_code, test_template, secrets_stay_secret],
        "local": [test_local_closed, test_local_sudden, test_local_user]}
# what the guest agent has a part in
AGENT = [test_create, test_exec, test_signal, test_tty, test_files, test_life,
         test_mount, test_run, test_not_flushed, test_cut_stream,
         test_template]


def own_agent(folder):
    """tests/e2b/agent.py as one file that is started as the real agent is."""
    source = folder + "/agent"
    os.mkdir(source)
    for f in ("agent.py", "wire.py"):
        shutil.copy(os.path.join(harness.HERE, f), source)
    subprocess.run(["/usr/bin/python3", "-m", "zipapp", source, "-o",
                    folder + "/envd", "-p", "/usr/bin/python3", "-m",
                    "agent:main"], check=True)
    return folder + "/envd"


def no_agent():
    raise harness.Skipped("E2B_ENVD does not name the guest agent's binary")


class Beds:
    """The beds of all tests, ended together."""

    def __init__(self, folder):
        self.folder, self.store, self.all = folder, Store(), []
        self.bundle = harness.standin_bundle(folder + "/standin.tar.gz")
        self.tests = []

    def add(self, name, functions, *server_args):
        sub = os.path.join(self.folder, name)
        os.mkdir(sub)
        b = Bed("local" if name == "local" else "e2b", sub,
                Server(self.folder, *server_args), self.store, self.bundle)
        self.all.append(b)
        self.tests += [(name + "/" + f.__name__, lambda f=f: clean(b, f))
                       for f in functions]

    def stop(self):
        for b in self.all:
            b.tool.run("kill", "--all", "--force", status=None)
            b.server.stop()


def main():
    short = "SHORT" in os.environ
    with harness.folder() as d:
        # alone: the real driver beside it would be taken
        shutil.copy(os.environ["SANDBOX_TOOL"], d + "/deeplake-sandbox")
        os.environ["SANDBOX_TOOL"] = d + "/deeplake-sandbox"
        beds = Beds(d)
        for provider, only in ONLY.items():
            beds.add(provider, BOTH + only)
        if not short:
            # the way in which the real agent is started, with ours
            beds.add("started", [test_exec, test_files, test_mount],
                     "--envd", own_agent(d))
        if "E2B_ENVD" in os.environ:
            beds.add("envd", AGENT, "--envd", os.environ["E2B_ENVD"])
        else:
            beds.tests.append(("envd", no_agent))
        try:
            return harness.run_tests(beds.tests)
        finally:
            beds.stop()


if __name__ == "__main__":
    sys.exit(main())
