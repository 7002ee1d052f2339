/*
 * fsck_log.c - the log row by row, and every pack byte by byte.
 *
 * Rows: the hash matches, the body decodes, its registers are there and
 * decode, the rows that it follows are there.  Packs: there, what their id
 * says, and each piece that a register names decodes to what it says.
 */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "cache/registers/commit.h"
#include "tools/fsck.h"

#define LIST_MS 300000
#define ROW_MS 60000
#define PACK_MS 300000
#define PAGE_ROWS 100

static const struct df_remote_ops *ops(const struct fsck *f,
				       struct df_remote **r)
{
	*r = f->a->remote;
	return (*r)->ops;
}

static int id_cmp(const void *a, const void *b)
{
	return df_id_cmp(a, b);
}

static bool in_list(const struct df_idepoch_list *l, const struct df_id *id)
{
	/* struct df_dep begins with its id */
	return l->n && bsearch(id, l->v, l->n, sizeof(*l->v), id_cmp);
}

/* ---- rows */
static void row_name(const struct df_row *row, char out[40])
{
	char hex[33];

	df_id_hex(&row->id, hex);
	snprintf(out, 40, "row %.32s", hex);
}

static int read_registers(struct fsck *f, const struct df_body *b,
			  struct df_buf *regs)
{
	struct df_remote *r;
	const struct df_remote_ops *o = ops(f, &r);
	int err = 0;

	if (!b->n_pieces)
		return df_body_registers(b, regs);
	for (size_t i = 0; i < b->n_pieces && !err; i++) {
		const struct df_piece *p = &b->pieces[i];
		struct df_buf raw;
		size_t used;
		df_buf_init(&raw, 2 * DF_PIECE_RAW_MAX);
		err = o->pack_get(r, &p->pack, p->off, p->clen, ROW_MS, &raw);
		if (!err)
			err = df_piece_decode(raw.data, raw.len, p, regs,
					      &used);
		df_buf_release(&raw);
	}
	return err;
}

static int check_commit(struct fsck *f, const struct df_row *row,
			const char *name)
{
	struct df_body body;
	struct df_buf regs;
	uint64_t max_time = 0;

	int err = df_body_read(row->body, row->body_len, &body);
	if (err) {
		fsck_say(f, false, "row", name, "its body does not decode: %s",
			 df_strerror(err));
		return 0;
	}
	df_buf_init(&regs, DF_REGISTERS_MAX);
	err = read_registers(f, &body, &regs);
	if (!err)
		err = df_registers_check(regs.data, regs.len, &max_time);
	df_buf_release(&regs);
	df_body_release(&body);
	if (err == -ENOENT || err == DF_ECORRUPT || err == -EFBIG) {
		fsck_say(f, false, "row", name, "%s",
			 err == -ENOENT ? "a pack with its registers is missing"
					: "its registers do not decode");
		err = 0;
	}
	return err;
}

static void check_cause(struct fsck *f, const struct df_idepoch_list *all,
			const struct df_dep *d, const char *name)
{
	static const struct df_id none;
	char hex[33];

	/* A checkpoint may cover it: then it was deleted. */
	if (!df_id_cmp(&d->id, &none) || f->checkpointed ||
	    in_list(all, &d->id))
		return;
	df_id_hex(&d->id, hex);
	fsck_say(f, false, "row", name,
		 "the row %s that it follows is "
		 "missing: what it held is lost",
		 hex);
}

static int check_row(struct fsck *f, const struct df_idepoch_list *all,
		     const struct df_row *row)
{
	char name[40];

	row_name(row, name);
	f->rows++;
	if (row->kind != DF_ROW_COMMIT)
		return 0; /* checkpoints: read when the volume is opened */
	check_cause(f, all, &row->prev, name);
	for (size_t i = 0; i < row->n_deps; i++)
		check_cause(f, all, &row->deps[i], name);
	return check_commit(f, row, name);
}

static int check_page(struct fsck *f, const struct df_idepoch_list *all,
		      size_t from, size_t n)
{
	struct df_id ids[PAGE_ROWS];
	struct df_rows rows = { 0 };
	struct df_remote *r;
	const struct df_remote_ops *o = ops(f, &r);

	for (size_t i = 0; i < n; i++)
		ids[i] = all->v[from + i].id;
	int err = o->rows_get(r, ids, n, ROW_MS, &rows);
	for (size_t i = 0; i < rows.n && !err; i++)
		err = check_row(f, all, &rows.row[i]);
	if (rows.refused)
		fsck_say(f, false, "row", "the log",
			 "%zu rows are not what their id says: every mount "
			 "leaves them out",
			 rows.refused);
	df_rows_release(&rows);
	return err;
}

int fsck_log(struct fsck *f)
{
	struct df_idepoch_list all = { 0 };
	struct df_remote *r;
	const struct df_remote_ops *o = ops(f, &r);
	int err = o->rows_list(r, LIST_MS, &all, NULL);

	if (all.n)
		qsort(all.v, all.n, sizeof(*all.v), id_cmp);
	/* Its own row, and all that know it, carry its generation. */
	for (size_t i = 0; i < all.n; i++)
		f->checkpointed |= all.v[i].epoch > 0;
	for (size_t i = 0; i < all.n && !err; i += PAGE_ROWS)
		err = check_page(f, &all, i,
				 DF_MIN(all.n - i, (size_t)PAGE_ROWS));
	free(all.v);
	return err;
}

/* ---- packs */
static void say_file(struct fsck *f, const struct df_fsck_piece *p,
		     const char *what)
{
	char hex[33];
	DF_FREE char *path = df_fsck_path(f->side.vol, p->nid);

	df_id_hex(&p->p.pack, hex);
	fsck_say(f, false, "piece", path ? path : "?",
		 "%u bytes of it (pack %s, offset %u) %s", p->p.rlen, hex,
		 p->p.off, what);
}

static int check_pieces(struct fsck *f, const struct df_buf *pack,
			const struct df_fsck_piece *p, size_t n)
{
	struct df_buf raw;
	uint32_t done = UINT32_MAX;
	int bad = 0;

	df_buf_init(&raw, 2 * DF_PIECE_RAW_MAX);
	for (size_t i = 0; i < n; i++) {
		size_t used;
		if (p[i].p.off == done && !bad)
			continue; /* another file with the same piece */
		done = p[i].p.off;
		df_buf_reset(&raw);
		bad = (uint64_t)p[i].p.off + p[i].p.clen > pack->len ||
		      df_piece_decode(pack->data + p[i].p.off, p[i].p.clen,
				      &p[i].p, &raw, &used);
		if (bad)
			say_file(f, &p[i], "are not what the register says");
		f->pieces++;
	}
	df_buf_release(&raw);
	return 0;
}

static int check_pack(struct fsck *f, const struct df_fsck_piece *p, size_t n)
{
	struct df_remote *r = df_fsck_remote(f->side.vol);
	uint8_t sum[DF_SHA_LEN];
	struct df_buf pack;

	df_buf_init(&pack, 64 << 20);
	int err = r->ops->pack_get(r, &p[0].p.pack, 0, 0, PACK_MS, &pack);
	if (err == -ENOENT || err == DF_ECORRUPT) {
		for (size_t i = 0; i < n; i++)
			say_file(f, &p[i],
				 err == -ENOENT
					 ? "are missing: the pack is not there"
					 : "cannot be read: the pack is "
					   "damaged");
		err = 0;
		goto out;
	}
	if (err)
		goto out;
	f->packs++;
	f->bytes += pack.len;
	df_progress_bytes(&f->progress, f->bytes, 0);
	df_sha256(pack.data, pack.len, sum);
	if (memcmp(sum, p[0].p.pack.b, DF_ID_LEN)) {
		char hex[33];
		df_id_hex(&p[0].p.pack, hex);
		fsck_say(f, false, "pack", hex, "is not what its id says");
	}
	err = check_pieces(f, &pack, p, n);
out:
	df_buf_release(&pack);
	return err;
}

int fsck_packs(struct fsck *f, const struct df_fsck_pieces *p)
{
	int err = 0;

	for (size_t i = 0; i < p->n && !err;) {
		size_t n = 1;
		while (i + n < p->n &&
		       !df_id_cmp(&p->v[i].p.pack, &p->v[i + n].p.pack))
			n++;
		bool all = true; /* fetched for an extent map, and verified */
		for (size_t k = 0; k < n && all; k++)
			all = df_fsck_is_local(f->side.vol, &p->v[i + k].p);
		if (!all)
			err = check_pack(f, &p->v[i], n);
		i += n;
	}
	return err;
}
