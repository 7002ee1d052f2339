/* err.c - see err.h. */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

const char *df_strerror(int err)
{
	static const struct {
		int err;
		const char *text;
	} own[] = {
		{ DF_ECORRUPT, "stored bytes are not what was written" },
		{ DF_EFORMAT, "written by a newer version" },
		{ DF_EOFFLINE, "server not reachable" },
	};

	for (size_t i = 0; i < DF_ARRAY_LEN(own); i++)
		if (own[i].err == err)
			return own[i].text;
	const char *text = strerrordesc_np(err < 0 ? -err : err);
	return text ? text : "unknown error";
}

int df_fail(int err, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	df_log_error("%s: %s", text, df_strerror(err));
	return err;
}

void df_cleanup_free(void *p)
{
	free(*(void **)p);
}

void df_cleanup_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}
