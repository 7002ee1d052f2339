/* cmd_init.c - init: make, remember and mount. */
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "tools/account.h"
#include "tools/cmd.h"
#include "tools/place.h"
#include "tools/registry.h"
#include "tools/start.h"

struct init_args {
	char *source, *path;   /* owned */
	struct df_buf options; /* what -o and its short forms said */
	bool foreground;
};

enum { OPT_ORG = 256, OPT_WORKSPACE, OPT_API_URL, OPT_TABLE, OPT_PATH };

/* Append NAME=VALUE, escaped, as if it had been given with -o. */
static void add_option(struct df_buf *b, const char *name, const char *value)
{
	if (b->len)
		df_buf_put_u8(b, ',');
	df_buf_printf(b, "%s=", name);
	for (const char *p = value; *p; p++) {
		if (*p == ',' || *p == '\\')
			df_buf_put_u8(b, '\\');
		df_buf_put_u8(b, (uint8_t)*p);
	}
}

static int keep(char **at, const char *value)
{
	free(*at);
	*at = strdup(value);
	return *at ? 0 : df_exit_of(df_fail(-ENOMEM, "reading arguments"));
}

static int take_arg(struct init_args *a, int c, const char *value)
{
	switch (c) {
	case OPT_TABLE:
		return keep(&a->source, value);
	case OPT_PATH:
		return keep(&a->path, value);
	case OPT_ORG:
		add_option(&a->options, "org", value);
		return 0;
	case OPT_WORKSPACE:
		add_option(&a->options, "workspace", value);
		return 0;
	case OPT_API_URL:
		add_option(&a->options, "api_url", value);
		return 0;
	case 'o':
		df_buf_printf(&a->options, "%s%s", a->options.len ? "," : "",
			      value);
		return 0;
	default: /* 'f' */
		a->foreground = true;
		return 0;
	}
}

static int parse_args(int argc, char **argv, struct init_args *a)
{
	static const struct option longs[] = {
		{ "table", required_argument, NULL, OPT_TABLE },
		{ "path", required_argument, NULL, OPT_PATH },
		{ "org", required_argument, NULL, OPT_ORG },
		{ "workspace", required_argument, NULL, OPT_WORKSPACE },
		{ "api-url", required_argument, NULL, OPT_API_URL },
		{ "foreground", no_argument, NULL, 'f' },
		{ "options", required_argument, NULL, 'o' },
		{ NULL, 0, NULL, 0 },
	};

	opterr = 0;
	for (int c; (c = getopt_long(argc, argv, "o:f", longs, NULL)) != -1;) {
		if (c == '?')
			return df_usage_opt(argv, optopt, optind);
		int status = take_arg(a, c, optarg);
		if (status)
			return status;
	}
	if (optind < argc)
		return df_usage("init",
				"init: '%s' is not expected; name the "
				"table with --table and the path with --path",
				argv[optind]);
	return 0;
}

/* What is missing comes from the environment, or from who sits there. */
static int complete(char **at, const char *variable, const char *question,
		    const char *flag)
{
	const char *env = getenv(variable);
	char line[4096];

	if (*at)
		return 0;
	if (env && *env)
		return keep(at, env);
	if (!isatty(STDIN_FILENO))
		return df_usage("init", "init: %s is missing", flag);
	fprintf(stderr, "%s: ", question);
	if (!fgets(line, sizeof(line), stdin))
		line[0] = 0;
	line[strcspn(line, "\n")] = 0;
	return *line ? keep(at, line)
		     : df_usage("init", "init: %s is missing", flag);
}

static int remember(const struct df_conf *opt, const struct df_start *s,
		    char *options, pid_t pid)
{
	struct df_account a;
	struct df_entry_reg e = { 0 };

	/* for the names that the service knows them by */
	int err = df_account_load(opt, s->table, &a);
	DF_FREE char *org = !err && a.table.org ? strdup(a.table.org) : NULL;
	DF_FREE char *ws = err ? NULL : strdup(a.table.workspace);
	DF_FREE char *table = strdup(s->table), *path = strdup(s->path);
	DF_FREE char *subdir = s->subdir ? strdup(s->subdir) : NULL;
	e = (struct df_entry_reg){ path, table, subdir,
				   ws,   org,   *options ? options : NULL };
	if (!err) {
		err = df_registry_put(&e);
		df_account_release(&a);
	}
	if (!err && pid > 0)
		err = df_registry_set_pid(s->path, pid, 0);
	if (err)
		df_log_warn("%s is mounted, but 'deeplake mount %s' will not "
			    "know it",
			    s->path, s->path);
	return err;
}

static int init_mount(struct init_args *a, struct df_conf *opt, char *options)
{
	DF_FREE char *table = NULL, *subdir = NULL, *path = NULL;
	pid_t pid;

	if (df_place_source(a->source, &table, &subdir))
		return DF_EXIT_USAGE;
	if (df_place_path(a->path, &path))
		return DF_EXIT_FAILED;
	struct df_start s = {
		.opt = opt,
		.table = table,
		.subdir = subdir,
		.path = path,
		.create_table = !opt->read_only,
		.make_dir = true,
		.foreground = a->foreground,
	};
	int status = df_start(&s, &pid);
	if (status || a->foreground)
		return status;
	remember(opt, &s, options, pid);
	printf("%s: table %s mounted\n", path, table);
	if (geteuid() != 0 && !opt->allow_other)
		df_log_info("only you can use it; -o allow_other lets others "
			    "in, where /etc/fuse.conf has user_allow_other");
	return DF_EXIT_OK;
}

int df_cmd_init(int argc, char **argv)
{
	struct init_args a = { 0 };
	struct df_conf opt;
	char msg[512];

	df_conf_init(&opt);
	df_buf_init(&a.options, 1 << 20);
	int status = parse_args(argc, argv, &a);
	if (!status)
		status = complete(&a.source, "DEEPLAKE_TABLE", "table",
				  "--table T");
	if (!status)
		status = complete(&a.path, "DEEPLAKE_MOUNT_PATH", "mount path",
				  "--path P");
	DF_FREE char *options = strdup(df_buf_cstr(&a.options));
	if (!status &&
	    (!options || df_conf_parse(&opt, options, false, msg, sizeof(msg))))
		status = df_usage("mount", "init: %s",
				  options ? msg : "out of memory");
	if (!status)
		status = init_mount(&a, &opt, options);
	free(a.source);
	free(a.path);
	df_buf_release(&a.options);
	df_conf_release(&opt);
	return status;
}
