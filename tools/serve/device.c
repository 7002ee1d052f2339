/*
 * device.c - login from a machine without a browser (RFC 8628):
 *
 *	POST /auth/device/code            a code for the machine, one for people
 *	GET  /device?user_code=ABCD-EFGH  the page that asks for confirmation
 *	POST /device                      the code and a token of this server
 *	POST /auth/device/token           the machine asks: pending, or a token
 *
 * Who confirms proves it with a token of this server; the machine gets a new
 * one with the same rights.  Codes live 15 minutes, in memory.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/hash.h"
#include "tools/serve/server.h"

#define DEVICE_MAX 256
#define DEVICE_LIFE_S 900
#define DEVICE_INTERVAL_S 5
#define DEVICE_TOKEN_S (INT64_C(30) * 86400)
#define DEVICE_TRIES 10 /* wrong tokens for one code */

enum device_state {
	DEVICE_FREE = 0,
	DEVICE_PENDING,
	DEVICE_GRANTED,
	DEVICE_DENIED,
};

struct device {
	enum device_state state;
	char code[72]; /* the machine's */
	char user[12]; /* ABCD-EFGH */
	int64_t until_ns, asked_ns;
	int tries;
	struct df_token_row row; /* of who confirmed */
	char sub[128];
};

struct df_devices {
	struct df_lock lock;
	struct device d[DEVICE_MAX]; /* lock */
};

struct df_devices *df_devices_new(void)
{
	struct df_devices *d = calloc(1, sizeof(*d));

	if (d != NULL)
		df_lock_init(&d->lock);
	return d;
}

void df_devices_free(struct df_devices *d)
{
	if (d == NULL)
		return;
	df_lock_release(&d->lock);
	free(d);
}

static struct device *find_locked(struct df_devices *all, const char *code,
				  bool user)
{
	int64_t now = df_clock_mono_ns();
	size_t i;

	for (i = 0; i < DEVICE_MAX; i++) {
		struct device *d = &all->d[i];

		if (d->state != DEVICE_FREE && d->until_ns < now)
			d->state = DEVICE_FREE;
		if (d->state != DEVICE_FREE &&
		    strcmp(user ? d->user : d->code, code) == 0)
			return d;
	}
	return NULL;
}

static struct device *free_locked(struct df_devices *all)
{
	struct device *d;

	(void)find_locked(all, "", false); /* drops what has expired */
	for (d = all->d; d < all->d + DEVICE_MAX; d++)
		if (d->state == DEVICE_FREE)
			return d;
	return NULL;
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
	struct df_devices *all = r->server->devices;
	const char *url = r->server->conf.public_url != NULL
				  ? r->server->conf.public_url
				  : r->server->url;
	struct device *d, copy;
	uint8_t raw[32];

	df_lock(&all->lock);
	d = free_locked(all);
	if (d != NULL) {
		*d = (struct device){ .state = DEVICE_PENDING };
		df_random(raw, sizeof(raw));
		df_hex(raw, sizeof(raw), d->code);
		user_code(d->user);
		d->until_ns = df_clock_mono_ns() + DEVICE_LIFE_S * DF_NS_PER_S;
		copy = *d;
	}
	df_unlock(&all->lock);
	if (d == NULL) {
		r->retry_after_s = 60;
		df_req_error(r, 429, "RATE_LIMITED",
			     "too many logins wait for "
			     "confirmation");
		return;
	}
	r->status = 200;
	df_buf_printf(&r->out,
		      "{\"device_code\":\"%s\",\"user_code\":\"%s\","
		      "\"verification_uri\":\"%s/device\","
		      "\"verification_uri_complete\":\"%s/device?user_code=%s\""
		      ",\"expires_in\":%d,\"interval\":%d}",
		      copy.code, copy.user, url, url, copy.user, DEVICE_LIFE_S,
		      DEVICE_INTERVAL_S);
}

static void oauth_error(struct df_req *r, const char *code)
{
	r->status = 400;
	df_buf_printf(&r->out, "{\"error\":\"%s\"}", code);
}

/* The state of a code; a granted one is given out once. */
static const char *token_state(struct df_devices *all, const char *code,
			       struct device *out)
{
	int64_t now = df_clock_mono_ns();
	const char *error = NULL;
	struct device *d;

	df_lock(&all->lock);
	d = find_locked(all, code, false);
	if (d == NULL) {
		error = "expired_token";
	} else if (d->state == DEVICE_DENIED) {
		error = "access_denied";
		d->state = DEVICE_FREE;
	} else if (d->state == DEVICE_PENDING) {
		/* half the interval: clocks and networks are not exact */
		error = d->asked_ns != 0 && now - d->asked_ns <
						    DEVICE_INTERVAL_S *
							    DF_NS_PER_S / 2
				? "slow_down"
				: "authorization_pending";
		d->asked_ns = now;
	} else {
		*out = *d;
		d->state = DEVICE_FREE;
	}
	df_unlock(&all->lock);
	return error;
}

static void device_token(struct df_req *r)
{
	struct df_json root, code;
	struct device d;
	struct df_buf token;
	struct df_arena a;
	const char *text = NULL, *error;

	df_arena_init(&a, (size_t)1 << 16);
	if (r->body.data != NULL &&
	    df_json_valid((char *)r->body.data, r->body.len, &root)) {
		code = df_json_member(&root, "device_code");
		text = df_json_cstr(&code, &a);
	}
	error = text == NULL ? "invalid_request"
			     : token_state(r->server->devices, text, &d);
	df_arena_release(&a);
	if (error != NULL) {
		oauth_error(r, error);
		return;
	}
	df_buf_init(&token, DF_JWT_MAX);
	(void)snprintf(d.row.name, sizeof(d.row.name), "device %s", d.user);
	if (df_auth_issue(r->server->auth, &d.row, d.sub, DEVICE_TOKEN_S,
			  &token) < 0) {
		df_req_error(r, 500, "INTERNAL", "token creation failed");
	} else {
		r->status = 200;
		df_buf_put_str(&r->out, "{\"access_token\":");
		df_json_puts(&r->out, df_buf_cstr(&token));
		df_buf_printf(&r->out,
			      ",\"token_type\":\"Bearer\","
			      "\"expires_in\":%lld}",
			      (long long)DEVICE_TOKEN_S);
	}
	df_buf_release(&token);
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

static bool confirm_try(struct df_devices *all, const char *code)
{
	struct device *d;
	bool ok;

	df_lock(&all->lock);
	d = find_locked(all, code, true);
	ok = d != NULL && d->state == DEVICE_PENDING &&
	     ++d->tries <= DEVICE_TRIES;
	df_unlock(&all->lock);
	return ok;
}

static void confirm_set(struct df_devices *all, const char *code,
			const struct df_caller *who)
{
	struct device *d;

	df_lock(&all->lock);
	d = find_locked(all, code, true);
	if (d != NULL && who == NULL) {
		d->state = DEVICE_DENIED;
	} else if (d != NULL) {
		d->state = DEVICE_GRANTED;
		d->row = who->row;
		(void)snprintf(d->sub, sizeof(d->sub), "%s", who->jwt.user);
	}
	df_unlock(&all->lock);
}

static void device_confirm(struct df_req *r)
{
	char code[64], answer[8], token[DF_JWT_MAX];
	struct df_devices *all = r->server->devices;

	form_get(r, "user_code", code, sizeof(code));
	form_get(r, "answer", answer, sizeof(answer));
	form_get(r, "token", token, sizeof(token));
	code_normal(code);
	if (!confirm_try(all, code)) {
		page(r, 400, "This code is unknown or has expired.", "");
	} else if (df_auth_token(r, token) < 0) {
		page(r, 401, "That is not a token of this server.", code);
	} else if (strcmp(answer, "yes") != 0) {
		confirm_set(all, code, NULL);
		page(r, 200, "Refused.", NULL);
	} else {
		confirm_set(all, code, &r->caller);
		page(r, 200,
		     "Confirmed: the other machine is logged in within "
		     "seconds. You can close this page.",
		     NULL);
	}
	explicit_bzero(token, sizeof(token));
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
