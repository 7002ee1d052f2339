/* buf.c - see buf.h. */
#include "base/buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUF_CEILING ((size_t)256 << 20)

void df_buf_init(struct df_buf *b, size_t ceiling)
{
	*b = (struct df_buf){ .ceiling = ceiling };
}

void df_buf_release(struct df_buf *b)
{
	free(b->data);
	*b = (struct df_buf){ .ceiling = b->ceiling };
}

void df_buf_reset(struct df_buf *b)
{
	b->len = 0;
	b->err = 0;
}

int df_buf_reserve(struct df_buf *b, size_t len)
{
	size_t ceiling = b->ceiling ? b->ceiling : BUF_CEILING;

	if (b->err)
		return b->err;
	if (b->data && len <= b->size - b->len)
		return 0;
	if (len > ceiling || b->len > ceiling - len)
		return b->err = -EFBIG;
	size_t size = b->size + b->size / 2;
	if (size < b->len + len)
		size = b->len + len;
	if (size < 64)
		size = 64;
	uint8_t *data = realloc(b->data, size);
	if (!data)
		return b->err = -ENOMEM;
	b->data = data;
	b->size = size;
	return 0;
}

void *df_buf_extend(struct df_buf *b, size_t len)
{
	if (df_buf_reserve(b, len))
		return NULL;
	void *at = b->data + b->len;
	b->len += len;
	return at;
}

void df_buf_put(struct df_buf *b, const void *data, size_t len)
{
	void *at = len ? df_buf_extend(b, len) : NULL;

	if (at)
		memcpy(at, data, len);
}

void df_buf_put_str(struct df_buf *b, const char *s)
{
	df_buf_put(b, s, strlen(s));
}

void df_buf_put_u8(struct df_buf *b, uint8_t x)
{
	df_buf_put(b, &x, 1);
}

static void put_le(struct df_buf *b, uint64_t x, size_t bytes)
{
	uint8_t *at = df_buf_extend(b, bytes);

	for (size_t i = 0; at && i < bytes; i++)
		at[i] = (uint8_t)(x >> (8 * i));
}

void df_buf_put_u32(struct df_buf *b, uint32_t x)
{
	put_le(b, x, 4);
}

void df_buf_put_u64(struct df_buf *b, uint64_t x)
{
	put_le(b, x, 8);
}

void df_buf_put_var(struct df_buf *b, uint64_t x)
{
	uint8_t out[10];
	size_t n = 0;

	while (x >= 0x80) {
		out[n++] = (uint8_t)(x | 0x80);
		x >>= 7;
	}
	out[n++] = (uint8_t)x;
	df_buf_put(b, out, n);
}

void df_buf_put_svar(struct df_buf *b, int64_t x)
{
	uint64_t sign = x < 0 ? UINT64_MAX : 0;

	df_buf_put_var(b, ((uint64_t)x << 1) ^ sign);
}

void df_buf_put_bytes(struct df_buf *b, const void *data, size_t len)
{
	df_buf_put_var(b, len);
	df_buf_put(b, data, len);
}

void df_buf_printf(struct df_buf *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0 || df_buf_reserve(b, (size_t)n + 1))
		return;
	va_start(ap, fmt);
	vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
}

const char *df_buf_cstr(struct df_buf *b)
{
	if (df_buf_reserve(b, 1))
		return "";
	b->data[b->len] = 0;
	return (const char *)b->data;
}

uint8_t *df_buf_steal(struct df_buf *b, size_t *len)
{
	uint8_t *data = b->data;

	*len = b->len;
	*b = (struct df_buf){ .ceiling = b->ceiling };
	return data;
}

const uint8_t *df_rd_take(struct df_rd *r, size_t len)
{
	if (r->bad || len > df_rd_left(r)) {
		r->bad = true;
		return NULL;
	}
	const uint8_t *at = r->at;
	r->at += len;
	return at;
}

static uint64_t take_le(struct df_rd *r, size_t bytes)
{
	const uint8_t *at = df_rd_take(r, bytes);
	uint64_t x = 0;

	for (size_t i = 0; at && i < bytes; i++)
		x |= (uint64_t)at[i] << (8 * i);
	return x;
}

uint8_t df_rd_u8(struct df_rd *r)
{
	return (uint8_t)take_le(r, 1);
}

uint32_t df_rd_u32(struct df_rd *r)
{
	return (uint32_t)take_le(r, 4);
}

uint64_t df_rd_u64(struct df_rd *r)
{
	return take_le(r, 8);
}

uint64_t df_rd_var(struct df_rd *r)
{
	uint64_t x = 0;

	for (int shift = 0; shift < 64; shift += 7) {
		uint8_t c = df_rd_u8(r);
		if (r->bad)
			return 0;
		if ((shift == 63 && c > 1) || (shift && !c))
			break; /* overflow, or not the shortest form */
		x |= (uint64_t)(c & 0x7f) << shift;
		if (!(c & 0x80))
			return x;
	}
	r->bad = true;
	return 0;
}

uint64_t df_rd_var_max(struct df_rd *r, uint64_t max)
{
	uint64_t x = df_rd_var(r);

	if (x > max) {
		r->bad = true;
		return 0;
	}
	return x;
}

int64_t df_rd_svar(struct df_rd *r)
{
	uint64_t x = df_rd_var(r);
	uint64_t sign = x & 1 ? UINT64_MAX : 0;

	return (int64_t)((x >> 1) ^ sign);
}

const uint8_t *df_rd_bytes(struct df_rd *r, size_t max, size_t *len)
{
	*len = (size_t)df_rd_var_max(r, max);
	const uint8_t *at = df_rd_take(r, *len);

	if (!at)
		*len = 0;
	return at;
}

void df_rd_copy(struct df_rd *r, void *out, size_t len)
{
	const uint8_t *at = df_rd_take(r, len);

	if (at)
		memcpy(out, at, len);
	else
		memset(out, 0, len);
}
