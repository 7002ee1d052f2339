/* detach.c - see detach.h. */
#include "tools/detach.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/progress.h"
#include "tools/live.h"
#include "tools/unmount.h"

/* The daemon notices at once that its mount has gone, unless it has not: a
 * copy is mounted in another mount namespace. */
#define NOTICE_MS 3000
#define END_MS 15000
#define WAIT_SILENCE_MS 30000

/* Is this only another view of a mount that stays? */
static bool is_bind(const struct df_live *l)
{
	size_t shown = df_mounted_count(&l->list, l->m->dev);

	if (shown < 2)
		return false;
	if (!l->run.path)
		return strcmp(l->m->root, "/") != 0;
	if (strcmp(l->run.path, l->m->path) == 0)
		return false;
	for (size_t i = 0; i < l->list.n; i++)
		if (l->list.v[i].dev == l->m->dev &&
		    strcmp(l->list.v[i].path, l->run.path) == 0)
			return true;
	return false;
}

static int take_away(const struct df_detach *d, const struct df_live *l)
{
	unsigned flags = (d->force ? DF_UNMOUNT_FORCE : 0) |
			 (d->lazy ? DF_UNMOUNT_LAZY : 0);
	int err = df_unmount(l->m->path, flags);

	if (err == -EBUSY)
		df_log_error("%s: in use; end the programs that have files or "
			     "their directory there (fuser -vm %s)",
			     l->m->path, l->m->path);
	else if (err == -EPERM || err == -EACCES)
		df_log_error("%s: you may not unmount it: user %u mounted it",
			     l->m->path, (unsigned)l->m->uid);
	else if (err)
		df_fail(err, "%s: unmounting", l->m->path);
	return err;
}

/* Everything into the table, or the reason to leave it mounted. */
static int flush_first(const struct df_detach *d, struct df_live *l)
{
	char why[256] = "its daemon cannot be found";
	int err = -ESRCH;

	if (l->connected)
		err = df_live_flush(l, d->timeout_ms, why);
	if (!err)
		return DF_EXIT_OK;
	if (!d->anyhow)
		df_log_error("%s: still mounted, for not everything is in the "
			     "table: %s; try again, or unmount with 'deeplake "
			     "umount --force', which keeps the rest for the "
			     "next mount",
			     l->m->path, why);
	return DF_EXIT_NOT_REMOTE;
}

struct wait_view {
	struct df_progress progress;
	int64_t noticed_by_ns;
	bool elsewhere; /* it still serves the mount */
};

static bool wait_progress(void *arg, const json_t *p)
{
	struct wait_view *w = arg;
	const char *state = json_string_value(json_object_get(p, "state"));

	df_progress_bytes(
		&w->progress,
		(uint64_t)json_integer_value(json_object_get(p, "dirty_bytes")),
		0);
	w->elsewhere = state && strcmp(state, "mounted") == 0 &&
		       df_clock_mono_ns() > w->noticed_by_ns;
	return !w->elsewhere;
}

/* Until the daemon has sent the rest and ended.  It was asked before the mount
 * went: a daemon with nothing to send is gone too fast to be asked after. */
static int wait_for_daemon(struct df_live *l)
{
	struct wait_view w = { .noticed_by_ns = df_clock_mono_ns() +
						NOTICE_MS * DF_NS_PER_MS };
	json_t *answer = NULL;
	char why[256];

	df_progress_start(&w.progress, "still to send");
	int err = df_live_answer(l, WAIT_SILENCE_MS, wait_progress, &w, &answer,
				 why);
	df_progress_stop(&w.progress);
	if (w.elsewhere)
		return DF_EXIT_OK; /* flushed before */
	bool remote = json_is_true(json_object_get(answer, "remote"));
	json_decref(answer);
	if (!err && df_call_wait_end(&l->call, END_MS))
		df_log_warn("%s: the daemon (%d) is done but does not end",
			    l->m->path, (int)l->call.pid);
	if (!err && remote)
		return DF_EXIT_OK;
	df_log_error("%s: unmounted, but not everything is in the table%s%s; "
		     "what is missing is kept in %s and is sent by the next "
		     "mount",
		     l->m->path, err ? ": " : "", err ? why : "",
		     l->run.cache_dir ? l->run.cache_dir : "its cache");
	return DF_EXIT_NOT_REMOTE;
}

static int clear_dead(const struct df_detach *d, const struct df_live *l)
{
	struct df_detach lazy = *d;

	lazy.lazy = true;
	if (take_away(&lazy, l))
		return DF_EXIT_FAILED;
	df_log_warn("%s: unmounted; its daemon had died, so what it had not "
		    "sent is in its cache and is sent by the next mount",
		    l->m->path);
	return DF_EXIT_NOT_REMOTE;
}

static int detach_live(const struct df_detach *d, struct df_live *l)
{
	bool plain = d->force || d->lazy || is_bind(l);
	bool last = df_mounted_count(&l->list, l->m->dev) == 1;
	int flushed = DF_EXIT_OK;

	if (!plain && !l->connected && df_unmount_is_dead(l->m->path))
		return clear_dead(d, l);
	if (!plain) {
		flushed = flush_first(d, l);
		if (flushed && !d->anyhow)
			return flushed;
	}
	/* who has waited in vain for the flush is not kept waiting again */
	bool wait = !plain && !flushed && last && l->connected &&
		    df_call_send(&l->call, json_pack("{s:s}", "cmd", "wait")) ==
			    0;
	if (take_away(d, l))
		return DF_EXIT_FAILED;
	if (d->verbose)
		df_log_info("%s: unmounted", l->m->path);
	if (flushed)
		df_log_error("%s: unmounted, but not everything is in the "
			     "table; the daemon goes on trying for a while, "
			     "and the next mount sends what is left",
			     l->m->path);
	return wait ? wait_for_daemon(l) : flushed;
}

int df_detach(const struct df_detach *d)
{
	struct df_live l;

	if (df_live_open(d->path, false, d->cache_dir, &l))
		return DF_EXIT_FAILED;
	int status = detach_live(d, &l);
	df_live_close(&l);
	return status;
}
