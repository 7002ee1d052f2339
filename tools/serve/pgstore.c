/* pgstore.c - the PostgreSQL store's face; see pg.h. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "tools/serve/pg.h"

/* "ORG/WORKSPACE/TABLE": a commit here or in another server. */
static void notified(struct pg_store *s, char *payload)
{
	char *ws = strchr(payload, '/'), *table;

	if (ws == NULL)
		return;
	*ws++ = '\0';
	table = strchr(ws, '/');
	if (table == NULL)
		return;
	*table++ = '\0';
	if (s->store.on_commit != NULL)
		s->store.on_commit(s->store.on_commit_arg, payload, ws, table);
}

static PGconn *listen_open(struct pg_store *s)
{
	PGconn *pg = PQconnectdb(s->admin.info);
	PGresult *res;
	bool ok = PQstatus(pg) == CONNECTION_OK;

	if (ok) {
		res = PQexec(pg, "LISTEN deeplake_feed");
		ok = PQresultStatus(res) == PGRES_COMMAND_OK;
		PQclear(res);
	}
	if (ok) {
		/* what was committed while nobody listened */
		if (s->store.on_commit != NULL)
			s->store.on_commit(s->store.on_commit_arg, NULL, NULL,
					   NULL);
		return pg;
	}
	PQfinish(pg);
	return NULL;
}

static void *listen_main(void *arg)
{
	struct pg_store *s = arg;
	PGconn *pg = NULL;

	while (!atomic_load(&s->stop)) {
		struct pollfd p = { .events = POLLIN };
		PGnotify *n;

		if (pg == NULL) {
			pg = listen_open(s);
			if (pg == NULL)
				(void)usleep(200000);
			continue;
		}
		p.fd = PQsocket(pg);
		(void)poll(&p, 1, 200);
		if (PQconsumeInput(pg) != 1) {
			PQfinish(pg);
			pg = NULL;
			continue;
		}
		while ((n = PQnotifies(pg)) != NULL) {
			notified(s, n->extra);
			PQfreemem(n);
		}
	}
	PQfinish(pg);
	return NULL;
}

/* Where the database is, for pg_dump: the URL may hold a password, which has no
 * business in argv. */
static void set_environment(const char *url)
{
	PQconninfoOption *opt = PQconninfoParse(url, NULL), *o;

	for (o = opt; o != NULL && o->keyword != NULL; o++)
		if (o->envvar != NULL && o->val != NULL)
			(void)setenv(o->envvar, o->val, 1);
	PQconninfoFree(opt);
}

/* pg_dump knows best how a database is copied; it waits for no writer. */
static int pg_backup(struct df_store *store, const char *path)
{
	struct pg_store *s = (struct pg_store *)store;
	char *part = df_strf("%s.part-%d", path, (int)getpid());
	char *argv[] = { (char *)(uintptr_t) "pg_dump",
			 (char *)(uintptr_t) "--format=custom",
			 (char *)(uintptr_t) "--file", part, NULL };
	int status = 0, err = 0;
	pid_t pid;

	if (part == NULL)
		return -ENOMEM;
	if (access(path, F_OK) == 0) {
		free(part);
		return df_fail(-EEXIST,
			       "%s: there already; a backup never "
			       "overwrites: name another place",
			       path);
	}
	pid = fork();
	if (pid == 0) {
		set_environment(s->url);
		(void)execvp(argv[0], argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		err = -errno;
	else if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		err = -EIO;
	if (err == 0 && rename(part, path) < 0)
		err = -errno;
	if (err < 0) {
		(void)unlink(part);
		(void)df_fail(err, "backup to %s by pg_dump", path);
	}
	free(part);
	return err;
}

static int pg_start(struct df_store *store)
{
	struct pg_store *s = (struct pg_store *)store;
	int err = -pthread_create(&s->listener, NULL, listen_main, s);

	s->listening = err == 0;
	return err < 0 ? df_fail(err, "PostgreSQL: listening thread") : 0;
}

static void pg_stop(struct df_store *store)
{
	struct pg_store *s = (struct pg_store *)store;

	atomic_store(&s->stop, true);
	if (s->listening)
		(void)pthread_join(s->listener, NULL);
	s->listening = false;
}

static void pg_free(struct df_store *store)
{
	struct pg_store *s = (struct pg_store *)store;
	struct pg_ws *w, *next;

	for (w = s->spaces; w != NULL; w = next) {
		next = w->next;
		pg_pool_release(&w->pool);
		free(w);
	}
	pg_pool_release(&s->admin);
	df_lock_release(&s->lock);
	if (s->url != NULL)
		explicit_bzero(s->url, strlen(s->url));
	free(s->url);
	free(s);
}

static struct df_store_ops pg_ops;
static pthread_once_t pg_ops_once = PTHREAD_ONCE_INIT;

static void pg_ops_fill(void)
{
	pg_ops = pg_meta_ops;
	pg_ops.name = "postgres";
	pg_ops.run = pg_run;
	pg_ops.feed = pg_feed;
	pg_ops.backup = pg_backup;
	pg_ops.start = pg_start;
	pg_ops.stop = pg_stop;
	pg_ops.free = pg_free;
}

int df_pgstore_open(const char *url, bool stand_in, struct df_store **out)
{
	struct pg_store *s = calloc(1, sizeof(*s));
	int err;

	*out = NULL;
	if (s == NULL)
		return -ENOMEM;
	(void)pthread_once(&pg_ops_once, pg_ops_fill);
	s->store.ops = &pg_ops;
	s->store.feed = true;
	s->stand_in = stand_in;
	df_lock_init(&s->lock);
	s->url = strdup(url);
	err = pg_pool_init(&s->admin, pg_conninfo(url, NULL, NULL),
			   PG_ADMIN_MAX);
	if (err == 0)
		err = s->url == NULL ? -ENOMEM : pg_schema(s);
	if (err < 0) {
		pg_stop(&s->store);
		pg_free(&s->store);
		return err;
	}
	*out = &s->store;
	return 0;
}
