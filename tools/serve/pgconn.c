/* pgconn.c - connections to PostgreSQL, pooled; see pg.h. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "tools/serve/pg.h"

int pg_pool_init(struct pg_pool *p, char *info, int max)
{
	*p = (struct pg_pool){ .info = info, .max = max };
	df_lock_init(&p->lock);
	df_cond_init(&p->freed);
	return info == NULL ? -ENOMEM : 0;
}

static void conn_free(struct pg_conn *c)
{
	if (c == NULL)
		return;
	PQfinish(c->pg);
	free(c);
}

void pg_pool_release(struct pg_pool *p)
{
	struct pg_conn *c, *next;

	for (c = p->idle; c != NULL; c = next) {
		next = c->next;
		conn_free(c);
	}
	if (p->info != NULL)
		explicit_bzero(p->info, strlen(p->info));
	free(p->info);
	df_cond_release(&p->freed);
	df_lock_release(&p->lock);
}

static void notice_quiet(void *arg, const PGresult *res)
{
	(void)arg;
	(void)res;
}

static struct pg_conn *conn_open(const char *info)
{
	struct pg_conn *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	c->pg = PQconnectdb(info);
	if (PQstatus(c->pg) != CONNECTION_OK) {
		/* libpq's text names host and user, never the password */
		df_log_error("PostgreSQL: %s", PQerrorMessage(c->pg));
		conn_free(c);
		return NULL;
	}
	(void)PQsetNoticeReceiver(c->pg, notice_quiet, NULL);
	return c;
}

struct pg_conn *pg_get(struct pg_pool *p, int64_t timeout_ms)
{
	int64_t until = df_deadline_ms(timeout_ms);
	struct pg_conn *c;
	bool open_one = false, waited = true;

	df_lock(&p->lock);
	for (;;) {
		c = p->idle;
		if (c != NULL) {
			p->idle = c->next;
			break;
		}
		if (p->open < p->max) {
			p->open++;
			open_one = true;
			break;
		}
		if (!waited)
			break;
		waited = df_cond_wait_until(&p->freed, &p->lock, until);
	}
	df_unlock(&p->lock);
	if (open_one) {
		c = conn_open(p->info);
		if (c == NULL) {
			df_lock(&p->lock);
			p->open--;
			df_cond_signal(&p->freed);
			df_unlock(&p->lock);
		}
	}
	return c;
}

void pg_put(struct pg_pool *p, struct pg_conn *c)
{
	bool bad = PQstatus(c->pg) != CONNECTION_OK ||
		   PQtransactionStatus(c->pg) != PQTRANS_IDLE ||
		   PQpipelineStatus(c->pg) != PQ_PIPELINE_OFF;

	df_lock(&p->lock);
	if (bad) {
		p->open--;
	} else {
		c->next = p->idle;
		p->idle = c;
	}
	df_cond_signal(&p->freed);
	df_unlock(&p->lock);
	if (bad)
		conn_free(c);
}

static void info_put(struct df_buf *b, const char *key, const char *value)
{
	if (value == NULL || *value == '\0')
		return;
	df_buf_printf(b, "%s='", key);
	for (; *value != '\0'; value++) {
		if (*value == '\'' || *value == '\\')
			df_buf_put_u8(b, '\\');
		df_buf_put_u8(b, (uint8_t)*value);
	}
	df_buf_put_str(b, "' ");
}

char *pg_conninfo(const char *url, const char *user, const char *password)
{
	char *error = NULL, *out = NULL;
	PQconninfoOption *opt = PQconninfoParse(url, &error), *o;
	struct df_buf b;

	if (opt == NULL) {
		df_log_error("--store: not a PostgreSQL URL: %s",
			     error != NULL ? error : "out of memory");
		PQfreemem(error);
		return NULL;
	}
	df_buf_init(&b, 65536);
	for (o = opt; o->keyword != NULL; o++) {
		bool own = user != NULL &&
			   (strcmp(o->keyword, "user") == 0 ||
			    strcmp(o->keyword, "password") == 0);

		if (!own)
			info_put(&b, o->keyword, o->val);
	}
	info_put(&b, "user", user);
	info_put(&b, "password", password);
	df_buf_put_str(&b, "application_name=deeplake-serve "
			   "connect_timeout=5 keepalives_idle=30");
	if (b.err == 0)
		out = strdup(df_buf_cstr(&b));
	if (b.data != NULL)
		explicit_bzero(b.data, b.size);
	df_buf_release(&b);
	PQconninfoFree(opt);
	return out;
}

PGresult *pg_admin(struct pg_store *s, const char *sql, int n,
		   const char *const *arg)
{
	int tries;

	/* A server that was restarted leaves dead connections in the pool:
	 * one more try for each of them. */
	for (tries = 0; tries <= PG_ADMIN_MAX; tries++) {
		struct pg_conn *c = pg_get(&s->admin, 5000);
		PGresult *res;
		ExecStatusType st;
		bool dead;

		if (c == NULL)
			return NULL;
		res = n == 0 ? PQexec(c->pg, sql)
			     : PQexecParams(c->pg, sql, n, NULL, arg, NULL,
					    NULL, 0);
		st = PQresultStatus(res);
		dead = PQstatus(c->pg) != CONNECTION_OK;
		if (st == PGRES_TUPLES_OK || st == PGRES_COMMAND_OK) {
			pg_put(&s->admin, c);
			return res;
		}
		if (!dead)
			df_log_error("PostgreSQL: %s",
				     PQresultErrorMessage(res));
		PQclear(res);
		pg_put(&s->admin, c);
		if (!dead)
			return NULL;
	}
	return NULL;
}
