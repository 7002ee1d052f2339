/*
 * main.c - one program under several names: deeplake COMMAND, and what mount(8)
 * and umount(8) call (mount.deeplakefs, umount.fuse.deeplakefs, ...).
 */
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/conf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "tools/cmd.h"
#include "tools/query_cmd.h"

#ifndef DF_LIBEXECDIR
#define DF_LIBEXECDIR "/usr/local/libexec/deeplake"
#endif

#define OPT_O                                                              \
	"  -o NAME[=VALUE],...  options of the mount; 'help mount' lists " \
	"them\n"

#define TABLE_OPTIONS                               \
	"  --org ID             the organization\n" \
	"  --workspace W        the workspace\n"    \
	"  --api-url URL        the server\n" OPT_O
#define QUERY_OPTIONS                                                \
	"  --json               an array of objects\n"               \
	"  --csv                with a line of names (default in a " \
	"pipe)\n"                                                    \
	"  --table              in columns (default on a "           \
	"terminal)\n" TABLE_OPTIONS

const struct df_cmd df_cmds[] = {
	{ "login", NULL, df_cmd_login,
	  "[--api-url URL] [--org ID] [--workspace W] [-o OPTIONS]",
	  "get a token by a code that is confirmed in a browser",
	  TABLE_OPTIONS },
	{ "logout", NULL, df_cmd_logout, "[-o OPTIONS]",
	  "take the token out of the credentials file", OPT_O },
	{ "init", NULL, df_cmd_init, "--table T[:/sub/dir] --path P [OPTIONS]",
	  "make the table if it is missing, remember the mount, mount it",
	  "  --table T            the table; T:/sub/dir shows only that part\n"
	  "  --path P             where to mount it; made if it is missing\n"
	  "  --org ID             the organization\n"
	  "  --workspace W        the workspace\n"
	  "  --api-url URL        the server\n" OPT_O
	  "  -f, --foreground     do not become a daemon; log to stderr\n" },
	{ "mount", NULL, df_cmd_mount, "PATH | --all | TABLE PATH [OPTIONS]",
	  "mount what init remembered, or a table at a path",
	  "  --all                every mount that init remembered\n"
	  "  -f, --foreground     do not become a daemon; log to "
	  "stderr\n" OPT_O },
	{ "umount", "unmount stop", df_cmd_umount,
	  "PATH | --all [--timeout S] [--force | --lazy]",
	  "send everything, unmount, wait for the daemon's end",
	  "  --all                every mounted table\n"
	  "  --timeout S          how long to wait until all is in the table; "
	  "without it\n"
	  "                       the mount's umount_timeout (60)\n"
	  "  --force              unmount even if not: the next mount sends "
	  "the rest\n"
	  "  --lazy               now, without sending or waiting\n"
	  "  --cache-dir DIR      the mount's cache, where nothing else says "
	  "whose it is\n" },
	{ "list", "ls", df_cmd_list, "[--json]",
	  "the mounts, running or remembered", NULL },
	{ "status", NULL, df_cmd_status, "[PATH] [--json] [--clear]",
	  "what is not in the table yet, polls, cache, errors",
	  "  --json               for programs\n"
	  "  --clear              forget the errors shown\n" },
	{ "flush", NULL, df_cmd_flush, "PATH [--timeout S]",
	  "return once everything is in the table",
	  "  --timeout S          give up after this long (60), status 5\n" },
	{ "warm", NULL, df_cmd_warm, "PATH",
	  "fetch a file or a tree into the local cache", NULL },
	{ "destroy", NULL, df_cmd_destroy,
	  "TABLE --yes [--org ID] [--workspace W] [--api-url URL] [-o OPTIONS]",
	  "drop a volume's tables: everything in it is gone",
	  "  --yes                without it nothing happens\n" },
	{ "query", NULL, df_cmd_query,
	  "TABLE \"SQL\" [--json | --csv | --table]",
	  "ask a workspace's tables with SQL", QUERY_OPTIONS },
	{ "grep", NULL, df_cmd_grep, "TABLE WORD [--ignore-case] [--files]",
	  "find a word in a table's texts: path:line:text",
	  "  --ignore-case        upper and lower case are the same\n"
	  "  --files              only the paths\n" TABLE_OPTIONS },
	{ "import", NULL, df_cmd_import, "DIR TABLE [OPTIONS]",
	  "copy a directory into a table, without a mount; can be repeated",
	  TABLE_OPTIONS },
	{ "export", NULL, df_cmd_export, "TABLE DIR [OPTIONS]",
	  "copy a table's files into a directory, without a mount",
	  TABLE_OPTIONS },
	{ "fsck", NULL, df_cmd_fsck, "TABLE [--json] [--view | --repair]",
	  "check a table: log, packs, tree, files view",
	  "  --json               for programs\n"
	  "  --view               only the files view; rebuild what differs\n"
	  "  --repair             check all, rebuild the files view; nothing "
	  "is deleted\n"
	  "                       that cannot be made again\n"
	  "Exit status: 0 clean, 1 repaired, 4 errors left, 8 not checked, 16 "
	  "usage\n" TABLE_OPTIONS },
	{ "gc", NULL, df_cmd_gc, "TABLE [--delete] [--older-than TIME]",
	  "find packs that nothing refers to; delete them after 14 days",
	  "  --delete             delete what was seen unused 14 days ago and "
	  "is still\n"
	  "  --older-than TIME    instead of 14d; less only where nothing is "
	  "mounted\n"
	  "  --dry-run            only say what there is (the "
	  "default)\n" TABLE_OPTIONS },
	{ "serve", NULL, df_cmd_exec, "[OPTIONS]",
	  "run a table server; see deeplake-serve(1)", NULL },
	{ "sandbox", NULL, df_cmd_exec, "COMMAND [OPTIONS]",
	  "sandboxes that mount tables; see deeplake-sandbox(1)", NULL },
	{ "version", NULL, df_cmd_version, "", "print the version", NULL },
	{ "help", NULL, df_cmd_help, "[COMMAND]",
	  "explain the commands, or one of them", NULL },
	{ NULL, NULL, NULL, NULL, NULL, NULL },
};

static bool has_word(const char *list, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = list; p && n; p = strchr(p, ' ')) {
		p += *p == ' ';
		if (strncmp(p, word, n) == 0 && (!p[n] || p[n] == ' '))
			return true;
	}
	return false;
}

static const struct df_cmd *find_cmd(const char *name)
{
	for (const struct df_cmd *c = df_cmds; c->name; c++)
		if (strcmp(c->name, name) == 0 || has_word(c->aliases, name))
			return c;
	return NULL;
}

int df_usage(const char *cmd, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (*cmd)
		df_log_error("%s; 'deeplake help %s' explains it", text, cmd);
	else
		df_log_error("%s; 'deeplake help' lists the commands", text);
	return DF_EXIT_USAGE;
}

int df_usage_opt(char **argv, int optopt_value, int optind_value)
{
	const char *given = argv[optind_value - 1];
	bool is_long = strncmp(given, "--", 2) == 0;

	if (optopt_value && !is_long)
		return df_usage(argv[0],
				"%s: option -%c is not known or lacks its "
				"value",
				argv[0], optopt_value);
	return df_usage(argv[0],
			optopt_value ? "%s: option %s wants a value, or none"
				     : "%s: option %s is not known",
			argv[0], given);
}

/* ---- help */

static void print_all(void)
{
	printf("usage: deeplake COMMAND [ARGUMENTS]\n\n"
	       "Folders that outlive their sandbox: mount a remote table as a "
	       "filesystem.\n\n");
	for (const struct df_cmd *c = df_cmds; c->name; c++)
		printf("  %-9s %s\n", c->name, c->summary);
	printf("\nExit status: 0 done; 1 failed, nothing changed; 2 usage; 3 "
	       "credentials;\n4 server unreachable; 5 not everything is in the "
	       "table yet.\n");
}

void df_cmd_print_help(const struct df_cmd *c)
{
	printf("usage: deeplake %s%s%s\n\n%s\n", c->name,
	       *c->synopsis ? " " : "", c->synopsis, c->summary);
	if (c->details)
		printf("\n%s", c->details);
	if (c->run == df_cmd_mount) {
		printf("\nOptions of -o, of mount(8) and of fstab(5):\n");
		df_conf_help(stdout);
	}
}

/* For completion: words on a line each, nothing else. */
static int print_words(const char *what)
{
	if (strcmp(what, "options") == 0) {
		df_conf_names(stdout);
		return DF_EXIT_OK;
	}
	for (const struct df_cmd *c = df_cmds; c->name; c++)
		puts(c->name);
	return DF_EXIT_OK;
}

int df_cmd_help(int argc, char **argv)
{
	if (argc == 2 && strncmp(argv[1], "--words=", 8) == 0)
		return print_words(argv[1] + 8);
	if (argc > 2)
		return df_usage("", "help takes one command");
	if (argc == 1) {
		print_all();
		return DF_EXIT_OK;
	}
	const struct df_cmd *c = find_cmd(argv[1]);
	if (!c)
		return df_usage("", "there is no command '%s'", argv[1]);
	if (c->run == df_cmd_exec) {
		char *args[] = { argv[1], (char[]){ "--help" }, NULL };
		return df_cmd_exec(2, args);
	}
	df_cmd_print_help(c);
	return DF_EXIT_OK;
}

int df_cmd_version(int argc, char **argv)
{
	(void)argv;
	if (argc > 1)
		return df_usage("version", "version takes no arguments");
	puts("deeplakefs " DF_VERSION);
	return DF_EXIT_OK;
}

/* ---- serve and sandbox are programs of their own */

int df_cmd_exec(int argc, char **argv)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	(void)argc;
	self[n > 0 ? n : 0] = 0;
	char *slash = strrchr(self, '/');
	if (slash)
		*slash = 0;
	const char *dirs[] = { self, DF_LIBEXECDIR };
	for (size_t i = 0; i < DF_ARRAY_LEN(dirs); i++) {
		DF_FREE char *path =
			df_strf("%s/deeplake-%s", dirs[i], argv[0]);
		if (path)
			execv(path, argv);
	}
	DF_FREE char *name = df_strf("deeplake-%s", argv[0]);
	if (name)
		execvp(name, argv);
	df_log_error(
		"the program deeplake-%s is not installed beside deeplake, "
		"in %s or in PATH: %s",
		argv[0], DF_LIBEXECDIR, df_strerror(-errno));
	return DF_EXIT_FAILED;
}

static bool asks_for_help(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--help") == 0 ||
		    strcmp(argv[i], "-h") == 0)
			return true;
	return false;
}

static int run_command(int argc, char **argv)
{
	const char *name = argv[0];

	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
		name = "help";
	if (strcmp(name, "--version") == 0)
		name = "version";
	const struct df_cmd *c = find_cmd(name);
	if (!c)
		return df_usage("", "there is no command '%s'", name);
	if (c->run != df_cmd_exec && c->run != df_cmd_help &&
	    asks_for_help(argc, argv)) {
		df_cmd_print_help(c);
		return DF_EXIT_OK;
	}
	return c->run(argc, argv);
}

int main(int argc, char **argv)
{
	const char *slash = argc ? strrchr(argv[0], '/') : NULL;
	const char *self = slash ? slash + 1 : argc ? argv[0] : "deeplake";

	df_log_set_prefix("deeplake: ");
	if (strncmp(self, "mount.", 6) == 0)
		return df_helper_mount(argc, argv);
	if (strncmp(self, "umount.", 7) == 0)
		return df_helper_umount(argc, argv);
	if (argc < 2) {
		print_all();
		return DF_EXIT_USAGE;
	}
	if (strcmp(argv[1], "-v") == 0 || strcmp(argv[1], "--verbose") == 0) {
		df_log_set_level(DF_LOG_DEBUG);
		argc--;
		argv++;
	}
	if (argc < 2)
		return df_usage("", "the command is missing");
	int status = run_command(argc - 1, argv + 1);
	/* a full disk or a closed pipe is no success */
	if (fflush(stdout) || ferror(stdout)) {
		df_fail(-errno, "writing to standard output");
		return status ? status : DF_EXIT_FAILED;
	}
	return status;
}
