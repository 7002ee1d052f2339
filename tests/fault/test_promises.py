#!/usr/bin/env python3
"""Promises of the design that no other test names, each on real mounts.

3: lost bytes fail the next fsync, once.  5: use ends the idle pace.  6: no
effect without its cause.
7: appends of mounts that were cut off.  10: certificates, and the ways to the
server: proxies, bwlimit.
"""
import json
import os
import re
import shutil
import socket
import ssl
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "mount"))
import harness                                          # noqa: E402
from harness import get, put                            # noqa: E402

NOISE = (r"(?i)unreachable|connect|refused|offline|timed? ?out|reset|server|"
         r"certificate|lost|checksum|EIO|a pack is missing or damaged")
MIB = 1 << 20


def sync(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        return 0
    except OSError as e:
        return e.errno
    finally:
        os.close(fd)


# ---- promise 3
def damage(m, text):
    """Flip a bit in each place of the cache where text is; how many."""
    found = 0
    for top, _, names in os.walk(m.cache):
        for name in names:
            path = os.path.join(top, name)
            if not os.path.isfile(path):
                continue
            at = get(path).find(text)
            if at < 0:
                continue
            with open(path, "r+b") as f:
                f.seek(at)
                f.write(bytes([text[0] ^ 1]))
            found += 1
    return found


def test_lost_bytes_fail_fsync_once(box):
    """A power cut took bytes that only this machine had."""
    server = box.serve()
    # Slow, so that fsync asks before the bytes were looked at.
    m = box.mount(server=server, options={"bwlimit": "16M"})
    m.allowed.append(NOISE)
    put(m.path + "/before", b"in the table")
    m.flush()
    server.stop()
    mark = os.urandom(48)
    hurt = os.urandom(70000) + mark + os.urandom(230000)
    whole = os.urandom(200000)
    for i in range(20):
        put(f"{m.path}/first-{i}", os.urandom(4 * MIB))
    put(m.path + "/hurt", hurt)
    put(m.path + "/whole", whole)
    m.kill()
    assert damage(m, mark), "the bytes are not in the cache"
    server.start(server.port)
    m.up()
    said = [sync(m.path + "/hurt") for _ in range(3)]
    assert said == [5, 0, 0], said
    assert sync(m.path + "/whole") == 0
    assert get(m.path + "/whole") == whole
    try:
        got = get(m.path + "/hurt")
        raise AssertionError(f"{len(got)} bytes were read")
    except OSError as e:
        assert e.errno == 5, e
    assert any("lost" in e for e in m.status()["errors"]), m.status()
    put(m.path + "/hurt", whole)
    assert sync(m.path + "/hurt") == 0
    m.remount(empty_cache=True)
    assert get(m.path + "/hurt") == whole
    assert get(m.path + "/before") == b"in the table"


def test_lost_bytes_fail_a_local_fsync_once(box):
    """The same with fsync=local, before anything is packed: no server."""
    server = box.serve()
    m = box.mount(server=server, options={"fsync": "local"})
    m.allowed.append(NOISE)
    put(m.path + "/before", b"in the table")
    m.flush()
    server.stop()
    mark = os.urandom(48)
    for i in range(20):     # more than the packer can put anywhere
        put(f"{m.path}/first-{i}", os.urandom(4 * MIB))
    # in a segment of its own, and one in the journal
    hurt = {"big": os.urandom(MIB) + mark + os.urandom(230000),
            "small": b"a" * 3000 + mark}
    whole = os.urandom(200000)
    for name, data in (*hurt.items(), ("whole", whole)):
        put(f"{m.path}/{name}", data)
    m.kill()
    assert damage(m, mark) == len(hurt), "the bytes are not in the cache"
    m.up(init=False)
    for name in hurt:
        said = [sync(f"{m.path}/{name}") for _ in range(3)]
        assert said == [5, 0, 0], (name, said)
        assert any("lost" in e for e in m.status()["errors"]), m.status()
        try:
            got = get(f"{m.path}/{name}")
            raise AssertionError(f"{len(got)} bytes were read")
        except OSError as e:
            assert e.errno == 5, e
    for name in ("whole", "before"):
        assert sync(f"{m.path}/{name}") == 0
    assert get(m.path + "/whole") == whole
    with open(m.path + "/big", "rb") as f:      # what is whole of it stays
        assert f.read(MIB // 2) == hurt["big"][:MIB // 2]
    server.start(server.port)
    m.flush()           # told once: not again when they are packed
    assert [sync(f"{m.path}/{name}") for name in hurt] == [0, 0]
    for name in hurt:
        put(f"{m.path}/{name}", whole)
        assert sync(f"{m.path}/{name}") == 0
    m.remount(empty_cache=True)
    for name in hurt:
        assert get(f"{m.path}/{name}") == whole


# ---- promise 5
@harness.waits
def test_use_ends_the_idle_pace(box):
    """Idle, on a server that did not prove itself ours, a mount polls every
    30 s; who uses it sees at once what others did."""
    rules = box.dir + "/simulate.json"
    with open(rules, "w", encoding="utf-8") as f:
        json.dump({"no_feed": True, "no_unique": True}, f)
    server = box.serve(args=["--simulate", rules])
    options = {"view": "off"}
    a, b = (box.mount(n, home=box.new_home(n), server=server, options=options)
            for n in "ab")
    os.listdir(b.path)
    harness.wait_for("b is idle", lambda: b.status()["poll_interval_s"] >= 30,
                     150, 1)
    last = b.status()["last_poll"]
    harness.wait_for("a poll, the next is 30 s later",
                     lambda: b.status()["last_poll"] != last, 60, 0.5)
    put(a.path + "/new", b"1")
    a.flush()
    start = time.monotonic()
    harness.wait_for("the file in b", lambda: "new" in os.listdir(b.path), 20)
    took = time.monotonic() - start
    print(f"  after {took:.1f} s")
    assert took < 10, f"{took:.1f} s"


# ---- promise 6
def sql(box, text):
    r = box.run([harness.built("deeplake"), "query", "data", text, "--json"])
    return json.loads(r.stdout or "[]")


def test_no_effect_without_its_cause(box):
    """b answers a; who cannot see a's row yet does not see b's answer."""
    server = box.serve()
    a, b = (box.mount(n, home=box.new_home(n), server=server) for n in "ab")
    os.mkdir(a.path + "/d")
    a.flush()
    harness.wait_for("d in b", lambda: os.path.isdir(b.path + "/d"))
    rows = {r["id"] for r in sql(box, 'SELECT id FROM "data__log"')}
    put(a.path + "/d/cause", b"1")
    a.flush()
    harness.wait_for("the cause in b", lambda: os.path.exists(
        b.path + "/d/cause"))
    hidden = [r for r in sql(box, "SELECT id, node, seq, sent, epoch, kind, "
                             'prev, deps, body FROM "data__log"')
              if r["id"] not in rows]
    assert len(hidden) == 1, hidden
    a.down()
    sql(box, "DELETE FROM \"data__log\" WHERE id = '%s'" % hidden[0]["id"])
    put(b.path + "/d/effect", b"2")
    b.flush()
    c = box.mount("c", home=box.new_home("c"), server=server)
    end = time.monotonic() + 5
    while time.monotonic() < end:
        assert os.listdir(c.path + "/d") == [], os.listdir(c.path + "/d")
        time.sleep(0.2)
    names = ", ".join(hidden[0])
    values = ", ".join("'%s'" % v for v in hidden[0].values())
    sql(box, f'INSERT INTO "data__log" ({names}) VALUES ({values})')
    harness.wait_for("both in c", lambda: sorted(os.listdir(c.path + "/d"))
                     == ["cause", "effect"], 40)


# ---- promise 7
def test_appends_of_mounts_cut_off(box):
    server = box.serve()
    a, b = (box.mount(n, home=box.new_home(n), server=server) for n in "ab")
    put(a.path + "/log", b"start\n")
    a.flush()
    harness.wait_for("log in b", lambda: os.path.exists(b.path + "/log")
                     and get(b.path + "/log") == b"start\n")
    server.stop()
    for i in range(30):
        for m, name in ((a, b"a"), (b, b"b")):
            put(m.path + "/log", b"%s%d\n" % (name, i), "ab")
    server.start(server.port)
    want = sorted([b"start"] + [b"%s%d" % (n, i) for n in (b"a", b"b")
                                for i in range(30)])
    for m in (a, b):
        m.allowed.append(NOISE)
        m.flush()
    for m in (a, b):
        harness.wait_for("all lines", lambda m=m: sorted(
            get(m.path + "/log").split()) == want, 30)
        assert os.listdir(m.path) == ["log"], os.listdir(m.path)
    lines = get(a.path + "/log").split()
    assert lines == get(b.path + "/log").split()
    for n in (b"a", b"b"):
        assert [x for x in lines if x[:1] == n] == \
            [b"%s%d" % (n, i) for i in range(30)]


# ---- the way to the server
class Relay:
    """Bytes from a port of its own to another; with a certificate, TLS."""

    def __init__(self, box, to, cert=None):
        self.to, self.cert, self.asked = to, cert, 0
        self.open = set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        box.links.append(self)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                conn, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.one, args=(conn,),
                             daemon=True).start()

    def one(self, conn):
        try:
            if self.cert:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(*self.cert)
                conn = context.wrap_socket(conn, server_side=True)
            self.open.add(conn)
            data = conn.recv(65536)
            if data:
                self.asked += 1
                self.answer(conn, data)
        except OSError:
            pass
        finally:
            self.open.discard(conn)
            conn.close()

    def answer(self, conn, first):
        self.pass_on(conn, self.to, first)

    def pass_on(self, conn, to, first, change=lambda data: data):
        up = socket.create_connection(to)
        up.sendall(change(first))
        back = threading.Thread(target=self.copy, args=(up, conn),
                                daemon=True)
        back.start()
        self.copy(conn, up, change)
        back.join()
        up.close()

    @staticmethod
    def copy(a, b, change=lambda data: data):
        try:
            while data := a.recv(65536):
                b.sendall(change(data))
        except OSError:
            pass
        for s in (a, b):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def drop(self):
        for s in list(self.open):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def stop(self):
        # a blocked accept() is woken by shutdown, not by close
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        self.drop()


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self, box, name="ca"):
        harness.need_program("openssl")
        self.box, self.dir = box, f"{box.dir}/{name}"
        os.mkdir(self.dir)
        self.ca = self.dir + "/ca.crt"
        self.ssl("req", "-x509", *self.KEY, "-keyout", "ca.key", "-out",
                 "ca.crt", "-subj", "/CN=test", "-days", "9")

    KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")

    def ssl(self, *args):
        self.box.run(["openssl", *args], cwd=self.dir)

    def cert(self, name, san="DNS:localhost", days=9):
        self.ssl("req", *self.KEY, "-keyout", name + ".key", "-out",
                 name + ".csr", "-subj", "/CN=" + name, "-addext",
                 "subjectAltName=" + san)
        self.ssl("x509", "-req", "-in", name + ".csr", "-CA", "ca.crt",
                 "-CAkey", "ca.key", "-copy_extensions", "copy", "-days",
                 str(days), "-out", name + ".crt")
        return f"{self.dir}/{name}.crt", f"{self.dir}/{name}.key"


def bad_certificates(box, ca):
    yield "unknown", Authority(box, "other").cert("unknown")
    yield "expired", ca.cert("expired", days=-1)
    yield "elsewhere", ca.cert("elsewhere", "DNS:example.org")


def test_certificates(box):
    """Each bad one ends the sending with a clear word; a good one heals."""
    server, ca = box.serve(), Authority(box)
    good = ca.cert("good")
    relay = Relay(box, ("127.0.0.1", server.port), good)
    m = box.mount(server=server, options={"ca_file": ca.ca}, home=box.home_at(
        "tls", server, f"https://localhost:{relay.port}"))
    m.allowed.append(NOISE)
    put(m.path + "/first", b"1")
    m.flush()
    for name, relay.cert in bad_certificates(box, ca):
        asked = relay.asked
        relay.drop()
        put(f"{m.path}/{name}", name.encode())
        harness.wait_for(f"{name} in status", lambda: any(
            "certificate is not trusted" in e for e in m.status()["errors"]),
            30)
        start = time.monotonic()
        r = m.deeplake("flush", m.path, "--timeout", "2", check=False)
        assert r.returncode == 5 and time.monotonic() - start < 8, r
        assert "certificate" in r.stderr, r.stderr
        point = f"{box.dir}/never-{name}"
        os.mkdir(point)
        r = m.deeplake("init", "--table", "data", "--path", point, "-o",
                       f"ca_file={ca.ca},cache_dir={point}.cache",
                       check=False)
        assert r.returncode and "certificate" in r.stderr, r
        assert not harness.mounts_under(point)
        assert relay.asked == asked, "a request was made all the same"
        relay.cert = good
        m.flush(60)
        assert not m.status()["errors"], m.status()["errors"]
    m.remount(empty_cache=True)
    for name in ("unknown", "expired", "elsewhere"):
        assert get(f"{m.path}/{name}") == name.encode()


class HttpProxy(Relay):
    """An HTTP proxy: CONNECT, and absolute URLs of plain HTTP."""

    refuse = False

    def answer(self, conn, first):
        while b"\r\n\r\n" not in first:
            first += conn.recv(65536)
        method, url, _ = first.split(b"\r\n")[0].split()
        where = re.match(rb"(?:http://)?([^/:]+):(\d+)", url)
        to = (where[1].decode(), int(where[2]))
        if self.refuse:
            conn.sendall(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n"
                         b"Proxy-Authenticate: Basic\r\n\r\n")
        elif method == b"CONNECT":
            assert b"authorization:" not in first.lower()
            conn.sendall(b"HTTP/1.1 200 Go\r\n\r\n")
            self.pass_on(conn, to, b"")
        else:   # each request begins with a read of its own
            self.pass_on(conn, to, first, lambda data: re.sub(
                rb"^([A-Z]+ )http://[^/]+", rb"\1", data))


def through_proxy(box, variable, home, options, server):
    proxy = HttpProxy(box, None)
    env = box.env(home, **{variable: f"http://127.0.0.1:{proxy.port}"})
    m = harness.Mount(box, "a", "deeplake", options, home, "data", server)
    box.mounts.append(m)
    m.allowed.append(NOISE + "|proxy")
    m.deeplake("init", "--table", "data", "--path", m.path, "-o",
               m.option_text(), env=env)
    m.pid = int(m.status()["pid"])
    put(m.path + "/f", os.urandom(300000))
    m.flush()
    assert proxy.asked, "nothing went through the proxy"
    proxy.refuse = True
    proxy.drop()
    put(m.path + "/g", b"g")
    harness.wait_for("the refusal in status", lambda: any(
        "proxy" in e for e in m.status()["errors"]), 30)
    proxy.refuse = False
    m.flush()
    return m


def test_http_proxy(box):
    server = box.serve()
    through_proxy(box, "http_proxy", box.home, {}, server)


def test_https_proxy(box):
    """CONNECT; the token goes through it sealed."""
    server, ca = box.serve(), Authority(box)
    relay = Relay(box, ("127.0.0.1", server.port), ca.cert("good"))
    home = box.home_at("tls", server, f"https://localhost:{relay.port}")
    through_proxy(box, "https_proxy", home, {"ca_file": ca.ca}, server)


def test_bwlimit(box):
    """4 MiB at 1 MiB/s take four seconds, and a little one is not stuck."""
    m = box.mount(options={"bwlimit": "1M"})
    data = os.urandom(4 * MIB)
    start = time.monotonic()
    put(m.path + "/big", data)
    wrote = time.monotonic() - start
    m.flush()
    took = time.monotonic() - start
    print(f"  written in {wrote:.1f} s, sent in {took:.1f} s")
    assert wrote < 2, "the limit slowed a program that had room in the cache"
    assert 4 <= took < 30, f"{took:.1f} s"
    shutil.copyfile(m.path + "/big", box.dir + "/copy")
    assert get(box.dir + "/copy") == data


if __name__ == "__main__":
    harness.main(globals())
