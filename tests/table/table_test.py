"""The table API, end to end: every statement shape of real clients, errors,
tokens, feed, confinement, durability, simulation.  Run by `make check-table`;
argument: sqlite (default) or a postgres:// URL.
"""
import base64
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(__file__))
import shapes  # noqa: E402
from server import Server  # noqa: E402

STORE = sys.argv[1] if len(sys.argv) > 1 and sys.argv[1] != "sqlite" else None


def close(a, b):
    """Equal, floats within float32's digits."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return a == b or abs(a - b) < 1e-6 * max(abs(a), abs(b))
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(close, a, b))
    return a == b


def run_case(s, sql, params, want):
    a = s.query(sql, params)
    if isinstance(want, shapes.Err):
        if a.status not in want.status or want.text not in a.error:
            return f"{a.status} {a.body.decode()}\n  wanted {want.status} " \
                   f"... {want.text}"
        return None
    if a.status != 200:
        return f"{a.status} {a.body.decode()}"
    cols, rows = want if isinstance(want, tuple) else (None, want)
    got = a.json
    if cols is not None and got["columns"] != cols:
        return f"columns {got['columns']}\n  wanted {cols}"
    if not close(got["rows"], rows):
        return f"rows {got['rows']}\n  wanted {rows}"
    return None


def test_shapes():
    with Server(STORE) as s:
        for sql in shapes.SETUP:
            a = s.query(sql)
            assert a.status == 200, (sql, a.body)
        bad = 0
        for sql, params, want in shapes.CASES:
            wrong = run_case(s, sql, params, want)
            if wrong:
                bad += 1
                print(f"FAILED {sql}\n  {wrong}")
        assert bad == 0, f"{bad} of {len(shapes.CASES)} statements"
        for sql in shapes.PG_ONLY:
            a = s.query(sql)
            if STORE is None:
                assert a.status == 400 and "PostgreSQL store" in a.error, a.body
            else:
                assert a.status == 200, (sql, a.body)
        print(f"  {len(shapes.CASES)} statements")


def test_endpoints():
    with Server(STORE) as s:
        assert s.request("GET", "/health").json == {"status": "ok"}
        assert s.request("GET", "/ready").json == {"status": "ready"}
        me = s.request("GET", "/me").json
        assert me["organizations"] == [s.org], me
        assert s.request("GET", "/organizations").json[0]["id"] == s.org
        m = s.request("GET", f"/organizations/{s.org}/members").json
        assert len(m["members"]) == 1
        a = s.request("POST", "/workspaces", {"name": "x"})
        assert a.status == 400 and a.error == "workspace ID is required"
        ws = "w-%d" % time.time_ns()
        assert s.request("POST", "/workspaces", {"id": ws}).status == 201
        assert s.request("POST", "/workspaces", {"id": ws}).status == 409
        ids = [w["id"] for w in s.request("GET", "/workspaces").json["data"]]
        assert "default" in ids and ws in ids
        assert s.query("SELECT 1", ws="nope").status == 404
        t = {"table_name": "t", "table_schema": {
            "_id": "TEXT", "content": "BYTEA", "size_bytes": "BIGINT",
            "e": "EMBEDDING(4)"}}
        p = f"/workspaces/{ws}/tables"
        a = s.request("POST", p, t)
        assert a.status in (200, 201), a.body
        a = s.request("POST", p, t)
        assert a.status == 409 and "already exists" in a.error
        assert s.request("GET", p).json["tables"][0]["table_name"] == "t"
        a = s.request("POST", p, {"table_name": "u", "table_schema": {
            "a": "TEXT); DROP TABLE t; --"}})
        assert a.status == 400, a.body
        assert s.request("DELETE", p + "/t").status == 200
        a = s.request("DELETE", p + "/t")
        assert a.status == 404 and "does not exist" in a.error
        assert s.request("GET", "/nope").status == 404
        # other workspaces do not see it
        s.query('CREATE TABLE only_here (a TEXT)', ws=ws)
        assert s.query('SELECT * FROM only_here').status == 400
        assert s.query(f'SELECT * FROM "{ws}".only_here').status == 400
        # the body
        for body in (b"", b"{", b"[]", b'{"query": 1}', b'{"query": "x\xff"}',
                     b'{"query":"SELECT 1","params":{}}'):
            a = s.request("POST", "/workspaces/default/tables/query", body)
            assert a.status == 400, (body, a.body)
        c = s.request("GET", "/workspaces/default/capabilities").json
        assert c["server"] == "deeplakefs" and c["feed"] and c["unique"]


def test_batch():
    with Server(STORE) as s:
        s.query('CREATE TABLE bt (id TEXT PRIMARY KEY, bin BYTEA, e FLOAT4[])')
        p = "/workspaces/default/tables/query/batch"
        q = ('INSERT INTO "default"."bt" ("id","bin","e") VALUES ($1, '
             "decode($2,'base64'), $3::float4[])")
        rows = [[str(i), base64.b64encode(bytes([i])).decode(), [i, 0.5]]
                for i in range(100)]
        a = s.request("POST", p, {"query": q, "params_batch": rows})
        assert a.status == 200, a.body
        assert s.query("SELECT count(*) FROM bt").rows == [[100]]
        assert s.query("SELECT bin, e FROM bt WHERE id = '7'").rows == \
            [["\\x07", [7, 0.5]]]
        # one bad row undoes all
        rows = [["a", "", [1]], ["b", "", [1]], ["7", "", [1]]]
        a = s.request("POST", p, {"query": q, "params_batch": rows})
        assert a.status in (400, 409), a.body
        assert s.query("SELECT count(*) FROM bt").rows == [[100]]
        s.query("DROP TABLE bt")


def test_tokens():
    with Server(STORE) as s:
        p = "/workspaces/default/tables"
        for tok in ("x", "a.b.c", s.token[:-2] + "xx",
                    s.token.split(".")[0] + "." + s.token.split(".")[1] + "."):
            a = s.request("GET", p, token=tok)
            assert a.status == 401, (tok, a.body)
        a = s.request("GET", p, headers={"X-Activeloop-Org-Id": "other"})
        assert a.status == 403
        assert s.request("GET", p, headers={
            "X-Activeloop-Org-Id": s.org}).status == 200
        s.query('CREATE TABLE mine (id TEXT)')
        s.query('CREATE TABLE mine__log (id TEXT)')
        s.query('CREATE TABLE yours (id TEXT)')
        ro = s.run("token", "create", "--read-only", "--name", "r").stdout
        ro = ro.strip()
        assert s.query("SELECT * FROM mine", token=ro).status == 200
        for sql in ("INSERT INTO mine VALUES ('x')", "DELETE FROM mine",
                    "UPDATE mine SET id = 'y'", "CREATE TABLE z (a TEXT)",
                    "DROP TABLE mine", "ALTER TABLE mine ADD COLUMN q TEXT",
                    "CREATE INDEX i9 ON mine (id)",
                    "WITH x AS (SELECT 1) INSERT INTO mine VALUES ('x')",
                    "CREATE SCHEMA x"):
            a = s.query(sql, token=ro)
            assert a.status in (400, 403), (sql, a.body)
        assert s.query("SELECT count(*) FROM mine").rows == [[0]]
        tt = s.run("token", "create", "--table", "mine", "--workspace",
                   "default").stdout.strip()
        assert s.query("INSERT INTO mine VALUES ('1')", token=tt).status == 200
        assert s.query("SELECT * FROM mine__log", token=tt).status == 200
        for sql in ("SELECT * FROM yours", "INSERT INTO yours VALUES ('x')",
                    "SELECT (SELECT count(*) FROM yours)",
                    "INSERT INTO mine SELECT id FROM yours",
                    "DROP TABLE yours", "CREATE TABLE other (a TEXT)",
                    "SELECT * FROM mine WHERE id IN (SELECT id FROM yours)",
                    "CREATE INDEX ii ON yours (id)"):
            a = s.query(sql, token=tt)
            assert a.status == 403, (sql, a.status, a.body)
        names = s.request("GET", p, token=tt).json["tables"]
        assert {n["table_name"] for n in names} == {"mine", "mine__log"}, names
        assert s.query("SELECT 1", ws="elsewhere", token=tt).status == 403
        short = s.run("token", "create", "--expires", "4s").stdout.strip()
        assert s.query("SELECT 1", token=short).status == 200
        # revoked within two seconds
        lines = s.run("token", "list").stdout
        rid = next(l.split()[0] for l in lines.splitlines()
                   if l.endswith("  r"))
        assert s.token not in lines
        assert s.run("token", "revoke", rid).returncode == 0
        time.sleep(2.2)  # or longer, where the machine is busy
        a = s.query("SELECT 1", token=ro)
        assert a.status == 401 and "revoked" in a.error, a.body
        time.sleep(2)
        a = s.query("SELECT 1", token=short)
        assert a.status == 401 and "expired" in a.error, a.body
        # a token made by a token is no wider
        a = s.request("POST", "/users/me/tokens", {
            "name": "n", "duration": 60, "organization_id": s.org}, token=tt)
        sub = a.json["token"]["token"]
        assert s.query("SELECT * FROM yours", token=sub).status == 403
        # narrower it may be, and it can end itself and no other
        new = "/users/me/tokens"
        a = s.request("POST", new, {"name": "n", "table": "yours"}, token=tt)
        assert a.status == 403 and "mine" in a.error, a.body
        a = s.request("POST", new, {"name": "n", "duration": 2 ** 63 - 1})
        assert s.query("SELECT 1",
                       token=a.json["token"]["token"]).status == 200
        a = s.request("POST", new, {
            "name": "n", "duration": 60, "workspace": "default",
            "table": "mine", "read_only": True})
        sub, sid = a.json["token"]["token"], a.json["token"]["id"]
        assert s.query("SELECT * FROM mine", token=sub).status == 200
        assert s.query("SELECT * FROM yours", token=sub).status == 403
        assert s.query("SELECT 1", ws="other", token=sub).status == 403
        assert s.query("DELETE FROM mine", token=sub).status in (400, 403)
        assert s.request("DELETE", new + "/" + sid).status == 403
        a = s.request("DELETE", new + "/current", token=sub)
        assert a.status == 200 and a.json["revoked"] == sid, a.body
        a = s.query("SELECT * FROM mine", token=sub)
        assert a.status == 401 and "revoked" in a.error, a.body
        assert s.query("SELECT * FROM mine").status == 200
        for t in ("mine", "mine__log", "yours"):
            s.query("DROP TABLE " + t)
        assert s.token not in s.log_text()


FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def confirm(s, code, token):
    """The page: somebody shows a token."""
    return s.request("POST", "/device", f"user_code={code}&token={token}"
                     "&answer=yes", headers=FORM)


def test_access_log():
    """A line a request, whatever a table is called; no token."""
    with tempfile.TemporaryDirectory() as d:
        with Server(STORE, args=["--access-log", d + "/log"]) as s:
            assert s.query('CREATE TABLE "x\nforged 200" (a TEXT)').status == 200
            assert s.query('DROP TABLE "x\nforged 200"').status == 200
        with open(d + "/log", encoding="utf-8") as f:
            text = f.read()
        assert s.token not in text
        lines = text.splitlines()
        assert lines and all(len(x.split()) == 13 for x in lines), text
        assert any(" x?forged?200 " in x for x in lines), text


def test_device_login():
    with Server(STORE) as s:
        c = s.request("POST", "/auth/device/code", b"").json
        assert c["expires_in"] == 900 and c["interval"] == 5
        body = {"device_code": c["device_code"]}
        a = s.request("POST", "/auth/device/token", body)
        assert a.status == 400 and a.json["error"] == "authorization_pending"
        assert s.request("POST", "/auth/device/token",
                         body).json["error"] == "slow_down"
        page = s.request("GET", "/device?user_code=" + c["user_code"])
        assert c["user_code"].encode() in page.body
        x = s.request("GET", "/device?user_code=%3Cscript%3E").body
        assert b"<script>" not in x
        a = confirm(s, c["user_code"], "bad")
        assert a.status == 401
        a = confirm(s, c["user_code"].lower(), s.token)
        assert a.status == 200, a.body
        got = s.request("POST", "/auth/device/token", body)
        assert got.status == 200, got.body
        assert got.json["expires_in"] == 30 * 86400
        assert s.query("SELECT 1", token=got.json["access_token"]).status == 200
        assert s.request("POST", "/auth/device/token",
                         body).json["error"] == "expired_token"
        # it does not outlive the token that confirmed
        short = s.run("token", "create", "--expires", "90s").stdout.strip()
        c = s.request("POST", "/auth/device/code", b"").json
        assert confirm(s, c["user_code"], short).status == 200
        got = s.request("POST", "/auth/device/token",
                        {"device_code": c["device_code"]}).json
        assert 0 < got["expires_in"] <= 90, got
        me = s.request("GET", "/me", token=got["access_token"]).json
        assert me["token"]["expires_at"] <= time.time() + 91, me


def test_files():
    with Server(STORE) as s:
        data = bytes(range(256)) * 10 + b"\r\n--x"
        body = (b'--BB\r\nContent-Disposition: form-data; name="file"; '
                b'filename="a.bin"\r\nContent-Type: image/png\r\n\r\n' + data +
                b"\r\n--BB--\r\n")
        h = {"Content-Type": "multipart/form-data; boundary=BB"}
        a = s.request("POST", "/workspaces/default/files", body, headers=h)
        assert a.status == 201, a.body
        got = s.request("GET", "/workspaces/default/files/" + a.json["id"])
        assert got.body == data
        assert got.headers["Content-Type"] == "image/png"
        assert s.request("GET", "/workspaces/default/files/zz").status == 404
        a = s.request("POST", "/workspaces/default/files", body[:-20],
                      headers=h)
        assert a.status == 400


LOG = ('CREATE TABLE IF NOT EXISTS "F__log" (n BIGSERIAL, id TEXT PRIMARY KEY, '
       'node TEXT, body TEXT) USING deeplake')
PUT = 'INSERT INTO "F__log" (id, node, body) VALUES ($1, $2, $3)'


def feed(s, after, wait=0, limit=1000):
    return s.request("GET", f"/workspaces/default/tables/F__log/feed?after="
                     f"{after}&wait={wait}&limit={limit}")


def test_feed():
    with Server(STORE) as s:
        s.query('DROP TABLE IF EXISTS "F__log"')
        assert s.query(LOG).status == 200
        assert feed(s, 0).json["rows"] == []
        s.query(PUT, ["a", "n1", "x"])
        f = feed(s, 0).json
        assert f["columns"][0] == "n" and f["row_count"] == 1
        last = f["last"]
        assert f["rows"][0][1] == "a" and f["rows"][0][0] == last
        delays = []
        for i in range(20):
            got = {}
            th = threading.Thread(
                target=lambda: got.update(a=feed(s, last, 10).json,
                                          t=time.monotonic()))
            th.start()
            time.sleep(0.05)
            s.query(PUT, [f"r{i}", "n", "y"])
            t0 = time.monotonic()
            th.join()
            assert got["a"]["rows"][0][1] == f"r{i}"
            last = got["a"]["last"]
            delays.append(got["t"] - t0)
        print("  feed after commit, median: %.1f ms"
              % (sorted(delays)[10] * 1000))
        t0 = time.monotonic()
        assert feed(s, last, 1).json["row_count"] == 0
        assert 0.9 < time.monotonic() - t0 < 3
        # in commit order, nothing skipped, with many writers
        seen, done = [], threading.Event()

        def reader(at):
            while not done.is_set() or feed(s, at).json["rows"]:
                f = feed(s, at, 1).json
                seen.extend(r[1] for r in f["rows"])
                at = f["last"]

        rd = threading.Thread(target=reader, args=(last,))
        rd.start()

        def writer(k):
            c = s.connection()
            for i in range(40):
                assert s.query(PUT, [f"{k}-{i}", "n", "y"],
                               conn=c).status == 200
        ws = [threading.Thread(target=writer, args=(k,)) for k in range(8)]
        [w.start() for w in ws]
        [w.join() for w in ws]
        done.set()
        rd.join()
        assert len(seen) == len(set(seen)) == 320, len(seen)
        # rows that are gone do not give their number to others
        top = feed(s, 0, 0, 10000).json["last"]
        s.query('DELETE FROM "F__log"')
        s.query(PUT, ["z", "n", "y"])
        assert feed(s, top).json["rows"][0][1] == "z"
        # an answer that is cut off for its size says so
        for i in range(5):
            assert s.query(PUT, [f"big-{i}", "n", "y" * (3 << 20)]) \
                .status == 200
        at, got, pages = top, 0, 0
        while True:
            f = feed(s, at).json
            got, pages, at = got + f["row_count"], pages + 1, f["last"]
            if not f.get("more"):
                break
        assert got == 6, f"{got} rows in {pages} answers"
        assert pages > 1 or STORE, pages
        # a waiting feed holds no worker and ends when the server stops
        held = [threading.Thread(target=feed, args=(s, 10**9, 30))
                for _ in range(40)]
        [h.start() for h in held]
        time.sleep(0.5)
        assert s.query("SELECT 1").status == 200
        t0 = time.monotonic()
        s.kill(signal.SIGTERM)
        [h.join() for h in held]
        assert time.monotonic() - t0 < 5
        s.start()
        assert feed(s, 0).status == 200
        s.query("CREATE TABLE plain (a TEXT)")
        a = s.request("GET", "/workspaces/default/tables/plain/feed?after=0")
        assert a.status == 400
        a = s.request("GET", "/workspaces/default/tables/nope/feed?after=0")
        assert a.status == 404
        s.query("DROP TABLE plain")


def test_graceful_stop():
    """SIGTERM while clients ask on and on: all acknowledged is kept, nothing
    half, status 0."""
    with Server(STORE) as s:
        s.query('DROP TABLE IF EXISTS "F__log"')
        s.query(LOG)
        acked, stop = [], threading.Event()

        def writer(k):
            i = 0
            while not stop.is_set():
                try:
                    if s.query(PUT, [f"{k}-{i}", "n", "y"]).status == 200:
                        acked.append(f"{k}-{i}")
                except (OSError, http.client.HTTPException):
                    pass
                i += 1

        def reader():
            while not stop.is_set():
                try:
                    feed(s, 10**9, 30)
                except (OSError, http.client.HTTPException):
                    pass
        for round_ in range(3):
            stop.clear()
            th = [threading.Thread(target=writer, args=(f"{round_}.{k}",))
                  for k in range(3)]
            th += [threading.Thread(target=reader) for _ in range(3)]
            [t.start() for t in th]
            time.sleep(0.4)
            t0 = time.monotonic()
            assert s.kill(signal.SIGTERM) == 0, s.log_text()[-500:]
            assert time.monotonic() - t0 < 10
            stop.set()
            [t.join() for t in th]
            s.start()
            there = {r[0] for r in s.query('SELECT id FROM "F__log"').rows}
            assert acked and not [a for a in acked if a not in there]


def test_packs():
    with Server(STORE) as s:
        s.query('DROP TABLE IF EXISTS "P__pack"')
        s.query('CREATE TABLE "P__pack" (id TEXT PRIMARY KEY, size BIGINT, '
                'data TEXT)')
        raw = os.urandom(6 << 20)
        data = base64.b64encode(raw).decode()
        put = 'INSERT INTO "P__pack" (id,size,data) VALUES ($1,$2,$3)'
        assert s.query(put, ["p1", str(len(raw)), data]).status == 200
        a = s.query(put + " ON CONFLICT (id) DO NOTHING",
                    ["p1", str(len(raw)), data])
        assert a.status == 200 and a.json["row_count"] == 0
        got = s.query('SELECT data FROM "P__pack" WHERE id = $1', ["p1"])
        assert got.rows[0][0] == data
        got = s.query('SELECT substr(data, 4000001, 4000) FROM "P__pack" WHERE '
                      "id = $1", ["p1"]).rows[0][0]
        assert got == data[4000000:4004000]
        part = 'SELECT size, substr(data, %d, %d) AS part FROM "P__pack" ' \
            "WHERE id = $1"
        for n, m in ((1, 4), (4000001, 4000), (len(data) - 3, 400),
                     (len(data) + 1, 4), (1, len(data))):
            got = s.query(part % (n, m), ["p1"]).json
            assert got["columns"] == ["size", "part"], got["columns"]
            assert got["rows"] == [[len(raw), data[n - 1:n - 1 + m]]], (n, m)
        begun = time.monotonic()
        for _ in range(10):
            s.query(part % (len(data) - 90003, 90000), ["p1"])
        print("  64 KiB at the end of a pack: %.1f ms"
              % ((time.monotonic() - begun) * 100))
        esc = 'quote " slash \\ nl \n tab \t uni äß\U0001f600 ' * 50000
        assert s.query(put, ["p2", "1", esc]).status == 200
        assert s.query('SELECT data FROM "P__pack" WHERE id = $1',
                       ["p2"]).rows[0][0] == esc
        assert s.query(part % (15, 20), ["p2"]).rows == [[1, esc[14:34]]]
        assert s.query(part % (40, 9), ["p2"]).rows == [[1, esc[39:48]]]
        a = s.request("POST", "/workspaces/default/tables/query",
                      b" " * (33 << 20))
        assert a.status == 413, a.status
        s.query('DROP TABLE "P__pack"')


def test_killed():
    """What was acknowledged is there after SIGKILL; half a batch is not."""
    with Server(STORE) as s:
        s.query('DROP TABLE IF EXISTS "F__log"')
        s.query(LOG)
        acked = []
        stop = threading.Event()

        def writer(k):
            i = 0
            try:
                c = s.connection()
                while not stop.is_set():
                    if s.query(PUT, [f"{k}-{i}", "n", "y" * 300],
                               conn=c).status == 200:
                        acked.append(f"{k}-{i}")
                    i += 1
            except (OSError, Exception):
                return
        for round_ in range(3):
            stop.clear()
            ws = [threading.Thread(target=writer, args=(f"{round_}.{k}",))
                  for k in range(6)]
            [w.start() for w in ws]
            time.sleep(0.6)
            s.kill(signal.SIGKILL)
            stop.set()
            [w.join() for w in ws]
            s.start()
            there = {r[0] for r in s.query('SELECT id FROM "F__log"').rows}
            assert len(acked) > 20
            lost = [a for a in acked if a not in there]
            assert not lost, lost[:5]
        print(f"  {len(acked)} acknowledged commits, none lost")


def test_stop_under_load():
    """SIGTERM while clients ask on connections that stay open: status 0, and
    whatever was answered was answered in full."""
    for _ in range(6):
        with Server(STORE) as s:
            over, bad = threading.Event(), []

            def ask():
                c = s.connection()
                while not over.is_set():
                    try:
                        a = s.query("SELECT 1", conn=c)
                    except (OSError, http.client.HTTPException):
                        return
                    if a.status not in (200, 503):
                        bad.append(a.body)
            threads = [threading.Thread(target=ask) for _ in range(8)]
            [t.start() for t in threads]
            time.sleep(0.15)
            code = s.kill(signal.SIGTERM)
            over.set()
            [t.join() for t in threads]
            assert code == 0 and not bad, (code, bad[:1], s.log_text()[-500:])


def test_limits():
    with Server(STORE) as s:
        s.query("CREATE TABLE big (a BIGINT, t TEXT)")
        rows = ",".join(f"({i},'x')" for i in range(2000))
        assert s.query("INSERT INTO big VALUES " + rows).status == 200
        t0 = time.monotonic()
        a = s.query("SELECT count(*) FROM big a, big b, big c, big d WHERE "
                    "a.a + b.a + c.a + d.a = -5", timeout_ms=500)
        assert a.status == 504 and "statement timeout" in a.error, a.body
        assert time.monotonic() - t0 < 5
        for sql in ("SELECT " + "(" * 5000 + "1" + ")" * 5000,
                    "SELECT " + "-" * 0 + "NOT " * 5000 + "true",
                    "SELECT " + "[" * 3000,
                    "SELECT 1" + " UNION ALL SELECT 1" * 3000,
                    "SELECT " + ",".join(["1"] * 3000),
                    "SELECT 1 FROM " + ",".join(f"big b{i}"
                                                for i in range(
                                                    9 if STORE else 70))):
            a = s.query(sql)
            # PostgreSQL has wider limits, and says so where it has none
            assert a.status == 400 or STORE and a.status in (200, 504), \
                (sql[:40], a.status, a.body[:200])
        # long chains are usual and work
        a = s.query("SELECT a FROM big WHERE " + " OR ".join(
            f"a = {i}" for i in range(300)))
        assert len(a.rows) == 300
        a = s.query("SELECT count(*) FROM big WHERE a IN (" + ",".join(
            str(i) for i in range(1500)) + ")")
        assert a.rows == [[1500]]
        s.query("DROP TABLE big")


def test_token_limits():
    with Server(STORE, ["--token-rate", "3"]) as s:
        codes = [s.query("SELECT 1").status for _ in range(20)]
        assert codes.count(200) >= 3 and 429 in codes, codes
    with Server(STORE, ["--token-parallel", "2"]) as s:
        s.query("CREATE TABLE slow (a BIGINT)")
        s.query("INSERT INTO slow VALUES " + ",".join(
            f"({i})" for i in range(500)))
        out = []
        th = [threading.Thread(target=lambda: out.append(s.query(
            "SELECT count(*) FROM slow a, slow b, slow c WHERE a.a + b.a + c.a "
            "= -1", timeout_ms=400).status)) for _ in range(5)]
        [t.start() for t in th]
        [t.join() for t in th]
        assert out.count(429) == 3, out
        time.sleep(0.3)
        assert s.query("DROP TABLE slow").status == 200


def test_backup():
    """A backup of a running server opens as a store, tokens and all."""
    with Server(STORE) as s:
        s.query("CREATE TABLE bk (id TEXT PRIMARY KEY, x BIGINT)")
        stop = threading.Event()
        done = []

        def writer():
            i = 0
            while not stop.is_set():
                if s.query("INSERT INTO bk VALUES ($1, $2)",
                           [str(i), i]).status == 200:
                    done.append(i)
                i += 1
        th = threading.Thread(target=writer)
        th.start()
        time.sleep(0.3)
        before = len(done)
        path = os.path.join(s.dir, "backup")
        r = s.run("backup", path)
        assert r.returncode == 0, r.stderr
        stop.set()
        th.join()
        assert s.run("backup", path).returncode == 1  # never overwrites
        s.query("DROP TABLE bk")
        if STORE is not None:
            r = subprocess.run(["pg_restore", "--list", path],
                               capture_output=True, text=True)
            assert r.returncode == 0 and "bk" in r.stdout, r.stderr
            return
        with Server("sqlite:" + path) as b:
            a = b.query("SELECT count(*), max(x) FROM bk", token=s.token)
            n, top = a.rows[0]
            assert before <= n <= len(done) and top == n - 1, (before, n)


def test_manual():
    """Options, help text and manual name the same things."""
    import re
    help_ = subprocess.run([os.environ["DEEPLAKE_SERVE"], "--help"],
                           capture_output=True, text=True).stdout
    man = open(os.path.join(os.path.dirname(__file__), "..", "..", "packaging",
                            "man", "deeplake-serve.1")).read()
    listed = set(re.findall(r"^  --([a-z-]+)", help_, re.M)) - {"help"}
    described = set(re.findall(r"^\.It Fl -([a-z-]+)", man, re.M))
    assert listed == described, listed ^ described
    for bad in (["--nope"], ["--listen"], ["--threads", "0"],
                ["--threads", "x"], ["token"], ["backup"], ["extra"]):
        r = subprocess.run([os.environ["DEEPLAKE_SERVE"], *bad, *(
            [] if bad[0][0] == "-" else [])], capture_output=True, text=True,
            env=dict(os.environ, HOME=tempfile.gettempdir() + "/dl-none-x"),
            timeout=20)
        assert r.returncode == 2 and "deeplake serve: " in r.stderr, (bad, r)


def simulated(rules):
    f = tempfile.NamedTemporaryFile("w", suffix=".json", delete=False)
    json.dump(rules, f)
    f.close()
    return f.name


def rewrite(path, rules):
    with open(path + ".new", "w") as f:
        json.dump(rules, f)
    os.rename(path + ".new", path)
    time.sleep(0.15)


def test_simulate():
    path = simulated({"seed": 7})
    with Server(STORE, ["--simulate", path]) as s:
        s.query('DROP TABLE IF EXISTS "F__log"')
        assert s.query(LOG).status == 200
        rewrite(path, {"latency_ms": [80, 120]})
        t0 = time.monotonic()
        s.query("SELECT 1")
        assert 0.07 < time.monotonic() - t0 < 1
        rewrite(path, {"rules": [{"what": "lose_answer", "kind": "insert",
                                  "table": "log", "count": 1}]})
        try:
            s.query(PUT, ["lost", "n", "x"])
            raise AssertionError("an answer came")
        except (ConnectionError, OSError, Exception) as e:
            assert "an answer came" not in str(e)
        one = 'SELECT count(*) FROM "F__log" WHERE id = $1'
        assert s.query(one, ["lost"]).rows == [[1]]
        rewrite(path, {"rules": [{"what": "lose_answer", "value": 504,
                                  "kind": "insert"}]})
        assert s.query(PUT, ["l2", "n", "x"]).status == 504
        assert s.query(one, ["l2"]).rows == [[1]]
        rewrite(path, {"ack_not_kept": 1})
        assert s.query(PUT, ["f", "n", "x"]).status == 200
        assert s.query(one, ["f"]).rows == [[0]]
        rewrite(path, {"visible_after_ms": 600})
        assert s.query(PUT, ["v", "n", "x"]).status == 200
        assert s.query(one, ["v"]).rows == [[0]]
        time.sleep(1)
        assert s.query(one, ["v"]).rows == [[1]]
        rewrite(path, {"empty_select": True})
        a = s.query('SELECT id FROM "F__log"')
        assert a.status == 200 and a.json == {"columns": ["id"], "rows": [],
                                              "row_count": 0}
        for what, status in (("status_402", 402), ("status_429", 429),
                             ("status_503", 503), ("html_403", 403)):
            rewrite(path, {"rules": [{"what": what, "retry_after_s": 3}]})
            a = s.query("SELECT 1")
            assert a.status == status, (what, a.status)
            if status in (429, 503):
                assert a.headers["Retry-After"] == "3"
            if what == "html_403":
                assert a.body.startswith(b"<html>")
            if status == 402:
                assert a.json["balance_cents"] == 0
        rewrite(path, {"max_statement_bytes": 1000})
        assert s.query(PUT, ["b", "n", "x" * 2000]).status == 413
        rewrite(path, {"max_parallel": 2, "latency_ms": 300})
        out = []
        th = [threading.Thread(target=lambda: out.append(
            s.query("SELECT 1").status)) for _ in range(5)]
        [t.start() for t in th]
        [t.join() for t in th]
        assert sorted(out) == [200, 200, 429, 429, 429], out
        rewrite(path, {"requests_per_s": 10})
        t0 = time.monotonic()
        for _ in range(6):
            s.query("SELECT 1")
        assert time.monotonic() - t0 > 0.4
        # a typo leaves the old rules in force and is logged
        open(path, "w").write('{"nope": 1}')
        time.sleep(0.2)
        s.query("SELECT 1")
        assert "unknown fault" in s.log_text()
        m = s.metrics()
        assert m['deeplake_simulated_total{what="lose_answer"}'] == 2
        # like the service: no unique ids, no feed
        rewrite(path, {"no_unique": True, "no_feed": True, "double_rows": 1})
        assert s.request("GET", "/workspaces/default/capabilities").status == \
            404
        assert feed(s, 0).status == 404
        if STORE is not None:
            return  # no_unique is the SQLite store's
        s.query("CREATE TABLE dup (id TEXT PRIMARY KEY, x TEXT)")
        assert s.query("INSERT INTO dup (id) VALUES ('a')").status == 200
        assert s.query("SELECT count(*) FROM dup").rows == [[2]]
        a = s.query("INSERT INTO dup (id) VALUES ('a') ON CONFLICT (id) DO "
                    "NOTHING")
        assert a.status == 400
        s.query("DROP TABLE dup")
    os.unlink(path)
    bad = simulated({"latenc": 1})
    r = subprocess.run([os.environ["DEEPLAKE_SERVE"], "--listen",
                        "127.0.0.1:0", "--store", "sqlite:/tmp/none-%d"
                        % os.getpid(), "--simulate", bad],
                       capture_output=True, text=True, timeout=20)
    assert r.returncode == 1 and "unknown fault" in r.stderr
    subprocess.run(["rm", "-rf", "/tmp/none-%d" % os.getpid(), bad],
                   check=True)


def test_texts():
    """Every character comes back, however it was escaped, in any amount."""
    p = "/workspaces/default/tables/query"
    with Server(STORE) as s:
        s.query('CREATE TABLE tx (id TEXT, v TEXT)')
        put = "INSERT INTO tx VALUES ($1, $2)"
        chars = "".join(map(chr, [*range(1, 0x180), 0x7ff, 0x800, 0xd7ff,
                                  0xe000, 0xfffd, 0xfffe, 0xffff, 0x10000,
                                  0x1f600, 0x10ffff]))
        # as it is, with \\u for all but ASCII, and with \\u for everything
        spelt = [json.dumps(chars, ensure_ascii=False), json.dumps(chars),
                 '"' + "".join("\\u%04X" % int.from_bytes(u, "big")
                               for c in chars
                               for u in [c.encode("utf-16-be")[i:i + 2]
                                         for i in range(0, len(c.encode(
                                             "utf-16-be")), 2)]) + '"']
        for i, text in enumerate(spelt):
            a = s.request("POST", p, ('{"query":"%s","params":["%d",%s]}'
                                      % (put, i, text)).encode())
            assert a.status == 200, (i, a.body)
        assert s.query("SELECT v FROM tx ORDER BY id").rows == [[chars]] * 3
        for bad in (r"\ud800", r"\udc00", r"\ud800\u0041", r"\udc00\ud800",
                    r"\ud800\ud800"):
            a = s.request("POST", p, '{"query":"%s","params":["x","a%sb"]}'
                          % (put, bad))
            assert a.status == 400 and "Unicode escape" in a.error, a.body
        a = s.query(put, ["x", "a\0b"])
        assert a.status == 400 and "0x00" in a.error, a.body
        for bad in (b"\xed\xa0\x80", b"\xff", b"\xc0\x80", b"\xf0\x9f\x98"):
            a = s.request("POST", p, b'{"query":"INSERT INTO tx VALUES ($1, '
                          b'$2)","params":["x","' + bad + b'"]}')
            assert a.status == 400, (bad, a.body)
        # as many bytes as a statement of the view has, all of them escaped
        rows, one = 7, '"\n\\' * 333000
        marks = ",".join("($%d,$%d)" % (2 * i + 1, 2 * i + 2)
                         for i in range(rows))
        a = s.query("INSERT INTO tx VALUES " + marks,
                    [x for i in range(rows) for x in ("big%d" % i, one)])
        assert a.status == 200, a.body[:300]
        assert s.query("SELECT count(*) FROM tx WHERE v = $1", [one]).rows == \
            [[rows]]
        assert s.query("SELECT v FROM tx WHERE id = 'big3'").rows == [[one]]
        s.query("DROP TABLE tx")


def test_metrics():
    with Server(STORE) as s:
        s.query('CREATE TABLE "M__log" (n BIGSERIAL, id TEXT)')
        for i in range(3):
            s.query('INSERT INTO "M__log" (id) VALUES ($1)', [str(i)])
        s.query('SELECT * FROM "M__log"')
        m = s.metrics()
        key = 'deeplake_requests_total{endpoint="query",kind="%s",table="log"' \
              ',status="2xx"}'
        assert m[key % "insert"] == 3 and m[key % "select"] == 1
        assert m["deeplake_rows_inserted_total"] == 3
        # the one list of them is true
        with open(os.path.join(os.path.dirname(__file__), "..", "..", "docs",
                               "operations.md"), encoding="utf-8") as f:
            told = {n for line in f if line.startswith("| `deeplake_")
                    for n in re.findall(r"deeplake_\w+", line)}
        assert told - {"deeplake_simulated_total"} == \
            {k.split("{")[0] for k in m}, told
        s.query('DROP TABLE "M__log"')


# What the vendor's extension would bring, as far as it matters: an access
# method of its name, and an operator that the stand-in answers otherwise.
EXTENSION = """CREATE SCHEMA vendor;
CREATE ACCESS METHOD deeplake TYPE TABLE HANDLER heap_tableam_handler;
CREATE FUNCTION vendor.score(text, text) RETURNS float8 LANGUAGE sql IMMUTABLE
    RETURN 42.0;
CREATE OPERATOR vendor.<#> (LEFTARG = text, RIGHTARG = text,
    FUNCTION = vendor.score);
CREATE DOMAIN vendor.embedding AS float4[];
SET allow_system_table_mods = on;
INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable,
    extversion) VALUES (99999, 'pg_deeplake', 10, 'vendor'::regnamespace, false,
    '1')"""


def refused_start(store, *args):
    p = subprocess.run([os.environ["DEEPLAKE_SERVE"], "--listen",
                        "127.0.0.1:0", "--store", store] + list(args),
                       capture_output=True, text=True, timeout=30)
    assert p.returncode == 1, (p.returncode, p.stdout, p.stderr)
    return p.stderr


def test_no_stand_in():
    """Where the extension is installed, its SQL is left to it."""
    if STORE is None:
        return  # SQLite has no extension
    psql = ["psql", "-q", "-v", "ON_ERROR_STOP=1", "-U", "deeplake",
            "-h", os.environ["DEEPLAKE_TEST_PG"]]
    for text in ("CREATE DATABASE native", "CREATE DATABASE made"):
        subprocess.run(psql + ["-d", "postgres", "-c", text], check=True)
    native = STORE.rsplit("/", 1)[0] + "/native"
    made = STORE.rsplit("/", 1)[0] + "/made"
    assert "CREATE EXTENSION" in refused_start(native, "--no-stand-in")
    subprocess.run(psql + ["-d", "native", "-f", "-"], input=EXTENSION, text=True,
                   check=True)
    method = """SELECT amname FROM pg_class c JOIN pg_am a ON a.oid = c.relam
        WHERE relname = 'n'"""
    for args in (["--no-stand-in"], []):  # it remembers
        with Server(native, args=args) as s:
            s.query("DROP TABLE IF EXISTS n")
            a = s.query("CREATE TABLE n (t TEXT, v EMBEDDING) USING deeplake")
            assert a.status == 200, a.body
            assert s.query(method).rows == [["deeplake"]]
            assert s.query("INSERT INTO n VALUES ('x', '{1,2}')").status == 200
            assert s.query("SELECT t <#> 'y', v FROM n").rows == \
                [[42, [1, 2]]]
            a = s.query("CREATE INDEX i ON n USING deeplake_index (t)")
            assert "access method \"deeplake_index\" does not exist" in \
                a.error, a.body
    with Server(made) as s:
        assert s.query("CREATE TABLE n (t TEXT) USING deeplake").status == 200
        assert s.query(method).rows == [["heap"]]
        assert s.query("SELECT 'x' <#> 'y'").rows != [[42]]
    assert "made with the stand-in" in refused_start(made, "--no-stand-in")


def test_one_write():
    """Headers and body leave together: else Nagle costs 40 ms a request."""
    with Server(STORE) as s:
        c = s.connection()
        times = []
        for _ in range(30):
            t0 = time.monotonic()
            s.query("SELECT 1", conn=c)
            times.append(time.monotonic() - t0)
        assert sorted(times)[15] < 0.02, sorted(times)[15]
        k = socket.create_connection((s.host, s.port))
        k.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        first = k.recv(65536)
        assert first.endswith(b'{"status":"ok"}'), first
        k.close()


def main():
    tests = [v for k, v in list(globals().items()) if k.startswith("test_")]
    only = sys.argv[2:]
    failed = 0
    for t in tests:
        if only and t.__name__ not in only:
            continue
        t0 = time.monotonic()
        try:
            t()
            print("ok   %s %.1f s" % (t.__name__, time.monotonic() - t0))
        except Exception as e:  # the next test may still say something
            failed += 1
            import traceback
            traceback.print_exc()
            print("FAIL %s: %s" % (t.__name__, e))
    sys.exit(1 if failed else 0)


main()
