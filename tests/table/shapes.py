"""Statements that real clients send, with PostgreSQL's answers.

SETUP runs in order; then each case is (statement, params, expected), expected
being rows, (columns, rows), or Err(status set, text).  Both stores have to
answer all of them so: table_test.py runs the list on each.
"""


class Err:
    def __init__(self, text, status=(400,)):
        self.text, self.status = text, status


E1 = "ARRAY[1.0,0.0,0.0,0.0]::float4[]"

SETUP = [
    # the CLI's table, by raw SQL
    """CREATE TABLE IF NOT EXISTS "memory" (id TEXT NOT NULL DEFAULT '',
       path TEXT NOT NULL DEFAULT '', filename TEXT NOT NULL DEFAULT '',
       content BYTEA NOT NULL DEFAULT ''::bytea,
       content_text TEXT NOT NULL DEFAULT '',
       summary TEXT, summary_embedding FLOAT4[],
       mime_type TEXT NOT NULL DEFAULT 'application/octet-stream',
       size_bytes BIGINT NOT NULL DEFAULT 0, score REAL,
       last_update_date TEXT NOT NULL DEFAULT '') USING deeplake""",
    """CREATE TABLE IF NOT EXISTS "sessions" (id TEXT NOT NULL DEFAULT '',
       path TEXT NOT NULL DEFAULT '', message JSONB, message_embedding FLOAT4[],
       size_bytes BIGINT NOT NULL DEFAULT 0, creation_date TEXT NOT NULL
       DEFAULT '', description TEXT NOT NULL DEFAULT '', last_update_date TEXT
       NOT NULL DEFAULT '') USING deeplake""",
    """CREATE TABLE goals (goal_id TEXT, version BIGINT, body TEXT,
       PRIMARY KEY (goal_id, version))""",
    """CREATE TABLE types (id SERIAL PRIMARY KEY, b BOOLEAN, i INTEGER,
       s SMALLINT, l BIGINT, r REAL, d DOUBLE PRECISION, n NUMERIC(10, 2),
       t TEXT, v VARCHAR(20), y BYTEA, j JSONB, k JSON, e FLOAT4[],
       a TEXT[], ts TIMESTAMP, tz TIMESTAMPTZ, dt DATE, u UUID)""",
    """CREATE TABLE kv (id TEXT PRIMARY KEY, body TEXT,
       updated_at TIMESTAMPTZ DEFAULT now())""",
    "CREATE TABLE nulls (x BIGINT, t TEXT)",
    """INSERT INTO "memory" (id, path, filename, content, content_text,
       mime_type, size_bytes) VALUES
       ('1','/a.md','a.md', E'\\\\x68656c6c6f', E'hello','text/plain',5),
       ('2','/dir/b.md','b.md', E'\\\\x00ff', E'line one\\nerror: two',
        'text/plain',7),
       ('3','/dir/app_es.md','app_es.md','\\x414243','It''s an Umlaut: ÄÖÜ',
        'text/plain',9)""",
    f"""UPDATE "memory" SET summary = E'sum\\tone', summary_embedding = {E1}
        WHERE path = '/a.md'""",
    """UPDATE "memory" SET summary_embedding = ARRAY[0.5,0.5,0,0]::float4[]
       WHERE path = '/dir/b.md'""",
    """INSERT INTO "sessions" (id, path, message, message_embedding,
       creation_date, size_bytes) VALUES ('s1','/sessions/1',
       '{"role":"user","text":"say \\"zanzibar\\" now"}'::jsonb,
       ARRAY[0.1,0.2,0.3]::float4[], '2026-01-02', 10),
       ('s2','/sessions/1', '{"role":"agent","n":2}'::jsonb, NULL,
       '2026-01-01', 20), ('s3','/sessions/2','{"a":[1,2.50,{"b":null}]}',
       NULL,'2026-01-03', 30)""",
    """INSERT INTO goals VALUES ('g1', 1, 'one'), ('g1', 2, 'two'),
       ('g2', 1, 'uno')""",
    "INSERT INTO nulls VALUES (2, 'b'), (NULL, NULL), (1, 'a'), (3, 'c')",
    """CREATE INDEX IF NOT EXISTS "idx_sessions_path_creation_date" ON
       "sessions" ("path", "creation_date")""",
]

CASES = [
    ("SELECT 1", None, (["?column?"], [[1]])),
    ('SELECT 1 FROM "default"."memory" LIMIT 0', None, []),
    ('SELECT 1 FROM "other"."memory" LIMIT 0', None,
     Err('Table does not exist: relation "other.memory" does not exist')),
    ('SELECT path, size_bytes, mime_type FROM "memory" ORDER BY path', None,
     (["path", "size_bytes", "mime_type"],
      [["/a.md", 5, "text/plain"], ["/dir/app_es.md", 9, "text/plain"],
       ["/dir/b.md", 7, "text/plain"]])),
    ("SELECT content FROM \"memory\" WHERE path = '/a.md' LIMIT 1", None,
     [["\\x68656c6c6f"]]),
    ("SELECT content_text, content FROM memory WHERE path = '/dir/b.md'", None,
     [["line one\nerror: two", "\\x00ff"]]),
    ("SELECT content FROM memory WHERE path = '/dir/app_es.md'", None,
     [["\\x414243"]]),
    ("SELECT * FROM goals WHERE goal_id = $1 ORDER BY version", ["g1"],
     (["goal_id", "version", "body"], [["g1", 1, "one"], ["g1", 2, "two"]])),
    # parameters: typed by where they stand
    ("SELECT body FROM goals WHERE version = $1 AND goal_id = $2", [2, "g1"],
     [["two"]]),
    ("SELECT body FROM goals WHERE version = $1", ["2"], [["two"]]),
    ("SELECT $1", ["x"], [["x"]]),
    ("SELECT $1::bigint + 1", ["41"], [[42]]),
    ("SELECT $1::text, $2::jsonb", ["a$2", {"k": [1, "x"]}],
     [["a$2", {"k": [1, "x"]}]]),
    ("SELECT '$1', $1 -- $2\n /* $3 */", ["p"], [["$1", "p"]]),
    ("SELECT body FROM goals WHERE version = $1", ["x"],
     Err('invalid input syntax for type bigint: "x"')),
    ("SELECT body FROM goals WHERE goal_id = $1 AND body = $2", ["x"],
     Err("", (400,))),
    # strings
    ("SELECT E'a\\\\b\\n', 'a\\b', E'\\'q\\'', 'it''s', E'\\u00e4'", None,
     [["a\\b\n", "a\\b", "'q'", "it's", "ä"]]),
    ("SELECT $tag$it's $1$tag$", None, [["it's $1"]]),
    # names of unnamed columns
    ("SELECT count(*), max(size_bytes), summary::text, 'x'::text, NULL::bigint,"
     " 1+1, CAST(COUNT(*) AS BIGINT) FROM memory WHERE id='1' GROUP BY summary",
     None, (["count", "max", "summary", "text", "int8", "?column?", "count"],
            [[1, 5, "sum\tone", "x", None, 2, 1]])),
    ("SELECT coalesce(NULL, 'a'), length('abc'), CASE WHEN true THEN 1 END, "
     "true, now() IS NOT NULL", None,
     (["coalesce", "length", "case", "?column?", "?column?"],
      [["a", 3, 1, True, True]])),
    # LIKE and ILIKE
    ("SELECT path FROM memory WHERE path LIKE '/dir/%' ORDER BY path", None,
     [["/dir/app_es.md"], ["/dir/b.md"]]),
    ("SELECT path FROM memory WHERE path LIKE '/DIR/%'", None, []),
    ("SELECT path FROM memory WHERE path LIKE '%app\\_es%'", None,
     [["/dir/app_es.md"]]),
    ("SELECT path FROM memory WHERE path LIKE '%app\\_es%' ESCAPE '\\'", None,
     [["/dir/app_es.md"]]),
    ("SELECT path FROM memory WHERE path LIKE '%ap\\_es%'", None, []),
    ("SELECT 'a_c' LIKE 'a!_c' ESCAPE '!', 'abc' LIKE 'a!_c' ESCAPE '!'", None,
     [[True, False]]),
    ("SELECT path FROM memory WHERE content_text ILIKE '%äöü%'", None,
     [["/dir/app_es.md"]]),
    ("SELECT path FROM memory WHERE content_text ILIKE $1", ["%ERROR%"],
     [["/dir/b.md"]]),
    ("SELECT path FROM memory WHERE content_text NOT LIKE '%e%'", None,
     [["/dir/app_es.md"]]),
    ("SELECT goal_id FROM goals WHERE 'g1x' LIKE goal_id || '%' LIMIT 1", None,
     [["g1"]]),
    ("SELECT path FROM sessions WHERE message::text ILIKE '%zanzibar%'", None,
     [["/sessions/1"]]),
    # JSON
    ("SELECT message FROM sessions WHERE path = '/sessions/1' ORDER BY "
     "creation_date ASC", None,
     [[{"role": "agent", "n": 2}],
      [{"role": "user", "text": 'say "zanzibar" now'}]]),
    ("SELECT message->>'role', message->'n', message->>'n' FROM sessions WHERE "
     "id = 's2'", None, [["agent", 2, "2"]]),
    ("SELECT message->'a'->2, message->'a'->>1 FROM sessions WHERE id = 's3'",
     None, [[{"b": None}, "2.50"]]),
    ("SELECT '{\"b\": 1, \"a\":  [1,2], \"b\":3}'::jsonb::text", None,
     [['{"a": [1, 2], "b": 3}']]),
    ("SELECT '{bad'::jsonb", None,
     Err("invalid input syntax for type json")),
    ("INSERT INTO sessions (id, message) VALUES ('x', $1)", ["{nope"],
     Err("invalid input syntax for type json")),
    # vectors and text search
    (f"SELECT path, (summary_embedding <#> {E1}) AS score FROM memory WHERE "
     "ARRAY_LENGTH(summary_embedding, 1) > 0 ORDER BY score DESC LIMIT 1", None,
     (["path", "score"], [["/a.md", 1]])),
    (f"SELECT ((1.0 + (summary_embedding <#> {E1})) / 2.0) AS s FROM memory "
     "WHERE id = '1'", None, (["s"], [[1]])),
    ("SELECT summary_embedding FROM memory WHERE id = '2'", None,
     [[[0.5, 0.5, 0, 0]]]),
    ("SELECT message_embedding FROM sessions WHERE id = 's1'", None,
     [[[0.1, 0.2, 0.3]]]),
    ("SELECT path FROM memory WHERE (content_text <#> 'error') > 0 ORDER BY "
     "content_text <#> 'error' DESC", None, [["/dir/b.md"]]),
    ("SELECT path FROM memory WHERE (content_text <#> $1) > 0", ["hello"],
     [["/a.md"]]),
    ("SELECT NULL::float4[] <#> ARRAY[1]::float4[] IS NULL", None, [[True]]),
    # bytes
    ("SELECT decode('aGk=', 'base64'), encode(E'\\\\x6869'::bytea, 'hex'), "
     "octet_length('ä'), length('ä')", None, [["\\x6869", "6869", 2, 1]]),
    ("SELECT content || E'\\\\xaa' FROM memory WHERE id = '1'", None,
     [["\\x68656c6c6faa"]]),
    ("SELECT substr(content, 2, 2), substring(content_text from 2 for 3), "
     "substr(content_text, 0, 3) FROM memory WHERE id = '1'", None,
     [["\\x656c", "ell", "he"]]),
    # NULL order
    ("SELECT x FROM nulls ORDER BY x", None, [[1], [2], [3], [None]]),
    ("SELECT x FROM nulls ORDER BY x DESC", None, [[None], [3], [2], [1]]),
    ("SELECT x FROM nulls ORDER BY x DESC NULLS LAST LIMIT 1", None, [[3]]),
    ("SELECT least(1.5, 4.0 / greatest(1, 2)), least(NULL, 2), "
     "greatest(NULL::int, 1)", None, [[1.5, 2, 1]]),
    ("SELECT nullif(1, 1), coalesce(NULL, NULL, 3), coalesce(4)", None,
     [[None, 3, 4]]),
    ("SELECT 7 / 2, -7 / 2, 7 % 3, 7.0 / 2", None, [[3, -3, 1, 3.5]]),
    ("SELECT 1 / 0", None, Err("division by zero")),
    # recall: UNION ALL of parenthesised branches
    (f"""SELECT path, content, source_order, creation_date, score FROM (
         (SELECT path, summary::text AS content, 0 AS source_order, '' AS
          creation_date, (summary_embedding <#> {E1}) AS score FROM "memory"
          WHERE ARRAY_LENGTH(summary_embedding, 1) > 0 ORDER BY score DESC
          LIMIT 1)
         UNION ALL
         (SELECT path, message::text AS content, 1 AS source_order,
          COALESCE(creation_date::text, '') AS creation_date, 0.5 AS score
          FROM "sessions" WHERE 1=1 AND (message::text ILIKE '%agent%')
          LIMIT 20)
         ) AS combined ORDER BY score DESC LIMIT 40""", None,
     (["path", "content", "source_order", "creation_date", "score"],
      [["/a.md", "sum\tone", 0, "", 1],
       ["/sessions/1", '{"n": 2, "role": "agent"}', 1, "2026-01-01", 0.5]])),
    ("SELECT path, NULL::text AS content, size_bytes, '' AS creation_date, 0 "
     "AS source_order FROM \"memory\" WHERE path LIKE '/a%' ESCAPE '\\'", None,
     [["/a.md", None, 5, "", 0]]),
    # versions
    ("SELECT goal_id, body FROM \"goals\" g1 WHERE version = (SELECT "
     "MAX(version) FROM \"goals\" g2 WHERE g2.goal_id = g1.goal_id) ORDER BY "
     "goal_id", None, [["g1", "two"], ["g2", "uno"]]),
    ("SELECT g.goal_id, g.body FROM goals g JOIN (SELECT goal_id, MAX(version) "
     "AS v FROM goals GROUP BY goal_id) latest ON g.goal_id = latest.goal_id "
     "AND g.version = latest.v ORDER BY 1", None,
     [["g1", "two"], ["g2", "uno"]]),
    ("SELECT body FROM goals WHERE goal_id = 'g1' ORDER BY version DESC LIMIT "
     "1", None, [["two"]]),
    ('SELECT path, MAX(size_bytes) as total_size FROM "sessions" GROUP BY path '
     'ORDER BY path', None,
     (["path", "total_size"], [["/sessions/1", 20], ["/sessions/2", 30]])),
    ('SELECT path, MIN(creation_date) AS creation_date, MAX(last_update_date) '
     'AS last_update_date FROM "sessions" WHERE path LIKE \'/sessions/%\' '
     'GROUP BY path ORDER BY MAX(creation_date) DESC LIMIT 51', None,
     [["/sessions/2", "2026-01-03", ""], ["/sessions/1", "2026-01-01", ""]]),
    ("SELECT DISTINCT path FROM sessions ORDER BY path", None,
     [["/sessions/1"], ["/sessions/2"]]),
    ("SELECT count(DISTINCT path), sum(size_bytes), avg(size_bytes) FROM "
     "sessions", None, [[2, 60, 20]]),
    ("SELECT path FROM memory WHERE path IN ('/a.md', '/x') OR id = ANY_OF",
     None, Err('Column does not exist: column "any_of" does not exist')),
    ("SELECT path FROM memory WHERE size_bytes BETWEEN 6 AND 8", None,
     [["/dir/b.md"]]),
    ("SELECT EXISTS (SELECT 1 FROM memory WHERE id = 'zz'), 1 IN (1, 2), 1 <> "
     "2, 1 != 1, NOT true", None, [[False, True, True, False, False]]),
    # natives that pass
    ("WITH x AS (SELECT goal_id, version FROM goals) SELECT goal_id, "
     "row_number() OVER (PARTITION BY goal_id ORDER BY version DESC) AS rn "
     "FROM x ORDER BY goal_id, rn", None, [["g1", 1], ["g1", 2], ["g2", 1]]),
    ("WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < "
     "3) SELECT n FROM c", None, [[1], [2], [3]]),
    ("SELECT goal_id, count(*) FROM goals GROUP BY goal_id HAVING count(*) > 1",
     None, [["g1", 2]]),
    ("SELECT count(*) FILTER (WHERE version > 1) FROM goals", None, [[1]]),
    # schema questions
    ("SELECT column_name FROM information_schema.columns WHERE table_name = "
     "'goals' AND table_schema = 'default' ORDER BY ordinal_position", None,
     [["goal_id"], ["version"], ["body"]]),
    ("SELECT 1 FROM information_schema.columns WHERE table_name='memory' AND "
     "column_name='nope' AND table_schema='default' LIMIT 1", None, []),
    ("SELECT 1 FROM information_schema.tables WHERE table_name = 'goals' AND "
     "table_schema = 'default'", None, [[1]]),
    ("SELECT column_name, data_type, is_nullable FROM "
     "information_schema.columns WHERE table_name = 'memory' AND column_name "
     "IN ('size_bytes', 'summary', 'summary_embedding', 'content') ORDER BY "
     "column_name", None,
     [["content", "bytea", "NO"], ["size_bytes", "bigint", "NO"],
      ["summary", "text", "YES"], ["summary_embedding", "ARRAY", "YES"]]),
    ("SELECT indexname FROM pg_indexes WHERE tablename = 'sessions'", None,
     [["idx_sessions_path_creation_date"]]),
    ("SELECT deeplake_sync_table('memory')", None, [[True]]),
    ("SELECT deeplake_sync_table('\"memory\"')", None, [[True]]),
    # the vendor's indexes
    ('CREATE INDEX IF NOT EXISTS idx_m_bm25 ON "memory" USING deeplake_index '
     "(\"content_text\") WITH (index_type = 'bm25')", None, []),
    ("SELECT indexdef LIKE '%USING deeplake_index (content_text) WITH "
     "(index_type=bm25)' FROM pg_indexes WHERE indexname = 'idx_m_bm25'", None,
     [[True]]),
    ('CREATE INDEX idx_m_other ON "memory" USING deeplake_index '
     "(\"content_text\") WITH (index_type = 'exact_text')", None,
     Err("Conflicting index types for column 'content_text'", (400, 500))),
    ('CREATE INDEX x9 ON "memory" USING deeplake_index ("nope")', None,
     Err('column "nope" does not exist')),
    ("DROP INDEX IF EXISTS idx_m_bm25", None, []),
    ("SELECT count(*) FROM pg_indexes WHERE indexname = 'idx_m_bm25'", None,
     [[0]]),
    ("DROP INDEX IF EXISTS idx_m_bm25", None, []),
    # changes
    ("UPDATE \"memory\" SET content_text = content_text || E'more\\n', content "
     "= content || E'\\\\xaa', size_bytes = size_bytes + 5 WHERE path = "
     "'/a.md'", None, []),
    ("SELECT content_text, content, size_bytes FROM memory WHERE id = '1'",
     None, [["hellomore\n", "\\x68656c6c6faa", 10]]),
    ("INSERT INTO \"sessions\" (id, path) SELECT 's9', '/n' WHERE NOT EXISTS "
     "(SELECT 1 FROM \"sessions\" WHERE id = 's9')", None, []),
    ("INSERT INTO \"sessions\" (id, path) SELECT 's9', '/n' WHERE NOT EXISTS "
     "(SELECT 1 FROM \"sessions\" WHERE id = 's9')", None, []),
    ("SELECT count(*) FROM sessions WHERE id = 's9'", None, [[1]]),
    ("DELETE FROM \"sessions\" WHERE path IN ('/n', '/m') RETURNING id, path",
     None, (["id", "path"], [["s9", "/n"]])),
    ("INSERT INTO kv (id, body, updated_at) VALUES ($1,$2,now()) ON CONFLICT "
     "(id) DO UPDATE SET body=$2, updated_at=now()", ["k", "one"], []),
    ("INSERT INTO kv (id, body, updated_at) VALUES ($1,$2,now()) ON CONFLICT "
     "(id) DO UPDATE SET body=EXCLUDED.body", ["k", "two"], []),
    ("INSERT INTO kv (id, body) SELECT 'k', 'three' ON CONFLICT (id) DO "
     "NOTHING", None, []),
    ("SELECT body, updated_at IS NOT NULL FROM kv", None, [["two", True]]),
    ("INSERT INTO kv (id, body) VALUES ('k2', 'x') RETURNING id, body AS b",
     None, (["id", "b"], [["k2", "x"]])),
    ("INSERT INTO kv (id) VALUES ('k')", None,
     Err('duplicate key value violates unique constraint "kv_pkey"',
         (400, 409))),
    ("INSERT INTO kv (id) VALUES (NULL)", None,
     Err('null value in column "id" of relation "kv" violates not-null '
         'constraint')),
    ("ALTER TABLE \"kv\" ADD COLUMN agent TEXT NOT NULL DEFAULT ''", None, []),
    ("ALTER TABLE \"kv\" ADD COLUMN agent TEXT NOT NULL DEFAULT ''", None,
     Err('column "agent" of relation "kv" already exists',
         (400, 409, 500))),
    ("ALTER TABLE kv ADD COLUMN IF NOT EXISTS agent TEXT", None, []),
    ("ALTER TABLE kv ADD COLUMN seen TIMESTAMPTZ DEFAULT now()", None, []),
    ("INSERT INTO kv (id) VALUES ('k3')", None, []),
    ("SELECT id, agent, seen IS NOT NULL FROM kv ORDER BY id", None,
     [["k", "", True], ["k2", "", True], ["k3", "", True]]),
    # types, in and out
    ("""INSERT INTO types (b, i, s, l, r, d, n, t, v, y, j, k, e, a, ts, tz,
        dt, u) VALUES (true, 1, -2, 9007199254740993, 0.1, 0.1, 12.50, 'ü', 'v',
        E'\\\\x00ff', '{"a":1}', '[1, 2]', '{0.1,0.2}', '{x,"y z"}',
        '2026-02-01 12:00:00', '2026-02-01T12:00:00+02:00', '2026-02-01',
        'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11')""", None, []),
    ("SELECT b, i, s, l, r, d, n, t, v, y, j, k, e, a, ts, tz, dt, u FROM "
     "types", None,
     [[True, 1, -2, 9007199254740993, 0.1, 0.1, 12.5, "ü", "v", "\\x00ff",
       {"a": 1}, [1, 2], [0.1, 0.2], ["x", "y z"], "2026-02-01T12:00:00Z",
       "2026-02-01T10:00:00Z", "2026-02-01",
       "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]]),
    ("SELECT id FROM types WHERE tz = '2026-02-01T11:00:00+01:00' AND ts < "
     "'2026-02-02' AND b", None, [[1]]),
    ("INSERT INTO types (b, i, e, a, j, tz, y) VALUES ($1, $2, $3, $4, $5, $6, "
     "decode($7, 'base64')) RETURNING b, i, e, a, j, tz, y",
     [False, 7, [0.25, 1], ["p", "q"], {"x": None},
      "2026-02-01T12:00:00.25Z", "AP8="],
     [[False, 7, [0.25, 1], ["p", "q"], {"x": None},
       "2026-02-01T12:00:00.25Z", "\\x00ff"]]),
    ("INSERT INTO types (i) VALUES ('abc')", None,
     Err('invalid input syntax for type integer: "abc"')),
    ("INSERT INTO types (i) VALUES (3000000000)", None,
     Err("integer out of range")),
    ("INSERT INTO types (b) VALUES ('maybe')", None,
     Err('invalid input syntax for type boolean: "maybe"')),
    ("INSERT INTO types (u) VALUES ('zz')", None,
     Err('invalid input syntax for type uuid: "zz"')),
    ("INSERT INTO types (tz) VALUES ('yesterdayish')", None,
     Err("invalid input syntax for type timestamp with time zone")),
    ("INSERT INTO types (t) VALUES ($1)", ["a\0b"],
     Err('invalid byte sequence for encoding "UTF8": 0x00')),
    # errors in PostgreSQL's words
    ("SELECT * FROM nope", None,
     Err('Table does not exist: relation "nope" does not exist')),
    ("SELECT nope FROM memory", None,
     Err('Column does not exist: column "nope" does not exist')),
    ('SELECT "Path" FROM memory', None,
     Err('column "Path" does not exist')),
    ("SELECT m.nope FROM memory m", None,
     Err("column m.nope does not exist")),
    ("SELECT z.path FROM memory m", None,
     Err('missing FROM-clause entry for table "z"')),
    ("INSERT INTO memory (nope) VALUES (1)", None,
     Err('Column does not exist: column "nope" of relation "memory" does not '
         'exist')),
    ("UPDATE memory SET nope = 1", None,
     Err('Column does not exist: column "nope" of relation "memory" does not '
         'exist')),
    ("CREATE TABLE memory (a TEXT)", None,
     Err('relation "memory" already exists', (400, 409, 500))),
    ("CREATE TABLE IF NOT EXISTS memory (a TEXT)", None, []),
    ("CREATE TABLE bad (a NOTYPE)", None,
     Err('type "notype" does not exist')),
    ("DROP TABLE nope", None, Err('"nope" does not exist', (400, 404))),
    ("DROP TABLE IF EXISTS nope", None, []),
    ("SELEC 1", None, Err('syntax error at or near "SELEC"')),
    ("SELECT 1 +", None, Err("syntax error at end of input")),
    ("SELECT 'open", None, Err("unterminated quoted string")),
    ("SELECT nofunc(1)", None, Err("function nofunc(integer) does not exist")),
    ("SELECT 1; SELECT 2", None,
     Err("cannot insert multiple commands into a prepared statement")),
    ("SELECT 1;", None, [[1]]),
    ("SELECT 1 = 'x'", None, Err('invalid input syntax for type integer: "x"')),
    ("SELECT path = 1 FROM memory", None,
     Err("operator does not exist: text = integer")),
    ("INSERT INTO goals VALUES ('a', 1)  , ('b')", None,
     Err("VALUES lists must all be the same length")),
    ("INSERT INTO goals (goal_id, version) VALUES ('a')", None,
     Err("INSERT has more target columns than expressions")),
    ("SELECT path FROM memory, goals WHERE path = body AND id = '1' ORDER BY "
     "nope", None, Err('column "nope" does not exist')),
    ("SELECT goal_id FROM goals UNION ALL SELECT 1, 2", None,
     Err("each UNION query must have the same number of columns")),
    ("CREATE SCHEMA IF NOT EXISTS \"default\"", None, []),
    ("DROP TABLE goals", None, []),
    ("SELECT * FROM goals", None,
     Err('relation "goals" does not exist')),
]

# PostgreSQL has them; the SQLite store says where they can be had.
PG_ONLY = [
    "SELECT path FROM memory WHERE path ~ '^/a'",
    "SELECT string_agg(path, ',') FROM memory",
    "SELECT to_char(now(), 'YYYY')",
    "SELECT generate_series(1, 3)",
    "SELECT jsonb_build_object('a', 1)",
    "SELECT message @> '{}'::jsonb FROM sessions",
]
