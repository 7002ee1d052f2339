/* segread.c - reading with verification: every block of a segment that an
 * earlier process wrote is checked once.  See seg.h, segstore.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "cache/bytes/segstore.h"

void seg_table_free(struct seg_table *t)
{
	if (!t)
		return;
	free(t->e);
	free(t->checked);
	free(t);
}

static int compare_entries(const void *a, const void *b)
{
	const struct seg_entry *x = a, *y = b;

	return (x->data_off > y->data_off) - (x->data_off < y->data_off);
}

static uint32_t n_blocks(uint32_t len)
{
	return (len + DF_SEG_BLOCK - 1) / DF_SEG_BLOCK;
}

/* From the encoded entries; damaged ones are left out: their data is then
 * not found, which is DF_ECORRUPT to the reader. */
static int build_table(const struct seg *g, const struct df_buf *list,
		       struct seg_table *t)
{
	uint32_t len = df_entry_len(g->stream), bits = 0;
	struct df_seg_entry e;

	t->e = calloc(list->len / len + 1, sizeof(*t->e));
	if (!t->e)
		return -ENOMEM;
	for (size_t at = 0; at + len <= list->len; at += len) {
		if (df_entry_decode(list->data + at, len, g->frames_end, &e))
			continue;
		t->e[t->n++] = (struct seg_entry){ e.data_off, e.data_len,
						   e.frame_off, 0 };
	}
	qsort(t->e, t->n, sizeof(*t->e), compare_entries);
	for (uint32_t i = 0; i < t->n; i++) {
		t->e[i].bit = bits;
		bits += n_blocks(t->e[i].data_len);
	}
	t->checked = calloc(bits / 64 + 1, sizeof(*t->checked));
	return t->checked ? 0 : -ENOMEM;
}

/* The table of a pinned old segment; made at the first call. */
static int load_table(struct seg *g, int fd, struct seg_table **out)
{
	struct seg_table *none = NULL, *t = atomic_load(&g->table);
	struct df_buf list;

	*out = t;
	if (t)
		return 0;
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	df_buf_init(&list, DF_SEG_SIZE_MAX);
	int err = seg_read_entries(g, fd, &list);
	if (!err)
		err = build_table(g, &list, t);
	df_buf_release(&list);
	if (!err && atomic_compare_exchange_strong(&g->table, &none, t)) {
		*out = t;
		return 0;
	}
	seg_table_free(t); /* another thread was faster, or an error */
	*out = none;
	return err;
}

static const struct seg_entry *find_entry(const struct seg_table *t,
					  uint32_t off)
{
	uint32_t lo = 0, hi = t->n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		if (t->e[mid].data_off <= off)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo ? &t->e[lo - 1] : NULL;
}

static bool is_checked(const struct seg_table *t, uint32_t bit)
{
	return atomic_load_explicit(&t->checked[bit / 64],
				    memory_order_relaxed) >>
		       (bit % 64) &
	       1;
}

/* The sums of e's blocks, out of its frame; n of them. */
static int read_sums(const struct seg *g, int fd, const struct seg_entry *e,
		     uint64_t *sums, uint32_t n)
{
	uint8_t head[DF_FRAME_LEN], bytes[8 * DF_SEG_SUMS_MAX];
	struct df_frame f;

	ssize_t got = seg_pread(fd, head, sizeof(head), e->frame_off);
	if (got < 0)
		return (int)got;
	if (df_frame_decode(head, (size_t)got, g->head.salt, &f) ||
	    f.data_len != e->data_len ||
	    df_frame_data_off(&f, e->frame_off) != e->data_off)
		return DF_ECORRUPT;
	if (!df_frame_sums(f.data_len)) {
		sums[0] = f.data_sum;
		return 0;
	}
	got = seg_pread(fd, bytes, 8 * (size_t)n,
			e->frame_off + DF_FRAME_LEN + f.rec_len);
	if (got < 0)
		return (int)got;
	if (got != 8 * (ssize_t)n ||
	    !df_sum_ok(df_xxh3(bytes, 8 * (size_t)n), f.data_sum))
		return DF_ECORRUPT;
	for (uint32_t i = 0; i < n; i++)
		sums[i] = df_le_get64(bytes + 8 * (size_t)i);
	return 0;
}

static int check_block(struct seg_table *t, int fd, const struct seg_entry *e,
		       uint32_t block, uint64_t sum, uint8_t *buf)
{
	uint32_t at = block * DF_SEG_BLOCK, bit = e->bit + block;
	uint32_t len = DF_MIN(e->data_len - at, (uint32_t)DF_SEG_BLOCK);

	ssize_t got = seg_pread(fd, buf, len, e->data_off + at);
	if (got < 0)
		return (int)got;
	if ((uint32_t)got != len || !df_sum_ok(df_xxh3(buf, len), sum))
		return DF_ECORRUPT;
	atomic_fetch_or_explicit(&t->checked[bit / 64],
				 UINT64_C(1) << (bit % 64),
				 memory_order_relaxed);
	return 0;
}

static int check_blocks(const struct seg *g, struct seg_table *t, int fd,
			const struct seg_entry *e, uint32_t first,
			uint32_t last)
{
	uint64_t sums[DF_SEG_SUMS_MAX];

	int err = read_sums(g, fd, e, sums, n_blocks(e->data_len));
	if (err)
		return err;
	DF_FREE uint8_t *buf = malloc(DF_SEG_BLOCK);
	if (!buf)
		return -ENOMEM;
	for (uint32_t i = first; !err && i <= last; i++)
		if (!is_checked(t, e->bit + i))
			err = check_block(t, fd, e, i, sums[i], buf);
	return err;
}

/* A damaged copy: the next request for the piece must fetch it again. */
static void forget_piece(struct df_segs *s, const struct seg *g, int fd,
			 const struct seg_entry *e)
{
	struct df_buf list;
	struct df_seg_entry x;

	df_buf_init(&list, DF_SEG_SIZE_MAX);
	if (!seg_read_entries((struct seg *)(uintptr_t)g, fd, &list)) {
		for (size_t at = 0; at + DF_ENTRY_PIECE_LEN <= list.len;
		     at += DF_ENTRY_PIECE_LEN) {
			if (df_entry_decode(list.data + at, DF_ENTRY_PIECE_LEN,
					    g->frames_end, &x) ||
			    x.data_off != e->data_off)
				continue;
			df_lock(&s->lock);
			df_segindex_del(s->index, &x.pack, x.piece_off,
					(struct df_loc){ g->no, x.data_off });
			df_unlock(&s->lock);
		}
	}
	df_buf_release(&list);
}

static int verify(struct df_segs *s, struct seg *g, int fd, struct df_loc loc,
		  size_t len)
{
	struct seg_table *t;
	int err = load_table(g, fd, &t);

	if (err)
		return err;
	const struct seg_entry *e = find_entry(t, loc.off);
	if (!e || loc.off - e->data_off > e->data_len ||
	    len > e->data_len - (loc.off - e->data_off))
		return df_fail(DF_ECORRUPT,
			       "%s/seg/%08x: no whole data at "
			       "%u+%zu",
			       s->dir, g->no, loc.off, len);
	if (!len)
		return 0;
	uint32_t first = (loc.off - e->data_off) / DF_SEG_BLOCK;
	uint32_t last =
		(uint32_t)(loc.off - e->data_off + len - 1) / DF_SEG_BLOCK;
	bool due = false;
	for (uint32_t i = first; i <= last; i++)
		due |= !is_checked(t, e->bit + i);
	if (!due)
		return 0;
	err = check_blocks(g, t, fd, e, first, last);
	if (err == DF_ECORRUPT) {
		if (g->stream == DF_STREAM_FETCH)
			forget_piece(s, g, fd, e);
		df_fail(err, "%s/seg/%08x: data at %u+%u is damaged", s->dir,
			g->no, e->data_off, e->data_len);
	}
	return err;
}

int df_seg_pin_read(struct df_segs *s, struct df_loc loc, size_t len)
{
	struct seg *g;
	int fd = seg_pin(s, loc.seg, &g);

	if (fd < 0 || g->ours)
		return fd;
	int err = verify(s, g, fd, loc, len);
	if (err) {
		df_seg_unpin(s, loc.seg);
		return err;
	}
	return fd;
}

int df_seg_read(struct df_segs *s, struct df_loc loc, void *out, size_t len)
{
	int fd = df_seg_pin_read(s, loc, len);

	if (fd < 0)
		return fd;
	ssize_t got = seg_pread(fd, out, len, loc.off);
	df_seg_unpin(s, loc.seg);
	if (got < 0)
		return (int)got;
	return (size_t)got == len ? 0 : DF_ECORRUPT;
}
