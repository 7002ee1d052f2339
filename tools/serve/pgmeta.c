/* pgmeta.c - schema of the PostgreSQL store, workspaces, tokens; see pg.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "tools/serve/meta.h"
#include "tools/serve/pg.h"

static const char schema_sql[] =
	"SELECT pg_advisory_xact_lock(7236105);"
	"CREATE SCHEMA IF NOT EXISTS deeplake_meta;"
	"CREATE SCHEMA IF NOT EXISTS deeplake_compat;"
	"CREATE SCHEMA IF NOT EXISTS deeplake_info;"
	"CREATE TABLE IF NOT EXISTS deeplake_meta.kv (k text PRIMARY KEY, v "
	"text NOT NULL);"
	"CREATE TABLE IF NOT EXISTS deeplake_meta.orgs (id text PRIMARY KEY, "
	"name text NOT NULL);"
	"CREATE TABLE IF NOT EXISTS deeplake_meta.workspaces (org text NOT "
	"NULL, id text NOT NULL, name text NOT NULL, created_s bigint NOT NULL,"
	" schema text NOT NULL UNIQUE, role text NOT NULL, password text NOT "
	"NULL, PRIMARY KEY (org, id));"
	"CREATE TABLE IF NOT EXISTS deeplake_meta.tokens (id text PRIMARY KEY, "
	"name text NOT NULL, org text NOT NULL, workspace text NOT NULL, tbl "
	"text NOT NULL, read_only boolean NOT NULL, created_s bigint NOT NULL, "
	"expires_s bigint NOT NULL, revoked boolean NOT NULL);"
	"CREATE TABLE IF NOT EXISTS deeplake_meta.logins (code text PRIMARY "
	"KEY, user_code text NOT NULL UNIQUE, until_s bigint NOT NULL, "
	"asked_ms "
	"bigint NOT NULL DEFAULT 0, tries integer NOT NULL DEFAULT 0, token "
	"text "
	"NOT NULL DEFAULT '', person text NOT NULL DEFAULT '');"
	"CREATE TABLE IF NOT EXISTS deeplake_meta.files (org text, ws text, id "
	"text, name text NOT NULL, type text NOT NULL, data bytea NOT NULL, "
	"PRIMARY KEY (org, ws, id));"
	"CREATE TABLE IF NOT EXISTS deeplake_meta.indexes (schema text, name "
	"text, table_name text NOT NULL, column_name text NOT NULL, type text "
	"NOT NULL, def text NOT NULL, PRIMARY KEY (schema, name));"
	"REVOKE ALL ON SCHEMA deeplake_meta FROM PUBLIC;"
	"GRANT USAGE ON SCHEMA deeplake_compat, deeplake_info TO PUBLIC;";

/* What the vendor's extension adds, in SQL; not where that is installed.  Run
 * only once: CREATE DOMAIN and CREATE OPERATOR have no IF NOT EXISTS. */
static const char stand_in_sql[] =
	"CREATE FUNCTION deeplake_compat.cosine(a float4[], b float4[]) "
	"RETURNS "
	"float8 LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT "
	"sum(x * y) / nullif(sqrt(sum(x * x)) * sqrt(sum(y * y)), 0) FROM "
	"unnest(a::float8[], b::float8[]) AS u(x, y) $$;"
	"CREATE FUNCTION deeplake_compat.score(t text, q text) RETURNS float8 "
	"LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ "
	"WITH w AS MATERIALIZED (SELECT x FROM regexp_split_to_table(lower(t), "
	"'[^[:alnum:]_]+') x WHERE x <> ''), n AS (SELECT count(*)::float8 AS "
	"total FROM w) SELECT coalesce(sum(h * 2.2 / (h + 1.2 * (0.25 + 0.75 * "
	"total / 100.0))), 0)::float8 FROM n, (SELECT (SELECT count(*)::float8 "
	"FROM w WHERE w.x = qx) AS h FROM regexp_split_to_table(lower(q), "
	"'[^[:alnum:]_]+') qx WHERE qx <> '') s WHERE h > 0 $$;"
	"CREATE OPERATOR deeplake_compat.<#> (LEFTARG = float4[], RIGHTARG = "
	"float4[], FUNCTION = deeplake_compat.cosine);"
	"CREATE OPERATOR deeplake_compat.<#> (LEFTARG = text, RIGHTARG = text, "
	"FUNCTION = deeplake_compat.score);"
	"CREATE FUNCTION deeplake_compat.deeplake_sync_table(text) RETURNS "
	"boolean LANGUAGE sql AS 'SELECT true';"
	"CREATE FUNCTION deeplake_compat.deeplake_flush_table(regclass) "
	"RETURNS "
	"boolean LANGUAGE sql AS 'SELECT true';"
	"CREATE FUNCTION "
	"deeplake_compat.deeplake_resync_table_pointer(regclass)"
	" RETURNS boolean LANGUAGE sql AS 'SELECT true';"
	"CREATE DOMAIN deeplake_compat.int64 AS bigint;"
	"CREATE DOMAIN deeplake_compat.int32 AS integer;"
	"CREATE DOMAIN deeplake_compat.int16 AS smallint;"
	"CREATE DOMAIN deeplake_compat.float32 AS float4;"
	"CREATE DOMAIN deeplake_compat.float64 AS float8;"
	"CREATE DOMAIN deeplake_compat.string AS text;"
	"CREATE DOMAIN deeplake_compat.class_label AS text;"
	"CREATE DOMAIN deeplake_compat.dict AS jsonb;"
	"CREATE DOMAIN deeplake_compat.embedding AS float4[];"
	"CREATE DOMAIN deeplake_compat.embedding_2d AS float4[];"
	"CREATE DOMAIN deeplake_compat.bounding_box AS float4[];"
	"CREATE DOMAIN deeplake_compat.file_id AS uuid;"
	"CREATE DOMAIN deeplake_compat.binary AS bytea;"
	"CREATE DOMAIN deeplake_compat.image AS bytea;"
	"CREATE DOMAIN deeplake_compat.video AS bytea;"
	"CREATE DOMAIN deeplake_compat.audio AS bytea;"
	"CREATE DOMAIN deeplake_compat.file AS bytea;"
	"CREATE DOMAIN deeplake_compat.mesh AS bytea;"
	"CREATE DOMAIN deeplake_compat.medical AS bytea;"
	"CREATE DOMAIN deeplake_compat.segment_mask AS bytea;"
	"CREATE DOMAIN deeplake_compat.binary_mask AS bytea;"
	"CREATE DOMAIN deeplake_compat.deeplake_polygon AS bytea;"
	"CREATE DOMAIN deeplake_compat.deeplake_point AS bytea;";

static const char no_stand_in_sql[] =
	"INSERT INTO deeplake_meta.kv VALUES ('stand_in', 'off');";

/* What both need; run once, together with one of the two. */
static const char compat_sql[] =
	/* A token for one table sees that one; a statement of such a token
	 * cannot change the setting (scope_check in pgexec.c). */
	"CREATE FUNCTION deeplake_compat.in_scope(name text) RETURNS boolean "
	"LANGUAGE sql STABLE AS $$ SELECT coalesce(current_setting("
	"'deeplake.only_table', true), '') = '' OR name IN (current_setting("
	"'deeplake.only_table', true), current_setting('deeplake.only_table', "
	"true) || '__log', current_setting('deeplake.only_table', true) || "
	"'__pack') $$;"
	/* session_user is the workspace's role */
	"CREATE VIEW deeplake_info.columns AS SELECT c.table_catalog, w.id AS "
	"table_schema, c.table_name, c.column_name, c.ordinal_position, "
	"c.column_default, c.is_nullable, c.data_type, c.udt_name FROM "
	"information_schema.columns c JOIN deeplake_meta.workspaces w ON "
	"c.table_schema = w.schema WHERE w.role = session_user AND "
	"deeplake_compat.in_scope(c.table_name);"
	"CREATE VIEW deeplake_info.tables AS SELECT c.table_catalog, w.id AS "
	"table_schema, c.table_name, c.table_type FROM "
	"information_schema.tables"
	" c JOIN deeplake_meta.workspaces w ON c.table_schema = w.schema WHERE "
	"w.role = session_user AND deeplake_compat.in_scope(c.table_name);"
	"CREATE VIEW deeplake_info.pg_indexes AS SELECT w.id AS schemaname, "
	"i.tablename, i.indexname, i.tablespace, i.indexdef FROM "
	"pg_catalog.pg_indexes i JOIN deeplake_meta.workspaces w ON "
	"i.schemaname"
	" = w.schema WHERE w.role = session_user AND "
	"deeplake_compat.in_scope(i.tablename) UNION ALL SELECT w.id, "
	"x.table_name::name, x.name::name, NULL, x.def FROM "
	"deeplake_meta.indexes x JOIN deeplake_meta.workspaces w USING "
	"(schema) "
	"WHERE w.role = session_user AND deeplake_compat.in_scope("
	"x.table_name);"
	"GRANT SELECT ON ALL TABLES IN SCHEMA deeplake_info TO PUBLIC;"
	"INSERT INTO deeplake_meta.kv VALUES ('schema', '1');";

/* Takes from every role what no workspace needs.  A database where we are not
 * superuser may refuse some of it: the log says so. */
static const char *const lock_sql[] = {
	"REVOKE ALL ON SCHEMA public FROM PUBLIC",
	"REVOKE USAGE ON LANGUAGE sql FROM PUBLIC",
	"REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC",
	"DO $$ BEGIN EXECUTE format('REVOKE TEMPORARY, CREATE ON DATABASE %I "
	"FROM PUBLIC', current_database()); END $$",
};

static int admin_ok(struct pg_store *s, const char *sql)
{
	PGresult *res = pg_admin(s, sql, 0, NULL);
	int err = res == NULL ? -EIO : 0;

	PQclear(res);
	return err;
}

/* All of it or nothing: a simple query of many statements is one transaction. */
static int schema_make(struct pg_store *s, bool stand_in)
{
	DF_FREE char *sql = df_strf(
		"%s%s", stand_in ? stand_in_sql : no_stand_in_sql, compat_sql);
	int err = sql == NULL ? -ENOMEM : admin_ok(s, sql);

	for (size_t i = 0; err == 0 && i < DF_ARRAY_LEN(lock_sql); i++)
		if (admin_ok(s, lock_sql[i]) < 0)
			df_log_warn("PostgreSQL refused: %s: workspaces are "
				    "less confined",
				    lock_sql[i]);
	return err;
}

/* Where the vendor's extension is, for the workspaces' search_path. */
static int find_extension(struct pg_store *s)
{
	PGresult *res = pg_admin(
		s,
		"SELECT n.nspname, format('GRANT USAGE ON SCHEMA %I TO PUBLIC',"
		" n.nspname), quote_ident(n.nspname) FROM pg_extension e JOIN "
		"pg_namespace n ON n.oid = e.extnamespace WHERE e.extname LIKE "
		"'%deeplake%' ORDER BY e.extname LIMIT 1",
		0, NULL);
	int err = res == NULL ? -EIO : PQntuples(res) == 0 ? -ENOENT : 0;

	if (err == 0) {
		(void)snprintf(s->extras, sizeof(s->extras), "%s",
			       PQgetvalue(res, 0, 2));
		err = admin_ok(s, PQgetvalue(res, 0, 1));
	}
	PQclear(res);
	if (err == -ENOENT)
		df_log_error("this database is to be used without the stand-in "
			     "for the Deeplake extension, and has no extension "
			     "with deeplake in its name: CREATE EXTENSION "
			     "first, or use a new database without "
			     "--no-stand-in");
	return err;
}

/* The database remembers how it was made. */
static int use_stand_in(struct pg_store *s, bool fresh)
{
	PGresult *res = pg_admin(s,
				 "SELECT v FROM deeplake_meta.kv WHERE k = "
				 "'stand_in'",
				 0, NULL);
	bool off = res != NULL && PQntuples(res) > 0;

	if (res == NULL)
		return -EIO;
	PQclear(res);
	(void)snprintf(s->extras, sizeof(s->extras), "deeplake_compat");
	if (!fresh && !off && !s->stand_in) {
		df_log_error("--no-stand-in: this database was made with the "
			     "stand-in, and its tables may use it: take a new "
			     "database");
		return -EEXIST;
	}
	s->stand_in = !off && (s->stand_in || !fresh);
	return s->stand_in ? 0 : find_extension(s);
}

int pg_schema(struct pg_store *s)
{
	PGresult *res;
	int err = admin_ok(s, schema_sql), version = 0;

	if (err < 0)
		return err;
	res = pg_admin(s, "SELECT v FROM deeplake_meta.kv WHERE k = 'schema'",
		       0, NULL);
	if (res == NULL)
		return -EIO;
	if (PQntuples(res) > 0)
		version = (int)strtol(PQgetvalue(res, 0, 0), NULL, 10);
	PQclear(res);
	if (version > 1) {
		df_log_error("the database has schema version %d, this program "
			     "knows 1: use a newer deeplake serve",
			     version);
		return DF_EFORMAT;
	}
	err = use_stand_in(s, version == 0);
	if (err == 0 && version == 0)
		err = schema_make(s, s->stand_in);
	return err;
}

/* ---- small values, orgs */

/* Rows changed, or -EIO. */
static int changed(struct pg_store *s, const char *sql, int n,
		   const char *const *arg)
{
	PGresult *res = pg_admin(s, sql, n, arg);
	int rows = res == NULL ? -EIO : (int)strtol(PQcmdTuples(res), NULL, 10);

	PQclear(res);
	return rows;
}

static int own_run(struct df_store *store, const char *sql,
		   const char *const *arg, int n)
{
	char *text = df_meta_sql(sql, "deeplake_meta.");
	int rows = text == NULL
			   ? -ENOMEM
			   : changed((struct pg_store *)store, text, n, arg);

	free(text);
	return rows;
}

static int own_rows(struct df_store *store, const char *sql,
		    const char *const *arg, int n,
		    void (*each)(void *arg, const char *const *value),
		    void *each_arg)
{
	char *text = df_meta_sql(sql, "deeplake_meta.");
	const char *value[DF_STORE_OWN_COLS];
	PGresult *res;
	int i, k;

	if (text == NULL)
		return -ENOMEM;
	res = pg_admin((struct pg_store *)store, text, n, arg);
	free(text);
	for (i = 0; res != NULL && i < PQntuples(res); i++) {
		for (k = 0; k < PQnfields(res); k++)
			value[k] = PQgetvalue(res, i, k);
		each(each_arg, value);
	}
	PQclear(res);
	return res == NULL ? -EIO : 0;
}

/* ---- workspaces */

/* A workspace of the first org has its own name as schema; others, and names
 * that PostgreSQL or we use, get a prefix. */
static void ws_schema(struct pg_store *s, const char *org, const char *id,
		      char out[80])
{
	static const char *const taken[] = { "public", "information_schema",
					     "deeplake_meta", "deeplake_compat",
					     "deeplake_info" };
	struct df_buf first;
	char hex[33];
	uint8_t sha[DF_SHA_LEN];
	bool plain = strncmp(id, "pg_", 3) != 0 && strlen(id) < 50;
	size_t i;

	df_buf_init(&first, 4096);
	if (df_meta_get(&s->store, "org", &first) == 0 &&
	    strcmp(df_buf_cstr(&first), org) != 0)
		plain = false;
	df_buf_release(&first);
	for (i = 0; i < DF_ARRAY_LEN(taken); i++)
		plain &= strcmp(taken[i], id) != 0;
	df_sha256(org, strlen(org), sha);
	df_hex(sha, 6, hex);
	if (plain)
		(void)snprintf(out, 80, "%s", id);
	else
		(void)snprintf(out, 80, "w_%.12s_%.45s", hex, id);
}

static int ws_insert(struct pg_store *s, const char *org, const char *id,
		     const char *name)
{
	char schema[80], role[48], password[65], now[32], hex[65];
	const char *arg[] = { org, id, name, now, schema, role, password };
	uint8_t raw[32], sha[DF_SHA_LEN];

	ws_schema(s, org, id, schema);
	df_random(raw, sizeof(raw));
	df_hex(raw, sizeof(raw), password);
	/* roles belong to the whole cluster: a name nobody else has */
	df_sha256(raw, sizeof(raw), sha);
	df_hex(sha, 10, hex);
	(void)snprintf(role, sizeof(role), "dlw_%.20s", hex);
	(void)snprintf(now, sizeof(now), "%lld",
		       (long long)(df_clock_real_ns() / DF_NS_PER_S));
	return changed(s,
		       "INSERT INTO deeplake_meta.workspaces VALUES ($1, $2,"
		       " $3, $4::bigint, $5, $6, $7) ON CONFLICT (org, id) DO "
		       "NOTHING",
		       7, arg);
}

static int ws_create(struct df_store *store, const char *org, const char *id,
		     const char *name)
{
	int n;

	if (strcmp(id, "default") == 0)
		return -EEXIST;
	n = ws_insert((struct pg_store *)store, org, id, name);
	return n < 0 ? n : n == 0 ? -EEXIST : 0;
}

static int ws_exists(struct df_store *store, const char *org, const char *id)
{
	struct pg_store *s = (struct pg_store *)store;
	const char *arg[] = { org, id };
	struct pg_ws *w;
	PGresult *res;
	int there;

	if (strcmp(id, "default") == 0)
		return 1;
	df_lock(&s->lock);
	for (w = s->spaces; w != NULL; w = w->next)
		if (strcmp(w->id, id) == 0 && strcmp(w->org, org) == 0)
			break;
	df_unlock(&s->lock);
	if (w != NULL)
		return 1;
	res = pg_admin(s,
		       "SELECT 1 FROM deeplake_meta.workspaces WHERE org = "
		       "$1 AND id = $2",
		       2, arg);
	there = res == NULL ? -EIO : PQntuples(res) > 0;
	PQclear(res);
	return there;
}

/* The role and schema, made at first use; hex and checked names only, so that
 * they can stand in the statement. */
static int ws_make(struct pg_store *s, const char *schema, const char *role,
		   const char *password)
{
	char *sql = df_strf(
		"BEGIN; SELECT pg_advisory_xact_lock(7236106); DO $do$ BEGIN "
		"IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '%s') "
		"THEN CREATE ROLE %s LOGIN NOINHERIT NOCREATEDB NOCREATEROLE "
		"PASSWORD '%s'; GRANT %s TO CURRENT_USER; END IF; EXECUTE "
		"format('GRANT CONNECT ON DATABASE %%I TO %s', "
		"current_database()); END $do$; "
		"CREATE SCHEMA IF NOT EXISTS \"%s\" AUTHORIZATION %s; "
		"ALTER ROLE %s SET search_path = \"%s\", %s, "
		"pg_catalog; ALTER ROLE %s SET timezone = 'UTC'; ALTER ROLE %s "
		"SET datestyle = 'ISO, YMD'; ALTER ROLE %s SET bytea_output = "
		"'hex'; ALTER ROLE %s SET idle_in_transaction_session_timeout "
		"= '60s'; COMMIT",
		role, role, password, role, role, schema, role, role, schema,
		s->extras, role, role, role, role);
	int err = sql == NULL ? -ENOMEM : admin_ok(s, sql);

	if (sql != NULL)
		explicit_bzero(sql, strlen(sql));
	free(sql);
	return err;
}

static struct pg_ws *ws_new(struct pg_store *s, const char *org, const char *id,
			    const PGresult *res, int *err)
{
	const char *schema = PQgetvalue(res, 0, 0);
	const char *role = PQgetvalue(res, 0, 1);
	const char *password = PQgetvalue(res, 0, 2);
	struct pg_ws *w;

	*err = ws_make(s, schema, role, password);
	if (*err < 0)
		return NULL;
	w = calloc(1, sizeof(*w));
	*err = -ENOMEM;
	if (w == NULL)
		return NULL;
	(void)snprintf(w->org, sizeof(w->org), "%s", org);
	(void)snprintf(w->id, sizeof(w->id), "%s", id);
	(void)snprintf(w->schema, sizeof(w->schema), "%s", schema);
	*err = pg_pool_init(&w->pool, pg_conninfo(s->url, role, password),
			    PG_POOL_MAX);
	if (*err < 0) {
		pg_pool_release(&w->pool);
		free(w);
		return NULL;
	}
	return w;
}

static struct pg_ws *ws_find_locked(struct pg_store *s, const char *org,
				    const char *id)
{
	struct pg_ws *w;

	for (w = s->spaces; w != NULL; w = w->next)
		if (strcmp(w->id, id) == 0 && strcmp(w->org, org) == 0)
			break;
	return w;
}

struct pg_ws *pg_ws_get(struct pg_store *s, const char *org, const char *id,
			int *err)
{
	static const char sql[] = "SELECT schema, role, password FROM "
				  "deeplake_meta.workspaces WHERE org = $1 AND "
				  "id = $2";
	const char *arg[] = { org, id };
	struct pg_ws *w, *other;
	PGresult *res;

	*err = -EINVAL;
	if (!df_workspace_id_ok(id))
		return NULL;
	df_lock(&s->lock);
	w = ws_find_locked(s, org, id);
	df_unlock(&s->lock);
	*err = 0;
	if (w != NULL)
		return w;
	res = pg_admin(s, sql, 2, arg);
	if (res != NULL && PQntuples(res) == 0 && strcmp(id, "default") == 0) {
		PQclear(res);
		(void)ws_insert(s, org, id, id);
		res = pg_admin(s, sql, 2, arg);
	}
	*err = res == NULL ? -EIO : PQntuples(res) == 0 ? -EINVAL : 0;
	if (*err == 0)
		w = ws_new(s, org, id, res, err);
	PQclear(res);
	if (w == NULL)
		return NULL;
	df_lock(&s->lock);
	other = ws_find_locked(s, org, id);
	if (other == NULL) {
		w->next = s->spaces;
		s->spaces = w;
	}
	df_unlock(&s->lock);
	if (other != NULL) { /* another thread was quicker */
		pg_pool_release(&w->pool);
		free(w);
		w = other;
	}
	return w;
}

/* ---- files */

static int file_put(struct df_store *store, const char *org, const char *ws,
		    const char *id, const char *name, const char *type,
		    const void *data, size_t len)
{
	static const int format[] = { 0, 0, 0, 0, 0, 1 };
	struct pg_store *s = (struct pg_store *)store;
	const char *arg[] = { org, ws, id, name, type, data };
	int lens[] = { 0, 0, 0, 0, 0, (int)len }, err = 0;
	struct pg_conn *c = pg_get(&s->admin, 5000);
	PGresult *res;

	if (c == NULL)
		return -EIO;
	res = PQexecParams(c->pg,
			   "INSERT INTO deeplake_meta.files VALUES ($1, "
			   "$2, $3, $4, $5, $6::bytea)",
			   6, NULL, arg, lens, format, 0);
	if (PQresultStatus(res) != PGRES_COMMAND_OK)
		err = df_fail(-EIO, "PostgreSQL: %s",
			      PQresultErrorMessage(res));
	PQclear(res);
	pg_put(&s->admin, c);
	return err;
}

static int file_get(struct df_store *store, const char *org, const char *ws,
		    const char *id, struct df_buf *data, char type[128])
{
	const char *arg[] = { org, ws, id };
	PGresult *res = pg_admin((struct pg_store *)store,
				 "SELECT encode(data,"
				 " 'base64'), type FROM deeplake_meta.files "
				 "WHERE org = $1 AND ws = $2 AND id = $3",
				 3, arg);
	int err = res == NULL ? -EIO : PQntuples(res) == 0 ? -ENOENT : 0;

	if (err == 0) {
		struct df_buf clean;
		const char *p = PQgetvalue(res, 0, 0);

		df_buf_init(&clean, 0);
		for (; *p != '\0'; p += strcspn(p, "\n"), p += *p == '\n')
			df_buf_put(&clean, p, strcspn(p, "\n"));
		err = df_b64_get(data, df_buf_cstr(&clean), clean.len);
		df_buf_release(&clean);
		(void)snprintf(type, 128, "%s", PQgetvalue(res, 0, 1));
	}
	PQclear(res);
	return err;
}

/* ---- a catalogue for what the translator checks (scoped tokens, the vendor's
 * indexes) */

static enum df_type pg_type(const char *data_type, const char *udt)
{
	enum df_type t;

	if (strcmp(data_type, "ARRAY") == 0)
		return strcmp(udt, "_float4") == 0 ? DF_T_VEC : DF_T_ARRAY;
	for (t = DF_T_BOOL; t < DF_T_COUNT_; t++)
		if (strcmp(df_type_name(t), data_type) == 0)
			return t;
	return DF_T_TEXT;
}

static void catalog_fill(struct df_catalog *cat, const PGresult *res)
{
	int i, n = PQntuples(res);

	cat->table = df_arena_alloc(&cat->arena,
				    ((size_t)n + 1) * sizeof(*cat->table));
	for (i = 0; i < n && cat->table != NULL; i++) {
		struct df_table *t = cat->n_tables == 0
					     ? NULL
					     : &cat->table[cat->n_tables - 1];
		struct df_col *col;

		if (t == NULL || strcmp(t->name, PQgetvalue(res, i, 0)) != 0) {
			t = &cat->table[cat->n_tables++];
			t->name = df_arena_str(&cat->arena,
					       PQgetvalue(res, i, 0));
			t->col = df_arena_alloc(&cat->arena,
						1600 * sizeof(*t->col));
		}
		if (t->name == NULL || t->col == NULL || t->n_cols == 1600)
			return;
		col = &t->col[t->n_cols++];
		col->name = df_arena_str(&cat->arena, PQgetvalue(res, i, 1));
		col->type =
			pg_type(PQgetvalue(res, i, 2), PQgetvalue(res, i, 3));
		col->type_text = df_type_name(col->type);
	}
}

static void catalog_indexes(struct df_catalog *cat, const PGresult *res)
{
	int i, n = PQntuples(res);

	cat->index = df_arena_alloc(&cat->arena,
				    ((size_t)n + 1) * sizeof(*cat->index));
	for (i = 0; i < n && cat->index != NULL; i++) {
		struct df_index *x = &cat->index[cat->n_indexes++];

		x->name = df_arena_str(&cat->arena, PQgetvalue(res, i, 0));
		x->table = df_arena_str(&cat->arena, PQgetvalue(res, i, 1));
		x->column = df_arena_str(&cat->arena, PQgetvalue(res, i, 2));
		x->type = df_arena_str(&cat->arena, PQgetvalue(res, i, 3));
		x->method = "deeplake_index";
		x->def = "";
	}
}

struct df_catalog *pg_catalog_load(struct pg_store *s, struct pg_ws *w)
{
	const char *arg[] = { w->schema };
	struct df_catalog *cat = df_catalog_new(w->id, 1);
	PGresult *a = pg_admin(
		s,
		"SELECT c.relname, a.attname, CASE WHEN "
		"t.typcategory = 'A' THEN 'ARRAY' ELSE format_type(CASE WHEN "
		"t.typtype = 'd' THEN t.typbasetype ELSE t.oid END, NULL) END, "
		"CASE WHEN t.typtype = 'd' THEN (SELECT b.typname FROM pg_type "
		"b WHERE b.oid = t.typbasetype) ELSE t.typname END FROM "
		"pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN "
		"pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT "
		"a.attisdropped JOIN pg_type t ON t.oid = a.atttypid WHERE "
		"n.nspname = $1 AND c.relkind IN ('r', 'p', 'v') ORDER BY "
		"c.relname, a.attnum",
		1, arg);
	PGresult *b = pg_admin(s,
			       "SELECT name, table_name, column_name, type "
			       "FROM deeplake_meta.indexes WHERE schema = $1",
			       1, arg);

	if (cat != NULL && a != NULL && b != NULL) {
		catalog_fill(cat, a);
		catalog_indexes(cat, b);
	}
	if (cat != NULL && (a == NULL || b == NULL || cat->arena.failed)) {
		df_catalog_put(cat);
		cat = NULL;
	}
	PQclear(a);
	PQclear(b);
	return cat;
}

const struct df_store_ops pg_meta_ops = {
	.ws_create = ws_create,
	.ws_exists = ws_exists,
	.own_run = own_run,
	.own_rows = own_rows,
	.file_put = file_put,
	.file_get = file_get,
};
