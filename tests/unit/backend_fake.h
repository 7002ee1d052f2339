/*
 * backend_fake.h - a table server in the test's process: backend_script.h with
 * SQLite behind it.  It understands what backend/ sends and nothing else.
 *
 * As `ours` it has capabilities, unique ids and a feed; otherwise it behaves
 * like the service: neither, and what `empty`, `hide` and `statement_max` say.
 */
#ifndef DF_TESTS_UNIT_BACKEND_FAKE_H
#define DF_TESTS_UNIT_BACKEND_FAKE_H

#include <jansson.h>
#include <sqlite3.h>

#include "base/buf.h"
#include "base/hash.h"

#include "backend_script.h"

struct fake {
	struct script script; /* first */
	sqlite3 *db;
	bool ours;
	/* the mutex of script */
	unsigned empty;          /* so many SELECTs answer 200 without rows */
	const char *empty_match; /* only SELECTs with this text; NULL = all */
	unsigned fail_posts;     /* so many POST /tables answer 503 */
	size_t statement_max;    /* bytes of a request; 0 = any */
	bool no_substr;          /* like a server without substr() */
	bool no_feed;            /* the feed is gone */
	unsigned refuse_writes;  /* status for INSERT and DELETE; 0 = none */
};

static void fake_decode(sqlite3_context *c, int n, sqlite3_value **v)
{
	struct df_buf out;

	(void)n;
	df_buf_init(&out, 0);
	if (df_b64_get(&out, (const char *)sqlite3_value_text(v[0]),
		       (size_t)sqlite3_value_bytes(v[0])))
		sqlite3_result_error(c, "invalid base64", -1);
	else if (!out.len)
		sqlite3_result_zeroblob(c, 0);
	else
		sqlite3_result_blob(c, out.data, (int)out.len,
				    SQLITE_TRANSIENT);
	df_buf_release(&out);
}

static char *fake_replace(char *text, const char *from, const char *to)
{
	char *at;

	while ((at = strstr(text, from))) {
		char *out = NULL;
		if (asprintf(&out, "%.*s%s%s", (int)(at - text), text, to,
			     at + strlen(from)) < 0)
			abort();
		free(text);
		text = out;
	}
	return text;
}

/* Our SQL in SQLite's words; caller frees. */
static char *fake_sql(const char *sql)
{
	char *s = strdup(sql);

	s = fake_replace(s, "$", "?");
	s = fake_replace(s, " USING deeplake", "");
	s = fake_replace(s, "SERIAL PRIMARY KEY", "INTEGER PRIMARY KEY");
	return fake_replace(s, "information_schema.columns", "columns_of");
}

static void fake_error(struct step *out, unsigned status, const char *text)
{
	json_t *body = json_pack("{s:s}", "error", text);
	out->status = status;
	out->own = json_dumps(body, 0);
	json_decref(body);
}

static json_t *fake_cell(sqlite3_stmt *st, int i)
{
	switch (sqlite3_column_type(st, i)) {
	case SQLITE_INTEGER:
		return json_integer(sqlite3_column_int64(st, i));
	case SQLITE_BLOB: {
		size_t n = (size_t)sqlite3_column_bytes(st, i);
		char *hex = malloc(2 * n + 3);
		memcpy(hex, "\\x", 2);
		df_hex(sqlite3_column_blob(st, i), n, hex + 2);
		json_t *v = json_string(hex);
		free(hex);
		return v;
	}
	case SQLITE_NULL:
		return json_null();
	default:
		return json_string((const char *)sqlite3_column_text(st, i));
	}
}

static void fake_bind(sqlite3_stmt *st, json_t *params)
{
	json_t *v;
	size_t i;

	json_array_foreach(params, i, v)
	{
		int at = (int)i + 1;
		if (json_is_integer(v))
			sqlite3_bind_int64(st, at, json_integer_value(v));
		else if (json_is_string(v))
			sqlite3_bind_text(st, at, json_string_value(v),
					  (int)json_string_length(v),
					  SQLITE_TRANSIENT);
		else
			sqlite3_bind_null(st, at);
	}
}

/* Run, and answer as the table API does; last: also the greatest n. */
static void fake_run(struct fake *f, const char *sql, json_t *params, bool hide,
		     bool last, struct step *out)
{
	char *text = fake_sql(sql);
	sqlite3_stmt *st = NULL;
	json_t *rows = json_array(), *cols = json_array();
	int rc = sqlite3_prepare_v2(f->db, text, -1, &st, NULL);
	int64_t greatest = 0;

	free(text);
	if (rc == SQLITE_OK) {
		fake_bind(st, params);
		for (int i = 0; i < sqlite3_column_count(st); i++)
			json_array_append_new(
				cols, json_string(sqlite3_column_name(st, i)));
		while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
			json_t *row = json_array();
			for (int i = 0; i < sqlite3_column_count(st); i++)
				json_array_append_new(row, fake_cell(st, i));
			greatest = sqlite3_column_int64(st, 0);
			if (hide)
				json_decref(row);
			else
				json_array_append_new(rows, row);
		}
	}
	if (rc == SQLITE_DONE) {
		int64_t n = json_array_size(cols)
				    ? (int64_t)json_array_size(rows)
				    : sqlite3_changes(f->db);
		json_t *body = json_pack("{s:O,s:O,s:I}", "columns", cols,
					 "rows", rows, "row_count",
					 (json_int_t)n);
		if (last)
			json_object_set_new(body, "last",
					    json_integer(greatest));
		out->status = 200;
		out->own = json_dumps(body, 0);
		json_decref(body);
	} else if (strstr(sqlite3_errmsg(f->db), "no such table")) {
		fake_error(out, 400,
			   "Table does not exist: relation \"t\" "
			   "does not exist");
	} else {
		fake_error(out, 400, sqlite3_errmsg(f->db));
	}
	sqlite3_finalize(st);
	json_decref(rows);
	json_decref(cols);
}

static void fake_query(struct fake *f, const struct seen *q, struct step *out)
{
	json_t *req = json_loadb(q->body, q->body_len, 0, NULL);
	const char *sql = json_string_value(json_object_get(req, "query"));
	bool select = sql && strncmp(sql, "SELECT", 6) == 0;
	bool hide = select && f->empty &&
		    (!f->empty_match || strstr(sql, f->empty_match));

	f->empty -= hide;
	if (!sql)
		fake_error(out, 400, "no query");
	else if (f->statement_max && q->body_len > f->statement_max)
		fake_error(out, 413, "statement too large");
	else if (f->refuse_writes && !select)
		fake_error(out, f->refuse_writes, "token is read-only");
	else if (f->no_substr && strstr(sql, "substr("))
		fake_error(out, 400, "function substr is unknown");
	else if (!f->ours && strstr(sql, "ON CONFLICT"))
		fake_error(out, 400, "syntax error at ON CONFLICT");
	else
		fake_run(f, sql, json_object_get(req, "params"), hide, false,
			 out);
	json_decref(req);
}

static void fake_post_table(struct fake *f, const struct seen *q,
			    struct step *out)
{
	json_t *req = json_loadb(q->body, q->body_len, 0, NULL), *v;
	const char *name, *col;
	struct df_buf sql;
	bool first = true;

	if (f->fail_posts) {
		f->fail_posts--;
		fake_error(out, 503, "scaling");
		json_decref(req);
		return;
	}
	name = json_string_value(json_object_get(req, "table_name"));
	df_buf_init(&sql, 0);
	df_buf_printf(&sql, "CREATE TABLE \"%s\" (", name);
	json_object_foreach(json_object_get(req, "table_schema"), col, v)
	{
		df_buf_printf(&sql, "%s\"%s\" %s", first ? "" : ",", col,
			      json_string_value(v));
		first = false;
	}
	df_buf_put_str(&sql, ")");
	if (sqlite3_exec(f->db, df_buf_cstr(&sql), NULL, NULL, NULL))
		fake_error(out, 409, "relation already exists");
	else
		fake_error(out, 200, "none");
	df_buf_release(&sql);
	json_decref(req);
}

static void fake_list_tables(struct fake *f, struct step *out)
{
	sqlite3_stmt *st;
	json_t *all = json_array();

	sqlite3_prepare_v2(f->db,
			   "SELECT name FROM sqlite_master WHERE "
			   "type='table'",
			   -1, &st, NULL);
	while (sqlite3_step(st) == SQLITE_ROW)
		json_array_append_new(all,
				      json_pack("{s:s}", "table_name",
						sqlite3_column_text(st, 0)));
	sqlite3_finalize(st);
	json_t *body = json_pack("{s:o}", "tables", all);
	out->status = 200;
	out->own = json_dumps(body, 0);
	json_decref(body);
}

static void fake_feed(struct fake *f, const struct seen *q, struct step *out)
{
	char table[64] = "", sql[200];

	if (!f->ours || f->no_feed ||
	    sscanf(q->url, "/workspaces/ws/tables/%60[^/]", table) != 1) {
		fake_error(out, 404, "no such endpoint");
		return;
	}
	/* The query string is not seen here: all rows. */
	snprintf(sql, sizeof(sql), "SELECT * FROM \"%s\" ORDER BY n", table);
	fake_run(f, sql, NULL, false, true, out);
}

static const char fake_reads[] = "{\"read_only\":true}";
static const char fake_all[] = "{\"feed\":true,\"unique\":true,"
			       "\"read_your_write\":true}";

static void fake_answer(struct script *s, const struct seen *q,
			struct step *out)
{
	struct fake *f = (struct fake *)(void *)s;
	char sql[128];

	*out = (struct step){ .status = 404 };
	if (strcmp(q->url, "/workspaces/ws/tables/query") == 0) {
		fake_query(f, q, out);
	} else if (strcmp(q->url, "/workspaces/ws/capabilities") == 0) {
		if (f->ours)
			*out = (struct step){ .status = 200,
					      .body = f->refuse_writes
							      ? fake_reads
							      : fake_all };
	} else if (strcmp(q->url, "/workspaces/ws/tables") == 0) {
		if (strcmp(q->method, "POST") == 0)
			fake_post_table(f, q, out);
		else
			fake_list_tables(f, out);
	} else if (strstr(q->url, "/feed")) {
		fake_feed(f, q, out);
	} else if (strcmp(q->method, "DELETE") == 0) {
		snprintf(sql, sizeof(sql), "DROP TABLE \"%s\"",
			 strrchr(q->url, '/') + 1);
		fake_run(f, sql, NULL, false, false, out);
		if (out->status == 400)
			out->status = 404;
	}
}

static inline void fake_start(struct fake *f, bool ours)
{
	memset(f, 0, sizeof(*f));
	if (sqlite3_open_v2(":memory:", &f->db,
			    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
				    SQLITE_OPEN_FULLMUTEX,
			    NULL))
		abort();
	sqlite3_create_function(f->db, "decode", 2, SQLITE_UTF8, NULL,
				fake_decode, NULL, NULL);
	if (sqlite3_exec(f->db,
			 "CREATE VIEW columns_of AS SELECT m.name AS "
			 "table_name, 'ws' AS table_schema, p.name AS "
			 "column_name FROM sqlite_master m, "
			 "pragma_table_info(m.name) p",
			 NULL, NULL, NULL))
		abort();
	script_start(&f->script, NULL, 0);
	f->ours = ours;
	f->script.answer = fake_answer;
}

static inline void fake_exec(struct fake *f, const char *sql)
{
	char *err = NULL;

	if (sqlite3_exec(f->db, sql, NULL, NULL, &err)) {
		fprintf(stderr, "%s: %s\n", sql, err);
		abort();
	}
}

static inline int fake_count(struct fake *f, const char *sql)
{
	sqlite3_stmt *st;
	int n = -1;

	if (sqlite3_prepare_v2(f->db, sql, -1, &st, NULL))
		abort();
	if (sqlite3_step(st) == SQLITE_ROW)
		n = sqlite3_column_int(st, 0);
	sqlite3_finalize(st);
	return n;
}

static inline void fake_stop(struct fake *f)
{
	script_stop(&f->script);
	sqlite3_close(f->db);
}

#endif
