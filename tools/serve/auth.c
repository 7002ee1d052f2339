/*
 * auth.c - who asks, and what that token may do; see server.h.
 *
 * A token is a signed JWT; its row in the store says its scope and whether it
 * was revoked.  Rows are remembered for two seconds, so that a revocation by
 * `deeplake serve token revoke` counts within that time.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "tools/serve/meta.h"
#include "tools/serve/server.h"

#define AUTH_SLOTS 256
#define AUTH_KEEP_NS (2 * DF_NS_PER_S)

struct auth_slot {
	struct df_token_row row;
	bool known; /* false: the store has no such token */
	int64_t read_ns;
	double tokens; /* of the rate limit's bucket */
	int64_t filled_ns;
	int busy; /* requests at once */
};

struct df_auth {
	struct df_store *store; /* not owned */
	uint8_t secret[DF_JWT_SECRET_LEN];
	char org[64]; /* the default org */
	struct df_lock lock;
	struct auth_slot slot[AUTH_SLOTS]; /* lock */
};

struct df_auth *df_auth_new(struct df_store *store)
{
	struct df_auth *a = calloc(1, sizeof(*a));

	if (a == NULL)
		return NULL;
	a->store = store;
	df_lock_init(&a->lock);
	return a;
}

void df_auth_free(struct df_auth *a)
{
	if (a == NULL)
		return;
	df_lock_release(&a->lock);
	explicit_bzero(a->secret, sizeof(a->secret));
	free(a);
}

const char *df_auth_org(const struct df_auth *a)
{
	return a->org;
}

static void uuid_new(char out[40])
{
	uint8_t r[16];
	char hex[33];

	df_random(r, sizeof(r));
	r[6] = (uint8_t)((r[6] & 0x0f) | 0x40);
	r[8] = (uint8_t)((r[8] & 0x3f) | 0x80);
	df_hex(r, sizeof(r), hex);
	(void)snprintf(out, 40, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8,
		       hex + 12, hex + 16, hex + 20);
}

/* The value of key, made of `fresh` if there is none yet.  Two servers that
 * start at once agree: the first put wins. */
static int meta_once(struct df_store *s, const char *key, const char *fresh,
		     struct df_buf *out)
{
	int err = df_meta_get(s, key, out);

	if (err != -ENOENT)
		return err;
	err = df_meta_put(s, key, fresh, true);
	return err < 0 ? err : df_meta_get(s, key, out);
}

static int hex_bytes(const char *hex, uint8_t *out, size_t n)
{
	size_t i;

	if (strlen(hex) != 2 * n)
		return -EINVAL;
	for (i = 0; i < n; i++) {
		char pair[3] = { hex[2 * i], hex[2 * i + 1], '\0' };
		char *rest;

		out[i] = (uint8_t)strtoul(pair, &rest, 16);
		if (*rest != '\0')
			return -EINVAL;
	}
	return 0;
}

int df_auth_load(struct df_auth *a)
{
	uint8_t fresh[DF_JWT_SECRET_LEN];
	char hex[2 * DF_JWT_SECRET_LEN + 1], uuid[40];
	struct df_buf b;
	int err;

	df_random(fresh, sizeof(fresh));
	df_hex(fresh, sizeof(fresh), hex);
	df_buf_init(&b, 4096);
	err = meta_once(a->store, "jwt_secret", hex, &b);
	if (err == 0)
		err = hex_bytes(df_buf_cstr(&b), a->secret, sizeof(a->secret));
	explicit_bzero(hex, sizeof(hex));
	if (b.data != NULL)
		explicit_bzero(b.data, b.size);
	df_buf_reset(&b);
	uuid_new(uuid);
	if (err == 0)
		err = meta_once(a->store, "org", uuid, &b);
	if (err == 0) {
		(void)snprintf(a->org, sizeof(a->org), "%s", df_buf_cstr(&b));
		if (strcmp(a->org, uuid) == 0)
			err = df_meta_org_put(a->store, a->org, "deeplake");
	}
	df_buf_release(&b);
	return err < 0 ? df_fail(err, "the store's secret") : 0;
}

int df_auth_issue(struct df_auth *a, struct df_token_row *row, const char *user,
		  int64_t seconds, struct df_buf *out)
{
	struct df_jwt t = { .issued_s = df_clock_real_ns() / DF_NS_PER_S };
	int err;

	uuid_new(row->id);
	if (row->org[0] == '\0')
		(void)snprintf(row->org, sizeof(row->org), "%s", a->org);
	row->created_s = t.issued_s;
	row->expires_s = seconds > 0 ? t.issued_s + seconds : 0;
	(void)snprintf(t.id, sizeof(t.id), "%s", row->id);
	(void)snprintf(t.org, sizeof(t.org), "%s", row->org);
	(void)snprintf(t.user, sizeof(t.user), "%s", user);
	(void)snprintf(t.name, sizeof(t.name), "%s", row->name);
	t.expires_s = row->expires_s;
	err = df_jwt_sign(&t, a->secret, out);
	return err < 0 ? err : df_meta_token_put(a->store, row);
}

void df_auth_forget(struct df_auth *a)
{
	size_t i;

	df_lock(&a->lock);
	for (i = 0; i < AUTH_SLOTS; i++)
		a->slot[i].read_ns = 0;
	df_unlock(&a->lock);
}

/* The row of a token: 0, -ENOENT or -errno. */
static int auth_row(struct df_auth *a, const char *id, struct df_token_row *row)
{
	struct auth_slot *s = &a->slot[df_xxh3(id, strlen(id)) % AUTH_SLOTS];
	int64_t now = df_clock_mono_ns();
	bool known = false, fresh;
	int err;

	df_lock(&a->lock);
	fresh = s->read_ns != 0 && now - s->read_ns < AUTH_KEEP_NS &&
		strcmp(s->row.id, id) == 0;
	if (fresh) {
		known = s->known;
		*row = s->row;
	}
	df_unlock(&a->lock);
	if (fresh)
		return known ? 0 : -ENOENT;
	err = df_meta_token_get(a->store, id, row);
	if (err < 0 && err != -ENOENT)
		return err;
	df_lock(&a->lock);
	if (strcmp(s->row.id, id) != 0) {
		s->tokens = 0;
		s->filled_ns = 0;
	}
	s->known = err == 0;
	s->read_ns = now;
	if (err == 0)
		s->row = *row;
	else
		(void)snprintf(s->row.id, sizeof(s->row.id), "%s", id);
	df_unlock(&a->lock);
	return err;
}

/* A bucket of one second's requests, refilled at the rate. */
static bool auth_rate_ok(struct df_auth *a, const char *id, double rate)
{
	struct auth_slot *s = &a->slot[df_xxh3(id, strlen(id)) % AUTH_SLOTS];
	int64_t now = df_clock_mono_ns();
	bool ok;

	df_lock(&a->lock);
	s->tokens = s->filled_ns == 0
			    ? rate
			    : s->tokens + rate * (double)(now - s->filled_ns) /
						  (double)DF_NS_PER_S;
	s->tokens = DF_MIN(s->tokens, DF_MAX(rate, 1.0));
	s->filled_ns = now;
	ok = s->tokens >= 1;
	if (ok)
		s->tokens -= 1;
	df_unlock(&a->lock);
	return ok;
}

/* Tokens that share a slot share the limit: with 256 slots that is rare, and
 * errs to the careful side. */
static bool auth_enter(struct df_req *r, int most)
{
	struct df_auth *a = r->server->auth;
	const char *id = r->caller.jwt.id;
	struct auth_slot *s = &a->slot[df_xxh3(id, strlen(id)) % AUTH_SLOTS];

	df_lock(&a->lock);
	r->holds_slot = s->busy < most;
	s->busy += r->holds_slot;
	df_unlock(&a->lock);
	return r->holds_slot;
}

void df_auth_leave(struct df_req *r)
{
	struct df_auth *a = r->server->auth;
	const char *id = r->caller.jwt.id;

	if (!r->holds_slot)
		return;
	r->holds_slot = false;
	df_lock(&a->lock);
	a->slot[df_xxh3(id, strlen(id)) % AUTH_SLOTS].busy--;
	df_unlock(&a->lock);
}

int df_auth_token(struct df_req *r, const char *token)
{
	struct df_auth *a = r->server->auth;
	struct df_caller *c = &r->caller;
	int err = df_jwt_verify(token, strlen(token), a->secret,
				df_clock_real_ns() / DF_NS_PER_S, &c->jwt);

	if (err == -ESTALE) {
		df_req_error(r, 401, "UNAUTHORIZED",
			     "the token has expired: "
			     "get a new one (deeplake login, or deeplake serve "
			     "token create)");
		return err;
	}
	if (err == 0)
		err = auth_row(a, c->jwt.id, &c->row);
	if (err == -ENOENT || err == -EINVAL || (err == 0 && c->row.revoked)) {
		df_req_error(r, 401, "UNAUTHORIZED",
			     err == 0 ? "the token was "
					"revoked"
				      : "invalid token");
		return -EACCES;
	}
	if (err < 0) {
		df_req_error(r, 503, "INTERNAL",
			     "the store does not answer: "
			     "try again");
		return err;
	}
	return 0;
}

static int auth_scope(struct df_req *r)
{
	const char *want = df_req_header(r, "X-Activeloop-Org-Id");
	struct df_caller *c = &r->caller;
	const char *ws = r->n_seg > 1 && strcmp(r->seg[0], "workspaces") == 0
				 ? r->seg[1]
				 : NULL;

	if (want != NULL && want[0] != '\0' && strcmp(want, c->row.org) != 0) {
		df_req_error(r, 403, "FORBIDDEN",
			     "this token is not for "
			     "organization %.60s",
			     want);
		return -EACCES;
	}
	(void)snprintf(c->org, sizeof(c->org), "%s", c->row.org);
	if (ws != NULL && c->row.workspace[0] != '\0' &&
	    strcmp(ws, c->row.workspace) != 0) {
		df_req_error(r, 403, "FORBIDDEN",
			     "this token is for workspace "
			     "%s only",
			     c->row.workspace);
		return -EACCES;
	}
	c->only_table = c->row.table[0] != '\0' ? c->row.table : NULL;
	return 0;
}

int df_auth_check(struct df_req *r)
{
	const char *h = df_req_header(r, "Authorization");

	if (h == NULL || strncasecmp(h, "Bearer ", 7) != 0 || h[7] == '\0') {
		df_req_error(r, 401, "UNAUTHORIZED",
			     "missing token: send "
			     "\"Authorization: Bearer TOKEN\"");
		return -EACCES;
	}
	h += 7;
	h += strspn(h, " ");
	if (df_auth_token(r, h) < 0 || auth_scope(r) < 0)
		return -EACCES;
	r->has_caller = true;
	if (r->server->conf.token_rate > 0 &&
	    !auth_rate_ok(r->server->auth, r->caller.jwt.id,
			  r->server->conf.token_rate)) {
		r->retry_after_s = 1;
		df_req_error(r, 429, "RATE_LIMITED",
			     "too many requests: this "
			     "token may send %g a second",
			     r->server->conf.token_rate);
		return -EACCES;
	}
	if (r->server->conf.token_parallel > 0 && r->endpoint != DF_EP_FEED &&
	    !auth_enter(r, r->server->conf.token_parallel)) {
		r->retry_after_s = 1;
		df_req_error(r, 429, "RATE_LIMITED",
			     "too many requests: this token may have %d at "
			     "once",
			     r->server->conf.token_parallel);
		return -EACCES;
	}
	return 0;
}

/* ---- a ready credentials.json */

/* The token in the file, if it is one of ours that still counts. */
static bool credentials_good(struct df_server *s, const char *path)
{
	struct df_token_row row;
	struct df_json root, token;
	struct df_jwt jwt;
	struct df_buf b;
	bool good = false;

	df_buf_init(&b, (size_t)64 << 10);
	if (df_file_read(path, &b) == 0 &&
	    df_json_valid((char *)b.data, b.len, &root)) {
		struct df_json url = df_json_member(&root, "apiUrl");

		token = df_json_member(&root, "token");
		good = token.kind == DF_J_STRING && url.kind == DF_J_STRING &&
		       url.len == strlen(s->url) &&
		       memcmp(url.p, s->url, url.len) == 0 &&
		       df_jwt_verify(token.p, token.len, s->auth->secret,
				     df_clock_real_ns() / DF_NS_PER_S,
				     &jwt) == 0 &&
		       df_meta_token_get(s->store, jwt.id, &row) == 0 &&
		       !row.revoked;
	}
	df_buf_release(&b);
	return good;
}

int df_credentials_write(struct df_server *s, const char *path)
{
	struct df_token_row row = { .name = "first" };
	struct df_buf token, text;
	char now[DF_TIME_LEN];
	int err;

	if (credentials_good(s, path))
		return 0;
	df_buf_init(&token, DF_JWT_MAX);
	df_buf_init(&text, (size_t)64 << 10);
	err = df_auth_issue(s->auth, &row, "local", 0, &token);
	df_time_now(now);
	df_buf_put_str(&text, "{\n  \"token\": ");
	df_json_puts(&text, df_buf_cstr(&token));
	df_buf_put_str(&text, ",\n  \"orgId\": ");
	df_json_puts(&text, row.org);
	df_buf_put_str(&text,
		       ",\n  \"orgName\": \"deeplake\",\n"
		       "  \"userName\": \"local\",\n"
		       "  \"workspaceId\": \"default\",\n  \"apiUrl\": ");
	df_json_puts(&text, s->url);
	df_buf_put_str(&text, ",\n  \"savedAt\": ");
	df_json_puts(&text, now);
	df_buf_put_str(&text, "\n}\n");
	if (err == 0)
		err = text.err;
	if (err == 0)
		err = df_file_replace(path, text.data, text.len, 0600);
	if (token.data != NULL)
		explicit_bzero(token.data, token.size);
	df_buf_release(&token);
	df_buf_release(&text);
	return err < 0 ? df_fail(err, "--write-credentials %s", path) : 0;
}
