/* litewrite.c - many writers, one transaction; see lite.h. */
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "tools/serve/lite.h"

/* The catalogue changed after the statement was translated. */
static void job_translate(struct lite_ws *w, struct lite_job *j)
{
	struct df_sql_in in = {
		.text = j->in->text,
		.len = j->in->len,
		.only_table = j->in->only_table,
		.read_only = j->in->read_only,
		.no_unique = j->in->no_unique,
	};
	struct df_catalog *cat;

	df_lock(&w->lock);
	cat = df_catalog_get(w->catalog);
	df_unlock(&w->lock);
	if (cat != j->catalog) {
		in.catalog = cat;
		(void)df_sql_translate(&in, j->arena, &j->sql, &j->out->error);
		j->out->kind = j->sql.kind;
		df_catalog_put(j->catalog);
		j->catalog = cat;
		return;
	}
	df_catalog_put(cat);
}

static void job_fail(struct lite_job *j, struct lite_conn *c, int rc)
{
	if (j->out->error.status == 0)
		lite_error(c, &j->sql, rc, &j->out->error);
}

static void job_run(struct lite_ws *w, struct lite_job *j)
{
	struct lite_conn *c = w->writer;

	if (lite_exec(c, "SAVEPOINT job") != SQLITE_OK) {
		job_fail(j, c, SQLITE_ERROR);
		return;
	}
	lite_run(c, j->in, &j->sql, j->arena, j->out);
	j->wrote = j->out->error.status == 0 && !j->in->dry;
	/* A full disk makes SQLite roll everything back by itself. */
	if (sqlite3_get_autocommit(c->db))
		return;
	if (!j->wrote)
		(void)lite_exec(c, "ROLLBACK TO job");
	(void)lite_exec(c, "RELEASE job");
}

static void reload(struct lite_ws *w)
{
	struct df_catalog *cat, *old;

	cat = lite_catalog_load(w->writer, w->id, w->catalog->version + 1);
	if (cat == NULL)
		return; /* logged; the old one fails later, with a message */
	df_lock(&w->lock);
	old = w->catalog;
	w->catalog = cat;
	df_unlock(&w->lock);
	df_catalog_put(old);
}

/* One transaction for all of a list: all DDL or none. */
static void group_run(struct lite_ws *w, struct lite_job *jobs)
{
	struct lite_conn *c = w->writer;
	struct lite_job *j;
	bool ddl = false, any = false;
	int rc;

	rc = lite_exec(c, "BEGIN IMMEDIATE");
	for (j = jobs; j != NULL; j = j->next) {
		if (rc != SQLITE_OK) {
			job_fail(j, c, rc);
			continue;
		}
		job_translate(w, j);
		if (j->out->error.status == 0)
			job_run(w, j);
		any |= j->wrote;
		ddl |= j->wrote && j->ddl;
	}
	if (rc != SQLITE_OK)
		return;
	rc = sqlite3_get_autocommit(c->db)
		     ? SQLITE_FULL
		     : lite_exec(c, any ? "COMMIT" : "ROLLBACK");
	if (rc != SQLITE_OK) {
		if (!sqlite3_get_autocommit(c->db))
			(void)lite_exec(c, "ROLLBACK");
		for (j = jobs; j != NULL; j = j->next) {
			j->wrote = false;
			if (j->out->error.status == 0)
				df_sql_error_set(&j->out->error,
						 rc == SQLITE_FULL ? 507 : 500,
						 "the commit "
						 "failed: %s",
						 sqlite3_errstr(rc));
		}
	} else if (ddl) {
		reload(w);
	}
}

/* The head of the queue that can share a transaction. */
static struct lite_job *group_take_locked(struct lite_ws *w)
{
	struct lite_job *first = w->queue, *last = first;
	int n = 1;

	while (!last->ddl && last->next != NULL && !last->next->ddl &&
	       n < LITE_GROUP_MAX) {
		last = last->next;
		n++;
	}
	w->queue = last->next;
	if (w->queue == NULL)
		w->queue_tail = &w->queue;
	last->next = NULL;
	return first;
}

static void group_done(struct lite_store *s, struct lite_ws *w,
		       struct lite_job *jobs)
{
	struct lite_job *j, *next;

	for (j = jobs; j != NULL; j = j->next)
		if (j->wrote && !j->ddl && !j->in->quiet &&
		    s->store.on_commit != NULL)
			s->store.on_commit(s->store.on_commit_arg, w->org,
					   w->id, j->out->table);
	df_lock(&w->lock);
	for (j = jobs; j != NULL; j = next) {
		next = j->next;
		j->done = true; /* its owner may free it from here on */
	}
	df_cond_broadcast(&w->changed);
	df_unlock(&w->lock);
}

void lite_write(struct lite_store *s, struct lite_ws *w, struct lite_job *job)
{
	df_lock(&w->lock);
	job->next = NULL;
	*w->queue_tail = job;
	w->queue_tail = &job->next;
	while (!job->done) {
		struct lite_job *jobs;

		if (w->leading) {
			df_cond_wait(&w->changed, &w->lock);
			continue;
		}
		w->leading = true;
		jobs = group_take_locked(w);
		df_unlock(&w->lock);
		group_run(w, jobs);
		group_done(s, w, jobs);
		df_lock(&w->lock);
		w->leading = false;
		df_cond_broadcast(&w->changed);
	}
	df_unlock(&w->lock);
}
