/* vol_range.c - holes, seeking, and bytes that several files share. */
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <unistd.h>

#include "cache/settle.h"
#include "cache/vol_data.h"

#define COPY_EXTENTS 2048

static int change_range(struct df_vol *v, df_nid nid, const struct df_write *in,
			enum df_op_kind kind)
{
	struct df_write w = *in;

	df_lock(&v->lock);
	struct df_obj *o = df_vol_asked(v, nid);
	int err = !o                    ? -ESTALE
		  : df_obj_is_dir(o)    ? -EISDIR
		  : df_data_unloaded(o) ? -EAGAIN
					: 0;
	if (!err)
		err = df_orphan_own(v, nid, &o);
	if (!err)
		err = df_op_begin(v, kind);
	if (!err) {
		df_settle_object(v, o->nid);
		uint64_t size = df_data_size(o);
		if (w.size == UINT64_MAX) /* keep */
			w.size = size;
		else
			w.size = DF_MAX(w.size, size);
		if (w.off >= w.size)
			w.len = 0;
		else
			w.len = DF_MIN(w.len, w.size - w.off);
		df_op_write(v, o, &w);
		err = df_op_end(v);
	}
	df_unlock(&v->lock);
	return err;
}

int df_vol_fallocate(struct df_vol *v, df_nid nid, int mode, uint64_t off,
		     uint64_t len)
{
	bool keep = mode & FALLOC_FL_KEEP_SIZE;
	int rest = mode & ~FALLOC_FL_KEEP_SIZE;
	struct df_write w = { .off = off };

	if (rest && rest != FALLOC_FL_PUNCH_HOLE &&
	    rest != FALLOC_FL_ZERO_RANGE)
		return -EOPNOTSUPP;
	if (rest == FALLOC_FL_PUNCH_HOLE && !keep)
		return -EOPNOTSUPP;
	if (!len)
		return -EINVAL;
	if (off > (uint64_t)DF_FILE_SIZE_MAX ||
	    len > (uint64_t)DF_FILE_SIZE_MAX - off)
		return -EFBIG;
	w.size = keep ? UINT64_MAX : off + len;
	if (rest)
		w.len = len;
	else if (keep)
		return df_vol_writable_unlocked(v); /* holes cost nothing */
	return change_range(v, nid, &w, rest ? DF_OP_FREES : DF_OP_GROWS);
}

int df_vol_lseek(struct df_vol *v, df_nid nid, uint64_t off, int whence,
		 uint64_t *out)
{
	struct df_texts t = { 0 };

	df_lock(&v->lock);
	struct df_obj *o = df_vol_asked(v, nid);
	const struct df_ver *h = o && o->heads.n ? o->heads.v[0] : NULL;
	if (h && o->heads.n > 1) {
		df_texts_init(&t, &o->heads, NULL);
		h = t.v[0].m;
	}
	int err = !o                     ? -ESTALE
		  : df_data_unloaded(o)  ? -EAGAIN
		  : !h || off >= h->size ? -ENXIO
					 : 0;
	if (!err) {
		struct df_extpos p = df_extmap_find(&h->ext, off);
		const struct df_ext *e = df_extmap_at(&h->ext, p);
		if (whence == SEEK_DATA) {
			*out = e ? DF_MAX(off, e->off) : 0;
			err = e && *out < h->size ? 0 : -ENXIO;
		} else {
			uint64_t at = off;
			while (e && e->off <= at && at < h->size) {
				at = e->off + e->len;
				p = df_extmap_next(&h->ext, p);
				e = df_extmap_at(&h->ext, p);
			}
			*out = DF_MIN(at, h->size);
		}
	}
	df_texts_release(&t, NULL);
	df_unlock(&v->lock);
	return err;
}

/* The extents of [off, off + len) of o, moved to dst_off; at most
 * COPY_EXTENTS: *len says how far they go. */
static struct df_ext *range_extents(const struct df_obj *o, uint64_t off,
				    uint64_t *len, uint64_t dst_off,
				    uint32_t *n)
{
	struct df_extmap part = { 0 };
	struct df_ext *list;
	uint32_t used = 0;

	df_extmap_splice(&part, dst_off, &o->heads.v[0]->ext, off, *len, NULL);
	list = df_xrealloc(NULL, DF_MIN(part.n, COPY_EXTENTS), sizeof(*list));
	for (struct df_extpos p = { 0, 0 }; df_extmap_at(&part, p);
	     p = df_extmap_next(&part, p)) {
		const struct df_ext *e = df_extmap_at(&part, p);
		if (used == COPY_EXTENTS) {
			*len = e->off - dst_off;
			break;
		}
		list[used++] = *e;
	}
	df_extmap_release(&part, NULL);
	*n = used;
	return list;
}

static int copy_locked(struct df_vol *v, df_nid in, uint64_t in_off, df_nid out,
		       uint64_t out_off, uint64_t len, uint64_t *copied)
{
	struct df_obj *a = df_vol_asked(v, in), *b = df_vol_asked(v, out);
	struct df_write w = { .off = out_off };

	if (!a || !b)
		return -ESTALE;
	if (df_obj_is_dir(a) || df_obj_is_dir(b))
		return -EISDIR;
	if (df_data_unloaded(a) || df_data_unloaded(b))
		return -EAGAIN;
	int err = df_orphan_own(v, out, &b);
	if (!err && in == out)
		a = b;
	if (!err)
		err = df_op_begin(v, DF_OP_GROWS);
	if (err)
		return err;
	df_settle_object(v, b->nid);
	df_settle_object(v, a->nid);
	uint64_t size = df_data_size(a);
	*copied = in_off < size ? DF_MIN(len, size - in_off) : 0;
	if (*copied && a->heads.n == 1) {
		w.ext = range_extents(a, in_off, copied, out_off, &w.n_ext);
		w.len = *copied;
		w.size = DF_MAX(df_data_size(b), out_off + w.len);
		df_op_write(v, b, &w);
		free(w.ext);
	}
	return df_op_end(v);
}

int df_vol_copy_range(struct df_vol *v, df_nid in, uint64_t in_off, df_nid out,
		      uint64_t out_off, uint64_t len, uint64_t *copied)
{
	if (out_off > (uint64_t)DF_FILE_SIZE_MAX ||
	    len > (uint64_t)DF_FILE_SIZE_MAX - out_off)
		return -EFBIG;
	if (in == out && in_off < out_off + len && out_off < in_off + len)
		return -EINVAL;
	df_lock(&v->lock);
	int err = copy_locked(v, in, in_off, out, out_off, len, copied);
	df_unlock(&v->lock);
	return err;
}
