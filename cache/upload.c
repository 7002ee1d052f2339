/* upload.c - a cut becomes a noted row, a noted row gets acknowledged. */
#include "cache/upload.h"

#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "cache/identity.h"
#include "cache/journal.h"
#include "cache/view.h"
#include "cache/merge.h"

#define ROW_TIMEOUT_MS 60000

/* ---- registers */
static struct df_id id_of(void *arg, df_nid nid)
{
	struct df_vol *v = arg;

	df_lock(&v->lock);
	struct df_id id = df_fold_dir_id(v->fold, nid);
	df_unlock(&v->lock);
	return id;
}

static void encode_registers(struct df_vol *v, const struct df_cut *c,
			     struct df_buf *out)
{
	struct df_coder coder;

	df_coder_init(&coder, false);
	coder.id_of = id_of;
	coder.arg = v;
	df_buf_put_var(out, c->n);
	for (size_t i = 0; i < c->n; i++)
		df_code_object(&coder, out, c->objs[i]);
	df_coder_release(&coder);
}

/* Registers too big for a row go into packs like bytes. */
static int pack_registers(struct df_upload *u, const struct df_buf *regs,
			  struct df_piece **pieces, size_t *n)
{
	size_t count = (regs->len + DF_PIECE_RAW_MAX - 1) / DF_PIECE_RAW_MAX;
	int err = 0;

	*pieces = df_xalloc(count * sizeof(**pieces));
	*n = count;
	for (size_t i = 0; i < count && !err; i++) {
		size_t at = i * DF_PIECE_RAW_MAX;
		err = df_upload_piece(
			u, regs->data + at,
			DF_MIN(regs->len - at, (size_t)DF_PIECE_RAW_MAX),
			&(*pieces)[i]);
	}
	err = err ? err : df_upload_close(u, false);
	/* A restart that finds the row noted wants to read it (journal.c). */
	for (size_t i = 0; i < count && !err; i++) {
		const struct df_piece *p = &(*pieces)[i];
		struct df_loc loc;
		if (df_seg_put_piece(u->v->segs, &p->pack, p->off,
				     regs->data + i * DF_PIECE_RAW_MAX, p->rlen,
				     &loc))
			df_log_debug("no room to keep the registers of a row");
	}
	return err;
}

static int make_body(struct df_upload *u, struct df_buf *body)
{
	struct df_piece *pieces = NULL;
	size_t n = 0;
	struct df_buf regs;
	int err = 0;

	df_buf_init(&regs, (size_t)DF_REGISTERS_MAX * 2);
	encode_registers(u->v, u->cut, &regs);
	/* A directory that could not be read would pass for an unknown one. */
	df_lock(&u->v->lock);
	err = regs.err ? regs.err : df_fold_error(u->v->fold);
	df_unlock(&u->v->lock);
	bool fits = regs.len <= 8 * DF_INLINE_BODY; /* compressed, perhaps */
	if (!err && fits) {
		err = df_body_write(body, u->last, u->last_len, NULL, 0,
				    regs.data, regs.len);
		fits = body->len <= u->last_len + DF_INLINE_BODY;
	}
	if (!err && !fits) {
		df_buf_reset(body);
		err = pack_registers(u, &regs, &pieces, &n);
		err = err ? err
			  : df_body_write(body, u->last, u->last_len, pieces, n,
					  regs.data, regs.len);
	}
	free(pieces);
	df_buf_release(&regs);
	return err;
}

/* ---- the row */
static struct df_outrow *new_row(struct df_vol *v, const struct df_cut *c,
				 uint64_t bytes, struct df_buf *body)
{
	struct df_outrow *out = df_xalloc(sizeof(*out));
	struct df_row *r = &out->row;

	out->cut = c->number;
	out->bytes = bytes;
	out->time = c->time;
	r->node = v->node;
	r->seq = ++v->seq;
	r->epoch = v->epoch;
	r->kind = DF_ROW_COMMIT;
	r->prev = (struct df_dep){ v->prev, v->prev_epoch };
	r->n_deps = DF_MIN(v->n_newdeps, (size_t)DF_DEPS_MAX);
	r->deps = df_xdup(v->newdeps + (v->n_newdeps - r->n_deps),
			  r->n_deps * sizeof(*r->deps));
	r->body = df_buf_steal(body, &r->body_len);
	r->id = df_row_id(r);
	return out;
}

static void append_out(struct df_vol *v, struct df_outrow *out)
{
	struct df_outrow **at = &v->out;

	while (*at)
		at = &(*at)->next;
	*at = out;
}

/* A file that was written to since keeps what it has in common with the cut:
 * nothing is sent twice while it grows. */
static void learn_maps(struct df_vol *v, struct df_obj *o,
		       const struct df_extmap *maps, uint32_t n)
{
	for (uint32_t i = 0; i < o->heads.n; i++)
		for (uint32_t k = 0; k < n; k++)
			df_extmap_learn(&o->heads.v[i]->ext, &maps[k], true,
					v->segs);
}

/* Note the row; from here on its objects are clean and its bytes remote. */
static int note(struct df_vol *v, struct df_cut *c, const struct df_upload *u,
		struct df_buf *body)
{
	const struct df_extmap *maps = u->maps;

	df_lock(&v->lock);
	/* A fork or resume was noticed while the packs went out: a twin may
	 * say other things under the stamps of these copies. */
	bool renewed = df_identity_check(v);
	if (renewed || c->node != v->node) {
		df_unlock(&v->lock);
		if (renewed)
			v->remote->ops->reset(v->remote);
		return -EAGAIN;
	}
	struct df_outrow *out = new_row(v, c, u->bytes, body);
	int err = df_journal_row(v, out);
	if (err) {
		v->seq--;
		df_row_release(&out->row);
		free(out);
		df_unlock(&v->lock);
		return err;
	}
	out->n_objs = c->n;
	df_journal_last(v, out);
	v->n_newdeps = 0;
	df_fold_deps_taken(v->fold);
	append_out(v, out);
	df_unlock(&v->lock);
	(void)df_fault("row.noted");
	for (size_t i = 0; i < c->n; i += 64) {
		df_lock(&v->lock);
		df_fold_trim(v->fold);
		for (size_t k = i; k < c->n && k < i + 64; k++) {
			struct df_obj *o =
				df_fold_get(v->fold, c->objs[k]->nid);
			uint32_t n = c->objs[k]->heads.n;
			const struct df_extmap *own = maps;
			maps += n;
			if (!o)
				continue;
			df_cut_guard(v, o);
			learn_maps(v, o, own, n);
			df_upload_repacked(u, o);
			df_obj_mark_noted(o, c->objs[k], v->segs);
			df_fold_touch(v->fold, o);
		}
		df_unlock(&v->lock);
	}
	(void)df_fault("cut.clean");
	df_view_note(v->view, c);
	return 0;
}

/* The pieces that travel in our own row: others will name them. */
static int keep_own(struct df_vol *v, const struct df_buf *bytes)
{
	struct df_body body;
	int err = df_body_read(bytes->data, bytes->len, &body);

	if (!err && body.pack)
		err = df_merge_keep(v, &body);
	if (!err)
		df_body_release(&body);
	return err;
}

/* What status says while no list has the cut; NULL: it is over. */
static void show_leaving(struct df_vol *v, const struct df_cut *c)
{
	df_lock(&v->lock);
	v->leaving_time = c ? c->time : 0;
	v->leaving_objs = c ? c->n : 0;
	v->leaving_bytes = 0;
	df_unlock(&v->lock);
}

/* A cut that came to nothing: its objects are as dirty as before. */
static void give_back(struct df_vol *v, const struct df_cut *c)
{
	df_lock(&v->lock);
	for (size_t i = 0; i < c->n; i++)
		df_nidset_add(&v->dirty, c->objs[i]->nid);
	if (v->dirty.n && !v->first_dirty_ns)
		v->first_dirty_ns = df_clock_mono_ns();
	df_unlock(&v->lock);
}

int df_upload_cut(struct df_vol *v, struct df_cut *c)
{
	struct df_upload u = { .v = v,
			       .cut = c,
			       .pack_max = v->remote->pack_max };
	struct df_buf body;

	df_buf_init(&body, DF_BODY_MAX);
	u.packer = df_packer_new(0);
	u.sha = df_sha_new();
	df_buf_init(&u.raw, DF_PIECE_RAW_MAX);
	show_leaving(v, c);
	int err = u.packer && u.sha ? df_upload_pack(&u) : -ENOMEM;
	if (!err)
		err = make_body(&u, &body);
	int sent = df_sender_wait(v->sender);
	if (!err)
		err = sent;
	if (!err && c->n)
		err = keep_own(v, &body);
	if (!err && c->n)
		err = df_fault("cut.note");
	if (!err && c->n)
		err = note(v, c, &u, &body);
	if (err)
		give_back(v, c);
	show_leaving(v, NULL);
	df_buf_release(&body);
	df_buf_release(&u.raw);
	df_packer_free(u.packer);
	df_sha_free(u.sha);
	for (size_t i = 0; i < u.n_maps; i++)
		df_extmap_release(&u.maps[i], NULL);
	free(u.maps);
	df_upload_repacks_free(&u);
	free(u.ids);
	free(u.run);
	free(u.last);
	df_cut_free(v, c);
	return err;
}

/* The row that is to be sent now: the oldest that is not acknowledged. */
static struct df_outrow *next_row(struct df_vol *v)
{
	struct df_outrow *out = v->out;

	while (out && out->acked)
		out = out->next;
	return out;
}

int df_upload_row(struct df_vol *v)
{
	struct df_ack ack = { 0 };
	uint64_t sent;

	df_lock(&v->lock);
	struct df_outrow *out = next_row(v);
	if (out)
		out->sending = true;
	sent = df_vol_stamp_time(v);
	df_unlock(&v->lock);
	if (!out)
		return 0;
	int err = v->remote->ops->row_put(v->remote, &out->row, sent,
					  ROW_TIMEOUT_MS, &ack);
	df_lock(&v->lock);
	out->sending = false;
	if (out->seen)
		err = 0; /* the table has it, whatever the answer was */
	else if (!err && ack.server_date_ms && v->last_poll_date_ms &&
		 ack.server_date_ms - v->last_poll_date_ms > 7 * DF_DAY_MS)
		err = -EAGAIN; /* slept: look before believing it (E3) */
	if (!err) {
		out->acked = true;
		out->acked_ns = df_clock_mono_ns();
		v->acked_cut = DF_MAX(v->acked_cut, out->cut);
		v->acked_time = DF_MAX(v->acked_time, out->time);
		v->last_commit_ms = df_clock_real_ns() / DF_NS_PER_MS;
		df_vol_sent(v, out->row.body_len);
		struct df_dep dep = { out->row.id, out->row.epoch };
		df_fold_add_row(v->fold, &dep, false);
		if (v->remote->caps.ours || out->seen)
			df_journal_seen(v, &out->row.id);
	}
	df_unlock(&v->lock);
	return err;
}
