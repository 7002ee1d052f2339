/* arena.c - see arena.h. */
#include "tools/serve/arena.h"

#include <stdarg.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_CHUNK ((size_t)8192)

struct df_arena_chunk {
	struct df_arena_chunk *next;
	size_t used, size;
	alignas(max_align_t) char data[];
};

void df_arena_init(struct df_arena *a, size_t ceiling)
{
	*a = (struct df_arena){ .ceiling = ceiling };
}

void df_arena_release(struct df_arena *a)
{
	struct df_arena_chunk *c = a->head;

	while (c != NULL) {
		struct df_arena_chunk *next = c->next;

		free(c);
		c = next;
	}
	a->head = NULL;
	a->total = 0;
}

void *df_arena_alloc(struct df_arena *a, size_t len)
{
	const size_t align = alignof(max_align_t);
	struct df_arena_chunk *c = a->head;
	size_t need;
	void *p;

	if (len > a->ceiling || a->total > a->ceiling - len) {
		a->failed = true;
		return NULL;
	}
	need = (len + align - 1) / align * align;
	if (c == NULL || c->size - c->used < need) {
		size_t size = need > ARENA_CHUNK ? need : ARENA_CHUNK;

		c = malloc(sizeof(*c) + size);
		if (c == NULL) {
			a->failed = true;
			return NULL;
		}
		c->used = 0;
		c->size = size;
		c->next = a->head;
		a->head = c;
	}
	p = c->data + c->used;
	c->used += need;
	a->total += need;
	memset(p, 0, len);
	return p;
}

char *df_arena_strn(struct df_arena *a, const char *s, size_t len)
{
	char *p = df_arena_alloc(a, len + 1);

	if (p != NULL)
		memcpy(p, s, len);
	return p;
}

char *df_arena_str(struct df_arena *a, const char *s)
{
	return df_arena_strn(a, s, strlen(s));
}

char *df_arena_printf(struct df_arena *a, const char *fmt, ...)
{
	va_list ap;
	char *p;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0 || (p = df_arena_alloc(a, (size_t)n + 1)) == NULL)
		return NULL;
	va_start(ap, fmt);
	(void)vsnprintf(p, (size_t)n + 1, fmt, ap);
	va_end(ap);
	return p;
}
