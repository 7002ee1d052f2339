"""Kill safety: rounds of `run` whose flush is refused, slow, cut, answered
late or not at all.  No byte that was acknowledged or flushed may be lost, and
no sandbox leaked.  ROUNDS of them, over both providers, with the stand-in
driver (whose flush fails to order) and with the real one on its real server
(behind a proxy that fails to order)."""
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import harness
from harness import Server, Tool, need
from store import Store

MODES = ["ok", "refuse", "slow", "cut", "late", "deaf"]
SEED = int(os.environ.get("SEED", "1"))


class Proxy:
    """TCP in front of the real server; modes as those of the store."""

    def __init__(self, port):
        self.port = port
        self.mode = "ok"
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        self.open = set()
        self.frozen = set()
        threading.Thread(target=self.accept, daemon=True).start()

    def set(self, mode):
        self.mode = mode
        if mode != "ok":  # connections that are kept alive meet it, too
            for s in list(self.open):
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def freeze(self):
        """What is connected now stays so, and nothing passes; how many."""
        self.frozen |= self.open
        return len(self.open)

    def accept(self):
        while True:
            c, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(c,),
                             daemon=True).start()

    def serve(self, c):
        mode = self.mode
        if mode == "refuse":
            c.close()
            return
        if mode == "deaf":
            self.open.add(c)
            return
        s = socket.create_connection(("127.0.0.1", self.port))
        self.open |= {c, s}
        if mode in ("slow", "late"):
            time.sleep(0.5)
        threading.Thread(target=self.pump, args=(s, c, mode, False),
                         daemon=True).start()
        self.pump(c, s, mode, True)

    def pump(self, a, b, mode, up):
        n = 0
        try:
            while True:
                data = a.recv(65536)
                if not data:
                    break
                while a in self.frozen:
                    time.sleep(0.5)
                n += len(data)
                if mode == "cut" and n > 300:
                    break
                if mode == "late" and not up:
                    time.sleep(4)
                b.sendall(data)
        except OSError:
            pass
        for s in (a, b):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            self.open.discard(s)


class StandIn:
    name = "stand-in"

    def __init__(self, folder):
        self.store = Store()
        self.bundle = harness.standin_bundle(folder + "/standin.tar.gz")
        self.program = folder + "/deeplake-sandbox"  # no driver beside it
        shutil.copy(os.environ["SANDBOX_TOOL"], self.program)
        self.url = self.store.url
        self.token = harness.TOKEN

    def set(self, mode):
        self.store.mode = mode

    def check(self, tool, table, names):
        have = self.store.files(table)
        for name, data in names.items():
            need(have.get(name) == data.encode(), "%s is lost" % name)

    def stop(self):
        pass


class Real:
    name = "driver"

    def __init__(self, folder):
        credentials = folder + "/server-credentials.json"
        self.process = subprocess.Popen(
            [os.environ["SANDBOX_SERVE"], "--listen", "127.0.0.1:0",
             "--store", "sqlite:" + folder + "/store", "--write-credentials",
             credentials], stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        need(line.startswith("ready "), "server: " + line)
        self.proxy = Proxy(int(line.split(":")[-1]))
        with open(credentials, encoding="utf-8") as f:
            self.credentials = json.load(f)
        self.bundle = None
        self.program = os.environ["SANDBOX_TOOL"]
        self.url = self.proxy.url
        self.token = self.credentials["token"]

    def set(self, mode):
        self.proxy.set(mode)

    def check(self, tool, table, names):
        out = tool.run("run", "--mount", table + ":/mnt/data", "--", "sh",
                       "-c", "cd /mnt/data && grep -r . .").decode()
        have = dict(re.findall(r"^\./([^:]+):(.*)$", out, re.M))
        for name, data in names.items():
            need(have.get(name) == data.strip(), "%s is lost" % name)

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


def one_round(tool, backend, table, rng, number, safe):
    """One `run`; what it acknowledged goes into safe."""
    mode = MODES[(number + SEED) % len(MODES)]
    name = "f%d" % number
    data = "round %d\n" % number
    interrupt = rng.random() < 0.2
    backend.set("ok")
    p = tool.start("run", "--metadata", "suite=kill", "--mount",
                   table + ":/mnt/data", "--flush-timeout", "3", "--", "sh",
                   "-c", "echo round %d > /mnt/data/%s; echo ready; "
                   "sleep %s" % (number, name, 30 if interrupt else 0.3))
    need(p.stdout.readline() == b"ready\n", "round %d did not start: %s" % (
        number, p.stderr.read() if p.poll() is not None else ""))
    backend.set(mode)
    if interrupt:
        p.send_signal(rng.choice([signal.SIGINT, signal.SIGTERM]))
    _, err = p.communicate(timeout=120)
    backend.set("ok")
    text = err.decode(errors="replace")
    kept = "NOT killed" in text
    what = "round %d, %s, status %d" % (number, mode, p.returncode)
    if interrupt:
        need(p.returncode >= 125, what + "\n" + text)
    else:
        need(p.returncode == (5 if kept else 0), what + "\n" + text)
    left = tool.json("list", "--metadata", "suite=kill")
    need(len(left) == (1 if kept else 0), "%s: %d sandboxes\n%s" % (
        what, len(left), text))
    if kept:
        tool.run("kill", left[0]["sandboxID"], "--flush-timeout", "60")
    safe[name] = data
    return mode + ("!" if interrupt else "") + (" kept" if kept else "")


def rounds(provider, backend, folder, server, count):
    env = server.env() if provider == "e2b" else {}
    table = "kill_" + provider
    sub = os.path.join(folder, provider + "-" + backend.name)
    os.makedirs(sub)
    tool = Tool(env, sub, backend.bundle or os.environ.get("SANDBOX_BUNDLE"))
    tool.program = backend.program
    tool.credentials(backend.url, backend.token, **getattr(
        backend, "extra", {}))
    if isinstance(backend, Real):
        with open(sub + "/home/.deeplake/credentials.json", "w",
                  encoding="utf-8") as f:
            json.dump(dict(backend.credentials, apiUrl=backend.url), f)
    rng = random.Random(SEED)
    safe = {}
    seen = {}
    try:
        for i in range(count):
            what = one_round(tool, backend, table, rng, i, safe)
            seen[what] = seen.get(what, 0) + 1
        backend.check(tool, table, safe)
        need(tool.json("list", "--metadata", "suite=kill") == [], "leaked")
    finally:
        tool.run("kill", "--all", "--force", status=None)
    print("     " + ", ".join("%s %d" % kv for kv in sorted(seen.items())))


def main():
    count = int(os.environ.get("ROUNDS", "10"))
    with harness.folder() as d:
        server = Server(d)
        standin = StandIn(d)
        backends = [("local", standin), ("e2b", standin)]
        real = None
        if os.access(os.environ.get("SANDBOX_DRIVER", ""), os.X_OK):
            real = Real(d)
            backends += [("local", real), ("e2b", real)]
        tests = [("kill/%s/%s" % (p, b.name), lambda p=p, b=b: rounds(
            p, b, d, server, count)) for p, b in backends]
        try:
            return harness.run_tests(tests)
        finally:
            server.stop()
            if real:
                real.stop()


if __name__ == "__main__":
    sys.exit(main())
