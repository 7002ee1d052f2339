/* load.c - operations that wait for pieces; extent maps that live in pages:
 * fetched pieces decoded again. */
#include <stdlib.h>

#include "cache/vol_data.h"

/* ---- wishes */
void df_wish_add(struct df_wish *w)
{
	df_lock_assert(&w->v->lock);
	w->refs = 1;
	w->next = w->v->wishes;
	w->v->wishes = w;
}

static void unref_locked(struct df_wish *w)
{
	if (--w->refs == 0)
		free(w);
}

void df_wish_fetch(struct df_wish *w, struct df_piece *p, size_t n)
{
	struct df_vol *v = w->v;

	df_lock(&v->lock);
	w->refs++;
	df_unlock(&v->lock);
	int err = df_fetch_get(v->fetch, p, n, v->conf.read_timeout_ms, w->come,
			       w);
	free(p);
	if (err)
		w->come(w, err);
	df_lock(&v->lock);
	/* It came before the fetcher knew whom to cancel. */
	if (w->interrupted)
		df_fetch_cancel(v->fetch, w);
	unref_locked(w);
	df_unlock(&v->lock);
}

void df_wish_end(struct df_wish *w)
{
	struct df_vol *v = w->v;

	df_lock(&v->lock);
	for (struct df_wish **at = &v->wishes; *at; at = &(*at)->next)
		if (*at == w) {
			*at = w->next;
			break;
		}
	unref_locked(w);
	df_unlock(&v->lock);
}

bool df_wish_interrupt(struct df_vol *v, void *arg)
{
	struct df_wish *w = v->wishes;

	while (w && w->arg != arg)
		w = w->next;
	if (!w)
		return false;
	w->interrupted = true;
	df_fetch_cancel(v->fetch, w);
	return true;
}

int df_data_error(int err)
{
	switch (err) {
	case DF_EOFFLINE:
	case -ETIMEDOUT:
		return -ETIMEDOUT;
	case -EINTR:
	case -ECANCELED:
		return -EINTR;
	case DF_ECORRUPT:
	case -ENOENT:
		df_log_error("a pack is missing or damaged in the table: %s",
			     df_strerror(err));
		return -EIO;
	case 1:
		df_log_error("what was fetched went from the full cache before "
			     "it was read, %d times: a larger cache_size helps",
			     DF_READ_TRIES);
		return -EIO;
	default:
		df_log_error("bytes of a file cannot be fetched: %s",
			     df_strerror(err));
		return -EIO;
	}
}

/* ---- waiting for pieces on a thread that may */
struct wait {
	struct df_lock lock;
	struct df_cond cond;
	bool ended;
	int err;
};

static void wait_init(struct wait *w)
{
	*w = (struct wait){ 0 };
	df_lock_init(&w->lock);
	df_cond_init(&w->cond);
}

static void wait_done(void *arg, int err)
{
	struct wait *w = arg;

	df_lock(&w->lock);
	w->ended = true;
	w->err = err;
	df_cond_signal(&w->cond);
	df_unlock(&w->lock);
}

/* err: of the call that was given wait_done. */
static int wait_end(struct wait *w, int err, int parked)
{
	df_lock(&w->lock);
	while (err == parked && !w->ended)
		df_cond_wait(&w->cond, &w->lock);
	df_unlock(&w->lock);
	if (err == parked)
		err = w->err;
	df_cond_release(&w->cond);
	df_lock_release(&w->lock);
	return err;
}

int df_data_fetch_wait(struct df_vol *v, const struct df_piece *p, size_t n)
{
	struct wait w;

	wait_init(&w);
	return wait_end(&w,
			df_fetch_get(v->fetch, p, n, v->conf.read_timeout_ms,
				     wait_done, &w),
			0);
}

/* ---- pages */
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

bool df_data_unloaded(const struct df_obj *o)
{
	for (uint32_t i = 0; i < o->heads.n; i++)
		if (o->heads.v[i]->flags & DF_VER_UNLOADED)
			return true;
	return false;
}

void df_data_pages(const struct df_obj *o, struct df_piece **p, size_t *n)
{
	for (uint32_t i = 0; i < o->heads.n; i++) {
		const struct df_ver *h = o->heads.v[i];
		if (!(h->flags & DF_VER_UNLOADED))
			continue;
		*p = df_xrealloc(*p, *n + h->n_pages, sizeof(**p));
		for (uint32_t k = 0; k < h->n_pages; k++)
			(*p)[(*n)++] = h->pages[k].piece;
	}
}

int df_data_load(struct df_vol *v, struct df_obj *o)
{
	bool loaded = false;

	for (uint32_t i = 0; i < o->heads.n; i++) {
		struct df_ver *h = o->heads.v[i];
		if (!(h->flags & DF_VER_UNLOADED))
			continue;
		int err = df_ver_load(v, h);
		if (err)
			return err;
		if (!(o->flags & DF_OBJ_ORPHAN) && i == 0)
			v->n_bytes += h->ext.bytes - h->paged_bytes;
		df_fold_touch(v->fold, o);
		df_fold_account_obj(v->fold, o);
		loaded = true;
	}
	/* As after a merge: a write that builds on this map must not be
	 * replayed on one without it. */
	return loaded ? df_fold_flush(v->fold) : 0;
}

/* ---- loading a whole map */
struct load {
	struct df_wish w; /* first */
	df_nid nid;
	df_done_fn *done;
};

/* 0: loaded; 1: pieces are missing; or -errno.  Locked. */
static int load_step(struct df_vol *v, df_nid nid, struct df_piece **p,
		     size_t *n)
{
	struct df_obj *o = df_vol_obj(v, nid);
	int err = o ? df_data_load(v, o) : -ESTALE;

	if (err != -EAGAIN)
		return err;
	df_data_pages(o, p, n);
	return 1;
}

static void load_come(void *arg, int err)
{
	struct load *l = arg;
	struct df_wish *w = &l->w;
	struct df_vol *v = w->v;
	struct df_piece *p = NULL;
	size_t n = 0;

	if (err) {
		err = df_data_error(err);
	} else {
		df_lock(&v->lock);
		err = load_step(v, l->nid, &p, &n);
		df_unlock(&v->lock);
	}
	if (err == 1 && ++w->tries < DF_READ_TRIES) {
		df_wish_fetch(w, p, n);
		return;
	}
	free(p);
	df_done_fn *done = l->done;
	void *whose = w->arg;
	df_wish_end(w);
	done(whose, err == 1 ? df_data_error(err) : err);
}

int df_vol_load(struct df_vol *v, df_nid nid, df_done_fn *done, void *arg)
{
	struct df_piece *p = NULL;
	size_t n = 0;

	if (!done) {
		struct wait w;
		wait_init(&w);
		return wait_end(&w, df_vol_load(v, nid, wait_done, &w),
				DF_EPARKED);
	}
	df_lock(&v->lock);
	int err = load_step(v, nid, &p, &n);
	if (err != 1) {
		df_unlock(&v->lock);
		return err;
	}
	struct load *l = df_xalloc(sizeof(*l));
	*l = (struct load){ { .v = v, .arg = arg, .come = load_come },
			    nid,
			    done };
	df_wish_add(&l->w);
	df_unlock(&v->lock);
	df_wish_fetch(&l->w, p, n);
	return DF_EPARKED;
}

int df_vol_writable_unlocked(struct df_vol *v)
{
	df_lock(&v->lock);
	int err = df_vol_writable(v);
	df_unlock(&v->lock);
	return err;
}
