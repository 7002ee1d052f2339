/*
 * checkpoint_io.c - see checkpoint_io.h.
 *
 * A fetch is a list of runs: neighbouring pieces of one pack that one read
 * brings.  Readers take runs in order and stay at most WINDOW runs ahead of the
 * consumer, which takes them in the same order.
 */
#include "cache/checkpoint_io.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"

#define READERS 3
#define WINDOW 5
#define RUN_CLEN (2U << 20) /* bytes of a read, about */
#define RUN_RLEN (4U << 20) /* unpacked, about */
#define RUN_GAP (64U << 10) /* read and thrown away rather than asked twice */
#define READ_MAX ((size_t)4 << 20)
#define RAW_MAX ((size_t)8 << 20)
#define READ_TIMEOUT_MS 60000

struct run {
	size_t first, n; /* in the order */
	uint64_t off, len;
};

struct slot {
	struct df_buf raw;
	bool ready;
	int err;
};

struct fetch {
	struct df_vol *v;
	const struct df_piece *pieces;
	size_t *order; /* by pack and offset */
	size_t n;
	struct run *runs;
	size_t n_runs, runs_size;

	struct df_lock lock;
	struct df_cond changed;
	struct slot slot[WINDOW]; /* lock: ready, err; run i is in i % WINDOW */
	size_t taken, used;       /* lock: runs taken by readers, consumed */
	bool stop;                /* lock */
};

/* ---- planning */
static int piece_cmp(const void *a, const void *b, void *arg)
{
	const struct df_piece *x =
		(const struct df_piece *)arg + *(const size_t *)a;
	const struct df_piece *y =
		(const struct df_piece *)arg + *(const size_t *)b;
	int c = df_id_cmp(&x->pack, &y->pack);

	return c ? c : (x->off > y->off) - (x->off < y->off);
}

static void plan(struct fetch *f)
{
	uint32_t rlen = 0;

	f->order = df_xalloc((f->n + 1) * sizeof(*f->order));
	for (size_t i = 0; i < f->n; i++)
		f->order[i] = i;
	qsort_r(f->order, f->n, sizeof(*f->order), piece_cmp,
		(void *)(uintptr_t)f->pieces);
	for (size_t i = 0; i < f->n; i++) {
		const struct df_piece *p = &f->pieces[f->order[i]];
		struct run *r = f->n_runs ? &f->runs[f->n_runs - 1] : NULL;
		uint64_t end = (uint64_t)p->off + p->clen;
		bool joins = r &&
			     !df_id_cmp(&p->pack,
					&f->pieces[f->order[r->first]].pack) &&
			     p->off >= r->off + r->len &&
			     p->off - (r->off + r->len) <= RUN_GAP &&
			     end - r->off <= RUN_CLEN &&
			     rlen + p->rlen <= RUN_RLEN;
		if (!joins) {
			DF_GROW(f->runs, f->n_runs, f->runs_size);
			r = &f->runs[f->n_runs++];
			*r = (struct run){ .first = i, .off = p->off };
			rlen = 0;
		}
		r->n++;
		r->len = end - r->off;
		rlen += p->rlen;
	}
}

/* ---- reading */
static int read_run(struct fetch *f, const struct run *r, struct df_buf *raw)
{
	const struct df_id *pack = &f->pieces[f->order[r->first]].pack;
	struct df_remote *remote = f->v->remote;
	struct df_buf in;

	df_buf_init(&in, READ_MAX);
	int err = remote->ops->pack_get(remote, pack, r->off, r->len,
					READ_TIMEOUT_MS, &in);
	for (size_t i = 0; i < r->n && !err; i++) {
		const struct df_piece *p = &f->pieces[f->order[r->first + i]];
		size_t at = (size_t)(p->off - r->off), used;
		err = at < in.len ? df_piece_decode(in.data + at, in.len - at,
						    p, raw, &used)
				  : DF_ECORRUPT;
	}
	df_buf_release(&in);
	return err;
}

static void *reader_main(void *arg)
{
	struct fetch *f = arg;

	df_lock(&f->lock);
	for (;;) {
		while (!f->stop && f->taken < f->n_runs &&
		       f->taken >= f->used + WINDOW)
			df_cond_wait(&f->changed, &f->lock);
		if (f->stop || f->taken >= f->n_runs)
			break;
		size_t i = f->taken++;
		struct slot *s = &f->slot[i % WINDOW];
		df_unlock(&f->lock);
		int err = read_run(f, &f->runs[i], &s->raw);
		df_lock(&f->lock);
		s->err = err;
		s->ready = true;
		df_cond_broadcast(&f->changed);
	}
	df_unlock(&f->lock);
	return NULL;
}

static int consume(struct fetch *f, const struct run *r, struct df_buf *raw,
		   df_ck_piece_fn *fn, void *arg)
{
	size_t at = 0;
	int err = 0;

	for (size_t i = 0; i < r->n && !err; i++) {
		size_t k = f->order[r->first + i];
		err = fn(arg, k, raw->data + at, f->pieces[k].rlen);
		at += f->pieces[k].rlen;
	}
	df_buf_reset(raw);
	return err;
}

static int consume_all(struct fetch *f, df_ck_piece_fn *fn, void *arg)
{
	int err = 0;

	for (size_t i = 0; i < f->n_runs && !err; i++) {
		struct slot *s = &f->slot[i % WINDOW];
		df_lock(&f->lock);
		while (!s->ready)
			df_cond_wait(&f->changed, &f->lock);
		s->ready = false;
		df_unlock(&f->lock);
		err = s->err;
		if (!err)
			err = consume(f, &f->runs[i], &s->raw, fn, arg);
		df_lock(&f->lock);
		f->used++;
		df_cond_broadcast(&f->changed);
		df_unlock(&f->lock);
	}
	return err;
}

/* Everything here, for one run or where no thread can be had. */
static int fetch_here(struct fetch *f, df_ck_piece_fn *fn, void *arg)
{
	int err = 0;

	for (size_t i = 0; i < f->n_runs && !err; i++) {
		err = read_run(f, &f->runs[i], &f->slot[0].raw);
		if (!err)
			err = consume(f, &f->runs[i], &f->slot[0].raw, fn, arg);
	}
	return err;
}

static int fetch_parallel(struct fetch *f, df_ck_piece_fn *fn, void *arg)
{
	pthread_t thread[READERS];
	unsigned n = 0;

	while (n < READERS && n < f->n_runs &&
	       !pthread_create(&thread[n], NULL, reader_main, f))
		n++;
	int err = n ? consume_all(f, fn, arg) : fetch_here(f, fn, arg);
	df_lock(&f->lock);
	f->stop = true;
	df_cond_broadcast(&f->changed);
	df_unlock(&f->lock);
	while (n)
		pthread_join(thread[--n], NULL);
	return err;
}

int df_ck_fetch(struct df_vol *v, const struct df_piece *pieces, size_t n,
		df_ck_piece_fn *fn, void *arg)
{
	struct fetch f = { .v = v, .pieces = pieces, .n = n };

	df_lock_init(&f.lock);
	df_cond_init(&f.changed);
	for (int i = 0; i < WINDOW; i++)
		df_buf_init(&f.slot[i].raw, RAW_MAX);
	plan(&f);
	int err = f.n_runs > 1 ? fetch_parallel(&f, fn, arg)
			       : fetch_here(&f, fn, arg);
	for (int i = 0; i < WINDOW; i++)
		df_buf_release(&f.slot[i].raw);
	df_cond_release(&f.changed);
	df_lock_release(&f.lock);
	free(f.order);
	free(f.runs);
	return err;
}

/* ---- the index */
struct place {
	uint8_t *data;
	size_t *off; /* of each piece */
};

static int take_piece(void *arg, size_t i, const void *raw, size_t len)
{
	struct place *p = arg;

	memcpy(p->data + p->off[i], raw, len);
	return 0;
}

int df_ck_fetch_index(struct df_vol *v, const struct df_row *row,
		      struct df_ck_index *x)
{
	struct df_ck_body body;
	int err = df_ck_body_read(row->body, row->body_len, &body);

	if (err)
		return err;
	struct place p = { 0 };
	struct df_buf b;
	df_buf_init(&b, DF_CK_INDEX_MAX);
	p.off = df_xalloc((body.n_pieces + 1) * sizeof(*p.off));
	for (size_t i = 1; i < body.n_pieces; i++)
		p.off[i] = p.off[i - 1] + body.pieces[i - 1].rlen;
	p.data = df_buf_extend(&b, (size_t)body.index_len);
	err = p.data ? df_ck_fetch(v, body.pieces, body.n_pieces, take_piece,
				   &p)
		     : DF_ECORRUPT;
	if (!err)
		err = df_ck_index_read(b.data, b.len, x);
	if (!err && x->generation != body.generation) {
		df_ck_index_release(x);
		err = DF_ECORRUPT;
	}
	free(p.off);
	df_buf_release(&b);
	df_ck_body_release(&body);
	return err;
}

/* ---- what is remembered: row id, XXH3 of the rest, index */
#define BASE_HEAD (DF_ID_LEN + 8)

bool df_ck_base_load(struct df_vol *v, struct df_ck_base *b)
{
	DF_FREE char *path = df_strf("%s/checkpoint", v->conf.cache_dir);
	struct df_buf in;
	bool ok = false;

	*b = (struct df_ck_base){ 0 };
	df_buf_init(&in, DF_CK_INDEX_MAX + BASE_HEAD);
	if (path && !df_file_read(path, &in) && in.len > BASE_HEAD) {
		struct df_rd r = df_rd(in.data, in.len);
		df_rd_copy(&r, b->row.b, DF_ID_LEN);
		ok = df_rd_u64(&r) == df_xxh3(r.at, df_rd_left(&r)) &&
		     !df_ck_index_read(r.at, df_rd_left(&r), &b->index);
	}
	df_buf_release(&in);
	return ok;
}

void df_ck_base_save(struct df_vol *v, const struct df_ck_base *b)
{
	DF_FREE char *path = df_strf("%s/checkpoint", v->conf.cache_dir);
	struct df_buf index, out;

	df_buf_init(&index, DF_CK_INDEX_MAX);
	df_buf_init(&out, DF_CK_INDEX_MAX + BASE_HEAD);
	df_ck_index_write(&index, &b->index);
	df_buf_put(&out, b->row.b, DF_ID_LEN);
	df_buf_put_u64(&out, df_xxh3(index.data, index.len));
	df_buf_put(&out, index.data, index.len);
	if (index.err || out.err || !path ||
	    df_file_replace(path, out.data, out.len, 0600))
		df_log_warn("%s: cannot be written; the next checkpoint "
			    "sends all blocks again",
			    path ? path : "");
	df_buf_release(&index);
	df_buf_release(&out);
}

int64_t df_ck_now_ms(struct df_vol *v)
{
	df_lock(&v->lock);
	int64_t skew = v->server_known ? v->server_skew_ms : 0;
	df_unlock(&v->lock);
	return df_clock_real_ns() / DF_NS_PER_MS + skew;
}
