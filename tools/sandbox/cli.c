/* cli.c - see cli.h. */
#include "tools/sandbox/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "tools/sandbox/args.h"
#include "tools/sandbox/guestd.h"
#include "tools/sandbox/intr.h"

int df_exit_of(int err)
{
	switch (-err) {
	case 0:
		return DF_EXIT_OK;
	case EACCES:
	case EKEYREJECTED:
		return DF_EXIT_CREDENTIALS;
	case EHOSTUNREACH:
	case ECONNREFUSED:
	case ETIMEDOUT:
		return DF_EXIT_UNREACHABLE;
	case EINPROGRESS:
		return DF_EXIT_NOT_REMOTE;
	case EINVAL:
		return DF_EXIT_USAGE;
	default:
		return DF_EXIT_FAILED;
	}
}

void df_json_print(json_t *o)
{
	char *text = o ? json_dumps(o, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

	if (text)
		puts(text);
	free(text);
	json_decref(o);
}

const char *df_json_str(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

char *df_json_dup(const json_t *o, const char *key)
{
	const char *s = df_json_str(o, key);

	return *s ? strdup(s) : NULL;
}

static int run_command(int argc, char **argv)
{
	struct df_args a;

	int status = df_args_parse(argc, argv, &a);
	if (!status && a.help) {
		df_args_help(a.cmd);
	} else if (!status) {
		if (a.verbose)
			df_log_set_level(DF_LOG_DEBUG);
		if (a.quiet)
			df_log_set_level(DF_LOG_WARN);
		status = a.cmd->run(&a);
	}
	df_args_release(&a);
	if (fflush(stdout) && !status) {
		df_fail(-errno, "stdout");
		status = DF_EXIT_FAILED;
	}
	return status;
}

int df_sandbox_main(int argc, char **argv)
{
	const char *first = argc > 1 ? argv[1] : "";

	df_log_set_prefix("deeplake sandbox: ");
	if (strcmp(first, DF_GUESTD_ROLE) == 0)
		return df_guestd_main(argc - 1, argv + 1);
	if (strcmp(first, "help") == 0 || strcmp(first, "--help") == 0 ||
	    strcmp(first, "-h") == 0) {
		df_args_help(NULL);
		return 0;
	}
	if (strcmp(first, "version") == 0 || strcmp(first, "--version") == 0) {
		printf("deeplake-sandbox %s\n", DF_VERSION);
		return 0;
	}
	if (strcmp(first, "options") == 0) {
		df_args_dump();
		return 0;
	}
	if (df_intr_init())
		return DF_EXIT_FAILED;
	return run_command(argc, argv);
}
