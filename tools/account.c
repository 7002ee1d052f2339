/* account.c - see account.h. */
#include "tools/account.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"

int df_exit_of(int err)
{
	switch (err) {
	case 0:
		return DF_EXIT_OK;
	case -EINVAL:
		return DF_EXIT_USAGE;
	case DF_EAUTH:
		return DF_EXIT_CREDENTIALS;
	case DF_EOFFLINE:
	case -EAGAIN:
	case -ETIMEDOUT:
		return DF_EXIT_UNREACHABLE;
	default:
		return DF_EXIT_FAILED;
	}
}

int df_account_load(const struct df_conf *conf, const char *table,
		    struct df_account *out)
{
	memset(out, 0, sizeof(*out));
	if (conf->credentials) {
		/* a file that was named on purpose beats an old variable, here
		 * and when the daemon reads it again */
		unsetenv("DEEPLAKE_TOKEN");
		unsetenv("DEEPLAKE_API_KEY");
	}
	int err = df_creds_load(conf->credentials, &out->creds);
	if (err)
		return err;
	const struct df_creds *c = &out->creds;
	out->table = (struct df_table_conf){
		.api_url = conf->api_url ? conf->api_url : c->api_url,
		.token = c->token,
		.org = conf->org ? conf->org : c->org_id,
		.workspace = conf->workspace ? conf->workspace : c->workspace,
		.table = table,
		.credentials = conf->credentials,
		.ca_file = conf->ca_file,
		.bwlimit = conf->bwlimit,
		.view = conf->view,
	};
	return 0;
}

void df_account_release(struct df_account *a)
{
	df_creds_release(&a->creds);
	memset(&a->table, 0, sizeof(a->table));
}
