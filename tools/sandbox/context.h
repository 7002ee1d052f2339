/* context.h - the files that COPY steps of a build need, as archives. */
#ifndef DF_SANDBOX_CONTEXT_H
#define DF_SANDBOX_CONTEXT_H

#include <jansson.h>

/* Replace each COPY step whose source is a pattern by one for each match;
 * a source that is not there is an error.  0 or -errno, logged. */
int df_context_expand(const char *dir, json_t *steps);
/*
 * Pack the source of a COPY step: *path is a gzip'd tar to unlink and free,
 * whose member names begin with the source; hash: 64 hex digits of it and the
 * step.  .dockerignore is respected ("!" lines are refused).
 */
int df_context_pack(const char *dir, const json_t *step, char **path,
		    char hash[65]);

#endif
