/* journal.c - see journal.h. */
#include "cache/journal.h"

#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "cache/registers/commit.h"
#include "cache/cut.h"
#include "cache/merge.h"
#include "cache/op.h"

static int append(struct df_vol *v, enum df_jtype type, struct df_buf *b)
{
	int err = b->err;

	if (!err)
		err = df_seg_append(v->segs, (uint8_t)type, v->jseq + 1,
				    b->data, b->len, NULL, 0, DF_SEG_RESERVED,
				    NULL);
	if (!err)
		v->jseq++;
	df_buf_release(b);
	return err;
}

int df_journal_life(struct df_vol *v)
{
	struct df_buf b;

	df_buf_init(&b, 0);
	df_buf_put_u64(&b, v->node);
	df_buf_put_u64(&b, v->hlc);
	return append(v, DF_J_LIFE, &b);
}

void df_journal_cut(struct df_vol *v)
{
	struct df_buf b;

	df_buf_init(&b, 0);
	df_buf_put_u64(&b, v->cut_time);
	append(v, DF_J_CUT, &b); /* without room the row will not fit either */
}

static void put_dep(struct df_buf *b, const struct df_dep *d)
{
	df_buf_put(b, d->id.b, DF_ID_LEN);
	df_buf_put_u64(b, d->epoch);
}

int df_journal_row(struct df_vol *v, struct df_outrow *out)
{
	const struct df_row *r = &out->row;
	struct df_buf b;

	df_buf_init(&b, 0);
	df_buf_put_u64(&b, out->time);
	df_buf_put_u64(&b, r->node);
	df_buf_put_u64(&b, r->seq);
	df_buf_put_u64(&b, r->epoch);
	df_buf_put_u8(&b, (uint8_t)r->kind);
	put_dep(&b, &r->prev);
	df_buf_put_var(&b, r->n_deps);
	for (size_t i = 0; i < r->n_deps; i++)
		put_dep(&b, &r->deps[i]);
	df_buf_put_bytes(&b, r->body, r->body_len);
	int err = append(v, DF_J_ROW, &b);
	out->note_seq = v->jseq;
	return err;
}

void df_journal_last(struct df_vol *v, const struct df_outrow *out)
{
	uint64_t half[2];

	v->prev = out->row.id;
	v->prev_epoch = out->row.epoch;
	memcpy(half, v->prev.b, sizeof(half));
	df_fold_set_meta(v->fold, "prev0", half[0]);
	df_fold_set_meta(v->fold, "prev1", half[1]);
	df_fold_set_meta(v->fold, "prev_epoch", v->prev_epoch);
	df_fold_set_meta(v->fold, "cut_time", out->time);
}

void df_journal_rows_again(struct df_vol *v)
{
	for (struct df_outrow *out = v->out; out; out = out->next) {
		uint64_t before = out->note_seq;
		if (df_journal_row(v, out))
			out->note_seq = before; /* still there as well */
	}
}

void df_journal_seen(struct df_vol *v, const struct df_id *id)
{
	for (struct df_outrow **at = &v->out; *at; at = &(*at)->next) {
		struct df_outrow *out = *at;
		if (df_id_cmp(&out->row.id, id))
			continue;
		if (out->sending) {
			out->seen = true;
			return;
		}
		struct df_buf b;
		df_buf_init(&b, 0);
		df_buf_put(&b, id->b, DF_ID_LEN);
		(void)df_fault("row.seen");
		append(v, DF_J_SEEN, &b); /* lost: it is seen once more */
		v->acked_cut = DF_MAX(v->acked_cut, out->cut);
		*at = out->next;
		df_row_release(&out->row);
		free(out);
		return;
	}
}

/* The oldest record that is needed when the fold holds all there are. */
static uint64_t floor_of(const struct df_vol *v)
{
	uint64_t folded = v->jseq + 1;

	for (const struct df_outrow *out = v->out; out; out = out->next)
		folded = DF_MIN(folded, out->note_seq);
	/* Not all of what it took is marked yet, in the fold or anywhere. */
	return v->cut ? DF_MIN(folded, v->cut->seq) : folded;
}

void df_journal_folded(struct df_vol *v)
{
	df_fold_set_meta(v->fold, "floor", floor_of(v));
	df_fold_set_meta(v->fold, "jseq", v->jseq);
	df_fold_set_meta(v->fold, "hlc", v->hlc);
	df_fold_set_meta(v->fold, "n_files", v->n_files);
	df_fold_set_meta(v->fold, "n_bytes", v->n_bytes);
}

void df_journal_forget(struct df_vol *v)
{
	v->told = v->jseq + 1;
	v->mark = 0;
}

uint64_t df_journal_told(struct df_vol *v)
{
	if (v->mark && v->mark_cut <= v->acked_cut) {
		if (v->held_cut < v->mark_cut)
			v->told = v->mark;
		v->mark = 0;
	}
	if (!v->mark) {
		v->mark = v->jseq + 1;
		v->mark_cut = v->cuts + (v->dirty.n != 0);
	}
	return v->told;
}

/* ---- recovery */
static void get_dep(struct df_rd *r, struct df_dep *d)
{
	df_rd_copy(r, d->id.b, DF_ID_LEN);
	d->epoch = df_rd_u64(r);
}

static struct df_outrow *read_row(const void *rec, size_t len, uint64_t seq)
{
	struct df_rd r = df_rd(rec, len);
	struct df_outrow *out = df_xalloc(sizeof(*out));
	struct df_row *row = &out->row;
	size_t n;

	out->note_seq = seq;
	out->time = df_rd_u64(&r);
	row->node = df_rd_u64(&r);
	row->seq = df_rd_u64(&r);
	row->epoch = df_rd_u64(&r);
	row->kind = df_rd_u8(&r);
	get_dep(&r, &row->prev);
	n = df_rd_var_max(&r, DF_DEPS_MAX);
	row->deps = df_xalloc((n + 1) * sizeof(*row->deps));
	for (; row->n_deps < n; row->n_deps++)
		get_dep(&r, &row->deps[row->n_deps]);
	const uint8_t *body = df_rd_bytes(&r, DF_BODY_MAX, &n);
	if (r.bad || out->time >> 63 || row->kind < DF_ROW_COMMIT ||
	    row->kind > DF_ROW_CHECKPOINT) {
		df_row_release(row);
		free(out);
		return NULL;
	}
	row->body = df_xdup(body, n);
	row->body_len = n;
	row->id = df_row_id(row);
	return out;
}

static df_nid nid_of(void *arg, const struct df_id *id)
{
	struct df_vol *v = arg;
	struct df_obj *o = df_fold_take(v->fold, id);

	df_obj_be_dir(o);
	return o->nid;
}

/* What is left open was written whole since the cut, or in no cut yet. */
static void whole_until_noted(struct df_obj *o)
{
	for (uint32_t i = 0; i < o->heads.n; i++)
		if (o->heads.v[i]->flags & DF_VER_OPEN)
			return;
	o->flags &= ~(uint32_t)DF_OBJ_WHOLE;
}

/* The registers of a noted row are clean, and only they: the fold may be ahead
 * of this record, with names that no cut has taken.  Where they live in packs
 * whose pieces were evicted since (false), they stay dirty and are said again. */
static bool noted_again(struct df_vol *v, const struct df_row *row)
{
	struct df_body body;
	struct df_buf regs;
	struct df_coder c;

	if (df_body_read(row->body, row->body_len, &body))
		return false;
	df_buf_init(&regs, DF_REGISTERS_MAX);
	bool here = !df_merge_local(v, &body, &regs);
	if (here) {
		struct df_rd r = df_rd(regs.data, regs.len);
		uint64_t n = df_rd_var(&r);
		df_coder_init(&c, false);
		c.nid_of = nid_of;
		c.arg = v;
		for (uint64_t i = 0; i < n && !r.bad; i++) {
			struct df_obj *sent = df_decode_object(&c, &r);
			struct df_obj *o =
				sent ? df_fold_find(v->fold, &sent->id) : NULL;
			if (o) {
				df_obj_mark_told(o, sent);
				df_obj_mark_noted(o, sent, v->segs);
				whole_until_noted(o);
				df_fold_touch(v->fold, o);
			}
			df_obj_free(sent, NULL);
		}
		df_coder_release(&c);
	}
	df_buf_release(&regs);
	df_body_release(&body);
	return here;
}

struct stand {
	struct df_vol *v;
	const struct df_outrow *out;
};

/* The row's registers are not here: which they are is not known.  What was
 * there at the cut may be known to others: said again under a new id it must
 * not stand beside itself.  (That it goes is told: df_cut_replay.) */
static int stand_on_cut(void *arg, struct df_obj *o)
{
	const struct stand *s = arg;

	for (uint32_t i = 0; i < o->heads.n; i++) {
		struct df_ver *h = o->heads.v[i];
		if (!(o->flags & DF_OBJ_CONTENT_DIRTY) ||
		    h->dot.node != s->out->row.node ||
		    h->dot.time > s->out->time)
			continue;
		h->own_base = DF_MAX(h->own_base, h->dot.time);
		df_fold_touch(s->v->fold, o);
	}
	return 0;
}

static int replay_row(struct df_vol *v, const void *rec, size_t len,
		      uint64_t seq)
{
	struct df_outrow *out = read_row(rec, len, seq);
	struct df_outrow **at = &v->out;

	if (!out)
		return DF_ECORRUPT;
	while (*at && df_id_cmp(&(*at)->row.id, &out->row.id))
		at = &(*at)->next;
	if (*at) { /* noted once more under a new identity */
		(*at)->note_seq = seq;
		df_row_release(&out->row);
		free(out);
		return 0;
	}
	struct stand s = { v, out };
	int err = noted_again(v, &out->row)
			  ? 0
			  : df_fold_each_flagged(v->fold, stand_on_cut, &s);
	v->cut_time = DF_MAX(v->cut_time, out->time);
	df_journal_last(v, out);
	*at = out;
	return err;
}

static int replay_cut(struct df_vol *v, const void *rec, size_t len,
		      uint64_t seq)
{
	struct df_rd r = df_rd(rec, len);

	uint64_t time = df_rd_u64(&r);
	if (time >> 63)
		return DF_ECORRUPT;
	v->cut_time = DF_MAX(v->cut_time, time);
	return df_cut_replay(v, seq);
}

static void replay_seen(struct df_vol *v, const void *rec, size_t len)
{
	struct df_rd r = df_rd(rec, len);
	struct df_id id;

	df_rd_copy(&r, id.b, DF_ID_LEN);
	for (struct df_outrow **at = &v->out; *at; at = &(*at)->next)
		if (!df_id_cmp(&(*at)->row.id, &id)) {
			struct df_outrow *out = *at;
			*at = out->next;
			df_row_release(&out->row);
			free(out);
			return;
		}
}

static int replay_life(struct df_vol *v, const void *rec, size_t len)
{
	struct df_rd r = df_rd(rec, len);

	uint64_t node = df_rd_u64(&r);
	uint64_t hlc = df_rd_u64(&r);
	if (!node || hlc >> 63)
		return DF_ECORRUPT;
	v->node = node;
	v->hlc = DF_MAX(v->hlc, hlc);
	return 0;
}

static int replay(void *arg, uint8_t type, uint64_t seq, const void *rec,
		  size_t len, struct df_loc data, size_t data_len)
{
	struct df_vol *v = arg;
	int err = 0;

	v->jseq = DF_MAX(v->jseq, seq);
	switch (type) {
	case DF_FRAME_LOST:
		df_vol_say(v, "a part of the journal was lost with the local "
			      "disk: operations in it are gone");
		break;
	case DF_J_LIFE:
		err = replay_life(v, rec, len);
		break;
	case DF_J_OP:
		err = df_op_replay(v, seq, rec, len, data, data_len);
		break;
	case DF_J_CUT:
		err = replay_cut(v, rec, len, seq);
		break;
	case DF_J_ROW:
		err = replay_row(v, rec, len, seq);
		break;
	case DF_J_SEEN:
		replay_seen(v, rec, len);
		break;
	default:
		return df_fail(DF_EFORMAT, "journal record of type %u", type);
	}
	if (err)
		df_vol_say(v, "a journal record could not be read: skipped");
	df_fold_trim(v->fold);
	if (df_fold_dirty(v->fold) > 20000)
		return df_fold_flush(v->fold);
	return 0;
}

int df_journal_recover(struct df_vol *v)
{
	v->replaying = true;
	int err = df_segs_replay(v->segs, df_fold_meta(v->fold, "floor", 0),
				 replay, v);
	v->replaying = false;
	(void)df_fault("journal.replayed");
	/* Frames below the floor were not shown; a journal that was thrown
	 * away is still remembered by the fold. */
	v->jseq = DF_MAX(v->jseq, df_segs_last_seq(v->segs));
	v->jseq = DF_MAX(v->jseq, df_fold_meta(v->fold, "jseq", 0));
	if (!err)
		err = df_fold_flush(v->fold);
	return err;
}
