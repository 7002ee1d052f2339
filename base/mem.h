/*
 * mem.h - allocation of small things that cannot sensibly fail.
 *
 * Running out of memory for a few hundred bytes ends the process at once: the
 * journal makes that the same as SIGKILL, which loses nothing (promise 2),
 * while half an operation in memory would.  Anything whose size comes from
 * outside (bodies, packs, answers) is allocated through df_buf, which has a
 * ceiling and returns errors.
 */
#ifndef DF_BASE_MEM_H
#define DF_BASE_MEM_H

#include <stddef.h>

void *df_xalloc(size_t size); /* zeroed */
void *df_xrealloc(void *p, size_t n, size_t size);
void *df_xdup(const void *p, size_t len); /* NULL for len 0 */
char *df_xstrdup(const char *s);

/* Grow array v (n used, *size allocated) so that one more fits. */
#define DF_GROW(v, n, size)                                           \
	do {                                                          \
		if ((n) == (size)) {                                  \
			(size) = (size) ? (size)*2 : 4;               \
			(v) = df_xrealloc((v), (size), sizeof(*(v))); \
		}                                                     \
	} while (0)

#endif
