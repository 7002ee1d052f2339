/* mem.c - see mem.h. */
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

static void *must(void *p)
{
	if (!p) {
		df_log_error("out of memory");
		abort();
	}
	return p;
}

void *df_xalloc(size_t size)
{
	return must(calloc(1, size ? size : 1));
}

void *df_xrealloc(void *p, size_t n, size_t size)
{
	return must(reallocarray(p, n ? n : 1, size));
}

void *df_xdup(const void *p, size_t len)
{
	if (!len)
		return NULL;
	void *out = must(malloc(len));
	memcpy(out, p, len);
	return out;
}

char *df_xstrdup(const char *s)
{
	return must(strdup(s));
}
