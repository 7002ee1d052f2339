/*
 * feed.c - GET /workspaces/WS/tables/T/feed?after=N&wait=S&limit=L
 *
 * A request that finds rows is answered at once.  Else it waits, holding a
 * connection and no thread, until a commit into its table (df_feeds_commit) or
 * until its time is up.  Who waits for T__log is also answered, without rows
 * and with "others": 1, when somebody who is no mount changes T: a hint, for a
 * change between two requests is not told.
 *
 * A waiter is in the list from before its first look at the table until it is
 * answered, so that no commit falls between look and wait.  `busy`: some
 * worker looks at the table for it; a commit meanwhile sets `again`.  Whoever
 * takes it off the list answers it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "tools/serve/server.h"

#define FEED_WAIT_MAX_S 60
#define FEED_LIMIT_MAX 10000
#define FEED_BYTES_MAX ((size_t)8 << 20)
#define FEED_WAITERS_MAX 4096

struct waiter {
	struct df_feeds *feeds;
	struct df_req *req;
	char ws[80], table[216];
	int64_t after;
	unsigned limit;
	bool busy, again, over; /* lock */
	bool others;            /* lock */
	bool listed;            /* lock */
	uint64_t timer;         /* 0 = none */
	struct waiter *next;    /* lock */
};

struct df_feeds {
	struct df_server *server;
	struct df_lock lock;
	struct waiter *waiters; /* lock */
	int n;                  /* lock */
	bool stopping;          /* lock */
};

struct df_feeds *df_feeds_new(struct df_server *s)
{
	struct df_feeds *f = calloc(1, sizeof(*f));

	if (f == NULL)
		return NULL;
	f->server = s;
	df_lock_init(&f->lock);
	return f;
}

void df_feeds_free(struct df_feeds *f)
{
	if (f == NULL)
		return;
	df_lock_release(&f->lock);
	free(f);
}

static void unlist_locked(struct df_feeds *f, struct waiter *w)
{
	struct waiter **at;

	for (at = &f->waiters; *at != NULL; at = &(*at)->next)
		if (*at == w) {
			*at = w->next;
			f->n--;
			df_metric_waiting(-1);
			break;
		}
	w->listed = false;
}

/* {..., "last": N} gets one member more. */
static void put_others(struct df_buf *body)
{
	if (body->len > 0 && body->data[body->len - 1] == '}') {
		body->len--;
		df_buf_put_str(body, ",\"others\":1}");
	}
}

/* The rows, or the empty answer, into the request. */
static bool feed_look(struct waiter *w, bool over, bool others)
{
	struct df_server *s = w->feeds->server;
	struct df_req *r = w->req;
	struct df_feed_in in = {
		.org = r->caller.org,
		.workspace = w->ws,
		.table = w->table,
		.after = w->after,
		.limit = w->limit,
		.max_answer = FEED_BYTES_MAX,
	};
	struct df_answer out;
	bool done;

	df_answer_init(&out);
	s->store->ops->feed(s->store, &in, &out);
	done = out.error.status != 0 || out.rows > 0 || over || others;
	if (out.error.status != 0) {
		df_api_sql_error(r, &out.error);
	} else if (done) {
		if (others)
			put_others(&out.body);
		r->status = 200;
		r->rows = out.rows;
		r->kind = DF_SQL_SELECT;
		(void)snprintf(r->table, sizeof(r->table), "%s", w->table);
		df_buf_release(&r->out);
		r->out = out.body;
		df_buf_init(&out.body, 0);
	}
	df_answer_release(&out);
	return done;
}

/* On a worker, w->busy set: look until there is nothing new, or answer. */
static void feed_work(void *arg)
{
	struct waiter *w = arg;
	struct df_feeds *f = w->feeds;
	struct df_req *r = w->req;

	for (;;) {
		bool over, others;

		df_lock(&f->lock);
		over = w->over || f->stopping;
		others = w->others;
		w->again = false;
		df_unlock(&f->lock);
		if (feed_look(w, over, others))
			break;
		df_lock(&f->lock);
		if (!w->again && !w->over && !f->stopping) {
			/* it waits: from here on its request is not "in
			 * flight" */
			w->busy = false;
			df_unlock(&f->lock);
			return;
		}
		df_unlock(&f->lock);
	}
	df_lock(&f->lock);
	unlist_locked(f, w);
	df_unlock(&f->lock);
	/* a timer that fires now would find w freed: let it run first */
	if (w->timer == 0 || df_work_cancel(f->server->work, w->timer)) {
		free(w);
	} else {
		df_lock(&f->lock);
		if (w->over) {
			df_unlock(&f->lock);
			free(w);
		} else {
			w->req = NULL; /* the timer frees it */
			df_unlock(&f->lock);
		}
	}
	df_req_done(r);
}

static void wake_locked(struct df_feeds *f, struct waiter *w)
{
	if (w->busy) {
		w->again = true;
		return;
	}
	w->busy = true;
	if (df_work_add(f->server->work, feed_work, w, true) < 0)
		w->busy = false; /* no memory: its timer will come */
}

static void feed_timeout(void *arg)
{
	struct waiter *w = arg;
	struct df_feeds *f = w->feeds;
	bool orphan;

	df_lock(&f->lock);
	w->over = true;
	orphan = !w->listed && w->req == NULL;
	if (w->listed)
		wake_locked(f, w);
	df_unlock(&f->lock);
	if (orphan)
		free(w);
}

/* Does w wait for the log of this table? */
static bool is_log_of(const struct waiter *w, const char *table)
{
	size_t n = strlen(table);

	return strncmp(w->table, table, n) == 0 &&
	       strcmp(w->table + n, "__log") == 0;
}

void df_feeds_commit(void *feeds, const char *org, const char *ws,
		     const char *table)
{
	struct df_feeds *f = feeds;
	struct waiter *w;

	df_lock(&f->lock);
	for (w = f->waiters; w != NULL; w = w->next) {
		bool here = table == NULL ||
			    (strcmp(w->ws, ws) == 0 &&
			     strcmp(w->req->caller.org, org) == 0);
		bool others = here && table != NULL && is_log_of(w, table);

		w->others |= others;
		if (others ||
		    (here && (table == NULL || strcmp(w->table, table) == 0)))
			wake_locked(f, w);
	}
	df_unlock(&f->lock);
}

void df_feeds_stop(struct df_feeds *f)
{
	struct waiter *w;

	df_lock(&f->lock);
	f->stopping = true;
	for (w = f->waiters; w != NULL; w = w->next)
		wake_locked(f, w);
	df_unlock(&f->lock);
}

static int64_t arg_number(struct df_req *r, const char *name, int64_t fallback,
			  int64_t max)
{
	const char *text = df_req_arg(r, name);
	char *rest;
	long long x;

	if (text == NULL)
		return fallback;
	x = strtoll(text, &rest, 10);
	if (*text == '\0' || *rest != '\0' || x < 0)
		return -1;
	return DF_MIN(x, max);
}

/* false: the request has its answer. */
static bool feed_checks(struct df_req *r, const char *ws, const char *table,
			int64_t after, int64_t wait_s, int64_t limit)
{
	struct df_store *store = r->server->store;
	const char *only = r->caller.only_table;
	size_t n = only == NULL ? 0 : strlen(only);

	if (r->plan.no_feed || !store->feed)
		df_req_error(r, 404, "NOT_FOUND", "Not found: feed");
	else if (strcmp(r->method, "GET") != 0)
		df_req_error(r, 405, "METHOD_NOT_ALLOWED", "ask with GET");
	else if (after < 0 || wait_s < 0 || limit < 0)
		df_req_error(r, 400, "INVALID_REQUEST",
			     "after, wait and limit "
			     "are numbers from 0");
	else if (!df_workspace_id_ok(ws) ||
		 store->ops->ws_exists(store, r->caller.org, ws) <= 0)
		df_req_error(r, 404, "NOT_FOUND",
			     "Not found: workspace \"%s\" "
			     "does not exist",
			     ws);
	else if (only != NULL && strcmp(table, only) != 0 &&
		 (strncmp(table, only, n) != 0 ||
		  (strcmp(table + n, "__log") != 0 &&
		   strcmp(table + n, "__pack") != 0)))
		df_req_error(r, 403, "FORBIDDEN",
			     "permission denied for table "
			     "%s: this token is for table %s",
			     table, only);
	else if (strlen(table) >= sizeof(((struct waiter *)NULL)->table))
		df_req_error(r, 404, "NOT_FOUND",
			     "Table does not exist: "
			     "relation \"%.60s...\" does not exist",
			     table);
	else
		return true;
	return false;
}

void df_feed_start(struct df_req *r, const char *ws, const char *table)
{
	struct df_feeds *f = r->server->feeds;
	int64_t after = arg_number(r, "after", 0, INT64_MAX);
	int64_t wait_s = arg_number(r, "wait", 0, FEED_WAIT_MAX_S);
	int64_t limit = arg_number(r, "limit", 1000, FEED_LIMIT_MAX);
	struct waiter *w;
	bool full;

	/* a feed waits for long: it is not counted among those at work */
	if (r->counted) {
		atomic_fetch_sub(&r->server->in_flight, 1);
		df_metric_in_flight(-1);
		r->counted = false;
	}
	if (!feed_checks(r, ws, table, after, wait_s, limit)) {
		df_req_done(r);
		return;
	}
	w = calloc(1, sizeof(*w));
	if (w == NULL) {
		df_req_error(r, 503, "OVERLOADED", "out of memory");
		df_req_done(r);
		return;
	}
	w->feeds = f;
	w->req = r;
	w->after = after;
	w->limit = (unsigned)DF_MAX(limit, 1);
	w->busy = true;
	(void)snprintf(w->ws, sizeof(w->ws), "%s", ws);
	(void)snprintf(w->table, sizeof(w->table), "%s", table);
	df_lock(&f->lock);
	full = f->n >= FEED_WAITERS_MAX;
	w->over = wait_s == 0 || full;
	w->listed = true;
	w->next = f->waiters;
	f->waiters = w;
	f->n++;
	df_metric_waiting(1);
	/* under the lock, so that feed_timeout sees the finished waiter */
	if (!w->over && df_work_after(f->server->work, wait_s * 1000,
				      feed_timeout, w, &w->timer) < 0)
		w->over = true;
	df_unlock(&f->lock);
	feed_work(w);
}
