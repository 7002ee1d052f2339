#!/usr/bin/env python3
"""A table with other columns: mounted read-only, a file a row, never changed."""
import errno
import json
import os

from common import harness, put, sql

CHANGES = ("insert", "update", "delete", "alter", "create", "drop")


def changes(server):
    """How many statements and requests that change something were answered."""
    return sum(n for key, n in server.metrics().items()
               if key.startswith("deeplake_requests_total")
               and any(f'kind="{kind}' in key for kind in CHANGES))


def files(m):
    found = {}
    for name in os.listdir(m.path):
        with open(f"{m.path}/{name}", encoding="utf-8") as f:
            found[name] = json.load(f)
    return found


def files_are(m, want):
    try:
        harness.wait_for("the rows' files", lambda: files(m) == want, 20, 0.5)
    except AssertionError:
        raise AssertionError(f"files are {files(m)}, not {want}") from None


def events(box):
    """A server with such a table, mounted."""
    server = box.serve()
    for text in (
            "CREATE TABLE events (kind TEXT, id TEXT, n BIGINT, note TEXT)",
            """INSERT INTO events (kind, id, n, note) VALUES
            ('start', 'a/1', 7, 'say "hi"
twice'), ('stop', 'b%', NULL, 'the needle'), ('x', '..', 1, ''),
            ('y', 'twin', 1, 'one'), ('y', 'twin', 2, 'two'),
            ('z', NULL, 3, 'no key')"""):
        sql(box, text, "events")
    m = box.mount(table="events")
    return server, m


WANT = {
    "a%2F1.json": {"kind": "start", "id": "a/1", "n": 7,
                   "note": 'say "hi"\ntwice'},
    "b%25.json": {"kind": "stop", "id": "b%", "n": None,
                  "note": "the needle"},
    "...json": {"kind": "x", "id": "..", "n": 1, "note": ""},
}


@harness.waits
def test_rows_are_files(box):
    server, m = events(box)
    before = changes(server)
    found = files(m)
    assert {k: found[k] for k in WANT} == WANT, found
    twins = [found["twin.json"]["n"], found["twin~2.json"]["n"]]
    assert sorted(twins) == [1, 2], found
    assert len(found) == 6 and [v for k, v in found.items()
                                if k.startswith("row-")] == [
        {"kind": "z", "id": None, "n": 3, "note": "no key"}], found
    r = box.run(["grep", "-rl", "needle", m.path])
    assert r.stdout == m.path + "/b%25.json\n", r.stdout
    # what changes there, changes here
    for text in ("INSERT INTO events (id, n) VALUES ('new', 5)",
                 "UPDATE events SET n = 8 WHERE id = 'a/1'",
                 "DELETE FROM events WHERE id = 'twin' OR id IS NULL"):
        sql(box, text, "events")
    want = {**WANT, "new.json": {"kind": None, "id": "new", "n": 5,
                                 "note": None}}
    want["a%2F1.json"] = {**WANT["a%2F1.json"], "n": 8}
    files_are(m, want)
    assert changes(server) - before == 3, server.metrics()
    status = m.status()
    assert status["read_only"] and status["rows_as_files"], status
    assert not status["dirty_files"] and not status["dirty_bytes"], status
    said = m.deeplake("status", m.path).stdout
    assert "a file a row" in said and "unsent" not in said, said
    for init in (True, False):
        m.down()
        m.up(init=init)
        assert files(m) == want
    m.down()
    assert changes(server) - before == 3, server.metrics()


def test_nothing_changes_them(box):
    server, m = events(box)
    before = changes(server)
    a = m.path + "/a%2F1.json"
    for change in (lambda: put(m.path + "/y", "1"), lambda: put(a, "1"),
                   lambda: os.unlink(a), lambda: os.mkdir(m.path + "/d"),
                   lambda: os.rename(a, m.path + "/e"),
                   lambda: os.symlink("x", m.path + "/s"),
                   lambda: os.link(a, m.path + "/l"),
                   lambda: os.chmod(a, 0o600), lambda: os.truncate(a, 1),
                   lambda: os.setxattr(a, "user.a", b"1"),
                   lambda: os.utime(a)):
        try:
            change()
        except OSError as e:
            assert e.errno == errno.EROFS, e
            continue
        raise AssertionError("a row was changed through its file")
    # even where the kernel is told that it may
    box.run(["mount", "-i", "-o", "remount,rw", m.path], check=False)
    try:
        put(a, "1")
    except OSError as e:
        assert e.errno == errno.EROFS, e
    else:
        raise AssertionError("a row was changed through its file")
    m.flush()
    m.down()
    assert changes(server) == before, server.metrics()
    box.run([harness.built("deeplake"), "import", box.home, "events"],
            status=1)
    assert changes(server) == before, server.metrics()


if __name__ == "__main__":
    harness.main(globals())
