/*
 * hash.h - SHA-256 (OpenSSL), the H() of the merge rules, XXH3, hex, base64,
 * random bytes.  Thread-safe; no allocation except where said.
 */
#ifndef DF_BASE_HASH_H
#define DF_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define DF_SHA_LEN 32
#define DF_ID_LEN 16

/* 128 bits: object, pack, commit and block ids. */
struct df_id {
	uint8_t b[DF_ID_LEN];
};

/* Incremental SHA-256.  _new returns NULL without memory. */
struct df_sha;
struct df_sha *df_sha_new(void);
void df_sha_reset(struct df_sha *s);
void df_sha_add(struct df_sha *s, const void *data, size_t len);
void df_sha_end(struct df_sha *s, uint8_t out[DF_SHA_LEN]);
void df_sha_free(struct df_sha *s);

void df_sha256(const void *data, size_t len, uint8_t out[DF_SHA_LEN]);

struct df_field {
	const void *data;
	size_t len;
};
/* H(...): first 128 bits of SHA-256 over the fields, each preceded by its
 * length as a little-endian 64-bit number (merge-rules). */
struct df_id df_hash_fields(const struct df_field *fields, size_t n);

uint64_t df_xxh3(const void *data, size_t len);

int df_id_cmp(const struct df_id *a, const struct df_id *b);
/* out holds 33 bytes */
void df_id_hex(const struct df_id *id, char *out);
/* 32 lower-case hex digits; 0 or -EINVAL */
int df_id_parse(const char *hex, struct df_id *out);

void df_hex(const void *data, size_t len, char *out); /* 2 len + 1 bytes */

/* Base64 with padding, no line breaks (OpenSSL). */
static inline size_t df_b64_size(size_t len)
{
	return (len + 2) / 3 * 4;
}
void df_b64_put(struct df_buf *b, const void *data, size_t len);
/* Decode strictly, appending to out: 0, -EINVAL, -ENOMEM, -EFBIG. */
int df_b64_get(struct df_buf *out, const char *text, size_t len);

/* getrandom(2); never fails on kernels that have it. */
void df_random(void *out, size_t len);

#endif
