/*
 * query_args.h - the arguments that commands share which work without a mount:
 * words, TABLE first, and --org, --workspace, --api-url and -o.
 */
#ifndef DF_TOOLS_QUERY_ARGS_H
#define DF_TOOLS_QUERY_ARGS_H

#include <getopt.h>
#include <stdbool.h>

#include "backend/api.h"
#include "tools/account.h"

#define DF_QUERY_FLAGS 12

struct df_query_args {
	const char *cmd;
	struct df_conf opt;
	/* Flags of the command: names, ended by NULL, and which were given. */
	const char *const *flags;
	bool given[DF_QUERY_FLAGS];
	int64_t *age; /* where --older-than goes, ms; NULL: no such option */
	/* Words; word[0] is the table. */
	char **word;
	int n_words;
	struct df_account account;
	struct df_remote *remote; /* owned */
};

/* Read argv; between min and max words are wanted, which `words` names.
 * 0, or the exit status (said). */
int df_query_parse(struct df_query_args *a, int argc, char **argv, int min,
		   int max, const char *words);
/* Credentials and connection; the table is not looked at.  0 or the exit
 * status. */
int df_query_open(struct df_query_args *a);
/* Is flag `name` among those given? */
bool df_query_flag(const struct df_query_args *a, const char *name);
void df_query_close(struct df_query_args *a);
/* Run a statement (released); *out is the caller's to release on success. */
int df_query_run(struct df_query_args *a, struct df_stmt *s, const char *what,
		 struct df_answer *out);
/* What -errno means to who asked for SQL; the exit status. */
int df_query_failed(const struct df_query_args *a, int err);

#endif
