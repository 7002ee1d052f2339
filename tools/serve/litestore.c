/* litestore.c - the SQLite store's face; see lite.h. */
#include <ctype.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "tools/serve/lite.h"

/* An org's id becomes a directory. */
static bool org_ok(const char *org)
{
	size_t i;

	for (i = 0; org[i] != '\0'; i++)
		if (!isalnum((unsigned char)org[i]) && org[i] != '-' &&
		    org[i] != '_')
			return false;
	return i > 0 && i < 64;
}

static void ws_free(struct lite_ws *w)
{
	struct lite_conn *c, *next;

	if (w == NULL)
		return;
	for (c = w->readers; c != NULL; c = next) {
		next = c->next;
		lite_conn_free(c);
	}
	lite_conn_free(w->writer);
	df_catalog_put(w->catalog);
	df_cond_release(&w->changed);
	df_lock_release(&w->lock);
	free(w->path);
	free(w);
}

static struct lite_ws *ws_open(struct lite_store *s, const char *org,
			       const char *id, int *err)
{
	struct lite_ws *w = calloc(1, sizeof(*w));
	char *dir = df_strf("%s/ws/%s", s->dir, org);

	*err = -ENOMEM;
	if (w == NULL || dir == NULL)
		goto fail;
	df_lock_init(&w->lock);
	df_cond_init(&w->changed);
	(void)snprintf(w->org, sizeof(w->org), "%s", org);
	(void)snprintf(w->id, sizeof(w->id), "%s", id);
	w->queue_tail = &w->queue;
	w->path = df_strf("%s/%s.db", dir, id);
	if (w->path == NULL)
		goto fail;
	*err = df_mkdir_p(dir, 0700);
	if (*err < 0) {
		df_log_error("%s: %s", dir, df_strerror(*err));
		goto fail;
	}
	*err = lite_conn_open(w->path, &w->writer);
	if (*err == 0)
		*err = lite_schema(w->writer, id);
	if (*err < 0)
		goto fail;
	w->catalog = lite_catalog_load(w->writer, id, 1);
	if (w->catalog == NULL) {
		*err = -EIO;
		goto fail;
	}
	free(dir);
	return w;
fail:
	free(dir);
	ws_free(w);
	return NULL;
}

struct lite_ws *lite_ws_get(struct lite_store *s, const char *org,
			    const char *id, int *err)
{
	struct lite_ws *w;

	*err = 0;
	if (!org_ok(org) || !df_workspace_id_ok(id)) {
		*err = -EINVAL;
		return NULL;
	}
	df_lock(&s->lock);
	for (w = s->spaces; w != NULL; w = w->next)
		if (strcmp(w->id, id) == 0 && strcmp(w->org, org) == 0)
			break;
	if (w == NULL) {
		w = ws_open(s, org, id, err);
		if (w != NULL) {
			w->next = s->spaces;
			s->spaces = w;
		}
	}
	df_unlock(&s->lock);
	return w;
}

struct lite_conn *lite_reader_get(struct lite_ws *w)
{
	struct lite_conn *c;

	df_lock(&w->lock);
	c = w->readers;
	if (c != NULL) {
		w->readers = c->next;
		w->n_readers--;
	}
	df_unlock(&w->lock);
	if (c == NULL && lite_conn_open(w->path, &c) < 0)
		return NULL;
	return c;
}

void lite_reader_put(struct lite_ws *w, struct lite_conn *c)
{
	df_lock(&w->lock);
	if (w->n_readers < LITE_READERS) {
		c->next = w->readers;
		w->readers = c;
		w->n_readers++;
		c = NULL;
	}
	df_unlock(&w->lock);
	lite_conn_free(c);
}

static struct lite_ws *ws_for(struct lite_store *s, const char *org,
			      const char *id, struct df_answer *out)
{
	int err;
	struct lite_ws *w = lite_ws_get(s, org, id, &err);

	if (w == NULL)
		df_sql_error_set(
			&out->error, err == -EINVAL ? 404 : 500,
			err == -EINVAL ? "Not found: workspace \"%s\" "
					 "does not exist"
				       : "workspace \"%s\" cannot "
					 "be opened: the server's log says why",
			id);
	return w;
}

static void run_read(struct lite_ws *w, struct lite_job *job)
{
	struct lite_conn *c = lite_reader_get(w);

	if (c == NULL) {
		df_sql_error_set(&job->out->error, 503,
				 "no connection to the "
				 "workspace's database: try again");
		return;
	}
	lite_run(c, job->in, &job->sql, job->arena, job->out);
	lite_reader_put(w, c);
}

static void lite_run_op(struct df_store *store, const struct df_stmt *in,
			struct df_answer *out)
{
	struct lite_store *s = (struct lite_store *)store;
	struct lite_ws *w = ws_for(s, in->org, in->workspace, out);
	struct df_sql_in sin = {
		.text = in->text,
		.len = in->len,
		.only_table = in->only_table,
		.read_only = in->read_only,
		.no_unique = in->no_unique,
	};
	struct df_arena arena;
	struct lite_job job = { .in = in, .out = out, .arena = &arena };

	if (w == NULL)
		return;
	df_arena_init(&arena, df_stmt_memory(in));
	df_lock(&w->lock);
	job.catalog = df_catalog_get(w->catalog);
	df_unlock(&w->lock);
	sin.catalog = job.catalog;
	if (df_sql_translate(&sin, &arena, &job.sql, &out->error) == 0) {
		out->kind = job.sql.kind;
		if (job.sql.table != NULL)
			(void)snprintf(out->table, sizeof(out->table), "%s",
				       job.sql.table);
		job.ddl = job.sql.kind > DF_SQL_DELETE;
		if (job.sql.writes)
			lite_write(s, w, &job);
		else
			run_read(w, &job);
	}
	df_catalog_put(job.catalog);
	df_arena_release(&arena);
}

/* ---- the feed */

static int feed_prepare(struct lite_conn *c, const struct df_table *t,
			sqlite3_stmt **st, bool *cached)
{
	char *sql = sqlite3_mprintf("SELECT * FROM \"t:%w\" WHERE \"n\" > ?1 "
				    "ORDER BY \"n\" LIMIT ?2",
				    t->name);
	int rc;

	if (sql == NULL)
		return SQLITE_NOMEM;
	rc = lite_prepare(c, sql, strlen(sql), st, cached);
	sqlite3_free(sql);
	return rc;
}

static void feed_rows(struct lite_conn *c, const struct df_table *t, int n_col,
		      const struct df_feed_in *in, struct df_arena *a,
		      struct df_answer *out)
{
	struct df_sql_out *cols = df_arena_alloc(a, t->n_cols * sizeof(*cols));
	sqlite3_stmt *st = NULL;
	struct df_sql none = { .kind = DF_SQL_SELECT };
	int64_t last = in->after;
	bool cached = true;
	size_t i;
	int rc = cols == NULL ? SQLITE_NOMEM : feed_prepare(c, t, &st, &cached);

	df_buf_put_str(&out->body, "{\"columns\":[");
	for (i = 0; rc == SQLITE_OK && i < t->n_cols; i++) {
		cols[i].name = t->col[i].name;
		cols[i].type = t->col[i].type;
		if (i > 0)
			df_buf_put_u8(&out->body, ',');
		df_json_puts(&out->body, cols[i].name);
	}
	df_buf_put_str(&out->body, "],\"rows\":[");
	if (rc == SQLITE_OK) {
		(void)sqlite3_bind_int64(st, 1, in->after);
		(void)sqlite3_bind_int64(st, 2, in->limit);
		while ((rc = sqlite3_step(st)) == SQLITE_ROW &&
		       out->body.len < in->max_answer) {
			if (out->rows++ > 0)
				df_buf_put_u8(&out->body, ',');
			lite_put_row(st, cols, t->n_cols, &out->body);
			last = sqlite3_column_int64(st, n_col);
		}
		(void)sqlite3_reset(st);
	}
	if (rc != SQLITE_DONE && rc != SQLITE_ROW)
		lite_error(c, &none, rc, &out->error);
	if (!cached)
		(void)sqlite3_finalize(st);
	/* A row was there, and no room for it. */
	df_buf_printf(&out->body,
		      "],\"row_count\":%" PRIu64 ",\"last\":%" PRId64 "%s}",
		      out->rows, last, rc == SQLITE_ROW ? ",\"more\":1" : "");
}

static void lite_feed(struct df_store *store, const struct df_feed_in *in,
		      struct df_answer *out)
{
	struct lite_store *s = (struct lite_store *)store;
	struct lite_ws *w = ws_for(s, in->org, in->workspace, out);
	const struct df_table *t;
	struct df_catalog *cat;
	struct lite_conn *c;
	struct df_arena a;
	int n_col;

	if (w == NULL)
		return;
	out->kind = DF_SQL_SELECT;
	(void)snprintf(out->table, sizeof(out->table), "%s", in->table);
	df_lock(&w->lock);
	cat = df_catalog_get(w->catalog);
	df_unlock(&w->lock);
	t = df_catalog_table(cat, in->table);
	n_col = t == NULL ? -1 : df_table_column(t, "n");
	if (t == NULL) {
		df_sql_error_set(&out->error, 404,
				 "Table does not exist: "
				 "relation \"%s\" does not exist",
				 in->table);
	} else if (n_col < 0 || !t->col[n_col].serial) {
		df_sql_error_set(&out->error, 400,
				 "table \"%s\" has no feed: "
				 "it needs a column n BIGSERIAL",
				 in->table);
	} else if ((c = lite_reader_get(w)) == NULL) {
		df_sql_error_set(&out->error, 503,
				 "no connection to the "
				 "workspace's database: try again");
	} else {
		df_arena_init(&a, (size_t)4 << 20);
		feed_rows(c, t, n_col, in, &a, out);
		df_arena_release(&a);
		lite_reader_put(w, c);
	}
	df_catalog_put(cat);
}

/* ---- opening and closing */

static void lite_stop(struct df_store *store)
{
	(void)store; /* every operation ends by itself */
}

static void lite_free(struct df_store *store)
{
	struct lite_store *s = (struct lite_store *)store;
	struct lite_ws *w, *next;

	for (w = s->spaces; w != NULL; w = next) {
		next = w->next;
		ws_free(w);
	}
	lite_conn_free(s->meta);
	df_lock_release(&s->lock);
	df_lock_release(&s->meta_lock);
	if (s->lock_fd >= 0)
		(void)close(s->lock_fd);
	free(s->dir);
	free(s);
}

static int store_lock(struct lite_store *s)
{
	char *path = df_strf("%s/lock", s->dir);

	if (path == NULL)
		return -ENOMEM;
	s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	free(path);
	if (s->lock_fd < 0)
		return df_fail(-errno, "%s/lock", s->dir);
	if (flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return df_fail(-errno,
			       "%s: another deeplake serve uses this "
			       "store (several servers need --store "
			       "postgres://...)",
			       s->dir);
	return 0;
}

static struct df_store_ops lite_ops;
static pthread_once_t lite_ops_once = PTHREAD_ONCE_INIT;

static void lite_ops_fill(void)
{
	lite_ops = lite_meta_ops;
	lite_ops.name = "sqlite";
	lite_ops.run = lite_run_op;
	lite_ops.feed = lite_feed;
	lite_ops.backup = lite_backup;
	lite_ops.stop = lite_stop;
	lite_ops.free = lite_free;
}

int df_litestore_open(const char *dir, bool serve, struct df_store **out)
{
	struct lite_store *s = calloc(1, sizeof(*s));
	struct stat st;
	int err;

	*out = NULL;
	if (s == NULL)
		return -ENOMEM;
	(void)pthread_once(&lite_ops_once, lite_ops_fill);
	s->lock_fd = -1;
	s->store.ops = &lite_ops;
	s->store.feed = true;
	s->dir = strdup(dir);
	df_lock_init(&s->lock);
	df_lock_init(&s->meta_lock);
	if (s->dir == NULL) {
		err = -ENOMEM;
	} else if (stat(dir, &st) == 0 && !S_ISDIR(st.st_mode)) {
		err = df_fail(-ENOTDIR,
			      "%s: a store is a directory, this is "
			      "a file: name another place",
			      dir);
	} else {
		err = df_mkdir_p(dir, 0700);
		if (err < 0)
			df_log_error("%s: %s", dir, df_strerror(err));
	}
	if (err == 0 && serve)
		err = store_lock(s);
	if (err == 0)
		err = lite_meta_open(s);
	if (err < 0) {
		lite_free(&s->store);
		return err;
	}
	*out = &s->store;
	return 0;
}
