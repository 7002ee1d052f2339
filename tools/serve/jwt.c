/* jwt.c - see jwt.h. */
#include "tools/serve/jwt.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "tools/serve/jsonscan.h"

/* Base64 for URLs, no padding. */
static void b64url_put(struct df_buf *out, const void *data, size_t len)
{
	size_t at = out->len, i;

	df_b64_put(out, data, len);
	if (out->err != 0)
		return;
	while (out->len > at && out->data[out->len - 1] == '=')
		out->len--;
	for (i = at; i < out->len; i++) {
		if (out->data[i] == '+')
			out->data[i] = '-';
		else if (out->data[i] == '/')
			out->data[i] = '_';
	}
}

static int b64url_get(struct df_buf *out, const char *text, size_t len)
{
	char copy[DF_JWT_MAX + 4];
	size_t i;

	if (len > DF_JWT_MAX || len % 4 == 1)
		return -EINVAL;
	for (i = 0; i < len; i++) {
		if (text[i] == '+' || text[i] == '/')
			return -EINVAL;
		copy[i] = text[i] == '-' ? '+' : text[i] == '_' ? '/' : text[i];
	}
	while (i % 4 != 0)
		copy[i++] = '=';
	return df_b64_get(out, copy, i);
}

static int sign_bytes(const uint8_t *secret, const void *data, size_t len,
		      uint8_t mac[32])
{
	unsigned int n = 32;

	return HMAC(EVP_sha256(), secret, DF_JWT_SECRET_LEN, data, len, mac,
		    &n) != NULL &&
			       n == 32
		       ? 0
		       : -EIO;
}

int df_jwt_sign(const struct df_jwt *t, const uint8_t *secret,
		struct df_buf *out)
{
	static const char head[] = "{\"alg\":\"HS256\",\"typ\":\"JWT\"}";
	struct df_buf body;
	uint8_t mac[32];
	size_t start = out->len;
	int err;

	df_buf_init(&body, DF_JWT_MAX);
	df_buf_put_str(&body, "{\"iss\":\"deeplake-serve\",\"jti\":");
	df_json_puts(&body, t->id);
	df_buf_put_str(&body, ",\"sub\":");
	df_json_puts(&body, t->user);
	df_buf_put_str(&body, ",\"name\":");
	df_json_puts(&body, t->name);
	df_buf_put_str(&body, ",\"org_id\":");
	df_json_puts(&body, t->org);
	df_buf_put_str(&body, ",\"OrgID\":");
	df_json_puts(&body, t->org);
	df_buf_printf(&body, ",\"iat\":%lld", (long long)t->issued_s);
	if (t->expires_s != 0)
		df_buf_printf(&body, ",\"exp\":%lld", (long long)t->expires_s);
	df_buf_put_u8(&body, '}');
	b64url_put(out, head, sizeof(head) - 1);
	df_buf_put_u8(out, '.');
	if (body.err == 0)
		b64url_put(out, body.data, body.len);
	err = body.err != 0 ? body.err : out->err;
	if (err == 0)
		err = sign_bytes(secret, out->data + start, out->len - start,
				 mac);
	df_buf_put_u8(out, '.');
	if (err == 0)
		b64url_put(out, mac, sizeof(mac));
	df_buf_release(&body);
	return err != 0 ? err : out->err;
}

static void claim_text(const struct df_json *o, const char *key, char *out,
		       size_t size)
{
	struct df_json v = df_json_member(o, key);
	struct df_arena a;
	const char *s;

	out[0] = '\0';
	df_arena_init(&a, DF_JWT_MAX * 2);
	s = df_json_cstr(&v, &a);
	if (s != NULL && strlen(s) < size)
		(void)snprintf(out, size, "%s", s);
	df_arena_release(&a);
}

static int64_t claim_number(const struct df_json *o, const char *key)
{
	struct df_json v = df_json_member(o, key);
	char text[32];

	if (v.kind != DF_J_NUMBER || v.len >= sizeof(text))
		return 0;
	memcpy(text, v.p, v.len);
	text[v.len] = '\0';
	return strtoll(text, NULL, 10);
}

static int verify_body(const char *text, size_t len, struct df_jwt *t)
{
	struct df_json o;
	struct df_buf raw;
	int err;

	df_buf_init(&raw, DF_JWT_MAX);
	err = b64url_get(&raw, text, len);
	if (err == 0 && (!df_json_valid((const char *)raw.data, raw.len, &o) ||
			 o.kind != DF_J_OBJECT))
		err = -EINVAL;
	if (err == 0) {
		claim_text(&o, "jti", t->id, sizeof(t->id));
		claim_text(&o, "org_id", t->org, sizeof(t->org));
		claim_text(&o, "sub", t->user, sizeof(t->user));
		claim_text(&o, "name", t->name, sizeof(t->name));
		t->issued_s = claim_number(&o, "iat");
		t->expires_s = claim_number(&o, "exp");
		if (t->id[0] == '\0' || t->org[0] == '\0')
			err = -EINVAL;
	}
	df_buf_release(&raw);
	return err;
}

int df_jwt_verify(const char *text, size_t len, const uint8_t *secret,
		  int64_t now_s, struct df_jwt *t)
{
	const char *dot1, *dot2;
	struct df_buf mac;
	uint8_t want[32];
	int err;

	*t = (struct df_jwt){ .issued_s = 0 };
	if (len > DF_JWT_MAX)
		return -EINVAL;
	dot1 = memchr(text, '.', len);
	dot2 = dot1 == NULL
		       ? NULL
		       : memchr(dot1 + 1, '.', (size_t)(text + len - dot1 - 1));
	if (dot2 == NULL)
		return -EINVAL;
	/* The header is not read: there is one algorithm, ours. */
	df_buf_init(&mac, DF_JWT_MAX);
	err = b64url_get(&mac, dot2 + 1, (size_t)(text + len - dot2 - 1));
	if (err == 0)
		err = sign_bytes(secret, text, (size_t)(dot2 - text), want);
	if (err == 0 && (mac.len != sizeof(want) ||
			 CRYPTO_memcmp(mac.data, want, sizeof(want)) != 0))
		err = -EINVAL;
	df_buf_release(&mac);
	if (err == 0)
		err = verify_body(dot1 + 1, (size_t)(dot2 - dot1 - 1), t);
	if (err == 0 && t->expires_s != 0 && t->expires_s <= now_s)
		return -ESTALE;
	return err == 0 ? 0 : -EINVAL;
}
