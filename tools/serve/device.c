/*
 * device.c - login from a machine without a browser (RFC 8628):
 *
 *	POST /auth/device/code            a code for the machine, one for people
 *	GET  /device?user_code=ABCD-EFGH  the page that asks for confirmation
 *	POST /device                      the code and a token of this server
 *	POST /auth/device/token           the machine asks: pending, or a token
 *
 * Who confirms proves it with a token of this server; the machine gets a new
 * one with the same rights.  Codes live 15 minutes, in the store, so that any
 * server on it can be asked; of the machine's there is only the hash.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/hash.h"
#include "tools/serve/meta.h"
#include "tools/serve/server.h"

#define DEVICE_LIFE_S 900
#define DEVICE_INTERVAL_S 5
#define DEVICE_TOKEN_S (INT64_C(30) * 86400)

static int64_t now_ms(void)
{
	return df_clock_real_ns() / DF_NS_PER_MS;
}

static void code_hash(const char *code, char out[72])
{
	uint8_t sha[DF_SHA_LEN];

	df_sha256(code, strlen(code), sha);
	df_hex(sha, sizeof(sha), out);
}

static void store_trouble(struct df_req *r)
{
	df_req_error(r, 503, "INTERNAL",
		     "the store does not answer: try again");
}

/* Without letters that look like others or make words. */
static void user_code(char out[12])
{
	static const char letters[] = "BCDFGHJKLMNPQRSTVWXZ";
	uint8_t r[8];
	int i, at = 0;

	df_random(r, sizeof(r));
	for (i = 0; i < 8; i++) {
		if (i == 4)
			out[at++] = '-';
		out[at++] = letters[r[i] % (sizeof(letters) - 1)];
	}
	out[at] = '\0';
}

static void device_code(struct df_req *r)
{
	const char *url = r->server->conf.public_url != NULL
				  ? r->server->conf.public_url
				  : r->server->url;
	int64_t now_s = now_ms() / 1000;
	struct df_login l = { .until_s = now_s + DEVICE_LIFE_S };
	char code[65];
	uint8_t raw[32];
	int err;

	df_random(raw, sizeof(raw));
	df_hex(raw, sizeof(raw), code);
	code_hash(code, l.code);
	user_code(l.user_code);
	err = df_meta_login_put(r->server->store, &l, now_s);
	if (err == -EBUSY) {
		r->retry_after_s = 60;
		df_req_error(r, 429, "RATE_LIMITED",
			     "too many logins wait for confirmation: try "
			     "again in a minute");
		return;
	}
	if (err < 0) {
		store_trouble(r);
		return;
	}
	r->status = 200;
	df_buf_printf(&r->out,
		      "{\"device_code\":\"%s\",\"user_code\":\"%s\","
		      "\"verification_uri\":\"%s/device\","
		      "\"verification_uri_complete\":\"%s/device?user_code=%s\""
		      ",\"expires_in\":%d,\"interval\":%d}",
		      code, l.user_code, url, url, l.user_code, DEVICE_LIFE_S,
		      DEVICE_INTERVAL_S);
}

static void oauth_error(struct df_req *r, const char *code)
{
	r->status = 400;
	df_buf_printf(&r->out, "{\"error\":\"%s\"}", code);
}

/* Seconds for a token that this one confirms: it lives no longer itself. */
static int64_t token_life(const struct df_token_row *row)
{
	return row->expires_s == 0 ? DEVICE_TOKEN_S
				   : DF_MIN(DEVICE_TOKEN_S,
					    row->expires_s - now_ms() / 1000);
}

/* NULL: *row is the token that confirmed, or *err.  A revoked one grants
 * nothing. */
static const char *login_state(struct df_store *store, const char *code,
			       struct df_login *l, struct df_token_row *row,
			       int *err)
{
	int64_t now = now_ms();
	char hash[72];

	code_hash(code, hash);
	*err = df_meta_login_ask(store, hash, now, l);
	if (*err < 0)
		return *err == -ENOENT ? "expired_token" : NULL;
	if (l->grant[0] == '\0')
		/* half the interval: clocks and networks are not exact */
		return now - l->asked_ms < DEVICE_INTERVAL_S * 1000 / 2
			       ? "slow_down"
			       : "authorization_pending";
	if (strcmp(l->grant, DF_LOGIN_REFUSED) == 0 ||
	    df_meta_token_get(store, l->grant, row) < 0 || row->revoked ||
	    token_life(row) <= 0)
		return "access_denied";
	return NULL;
}

static void device_grant(struct df_req *r, const struct df_login *l,
			 struct df_token_row *row)
{
	int64_t life = token_life(row);
	struct df_buf token;

	df_buf_init(&token, DF_JWT_MAX);
	(void)snprintf(row->name, sizeof(row->name), "device %s", l->user_code);
	if (df_auth_issue(r->server->auth, row, l->user, life, &token) < 0) {
		df_req_error(r, 500, "INTERNAL", "token creation failed");
	} else {
		r->status = 200;
		df_buf_put_str(&r->out, "{\"access_token\":");
		df_json_puts(&r->out, df_buf_cstr(&token));
		df_buf_printf(&r->out,
			      ",\"token_type\":\"Bearer\","
			      "\"expires_in\":%lld}",
			      (long long)life);
	}
	df_buf_release(&token);
}

static void device_token(struct df_req *r)
{
	struct df_json root, code;
	struct df_login l;
	struct df_token_row row;
	struct df_arena a;
	const char *text = NULL, *error;
	int err = 0;

	df_arena_init(&a, (size_t)1 << 16);
	if (r->body.data != NULL &&
	    df_json_valid((char *)r->body.data, r->body.len, &root)) {
		code = df_json_member(&root, "device_code");
		text = df_json_cstr(&code, &a);
	}
	error = text == NULL
			? "invalid_request"
			: login_state(r->server->store, text, &l, &row, &err);
	df_arena_release(&a);
	if (error != NULL)
		oauth_error(r, error);
	else if (err < 0)
		store_trouble(r);
	else
		device_grant(r, &l, &row);
}

/* ---- the page */

static void put_html(struct df_buf *b, const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '<')
			df_buf_put_str(b, "&lt;");
		else if (*text == '&')
			df_buf_put_str(b, "&amp;");
		else if (*text == '"')
			df_buf_put_str(b, "&quot;");
		else
			df_buf_put_u8(b, (uint8_t)*text);
	}
}

static void page(struct df_req *r, int status, const char *said,
		 const char *code)
{
	struct df_buf *b = &r->out;

	df_buf_reset(b);
	r->status = status;
	r->type = "text/html; charset=utf-8";
	df_buf_put_str(
		b, "<!doctype html><meta charset=utf-8><title>deeplake: "
		   "confirm a login</title><meta name=viewport content="
		   "\"width=device-width\"><style>body{font:16px sans-serif;"
		   "max-width:30em;margin:3em auto;padding:0 1em}input{"
		   "font:inherit;width:100%;box-sizing:border-box}"
		   "button{font:inherit;margin:1em 1em 0 0}</style>"
		   "<h1>Confirm a login</h1><p>");
	put_html(b, said);
	if (code != NULL) {
		df_buf_put_str(b, "<form method=post action=/device><p>Code "
				  "shown on the other machine<br><input name="
				  "user_code value=\"");
		put_html(b, code);
		df_buf_put_str(b,
			       "\"><p>A token of this server (deeplake serve "
			       "token create makes one)<br><input name=token "
			       "type=password autocomplete=off><p><button name="
			       "answer value=yes>Confirm</button><button name="
			       "answer value=no>Refuse</button></form>");
	}
}

/* KEY of a form body, decoded. */
static void form_get(const struct df_req *r, const char *key, char *out,
		     size_t size)
{
	const char *p = (const char *)r->body.data, *end = p + r->body.len;
	size_t k = strlen(key), n = 0;

	out[0] = '\0';
	while (p != NULL && p < end) {
		const char *amp = memchr(p, '&', (size_t)(end - p));
		const char *stop = amp == NULL ? end : amp;

		if ((size_t)(stop - p) > k && memcmp(p, key, k) == 0 &&
		    p[k] == '=') {
			for (p += k + 1; p < stop && n + 1 < size; p++) {
				char c = *p == '+' ? ' ' : *p;

				if (c == '%' && stop - p > 2 &&
				    isxdigit((unsigned char)p[1]) &&
				    isxdigit((unsigned char)p[2])) {
					char hex[3] = { p[1], p[2], '\0' };

					c = (char)strtol(hex, NULL, 16);
					p += 2;
				}
				out[n++] = c;
			}
			out[n] = '\0';
			return;
		}
		p = amp == NULL ? end : amp + 1;
	}
}

static void code_normal(char *code)
{
	char *to = code, out[12];
	size_t n = 0;

	for (; *code != '\0' && n < 8; code++)
		if (isalpha((unsigned char)*code))
			out[n++] = (char)toupper((unsigned char)*code);
	if (n != 8)
		return;
	(void)snprintf(to, 12, "%.4s-%.4s", out, out + 4);
}

static void device_confirm(struct df_req *r)
{
	char code[64], answer[8], token[DF_JWT_MAX];
	struct df_store *store = r->server->store;
	bool yes;
	int err;

	form_get(r, "user_code", code, sizeof(code));
	form_get(r, "answer", answer, sizeof(answer));
	form_get(r, "token", token, sizeof(token));
	code_normal(code);
	yes = strcmp(answer, "yes") == 0;
	err = df_meta_login_try(store, code, now_ms() / 1000);
	if (err == 0 && df_auth_token(r, token) < 0) {
		explicit_bzero(token, sizeof(token));
		page(r, 401, "That is not a token of this server.", code);
		return;
	}
	explicit_bzero(token, sizeof(token));
	if (err == 0)
		err = df_meta_login_end(
			store, code, yes ? r->caller.row.id : DF_LOGIN_REFUSED,
			r->caller.jwt.user);
	if (err == -ENOENT)
		page(r, 400, "This code is unknown or has expired.", "");
	else if (err < 0)
		page(r, 503, "The server's store does not answer: try again.",
		     code);
	else
		page(r, 200,
		     yes ? "Confirmed: the other machine is logged in within "
			   "seconds. You can close this page."
			 : "Refused.",
		     NULL);
}

static bool at(const struct df_req *r, const char *method, int n,
	       const char *second, const char *third)
{
	return strcmp(r->method, method) == 0 && r->n_seg == n &&
	       (n < 2 || strcmp(r->seg[1], second) == 0) &&
	       (n < 3 || strcmp(r->seg[2], third) == 0);
}

void df_api_device(struct df_req *r)
{
	bool page_path = strcmp(r->seg[0], "device") == 0;
	const char *code;

	if (!page_path && at(r, "POST", 3, "device", "code")) {
		device_code(r);
	} else if (!page_path && at(r, "POST", 3, "device", "token")) {
		device_token(r);
	} else if (page_path && at(r, "GET", 1, "", "")) {
		code = df_req_arg(r, "user_code");
		page(r, 200,
		     "Somebody, hopefully you, wants to log in from "
		     "another machine.",
		     code != NULL ? code : "");
	} else if (page_path && at(r, "POST", 1, "", "")) {
		device_confirm(r);
	} else {
		df_req_error(r, 404, "NOT_FOUND", "Not found: %s /%s",
			     r->method, r->seg[0]);
	}
}
