"""The vendor's own Python client (PyPI deeplake, module deeplake.managed)
against our server: its live tests but the two that need object storage, then
its query builder, parameters, index types and errors, sync and async.
"""
import asyncio
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(__file__))
from server import Server  # noqa: E402
from deeplake.managed import AsyncClient, Client  # noqa: E402

STORE = sys.argv[1] if len(sys.argv) > 1 and sys.argv[1] != "sqlite" else None
# These write through al:// object storage, which a table server has not.
NEED_STORAGE = ["test_live_skeleton_matches_reference",
                "test_live_read_only_blocks_writes"]


def live_tests(s):
    env = dict(os.environ, DEEPLAKE_TEST_LIVE="1", DEEPLAKE_API_KEY=s.token,
               DEEPLAKE_API_URL=s.url, DEEPLAKE_TEST_WORKSPACE="default",
               ACTIVELOOP_ORG_ID=s.org)
    args = [sys.executable, "-m", "pytest", "-q", "-W", "ignore", "-p",
            "no:cacheprovider", "--pyargs", "deeplake.managed.test_table_api",
            "-m", "integration"]
    for t in NEED_STORAGE:
        args += ["--deselect", t, "-k", " and ".join(
            "not " + x for x in NEED_STORAGE)]
    r = subprocess.run(args, env=env, capture_output=True, text=True,
                       timeout=300, cwd="/tmp")
    print("  " + r.stdout.strip().splitlines()[-1])
    assert r.returncode == 0 and " failed" not in r.stdout, r.stdout[-3000:]
    passed = int(r.stdout.strip().splitlines()[-1].split(" passed")[0]
                 .split()[-1])
    assert passed >= 3, r.stdout


def client_calls(s):
    c = Client(token=s.token, workspace_id="default", api_url=s.url)
    c.create_table("v1", {"id": "TEXT", "title": "TEXT", "n": "INT64",
                          "emb": "EMBEDDING(4)", "meta": "JSONB"})
    c.query("INSERT INTO v1 (id, title, n, emb, meta) VALUES ($1, $2, $3, "
            "ARRAY[1,0,0,0]::float4[], $4::jsonb)",
            ["a", "hello world", 3, '{"k": "v"}'])
    rows = c.query("SELECT id, n, meta FROM v1 WHERE id = $1", ["a"])
    assert rows == [{"id": "a", "n": 3, "meta": {"k": "v"}}], rows
    assert c.query("SELECT count(*) FROM v1") == [{"count": 1}]
    for col, kind in (("title", "bm25"), ("emb", "clustered"),
                      ("n", "inverted_index")):
        c.create_index("v1", col, index_type=kind)
    defs = c.query("SELECT indexdef FROM pg_indexes WHERE tablename = 'v1'")
    text = "\n".join(d["indexdef"] for d in defs)
    for want in ("bm25", "clustered", "inverted_index"):
        assert want in text, text
    try:
        c.query("SELECT * FROM not_there")
        raise SystemExit("no error for a missing table")
    except Exception as e:
        assert "does not exist" in str(e), e
    c.drop_table("v1")
    c.drop_table("v1")  # if_exists is its default

    async def run():
        a = AsyncClient(token=s.token, workspace_id="default", api_url=s.url)
        r = await a.query("SELECT 1 AS one")
        assert r == [{"one": 1}], r
    asyncio.run(run())


def main():
    with Server(STORE) as s:
        live_tests(s)
        client_calls(s)
    print("ok   the vendor's client")


main()
