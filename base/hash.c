/* hash.c - see hash.h. */
#include "base/hash.h"

#include <errno.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

struct df_sha {
	EVP_MD_CTX *ctx;
};

struct df_sha *df_sha_new(void)
{
	struct df_sha *s = malloc(sizeof(*s));

	if (!s)
		return NULL;
	s->ctx = EVP_MD_CTX_new();
	if (!s->ctx || !EVP_DigestInit_ex(s->ctx, EVP_sha256(), NULL)) {
		df_sha_free(s);
		return NULL;
	}
	return s;
}

void df_sha_reset(struct df_sha *s)
{
	EVP_DigestInit_ex(s->ctx, EVP_sha256(), NULL);
}

void df_sha_add(struct df_sha *s, const void *data, size_t len)
{
	EVP_DigestUpdate(s->ctx, data, len);
}

void df_sha_end(struct df_sha *s, uint8_t out[DF_SHA_LEN])
{
	EVP_DigestFinal_ex(s->ctx, out, NULL);
}

void df_sha_free(struct df_sha *s)
{
	if (!s)
		return;
	EVP_MD_CTX_free(s->ctx);
	free(s);
}

static pthread_key_t sha_key;
static pthread_once_t sha_once = PTHREAD_ONCE_INIT;

static void free_sha(void *s)
{
	df_sha_free(s);
}

static void make_sha_key(void)
{
	if (pthread_key_create(&sha_key, free_sha))
		abort(); /* keys are used up: a programming error */
}

/* One context a thread, until it ends: EVP_MD_fetch and context set-up cost
 * more than hashing a small file. */
static struct df_sha *thread_sha(void)
{
	pthread_once(&sha_once, make_sha_key);
	struct df_sha *s = pthread_getspecific(sha_key);
	if (s) {
		df_sha_reset(s);
		return s;
	}
	s = df_sha_new();
	if (!s || pthread_setspecific(sha_key, s))
		abort(); /* 200 bytes at thread start */
	return s;
}

void df_sha256(const void *data, size_t len, uint8_t out[DF_SHA_LEN])
{
	struct df_sha *s = thread_sha();

	df_sha_add(s, data, len);
	df_sha_end(s, out);
}

struct df_id df_hash_fields(const struct df_field *fields, size_t n)
{
	struct df_sha *s = thread_sha();
	uint8_t sum[DF_SHA_LEN];
	struct df_id id;

	for (size_t i = 0; i < n; i++) {
		uint8_t len[8];
		for (int k = 0; k < 8; k++)
			len[k] = (uint8_t)((uint64_t)fields[i].len >> (8 * k));
		df_sha_add(s, len, sizeof(len));
		df_sha_add(s, fields[i].data, fields[i].len);
	}
	df_sha_end(s, sum);
	memcpy(id.b, sum, sizeof(id.b));
	return id;
}

uint64_t df_xxh3(const void *data, size_t len)
{
	return XXH3_64bits(data, len);
}

int df_id_cmp(const struct df_id *a, const struct df_id *b)
{
	return memcmp(a->b, b->b, sizeof(a->b));
}

void df_hex(const void *data, size_t len, char *out)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i++) {
		out[2 * i] = digits[p[i] >> 4];
		out[2 * i + 1] = digits[p[i] & 15];
	}
	out[2 * len] = 0;
}

void df_id_hex(const struct df_id *id, char *out)
{
	df_hex(id->b, sizeof(id->b), out);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int df_id_parse(const char *hex, struct df_id *out)
{
	for (size_t i = 0; i < sizeof(out->b); i++) {
		int hi = hex_digit(hex[2 * i]);
		int lo = hi < 0 ? -1 : hex_digit(hex[2 * i + 1]);
		if (lo < 0)
			return -EINVAL;
		out->b[i] = (uint8_t)(hi << 4 | lo);
	}
	return hex[2 * sizeof(out->b)] ? -EINVAL : 0;
}

void df_b64_put(struct df_buf *b, const void *data, size_t len)
{
	const uint8_t *p = data;
	/* EVP_EncodeBlock takes an int and writes a NUL. */
	size_t step = 3 << 20;

	if (df_buf_reserve(b, df_b64_size(len) + 1))
		return;
	while (len) {
		size_t n = len < step ? len : step;
		int out = EVP_EncodeBlock(b->data + b->len, p, (int)n);
		b->len += (size_t)out;
		p += n;
		len -= n;
	}
}

int df_b64_get(struct df_buf *out, const char *text, size_t len)
{
	size_t step = 4 << 20, pad = 0;

	if (len % 4)
		return -EINVAL;
	while (pad < 2 && pad < len && text[len - 1 - pad] == '=')
		pad++;
	if (len > pad && memchr(text, '=', len - pad))
		return -EINVAL;
	if (df_buf_reserve(out, len / 4 * 3))
		return out->err;
	size_t start = out->len;
	for (size_t at = 0; at < len; at += step) {
		size_t n = len - at < step ? len - at : step;
		int got = EVP_DecodeBlock(out->data + out->len,
					  (const uint8_t *)text + at, (int)n);
		if (got < 0 || (size_t)got != n / 4 * 3) {
			out->len = start;
			return -EINVAL;
		}
		out->len += (size_t)got;
	}
	out->len -= pad;
	return 0;
}

void df_random(void *out, size_t len)
{
	uint8_t *p = out;

	while (len) {
		ssize_t n = getrandom(p, len, 0);
		if (n < 0 && errno != EINTR)
			abort(); /* only a kernel without getrandom */
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
}
