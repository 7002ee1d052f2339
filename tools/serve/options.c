/* options.c - see options.h. */
#include "tools/serve/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"

enum option_kind {
	OPT_UNKNOWN = 0,
	OPT_TEXT,
	OPT_NUMBER,
	OPT_MIB,
	OPT_RATE,
	OPT_BOOL,
	OPT_VERBOSE
};

struct option_row {
	const char *name, *arg, *doc;
	enum option_kind kind;
	size_t offset; /* in struct df_serve_conf */
	double min, max;
};

#define AT(field) offsetof(struct df_serve_conf, field)

static const struct option_row rows[] = {
	{ "listen", "ADDRESS:PORT",
	  "where to listen; port 0 chooses "
	  "(127.0.0.1:8088)",
	  OPT_TEXT, AT(listen), 0, 0 },
	{ "store", "STORE", "sqlite:DIRECTORY or postgres://USER@HOST/DATABASE",
	  OPT_TEXT, AT(store), 0, 0 },
	{ "write-credentials", "FILE", "write a ready credentials.json (0600)",
	  OPT_TEXT, AT(credentials), 0, 0 },
	{ "simulate", "FILE",
	  "behave as FILE (JSON) says: latency, lost "
	  "answers, ...",
	  OPT_TEXT, AT(simulate), 0, 0 },
	{ "access-log", "FILE", "a line for each request; - is stderr",
	  OPT_TEXT, AT(access_log), 0, 0 },
	{ "public-url", "URL", "how browsers reach this server (login page)",
	  OPT_TEXT, AT(public_url), 0, 0 },
	{ "threads", "N", "statements at once (16)", OPT_NUMBER, AT(threads), 1,
	  256 },
	{ "max-connections", "N", "open connections (1000)", OPT_NUMBER,
	  AT(max_connections), 4, 60000 },
	{ "max-body", "MIB", "largest request (32)", OPT_MIB, AT(max_body), 1,
	  128 },
	{ "max-answer", "MIB", "largest answer (64)", OPT_MIB, AT(max_answer),
	  1, 1024 },
	{ "max-memory", "MIB", "request bodies held at once (128)", OPT_MIB,
	  AT(max_memory), 16, 65536 },
	{ "token-rate", "N", "requests a second for each token (no limit)",
	  OPT_RATE, AT(token_rate), 0, 1e6 },
	{ "token-parallel", "N", "requests at once for each token (no limit)",
	  OPT_NUMBER, AT(token_parallel), 0, 10000 },
	{ "no-stand-in", NULL,
	  "PostgreSQL has the Deeplake extension: leave its SQL to it",
	  OPT_BOOL, AT(no_stand_in), 0, 0 },
	{ "verbose", NULL, "log more", OPT_VERBOSE, 0, 0, 0 },
};

const char *df_serve_option_name(size_t i)
{
	return i < DF_ARRAY_LEN(rows) ? rows[i].name : NULL;
}

void df_serve_usage(FILE *out)
{
	size_t i;

	(void)fprintf(
		out,
		"Usage: deeplake serve [OPTIONS]\n"
		"       deeplake serve --store STORE token create|list|revoke "
		"...\n"
		"       deeplake serve --store STORE backup PATH\n"
		"\n"
		"Serve tables over HTTP with the Deeplake API, from SQLite or "
		"PostgreSQL.\n"
		"\n");
	for (i = 0; i < DF_ARRAY_LEN(rows); i++) {
		char left[64];

		(void)snprintf(left, sizeof(left), "--%s%s%s", rows[i].name,
			       rows[i].arg != NULL ? " " : "",
			       rows[i].arg != NULL ? rows[i].arg : "");
		(void)fprintf(out, "  %-26s %s\n", left, rows[i].doc);
	}
	(void)fprintf(
		out,
		"  --help, --version\n"
		"\n"
		"token create [--name NAME] [--org ORG] [--workspace W] "
		"[--table T]\n"
		"             [--read-only] [--expires 30m|1h|7d]\n"
		"                           print a new token\n"
		"token list                 tokens, without their text\n"
		"token revoke ID            stop a token within two seconds\n"
		"backup PATH                copy a running server's store\n");
}

static int option_number(const struct option_row *row, const char *text,
			 struct df_serve_conf *conf)
{
	char *field = (char *)conf + row->offset, *rest;
	double x = strtod(text, &rest);

	if (*text == '\0' || *rest != '\0' ||
	    !(x >= row->min && x <= row->max)) {
		df_log_error("--%s %s: a number from %g to %g is expected",
			     row->name, text, row->min, row->max);
		return -EINVAL;
	}
	if (row->kind == OPT_RATE)
		*(double *)(void *)field = x;
	else if (row->kind == OPT_MIB)
		*(size_t *)(void *)field = (size_t)x << 20;
	else
		*(int *)(void *)field = (int)x;
	return 0;
}

static int option_set(const struct option_row *row, const char *value,
		      struct df_serve_conf *conf)
{
	if (row->kind == OPT_BOOL) {
		*(bool *)(void *)((char *)conf + row->offset) = true;
		return 0;
	}
	if (row->kind == OPT_VERBOSE) {
		df_log_set_level(DF_LOG_DEBUG);
		return 0;
	}
	if (row->kind == OPT_TEXT) {
		*(const char **)(void *)((char *)conf + row->offset) = value;
		return 0;
	}
	return option_number(row, value, conf);
}

static const struct option_row *option_find(const char *arg, size_t len)
{
	size_t i;

	for (i = 0; i < DF_ARRAY_LEN(rows); i++)
		if (strlen(rows[i].name) == len &&
		    memcmp(rows[i].name, arg, len) == 0)
			return &rows[i];
	return NULL;
}

int df_serve_options(int argc, char **argv, struct df_serve_conf *conf)
{
	int i;

	for (i = 1; i < argc; i++) {
		const char *arg = argv[i], *eq, *value = NULL;
		const struct option_row *row;

		if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
			df_serve_usage(stdout);
			return 1;
		}
		if (strcmp(arg, "--version") == 0) {
			(void)printf("deeplake serve %s\n", DF_VERSION);
			return 1;
		}
		eq = strchr(arg, '=');
		row = strncmp(arg, "--", 2) != 0
			      ? NULL
			      : option_find(arg + 2,
					    eq != NULL ? (size_t)(eq - arg - 2)
						       : strlen(arg + 2));
		if (row == NULL) {
			df_log_error("%s: unknown %s: see deeplake serve "
				     "--help",
				     arg,
				     arg[0] == '-' ? "option" : "argument");
			return -EINVAL;
		}
		if (row->arg != NULL) {
			value = eq != NULL     ? eq + 1
				: i + 1 < argc ? argv[++i]
					       : NULL;
			if (value == NULL || *value == '\0') {
				df_log_error("--%s needs %s", row->name,
					     row->arg);
				return -EINVAL;
			}
		}
		if (option_set(row, value, conf) < 0)
			return -EINVAL;
	}
	return 0;
}
