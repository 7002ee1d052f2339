/* cmd_list.c - list, info, logs, url. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/log.h"
#include "tools/sandbox/cli.h"
#include "tools/sandbox/intr.h"
#include "tools/sandbox/local.h"
#include "tools/sandbox/make.h"

#define LOG_POLL_MS 1000

static void print_row(const json_t *o)
{
	const json_t *meta = json_object_get(o, "metadata");
	int64_t left =
		df_time_parse(df_json_str(o, "endAt")) - (int64_t)time(NULL);
	bool paused = !strcmp(df_json_str(o, "state"), "paused");
	const char *state = df_json_str(o, "state");
	const char *name = df_json_str(meta, DF_META_NAME);

	printf("%-22s %-8s ", df_json_str(o, "sandboxID"),
	       *state ? state : "running");
	if (paused || left < 0)
		printf("%8s ", "-");
	else
		printf("%7llds ", (long long)left);
	printf("%-20.20s %-20.20s %s\n",
	       *df_json_str(o, "alias") ? df_json_str(o, "alias")
					: df_json_str(o, "templateID"),
	       df_json_str(o, "startedAt"), name);
}

/* What is ours alone, or secret, is not shown. */
static void strip(json_t *o)
{
	static const char *const keys[] = { "envdAccessToken",
					    "trafficAccessToken",
					    "cgroups",
					    "disk",
					    "urls",
					    "timeout" };

	for (size_t i = 0; i < DF_ARRAY_LEN(keys); i++)
		json_object_del(o, keys[i]);
}

int df_cmd_list(struct df_args *a)
{
	struct df_sb_filter f = { &a->metadata, a->state };
	struct df_prov *p = NULL;
	json_t *list = NULL;
	json_t *o;
	size_t i;

	if (a->state && strcmp(a->state, "running") &&
	    strcmp(a->state, "paused")) {
		df_log_error("--state \"%s\": running or paused", a->state);
		return DF_EXIT_USAGE;
	}
	int err = df_prov_new(a->provider, a->json || a->quiet, &p);
	if (!err)
		err = p->ops->list(p, &f, &list);
	json_array_foreach(list, i, o) strip(o);
	if (!err && a->json) {
		df_json_print(json_incref(list));
	} else if (!err) {
		printf("%-22s %-8s %8s %-20s %-20s %s\n", "ID", "STATE", "LEFT",
		       "TEMPLATE", "STARTED", "NAME");
		json_array_foreach(list, i, o) print_row(o);
	}
	json_decref(list);
	df_prov_free(p);
	return df_exit_of(err);
}

static void print_pairs(const json_t *o, const char *indent)
{
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)(uintptr_t)o, key, v)
	{
		if (json_is_object(v)) {
			printf("%s%s:\n", indent, key);
			print_pairs(v, "  ");
			continue;
		}
		char *text = json_is_string(v) ? strdup(json_string_value(v))
					       : json_dumps(v, JSON_ENCODE_ANY);
		printf("%s%s: %s\n", indent, key, text ? text : "");
		free(text);
	}
}

int df_cmd_info(struct df_args *a)
{
	struct df_prov *p;
	struct df_sb *sb;
	json_t *o = NULL;

	int err = df_open(a, a->pos.v[0], &p, &sb);
	if (!err)
		err = p->ops->info(p, sb, &o);
	if (!err && !strcmp(df_json_str(o, "state"), "running")) {
		json_t *mounts = NULL;
		if (!df_mount_list(p, sb, &mounts))
			json_object_set(o, "mounts", mounts);
		json_decref(mounts);
	}
	if (!err) {
		strip(o);
		if (a->json)
			df_json_print(json_incref(o));
		else
			print_pairs(o, "");
	}
	json_decref(o);
	df_close(p, sb);
	return df_exit_of(err);
}

static void print_log(const struct df_args *a, json_t *lines)
{
	json_t *o;
	size_t i;

	json_array_foreach(lines, i, o)
	{
		const char *when = df_json_str(o, "timestamp");
		const char *level = df_json_str(o, "level");
		if (a->json)
			df_json_print(json_incref(o));
		else
			printf("%s%s%s%s%s\n", when, *when ? " " : "", level,
			       *level ? ": " : "", df_json_str(o, "message"));
	}
	fflush(stdout);
}

int df_cmd_logs(struct df_args *a)
{
	struct df_prov *p;
	struct df_sb *sb;
	int64_t cursor = 0;

	int err = df_open(a, a->pos.v[0], &p, &sb);
	while (!err) {
		json_t *lines = NULL;
		err = p->ops->logs(p, sb, &cursor, &lines);
		size_t n = json_array_size(lines);
		if (!err)
			print_log(a, lines);
		json_decref(lines);
		if (err || (!n && !a->follow))
			break;
		if (!n && df_intr_sleep_ms(LOG_POLL_MS))
			break;
	}
	if (err == -ENOENT && a->follow)
		err = 0; /* it ended: so does its log */
	df_close(p, sb);
	return df_exit_of(err);
}

int df_cmd_url(struct df_args *a)
{
	struct df_prov *p;
	struct df_sb *sb;
	char *end;
	DF_FREE char *url = NULL;

	long port = strtol(a->pos.v[1], &end, 10);
	if (*end || port < 1 || port > 65535) {
		df_log_error("url: \"%s\" is no port (1 to 65535)",
			     a->pos.v[1]);
		return DF_EXIT_USAGE;
	}
	int err = df_open(a, a->pos.v[0], &p, &sb);
	if (!err)
		err = p->ops->url(p, sb, (int)port, &url);
	if (!err && a->json)
		df_json_print(json_pack("{s:s}", "url", url));
	else if (!err)
		puts(url);
	df_close(p, sb);
	return df_exit_of(err);
}
