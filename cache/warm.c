/* warm.c - fetch a tree into the cache before it is asked for. */
#include <stdlib.h>

#include "cache/vol.h"

struct todo {
	df_nid *v;
	size_t n, size;
};

struct warm {
	struct df_vol *v;
	struct todo dirs, files;
	uint64_t done, total;
};

static void push(struct todo *t, df_nid nid)
{
	DF_GROW(t->v, t->n, t->size);
	t->v[t->n++] = nid;
}

static bool take_entry(void *arg, const struct df_dirent *d)
{
	struct warm *w = arg;

	if (!d->entry.nid)
		return true;
	if (d->type == S_IFDIR) {
		push(&w->dirs, d->entry.nid);
	} else if (d->type == S_IFREG) {
		push(&w->files, d->entry.nid);
		w->total += d->entry.attr.size;
	} else {
		df_vol_forget(w->v, d->entry.nid, 1);
	}
	return true;
}

struct wait {
	struct df_lock lock;
	struct df_cond cond;
	bool ended;
	int err;
	struct df_vol *v;
};

static void read_done(void *arg, int err, struct df_read *r)
{
	struct wait *w = arg;

	if (r)
		df_vol_read_done(w->v, r);
	df_lock(&w->lock);
	w->ended = true;
	w->err = err;
	df_cond_signal(&w->cond);
	df_unlock(&w->lock);
}

static int read_chunk(struct df_vol *v, df_nid nid, uint64_t off, size_t len,
		      size_t *got)
{
	struct wait w = { .v = v };
	struct df_read r;

	df_lock_init(&w.lock);
	df_cond_init(&w.cond);
	int err = df_vol_read(v, nid, off, len, &r, read_done, &w);
	if (!err) {
		*got = r.len;
		df_vol_read_done(v, &r);
	} else if (err == DF_EPARKED) {
		df_lock(&w.lock);
		while (!w.ended)
			df_cond_wait(&w.cond, &w.lock);
		df_unlock(&w.lock);
		err = w.err;
		*got = len;
	}
	df_cond_release(&w.cond);
	df_lock_release(&w.lock);
	return err;
}

static int warm_file(struct warm *w, df_nid nid, bool *go,
		     bool (*progress)(void *arg, uint64_t done, uint64_t total),
		     void *arg)
{
	struct df_attr a;
	double timeout;
	size_t step = 4 << 20, got = 1;
	int err = df_vol_getattr(w->v, nid, &a, &timeout);

	for (uint64_t off = 0; !err && *go && off < a.size && got;
	     off += step) {
		size_t len = (size_t)DF_MIN(a.size - off, (uint64_t)step);
		err = read_chunk(w->v, nid, off, len, &got);
		w->done += len;
		if (progress)
			*go = progress(arg, w->done, w->total);
	}
	return err;
}

int df_vol_warm(struct df_vol *v, df_nid nid,
		bool (*progress)(void *arg, uint64_t done, uint64_t total),
		void *arg)
{
	struct warm w = { .v = v };
	struct df_attr a;
	double timeout;
	bool go = true;
	int err = df_vol_getattr(v, nid, &a, &timeout);

	if (!err && S_ISREG(a.mode)) {
		w.total = a.size;
		return warm_file(&w, nid, &go, progress, arg);
	}
	if (!err)
		err = df_vol_readdir(v, nid, 0, true, take_entry, &w);
	while (!err && w.dirs.n) {
		df_nid dir = w.dirs.v[--w.dirs.n];
		err = df_vol_readdir(v, dir, 0, true, take_entry, &w);
		df_vol_forget(v, dir, 1);
	}
	for (size_t i = 0; i < w.files.n; i++) {
		if (!err && go)
			err = warm_file(&w, w.files.v[i], &go, progress, arg);
		df_vol_forget(v, w.files.v[i], 1);
	}
	while (w.dirs.n)
		df_vol_forget(v, w.dirs.v[--w.dirs.n], 1);
	free(w.dirs.v);
	free(w.files.v);
	return err ? err : go ? 0 : -EINTR;
}
