/* cmd_mount.c - mount: what init remembered, or a table at a path. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "tools/cmd.h"
#include "tools/place.h"
#include "tools/registry.h"
#include "tools/start.h"

struct mount_args {
	const char *options; /* -o, or NULL */
	bool all, foreground;
};

/* The options that an entry was registered with, then those given now. */
static int read_options(struct df_conf *opt, const char *first,
			const char *second)
{
	char msg[512];

	df_conf_init(opt);
	if ((!first || !df_conf_parse(opt, first, false, msg, sizeof(msg))) &&
	    (!second || !df_conf_parse(opt, second, false, msg, sizeof(msg))))
		return 0;
	df_conf_release(opt);
	return df_usage("mount", "mount: %s", msg);
}

static int mount_entry(const struct df_entry_reg *e, const struct mount_args *a)
{
	struct df_conf opt;
	char msg[256];
	pid_t pid;

	int status = read_options(&opt, e->options, a->options);
	if (status)
		return status;
	/* entries of other tools name these only outside of "options" */
	if (e->workspace && !opt.workspace)
		df_conf_set(&opt, "workspace", e->workspace, msg, sizeof(msg));
	if (e->org && !opt.org)
		df_conf_set(&opt, "org", e->org, msg, sizeof(msg));
	struct df_start s = {
		.opt = &opt,
		.table = e->table,
		.subdir = e->subdir,
		.path = e->path,
		.foreground = a->foreground,
		.mounted_is_fine = a->all,
	};
	status = df_start(&s, &pid);
	if (pid > 0)
		df_registry_set_pid(e->path, pid, 0);
	df_conf_release(&opt);
	return status;
}

/* The worst of the statuses, for every entry is tried. */
static int mount_all(const struct mount_args *a)
{
	struct df_registry reg;
	int worst = DF_EXIT_OK;

	if (df_registry_load(&reg))
		return DF_EXIT_FAILED;
	if (!reg.n)
		df_log_info("nothing to mount: 'deeplake init' remembers "
			    "mounts");
	for (size_t i = 0; i < reg.n; i++) {
		int status = mount_entry(&reg.v[i], a);
		worst = DF_MAX(worst, status);
	}
	df_registry_release(&reg);
	return worst;
}

static int mount_known(const char *arg, const struct mount_args *a)
{
	DF_FREE char *path = NULL;
	struct df_registry reg;
	int status = DF_EXIT_FAILED;

	if (df_place_path(arg, &path) || df_registry_load(&reg))
		return DF_EXIT_FAILED;
	const struct df_entry_reg *e = df_registry_find(&reg, path);
	if (e)
		status = mount_entry(e, a);
	else
		df_log_error("%s: no table is known for this path; 'deeplake "
			     "init --table T --path %s' makes it known, "
			     "'deeplake list' shows what is",
			     path, path);
	df_registry_release(&reg);
	return status;
}

static int mount_table(const char *source, const char *arg,
		       const struct mount_args *a)
{
	DF_FREE char *table = NULL, *subdir = NULL, *path = NULL;
	struct df_conf opt;
	pid_t pid;

	if (df_place_source(source, &table, &subdir))
		return DF_EXIT_USAGE;
	if (df_place_path(arg, &path))
		return DF_EXIT_FAILED;
	int status = read_options(&opt, a->options, NULL);
	if (status)
		return status;
	struct df_start s = {
		.opt = &opt,
		.table = table,
		.subdir = subdir,
		.path = path,
		.foreground = a->foreground,
	};
	status = df_start(&s, &pid);
	df_conf_release(&opt);
	return status;
}

int df_cmd_mount(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "all", no_argument, NULL, 'a' },
		{ "foreground", no_argument, NULL, 'f' },
		{ "options", required_argument, NULL, 'o' },
		{ NULL, 0, NULL, 0 },
	};
	struct mount_args a = { 0 };

	opterr = 0;
	for (int c; (c = getopt_long(argc, argv, "afo:", longs, NULL)) != -1;) {
		if (c == 'a')
			a.all = true;
		else if (c == 'f')
			a.foreground = true;
		else if (c == 'o')
			a.options = optarg;
		else
			return df_usage_opt(argv, optopt, optind);
	}
	int n = argc - optind;
	if (a.all && a.foreground)
		return df_usage("mount", "mount: --all and --foreground do not "
					 "go together");
	if (a.all ? n != 0 : n < 1 || n > 2)
		return df_usage("mount", "mount: give a path, a table and a "
					 "path, or --all");
	if (a.all)
		return mount_all(&a);
	return n == 1 ? mount_known(argv[optind], &a)
		      : mount_table(argv[optind], argv[optind + 1], &a);
}
