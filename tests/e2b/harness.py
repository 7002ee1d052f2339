"""What the tests of the sandbox tool share: server, tool, private folders."""
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
KEY = "e2b_" + "0" * 40
TOKEN = "secret-token"


class Failure(AssertionError):
    pass


class Skipped(Exception):
    """The reason."""


def need(ok, what):
    if not ok:
        raise Failure(what)


def wait_for(what, check, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = check()
        if value:
            return value
        time.sleep(0.05)
    raise Failure("waited %s s for %s" % (seconds, what))


class Server:
    """The loopback server as a process."""

    def __init__(self, folder, *args):
        self.folder = tempfile.mkdtemp(dir=folder)
        self.process = subprocess.Popen(
            ["/usr/bin/python3", os.path.join(HERE, "server.py"), "--dir",
             self.folder + "/d", *args], stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if line.startswith("skipped"):
            print(line.strip())
            sys.exit(77)
        need(line.startswith("ready "), "server did not start: " + line)
        self.url = line.split()[1]

    def call(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(self.url + path, data) as r:
            return json.loads(r.read())

    def fault(self, match, action, times=1, **more):
        self.call("/__fault", dict(match=match, action=action, times=times,
                                   **more))

    def clear(self):
        self.call("/__fault", {"clear": True})

    def log(self):
        return self.call("/__log")

    def env(self):
        return {"E2B_API_URL": self.url, "E2B_SANDBOX_URL": self.url,
                "E2B_API_KEY": KEY}

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()


class Tool:
    """deeplake-sandbox with an environment of its own."""

    def __init__(self, env, folder, bundle=None):
        self.program = os.environ["SANDBOX_TOOL"]
        self.folder = folder
        self.env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                    "HOME": folder + "/home", "LANG": "C.UTF-8",
                    "DEEPLAKE_SANDBOX_DIR": folder + "/local"}
        self.user = None  # whose number the tool has; None = ours
        self.env.update(env)
        if "ASAN_OPTIONS" in os.environ:
            self.env["ASAN_OPTIONS"] = os.environ["ASAN_OPTIONS"]
        if bundle:
            self.env["DEEPLAKE_BUNDLE"] = bundle
        os.makedirs(folder + "/home", exist_ok=True)

    def credentials(self, url, token=TOKEN, **more):
        d = self.folder + "/home/.deeplake"
        os.makedirs(d, exist_ok=True)
        with open(d + "/credentials.json", "w", encoding="utf-8") as f:
            os.fchmod(f.fileno(), 0o600)
            json.dump(dict(token=token, orgId="org", apiUrl=url, **more), f)

    def start(self, *args, **kw):
        kw.setdefault("stdin", subprocess.DEVNULL)
        # a test in the background of a shell has SIGINT ignored
        kw.setdefault("preexec_fn", lambda: signal.signal(signal.SIGINT,
                                                          signal.SIG_DFL))
        return subprocess.Popen([self.program, *args], env=self.env,
                                stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, **kw)

    def run(self, *args, status=0, input=None, timeout=120):
        p = subprocess.run([self.program, *args], env=self.env, input=input,
                           capture_output=True, timeout=timeout,
                           user=self.user, group=self.user,
                           extra_groups=None if self.user is None else [],
                           stdin=None if input is not None else
                           subprocess.DEVNULL)
        self.err = p.stderr.decode(errors="replace")
        self.status = p.returncode
        if status is not None and p.returncode != status:
            raise Failure("%s: status %d, not %s\n%s%s" % (
                " ".join(args), p.returncode, status, p.stdout.decode(
                    errors="replace"), self.err))
        for secret in (KEY, TOKEN):
            need(secret not in self.err, "a secret on stderr: " + self.err)
        return p.stdout

    def text(self, *args, **kw):
        return self.run(*args, **kw).decode().strip()

    def json(self, *args, **kw):
        words = 2 if args[0] == "template" else 1
        return json.loads(self.run(*args[:words], "--json", *args[words:],
                                   **kw))

    def ids(self):
        return [o["sandboxID"] for o in self.json("list")]


@contextlib.contextmanager
def folder():
    d = tempfile.mkdtemp(prefix="sandbox-e2b-")
    try:
        yield d
    finally:
        shutil.rmtree(d, ignore_errors=True)


def standin_bundle(to):
    """An archive with the stand-in driver in the real one's layout."""
    source = os.path.join(HERE, "standin", "deeplake")
    passthrough = to + "-pass/deeplake-pass"
    os.makedirs(os.path.dirname(passthrough))
    shutil.copy(os.environ["SANDBOX_PASS"], passthrough)
    subprocess.run([os.path.join(HERE, "../../packaging/bundle.sh"), to, "0",
                    source, passthrough], check=True)
    return to


def run_tests(tests):
    """(name, function) pairs; prints a line each; the exit status."""
    only = sys.argv[1:]
    count = {"passed": 0, "failed": 0, "skipped": 0}
    for name, function in tests:
        if only and not any(o in name for o in only):
            continue
        began = time.monotonic()
        try:
            function()
        except Skipped as e:
            count["skipped"] += 1
            print("skip %s: %s" % (name, e), flush=True)
            continue
        except Exception as e:
            count["failed"] += 1
            print("FAIL %s: %s: %s" % (name, type(e).__name__, e),
                  flush=True)
            continue
        count["passed"] += 1
        print("ok   %s (%.1f s)" % (name, time.monotonic() - began),
              flush=True)
    print("%(passed)d passed, %(failed)d failed, %(skipped)d skipped" % count)
    return 1 if count["failed"] else 0
