"""Two servers on one PostgreSQL behind nginx with TLS: commits through one are
fed by the other, and restarts of a server or of PostgreSQL under load lose
nothing that was acknowledged and fail no mount.  Then a load: 64 clients, 200 commits a second.

Arguments: postgres URL [seconds of load, default 10].
"""
import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(__file__))
from server import Server  # noqa: E402

if len(sys.argv) > 2:  # with_postgres.sh puts the URL last
    SECONDS, STORE = int(sys.argv[1]), sys.argv[2]
else:
    SECONDS, STORE = 10, sys.argv[1]
LOG = ('CREATE TABLE IF NOT EXISTS "C__log" (n BIGSERIAL, id TEXT PRIMARY KEY, '
       'node TEXT, body TEXT) USING deeplake')
PUT = 'INSERT INTO "C__log" (id, node, body) VALUES ($1, $2, $3) ON CONFLICT ' \
      '(id) DO NOTHING'


class Nginx:
    def __init__(self, servers):
        self.dir = tempfile.mkdtemp(prefix="dl-nginx-")
        os.chmod(self.dir, 0o755)
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048",
                        "-nodes", "-keyout", self.dir + "/key", "-out",
                        self.dir + "/cert", "-days", "2", "-subj",
                        "/CN=localhost", "-addext",
                        "subjectAltName=DNS:localhost"], check=True,
                       capture_output=True)
        here = os.path.join(os.path.dirname(__file__), "..", "..",
                            "packaging", "nginx-deeplake.conf")
        conf = open(here).read()
        # the shipped example, with our names and a free port
        import socket
        k = socket.socket()
        k.bind(("127.0.0.1", 0))
        self.port = k.getsockname()[1]
        k.close()
        conf = conf[:conf.rindex("server {\n\tlisten 80")]
        conf = conf.replace("listen 443 ssl http2;",
                            f"listen 127.0.0.1:{self.port} ssl;")
        conf = conf.replace("\tlisten [::]:443 ssl http2;\n", "")
        conf = conf.replace("tables.example.org", "localhost")
        for key, name in (("fullchain.pem", "cert"), ("privkey.pem", "key")):
            conf = conf.replace(f"/etc/letsencrypt/live/localhost/{key}",
                                f"{self.dir}/{name}")
        conf = conf.replace("\tserver 127.0.0.1:8088;\n", "".join(
            f"\tserver 127.0.0.1:{s.port} max_fails=0;\n" for s in servers))
        open(self.dir + "/conf", "w").write(
            f"pid {self.dir}/pid;\nerror_log {self.dir}/error.log;\n"
            "daemon off;\nworker_processes 1;\nevents { worker_connections "
            "1024; }\nhttp {\naccess_log off;\n"
            f"client_body_temp_path {self.dir};\nproxy_temp_path {self.dir};\n"
            f"fastcgi_temp_path {self.dir};\nuwsgi_temp_path {self.dir};\n"
            f"scgi_temp_path {self.dir};\n{conf}\n}}\n")
        self.proc = subprocess.Popen(["nginx", "-c", self.dir + "/conf",
                                      "-p", self.dir],
                                     stderr=subprocess.DEVNULL)
        self.ctx = ssl.create_default_context(cafile=self.dir + "/cert")
        for _ in range(100):
            try:
                self.connection().connect()
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError(open(self.dir + "/error.log").read())

    def connection(self):
        return http.client.HTTPSConnection("localhost", self.port, timeout=40,
                                           context=self.ctx)

    def stop(self):
        self.proc.send_signal(signal.SIGTERM)
        self.proc.wait(timeout=20)
        shutil.rmtree(self.dir, ignore_errors=True)


def feed(s, after, wait, conn=None):
    return s.request("GET", f"/workspaces/default/tables/C__log/feed?after="
                     f"{after}&wait={wait}", conn=conn).json


def across(a, b):
    """A commit through one server wakes the feed of the other."""
    last = feed(b, 0, 0)["last"]
    delays = []
    for i in range(20):
        got = {}

        def wait():
            got["f"] = feed(b, last, 10)
            got["t"] = time.monotonic()
        th = threading.Thread(target=wait)
        th.start()
        time.sleep(0.05)
        assert a.query(PUT, [f"x{i}", "n", "y"]).status == 200
        t0 = time.monotonic()
        th.join()
        assert got["f"]["rows"][0][1] == f"x{i}"
        last = got["f"]["last"]
        delays.append((got["t"] - t0) * 1000)
    print("  other server's feed after the commit's answer, median %.1f ms"
          % sorted(delays)[10])


def login(a, b):
    """A login whose questions go to one server and the other in turn; each of
    them dies between."""
    ask = b"{}"
    c = a.request("POST", "/auth/device/code", ask).json
    refused = b.request("POST", "/auth/device/code", ask).json
    body = {"device_code": c["device_code"]}
    assert b.request("POST", "/auth/device/token",
                     body).json["error"] == "authorization_pending"
    a.kill()
    restart_on(a, a.port)
    assert a.request("POST", "/auth/device/token",
                     body).json["error"] == "slow_down"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for code, answer, s in ((c, "yes", b), (refused, "no", a)):
        page = s.request("POST", "/device", f"user_code={code['user_code']}"
                         f"&token={s.token}&answer={answer}", headers=form)
        assert page.status == 200, page.body
    assert b.request("POST", "/auth/device/token", {
        "device_code": refused["device_code"]}).json["error"] == "access_denied"
    # both at once: one gets it
    got = [None, None]

    def take(i, s):
        got[i] = s.request("POST", "/auth/device/token", body)
    both = [threading.Thread(target=take, args=x) for x in enumerate((a, b))]
    for t in both:
        t.start()
    for t in both:
        t.join()
    good = [g for g in got if g.status == 200]
    assert len(good) == 1, [g.body for g in got]
    token = good[0].json["access_token"]
    assert all(s.query("SELECT 1", token=token).status == 200 for s in (a, b))


def put_until(s, conn_of, ident, deadline):
    """As a client does it: the same row again until it is acknowledged."""
    while time.monotonic() < deadline:
        try:
            a = s.query(PUT, [ident, "n", "y" * 400], conn=conn_of())
            if a.status == 200:
                return True
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.05)
    return False


class Mounted:
    """A mount through nginx that writes and fsyncs until it is told to stop."""

    def __init__(self, server, ng):
        self.tool = os.path.join(os.path.dirname(server.binary), "deeplake")
        self.dir = tempfile.mkdtemp(prefix="dl-mount-")
        self.path = self.dir + "/mnt"
        self.env = {"HOME": self.dir, "PATH": os.environ["PATH"],
                    "SSL_CERT_FILE": ng.dir + "/cert"}
        os.mkdir(self.dir + "/.deeplake", 0o700)
        fd = os.open(self.dir + "/.deeplake/credentials.json",
                     os.O_CREAT | os.O_WRONLY, 0o600)
        with os.fdopen(fd, "w") as f:
            json.dump({"token": server.token, "orgId": server.org,
                       "apiUrl": f"https://localhost:{ng.port}"}, f)
        self.made, self.failed, self.over = [], [], threading.Event()
        self.up("one")
        self.thread = threading.Thread(target=self.write)
        self.thread.start()

    def run(self, *args):
        subprocess.run([self.tool, *args], env=self.env, check=True,
                       timeout=150, stdin=subprocess.DEVNULL)

    def up(self, cache):
        self.run("init", "--table", "cluster", "--path", self.path, "-o",
                 f"cache_dir={self.dir}/{cache},log_file={self.dir}/log")

    def write(self):
        i = 0
        while not self.over.is_set():
            name = f"{self.path}/f{i}"
            try:
                with open(name, "w") as f:
                    f.write("x" * (i % 5000))
                    f.flush()
                    os.fsync(f.fileno())
                self.made.append((f"f{i}", i % 5000))
            except OSError as e:
                self.failed.append(f"{name}: {e}")
            i += 1
            time.sleep(0.02)

    def end(self):
        """Stop writing; with an empty cache all that was fsynced is there."""
        self.over.set()
        self.thread.join()
        self.run("umount", self.path)
        self.up("two")
        there = {n: os.stat(self.path + "/" + n).st_size
                 for n in os.listdir(self.path)}
        self.run("umount", self.path)
        wrong = [n for n, size in self.made if there.get(n) != size]
        assert not self.failed and not wrong, (self.failed[:3], wrong[:3])
        assert len(self.made) > 5, self.made
        print(f"  a mount through nginx: {len(self.made)} fsyncs over the "
              "restarts, none failed, none lost")
        shutil.rmtree(self.dir, ignore_errors=True)


def restarts(a, b, ng):
    if not os.path.exists("/dev/fuse") or os.geteuid() != 0:
        print("  no mounts here: restarts under a mount skipped")
        restart_all(a, b, ng)
        return
    mount = Mounted(a, ng)
    try:
        restart_all(a, b, ng)
        mount.end()
    finally:
        mount.over.set()
        subprocess.run(["umount", "-l", mount.path], check=False,
                       stderr=subprocess.DEVNULL)


def restart_all(a, b, ng):
    acked, stop = [], threading.Event()

    def writer(k):
        c, i = None, 0
        while not stop.is_set():
            try:
                c = c or ng.connection()
                r = a.query(PUT, [f"w{k}-{i}", "n", "y"], conn=c)
                if r.status == 200:
                    acked.append(f"w{k}-{i}")
                    i += 1
                else:
                    time.sleep(0.02)
            except (OSError, http.client.HTTPException):
                c = None
                time.sleep(0.02)
    ws = [threading.Thread(target=writer, args=(k,)) for k in range(8)]
    [w.start() for w in ws]
    time.sleep(0.7)
    for s, sig in ((a, signal.SIGTERM), (b, signal.SIGKILL)):
        port = s.port
        s.kill(sig)
        time.sleep(0.3)
        s.args = s.args[:]
        restart_on(s, port)
        time.sleep(0.5)
    before = len(acked)
    subprocess.run(pg_ctl("restart", "-m", "immediate"), check=True,
                   capture_output=True)
    time.sleep(1.5)
    stop.set()
    [w.join() for w in ws]
    assert len(acked) > before, "nothing went on after PostgreSQL's restart"
    there = {r[0] for r in a.query('SELECT id FROM "C__log"').rows}
    lost = [x for x in acked if x not in there]
    assert not lost, lost[:5]
    print(f"  {len(acked)} commits acknowledged over three restarts, none "
          "lost")


def restart_on(s, port):
    real = s.binary
    s.log = open(os.path.join(s.dir, "log"), "a")
    s.proc = subprocess.Popen(
        [real, "--listen", f"127.0.0.1:{port}", "--store", s.store],
        stdout=subprocess.PIPE, stderr=s.log, text=True)
    assert s.proc.stdout.readline().startswith("ready")


def pg_ctl(*args):
    d = os.environ["DEEPLAKE_TEST_PG"]
    exe = shutil.which("pg_ctl") or "/usr/lib/postgresql/15/bin/pg_ctl"
    if os.geteuid() == 0:
        pre = ["setpriv", "--reuid=postgres", "--regid=postgres",
               "--clear-groups"]
    else:
        pre = []
    return pre + [exe, "-D", d + "/data", "-l", d + "/log", "-w", "-o",
                  f"-k {d} -c listen_addresses='' -c max_connections=60",
                  *args]


def load(a, b):
    """64 clients, 200 commits a second together, a feed reader each side."""
    lat, fed, stop, sent = [], [], threading.Event(), {}
    start = time.monotonic()

    def writer(k):
        s = a if k % 2 else b
        c = s.connection()
        i = 0
        while not stop.is_set():
            due = start + (k / 64 + i) * 64 / 200
            time.sleep(max(0, due - time.monotonic()))
            ident = f"l{k}-{i}"
            t0 = time.monotonic()
            sent[ident] = t0
            r = s.query(PUT, [ident, "n", "y" * 500], conn=c)
            assert r.status == 200, r.body
            lat.append(time.monotonic() - t0)
            i += 1

    def reader(s):
        c = s.connection()
        at = feed(s, 2 ** 62, 0)["last"]
        at = s.query('SELECT coalesce(max(n), 0) FROM "C__log"').rows[0][0]
        while not stop.is_set():
            f = feed(s, at, 5, conn=c)
            now = time.monotonic()
            for r in f["rows"]:
                if r[1] in sent:
                    fed.append(now - sent[r[1]])
            at = f["last"]
    ts = [threading.Thread(target=writer, args=(k,)) for k in range(64)]
    ts += [threading.Thread(target=reader, args=(s,)) for s in (a, b)]
    [t.start() for t in ts]
    time.sleep(SECONDS)
    stop.set()
    [t.join() for t in ts]

    def pct(v, p):
        v = sorted(v)
        return v[int(len(v) * p)] * 1000
    rate = len(lat) / SECONDS
    rss = [int(next(x for x in open(f"/proc/{s.proc.pid}/status")
                    if x.startswith("VmHWM")).split()[1]) // 1024
           for s in (a, b)]
    print("  %.0f commits/s for %d s; answer p50 %.1f ms, p99 %.1f ms; seen in "
          "a feed p50 %.1f ms, p99 %.1f ms; server memory %d and %d MiB"
          % (rate, SECONDS, pct(lat, .5), pct(lat, .99), pct(fed, .5),
             pct(fed, .99), *rss))
    assert rate > 150, rate
    assert max(rss) < 200, rss


def main():
    a, b = Server(STORE), Server(STORE)
    ng = Nginx([a, b]) if shutil.which("nginx") else None
    try:
        assert a.query(LOG).status == 200
        assert b.query('SELECT count(*) FROM "C__log"').status == 200
        # both take the other's tokens
        assert b.query("SELECT 1", token=a.token).status == 200
        across(a, b)
        login(a, b)
        load(a, b)
        if ng is None:
            print("  no nginx here: TLS and restarts behind it skipped")
        else:
            r = a.query("SELECT 1", conn=ng.connection())
            assert r.status == 200 and r.rows == [[1]]
            r = a.request("POST", "/workspaces/default/tables/query", {
                "query": "SELECT length($1)", "params": ["x" * (9 << 20)]},
                conn=ng.connection())
            assert r.rows == [[9 << 20]], r.body[:200]
            restarts(a, b, ng)
        print("ok   two servers on one PostgreSQL")
    except BaseException:
        print(a.log_text()[-2000:], b.log_text()[-2000:])
        raise
    finally:
        if ng is not None:
            ng.stop()
        a.stop()
        b.stop()


main()
