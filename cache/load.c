/* load.c - extent maps that live in pages: fetched pieces decoded again. */
#include <stdlib.h>

#include "cache/vol_data.h"

struct wait {
	struct df_lock lock;
	struct df_cond cond;
	bool ended;
	int err;
};

static void wait_done(void *arg, int err)
{
	struct wait *w = arg;

	df_lock(&w->lock);
	w->ended = true;
	w->err = err;
	df_cond_signal(&w->cond);
	df_unlock(&w->lock);
}

int df_data_fetch_wait(struct df_vol *v, const struct df_piece *p, size_t n)
{
	struct wait w = { 0 };

	df_lock_init(&w.lock);
	df_cond_init(&w.cond);
	int err = df_fetch_get(v->fetch, p, n, v->conf.read_timeout_ms,
			       wait_done, &w);
	df_lock(&w.lock);
	while (!err && !w.ended)
		df_cond_wait(&w.cond, &w.lock);
	df_unlock(&w.lock);
	if (!err)
		err = w.err;
	df_cond_release(&w.cond);
	df_lock_release(&w.lock);
	return err;
}

static int load_page(struct df_vol *v, struct df_ver *h,
		     const struct df_page *g)
{
	uint64_t off = g->region * DF_REGION;
	struct df_loc loc;

	if (!df_seg_find_piece(v->segs, &g->piece.pack, g->piece.off, &loc))
		return -EAGAIN;
	DF_FREE uint8_t *raw = df_xalloc(g->piece.rlen);
	int err = df_seg_read(v->segs, loc, raw, g->piece.rlen);
	if (!err)
		err = df_decode_page(raw, g->piece.rlen, &g->piece.pack, off,
				     DF_REGION, &h->ext);
	if (err == -ENOENT)
		return -EAGAIN; /* evicted just now */
	if (err)
		df_log_error("a page of an extent map: %s", df_strerror(err));
	return err ? -EIO : 0;
}

int df_ver_load(struct df_vol *v, struct df_ver *h)
{
	int err = 0;

	for (uint32_t i = 0; i < h->n_pages && !err; i++)
		err = load_page(v, h, &h->pages[i]);
	if (err) {
		df_extmap_release(&h->ext, NULL);
		return err;
	}
	df_extmap_punch(&h->ext, h->size, UINT64_MAX - h->size, NULL);
	h->flags &= ~(uint32_t)DF_VER_UNLOADED;
	return 0;
}

int df_vol_writable_unlocked(struct df_vol *v)
{
	df_lock(&v->lock);
	int err = df_vol_writable(v);
	df_unlock(&v->lock);
	return err;
}
