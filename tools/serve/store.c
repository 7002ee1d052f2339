/* store.c - what all stores share; see store.h. */
#include "tools/serve/store.h"

#include <string.h>

#include "base/err.h"
#include "base/log.h"

void df_answer_init(struct df_answer *a)
{
	*a = (struct df_answer){ .kind = DF_SQL_UNKNOWN };
	df_buf_init(&a->body, 0);
}

void df_answer_release(struct df_answer *a)
{
	df_buf_release(&a->body);
}

/* A text of n bytes makes tokens and nodes of some 20 n; a parameter is copied
 * where it is unescaped, and once more where it is converted. */
size_t df_stmt_memory(const struct df_stmt *in)
{
	size_t text = DF_MIN((size_t)248 << 20, in->len * 40);

	return ((size_t)8 << 20) + text + in->params.len * 3 +
	       in->batch.len * 3;
}

bool df_workspace_id_ok(const char *id)
{
	size_t i, len = strlen(id);

	if (len == 0 || len > 63)
		return false;
	for (i = 0; i < len; i++) {
		char c = id[i];
		bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');

		if (word)
			continue;
		/* - and _ stand alone, between words */
		if ((c != '-' && c != '_') || i == 0 || i + 1 == len ||
		    id[i - 1] == '-' || id[i - 1] == '_')
			return false;
	}
	return true;
}

int df_store_open(const char *where, bool serve, bool stand_in,
		  struct df_store **out)
{
	if (strncmp(where, "sqlite:", 7) == 0 && where[7] != '\0')
		return df_litestore_open(where + 7, serve, out);
	if (strncmp(where, "postgres://", 11) == 0 ||
	    strncmp(where, "postgresql://", 13) == 0)
		return df_pgstore_open(where, stand_in, out);
	df_log_error("--store %s: not a store: give sqlite:DIRECTORY or "
		     "postgres://HOST/DATABASE",
		     where);
	return -EINVAL;
}
