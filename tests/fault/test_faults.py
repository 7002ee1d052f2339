#!/usr/bin/env python3
"""Mounts against a server and a network that fail in every way we know.

Each test counts the faults that were really injected and fails when there
were none.  LONG=1: all real programs instead of three, more restarts.
"""
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "mount"))
import harness                                          # noqa: E402
import test_programs                                    # noqa: E402

LONG = harness.LONG
NOISE = (r"(?i)unreachable|connect|refused|offline|timed? ?out|reset|server|"
         r"table|row|pack|HTTP|view")


class Proxy:
    """tests/fault/faultproxy.py in front of a server, for every mount."""

    def __init__(self, box, server, plan):
        self.control = box.dir + "/proxy.json"
        self.set(plan)
        self.p = subprocess.Popen(
            [sys.executable, HERE + "/faultproxy.py", "--upstream", server.url,
             "--control", self.control, "--seed", "5"], text=True,
            stdout=subprocess.PIPE)
        self.url = self.p.stdout.readline().split()[1]
        with open(server.creds) as f:
            text = f.read()
        found = text.replace(server.url.rstrip("/"), self.url)
        assert found != text
        with open(server.creds, "w") as f:
            f.write(found)
        os.chmod(server.creds, 0o600)
        box.links.append(self)

    def set(self, plan):
        with open(self.control + ".new", "w") as f:
            json.dump(plan, f)
        os.replace(self.control + ".new", self.control)

    def stats(self):
        with urllib.request.urlopen(self.url + "/__faultproxy__/stats") as f:
            return json.load(f)

    def stop(self):
        if self.p.poll() is None:
            self.p.terminate()
            self.p.communicate(timeout=20)


def injected(group, planned, counts):
    """What really happened, for the sums of make check-faults."""
    harness.counted("faults", group,
                    {kind: counts.get(kind, 0) for kind in planned})
    assert sum(counts.values()), f"{group}: no fault was injected"


def spoilt(proxy, plan):
    injected("network", [f["kind"] for f in plan], proxy.stats()["faults"])


def quiet(box):
    """Mounts of this box may complain of the server."""
    mount = box.mount

    def with_noise(*args, **kw):
        m = mount(*args, **kw)
        m.allowed.append(NOISE)
        return m
    box.mount = with_noise


def work(top, rng, files=60):
    """Files of all sizes, renames, removals, appends."""
    for i in range(files):
        with open(f"{top}/f{i}", "wb") as f:
            f.write(rng.randbytes(rng.choice([0, 10, 5000, 70000, 400000])))
        if i % 5 == 1 and os.path.exists(f"{top}/f{i - 1}"):
            os.rename(f"{top}/f{i - 1}", f"{top}/r{i}")
        if i % 7 == 2:
            os.unlink(f"{top}/f{i}")
        if i % 9 == 3:
            with open(f"{top}/log", "ab") as f:
                f.write(b"line %d\n" % i)
    os.makedirs(f"{top}/d/e", exist_ok=True)


def same_work(box, m, seed):
    """The same on the mount and beside it."""
    plain = box.plain(f"plain-{seed}")
    for top in (f"{m.path}/{seed}", plain):
        os.makedirs(top, exist_ok=True)
        work(top, random.Random(seed))
    return plain


def compare(m, plain, seed):
    diffs = harness.same_tree(f"{m.path}/{seed}", plain, False)
    assert not diffs, "\n".join(diffs)


# ---- the real programs, one request in ten spoilt
KINDS = [
    {"kind": "reset", "p": 0.02}, {"kind": "cut_request", "p": 0.02},
    {"kind": "lose_answer", "p": 0.02}, {"kind": "cut_answer", "p": 0.02},
    {"kind": "status", "status": 503, "p": 0.01},
    {"kind": "status_after", "status": 502, "p": 0.01},
    {"kind": "slow", "ms": 300, "p": 0.02}]
# and each kind once for certain: short programs make few requests
TEN_PERCENT = KINDS + [dict(f, p=1, skip=6 + 4 * i, count=1)
                       for i, f in enumerate(KINDS)]


def program_test(name):
    def test(box):
        quiet(box)
        proxy = Proxy(box, box.serve(), {"delay_ms": 1,
                                         "faults": TEN_PERCENT})
        getattr(test_programs, name)(box)
        stats = proxy.stats()
        harness.counted("rounds", "programs", {
            "programs": 1, "requests": stats["requests"]})
        spoilt(proxy, TEN_PERCENT)
    return test


for _name in (sorted(n for n in vars(test_programs) if n.startswith("test_"))
              if LONG else ["test_tar", "test_git", "test_sqlite_wal"]):
    globals()[_name.replace("test_", "test_spoilt_")] = program_test(_name)


def test_hanging_requests(box):
    """A request or an answer that never comes has a deadline."""
    quiet(box)
    proxy = Proxy(box, box.serve(), {})
    m = box.mount()
    plan = [{"kind": "hang", "match": "INSERT", "count": 1},
            {"kind": "hang_after", "match": "INSERT", "skip": 2, "count": 1}]
    proxy.set({"faults": plan})
    plain = same_work(box, m, 3)
    m.flush(300)
    m.remount(empty_cache=True)
    compare(m, plain, 3)
    spoilt(proxy, plan)


# ---- the server's own bad days
MODES = {
    "latency_ms": [5, 200], "visible_after_ms": 1500, "lose_answer": 0.2,
    "ack_not_kept": {"probability": 1, "count": 2, "table": "log",
                     "kind": "insert"},
    "pack_not_kept": {"what": "ack_not_kept", "probability": 1, "count": 2,
                      "table": "pack", "kind": "insert"},
    "double_rows": 0.3,
    "empty_select": 0.2, "status_429": 0.1, "status_500": 0.1,
    "status_502": 0.1, "status_503": 0.1, "status_504": 0.1,
    "html_403": 0.1, "drop": 0.1,
    "status_401": {"probability": 1, "skip": 3, "count": 4},
    "status_402": {"probability": 1, "skip": 3, "count": 4},
}


def simulated(server):
    return {k.split('"')[1]: v for k, v in server.metrics().items()
            if k.startswith("deeplake_simulated_total")}


def same(m, plain, eio=False):
    try:
        return not harness.same_tree(m.path + "/1", plain, False)
    except FileNotFoundError:       # it comes while we look
        return False
    except OSError as e:
        assert eio and e.errno == 5, e
        return False


def mode_test(mode):
    def test(box):
        quiet(box)
        path = box.dir + "/simulate.json"
        calm = {"seed": 4, "no_unique": True, "no_feed": True}
        with open(path, "w") as f:
            json.dump(calm, f)
        server = box.serve(args=["--simulate", path])
        a, b = (box.mount(n, home=box.new_home(n), server=server)
                for n in "ab")
        value = MODES[mode]
        rule = dict({"what": mode}, **value) if isinstance(value, dict) else \
            {"what": mode, "value": value} if mode.endswith("_ms") else \
            {"what": mode, "probability": value}
        with open(path + ".new", "w") as f:
            # twice for certain: dice alone can spare a short test
            json.dump({**calm, "rules": [rule] if isinstance(value, dict)
                       else [rule, {**rule, "probability": 1, "skip": 2,
                                    "count": 2}]}, f)
        os.replace(path + ".new", path)
        plain = same_work(box, a, 1)
        if mode == "status_401":        # asks for new credentials
            harness.wait_for("the refusal in status", lambda: any(
                "credentials" in e for e in a.status()["errors"])
                or simulated(server).get(mode, 0) >= 4, 30)
        a.flush(300)
        if mode == "pack_not_kept":     # the rows are there, and not all bytes
            assert not same(b, plain, True), "the server kept the packs"
        if rule["what"] == "ack_not_kept":  # until seen, it is kept here
            harness.wait_for("sent again", lambda: same(b, plain, True), 120,
                             1)
        harness.wait_for("the same in b", lambda: same(b, plain), 120, 1)
        injected("simulate", [mode],
                 {mode: simulated(server).get(rule["what"], 0)})
        os.replace(path, path + ".old")
        with open(path + ".new", "w") as f:
            json.dump(calm, f)
        os.replace(path + ".new", path)
        time.sleep(0.2)
        a.remount(empty_cache=True)
        compare(a, plain, 1)
    return test


for _name in MODES:
    globals()["test_mode_" + _name] = mode_test(_name)


# ---- a server that goes and comes
class Load(threading.Thread):
    """Writes while the server does what it likes."""

    def __init__(self, m, plain):
        super().__init__(daemon=True)
        self.tops = (m.path + "/load", plain + "/load")
        self.halt, self.count, self.failure = threading.Event(), 0, None
        for top in self.tops:
            os.makedirs(top)

    def run(self):
        while not self.halt.wait(0.02):
            data = b"%d\n" % self.count * 500
            for top in self.tops:
                try:
                    with open(f"{top}/{self.count % 50}", "wb") as f:
                        f.write(data)
                except OSError as e:
                    self.failure = f"{top}: {e}"
                    return
            self.count += 1

    def end(self):
        self.halt.set()
        self.join(30)
        assert not self.failure, self.failure
        assert self.count > 20, f"{self.count} writes: hardly any load"


def all_there(m, plain):
    """A mount without a cache shows what was written into both."""
    m.flush(300)
    m.remount(empty_cache=True)
    diffs = harness.same_tree(m.path, plain, False)
    assert not diffs, "\n".join(diffs)


def restart(server):
    port = server.port
    code = server.stop()
    assert code == 0, f"the server ended with {code}"
    return lambda: server.start(port)


def test_rolling_restarts(box):
    quiet(box)
    server = box.serve()
    m, plain = box.mount(), box.plain()
    load = Load(m, plain)
    load.start()
    times = 10 if LONG else 5
    for _ in range(times):
        time.sleep(1)
        restart(server)()
    load.end()
    all_there(m, plain)
    harness.counted("rounds", "server", {"writes_meanwhile": load.count})
    harness.counted("faults", "server", {"restarts": times})


def test_gone_and_back(box):
    """Minutes without a server while programs write, then all of it there."""
    quiet(box)
    server = box.serve()
    m, plain = box.mount(), box.plain()
    load = Load(m, plain)
    back = restart(server)
    load.start()
    gone_s = 125
    time.sleep(gone_s)
    harness.wait_for("the loss in status", lambda: any(
        "reached" in e for e in m.status()["errors"]), 20, 0.5)
    load.end()
    back()
    all_there(m, plain)
    harness.counted("rounds", "server", {"writes_meanwhile": load.count})
    harness.counted("faults", "server", {"seconds_without_it": gone_s})


def test_restored_from_an_older_backup(box):
    """The server lost its last rows: said, and no wrong bytes anywhere."""
    quiet(box)
    server = box.serve()
    a, b = (box.mount(n, home=box.new_home(n), server=server) for n in "ab")
    old = random.Random(1).randbytes(300000)
    new = random.Random(2).randbytes(300000)
    for name in ("keep", "change"):
        with open(f"{a.path}/{name}", "wb") as f:
            f.write(old)
    a.flush()
    harness.wait_for("change in b", lambda: os.path.exists(b.path + "/change"))
    box.run([harness.built("deeplake-serve"), "--store",
             "sqlite:" + server.store, "backup", box.dir + "/backup"])
    with open(a.path + "/change", "r+b") as f:
        f.write(new)
    with open(a.path + "/later", "wb") as f:
        f.write(new)
    a.flush()
    harness.wait_for("later in b", lambda: os.path.exists(b.path + "/later"))
    back = restart(server)
    shutil.rmtree(server.store)
    os.rename(box.dir + "/backup", server.store)
    back()
    for m in (a, b):
        harness.wait_for("the loss in status", lambda m=m: any(
            "lost" in e and "row" in e for e in m.status()["errors"]), 60, 1)
    with open(a.path + "/after", "wb") as f:    # the numbers begin anew
        f.write(new)
    a.flush()
    harness.wait_for("after in b", lambda: os.path.exists(b.path + "/after"),
                     90)
    c = box.mount("c", home=box.new_home("c"), server=server)
    for m in (a, b, c):
        for name, allowed in (("keep", [old]), ("change", [old, new]),
                              ("later", [new]), ("after", [new])):
            try:
                with open(f"{m.path}/{name}", "rb") as f:
                    got = f.read()
            except FileNotFoundError:
                assert m is c and name == "later", f"{name} is gone"
            except OSError as e:
                assert e.errno == 5, e
            else:
                assert got in allowed, f"wrong bytes in {name} of {m.name}"
    harness.counted("faults", "server", {"backups_restored": 1})


if __name__ == "__main__":
    harness.main(globals())
