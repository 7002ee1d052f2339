"""The mount tests' harness, and SQL."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))), "mount"))
import harness  # noqa: E402


def sql(box, text, table="data", status=None):
    """The rows of a statement, as dicts."""
    out = box.run([harness.built("deeplake"), "query", table, text, "--json"],
                  status=status).stdout
    return json.loads(out) if out else None


def rows(box, table="data", columns="path, content_text"):
    """{path: row} of the view; a path with two rows fails."""
    found = {}
    for row in sql(box, f'SELECT {columns} FROM "{table}"', table):
        assert row["path"] not in found, f"two rows for {row['path']}"
        found[row["path"]] = row
    return found


def texts(box, table="data"):
    return {p: r["content_text"] for p, r in rows(box, table).items()}


def table_is(box, want, timeout=5, table="data"):
    """Wait until the view's paths and texts are these."""
    last = {}

    def same():
        last["is"] = texts(box, table)
        return last["is"] == want

    try:
        harness.wait_for("the view's rows", same, timeout, 0.2)
    except AssertionError:
        raise AssertionError(f"the view is {last['is']}, not {want}") from None


def put(path, data):
    with open(path, "wb" if isinstance(data, bytes) else "w") as f:
        f.write(data)
