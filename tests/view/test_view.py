#!/usr/bin/env python3
"""One row a file: what mounts do to the view, and what SQL does to mounts."""
import os
import shutil

import common
from common import harness, put, rows, sql, table_is


def mounted(box, **kw):
    harness.need(box.target == "deeplake", "needs a table")
    if not box.servers:
        box.serve()
    return box.mount(server=box.servers[0], home=box.home, **kw)


def test_rows_follow(box):
    m = mounted(box)
    os.mkdir(m.path + "/d")
    put(m.path + "/x.txt", "hello\n")
    put(m.path + "/d/y.md", "# an error\n")
    blob = b"\xfe\x81" + bytes(range(254))
    put(m.path + "/d/bin", blob)
    put(m.path + "/empty", "")
    os.symlink("x.txt", m.path + "/link")
    m.flush()
    table_is(box, {"/x.txt": "hello\n", "/d/y.md": "# an error\n",
                   "/d/bin": "", "/empty": ""}, 2)
    r = rows(box, columns="path, filename, mime_type, size_bytes, "
             "encode(content, 'hex') AS hex, _id")
    assert r["/d/bin"]["hex"] == blob.hex(), r
    assert r["/d/bin"]["size_bytes"] == 256
    assert r["/d/bin"]["mime_type"] == "application/octet-stream", r
    assert r["/d/y.md"]["mime_type"] == "text/markdown", r
    assert r["/d/y.md"]["filename"] == "y.md"
    assert all(x["_id"].startswith("df-") for x in r.values())
    with open(m.path + "/x.txt", "a") as f:
        f.write("more\n")
    os.rename(m.path + "/d", m.path + "/e")
    os.unlink(m.path + "/empty")
    os.link(m.path + "/x.txt", m.path + "/e/hard")
    table_is(box, {"/x.txt": "hello\nmore\n", "/e/hard": "hello\nmore\n",
                   "/e/y.md": "# an error\n", "/e/bin": ""})
    os.unlink(m.path + "/x.txt")
    put(m.path + "/e/hard", "new")
    shutil.rmtree(m.path + "/e", ignore_errors=False)
    put(m.path + "/last", "one")
    table_is(box, {"/last": "one"})
    # what the unmounting daemon still has to write, it writes
    put(m.path + "/last", "two")
    m.down()
    table_is(box, {"/last": "two"}, 0)


def test_text_limit(box):
    m = mounted(box, options={"view_text_max": "128K"})
    put(m.path + "/small", "a" * 131072)
    put(m.path + "/large", "a" * 131073)
    put(m.path + "/nul", "a\0b")
    put(m.path + "/latin", b"caf\xe9")
    put(m.path + "/utf", "caf\u00e9 \U0001f600")
    m.flush()
    table_is(box, {"/small": "a" * 131072, "/large": "", "/nul": "",
                   "/latin": "", "/utf": "caf\u00e9 \U0001f600"})
    r = rows(box, columns="path, size_bytes, octet_length(content) AS n")
    assert r["/large"]["size_bytes"] == 131073 and r["/large"]["n"] == 0, r
    assert r["/latin"]["n"] == 4, r


def test_every_text(box):
    """No bytes of a file or a name make the server refuse a batch."""
    m = mounted(box, options={"view_text_max": "64K"})
    edge = 65536
    files = {
        b"lone high": b"a\xed\xa0\x80b", b"lone low": b"\xed\xb0\x80",
        b"a pair as two": b"\xed\xa0\xbd\xed\xb8\x80", b"nul": b"a\0b",
        b"latin": b"caf\xe9", b"overlong": b"\xc0\x80", b"cut": b"\xf0\x9f\x98",
        b"too far": b"\xf4\x90\x80\x80", b"ffff": b"\xef\xbf\xbf\xef\xbf\xbe",
        b"four": "\U0001f600\U0010ffff".encode(), b"del": b"\x7f\x1f\x01\x0b",
        b"escapes": b'\\ud800 \\u0000 \\x00 \\" \\', b"quotes": b"'\"'$1;--",
        b"at the edge": b"x" * (edge - 4) + "\U0001f600".encode(),
        b"over the edge": b"x" * (edge - 3) + "\U0001f600".encode(),
        b"name \xed\xa0\x80": b"1", b"name \xff": b"2", b"name \\u\n\x7f": b"3",
        "name \U0001f600".encode(): b"4",
    }
    for name, data in files.items():
        put(os.path.join(m.path.encode(), name), data)
    # and more of what has to be escaped than a statement may hold
    for i in range(90):
        put(f"{m.path}/many{i}", b'"\n\\' * (edge // 3))
    m.flush()

    def text(data):
        if b"\0" in data or len(data) > edge:
            return ""
        try:
            return data.decode()
        except UnicodeDecodeError:
            return ""

    want = {"/" + n.decode(errors="replace"): text(d)
            for n, d in files.items()}
    want |= {f"/many{i}": '"\n\\' * (edge // 3) for i in range(90)}
    # each bad byte of a name is one U+FFFD in the table
    want["/name " + "\ufffd" * 3] = want.pop("/name " + b"\xed\xa0\x80".decode(
        errors="replace"))
    table_is(box, want, 30)
    r = rows(box, columns="path, encode(content, 'hex') AS hex")
    for name in (b"lone high", b"nul", b"latin", b"cut", b"del"):
        assert r["/" + name.decode()]["hex"] == files[name].hex(), name


def test_view_off(box):
    m = mounted(box, options={"view": "off"})
    put(m.path + "/x", "x")
    m.down()
    table_is(box, {}, 0)


def test_big_rename(box):
    m = mounted(box)
    os.makedirs(m.path + "/big/sub")
    want = {}
    for i in range(1500):
        put(f"{m.path}/big/sub/{i}", f"text {i}")
        want[f"/other/sub/{i}"] = f"text {i}"
    m.flush()
    harness.wait_for("1500 rows", lambda: len(rows(box)) == 1500, 20)
    sent = m.server.requests()
    os.rename(m.path + "/big", m.path + "/other")
    m.flush()
    table_is(box, want, 20)
    sent = m.server.requests() - sent
    assert sent < 150, f"{sent} requests for a rename"
    # contents were not sent again: the rows are the same rows
    assert len(rows(box, columns="_id, path")) == 1500


def test_killed_daemon(box):
    """The queue outlives SIGKILL; the next mount writes the rows."""
    m = mounted(box)
    put(m.path + "/before", "1")
    table_is(box, {"/before": "1"})
    put(m.path + "/after", "2")
    put(m.path + "/before", "3")
    m.flush()
    m.kill()
    m.up(init=False)
    table_is(box, {"/before": "3", "/after": "2"}, 10)


@harness.takes_minutes
def test_adopted(box):
    """Rows that a dead sandbox left out are added after 60 s."""
    a = mounted(box, name="a")
    b = mounted(box, name="b")
    put(a.path + "/x", "seen")
    harness.wait_for("x in b", lambda: os.path.exists(b.path + "/x"), 10)
    harness.wait_for("a row", lambda: rows(box), 10)
    sql(box, 'DELETE FROM "data"')  # as if a had died before it wrote it
    a.kill()
    table_is(box, {"/x": "seen"}, 90)


def test_conflict(box):
    """Both texts of a conflict have rows, under the names that are shown."""
    a = mounted(box, name="a")
    b = mounted(box, name="b")
    server = box.servers[0]
    put(a.path + "/f", "base")
    a.flush()
    harness.wait_for("f in b", lambda: os.path.exists(b.path + "/f"), 10)
    port = server.port
    server.stop()
    for m in (a, b):
        m.allowed.append("cannot be reached|Connection|reach|refused|error")
    put(a.path + "/f", "from a")
    put(b.path + "/f", "from b")
    server.start(port)
    harness.wait_for("both names", lambda: len(os.listdir(a.path)) == 2 and
                     len(os.listdir(b.path)) == 2, 60)
    want = {}
    for name in os.listdir(a.path):
        with open(f"{a.path}/{name}") as f:
            want["/" + name] = f.read()
    assert sorted(want.values()) == ["from a", "from b"], want
    harness.wait_for("rows of both", lambda: {
        r["path"] for r in sql(box, 'SELECT path FROM "data"')} == set(want),
        30)


@harness.waits
def test_rows_of_others(box):
    """SQL's rows become files, change, and go away as such."""
    m = mounted(box)
    sql(box, """INSERT INTO "data"
        (_id, path, filename, content, content_text, mime_type, size_bytes)
        VALUES ('u1', '/in/one.txt', 'one.txt', decode('aGkK', 'base64'),
        'hi', 'text/plain', 3), ('u2', 'two.txt', 'two.txt', NULL, 'second',
        'text/plain', 6), (NULL, '/nul.txt', 'nul.txt', NULL, 'nul',
        'text/plain', 3), ('u4', '/../evil', 'evil', NULL, 'e', 't', 1)""")

    def tree():
        found = {}
        for top, _, files in os.walk(m.path):
            for name in files:
                full = os.path.join(top, name)
                with open(full) as f:
                    found[full[len(m.path):]] = f.read()
        return found

    def tree_is(want):
        try:
            harness.wait_for("files", lambda: tree() == want, 150, 1)
        except AssertionError:
            raise AssertionError(f"files are {tree()}, not {want}") from None

    tree_is({"/in/one.txt": "hi\n", "/two.txt": "second",
             "/nul.txt": "nul"})
    assert len(sql(box, 'SELECT path FROM "data"')) == 4  # no rows of ours
    put(m.path + "/two.txt", "changed")
    os.unlink(m.path + "/nul.txt")
    sql(box, """UPDATE "data" SET content = NULL, content_text = 'longer text',
        size_bytes = 11 WHERE _id = 'u1'""")
    tree_is({"/in/one.txt": "longer text", "/two.txt": "changed"})
    table_is(box, {"/in/one.txt": "longer text", "/two.txt": "changed",
                   "/../evil": "e"}, 90)
    sql(box, "DELETE FROM \"data\" WHERE _id = 'u1'")
    tree_is({"/two.txt": "changed"})


if __name__ == "__main__":
    harness.main(globals())
