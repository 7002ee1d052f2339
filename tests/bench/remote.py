"""Remote work behind a link with a round trip of 20 ms."""
import itertools
import json
import os
import re
import shutil
import statistics
import time

import harness
import material
from table import Row

RTT_S = 0.020
MIB = 1 << 20
VOLUME = itertools.count()      # what is measured once more begins anew


class Remote:
    """One volume behind a link, mounted and mounted again."""

    def __init__(self, box, server, table, name=None, mbit=0, options=None):
        self.box, self.table = box, table
        self.link = harness.Link(box, server, RTT_S, mbit)
        box.links.append(self.link)
        self.home = self.link.home(name or table)
        self.m = box.mount(name or table, "deeplake", options,
                           home=self.home, table=table, server=server)

    @property
    def path(self):
        return self.m.path

    def cold(self):
        """A mount that knows nothing: as in a new sandbox."""
        self.m.remount(empty_cache=True)

    def timed(self, func):
        """(seconds, what the link counted meanwhile)."""
        self.link.count()
        start = time.perf_counter()
        func()
        took = time.perf_counter() - start
        return took, self.link.count()

    def work(self, op, path, **settings):
        args = [f"{k}={v}" for k, v in settings.items()]
        out = self.box.run([harness.built("tests/bench/work"), op, path]
                           + args, timeout=1800).stdout.split()
        return float(out[0])

    def stop(self):
        self.m.down()
        self.link.stop()


def sync_dir(path):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


class Rows:
    """Rows made when their first value comes, in that order."""

    def __init__(self):
        self.rows = {}

    def add(self, name, value, limit, unit="s", least=False, measured=False):
        row = self.rows.get(name)
        if not row:
            row = Row(name, "least" if least else "limit", unit=unit,
                      limit=None if measured else limit)
            self.rows[name] = row
        if measured:
            row.limits.append(limit)
        row.add("deep", value)
        return row

    def run(self, name, part, *args):
        """One part; if it fails the others are measured all the same."""
        start = time.perf_counter()
        try:
            part(*args)
        except (AssertionError, OSError) as e:
            row = self.rows.setdefault(name, Row(name, "limit", unit="s"))
            row.failed = str(e).strip().replace("\n", " ")[:400]
        print(f"remote: {name} took {time.perf_counter() - start:.0f} s",
              flush=True)

    def list(self):
        return list(self.rows.values())


def small_files(r, rows, files):
    """Unpacked and flushed; read by a cold mount; removed."""
    d = f"{r.path}/small"
    os.mkdir(d)
    r.work("mkdirs", d, files=files)
    r.link.count()
    r.work("create", d, files=files)
    start = time.perf_counter()
    r.m.flush()
    rows.add(f"{files:,} small files: flush after unpacking",
             time.perf_counter() - start, 1.5)
    n = r.link.count()
    rows.add("- requests", n["requests"], 60, "")
    rows.add("- largest body", n["max_body"] / MIB, 8, "MiB")
    rows.add("- connections at once", n["most_open"], 3, "")
    harness.drop_caches()
    warm = r.work("read", d, files=files)
    r.m.down()
    shutil.rmtree(r.m.cache)
    os.makedirs(r.m.cache)
    took, n = r.timed(lambda: (r.m.up(), r.work("read", d, files=files)))
    rows.add("cold mount and all read, more than from the cache",
             took - warm, 3)
    rows.add("- requests ", n["requests"], 60, "")
    r.link.count()
    r.box.run(["rm", "-rf", d], timeout=300)
    took, _ = r.timed(r.m.flush)
    rows.add("rm -rf of them: flush afterwards", took, 0.3)


def removal_requests(r, rows, files):
    d = f"{r.path}/gone"
    os.mkdir(d)
    r.work("mkdirs", d, files=files)
    r.work("create", d, files=files)
    r.m.flush()
    _, n = r.timed(lambda: (r.box.run(["rm", "-rf", d], timeout=300),
                            r.m.flush()))
    rows.add("rm -rf and flush: requests", n["requests"], 10, "")


def first_listing(r, rows, files, limit):
    d = f"{r.path}/listed"
    os.mkdir(d)
    r.work("mkdirs", d, files=files)
    r.work("create", d, files=files, size=100)
    r.m.flush()
    r.m.down()
    shutil.rmtree(r.m.cache)
    os.makedirs(r.m.cache)
    took, n = r.timed(lambda: (r.m.up(), r.box.run(["ls", "-l", r.path])))
    row = rows.add(f"mount to first ls -l / with {files:,} files", took,
                   limit)
    row.note = f"{n['requests']} requests, {n['down_bytes'] >> 10} KiB"


def clone(r, rows, files):
    repo = material.repository(files)
    d = f"{r.path}/clone"

    def run():
        r.box.run(["git", "clone", "-q", "file://" + repo, d], timeout=600)
    r.link.count()
    run()
    took, _ = r.timed(r.m.flush)
    rows.add("git clone: flush afterwards", took, 0.5)
    shutil.rmtree(d)
    r.m.flush()
    _, n = r.timed(lambda: (run(), r.m.flush()))
    rows.add("git clone and flush: requests", n["requests"], 15, "")

    def status():
        start = time.perf_counter()
        r.box.run(["git", "status", "--porcelain"], cwd=d)
        return time.perf_counter() - start
    status()
    harness.drop_caches()
    warm = status()
    r.cold()
    rows.add("git status on a cold mount, more than on a warm one",
             status() - warm, 0.5)


def fsyncs(r, rows, count):
    d = f"{r.path}/fsync"
    os.mkdir(d)
    r.work("fsyncs", d, count=5, name="warm")
    took = r.work("fsyncs", d, count=count, name="one")
    rows.add("fsync of a small file, one writer", took / count,
             RTT_S + 0.005)
    took = r.work("fsyncs", d, count=count * 8, threads=8, name="eight")
    rows.add("fsync, 8 writers together", count * 8 / took, 200, "/s",
             least=True)


def appended_log(box, rows):
    """An hour of a line and an fsync a second, in the simulation's time."""
    said = box.run([harness.built("sim"), "--only", "hour-of-log", "--log"],
                   timeout=600)
    most = re.search(r"an hour: a commit is at most (\d+) bytes",
                     said.stdout + said.stderr)
    assert most, "the simulation did not say how large its commits were"
    row = rows.add("a line and an fsync a second for an hour: largest body",
                   int(most[1]) * 4 / 3, 2000, "B")
    row.note = "simulated; lines of 80 bytes; in base64, as it is sent"


def sqlite(r, rows, count):
    def run(name, sql):
        start = time.perf_counter()
        r.box.run(["sqlite3", name], cwd=r.path, stdin="\n".join(sql),
                  timeout=600)
        return time.perf_counter() - start
    make = "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT);"
    each = [f"INSERT INTO t(v) VALUES('row {i}');" for i in range(count)]
    head = ["PRAGMA journal_mode=WAL;", make]
    base = run("wal0.db", head)
    rows.add("sqlite3 WAL, a row a transaction",
             (run("wal.db", head + each) - base) / count, RTT_S + 0.010)
    many = [f"INSERT INTO t(v) VALUES('row {i}');" for i in range(10000)]
    run("roll.db", [make])
    took = run("roll.db", ["BEGIN;"] + many + ["COMMIT;"])
    start = time.perf_counter()
    r.box.run(["sqlite3", r.box.dir + f"/plain-{time.time_ns()}.db"],
              stdin="\n".join([make, "BEGIN;"] + many + ["COMMIT;"]))
    plain = time.perf_counter() - start
    rows.add("sqlite3, 10,000 rows in one rollback transaction", took,
             4 * RTT_S + 1.3 * plain, measured=True)


def sparse(r, rows, writes):
    f = r.path + "/sparse"
    with open(f, "wb") as h:
        os.ftruncate(h.fileno(), 10 << 30)
    r.m.flush()
    r.link.count()
    r.work("randwrite", r.path, name="sparse", span=10 << 30, count=writes)
    with open(f, "rb") as h:
        os.fsync(h.fileno())
    rows.add(f"{writes:,} writes of 4 KiB into 10 GiB, then fsync: sent",
             r.link.count()["up_bytes"] / 1e6, 10, "MB")
    os.unlink(f)


def big_rename(r, rows, files):
    d = f"{r.path}/before"
    os.mkdir(d)
    r.work("mkdirs", d, files=files)
    r.work("create", d, files=files, size=10)
    r.m.flush()
    r.m.remount()               # nothing of the files view is still due
    r.link.count()
    os.rename(d, f"{r.path}/after")
    sync_dir(r.path)
    rows.add(f"rename of a directory with {files:,} files, fsync: sent",
             r.link.count()["up_bytes"] / 1000, 10, "kB")
    r.box.run(["rm", "-rf", f"{r.path}/after"], timeout=600)
    r.m.flush(timeout=600)


def seen(r, other, rows, times):
    took = []
    for i in range(times):
        name = f"seen-{i}"
        path = f"{other.path}/{name}"
        with open(f"{r.path}/{name}", "w") as f:
            f.write("x")
            f.flush()
            os.fsync(f.fileno())
        start = time.perf_counter()
        harness.wait_for(f"{name} in the other mount",
                         lambda path=path: os.path.exists(path), 60, 0.01)
        took.append(time.perf_counter() - start)
    poll = other.m.status()["poll_interval_s"]
    rows.add("seen in the other mount, by polling",
             statistics.median(took), poll + 2 * RTT_S, measured=True)


def big_file(r, rows, mib, rate_mbit, name):
    """Written and fsynced; first byte and the rest on a cold mount."""
    f = r.path + "/big"

    def write():
        r.work("seqwrite", r.path, mib=mib)
        with open(f, "rb") as h:
            os.fsync(h.fileno())
    took, n = r.timed(write)
    up = n["up_bytes"] / took
    if rate_mbit:
        rows.add(f"{mib} MiB written and fsynced, {name}: of the link",
                 up / (rate_mbit * 125000), 0.9, "x", least=True)
    r.m.flush()
    r.m.remount(empty_cache=True)
    os.stat(f)
    fd = os.open(f, os.O_RDONLY)
    start = time.perf_counter()
    os.pread(fd, 1, 0)
    first = time.perf_counter() - start
    rows.add(f"first byte of {mib} MiB on a cold mount, {name}", first,
             3 * RTT_S + (0 if not rate_mbit else 0.09))
    os.close(fd)
    took, n = r.timed(lambda: r.work("seqread", r.path, mib=mib))
    down = n["down_bytes"] / took
    if rate_mbit:
        rows.add(f"{mib} MiB read by a cold mount, {name}: of the link",
                 down / (rate_mbit * 125000), 0.9, "x", least=True)
    return up, down


def measure(box, server, rounds, quick, parts=()):
    """parts: names of functions here (all of them when empty).

    What takes minutes is measured in the first round only: its rows are of
    bytes, or of shares of the link.
    """
    rows = Rows()
    files, mib = (2000, 64) if quick else (10000, 1024)
    on_one_mount = [(small_files, files), (removal_requests, files),
                    (clone, 300 if quick else 1500),
                    (fsyncs, 40 if quick else 100),
                    (sqlite, 50 if quick else 200), (sparse, 1000)]
    if not quick:
        on_one_mount.append((big_rename, 100000))
    own = [(first_listing, lambda _: first_listing_round(
                box, server, rows, files)),
           (appended_log, lambda _: appended_log(box, rows)),
           (seen, lambda i: seen_round(rows, i, 5 if quick else 7)),
           (big_file, lambda _: big_round(box, server, rows, mib))]
    once = {sparse, big_rename, appended_log, big_file}

    def wanted(part, i):
        return (not parts or part.__name__ in parts) and \
            (not i or part not in once)
    for i in range(1 if quick else rounds):
        r = None
        for part, size in on_one_mount:
            if wanted(part, i):
                r = r or Remote(box, server, f"remote_{next(VOLUME)}")
                rows.run(part.__name__, part, r, rows, size)
        if r:
            r.stop()
        for part, run in own:
            if wanted(part, i):
                rows.run(part.__name__, run, i)
    return rows.list()


def first_listing_round(box, server, rows, files):
    r = Remote(box, server, f"listing_{next(VOLUME)}")
    first_listing(r, rows, files, 0.3)
    r.stop()


def seen_round(rows, i, times):
    """On a server without a feed: there mounts have to ask."""
    with harness.Box("bench-poll") as box:
        name = os.path.join(box.dir, "polling.json")
        with open(name, "w") as f:
            json.dump({"no_feed": True}, f)
        server = box.serve("polling", ["--simulate", name])
        a = Remote(box, server, f"seen_{i}", "seen_a")
        b = Remote(box, server, f"seen_{i}", "seen_b")
        seen(a, b, rows, times)


def big_round(box, server, rows, mib):
    for mbit, name in ((400, "400 Mbit/s"), (0, "unlimited")):
        r = Remote(box, server, f"big_{mbit}_{next(VOLUME)}", mbit=mbit)
        up, down = big_file(r, rows, mib, mbit, name)
        if not mbit:
            post, fetch = plain_curl(box, r.link.url, r.home, mib)
            rows.add(f"{mib} MiB written and fsynced: of plain curl",
                     up / post, 0.5, "x", least=True)
            rows.add(f"{mib} MiB read by a cold mount: of plain curl",
                     down / fetch, 0.35, "x", least=True)
        r.stop()


def plain_curl(box, url, home, mib):
    """Bytes a second of curl for packs of 4 MiB: posted, and fetched."""
    with open(home + "/.deeplake/credentials.json") as f:
        creds = json.load(f)
    space = creds.get("workspaceId") or "default"
    where = f"{url}/workspaces/{space}/tables/query"
    conf = os.path.join(box.dir, "curl.conf")
    with open(conf, "w") as f:          # the token stays out of argv
        os.chmod(conf, 0o600)
        f.write(f'header = "Authorization: Bearer {creds["token"]}"\n'
                f'header = "X-Activeloop-Org-Id: {creds["orgId"]}"\n'
                'header = "Content-Type: application/json"\n')

    def query(*bodies):
        args = ["curl", "-sS", "-f", "-Z", "--parallel-max", "3", "-K", conf]
        for n, body in enumerate(bodies):
            name = os.path.join(box.dir, f"curl-{n}.json")
            with open(name, "w") as f:
                json.dump(body, f)
            args += (["--next", "-K", conf, "-f", "-sS"] if n else []) + \
                ["--data-binary", "@" + name, "-o",
                 os.path.join(box.dir, f"curl-{n}.out"), where]
        start = time.perf_counter()
        box.run(args, timeout=600)
        return time.perf_counter() - start
    table = f"curl_{time.time_ns()}"
    query({"query": f"CREATE TABLE {table} (id TEXT, data TEXT)"})
    data = material.base64_noise(4 << 20)
    n = max(3, min(24, mib // 4))
    took = query(*[{"query": f"INSERT INTO {table} (id, data) VALUES ($1, "
                    "$2)", "params": [str(i), data]} for i in range(n)])
    post = n * len(data) / took
    took = query(*[{"query": f"SELECT data FROM {table} WHERE id = $1",
                    "params": [str(i)]} for i in range(n)])
    got = sum(os.path.getsize(os.path.join(box.dir, f"curl-{i}.out"))
              for i in range(n))
    assert got >= n * len(data), f"curl got {got} bytes"
    return post, got / took
