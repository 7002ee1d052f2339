/* admin.c - see admin.h. */
#include "tools/serve/admin.h"
#include "tools/serve/meta.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"

int df_admin_find(int argc, char **argv)
{
	int i;

	for (i = 1; i < argc; i++) {
		if (argv[i][0] != '-')
			return strcmp(argv[i], "token") == 0 ||
					       strcmp(argv[i], "backup") == 0
				       ? i
				       : 0;
		/* an option's value is not a command */
		if (strchr(argv[i], '=') == NULL &&
		    strcmp(argv[i], "--verbose") != 0)
			i++;
	}
	return 0;
}

static int usage(const char *what)
{
	df_log_error("%s: see deeplake serve --help", what);
	return DF_EXIT_USAGE;
}

/* 90, 30s, 15m, 1h, 7d, 1y as seconds; -1 for anything else. */
static int64_t duration(const char *text)
{
	static const struct {
		char unit;
		int64_t seconds;
	} units[] = { { '\0', 1 },   { 's', 1 },     { 'm', 60 },
		      { 'h', 3600 }, { 'd', 86400 }, { 'y', 365 * 86400 } };
	char *rest;
	long n = strtol(text, &rest, 10);
	size_t i;

	if (rest == text || n < 1 || n > 1000000 || strlen(rest) > 1)
		return -1;
	for (i = 0; i < DF_ARRAY_LEN(units); i++)
		if (units[i].unit == *rest)
			return n * units[i].seconds;
	return -1;
}

static int create_option(struct df_token_row *row, const char *name,
			 const char *value, int64_t *seconds)
{
	const struct {
		const char *name;
		char *out;
		size_t size;
	} text[] = {
		{ "--name", row->name, sizeof(row->name) },
		{ "--org", row->org, sizeof(row->org) },
		{ "--workspace", row->workspace, sizeof(row->workspace) },
		{ "--table", row->table, sizeof(row->table) },
	};
	size_t i;

	if (strcmp(name, "--expires") == 0) {
		*seconds = duration(value);
		return *seconds < 0 ? -EINVAL : 0;
	}
	for (i = 0; i < DF_ARRAY_LEN(text); i++) {
		if (strcmp(text[i].name, name) != 0)
			continue;
		if (value[0] == '\0' || strlen(value) >= text[i].size)
			return -EINVAL;
		(void)snprintf(text[i].out, text[i].size, "%s", value);
		return 0;
	}
	return -EINVAL;
}

static int token_create(struct df_store *store, int argc, char **argv)
{
	struct df_token_row row = { .name = "token" };
	struct df_auth *auth = NULL;
	struct df_buf out;
	int64_t seconds = 0;
	int i, err;

	for (i = 0; i < argc; i++) {
		if (strcmp(argv[i], "--read-only") == 0) {
			row.read_only = true;
			continue;
		}
		if (i + 1 >= argc ||
		    create_option(&row, argv[i], argv[i + 1], &seconds) < 0) {
			df_log_error("token create: %s%s%s is not understood",
				     argv[i], i + 1 < argc ? " " : "",
				     i + 1 < argc ? argv[i + 1] : "");
			return usage("token create");
		}
		i++;
	}
	if (row.workspace[0] != '\0' && !df_workspace_id_ok(row.workspace))
		return usage("token create --workspace: not a workspace ID");
	df_buf_init(&out, DF_JWT_MAX);
	auth = df_auth_new(store);
	err = auth == NULL ? -ENOMEM : df_auth_load(auth);
	if (err == 0)
		err = df_auth_issue(auth, &row, "local", seconds, &out);
	if (err == 0)
		(void)printf("%s\n", df_buf_cstr(&out));
	else
		df_log_error("token create: %s", df_strerror(err));
	df_auth_free(auth);
	if (out.data != NULL)
		explicit_bzero(out.data, out.size);
	df_buf_release(&out);
	return err < 0 ? DF_EXIT_FAILED : DF_EXIT_OK;
}

static void list_one(void *arg, const struct df_token_row *r)
{
	char when[32] = "never";
	time_t t = (time_t)r->expires_s;
	int64_t now = df_clock_real_ns() / DF_NS_PER_S;
	struct tm tm;

	(void)arg;
	if (r->expires_s != 0) {
		gmtime_r(&t, &tm);
		(void)strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
	}
	(void)printf("%s  %-8s  expires %-20s  %s  %s%s%s%s  %s\n", r->id,
		     r->revoked                                 ? "revoked"
		     : r->expires_s != 0 && r->expires_s <= now ? "expired"
								: "good",
		     when, r->read_only ? "read" : "write",
		     r->workspace[0] != '\0' ? r->workspace : "*",
		     r->table[0] != '\0' ? "/" : "", r->table, "", r->name);
}

static int token_run(struct df_store *store, int argc, char **argv)
{
	int err;

	if (argc >= 1 && strcmp(argv[0], "create") == 0)
		return token_create(store, argc - 1, argv + 1);
	if (argc == 1 && strcmp(argv[0], "list") == 0)
		return df_meta_token_list(store, list_one, NULL) < 0
			       ? DF_EXIT_FAILED
			       : DF_EXIT_OK;
	if (argc == 2 && strcmp(argv[0], "revoke") == 0) {
		err = df_meta_token_revoke(store, argv[1]);
		if (err < 0)
			df_log_error("token revoke %s: %s", argv[1],
				     err == -ENOENT
					     ? "no such token (deeplake serve "
					       "token list shows them)"
					     : df_strerror(err));
		return err < 0 ? DF_EXIT_FAILED : DF_EXIT_OK;
	}
	return usage("token: create, list or revoke ID");
}

int df_admin_run(const struct df_serve_conf *conf, int argc, char **argv)
{
	struct df_store *store;
	int status;

	if (strcmp(argv[0], "backup") == 0 && argc != 2)
		return usage("backup PATH");
	if (df_store_open(conf->store, false, !conf->no_stand_in, &store) < 0)
		return DF_EXIT_FAILED;
	if (strcmp(argv[0], "backup") == 0)
		status = store->ops->backup(store, argv[1]) < 0 ? DF_EXIT_FAILED
								: DF_EXIT_OK;
	else
		status = token_run(store, argc - 1, argv + 1);
	store->ops->stop(store);
	store->ops->free(store);
	return status;
}
