/*
 * account.h - the server, the token and the table a command works on: options
 * over the environment over the credentials file.
 */
#ifndef DF_TOOLS_ACCOUNT_H
#define DF_TOOLS_ACCOUNT_H

#include "backend/creds.h"
#include "backend/table.h"
#include "base/conf.h"

/* How long a command tries a server that never answered. */
#define DF_PATIENCE_MS 10000

struct df_account {
	struct df_creds creds;
	/* Points into creds, conf and the table's name, which must stay. */
	struct df_table_conf table;
};

/* 0 or -errno (logged); DF_EAUTH: no usable credentials. */
int df_account_load(const struct df_conf *conf, const char *table,
		    struct df_account *out);
void df_account_release(struct df_account *a);

/* The exit status that tells -errno to who called the command. */
int df_exit_of(int err);

#endif
