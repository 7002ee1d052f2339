/*
 * meta.c - what every store keeps of the server itself: secret, orgs, tokens,
 * logins under way; in SQL that SQLite and PostgreSQL read alike (store.h:
 * own_run, own_rows).
 */
#include "tools/serve/meta.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

static int run(struct df_store *s, const char *sql, const char *const *arg,
	       int n)
{
	int changed = s->ops->own_run(s, sql, arg, n);

	return changed < 0 ? changed : 0;
}

static void number(char out[24], int64_t x)
{
	(void)snprintf(out, 24, "%lld", (long long)x);
}

/* ---- small values */

struct one_text {
	struct df_buf *out;
	bool found;
};

static void take_text(void *arg, const char *const *v)
{
	struct one_text *t = arg;

	df_buf_put_str(t->out, v[0]);
	t->found = true;
}

int df_meta_get(struct df_store *s, const char *key, struct df_buf *out)
{
	struct one_text t = { out, false };
	int err = s->ops->own_rows(s, "SELECT v FROM @kv WHERE k = $1", &key, 1,
				   take_text, &t);

	return err < 0 ? err : !t.found ? -ENOENT : out->err;
}

int df_meta_put(struct df_store *s, const char *key, const char *value,
		bool once)
{
	const char *arg[] = { key, value };

	return run(s,
		   once ? "INSERT INTO @kv VALUES ($1, $2) ON CONFLICT (k) DO "
			  "NOTHING"
			: "INSERT INTO @kv VALUES ($1, $2) ON CONFLICT (k) DO "
			  "UPDATE SET v = excluded.v",
		   arg, 2);
}

/* ---- organizations and workspaces */

int df_meta_org_put(struct df_store *s, const char *id, const char *name)
{
	const char *arg[] = { id, name };

	return run(s,
		   "INSERT INTO @orgs VALUES ($1, $2) ON CONFLICT (id) DO "
		   "UPDATE SET name = excluded.name",
		   arg, 2);
}

struct json_list {
	struct df_buf *out;
	int n;
};

/* Begins an object of the list. */
static struct df_buf *put_id(struct json_list *l, const char *id)
{
	df_buf_put_str(l->out, l->n++ > 0 ? ",{\"id\":" : "{\"id\":");
	df_json_puts(l->out, id);
	return l->out;
}

static int put_list(struct df_store *s, const char *sql, const char *const *arg,
		    int n, void (*each)(void *arg, const char *const *v),
		    struct df_buf *out)
{
	struct json_list list = { out, 0 };

	df_buf_put_u8(out, '[');
	int err = s->ops->own_rows(s, sql, arg, n, each, &list);

	df_buf_put_u8(out, ']');
	return err < 0 ? err : out->err;
}

static void put_org(void *arg, const char *const *v)
{
	struct df_buf *out = put_id(arg, v[0]);

	df_buf_put_str(out, ",\"name\":");
	df_json_puts(out, v[1]);
	df_buf_put_u8(out, '}');
}

int df_meta_org_list(struct df_store *s, struct df_buf *out)
{
	return put_list(s, "SELECT id, name FROM @orgs ORDER BY id", NULL, 0,
			put_org, out);
}

static void put_ws(void *arg, const char *const *v)
{
	struct df_buf *out = put_id(arg, v[0]);

	df_buf_put_str(out, ",\"org_id\":");
	df_json_puts(out, v[1]);
	df_buf_put_str(out, ",\"name\":");
	df_json_puts(out, v[2]);
	df_buf_printf(out, ",\"type\":\"default\",\"created_at\":%s}", v[3]);
}

int df_meta_ws_list(struct df_store *s, const char *org, struct df_buf *out)
{
	static const char sql[] =
		"SELECT id, org, name, created_s FROM @workspaces WHERE org = "
		"$1 UNION SELECT 'default', CAST($1 AS text), 'default', 0 "
		"WHERE NOT EXISTS (SELECT 1 FROM @workspaces WHERE org = $1 "
		"AND id = 'default') ORDER BY 1";

	return put_list(s, sql, &org, 1, put_ws, out);
}

/* ---- tokens */

#define TOKEN_COLS                                              \
	"id, name, org, workspace, tbl, read_only, created_s, " \
	"expires_s, revoked"

int df_meta_token_put(struct df_store *s, const struct df_token_row *r)
{
	char created[24], expires[24];
	const char *arg[] = { r->id,        r->name,  r->org,
			      r->workspace, r->table, r->read_only ? "1" : "0",
			      created,      expires,  r->revoked ? "1" : "0" };

	number(created, r->created_s);
	number(expires, r->expires_s);
	return run(s,
		   "INSERT INTO @tokens (" TOKEN_COLS
		   ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
		   arg, 9);
}

/* SQLite has 0 and 1, PostgreSQL f and t. */
static bool is_true(const char *v)
{
	return *v == '1' || *v == 't';
}

static void token_fill(struct df_token_row *r, const char *const *v)
{
	*r = (struct df_token_row){ .read_only = is_true(v[5]) };
	(void)snprintf(r->id, sizeof(r->id), "%s", v[0]);
	(void)snprintf(r->name, sizeof(r->name), "%s", v[1]);
	(void)snprintf(r->org, sizeof(r->org), "%s", v[2]);
	(void)snprintf(r->workspace, sizeof(r->workspace), "%s", v[3]);
	(void)snprintf(r->table, sizeof(r->table), "%s", v[4]);
	r->created_s = strtoll(v[6], NULL, 10);
	r->expires_s = strtoll(v[7], NULL, 10);
	r->revoked = is_true(v[8]);
}

static void take_token(void *arg, const char *const *v)
{
	token_fill(arg, v);
}

int df_meta_token_get(struct df_store *s, const char *id,
		      struct df_token_row *row)
{
	*row = (struct df_token_row){ .read_only = false };
	int err = s->ops->own_rows(
		s, "SELECT " TOKEN_COLS " FROM @tokens WHERE id = $1", &id, 1,
		take_token, row);

	return err < 0 ? err : row->id[0] == '\0' ? -ENOENT : 0;
}

int df_meta_token_revoke(struct df_store *s, const char *id)
{
	int n = s->ops->own_run(
		s, "UPDATE @tokens SET revoked = TRUE WHERE id = $1", &id, 1);

	return n < 0 ? n : n == 0 ? -ENOENT : 0;
}

struct each_token {
	void (*each)(void *arg, const struct df_token_row *row);
	void *arg;
};

static void give_token(void *arg, const char *const *v)
{
	const struct each_token *e = arg;
	struct df_token_row row;

	token_fill(&row, v);
	e->each(e->arg, &row);
}

int df_meta_token_list(struct df_store *s,
		       void (*each)(void *arg, const struct df_token_row *),
		       void *arg)
{
	struct each_token e = { each, arg };

	return s->ops->own_rows(
		s, "SELECT " TOKEN_COLS " FROM @tokens ORDER BY created_s, id",
		NULL, 0, give_token, &e);
}

/* ---- logins under way */

int df_meta_login_put(struct df_store *s, const struct df_login *l,
		      int64_t now_s)
{
	char until[24], now[24];
	const char *old[] = { now };
	const char *arg[] = { l->code, l->user_code, until };

	number(until, l->until_s);
	number(now, now_s);
	int n = run(s, "DELETE FROM @logins WHERE until_s < $1", old, 1);

	if (n < 0)
		return n;
	n = s->ops->own_run(
		s,
		"INSERT INTO @logins (code, user_code, until_s) SELECT "
		"$1, $2, CAST($3 AS bigint) WHERE (SELECT count(*) FROM "
		"@logins) < 256 ON CONFLICT DO NOTHING",
		arg, 3);
	return n < 0 ? n : n == 0 ? -EBUSY : 0;
}

static void take_login(void *arg, const char *const *v)
{
	struct df_login *l = arg;

	(void)snprintf(l->user_code, sizeof(l->user_code), "%s", v[0]);
	(void)snprintf(l->grant, sizeof(l->grant), "%s", v[1]);
	(void)snprintf(l->user, sizeof(l->user), "%s", v[2]);
	l->asked_ms = strtoll(v[3], NULL, 10);
}

int df_meta_login_ask(struct df_store *s, const char *code, int64_t now_ms,
		      struct df_login *out)
{
	char now_s[24], asked[24];
	const char *arg[] = { code, now_s }, *set[] = { asked, code };

	number(now_s, now_ms / 1000);
	number(asked, now_ms);
	*out = (struct df_login){ .until_s = 0 };
	int err = s->ops->own_rows(
		s,
		"SELECT user_code, token, person, asked_ms FROM @logins WHERE "
		"code = $1 AND until_s >= $2",
		arg, 2, take_login, out);

	if (err < 0 || out->user_code[0] == '\0')
		return err < 0 ? err : -ENOENT;
	if (out->grant[0] == '\0')
		return run(s,
			   "UPDATE @logins SET asked_ms = $1 WHERE code = $2",
			   set, 2);
	/* It is given out once, whichever server is asked. */
	int n = s->ops->own_run(s, "DELETE FROM @logins WHERE code = $1", &code,
				1);

	return n < 0 ? n : n == 0 ? -ENOENT : 0;
}

int df_meta_login_try(struct df_store *s, const char *user_code, int64_t now_s)
{
	char now[24];
	const char *arg[] = { user_code, now };

	number(now, now_s);
	int n = s->ops->own_run(
		s,
		"UPDATE @logins SET tries = tries + 1 WHERE user_code = $1 AND "
		"until_s >= $2 AND token = '' AND tries < 10",
		arg, 2);

	return n < 0 ? n : n == 0 ? -ENOENT : 0;
}

int df_meta_login_end(struct df_store *s, const char *user_code,
		      const char *token, const char *user)
{
	const char *arg[] = { token, user, user_code };
	int n = s->ops->own_run(
		s,
		"UPDATE @logins SET token = $1, person = $2 WHERE user_code = "
		"$3 AND token = ''",
		arg, 3);

	return n < 0 ? n : n == 0 ? -ENOENT : 0;
}

/* ---- for the stores */

char *df_meta_sql(const char *sql, const char *schema)
{
	size_t n = strlen(sql) + 1, k = strlen(schema);
	const char *p;

	for (p = sql; *p != '\0'; p++)
		n += *p == '@' ? k : 0;
	char *out = malloc(n), *to = out;

	for (p = sql; out != NULL && *p != '\0'; p++) {
		if (*p != '@') {
			*to++ = *p;
			continue;
		}
		memcpy(to, schema, k);
		to += k;
	}
	if (out != NULL)
		*to = '\0';
	return out;
}
