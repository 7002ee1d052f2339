/* live.c - see live.h. */
#include "tools/live.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/progress.h"
#include "tools/place.h"

/* The daemon ends a flush by itself; this is for one that is stuck. */
#define GRACE_MS 5000

/* The longest mount point that path is or lies below; of equal ones the
 * topmost.  Not ours: NULL. */
static const struct df_mounted *mount_around(const struct df_mounted_list *l,
					     const char *path)
{
	const struct df_mounted *best = NULL;
	size_t best_len = 0;

	for (size_t i = 0; i < l->n; i++) {
		const char *at = l->v[i].path;
		size_t n = strcmp(at, "/") == 0 ? 0 : strlen(at);
		if (strncmp(path, at, n) != 0 || (path[n] && path[n] != '/'))
			continue;
		if (n >= best_len) {
			best = &l->v[i];
			best_len = n;
		}
	}
	return best && best->ours ? best : NULL;
}

static void find_daemon(struct df_live *l, const char *cache_dir)
{
	int err = df_runfile_read(l->m->dev, l->m->uid, &l->run);

	if (cache_dir)
		err = df_call_open(cache_dir, &l->call);
	else if (!err)
		err = df_call_open(l->run.cache_dir, &l->call);
	l->connected = !err;
}

int df_live_open(const char *path, bool inside, const char *cache_dir,
		 struct df_live *out)
{
	DF_FREE char *at = NULL;
	char real[PATH_MAX];

	memset(out, 0, sizeof(*out));
	out->call.fd = -1;
	int err = df_place_path(path, &at);
	if (err)
		return err;
	err = df_mounted_read(&out->list);
	if (err)
		return df_fail(err, "reading the mount table");
	out->m = df_mounted_at(&out->list, at);
	if (!out->m && inside)
		out->m = mount_around(&out->list,
				      realpath(at, real) ? real : at);
	if (!out->m || !out->m->ours) {
		if (out->m)
			df_log_error("%s: a filesystem of type %s is mounted "
				     "there, not a table; use umount(8)",
				     path, out->m->type);
		else
			df_log_error("%s: no table is mounted there; 'deeplake "
				     "list' shows what is",
				     path);
		df_live_close(out);
		return -ENOENT;
	}
	find_daemon(out, cache_dir);
	return 0;
}

void df_live_close(struct df_live *l)
{
	df_mounted_release(&l->list);
	df_runfile_release(&l->run);
	df_call_close(&l->call);
	l->m = NULL;
	l->connected = false;
}

int df_live_answer(struct df_live *l, int64_t timeout_ms,
		   df_call_progress *progress, void *arg, json_t **answer,
		   char why[256])
{
	json_t *line = NULL;

	int err = df_call_read(&l->call, timeout_ms, progress, arg, &line);
	if (err) {
		snprintf(why, 256, "the daemon does not answer: %s",
			 df_strerror(err));
	} else if (!json_is_true(json_object_get(line, "ok"))) {
		const char *e =
			json_string_value(json_object_get(line, "error"));
		int code =
			(int)json_integer_value(json_object_get(line, "errno"));
		err = code > 0 ? -code : -EIO;
		snprintf(why, 256, "%s", e ? e : "refused");
	}
	if (answer && !err)
		*answer = line;
	else
		json_decref(line);
	return err;
}

int df_live_ask(struct df_live *l, json_t *request, int64_t timeout_ms,
		df_call_progress *progress, void *arg, json_t **answer,
		char why[256])
{
	int err = df_call_send(&l->call, request);

	if (!err)
		return df_live_answer(l, timeout_ms, progress, arg, answer,
				      why);
	snprintf(why, 256, "the daemon does not listen: %s", df_strerror(err));
	return err;
}

struct flush_view {
	struct df_progress progress;
	uint64_t most; /* bytes that were dirty at the worst moment */
};

static bool flush_progress(void *arg, const json_t *p)
{
	struct flush_view *f = arg;
	uint64_t dirty =
		(uint64_t)json_integer_value(json_object_get(p, "dirty_bytes"));

	f->most = DF_MAX(f->most, dirty);
	df_progress_bytes(&f->progress, f->most - dirty, f->most);
	return true;
}

int df_live_flush(struct df_live *l, int64_t timeout_ms, char why[256])
{
	struct flush_view f = { .most = 0 };
	json_t *request = json_pack("{s:s}", "cmd", "flush");

	if (timeout_ms >= 0)
		json_object_set_new(request, "timeout_ms",
				    json_integer(timeout_ms));
	df_progress_start(&f.progress, "sending");
	int err = df_live_ask(l, request, DF_MAX(timeout_ms, 0) + GRACE_MS,
			      flush_progress, &f, NULL, why);
	df_progress_stop(&f.progress);
	return err;
}
