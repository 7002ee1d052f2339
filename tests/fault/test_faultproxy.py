#!/usr/bin/env python3
"""The fault proxy does what it says: each kind of fault, as the client and as
the server see it."""

import http.client
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HERE = pathlib.Path(__file__).resolve().parent


class Upstream(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    bodies = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.bodies.append(body)
        data = b"answer to %d " % len(body) + b"x" * 1000
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        pass  # a request cut in the middle is what the test is about


class FaultProxyTest(unittest.TestCase):
    def setUp(self):
        Upstream.bodies = []
        self.server = Server(("127.0.0.1", 0), Upstream)
        threading.Thread(target=self.server.serve_forever, args=(0.02,),
                         daemon=True).start()
        self.dir = tempfile.TemporaryDirectory()
        self.control = os.path.join(self.dir.name, "control.json")
        self.proxy = None

    def tearDown(self):
        if self.proxy:
            self.proxy.send_signal(signal.SIGTERM)
            out, _ = self.proxy.communicate(timeout=10)
            self.assertEqual(self.proxy.returncode, 0)
            json.loads(out)
        self.server.shutdown()
        self.server.server_close()
        self.dir.cleanup()

    def start(self, *args):
        self.proxy = subprocess.Popen(
            [sys.executable, str(HERE / "faultproxy.py"), "--upstream",
             f"http://127.0.0.1:{self.server.server_port}", "--control",
             self.control, *args], stdout=subprocess.PIPE, text=True)
        word, url = self.proxy.stdout.readline().split()
        self.assertEqual(word, "ready")
        self.port = int(url.rsplit(":", 1)[1])

    def plan(self, **plan):
        tmp = self.control + ".new"
        with open(tmp, "w", encoding="utf-8") as f:
            json.dump(plan, f)
        os.replace(tmp, self.control)

    def post(self, body=b"INSERT " + b"b" * 5000, timeout=5):
        c = http.client.HTTPConnection("127.0.0.1", self.port,
                                       timeout=timeout)
        try:
            c.request("POST", "/q", body)
            r = c.getresponse()
            return r.status, r.read(), r
        finally:
            c.close()

    def stats(self):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        c.request("GET", "/__faultproxy__/stats")
        s = json.loads(c.getresponse().read())
        c.close()
        return s

    def test_passes_on(self):
        self.start()
        status, data, _ = self.post()
        self.assertEqual(status, 200)
        self.assertTrue(data.startswith(b"answer to 5007 "))
        self.assertEqual(Upstream.bodies, [b"INSERT " + b"b" * 5000])
        s = self.stats()
        self.assertEqual(s["requests"], 1)
        self.assertEqual(s["largest_request"], 5007)
        self.assertEqual(s["faults"], {})

    def test_delay_and_rate(self):
        self.start("--delay-ms", "60")
        t = time.monotonic()
        self.post()
        self.assertGreater(time.monotonic() - t, 0.12)
        self.plan(delay_ms=0, rate=20000)
        t = time.monotonic()
        self.post(b"z" * 10000)
        self.assertGreater(time.monotonic() - t, 0.4)

    def check_fault(self, fault, applied, status=None):
        self.plan(faults=[dict(fault, match="INSERT", count=1)])
        if status is None:
            with self.assertRaises((OSError, http.client.HTTPException)):
                self.post(timeout=0.7)
        else:
            self.assertEqual(self.post()[0], status)
        time.sleep(0.05)
        self.assertEqual(len(Upstream.bodies), 1 if applied else 0)
        self.assertEqual(self.stats()["faults"], {fault["kind"]: 1})
        self.assertEqual(self.post()[0], 200)  # only once
        self.assertEqual(len(Upstream.bodies), 2 if applied else 1)

    def test_reset(self):
        self.start()
        self.check_fault({"kind": "reset"}, False)

    def test_cut_request(self):
        self.start()
        self.check_fault({"kind": "cut_request"}, False)

    def test_hang(self):
        self.start()
        self.check_fault({"kind": "hang"}, False)

    def test_status(self):
        self.start()
        self.check_fault({"kind": "status", "status": 429}, False, 429)

    def test_lose_answer(self):
        self.start()
        self.check_fault({"kind": "lose_answer"}, True)

    def test_hang_after(self):
        self.start()
        self.check_fault({"kind": "hang_after"}, True)

    def test_status_after(self):
        self.start()
        self.check_fault({"kind": "status_after", "status": 504}, True, 504)

    def test_cut_answer(self):
        self.start()
        self.check_fault({"kind": "cut_answer"}, True)

    def test_empty(self):
        self.start()
        self.check_fault({"kind": "empty"}, True, 200)

    def test_retry_after_and_html(self):
        self.start()
        self.plan(faults=[{"kind": "status", "status": 403,
                           "retry_after": 3, "body": "<html></html>",
                           "type": "text/html"}])
        status, data, r = self.post()
        self.assertEqual((status, data), (403, b"<html></html>"))
        self.assertEqual(r.getheader("Retry-After"), "3")
        self.assertEqual(r.getheader("Content-Type"), "text/html")

    def test_skip_match_and_dice(self):
        self.start("--seed", "7")
        self.plan(faults=[{"kind": "status", "status": 500, "match": "SEL",
                           "skip": 2, "p": 0.5}])
        got = [self.post(b"SELECT")[0] for _ in range(40)]
        self.assertEqual(got[:2], [200, 200])
        self.assertIn(500, got)
        self.assertIn(200, got[2:])
        self.assertEqual(self.post(b"INSERT")[0], 200)
        self.assertEqual(self.stats()["faults"]["status"], got.count(500))

    def test_down_and_up(self):
        self.start()
        self.plan(down=True)
        time.sleep(0.3)
        with self.assertRaises((OSError, http.client.HTTPException)):
            self.post()
        self.plan()
        time.sleep(0.3)
        self.assertEqual(self.post()[0], 200)

    def test_blackhole(self):
        self.start()
        self.plan(blackhole=True)
        with self.assertRaises(OSError):
            self.post(timeout=0.5)
        self.assertEqual(Upstream.bodies, [])

    def test_wrong_plan_ends_it(self):
        self.start()
        self.plan(faults=[{"kind": "nonsense"}])
        self.proxy.wait(timeout=5)
        self.assertNotEqual(self.proxy.returncode, 0)
        self.proxy.stdout.close()
        self.proxy = None


if __name__ == "__main__":
    unittest.main()
