/* cmd_status.c - list, status, flush, warm: asking the daemons. */
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/conf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/progress.h"
#include "tools/account.h"
#include "tools/cmd.h"
#include "tools/live.h"
#include "tools/place.h"
#include "tools/registry.h"
#include "tools/report.h"

#define ASK_MS 5000
#define WARM_SILENCE_MS 120000

/* The status of one mount; a daemon that is silent is an error in it. */
static json_t *ask_status(struct df_live *l)
{
	char why[256] = "its daemon is not there: deeplake umount, then mount";
	json_t *answer = NULL;
	int err = -ESRCH;

	if (l->connected)
		err = df_live_ask(l, json_pack("{s:s}", "cmd", "status"),
				  ASK_MS, NULL, NULL, &answer, why);
	else if (!l->run.path)
		snprintf(why, sizeof(why),
			 "only user %u and root can ask its "
			 "daemon",
			 (unsigned)l->m->uid);
	if (err)
		return df_report_silent(l->m->path, l->m->source, NULL,
					l->run.path ? "dead" : "mounted", why);
	json_object_del(answer, "ok");
	json_object_set_new(answer, "path", json_string(l->m->path));
	return answer;
}

/* Is an earlier row of the mount table the same filesystem? */
static bool shown_before(const struct df_mounted_list *list, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (list->v[k].dev == list->v[i].dev)
			return true;
	return false;
}

static int add_mounted(json_t *all)
{
	struct df_mounted_list list;
	int err = df_mounted_read(&list);

	if (err)
		return df_fail(err, "reading the mount table");
	for (size_t i = 0; i < list.n && !err; i++) {
		struct df_live l;
		if (!list.v[i].ours || shown_before(&list, i))
			continue;
		if (df_live_open(list.v[i].path, false, NULL, &l))
			continue; /* gone in between */
		err = json_array_append_new(all, ask_status(&l));
		df_live_close(&l);
	}
	df_mounted_release(&list);
	return err ? df_fail(-ENOMEM, "status") : 0;
}

static bool has_path(const json_t *all, const char *path)
{
	json_t *m;
	size_t i;

	json_array_foreach(all, i, m)
	{
		const char *at = json_string_value(json_object_get(m, "path"));
		if (at && strcmp(at, path) == 0)
			return true;
	}
	return false;
}

static int add_remembered(json_t *all)
{
	struct df_registry reg;
	int err = df_registry_load(&reg);

	if (err)
		return err;
	for (size_t i = 0; i < reg.n && !err; i++) {
		const struct df_entry_reg *e = &reg.v[i];
		if (!has_path(all, e->path))
			err = json_array_append_new(
				all, df_report_silent(e->path, e->table,
						      e->workspace,
						      "not mounted", NULL));
	}
	df_registry_release(&reg);
	return err ? df_fail(-ENOMEM, "list") : 0;
}

static int print_json(json_t *mounts)
{
	json_t *doc = json_pack("{s:O}", "mounts", mounts);
	int err = doc ? json_dumpf(doc, stdout, JSON_INDENT(2)) : -1;

	putchar('\n');
	json_decref(doc);
	return err ? DF_EXIT_FAILED : DF_EXIT_OK;
}

static void print_list(const json_t *all)
{
	json_t *m;
	size_t i;

	json_array_foreach(all, i, m)
	{
		const json_t *pid = json_object_get(m, "pid");
		const char *path, *table, *state;
		if (json_unpack(m, "{s:s, s:s, s:s}", "path", &path, "table",
				&table, "state", &state))
			continue;
		printf("%-32s %-24s %s", path, table, state);
		if (json_is_integer(pid))
			printf(" (%lld)", (long long)json_integer_value(pid));
		putchar('\n');
	}
}

int df_cmd_list(int argc, char **argv)
{
	bool json = argc == 2 && strcmp(argv[1], "--json") == 0;

	if (argc > 1 + json)
		return df_usage("list", "list: '%s' is not expected",
				argv[1 + json]);
	json_t *all = json_array();
	int status = add_mounted(all) || add_remembered(all) ? DF_EXIT_FAILED
							     : DF_EXIT_OK;
	if (!status && json)
		status = print_json(all);
	else if (!status)
		print_list(all);
	json_decref(all);
	return status;
}

/* ---- status */

static int clear_errors(const char *path)
{
	struct df_live l;
	char why[256] = "its daemon is not there";

	if (df_live_open(path, true, NULL, &l))
		return DF_EXIT_FAILED;
	int err = -ESRCH;
	if (l.connected)
		err = df_live_ask(&l, json_pack("{s:s}", "cmd", "clear"),
				  ASK_MS, NULL, NULL, NULL, why);
	if (err)
		df_log_error("%s: %s", path, why);
	df_live_close(&l);
	return err ? DF_EXIT_FAILED : DF_EXIT_OK;
}

static int gather(const char *path, json_t *all)
{
	struct df_live l;

	if (!path)
		return add_mounted(all);
	int err = df_live_open(path, true, NULL, &l);
	if (err)
		return err;
	err = json_array_append_new(all, ask_status(&l));
	df_live_close(&l);
	return err;
}

int df_cmd_status(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "clear", no_argument, NULL, 'c' },
		{ NULL, 0, NULL, 0 },
	};
	bool json = false, clear = false;
	json_t *m;
	size_t i;

	opterr = 0;
	for (int c; (c = getopt_long(argc, argv, "jc", longs, NULL)) != -1;) {
		if (c == '?')
			return df_usage_opt(argv, optopt, optind);
		json = json || c == 'j';
		clear = clear || c == 'c';
	}
	const char *path = argv[optind];
	if (argc - optind > 1 || (clear && !path))
		return df_usage("status", "status: give %s path",
				clear ? "a" : "at most one");
	if (clear)
		return clear_errors(path);
	json_t *all = json_array();
	int status = gather(path, all) ? DF_EXIT_FAILED : DF_EXIT_OK;
	if (!status && json) {
		status = print_json(all);
	} else if (!status) {
		json_array_foreach(all, i, m) df_report_print(stdout, m);
		if (!json_array_size(all))
			printf("no table is mounted\n");
	}
	json_decref(all);
	return status;
}

/* ---- flush */

/* The status that a failed flush ends with. */
static int flush_status(int err)
{
	switch (err) {
	case 0:
		return DF_EXIT_OK;
	case DF_EAUTH:
		return DF_EXIT_CREDENTIALS;
	case -ESRCH:
		return DF_EXIT_FAILED;
	default:
		return DF_EXIT_NOT_REMOTE;
	}
}

int df_cmd_flush(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "timeout", required_argument, NULL, 't' },
		{ NULL, 0, NULL, 0 },
	};
	int64_t timeout_ms = DF_UMOUNT_TIMEOUT_MS;
	char why[256] = "its daemon is not there, or it is another user's";
	struct df_live l;

	opterr = 0;
	for (int c; (c = getopt_long(argc, argv, "t:", longs, NULL)) != -1;) {
		if (c == '?')
			return df_usage_opt(argv, optopt, optind);
		if (df_conf_time(optarg, &timeout_ms))
			return df_usage("flush",
					"flush: --timeout %s: give a "
					"time such as 30 or 1.5",
					optarg);
	}
	if (argc - optind != 1)
		return df_usage("flush", "flush: give one path");
	if (df_live_open(argv[optind], true, NULL, &l))
		return DF_EXIT_FAILED;
	int err = l.connected ? df_live_flush(&l, timeout_ms, why) : -ESRCH;
	if (err)
		df_log_error("%s: not everything is in the table: %s",
			     l.m->path, why);
	df_live_close(&l);
	return flush_status(err);
}

/* ---- warm */

static bool warm_progress(void *arg, const json_t *p)
{
	df_progress_bytes(
		arg, (uint64_t)json_integer_value(json_object_get(p, "done")),
		(uint64_t)json_integer_value(json_object_get(p, "total")));
	return true;
}

int df_cmd_warm(int argc, char **argv)
{
	char why[256] = "its daemon is not there, or it is another user's";
	char real[PATH_MAX];
	struct df_progress progress;
	struct df_live l;

	if (argc != 2)
		return df_usage("warm", "warm: give one path");
	if (!realpath(argv[1], real)) {
		df_fail(-errno, "%s", argv[1]);
		return DF_EXIT_FAILED;
	}
	if (df_live_open(real, true, NULL, &l))
		return DF_EXIT_FAILED;
	/* a bind mount may show a part only: the daemon wants its own path */
	const char *rest = real + strlen(l.m->path);
	DF_FREE char *inside = NULL;
	if (asprintf(&inside, "%s%s",
		     strcmp(l.m->root, "/") == 0 ? "" : l.m->root,
		     *rest ? rest : "/") < 0)
		inside = NULL;
	int err = -ESRCH;
	df_progress_start(&progress, "fetching");
	if (l.connected)
		err = df_live_ask(&l,
				  json_pack("{s:s, s:s}", "cmd", "warm", "path",
					    inside ? inside : "/"),
				  WARM_SILENCE_MS, warm_progress, &progress,
				  NULL, why);
	df_progress_stop(&progress);
	if (err)
		df_log_error("%s: %s", argv[1], why);
	df_live_close(&l);
	return err == -ESRCH ? DF_EXIT_FAILED : df_exit_of(err);
}
