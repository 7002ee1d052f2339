#!/usr/bin/env python3
"""A table that an attacker filled, damaged tables for fsck, and secrets.

The mount comes up, shows what can be shown, and neither crashes, hangs nor
lets a name out of the tree.  LONG=1: more entries for one name.
"""
import json
import os
import re
import resource
import signal
import stat
import struct
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "mount")]
import harness                                          # noqa: E402
from rows import LNK, REG, ROOT, Registers, body, insert, var   # noqa: E402

LONG = harness.LONG
NOISE = r"(?i)row|pack|piece|server|malformed|refused|EIO|error|checksum|read"


class Hostile:
    """A real volume with one honest file, and a way to add rows to it."""

    def __init__(self, box):
        self.box, self.server = box, box.serve()
        self.m = box.mount("a", server=self.server)
        self.m.allowed.append(NOISE)
        with open(self.m.path + "/honest", "w") as f:
            f.write("honest")
        self.m.flush()
        self.now, self.seq = int(time.time() * 1000), 0

    def add(self, data, **kw):
        self.seq += 1
        text = insert("data", data, self.now, seq=self.seq, **kw)
        self.box.run([harness.built("deeplake"), "query", "data", text])

    def rows(self, registers):
        self.add(body(registers.bytes()))

    def look(self, timeout=60):
        """Both a running and a cold mount: alive, inside, honest."""
        cold = self.box.mount("cold", home=self.box.new_home("cold"),
                              server=self.server)
        cold.allowed.append(NOISE)
        harness.wait_for("the rows in the running mount", lambda:
                         sorted(os.listdir(self.m.path))
                         == sorted(os.listdir(cold.path)), timeout, 0.5)
        for m in (self.m, cold):
            with open(m.path + "/honest") as f:
                assert f.read() == "honest"
            inside = 0
            for base, dirs, files in os.walk(m.path):
                for name in dirs + files:
                    inside += 1
                    assert name not in ("", ".", "..") and "/" not in name
                    os.lstat(os.path.join(base, name))
            with open(m.path + "/still-writes", "w") as f:
                f.write("x")
            m.flush()
            assert harness.process_state(m.pid) not in ("Z", "")
        return cold, inside


def test_names(box):
    """`..`, `a/b`, NUL, nothing, 256 bytes: shown under names of their own."""
    h = Hostile(box)
    r = Registers(h.now)
    outside = box.dir + "/outside"
    for name in (b"..", b".", b"", b"a/b", b"../../outside", b"x\0y",
                 b"n" * 256, b"/etc/passwd", b"\xff\xfe"):
        r.file(ROOT, name)
        r.directory(ROOT, name, os.urandom(16))
    h.rows(r)
    cold, inside = h.look()
    assert not os.path.exists(outside)
    assert inside >= 2 * 8, f"only {inside} entries are shown"
    assert sum(n.startswith("invalid-") for n in os.listdir(cold.path)) >= 8


def test_rings_and_depth(box):
    h = Hostile(box)
    r = Registers(h.now)
    a, b, own = os.urandom(16), os.urandom(16), os.urandom(16)
    r.directory(a, b"in-a", b)
    r.directory(b, b"in-b", a)
    r.directory(own, b"in-itself", own)
    r.directory(ROOT, b"root-in-root", ROOT)
    parent = ROOT
    for i in range(1100):       # 1,024 are shown
        child = os.urandom(16)
        r.directory(parent, b"d", child)
        parent = child
    h.rows(r)
    h.look(120)


def test_many_entries_for_one_name(box):
    """4,096 are shown beside the winner, status says so; the mount lives."""
    harness.need_program("zstd")
    h = Hostile(box)
    total = 1000000 if LONG else 50000
    start = time.monotonic()
    for part in range(0, total, 5000):
        # all of them older than what the test does itself
        r = Registers(h.now - total + part)
        for i in range(part, part + 5000):
            # all in one bucket, if the attacker could say where they go
            r.file(ROOT, b"crowd", kind=LNK if i % 2 else REG,
                   oid=bytes(8) + struct.pack("<Q", i))
        raw = r.bytes()
        zipped = subprocess.run(["zstd", "-c", "--no-check"], check=True,
                                input=raw, capture_output=True).stdout
        h.add(body(b"", len(raw), zipped))
    made = time.monotonic()
    harness.wait_for("the rows", lambda: h.m.status()["rows_folded"]
                     >= total // 5000, total / 1000 + 60, 0.5)
    merged = time.monotonic()
    names = [n for n in os.listdir(h.m.path) if n.startswith("crowd")]
    listed = time.monotonic()
    print(f"  {total} entries: put there in {made - start:.0f} s, merged "
          f"{merged - made:.0f} s later; {len(names)} names listed in "
          f"{listed - merged:.1f} s", flush=True)
    assert 2000 < len(names) < 5000, len(names)
    assert any("entries" in e for e in h.m.status()["errors"])
    assert listed - merged < 60, "listing took too long"
    with open(h.m.path + "/honest") as f:
        assert f.read() == "honest"
    start = time.monotonic()
    for i in range(20):
        with open(f"{h.m.path}/works{i}", "w") as f:
            f.write("x")
        os.lstat(h.m.path + "/crowd")
    print(f"  20 files in {time.monotonic() - start:.1f} s", flush=True)
    h.m.flush()


def test_extents_and_packs_that_lie(box):
    h = Hostile(box)
    r = Registers(h.now)
    pack = os.urandom(16)
    r.file(ROOT, b"huge", 1 << 44, [((1 << 43), 1000, pack, 60 << 20, 100, 1)])
    r.file(ROOT, b"no-pack", 1000, [(0, 1000, pack, 0, 100, 1)])
    h.rows(r)
    r = Registers(h.now)
    r.file(ROOT, b"past-the-end", 10, [(0, 1000, pack, 0, 100, 1)])
    h.rows(r)
    cold, _ = h.look()
    assert "past-the-end" not in os.listdir(cold.path)
    assert cold.status()["rows_refused"] == 1
    try:
        with open(f"{cold.path}/no-pack", "rb") as f:
            got = f.read(100)
        raise AssertionError(f"bytes that nobody has: {got!r}")
    except OSError as e:
        assert e.errno in (5, 110), e
    with open(f"{cold.path}/huge", "rb") as f:
        assert f.read(100) == bytes(100)    # a hole


def zstd_of_zeros(size):
    r = subprocess.run(["zstd", "-19", "-c", "--no-check"], check=True,
                       input=bytes(size), capture_output=True)
    return r.stdout


def test_bodies_that_lie(box):
    """Bombs, wrong lengths, garbage: refused as a whole, and counted."""
    harness.need_program("zstd")
    h = Hostile(box)
    bomb = zstd_of_zeros(256 << 20)
    h.add(body(b"", 256 << 20, bomb))
    h.add(body(b"", 60 << 20, bomb))
    h.add(body(b"", 10, bomb))
    h.add(os.urandom(5000))
    h.add(b"")
    h.add(b"\1\0" + var(5) + b"\xff" * 5)
    h.add(b"\1\0" + var(1 << 40))
    h.add(os.urandom(300), kind="checkpoint", epoch=5)
    cold, _ = h.look()
    st = cold.status()
    assert st["rows_refused"] >= 7, st["rows_refused"]
    with open(f"/proc/{cold.pid}/status") as f:
        peak = int(re.search(r"VmHWM:\s+(\d+)", f.read())[1]) // 1024
    print(f"  {st['rows_refused']} rows refused, {peak} MiB at most")
    # a sanitizer keeps memory of its own for each byte
    most = 600 if os.path.isdir(harness.REPORTS) else 200
    assert peak < most, f"a bomb took {peak} MiB"


def test_a_stamp_of_the_year_9999(box):
    """It waits for its day and stops nobody; no clock follows it."""
    h = Hostile(box)
    r = Registers(253402300799000 - 1000)
    r.file(ROOT, b"from-the-future")
    h.rows(r)
    cold, _ = h.look()
    assert "from-the-future" not in os.listdir(cold.path)
    with open(h.m.path + "/now", "w") as f:
        f.write("now")
    h.m.flush()
    harness.wait_for("now in the other", lambda:
                     "now" in os.listdir(cold.path), 20)


# ---- fsck says what is wrong
def fsck(box, status):
    r = box.run([harness.built("deeplake"), "fsck", "data", "--json"],
                status=status)
    return json.loads(r.stdout)["problems"]


def test_fsck_names_registers_and_trees(box):
    h = Hostile(box)
    harness.wait_for("nothing to say", lambda: box.run(
        [harness.built("deeplake"), "fsck", "data"], check=False)
                     .returncode == 0, 20)  # the files view follows
    h.add(os.urandom(500))
    assert any(p["kind"] == "row" and "decode" in p["what"]
               for p in fsck(box, 4))
    r = Registers(h.now)
    r.file(ROOT, b"no-bytes", 1000, [(0, 1000, os.urandom(16), 0, 100, 1)])
    r.file(os.urandom(16), b"homeless")
    h.rows(r)
    found = fsck(box, 4)
    assert any(p["kind"] == "piece" and p["where"] == "/no-bytes"
               and "missing" in p["what"] for p in found), found
    before = box.run([harness.built("deeplake"), "query", "data",
                      'SELECT count(*) AS n FROM "data__log"']).stdout
    box.run([harness.built("deeplake"), "fsck", "data", "--repair"], status=4)
    after = box.run([harness.built("deeplake"), "query", "data",
                     'SELECT count(*) AS n FROM "data__log"']).stdout
    assert before == after, "--repair removed what it cannot make again"


# ---- secrets
def token_of(server):
    with open(server.creds) as f:
        return json.load(f)["token"]


def test_no_secret_is_shown(box):
    """Not in argv, log, status, messages."""
    server = box.serve()
    m = box.mount(options={"log_level": "debug"})
    m.allowed.append(".")
    with open(m.path + "/f", "w") as f:
        f.write("x" * 1000)
    m.flush()
    token = token_of(server)
    seen = {"status": m.deeplake("status", m.path, "--json").stdout,
            "list": m.deeplake("list").stdout}
    with open(f"/proc/{m.pid}/cmdline") as f:
        seen["argv"] = f.read()
    r = m.deeplake("query", "data", "SELEKT 1", check=False)
    seen["error"] = r.stderr
    assert r.returncode != 0 and r.stderr
    with open(m.log) as f:
        seen["log"] = f.read()
    assert "http: write a log row" in seen["log"], "requests are not logged"
    for base, _, files in os.walk(m.cache):
        for name in files:
            if name == "control":
                continue
            with open(os.path.join(base, name), "rb") as f:
                seen[name] = f.read().decode("latin1")
    for where, text in seen.items():
        for part in [token, *[p for p in token.split(".") if len(p) > 16]]:
            assert part not in text, f"a part of the token is in {where}"
    assert os.stat(m.log).st_mode & 0o077 == 0, "the log is readable"


def test_no_core_file(box):
    """The token is in the daemon's memory."""
    harness.need(not os.path.isdir(harness.REPORTS),
                 "a sanitized build is for debugging: it leaves cores")
    m = box.mount()
    m.allowed.append(".")
    try:    # where we may lift its limit, PR_SET_DUMPABLE has to hold alone
        resource.prlimit(m.pid, resource.RLIMIT_CORE, (-1, -1))
    except PermissionError:
        with open(f"/proc/{m.pid}/limits") as f:
            assert re.search(r"(?i)max core file size +0 +0 ", f.read())
    pid, m.pid = m.pid, 0
    os.kill(pid, signal.SIGABRT)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) and not os.WCOREDUMP(status), \
        "the daemon left a core file"
    subprocess.run(["umount", "-i", "-l", m.path], check=True)


def test_credentials_that_others_can_read(box):
    server = box.serve()
    os.chmod(server.creds, 0o644)
    m = harness.Mount(box, "a", "deeplake", {}, None, "data", server)
    r = m.deeplake("init", "--table", "data", "--path", m.path, "-o",
                   m.option_text(), status=3)
    assert "chmod 600" in r.stderr, r.stderr


def test_control_socket_is_private(box):
    m = box.mount()
    st = os.lstat(m.cache + "/control")
    assert stat.S_ISSOCK(st.st_mode) and st.st_mode & 0o777 == 0o600, \
        oct(st.st_mode)


def test_a_redirect_does_not_get_the_token(box):
    """Another host is not told who we are."""
    server = box.serve()
    got = []

    class Thief(BaseHTTPRequestHandler):
        def do_GET(self):
            got.append(self.headers.get("Authorization"))
            self.send_response(200)
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *args):
            pass

    thief = HTTPServer(("127.0.0.1", 0), Thief)

    class Turn(Thief):
        def do_GET(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(307)
            self.send_header("Location", f"http://127.0.0.2:"
                             f"{thief.server_port}{self.path}")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET

    turn = HTTPServer(("127.0.0.1", 0), Turn)
    for s in (thief, turn):
        threading.Thread(target=s.serve_forever, daemon=True).start()
    with open(server.creds) as f:
        text = f.read()
    with open(server.creds, "w") as f:
        f.write(text.replace(server.url.rstrip("/"),
                             f"http://127.0.0.1:{turn.server_port}"))
    os.chmod(server.creds, 0o600)
    r = box.run([harness.built("deeplake"), "query", "data", "SELECT 1"],
                check=False, timeout=150)
    for s in (turn, thief):
        s.shutdown()
        s.server_close()
    assert r.returncode != 0
    assert not [g for g in got if g], "the token went to another host"


sys.setrecursionlimit(10000)
if __name__ == "__main__":
    harness.main(globals())
