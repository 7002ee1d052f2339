/* import_vol.c - see import_vol.h. */
#include "tools/import_vol.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/lock.h"
#include "base/log.h"
#include "tools/place.h"

int df_side_open(struct df_query_args *a, const char *purpose, const char *path,
		 bool read_only, struct df_side *out)
{
	const struct df_table_conf *t = &a->account.table;
	const struct df_conf *o = &a->opt;
	DF_FREE char *name = df_strf("%s:%s", purpose, path);

	*out = (struct df_side){ 0 };
	if (!name)
		return -ENOMEM;
	out->cache_dir = o->cache_dir ? strdup(o->cache_dir)
				      : df_place_cache_dir(t->api_url, t->org,
							   t->workspace,
							   t->table, name, 0);
	if (!out->cache_dir)
		return df_fail(-ENOENT, "no home directory for the cache; set "
					"HOME or -o cache_dir=DIR");
	struct df_vol_conf vc = {
		.cache_dir = out->cache_dir,
		.table = t->table,
		.cache_size = o->cache_size,
		.memory = o->memory,
		.flush_delay_ms = o->flush_delay,
		.read_timeout_ms = o->read_timeout,
		.read_only = read_only,
		.view = o->view,
		.view_text_max = o->view_text_max,
		.uid = getuid(),
		.gid = getgid(),
		.umask = 022,
	};
	int err = df_vol_open(&vc, &a->remote, o->mount_timeout, &out->vol);
	if (!err)
		err = df_vol_start(out->vol);
	if (err == -EBUSY)
		df_log_error("another %s of %s is running", purpose, path);
	if (err) {
		if (out->vol)
			df_vol_free(out->vol);
		free(out->cache_dir);
		*out = (struct df_side){ 0 };
	}
	return err;
}

static int remove_one(const char *path, const struct stat *st, int type,
		      struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

int df_side_close(struct df_side *s, int64_t timeout_ms)
{
	if (!s->vol)
		return 0;
	int err = df_vol_stop(s->vol, timeout_ms);
	df_vol_free(s->vol);
	if (!err && nftw(s->cache_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS))
		df_log_warn("%s: %s; it may be deleted", s->cache_dir,
			    df_strerror(-errno));
	free(s->cache_dir);
	*s = (struct df_side){ 0 };
	return err;
}

/* ---- waiting */
struct wait {
	struct df_lock lock;
	struct df_cond cond;
	bool ended;
	int err;
	/* of a read */
	struct df_read r;
};

static void wait_init(struct wait *w)
{
	memset(w, 0, sizeof(*w));
	df_lock_init(&w->lock);
	df_cond_init(&w->cond);
}

static void wait_end(struct wait *w, int err, struct df_read *r)
{
	df_lock(&w->lock);
	w->ended = true;
	w->err = err;
	if (r)
		w->r = *r; /* ours to give back */
	df_cond_signal(&w->cond);
	df_unlock(&w->lock);
}

static void read_done(void *arg, int err, struct df_read *r)
{
	wait_end(arg, err, r);
}

static void write_done(void *arg, int err)
{
	wait_end(arg, err, NULL);
}

static int wait_for(struct wait *w, int err)
{
	if (err == DF_EPARKED) {
		df_lock(&w->lock);
		while (!w->ended)
			df_cond_wait(&w->cond, &w->lock);
		err = w->err;
		df_unlock(&w->lock);
	}
	return err;
}

static void wait_release(struct wait *w)
{
	df_cond_release(&w->cond);
	df_lock_release(&w->lock);
}

static int copy_sources(const struct df_read *r, uint8_t *out, size_t *got)
{
	*got = 0;
	for (unsigned i = 0; i < r->n; i++) {
		const struct df_src *s = &r->src[i];
		if (s->fd < 0) {
			memset(out + *got, 0, s->len);
		} else {
			ssize_t n = df_pread_all(s->fd, out + *got, s->len,
						 (off_t)s->pos);
			if (n < 0 || (uint64_t)n != s->len)
				return n < 0 ? (int)n : -EIO;
		}
		*got += s->len;
	}
	return 0;
}

int df_side_read(struct df_side *s, df_nid nid, uint64_t off, size_t len,
		 void *out, size_t *got)
{
	struct wait w;
	struct df_read r = { 0 };

	wait_init(&w);
	int err = df_vol_read(s->vol, nid, off, len, &r, read_done, &w);
	bool parked = err == DF_EPARKED;
	err = wait_for(&w, err);
	if (!err) {
		struct df_read *from = parked ? &w.r : &r;
		err = copy_sources(from, out, got);
		df_vol_read_done(s->vol, from);
	}
	wait_release(&w);
	return err;
}

int df_side_write(struct df_side *s, df_nid nid, uint64_t off, const void *data,
		  size_t len)
{
	struct wait w;

	wait_init(&w);
	int err = wait_for(&w, df_vol_write(s->vol, nid, off, data, len, 0,
					    write_done, &w));
	wait_release(&w);
	return err;
}

static int nothing_to_run(void *arg)
{
	(void)arg;
	return 0;
}

static int wait_in(struct df_side *s, enum df_wait what)
{
	static const struct df_wait_ops ops = { .run = nothing_to_run,
						.done = write_done };
	struct wait w;

	wait_init(&w);
	int err = wait_for(&w, df_vol_wait(s->vol, what, &ops, &w));
	wait_release(&w);
	return err;
}

bool df_side_again(struct df_side *s, int err)
{
	return err == -ENOSPC && !wait_in(s, DF_WAIT_ROOM);
}

void df_side_pace(struct df_side *s)
{
	if (df_vol_behind(s->vol))
		wait_in(s, DF_WAIT_FOLD); /* an error: the change says it */
}

bool df_side_same(const struct df_attr *a, uint64_t size,
		  const struct timespec *mtime)
{
	return a->size == size && a->mtime.tv_sec == mtime->tv_sec &&
	       a->mtime.tv_nsec == mtime->tv_nsec;
}
