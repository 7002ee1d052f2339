"""A hundred ways out of a workspace, tried on the store; none may work.

A secret lies in another workspace and in the server's own data.  Whatever a
token of workspace `in` sends, no answer holds the secret, the other workspace
stays as it is, no file appears, and the server goes on.
"""
import os
import sys

sys.path.insert(0, os.path.dirname(__file__))
from server import Server  # noqa: E402

STORE = sys.argv[1] if len(sys.argv) > 1 and sys.argv[1] != "sqlite" else None
SECRET = "s3cr3t-" + os.urandom(8).hex()
MARK = "/tmp/dl-escape-%d" % os.getpid()

NAMES = ["secret", "out.secret", '"out"."secret"', "main.secret",
         "temp.secret", '"t:secret"', 'main."t:secret"', "sqlite_master",
         "sqlite_schema", "sqlite_temp_master", "sqlite_sequence", "dl_meta",
         "dl_tables", "dl_columns_view", "dl_files", "pragma_database_list",
         "pragma_table_list", "kv", "tokens", "deeplake_meta.kv",
         "deeplake_meta.tokens", "deeplake_meta.workspaces",
         "deeplake_meta.files", "pg_catalog.pg_authid", "pg_shadow",
         "pg_catalog.pg_user_mapping", "pg_hba_file_rules",
         "pg_file_settings", "pg_statistic", "pg_largeobject",
         "json_each('[1]')", "fts3tokenize('simple')", "dbstat",
         "sqlite_dbpage", "generate_series(1,2)", "pg_read_file('/etc/passwd')",
         "pg_ls_dir('/')", "public.secret", '"../out".secret',
         "\"secret' OR '1'='1\""]

STATEMENTS = [f"SELECT * FROM {n}" for n in NAMES] + [
    "SELECT load_extension('/tmp/x')",
    f"SELECT writefile('{MARK}', 'x')",
    "SELECT readfile('/etc/passwd')",
    "SELECT edit('x')",
    "SELECT fts3_tokenizer('x')",
    "SELECT sqlite_version()",
    f"ATTACH DATABASE '{MARK}' AS x",
    "ATTACH 'file:/etc/passwd' AS x",
    "DETACH main",
    "PRAGMA database_list",
    "PRAGMA writable_schema = ON",
    f"VACUUM INTO '{MARK}'",
    "SELECT * FROM t; ATTACH 'x' AS y",
    "SELECT 1 UNION SELECT v FROM deeplake_meta.kv",
    "SELECT (SELECT v FROM deeplake_meta.kv LIMIT 1)",
    "INSERT INTO t SELECT v FROM deeplake_meta.kv",
    "INSERT INTO deeplake_meta.tokens VALUES ('x')",
    "UPDATE deeplake_meta.tokens SET read_only = false",
    "DELETE FROM deeplake_meta.tokens",
    'INSERT INTO "out".secret VALUES (\'x\')',
    'DELETE FROM "out".secret',
    'DROP TABLE "out".secret',
    'CREATE TABLE "out".mine (a TEXT)',
    'ALTER TABLE "out".secret ADD COLUMN b TEXT',
    'CREATE INDEX i ON "out".secret (a)',
    'TRUNCATE "out".secret',
    "CREATE SCHEMA other",
    "DROP SCHEMA \"out\" CASCADE",
    f"COPY t TO '{MARK}'",
    f"COPY t TO PROGRAM 'touch {MARK}'",
    "COPY t FROM '/etc/passwd'",
    "COPY (SELECT 1) TO STDOUT",
    "SET ROLE postgres",
    "SET ROLE deeplake",
    "RESET ROLE",
    "SET SESSION AUTHORIZATION deeplake",
    "SELECT set_config('role', 'deeplake', false), query_to_xml('SELECT v "
    "FROM deeplake_meta.kv', true, true, '')",
    "SELECT set_config('role', 'none', false)",
    "SELECT set_config('session_authorization', 'deeplake', false)",
    "SELECT query_to_xml('SELECT * FROM deeplake_meta.kv', true, true, '')",
    "SELECT query_to_xml('SELECT * FROM \"out\".secret', true, true, '')",
    "SELECT table_to_xml('deeplake_meta.kv', true, true, '')",
    "SELECT database_to_xml(true, true, '')",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_read_binary_file('/etc/passwd')",
    "SELECT pg_ls_dir('.')",
    "SELECT pg_stat_file('/etc/passwd')",
    "SELECT lo_import('/etc/passwd')",
    f"SELECT lo_export(1, '{MARK}')",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity",
    "SELECT pg_reload_conf()",
    "SELECT dblink('dbname=postgres', 'SELECT 1')",
    "SELECT current_setting('hba_file')",
    "CREATE EXTENSION dblink",
    "CREATE FUNCTION f() RETURNS text LANGUAGE sql SECURITY DEFINER AS "
    "'SELECT 1'",
    "CREATE FUNCTION f() RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN 1; "
    "END'",
    "CREATE FUNCTION f() RETURNS int AS '/lib/x86_64-linux-gnu/libc.so.6', "
    "'system' LANGUAGE c",
    "DO $$ BEGIN PERFORM 1; END $$",
    "CREATE ROLE evil SUPERUSER",
    "ALTER ROLE deeplake PASSWORD 'x'",
    "GRANT ALL ON SCHEMA deeplake_meta TO PUBLIC",
    "CREATE TRIGGER tr AFTER INSERT ON t EXECUTE FUNCTION f()",
    "CREATE RULE r AS ON SELECT TO t DO INSTEAD SELECT 1",
    "CREATE VIEW v AS SELECT * FROM deeplake_meta.kv",
    'CREATE VIEW v AS SELECT * FROM "out".secret',
    "CREATE MATERIALIZED VIEW v AS SELECT * FROM deeplake_meta.kv",
    "CREATE TEMP TABLE x (a TEXT)",
    "CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION f()",
    "CREATE SERVER s FOREIGN DATA WRAPPER file_fdw",
    "ALTER SYSTEM SET archive_command = 'touch " + MARK + "'",
    "ALTER TABLE t OWNER TO deeplake",
    'ALTER TABLE t SET SCHEMA "out"',
    "ALTER TABLE t INHERIT \"out\".secret",
    "CREATE TABLE c () INHERITS (\"out\".secret)",
    'CREATE TABLE c (LIKE "out".secret INCLUDING ALL)',
    "LISTEN deeplake_feed",
    "PREPARE p AS SELECT 1",
    "DECLARE c CURSOR FOR SELECT 1",
    "LOCK TABLE deeplake_meta.kv",
    "EXPLAIN ANALYZE DELETE FROM deeplake_meta.tokens",
    "WITH x AS (DELETE FROM deeplake_meta.tokens RETURNING *) SELECT * FROM x",
    "SELECT 'x' AS \"'; DROP TABLE t; --\"",
    "SELECT $$'; SELECT v FROM deeplake_meta.kv; --$$",
    "SELECT E'\\'; SELECT 1; --'",
    "SELECT 1 /* '; */ ; SELECT 2",
    "SELECT 1 AS \"a\"\"; ATTACH 'x' AS y; --\"",
    "INSERT INTO t VALUES ('a') ON CONFLICT DO UPDATE SET a = (SELECT v FROM "
    "deeplake_meta.kv)",
    "SELECT a FROM t ORDER BY (SELECT v FROM deeplake_meta.kv LIMIT 1)",
    "SELECT dl_cast(1, 99999, -5)",
    "SELECT dl_tables.name FROM dl_tables",
    "CREATE TABLE \"x\"\"; DROP TABLE t; --\" (a TEXT)",
    "CREATE TABLE y (\"a\"\"; --\" TEXT DEFAULT 'x''; DROP')",
    "CREATE TABLE sqlite_evil (a TEXT)",
    "CREATE TABLE dl_tables (a TEXT)",
    "SELECT pg_sleep(100)",
    "SELECT pg_advisory_lock(7236107)",
]


def main():
    with Server(STORE) as s:
        for ws in ("in", "out"):
            a = s.request("POST", "/workspaces", {"id": ws})
            assert a.status in (201, 409), a.body
        s.query("DROP TABLE IF EXISTS secret", ws="out")
        s.query("CREATE TABLE secret (a TEXT)", ws="out")
        s.query("INSERT INTO secret VALUES ($1)", [SECRET], ws="out")
        s.query("CREATE TABLE IF NOT EXISTS t (a TEXT)", ws="in")
        tok = s.run("token", "create", "--workspace", "in").stdout.strip()
        taken = []
        for sql in STATEMENTS:
            a = s.query(sql, ws="in", token=tok, timeout_ms=2000)
            text = a.body.decode()
            assert SECRET not in text, sql
            assert "root:" not in text, (sql, text[:200])
            assert "jwt_secret" not in text, (sql, text[:200])
            assert a.status < 500 or a.status == 504, (sql, text)
            if a.status == 200:
                taken.append(sql)
        assert s.query("SELECT a FROM secret", ws="out").rows == [[SECRET]]
        assert not os.path.exists(MARK)
        assert s.query("SELECT 1", ws="in", token=tok).rows == [[1]]
        assert s.request("GET", "/ready").status == 200
        # a lock that a statement took is not held after it
        a = s.query("CREATE TABLE after_lock (a TEXT)", ws="out",
                    timeout_ms=3000)
        assert a.status == 200, a.body
        s.query("DROP TABLE after_lock", ws="out")
        for ws in ("in", "out"):
            for t in s.request("GET", f"/workspaces/{ws}/tables").json[
                    "tables"]:
                name = t["table_name"].replace('"', '""')
                s.query(f'DROP TABLE "{name}"', ws=ws)
        print(f"ok   {len(STATEMENTS)} escapes tried, none worked "
              f"({len(taken)} were harmless and taken)")
        if os.environ.get("V"):
            print("\n".join("  taken: " + t for t in taken))


main()
