/*
 * tablemake.c - making and dropping a volume's tables (table.h).
 *
 * Everything here is idempotent, so that two inits at once, or one after one
 * that was cut off, end alike: tables are made "if not exists", and the format
 * row is the same row whoever writes it.
 */
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backend/creds.h"
#include "backend/table.h"
#include "backend/tablei.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"

/* T as the Deeplake CLI makes it; the order matters to the service. */
static const struct column {
	const char *name, *type;
} view_columns[] = {
	{ "_id", "TEXT" },          { "content", "BYTEA" },
	{ "content_text", "TEXT" }, { "filename", "TEXT" },
	{ "mime_type", "TEXT" },    { "path", "TEXT" },
	{ "size_bytes", "BIGINT" },
};
static const struct column log_columns[] = {
	{ "body", "TEXT" }, { "deps", "TEXT" }, { "epoch", "TEXT" },
	{ "id", "TEXT" },   { "kind", "TEXT" }, { "node", "TEXT" },
	{ "prev", "TEXT" }, { "sent", "TEXT" }, { "seq", "TEXT" },
};
static const struct column pack_columns[] = {
	{ "data", "TEXT" },
	{ "id", "TEXT" },
	{ "size", "BIGINT" },
};

#define FIRST_ANSWER_MS 8000

struct make {
	struct df_table *t;
	int64_t deadline_ns;
	bool says_ours, says_feed; /* the server's claim; proved later */
	bool has_view, has_log, has_pack;
};

static struct df_call make_call(const struct make *m, const char *what,
				bool writes)
{
	return df_call_make(what, DF_HTTP_URGENT, writes, m->deadline_ns);
}

/* ---- asking the server */

static int ask_json(struct make *m, const char *path, const char *what,
		    json_t **out)
{
	struct df_call call = make_call(m, what, false);
	struct df_buf body;

	*out = NULL;
	if (!path)
		return -ENOMEM;
	int err = df_api_rest(m->t->api, "GET", path, NULL, &call, &body);
	if (err)
		return err;
	*out = json_loadb((const char *)body.data, body.len, 0, NULL);
	df_buf_release(&body);
	return *out ? 0 : df_fail(DF_ECORRUPT, "%s", what);
}

static int ask_claims(struct make *m)
{
	DF_FREE char *path = df_api_path(m->t->api, "/capabilities");
	json_t *root;
	int err = ask_json(m, path, "ask what the server can do", &root);

	/* Only our own server knows this endpoint. */
	if (err == -ENOENT || err == -EINVAL || err == -EOPNOTSUPP)
		return 0;
	if (err)
		return err;
	m->says_ours = json_is_true(json_object_get(root, "unique")) &&
		       json_is_true(json_object_get(root, "read_your_write"));
	m->says_feed = json_is_true(json_object_get(root, "feed"));
	json_decref(root);
	return 0;
}

static int ask_tables(struct make *m)
{
	DF_FREE char *path = df_api_path(m->t->api, "/tables");
	json_t *root, *v;
	size_t i;
	int err = ask_json(m, path, "list the tables", &root);

	if (err == -ENOENT)
		return df_fail(err,
			       "%s knows no workspace %s (name one that "
			       "exists with --workspace)",
			       df_api_base(m->t->api),
			       df_api_workspace(m->t->api));
	if (err)
		return err;
	json_array_foreach(json_object_get(root, "tables"), i, v)
	{
		const char *name =
			json_string_value(json_object_get(v, "table_name"));
		if (!name)
			continue;
		m->has_view |= strcmp(name, m->t->name) == 0;
		m->has_log |= strcmp(name, m->t->log) == 0;
		m->has_pack |= strcmp(name, m->t->pack) == 0;
	}
	json_decref(root);
	return 0;
}

/* ---- is T in our shape? */

int df_table_ask_columns(struct df_table *t, int64_t deadline_ns,
			 struct df_answer *a)
{
	struct df_call call = df_call_make("look at the table's columns",
					   DF_HTTP_URGENT, false, deadline_ns);
	const char *ws = df_api_workspace(t->api);
	struct df_stmt s;

	df_stmt_init(&s, 0);
	df_stmt_sql(&s, "SELECT column_name FROM information_schema.columns "
			"WHERE table_name = $1 AND table_schema = $2");
	df_stmt_text(&s, t->name, strlen(t->name));
	df_stmt_text(&s, ws, strlen(ws));
	int err = df_api_sql(t->api, &s, &call, a);
	df_stmt_release(&s);
	return err;
}

static bool has_column(const struct df_answer *a, const char *name)
{
	for (size_t i = 0; a->n_cols && i < a->n_rows; i++)
		if (df_cell_is(df_answer_cell(a, i, 0), name))
			return true;
	return false;
}

int df_table_columns(struct df_table *t, int64_t deadline_ns)
{
	struct df_answer a;
	int err = df_table_ask_columns(t, deadline_ns, &a);

	if (err)
		return err;
	if (!a.n_rows)
		err = -ENOENT;
	for (size_t i = 0; !err && i < DF_ARRAY_LEN(view_columns); i++)
		if (!has_column(&a, view_columns[i].name))
			err = -EEXIST;
	df_answer_release(&a);
	return err;
}

static int check_view(struct make *m)
{
	return df_table_columns(m->t, m->deadline_ns);
}

/* ---- making tables */

static int run_sql(struct make *m, const char *what, const char *sql)
{
	struct df_call call = make_call(m, what, true);
	struct df_answer a;
	struct df_stmt s;

	df_stmt_init(&s, 0);
	df_stmt_sql(&s, "%s", sql);
	int err = df_api_sql(m->t->api, &s, &call, &a);
	df_stmt_release(&s);
	df_answer_release(&a);
	return err;
}

static int post_table(struct make *m, const char *name,
		      const struct column *cols, size_t n)
{
	DF_FREE char *path = df_api_path(m->t->api, "/tables");
	struct df_call call = make_call(m, "create a table", true);
	struct df_buf body, out;

	df_buf_init(&body, 0);
	df_buf_printf(&body, "{\"table_name\":\"%s\",\"table_schema\":{", name);
	for (size_t i = 0; i < n; i++)
		df_buf_printf(&body, "%s\"%s\":\"%s\"", i ? "," : "",
			      cols[i].name, cols[i].type);
	df_buf_put_str(&body, "}}");
	int err = body.err ? body.err : path ? 0 : -ENOMEM;
	if (!err) {
		err = df_api_rest(m->t->api, "POST", path, &body, &call, &out);
		df_buf_release(&out);
	}
	df_buf_release(&body);
	return err == -EEXIST ? 0 : err;
}

/* Where POST /tables is refused, plain SQL. */
static int make_table(struct make *m, const char *name,
		      const struct column *cols, size_t n)
{
	int err = post_table(m, name, cols, n);
	struct df_buf sql;

	if (err != -ENOENT && err != -EINVAL && err != -EOPNOTSUPP)
		return err;
	df_buf_init(&sql, 0);
	df_buf_printf(&sql, "CREATE TABLE IF NOT EXISTS \"%s\" (", name);
	for (size_t i = 0; i < n; i++)
		df_buf_printf(&sql, "%s%s %s", i ? ", " : "", cols[i].name,
			      cols[i].type);
	df_buf_put_str(&sql, ") USING deeplake");
	err = run_sql(m, "create a table", df_buf_cstr(&sql));
	df_buf_release(&sql);
	return err == -EEXIST ? 0 : err;
}

/* Takes sql, which df_strf made. */
static int make_sql(struct make *m, char *sql)
{
	int err = sql ? run_sql(m, "create a table", sql) : -ENOMEM;

	free(sql);
	return err == -EEXIST ? 0 : err;
}

/* A table that somebody else made may have rows of one _id (its writers send
 * them again): then the index is one for finding only. */
static int make_unique(struct make *m)
{
	const char *t = m->t->name;
	DF_FREE char *sql = df_strf("CREATE UNIQUE INDEX IF NOT EXISTS "
				    "\"%s_one_id\" ON \"%s\" (_id)",
				    t, t);
	int err = sql ? run_sql(m, "make _id unique", sql) : -ENOMEM;

	if (err != -EEXIST)
		return err;
	return make_sql(m, df_strf("CREATE INDEX IF NOT EXISTS \"%s_by_id\" "
				   "ON \"%s\" (_id)",
				   t, t));
}

int df_table_unique_ids(struct df_remote *r, int64_t timeout_ms)
{
	struct make m = { .t = df_table_of(r),
			  .deadline_ns = df_deadline_ms(timeout_ms) };

	return r->caps.ours ? make_unique(&m) : 0;
}

/* On our own server: unique ids, the commit order, and indexes. */
static int make_own(struct make *m)
{
	const char *log = m->t->log, *pack = m->t->pack, *t = m->t->name;
	int err = make_sql(
		m, df_strf("CREATE TABLE IF NOT EXISTS \"%s\" (n SERIAL "
			   "PRIMARY KEY, "
			   "id TEXT NOT NULL UNIQUE, node TEXT NOT NULL, "
			   "seq TEXT NOT NULL, sent TEXT NOT NULL, epoch TEXT "
			   "NOT NULL, "
			   "kind TEXT NOT NULL, prev TEXT NOT NULL, deps TEXT "
			   "NOT NULL, "
			   "body TEXT NOT NULL)",
			   log));

	if (!err)
		err = make_sql(
			m,
			df_strf("CREATE TABLE IF NOT EXISTS \"%s\" "
				"(id TEXT PRIMARY KEY, size BIGINT NOT NULL, "
				"data TEXT NOT NULL)",
				pack));
	if (!err)
		err = make_sql(m, df_strf("CREATE INDEX IF NOT EXISTS "
					  "\"%s_sent\" ON \"%s\" "
					  "(sent)",
					  log, log));
	if (!err)
		err = make_unique(m);
	if (!err)
		err = make_sql(m, df_strf("CREATE INDEX IF NOT EXISTS "
					  "\"%s_by_path\" ON \"%s\" "
					  "(path)",
					  t, t));
	return err;
}

static int make_all(struct make *m)
{
	int err = 0;

	if (!m->has_view)
		err = make_table(m, m->t->name, view_columns,
				 DF_ARRAY_LEN(view_columns));
	if (!err && m->says_ours)
		return make_own(m);
	if (!err && !m->has_log)
		err = make_table(m, m->t->log, log_columns,
				 DF_ARRAY_LEN(log_columns));
	if (!err && !m->has_pack)
		err = make_table(m, m->t->pack, pack_columns,
				 DF_ARRAY_LEN(pack_columns));
	return err;
}

/* New tables reach the service's other machines seconds later. */
static int wait_visible(struct make *m, const char *table, const char *column)
{
	struct df_call call = make_call(m, "look for the new table", false);
	struct timespec pause = { .tv_nsec = 50 * DF_NS_PER_MS };

	for (;;) {
		struct df_answer a;
		struct df_stmt s;
		df_stmt_init(&s, 0);
		df_stmt_sql(&s, "SELECT %s FROM \"%s\" LIMIT 1", column, table);
		int err = df_api_sql(m->t->api, &s, &call, &a);
		df_stmt_release(&s);
		df_answer_release(&a);
		if (err != -ENOENT)
			return err;
		if (df_deadline_ms(1000) > m->deadline_ns)
			return df_fail(DF_EOFFLINE,
				       "table %s was created but does not "
				       "appear; run the command again",
				       table);
		nanosleep(&pause, NULL);
		if (pause.tv_nsec < 800 * DF_NS_PER_MS)
			pause.tv_nsec *= 2;
	}
}

/* ---- proving what the server claims */

static int insert_probe(struct make *m, const char *id, uint64_t *row_count)
{
	struct df_call call = make_call(m, "probe unique ids", true);
	struct df_answer a;
	struct df_stmt s;

	df_stmt_init(&s, 0);
	df_stmt_sql(&s,
		    "INSERT INTO \"%s\" (id,size,data) VALUES ($1,$2,$3) "
		    "ON CONFLICT (id) DO NOTHING",
		    m->t->pack);
	df_stmt_text(&s, id, strlen(id));
	df_stmt_u64(&s, 0);
	df_stmt_text(&s, "", 0);
	int err = df_api_sql(m->t->api, &s, &call, &a);
	df_stmt_release(&s);
	*row_count = a.row_count;
	df_answer_release(&a);
	return err;
}

static int count_probe(struct make *m, const char *id, size_t *n)
{
	struct df_call call = make_call(m, "probe read-your-write", false);
	struct df_answer a;
	struct df_stmt s;

	df_stmt_init(&s, 0);
	df_stmt_sql(&s, "SELECT id FROM \"%s\" WHERE id = $1", m->t->pack);
	df_stmt_text(&s, id, strlen(id));
	int err = df_api_sql(m->t->api, &s, &call, &a);
	df_stmt_release(&s);
	*n = a.n_rows;
	df_answer_release(&a);
	return err;
}

/* Insert one pack twice and look at once.  *ours stays false on any doubt. */
static int prove_unique(struct make *m, bool *ours)
{
	struct df_id id;
	char hex[2 * DF_ID_LEN + 1];
	uint64_t first, second;
	size_t after = 0, after2 = 0;

	*ours = false;
	df_random(&id, sizeof(id));
	df_id_hex(&id, hex);
	int err = insert_probe(m, hex, &first);
	if (!err)
		err = count_probe(m, hex, &after);
	if (!err)
		err = insert_probe(m, hex, &second);
	if (!err)
		err = count_probe(m, hex, &after2);
	if (!err)
		*ours = first == 1 && second == 0 && after == 1 && after2 == 1;
	int gone = df_table_delete(m->t, m->t->pack, "remove the probe", &id, 1,
				   m->deadline_ns);
	if (err == -EINVAL || err == -EEXIST || err == -EOPNOTSUPP)
		err = 0; /* no ON CONFLICT: proved not ours */
	return err ? err : gone;
}

static int prove_feed(struct make *m, bool *feed)
{
	DF_FREE char *path = df_api_path(m->t->api,
					 "/tables/%s/feed?after=0&wait=0"
					 "&limit=1",
					 m->t->log);
	struct df_call call = make_call(m, "probe the feed", false);
	struct df_answer a;

	*feed = false;
	if (!path)
		return -ENOMEM;
	int err = df_api_rest_rows(m->t->api, path, &call, &a);
	if (!err)
		*feed = true;
	df_answer_release(&a);
	return err == -ENOENT || err == -EINVAL || err == -EOPNOTSUPP ? 0 : err;
}

static int write_format(struct make *m, bool ours, bool feed)
{
	struct df_row row = { .kind = DF_ROW_FORMAT };
	struct df_ack ack;
	char *text = df_strf("{\"format\":%d,\"unique\":%s,"
			     "\"read_your_write\":%s,\"feed\":%s}",
			     DF_TABLE_FORMAT, ours ? "true" : "false",
			     ours ? "true" : "false", feed ? "true" : "false");

	if (!text)
		return -ENOMEM;
	row.body = (uint8_t *)text;
	row.body_len = strlen(text);
	row.id = df_row_id(&row);
	m->t->remote.caps.ours = ours;
	int64_t left = (m->deadline_ns - df_deadline_ms(0)) / DF_NS_PER_MS;
	int err = df_rows_put(&m->t->remote, &row, 0, left, &ack);
	free(text);
	return err;
}

static int write_and_read_format(struct make *m)
{
	bool ours = false, feed = false;
	int err = m->says_ours ? prove_unique(m, &ours) : 0;

	if (!err && ours && m->says_feed)
		err = prove_feed(m, &feed);
	if (!err)
		err = write_format(m, ours, feed);
	/* Visible at once, or in some seconds. */
	while (!err) {
		static const struct timespec pause = {
			.tv_nsec = 250 * DF_NS_PER_MS
		};
		err = df_table_read_formats(m->t, m->deadline_ns);
		if (err != -ENOENT)
			break;
		if (df_deadline_ms(1000) > m->deadline_ns)
			return df_fail(DF_EOFFLINE,
				       "the format row of %s was written but "
				       "does not appear; run the command again",
				       m->t->name);
		nanosleep(&pause, NULL);
		err = 0;
	}
	return err;
}

/* ---- create and destroy */

struct viewing {
	struct make *m;
	int err;
};

static void *view_main(void *arg)
{
	struct viewing *v = arg;

	v->err = check_view(v->m);
	return NULL;
}

/* The format rows and the view's columns, in the time of one question; the
 * second connection is open then.  *view: what check_view() said, if the volume
 * is there. */
static int ask_both(struct make *m, int *view)
{
	struct viewing v = { .m = m };
	pthread_t aside;
	bool asking = !pthread_create(&aside, NULL, view_main, &v);
	int err = df_table_read_formats(m->t, m->deadline_ns);

	if (asking)
		pthread_join(aside, NULL);
	else if (!err)
		v.err = check_view(m);
	*view = v.err;
	return err;
}

/* What is there; -ENOENT: no volume yet, and what the server claims is known;
 * -ENOTDIR: no such workspace. */
static int look(struct make *m)
{
	/* A volume that is there takes two questions; the others are for
	 * making one. */
	int view, found = ask_both(m, &view);
	int err = found == 0 ? view : found;

	m->has_view = !err;
	if (!err || err != -ENOENT)
		return err;
	err = ask_tables(m);
	if (err)
		return err == -ENOENT ? -ENOTDIR : err;
	if (found && m->has_view)
		err = check_view(m);
	if (err && err != -ENOENT)
		return err;
	err = found || !m->has_view ? ask_claims(m) : 0;
	return err ? err : found;
}

static int create(struct make *m, struct df_table_made *made)
{
	int err = look(m);

	if (err == -ENOTDIR)
		return -ENOENT; /* the workspace */
	if (err && err != -ENOENT)
		return err;
	made->adopted = m->has_view;
	made->created = err == -ENOENT;
	if (err == -ENOENT || !m->has_view) {
		err = make_all(m);
		if (!err)
			err = wait_visible(m, m->t->name, "_id");
		if (!err)
			err = wait_visible(m, m->t->log, "id");
		if (!err)
			err = wait_visible(m, m->t->pack, "id");
		if (!err && !m->t->known)
			err = write_and_read_format(m);
	}
	made->ours = m->t->remote.caps.ours;
	made->feed = m->t->remote.caps.feed;
	return err;
}

int df_table_make(struct df_remote *r, int64_t timeout_ms,
		  struct df_table_made *made)
{
	struct make m = { .t = df_table_of(r),
			  .deadline_ns = df_deadline_ms(timeout_ms) };

	*made = (struct df_table_made){ 0 };
	return create(&m, made);
}

int df_table_create(const struct df_table_conf *conf, int64_t timeout_ms,
		    struct df_table_made *made)
{
	struct df_remote *r;
	int err = df_table_open(conf, &r);

	if (err)
		return err;
	err = df_table_make(r, timeout_ms, made);
	r->ops->stop(r);
	r->ops->free(r);
	return err;
}

static int drop(struct make *m, const char *table)
{
	DF_FREE char *path = df_api_path(m->t->api, "/tables/%s", table);
	struct df_call call = make_call(m, "drop a table", true);
	struct df_buf out;

	if (!path)
		return -ENOMEM;
	int err = df_api_rest(m->t->api, "DELETE", path, NULL, &call, &out);
	df_buf_release(&out);
	return err == -ENOENT ? 0 : err;
}

/* The log goes last: while it is there the rest can be found again. */
static int destroy(struct make *m)
{
	int64_t end_ns = m->deadline_ns;

	/* a dead server is told from one that takes long to drop tables */
	m->deadline_ns = DF_MIN(end_ns, df_deadline_ms(FIRST_ANSWER_MS));
	int err = ask_tables(m);
	m->deadline_ns = end_ns;

	if (err)
		return err;
	if (!m->has_log && !m->has_pack) {
		df_log_error("%s: there is no volume; nothing was dropped",
			     m->t->remote.where);
		return -ENOENT;
	}
	if (m->has_view) {
		err = check_view(m);
		if (err == -EEXIST) {
			df_log_warn("table %s is left as it is", m->t->name);
			m->has_view = false;
		} else if (err && err != -ENOENT) {
			return err;
		}
	}
	err = m->has_view ? drop(m, m->t->name) : 0;
	if (!err)
		err = drop(m, m->t->pack);
	if (!err)
		err = drop(m, m->t->log);
	return err;
}

int df_table_destroy(const struct df_table_conf *conf, int64_t timeout_ms)
{
	struct df_remote *r;
	int err = df_table_open(conf, &r);

	if (err)
		return err;
	struct make m = { .t = df_table_of(r),
			  .deadline_ns = df_deadline_ms(timeout_ms) };
	err = destroy(&m);
	r->ops->stop(r);
	r->ops->free(r);
	return err;
}
