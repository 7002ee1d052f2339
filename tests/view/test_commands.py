#!/usr/bin/env python3
"""login, query, grep, import, export, fsck and gc on a real server."""
import json
import os
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request

from common import harness, put, rows, sql, table_is

sys.path.append(os.path.join(harness.TOP, "tests", "fault"))
from rows import insert as log_row                      # noqa: E402


def deeplake(box, *args, **kw):
    return box.run([harness.built("deeplake")] + list(args), **kw)


def material(box):
    """A small tree with what trees have."""
    top = os.path.join(box.dir, "material")
    os.makedirs(top + "/sub/deep")
    put(top + "/a.txt", "alpha\nbeta 100%\nAlpha\n")
    put(top + "/sub/b.md", "# beta\n")
    put(top + "/sub/deep/c.bin", os.urandom(700000))
    put(top + "/sub/deep/empty", "")
    os.link(top + "/a.txt", top + "/sub/hard")
    os.symlink("deep/c.bin", top + "/sub/sym")
    os.chmod(top + "/sub/b.md", 0o640)
    os.utime(top + "/a.txt", ns=(10**18, 10**18 + 5))
    os.utime(top + "/sub", ns=(10**18, 10**18 + 7))
    return top


def test_import_into_a_full_cache(box):
    """Names wait for the uplink, as bytes do."""
    link = harness.Link(box, box.serve(), 0.01, 16)
    box.links.append(link)
    top = os.path.join(box.dir, "much")
    for d in range(3):
        os.makedirs(f"{top}/{d}")
        put(f"{top}/{d}/big", os.urandom(4 << 20))
        for i in range(1000):
            os.symlink(os.urandom(1500).hex(), f"{top}/{d}/{i}")
    r = deeplake(box, "import", top, "data", "-o", "cache_size=8M",
                 env=box.env(link.home("slow")))
    assert "3 files imported" in r.stdout, r.stdout
    out = os.path.join(box.dir, "out")
    deeplake(box, "export", "data", out)
    a, b = harness.tree(top), harness.tree(out)
    a.pop(b"."), b.pop(b".")
    assert a == b, [k for k in set(a) | set(b) if a.get(k) != b.get(k)][:6]


def test_import_export(box):
    box.serve()
    top, out = material(box), os.path.join(box.dir, "out")
    r = deeplake(box, "import", top, "data")
    assert "4 files imported" in r.stdout, r.stdout
    r = deeplake(box, "import", top, "data")
    assert r.stdout.startswith("0 files imported"), r.stdout
    deeplake(box, "export", "data", out)
    a, b = harness.tree(top), harness.tree(out)
    a.pop(b"."), b.pop(b".")
    assert a == b, {k: (a.get(k), b.get(k)) for k in set(a) | set(b)
                    if a.get(k) != b.get(k)}
    os.truncate(out + "/sub/deep/c.bin", 5)
    os.unlink(out + "/a.txt")
    deeplake(box, "export", "data", out)
    b = harness.tree(out)
    assert a == {k: v for k, v in b.items() if k != b"."}
    put(top + "/a.txt", "changed")
    deeplake(box, "import", top, "data")
    assert {r["content_text"] for r in sql(
        box, "SELECT content_text FROM \"data\" WHERE path = '/a.txt'")} == \
        {"changed"}


def test_query(box):
    box.serve()
    deeplake(box, "import", material(box), "data")
    text = 'SELECT path, size_bytes FROM "data" ORDER BY path LIMIT 1'
    assert deeplake(box, "query", "data", text, "--json").stdout == \
        '[\n{"path":"/a.txt","size_bytes":22}\n]\n'
    assert deeplake(box, "query", "data", text).stdout == \
        "path,size_bytes\n/a.txt,22\n"
    assert "(1 row)" in deeplake(box, "query", "data", text, "--table").stdout
    r = deeplake(box, "query", "data", "SELEC 1", status=1)
    assert "syntax error" in r.stderr
    r = deeplake(box, "query", "data", 'SELECT 1 FROM "no"', status=1)
    assert "does not exist" in r.stderr
    deeplake(box, "query", "data", status=2)
    deeplake(box, "query", "data", text, "--json", "--csv", status=2)


def test_grep(box):
    box.serve()
    deeplake(box, "import", material(box), "data")
    r = deeplake(box, "grep", "data", "Alpha")
    assert r.stdout == "/a.txt:3:Alpha\n/sub/hard:3:Alpha\n", r.stdout
    r = deeplake(box, "grep", "data", "ALPHA", "--ignore-case", "--files")
    assert r.stdout == "/a.txt\n/sub/hard\n", r.stdout
    r = deeplake(box, "grep", "data", "100%")
    assert r.stdout.count("beta 100%") == 2
    deeplake(box, "grep", "data", "1%0", status=1)  # no wildcard
    deeplake(box, "grep", "data", "", status=2)
    harness.wait_for("a word on freshness", lambda: "fresh up to commit" in
                     deeplake(box, "grep", "data", "beta").stderr, 5, 0.5)


def test_fsck(box):
    box.serve()
    deeplake(box, "import", material(box), "data")
    deeplake(box, "fsck", "data")
    sql(box, "UPDATE \"data\" SET size_bytes = 1 WHERE path = '/sub/hard'")
    deeplake(box, "fsck", "data", status=4)
    deeplake(box, "fsck", "data", "--view", status=1)
    sql(box, "UPDATE \"data\" SET path = '/evil' WHERE path = '/a.txt'")
    sql(box, "DELETE FROM \"data\" WHERE path = '/sub/b.md'")
    sql(box, """INSERT INTO "data" (_id, path, size_bytes)
        VALUES ('df-01', '/ghost', 3)""")
    r = json.loads(deeplake(box, "fsck", "data", "--json", status=2).stdout)
    assert {(p["where"], p["kind"]) for p in r["problems"]} == \
        {("/ghost", "view"), ("/a.txt", "view"), ("/sub/b.md", "view")}, r
    assert r["view_behind"] == 3, r
    assert "behind by 3 rows" in deeplake(box, "fsck", "data",
                                          status=2).stdout
    deeplake(box, "fsck", "data", "--view", status=1)
    deeplake(box, "fsck", "data")
    assert set(rows(box)) == {"/a.txt", "/sub/b.md", "/sub/hard",
                              "/sub/deep/c.bin", "/sub/deep/empty"}
    sql(box, """UPDATE "data__pack" SET data =
        'AAAAAAAA' || substr(data, 9)""")
    r = json.loads(deeplake(box, "fsck", "data", "--json", status=4).stdout)
    assert any(p["kind"] == "pack" for p in r["problems"]), r
    sql(box, 'DELETE FROM "data__pack"')

    def count():
        return [sql(box, f'SELECT count(*) AS n FROM "data{t}"')[0]["n"]
                for t in ("", "__log")]

    held = count()
    r = json.loads(deeplake(box, "fsck", "data", "--repair", "--json",
                            status=4).stdout)
    assert count() == held, "a repair took what it cannot make again"
    assert any(p["where"] == "/sub/deep/c.bin" and "missing" in p["what"]
               and not p["repaired"] for p in r["problems"]), r
    deeplake(box, "fsck", "nothing", status=8)
    deeplake(box, "fsck", status=16)


def test_fsck_doubled(box):
    """Rows that are there twice, one pair cut in two by fsck's page of 5,000:
    one pass repairs all."""
    box.serve()
    top = box.dir + "/many"
    os.mkdir(top)
    for i in range(2600):
        put(f"{top}/{i}", "x")
    deeplake(box, "import", top, "data")
    sql(box, 'DROP INDEX "data_one_id"')
    sql(box, """INSERT INTO "data" SELECT * FROM "data" WHERE _id >
        (SELECT min(_id) FROM "data")""")
    deeplake(box, "fsck", "data", "--repair", status=1)
    deeplake(box, "fsck", "data")
    assert len(rows(box, columns="path")) == 2600


def test_fsck_behind(box):
    """A mount that is killed before the view has followed leaves no damage,
    and the next one writes the rows."""
    rules = os.path.join(box.dir, "rules.json")
    put(rules, json.dumps({"rules": [{"what": "status_503", "kind": "insert",
                                      "table": "other"}]}))
    server = box.serve(args=["--simulate", rules])
    m = box.mount(server=server, home=box.home)
    m.allowed.append("HTTP 503")
    put(m.path + "/one", "1")
    put(m.path + "/two", "2")
    m.flush()
    m.kill()
    said = deeplake(box, "fsck", "data", status=2).stdout
    assert "behind by 2 rows" in said and "clean" in said, said
    put(rules, "{}")
    m.up(init=False)
    table_is(box, {"/one": "1", "/two": "2"}, 10)
    m.down()
    deeplake(box, "fsck", "data")


def test_fsck_log(box):
    """A row whose cause is lost, and one that is not what its id says."""
    server = box.serve()
    m = box.mount(server=server, home=box.home)
    for name in ("one", "two", "three"):
        put(f"{m.path}/{name}", name)
        m.flush()
    m.down()
    deeplake(box, "fsck", "data")
    ids = [r["id"] for r in sql(box, """SELECT id FROM "data__log" WHERE
        kind = 'commit' ORDER BY seq""")]
    assert len(ids) >= 3
    sql(box, f"DELETE FROM \"data__log\" WHERE id = '{ids[0]}'")
    sql(box, f"""UPDATE "data__log" SET body = body || 'AAAA'
        WHERE id = '{ids[-1]}'""")
    r = json.loads(deeplake(box, "fsck", "data", "--json", status=4).stdout)
    what = " ".join(p["what"] for p in r["problems"])
    assert "is missing" in what and "not what their id says" in what, r


def test_fsck_where_a_checkpoint_is(box):
    """Rows that it covered may be gone, wherever its own is listed."""
    server = box.serve()
    m = box.mount(server=server, home=box.home)
    for i in range(130):
        put(f"{m.path}/f{i}", "x")
        m.flush()
    m.down()
    log = sorted((r["id"], r["prev"][:32]) for r in sql(
        box, """SELECT id, prev FROM "data__log" """))
    gone = next(prev for _, prev in log if prev)    # listed with the first
    sql(box, f"DELETE FROM \"data__log\" WHERE id = '{gone}'")
    late = next(x for x in (log_row("data", b"", 1, seq=n, epoch=1,
                                    kind="checkpoint") for n in range(1, 9999))
                if x.split("VALUES ('")[1][:32] > log[110][0])
    sql(box, late)
    r = deeplake(box, "fsck", "data", "--json", check=False)
    problems = json.loads(r.stdout)["problems"]
    assert not [p for p in problems if "it held is lost" in p["what"]], problems


def test_fsck_of_large_rows(box):
    """Registers in the row, and in packs of their own."""
    box.serve()
    for n in (100, 900, 1100, 2500):
        d = f"{box.dir}/{n}"
        os.mkdir(d)
        for i in range(n):
            put(f"{d}/{n}-{i}", "")
        deeplake(box, "import", d, "data")
    deeplake(box, "fsck", "data")
    r = sql(box, """SELECT max(length(body)) AS n FROM "data__log" WHERE
        kind = 'commit'""")
    assert int(r[0]["n"]) < 110 << 10, r
    assert sql(box, 'SELECT count(*) AS n FROM "data__pack"')[0]["n"] != "0"


def test_gc(box):
    server = box.serve()
    m = box.mount(server=server, home=box.home)
    put(m.path + "/gone", os.urandom(3000000))
    m.flush()
    put(m.path + "/stays", os.urandom(300000))
    m.flush()
    os.unlink(m.path + "/gone")
    m.flush()

    def packs():
        return sql(box, 'SELECT sum(size) AS n FROM "data__pack"')[0]["n"]

    before = int(packs())
    assert before > 3000000
    r = deeplake(box, "gc", "data")
    assert "nothing was deleted" in r.stdout and "0 of them" in r.stdout, r
    deeplake(box, "gc", "data", "--delete")
    assert int(packs()) == before, "deleted before its time"
    r = deeplake(box, "gc", "data", "--delete", "--older-than", "0s")
    assert int(packs()) < before - 2900000, r.stdout
    deeplake(box, "fsck", "data")
    m.remount(empty_cache=True)
    assert os.path.getsize(m.path + "/stays") == 300000
    with open(m.path + "/stays", "rb") as f:
        assert len(f.read()) == 300000
    deeplake(box, "gc", "data", "--older-than", "soon", status=2)


def confirm(box, server, how, answer):
    """deeplake login, confirmed (or not) on the server's page; its status."""
    with open(server.creds) as f:
        token = json.load(f)["token"]
    p = subprocess.Popen(
        [harness.built("deeplake"), "login", "--api-url", server.url] + how,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=box.env(box.dir + "/other"), stdin=subprocess.DEVNULL)
    lines = iter(p.stdout.readline, "")
    uri = next(x.strip() for x in lines if "/device?user_code=" in x)
    code = uri.split("=")[1]
    assert uri.startswith(server.url.rstrip("/")), uri
    form = urllib.parse.urlencode({"user_code": code, "token": token,
                                   "answer": answer}).encode()
    urllib.request.urlopen(server.url + "/device", form, timeout=10).close()
    out, err = p.communicate(timeout=60)
    return p.returncode, out, err


@harness.waits
def test_login(box):
    harness.need(box.target == "deeplake", "needs a table")
    server = box.serve()
    home = box.dir + "/other"
    os.mkdir(home)
    path = home + "/.deeplake/credentials.json"
    status, _, err = confirm(box, server, [], "no")
    assert status == 3 and "refused" in err, (status, err)
    assert not os.path.exists(path)
    status, out, err = confirm(box, server, ["--org", "nobody's"], "yes")
    assert status == 3 and "none of yours" in err, (status, err)
    status, out, err = confirm(box, server, [], "yes")
    assert status == 0 and "Logged in" in out and not err, (status, out, err)
    st = os.stat(path)
    assert st.st_mode & 0o777 == 0o600, oct(st.st_mode)
    with open(path) as f:
        creds = json.load(f)
    assert creds["token"].count(".") == 2 and creds["orgId"], creds
    assert creds["apiUrl"] == server.url.rstrip("/"), creds
    assert creds["token"] not in out + err
    with open(server.creds) as f:
        assert json.load(f)["token"] != creds["token"]
    ask = [harness.built("deeplake"), "query", "t", "SELECT 1 AS one", "--json"]
    assert json.loads(box.run(ask, home=home).stdout) == [{"one": 1}]
    box.run([harness.built("deeplake"), "logout"], home=home)
    with open(path) as f:
        left = json.load(f)
    assert "token" not in left and left["apiUrl"] == creds["apiUrl"], left
    box.run(ask, home=home, status=3)
    box.run([harness.built("deeplake"), "logout"], home=home)


if __name__ == "__main__":
    harness.main(globals())
