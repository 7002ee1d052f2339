/*
 * arena.h - memory of one request: taken in pieces, given back at once.
 *
 * Ownership: everything handed out belongs to the arena and dies with
 *            df_arena_release(); nothing is freed alone.
 * Errors:    NULL when memory or the ceiling is reached; `failed` then stays
 *            set.
 * Threads:   one thread at a time.
 */
#ifndef DF_SERVE_ARENA_H
#define DF_SERVE_ARENA_H

#include <stdbool.h>
#include <stddef.h>

struct df_arena_chunk;

struct df_arena {
	struct df_arena_chunk *head; /* owned */
	size_t total;                /* bytes handed out */
	size_t ceiling;              /* most bytes */
	bool failed;
};

void df_arena_init(struct df_arena *a, size_t ceiling);
void df_arena_release(struct df_arena *a);
/* Zeroed, aligned for any type. */
void *df_arena_alloc(struct df_arena *a, size_t len);
/* A copy with a NUL after it. */
char *df_arena_strn(struct df_arena *a, const char *s, size_t len);
char *df_arena_str(struct df_arena *a, const char *s);
char *df_arena_printf(struct df_arena *a, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif
