/*
 * buf.h - a growing byte buffer with a ceiling, and a bounded reader.
 *
 * Integers are little-endian; varints are LEB128 of unsigned 64-bit numbers,
 * at most 10 bytes, shortest form required when reading.
 *
 * Errors: the append functions set b->err (sticky: -ENOMEM, or -EFBIG at the
 * ceiling) and append nothing more; check once at the end.  The reader sets
 * r->bad (sticky) when it runs out or meets a malformed number, and then
 * yields zeros.  Neither allocates beyond its ceiling.
 */
#ifndef DF_BASE_BUF_H
#define DF_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct df_buf {
	uint8_t *data;  /* owned */
	size_t len;     /* bytes */
	size_t size;    /* allocated */
	size_t ceiling; /* most bytes ever; 0 = 256 MiB */
	int err;        /* 0 or the first error */
};

void df_buf_init(struct df_buf *b, size_t ceiling);
void df_buf_release(struct df_buf *b);
/* Forget the content, keep the memory. */
void df_buf_reset(struct df_buf *b);
/* Room for len more bytes at the end, which the caller fills; NULL on error.
 * The bytes count as appended. */
void *df_buf_extend(struct df_buf *b, size_t len);
/* Make sure that len more bytes fit; 0 or -errno. */
int df_buf_reserve(struct df_buf *b, size_t len);
void df_buf_put(struct df_buf *b, const void *data, size_t len);
void df_buf_put_str(struct df_buf *b, const char *s); /* without the NUL */
void df_buf_put_u8(struct df_buf *b, uint8_t x);
void df_buf_put_u32(struct df_buf *b, uint32_t x);
void df_buf_put_u64(struct df_buf *b, uint64_t x);
void df_buf_put_var(struct df_buf *b, uint64_t x);
void df_buf_put_svar(struct df_buf *b, int64_t x); /* zigzag */
/* varint length, then the bytes */
void df_buf_put_bytes(struct df_buf *b, const void *data, size_t len);
void df_buf_printf(struct df_buf *b, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* A NUL after the last byte (not counted); "" on error. */
const char *df_buf_cstr(struct df_buf *b);
/* Take the memory away from b: caller frees. */
uint8_t *df_buf_steal(struct df_buf *b, size_t *len);

struct df_rd {
	const uint8_t *at; /* not owned */
	const uint8_t *end;
	bool bad;
};

static inline struct df_rd df_rd(const void *data, size_t len)
{
	const uint8_t *p = data;
	return (struct df_rd){ p, len ? p + len : p, false };
}
static inline size_t df_rd_left(const struct df_rd *r)
{
	return (size_t)(r->end - r->at);
}
/* len bytes in place, or NULL (bad). */
const uint8_t *df_rd_take(struct df_rd *r, size_t len);
uint8_t df_rd_u8(struct df_rd *r);
uint32_t df_rd_u32(struct df_rd *r);
uint64_t df_rd_u64(struct df_rd *r);
uint64_t df_rd_var(struct df_rd *r);
/* a varint that must be <= max */
uint64_t df_rd_var_max(struct df_rd *r, uint64_t max);
int64_t df_rd_svar(struct df_rd *r);
/* varint length (<= max) and that many bytes in place */
const uint8_t *df_rd_bytes(struct df_rd *r, size_t max, size_t *len);
void df_rd_copy(struct df_rd *r, void *out, size_t len);

#endif
