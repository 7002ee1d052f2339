/* cmd_destroy.c - destroy: drop a volume's tables. */
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "tools/cmd.h"
#include "tools/mounted.h"
#include "tools/place.h"
#include "tools/query_args.h"
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

int df_cmd_destroy(int argc, char **argv)
{
	static const char *const flags[] = { "yes", NULL };
	struct df_query_args a = { .flags = flags };
	int status = df_query_parse(&a, argc, argv, 1, 1, "one table");
	const char *table = status ? NULL : a.word[0];

	if (!status && df_place_check_table(table))
		status = DF_EXIT_USAGE;
	if (!status && !df_query_flag(&a, "yes")) {
		df_log_error("destroy %s would delete every file in it, for "
			     "everybody; add --yes if that is what you want",
			     table);
		status = DF_EXIT_USAGE;
	}
	if (!status)
		status = is_mounted(table) ? DF_EXIT_FAILED
					   : destroy(&a.opt, table);
	df_query_close(&a);
	return status;
}
