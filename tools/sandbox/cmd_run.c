/*
 * cmd_run.c - `run`: from nothing to the command's exit status, and back to
 * nothing, except where bytes would be lost.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "tools/sandbox/cli.h"
#include "tools/sandbox/cmd_exec.h"
#include "tools/sandbox/copy.h"
#include "tools/sandbox/intr.h"
#include "tools/sandbox/make.h"

/* The last colon: SRC may be C:\..., DST in a sandbox has none. */
static int split_pair(const char *text, bool upload, char **src, char **dst)
{
	const char *colon = upload ? strrchr(text, ':') : strchr(text, ':');

	if (!colon || colon == text || !colon[1]) {
		df_log_error("--%s \"%s\": write SRC:DST",
			     upload ? "upload" : "download", text);
		return -EINVAL;
	}
	*src = strndup(text, (size_t)(colon - text));
	*dst = strdup(colon + 1);
	return *src && *dst ? 0 : -ENOMEM;
}

static int copy_all(struct df_prov *p, struct df_sb *sb,
		    const struct df_strs *list, bool upload, const char *user)
{
	int err = 0;

	for (size_t i = 0; i < list->n && !err; i++) {
		DF_FREE char *src = NULL;
		DF_FREE char *dst = NULL;
		err = split_pair(list->v[i], upload, &src, &dst);
		if (!err)
			err = upload ? df_copy_up(p, sb, user, src, dst, true)
				     : df_copy_down(p, sb, user, src, dst,
						    true);
	}
	return err;
}

/* Between create and kill; *status is the command's. */
static int work(struct df_prov *p, struct df_sb *sb, const struct df_args *a,
		json_t **json, int *status)
{
	struct df_exec_end end = { 0 };

	int err = copy_all(p, sb, &a->uploads, true, a->user);
	if (!err)
		err = df_exec_command(p, sb, a, json, &end);
	if (err)
		return err;
	*status = end.status;
	int down = copy_all(p, sb, &a->downloads, false, a->user);
	if (down && !*status)
		*status = DF_EXIT_TOOL;
	return 0;
}

static int run_planned(const struct df_args *a, const struct df_plan *plan)
{
	struct df_prov *p = NULL;
	struct df_sb *sb = NULL;
	json_t *json = NULL;
	int status = 0;

	if (df_prov_new(a->provider, a->quiet, &p))
		return DF_EXIT_TOOL;
	int err = df_make(p, plan, a->name, &sb);
	if (err) {
		df_prov_free(p);
		return err == -EINTR && df_intr_now() ? 128 + df_intr_now()
						      : DF_EXIT_TOOL;
	}
	if (!a->quiet)
		df_log_info("sandbox %s", sb->id);
	err = work(p, sb, a, a->json ? &json : NULL, &status);
	if (err)
		status = err == -EINTR ? 128 + df_intr_now() : DF_EXIT_TOOL;
	if (status < 0 || status > 255)
		status = DF_EXIT_TOOL;
	if (a->keep && err && err != -EINTR) {
		df_log_warn("sandbox %s is left as it is (--keep)", sb->id);
	} else {
		int ended = df_end_sandbox(p, sb, a->flush_timeout_s, a->force);
		if (ended && !status)
			status = ended == -EINPROGRESS && !a->force
					 ? DF_EXIT_NOT_REMOTE
				 : a->force ? 0
					    : DF_EXIT_TOOL;
	}
	if (json) {
		json_object_set_new(json, "sandboxID", json_string(sb->id));
		json_object_set_new(json, "exit", json_integer(status));
		df_json_print(json);
	}
	df_close(p, sb);
	return status;
}

int df_cmd_run(struct df_args *a)
{
	struct df_plan plan;

	int err = df_plan_init(&plan, a);
	int status = err ? DF_EXIT_TOOL : run_planned(a, &plan);
	df_plan_release(&plan);
	return status;
}
