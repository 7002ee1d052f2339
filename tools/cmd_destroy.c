/* cmd_destroy.c - destroy: drop a volume's tables. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "tools/account.h"
#include "tools/cmd.h"
#include "tools/mounted.h"
#include "tools/place.h"
#include "tools/registry.h"

#define DESTROY_MS 120000

/* A daemon would go on writing to tables that are gone. */
static bool is_mounted(const char *table)
{
	struct df_mounted_list list;
	bool found = false;

	if (df_mounted_read(&list))
		return false;
	for (size_t i = 0; i < list.n && !found; i++) {
		found = list.v[i].ours && strcmp(list.v[i].source, table) == 0;
		if (found)
			df_log_error("%s: the table is mounted at %s; unmount "
				     "it first (deeplake umount %s)",
				     table, list.v[i].path, list.v[i].path);
	}
	df_mounted_release(&list);
	return found;
}

static int destroy(const struct df_conf *opt, const char *table)
{
	struct df_account a;
	int err = df_account_load(opt, table, &a);

	if (err)
		return df_exit_of(err);
	a.table.patience_ms = DF_PATIENCE_MS;
	err = df_table_destroy(&a.table, DESTROY_MS);
	if (!err) {
		df_registry_drop_table(table, a.table.workspace);
		printf("table %s of workspace %s is gone\n", table,
		       a.table.workspace);
	} else if (df_exit_of(err) == DF_EXIT_UNREACHABLE) {
		df_log_error("table %s: %s does not answer; if some of it was "
			     "dropped, the same command drops the rest",
			     table, a.table.api_url);
	}
	df_account_release(&a);
	return df_exit_of(err);
}

struct destroy_args {
	bool yes;
	struct df_conf opt;
};

static int parse(int argc, char **argv, struct destroy_args *a)
{
	static const struct option longs[] = {
		{ "yes", no_argument, NULL, 'y' },
		{ "org", required_argument, NULL, 'g' },
		{ "workspace", required_argument, NULL, 'w' },
		{ "api-url", required_argument, NULL, 'u' },
		{ "options", required_argument, NULL, 'o' },
		{ NULL, 0, NULL, 0 },
	};
	char msg[512];

	opterr = 0;
	for (int c; (c = getopt_long(argc, argv, "o:", longs, NULL)) != -1;) {
		int err = 0;
		if (c == 'y')
			a->yes = true;
		else if (c == 'g' || c == 'w' || c == 'u')
			err = df_conf_set(&a->opt,
					  c == 'g'   ? "org"
					  : c == 'w' ? "workspace"
						     : "api_url",
					  optarg, msg, sizeof(msg));
		else if (c == 'o')
			err = df_conf_parse(&a->opt, optarg, false, msg,
					    sizeof(msg));
		else
			return df_usage_opt(argv, optopt, optind);
		if (err)
			return df_usage("destroy", "destroy: %s", msg);
	}
	if (argc - optind != 1)
		return df_usage("destroy", "destroy: give one table");
	return 0;
}

int df_cmd_destroy(int argc, char **argv)
{
	struct destroy_args a = { .yes = false };

	df_conf_init(&a.opt);
	int status = parse(argc, argv, &a);
	const char *table = status ? NULL : argv[optind];
	if (!status && df_place_check_table(table))
		status = DF_EXIT_USAGE;
	if (!status && !a.yes) {
		df_log_error("destroy %s would delete every file in it, for "
			     "everybody; add --yes if that is what you want",
			     table);
		status = DF_EXIT_USAGE;
	}
	if (!status)
		status = is_mounted(table) ? DF_EXIT_FAILED
					   : destroy(&a.opt, table);
	df_conf_release(&a.opt);
	return status;
}
