/* pgstore.c - workspaces in schemas of a PostgreSQL database; see store.h. */
#include <errno.h>

#include "base/log.h"
#include "tools/serve/store.h"

int df_pgstore_open(const char *url, struct df_store **out)
{
	(void)url;
	*out = NULL;
	df_log_error("--store postgres://...: not in this version; use "
		     "sqlite:DIRECTORY");
	return -ENOTSUP;
}
