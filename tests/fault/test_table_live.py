#!/usr/bin/env python3
"""The table client against deeplake-serve, directly and through faults.

BUILD names the build directory.  Every run checks that what was acknowledged is
there, byte for byte, and that the faults it was meant to meet really happened.
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "mount"))
import cases  # noqa: E402
import harness  # noqa: E402

BUILD = pathlib.Path(os.environ.get("BUILD", "build"))


class Process:
    """A server that says "ready URL"."""

    def __init__(self, *argv):
        self.p = subprocess.Popen([str(a) for a in argv], text=True,
                                  stdout=subprocess.PIPE)
        line = self.p.stdout.readline().split()
        if line[:1] != ["ready"]:
            raise RuntimeError(f"{argv[0]} did not start")
        self.url = line[1]

    def stop(self):
        self.p.send_signal(signal.SIGTERM)
        self.p.communicate(timeout=20)
        return self.p.returncode


class TableLiveTest(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.dir.name)
        self.creds = self.path / "credentials.json"
        self.control = self.path / "control.json"
        self.simulate = self.path / "simulate.json"
        self.running = []

    def tearDown(self):
        for p in reversed(self.running):
            self.assertEqual(p.stop(), 0)
        self.dir.cleanup()

    def serve(self, simulate=None):
        args = [BUILD / "deeplake-serve", "--listen", "127.0.0.1:0",
                "--store", f"sqlite:{self.path}/store",
                "--write-credentials", self.creds]
        if simulate is not None:
            self.simulate.write_text(json.dumps(simulate))
            args += ["--simulate", self.simulate]
        s = Process(*args)
        self.running.append(s)
        return s

    def proxy(self, server, plan, *args):
        self.control.write_text(json.dumps(plan))
        p = Process(sys.executable, HERE / "faultproxy.py", "--upstream",
                    server.url, "--control", self.control, *args)
        self.running.append(p)
        return p

    def live(self, url, *args, status=0, table="vol", timeout=120):
        r = subprocess.run(
            [BUILD / "tests/fault/table_live", self.creds, url, table, *args],
            text=True, capture_output=True, timeout=timeout, check=False)
        self.assertEqual(r.returncode, status, r.stderr + r.stdout)
        return json.loads(r.stdout) if r.stdout else {}

    def stats(self, proxy):
        with urllib.request.urlopen(proxy.url + "/__faultproxy__/stats") as f:
            return json.load(f)

    def hammer(self, faults, *, ms="4000", rounds="15", **plan):
        server = self.serve()
        self.live(server.url, "check")
        proxy = self.proxy(server, {"faults": faults, **plan})
        out = self.live(proxy.url, "hammer", "4", rounds, ms)
        fired = self.stats(proxy)["faults"]
        for kind in {f["kind"] for f in faults}:
            self.assertGreater(fired.get(kind, 0), 0,
                               f"no {kind} fired: {fired}")
        self.assertLessEqual(out["max_in_flight"], 5)
        return out

    # -- no faults

    def test_every_operation(self):
        server = self.serve()
        out = self.live(server.url, "check")
        self.assertTrue(out["ours"])
        self.assertTrue(out["feed"])
        self.assertEqual((out["retries"], out["faults"]), (0, 0))
        self.assertEqual(out["connects"], 1)
        self.live(server.url, "check")  # again, on the same tables
        self.live(server.url, "destroy")
        self.live(server.url, "destroy", status=1)

    def test_like_the_service(self):
        server = self.serve({"no_unique": True, "no_feed": True})
        out = self.live(server.url, "check")
        self.assertFalse(out["ours"])
        self.assertFalse(out["feed"])

    def test_a_token_that_may_only_read(self):
        server = self.serve()
        self.live(server.url, "check")
        token = subprocess.run(
            [BUILD / "deeplake-serve", "--store", f"sqlite:{self.path}/store",
             "token", "create", "--read-only"], text=True,
            capture_output=True, timeout=20, check=True).stdout.strip()
        creds = json.loads(self.creds.read_text())
        self.creds.write_text(json.dumps({**creds, "token": token}))
        self.live(server.url, "reader")

    def test_a_bad_day_of_the_service(self):
        server = self.serve({
            "seed": 3, "no_unique": True, "no_feed": True,
            "latency_ms": [10, 60], "visible_after_ms": 800,
            "lose_answer": 0.1, "double_rows": 0.2, "empty_select": 0.1,
            "status_503": 0.05, "html_403": 0.05, "max_parallel": 5})
        out = self.live(server.url, "hammer", "4", "12", "20000")
        self.assertFalse(out["ours"])
        self.assertGreater(out["retries"], 0)
        self.assertLessEqual(out["max_in_flight"], 4)

    def test_at_most_five_at_once(self):
        server = self.serve({"max_parallel": 5, "latency_ms": 20})
        out = self.live(server.url, "hammer", "16", "10", "20000")
        self.assertLessEqual(out["max_in_flight"], 5)
        self.assertEqual(out["retries"], 0)

    # -- faults on the way

    def test_answers_lost(self):
        self.hammer([{"kind": "lose_answer", "match": "INSERT", "p": 0.2}])

    def test_answers_cut(self):
        self.hammer([{"kind": "cut_answer", "p": 0.2}])

    def test_requests_cut(self):
        self.hammer([{"kind": "cut_request", "match": "INSERT", "p": 0.2}])

    def test_resets(self):
        self.hammer([{"kind": "reset", "p": 0.2}])

    def test_bad_gateway_before_and_after(self):
        self.hammer([
            {"kind": "status_after", "status": 502, "match": "INSERT",
             "p": 0.15},
            {"kind": "status_after", "status": 504, "p": 0.1},
            {"kind": "status", "status": 503, "p": 0.1},
            {"kind": "status", "status": 403, "p": 0.1, "type": "text/html",
             "body": "<html><body>cloud</body></html>"}])

    def test_slowed_down(self):
        out = self.hammer([{"kind": "status", "status": 429,
                            "retry_after": 1, "p": 0.1, "count": 4}])
        self.assertGreater(out["retries"], 0)

    def test_hanging(self):
        self.hammer([{"kind": "hang", "match": "INSERT", "count": 2},
                     {"kind": "hang_after", "match": "INSERT", "count": 2}],
                    ms="1500", rounds="6")

    def test_slow_and_narrow(self):
        t = time.monotonic()
        self.hammer([{"kind": "slow", "ms": 200, "p": 0.1}], delay_ms=20,
                    rate=4000000, rounds="6")
        self.assertGreater(time.monotonic() - t, 0.5)

    def test_down_for_a_while(self):
        server = self.serve()
        self.live(server.url, "check")
        proxy = self.proxy(server, {})
        p = subprocess.Popen(
            [BUILD / "tests/fault/table_live", self.creds, proxy.url, "vol",
             "hammer", "4", "40", "1000"], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        harness.wait_for("the first request",
                         lambda: self.stats(proxy)["requests"])
        self.control.write_text('{"down": true}')
        time.sleep(1.5)
        self.control.write_text("{}")
        out, err = p.communicate(timeout=60)
        self.assertEqual(p.returncode, 0, err)
        self.assertGreater(json.loads(out)["retries"], 0)
        self.assertGreater(self.stats(proxy)["refused"], 0)

    # -- permanent answers end a call at once

    def test_what_is_permanent_is_not_repeated(self):
        server = self.serve()
        self.live(server.url, "check")
        for status in (400, 401, 402, 403):
            proxy = self.proxy(server, {"faults": [
                {"kind": "status", "status": status}]})
            t = time.monotonic()
            self.live(proxy.url, "check", status=1)
            self.assertLess(time.monotonic() - t, 5)
            # format rows and columns, asked for at once
            self.assertEqual(self.stats(proxy)["requests"], 2)

    def test_size_limit(self):
        server = self.serve({"max_statement_bytes": 300000})
        r = subprocess.run(
            [BUILD / "tests/fault/table_live", self.creds, server.url, "vol",
             "speed", "12"], text=True, capture_output=True, timeout=60,
            check=False)
        self.assertEqual(r.returncode, 1)
        self.assertIn("from now on 2097152 at most", r.stderr)

    def test_no_secrets_in_the_log(self):
        server = self.serve()
        proxy = self.proxy(server, {"faults": [
            {"kind": "status", "status": 500, "p": 0.3},
            {"kind": "lose_answer", "p": 0.2}]})
        r = subprocess.run(
            [BUILD / "tests/fault/table_live", self.creds, proxy.url, "vol",
             "hammer", "2", "10", "3000"], text=True, capture_output=True,
            timeout=60, check=False, env={**os.environ,
                                          "TABLE_LIVE_DEBUG": "1"})
        token = json.loads(self.creds.read_text())["token"]
        self.assertGreater(len(r.stderr), 1000)
        self.assertTrue(re.search(r"write a pack: 200", r.stderr))
        for part in [token, *token.split(".")]:
            self.assertNotIn(part, r.stderr + r.stdout)


if __name__ == "__main__":
    sys.exit(cases.main(all_wait=True))
