"""A table server for a test: started, asked, stopped.

Server(store) runs build/deeplake-serve (DEEPLAKE_SERVE names the binary) on a
free port of the loopback address, with its files in a private directory that
is removed at the end.
"""
import http.client
import json
import os
import shutil
import signal
import subprocess
import tempfile
import urllib.parse


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def rows(self):
        assert self.status == 200, (self.status, self.body[:500])
        return self.json["rows"]

    @property
    def error(self):
        return self.json["error"]


class Server:
    def __init__(self, store=None, args=(), keep_dir=None):
        self.binary = os.environ["DEEPLAKE_SERVE"]
        self.dir = keep_dir or tempfile.mkdtemp(prefix="dl-table-")
        self.owns_dir = keep_dir is None
        self.store = store or "sqlite:" + os.path.join(self.dir, "store")
        self.credentials = os.path.join(self.dir, "credentials.json")
        self.args = list(args)
        self.proc = None
        self.start()

    def start(self):
        self.log = open(os.path.join(self.dir, "log"), "a")
        self.proc = subprocess.Popen(
            [self.binary, "--listen", "127.0.0.1:0", "--store", self.store,
             "--write-credentials", self.credentials] + self.args,
            stdout=subprocess.PIPE, stderr=self.log, text=True)
        line = self.proc.stdout.readline()
        assert line.startswith("ready http://"), \
            "no ready line: " + line + self.log_text()
        self.url = line.split()[1]
        c = json.load(open(self.credentials))
        self.token, self.org = c["token"], c["orgId"]
        u = urllib.parse.urlparse(self.url)
        self.host, self.port = u.hostname, u.port

    def log_text(self):
        return open(os.path.join(self.dir, "log")).read()

    def kill(self, sig=signal.SIGKILL):
        self.proc.send_signal(sig)
        code = self.proc.wait(timeout=30)
        self.proc.stdout.close()
        self.log.close()
        return code

    def stop(self):
        code = None
        if self.proc.poll() is None:
            code = self.kill(signal.SIGTERM)
        if self.owns_dir:
            shutil.rmtree(self.dir, ignore_errors=True)
        return code

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if exc[0] is not None:
            print("--- server log:\n" + self.log_text()[-3000:])
        code = self.stop()
        assert exc[0] is not None or code in (0, None), code

    def connection(self, timeout=60):
        return http.client.HTTPConnection(self.host, self.port,
                                          timeout=timeout)

    def request(self, method, path, body=None, token=None, headers=None,
                conn=None):
        h = {"Authorization": "Bearer " + (token or self.token)}
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
            h["Content-Type"] = "application/json"
        h.update(headers or {})
        c = conn or self.connection()
        c.request(method, path, body, h)
        r = c.getresponse()
        a = Answer(r.status, dict(r.getheaders()), r.read())
        if conn is None:
            c.close()
        return a

    def query(self, sql, params=None, ws="default", **kw):
        body = {"query": sql}
        if params is not None:
            body["params"] = params
        if "timeout_ms" in kw:
            body["timeout_ms"] = kw.pop("timeout_ms")
        return self.request("POST", f"/workspaces/{ws}/tables/query", body,
                            **kw)

    def run(self, *args):
        return subprocess.run([self.binary, "--store", self.store, *args],
                              capture_output=True, text=True, timeout=60)

    def metrics(self):
        out = {}
        for line in self.request("GET", "/metrics").body.decode().splitlines():
            if not line.startswith("#"):
                k, v = line.rsplit(" ", 1)
                out[k] = float(v)
        return out
