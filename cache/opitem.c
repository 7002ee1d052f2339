/* opitem.c - items of a journal record: written, and done again. */
#include "cache/opitem.h"

#include <stdlib.h>
#include <string.h>

#include "cache/registers/codec_int.h"

static void put_id(struct df_buf *b, const struct df_id *id)
{
	df_buf_put(b, id->b, DF_ID_LEN);
}

static struct df_buf *begin(struct df_vol *v, enum df_item kind,
			    const struct df_obj *o)
{
	struct df_buf *b = &v->op.rec;

	if (v->replaying)
		return NULL;
	df_buf_put_u8(b, (uint8_t)kind);
	put_id(b, &o->id);
	return b;
}

static void put_parent(struct df_vol *v, struct df_buf *b, df_nid nid)
{
	const struct df_obj *p = df_fold_get(v->fold, nid);
	static const struct df_id none;

	put_id(b, p ? &p->id : &none);
}

void df_item_head(struct df_buf *b, const struct df_op *op)
{
	df_buf_put_u64(b, op->st.time);
	df_buf_put_u64(b, op->st.node);
	df_buf_put_u64(b, (uint64_t)op->now_ns);
}

void df_item_link(struct df_vol *v, const struct df_obj *o, df_nid parent,
		  const char *name, bool there)
{
	struct df_buf *b = begin(v, DF_I_LINK, o);

	if (!b)
		return;
	put_parent(v, b, parent);
	df_buf_put_u8(b, there);
	df_put_name(b, name);
}

void df_item_place(struct df_vol *v, const struct df_obj *o,
		   const struct df_place *p)
{
	struct df_buf *b = begin(v, DF_I_PLACE, o);

	if (!b)
		return;
	df_buf_put_u8(b, p->there);
	put_parent(v, b, p->parent);
	df_put_name(b, p->name);
	put_parent(v, b, p->from_parent);
	df_put_name(b, p->from_name);
}

void df_item_attrs(struct df_vol *v, const struct df_obj *o,
		   const struct df_attrs *a, unsigned mask)
{
	struct df_buf *b = begin(v, DF_I_ATTRS, o);

	if (!b)
		return;
	df_buf_put_u8(b, (uint8_t)mask);
	df_buf_put_var(b, a->type);
	df_buf_put_var(b, a->rdev);
	df_buf_put_var(b, a->mode);
	df_buf_put_var(b, a->uid);
	df_buf_put_var(b, a->gid);
	df_buf_put_svar(b, a->btime_ns);
	df_buf_put_svar(b, a->mtime_ns);
	df_buf_put_bytes(b, a->target ? a->target : "",
			 a->target ? strlen(a->target) : 0);
}

void df_item_times(struct df_vol *v, const struct df_obj *o, bool mtime)
{
	struct df_buf *b = begin(v, DF_I_TIMES, o);

	if (b)
		df_buf_put_u8(b, mtime);
}

void df_item_xattr(struct df_vol *v, const struct df_obj *o, const char *name,
		   bool there, const void *value, uint32_t len)
{
	struct df_buf *b = begin(v, DF_I_XATTR, o);

	if (!b)
		return;
	df_buf_put_u8(b, there);
	df_put_name(b, name);
	df_buf_put_bytes(b, value, len);
}

void df_item_gone(struct df_vol *v, const struct df_obj *o,
		  const struct df_vv *vv)
{
	struct df_buf *b = begin(v, DF_I_GONE, o);
	struct df_coder c;

	if (!b)
		return;
	df_coder_init(&c, true);
	df_code_vv(&c, b, vv);
	df_coder_release(&c);
}

void df_item_version(struct df_vol *v, const struct df_obj *o,
		     const struct df_ver *ver)
{
	struct df_buf *b = begin(v, DF_I_VERSION, o);
	struct df_coder c;

	if (!b)
		return;
	df_coder_init(&c, true);
	df_code_ver(&c, b, ver);
	df_coder_release(&c);
}

void df_item_birth(struct df_vol *v, const struct df_obj *o, bool born)
{
	struct df_buf *b = begin(v, DF_I_BIRTH, o);

	if (b)
		df_buf_put_u8(b, born);
}

void df_item_known(struct df_vol *v, const struct df_obj *o)
{
	begin(v, DF_I_KNOWN, o);
}

enum { WRITE_APPEND = 1, WRITE_NEW_PIECE = 2, WRITE_INLINED = 4 };

void df_item_write(struct df_vol *v, const struct df_obj *o,
		   const struct df_write *w, bool inlined)
{
	struct df_buf *b = begin(v, DF_I_WRITE, o);
	struct df_coder c;
	uint64_t at = 0;

	if (!b)
		return;
	df_buf_put_u8(b, (uint8_t)((w->append ? WRITE_APPEND : 0) |
				   (w->new_piece ? WRITE_NEW_PIECE : 0) |
				   (inlined ? WRITE_INLINED : 0)));
	df_buf_put_var(b, w->off);
	df_buf_put_var(b, w->len);
	df_buf_put_var(b, w->size);
	if (w->append)
		df_buf_put_u64(b, w->ident);
	if (inlined)
		return;
	df_buf_put_var(b, w->n_ext);
	df_coder_init(&c, true);
	for (uint32_t i = 0; i < w->n_ext; i++)
		df_code_ext(&c, b, &w->ext[i], &at);
	df_coder_release(&c);
}

/* ---- replay.  An object whose jseq has reached the record was folded with all
 * of it: its items are read and left alone. */
struct replay {
	struct df_vol *v;
	struct df_rd r;
	uint64_t seq;
	struct df_loc data;
	size_t data_len;
};

static df_nid get_parent(struct replay *p)
{
	struct df_id id;

	df_rd_copy(&p->r, id.b, DF_ID_LEN);
	if (p->r.bad)
		return 0;
	struct df_obj *o = df_fold_take(p->v->fold, &id);
	df_obj_be_dir(o);
	return o->nid;
}

static void again_link(struct replay *p, struct df_obj *o)
{
	df_nid parent = get_parent(p);
	bool there = df_rd_u8(&p->r);
	DF_FREE char *name = df_get_name(&p->r);

	if (!p->r.bad && o->jseq < p->seq)
		df_op_link(p->v, o, parent, name, there);
}

static void again_place(struct replay *p, struct df_obj *o)
{
	bool there = df_rd_u8(&p->r);
	df_nid parent = get_parent(p);
	DF_FREE char *name = df_get_name(&p->r);
	df_nid from = get_parent(p);
	DF_FREE char *from_name = df_get_name(&p->r);

	if (!p->r.bad && o->jseq < p->seq)
		df_op_place(p->v, o, there, parent, name, from, from_name);
}

static void again_attrs(struct replay *p, struct df_obj *o)
{
	struct df_attrs a = { 0 };
	size_t len;
	unsigned mask = df_rd_u8(&p->r);

	a.type = (uint32_t)df_rd_var_max(&p->r, S_IFMT);
	a.rdev = (uint32_t)df_rd_var_max(&p->r, UINT32_MAX);
	a.mode = (uint32_t)df_rd_var_max(&p->r, 07777);
	a.uid = (uint32_t)df_rd_var_max(&p->r, UINT32_MAX);
	a.gid = (uint32_t)df_rd_var_max(&p->r, UINT32_MAX);
	a.btime_ns = df_rd_svar(&p->r);
	a.mtime_ns = df_rd_svar(&p->r);
	const uint8_t *at = df_rd_bytes(&p->r, DF_SYMLINK_MAX, &len);
	if (mask >> DF_A_FIELDS ||
	    (mask & 1u << DF_A_TYPE && !df_type_known(a.type)))
		p->r.bad = true;
	if (p->r.bad || o->jseq >= p->seq)
		return;
	char *target = df_xalloc(len + 1);
	memcpy(target, at, len);
	a.target = target;
	df_op_attrs(p->v, o, &a, mask);
	free(target);
}

static void again_xattr(struct replay *p, struct df_obj *o)
{
	size_t len;
	bool there = df_rd_u8(&p->r);
	size_t name_len;
	const uint8_t *name = df_rd_bytes(&p->r, DF_XATTR_NAME_MAX, &name_len);
	char text[DF_XATTR_NAME_MAX + 1] = "";

	if (!p->r.bad)
		memcpy(text, name, name_len);
	const uint8_t *value = df_rd_bytes(&p->r, DF_XATTR_VALUE_MAX, &len);
	if (!name_len || strlen(text) != name_len)
		p->r.bad = true;
	if (!p->r.bad && o->jseq < p->seq)
		df_op_xattr(p->v, o, text, there, value, (uint32_t)len);
}

static void again_gone(struct replay *p, struct df_obj *o)
{
	struct df_coder c;
	struct df_vv vv;
	struct df_was w;

	df_coder_init(&c, true);
	df_decode_vv(&c, &p->r, &vv);
	df_coder_release(&c);
	if (!p->r.bad && o->jseq < p->seq) {
		df_tree_before(p->v, o, &w);
		df_obj_join_gone(o, &vv, true);
		df_tree_after(p->v, o, &w);
		df_op_touch(p->v, o);
	}
	df_vv_release(&vv);
}

static void again_version(struct replay *p, struct df_obj *o)
{
	struct df_coder c;

	df_coder_init(&c, true);
	struct df_ver *ver = df_decode_ver(&c, &p->r);
	df_coder_release(&c);
	if (!ver)
		return;
	/* A later item of the same record may have changed it in place. */
	if (o->jseq < p->seq)
		df_op_version(p->v, o, df_ver_copy(ver, p->v->segs));
	df_ver_free(ver, NULL);
}

static void again_write(struct replay *p, struct df_obj *o)
{
	uint8_t flags = df_rd_u8(&p->r);
	struct df_write w = { .append = flags & WRITE_APPEND,
			      .new_piece = flags & WRITE_NEW_PIECE };
	struct df_ext inlined = { 0 };
	struct df_ext *list = NULL;

	w.off = df_rd_var_max(&p->r, DF_FILE_SIZE_MAX);
	w.len = df_rd_var_max(&p->r, DF_FILE_SIZE_MAX - w.off);
	w.size = df_rd_var_max(&p->r, DF_FILE_SIZE_MAX);
	if (w.append)
		w.ident = df_rd_u64(&p->r);
	if (flags & WRITE_INLINED) {
		inlined = (struct df_ext){ .off = w.off,
					   .loc = p->data,
					   .len = (uint32_t)w.len };
		w.ext = &inlined;
		w.n_ext = 1;
		if (!p->data.seg) /* the frame's data is damaged */
			inlined.loc.seg = UINT32_MAX;
		if (w.len != p->data_len)
			p->r.bad = true;
	} else {
		struct df_coder c;
		uint64_t at = 0;
		w.n_ext = (uint32_t)df_rd_var_max(&p->r, df_rd_left(&p->r) / 3);
		list = df_xrealloc(NULL, w.n_ext, sizeof(*list));
		df_coder_init(&c, true);
		for (uint32_t i = 0; i < w.n_ext && !p->r.bad; i++)
			df_decode_ext(&c, &p->r, &list[i], &at);
		df_coder_release(&c);
		w.ext = list;
	}
	for (uint32_t i = 0; i < w.n_ext && !p->r.bad; i++)
		if (!w.ext[i].len || w.ext[i].off < w.off ||
		    w.ext[i].off + w.ext[i].len > DF_MIN(w.off + w.len, w.size))
			p->r.bad = true;
	/* Patches, other than joins, must not be done twice. */
	bool twice = o->jseq >= p->seq;
	bool fits = !w.append || w.new_piece ||
		    (o->heads.n == 1 && o->heads.v[0]->n_pieces);
	if (!p->r.bad && !twice && fits)
		df_op_write(p->v, o, &w);
	free(list);
}

static void again(struct replay *p, enum df_item kind, struct df_obj *o)
{
	switch (kind) {
	case DF_I_LINK:
		again_link(p, o);
		break;
	case DF_I_PLACE:
		again_place(p, o);
		break;
	case DF_I_ATTRS:
		again_attrs(p, o);
		break;
	case DF_I_TIMES: {
		bool mtime = df_rd_u8(&p->r);
		if (o->jseq < p->seq)
			df_op_times(p->v, o, mtime);
		break;
	}
	case DF_I_XATTR:
		again_xattr(p, o);
		break;
	case DF_I_GONE:
		again_gone(p, o);
		break;
	case DF_I_VERSION:
		again_version(p, o);
		break;
	case DF_I_BIRTH: {
		bool born = df_rd_u8(&p->r);
		if (o->jseq < p->seq)
			df_op_birth(p->v, o, born);
		break;
	}
	case DF_I_WRITE:
		again_write(p, o);
		break;
	case DF_I_KNOWN:
		if (o->jseq < p->seq)
			df_op_known(p->v, o);
		break;
	default:
		p->r.bad = true;
	}
}

int df_op_replay(struct df_vol *v, uint64_t seq, const void *rec, size_t len,
		 struct df_loc data, size_t data_len)
{
	struct replay p = { .v = v,
			    .r = df_rd(rec, len),
			    .seq = seq,
			    .data = data,
			    .data_len = data_len };
	struct df_op *op = &v->op;

	op->st.time = df_rd_u64(&p.r);
	op->st.node = df_rd_u64(&p.r);
	op->now_ns = (int64_t)df_rd_u64(&p.r);
	op->n_touched = 0;
	op->seq = seq;
	if (!op->st.time || op->st.time >> 63)
		return DF_ECORRUPT;
	v->hlc = DF_MAX(v->hlc, op->st.time);
	while (!p.r.bad && df_rd_left(&p.r)) {
		enum df_item kind = df_rd_u8(&p.r);
		struct df_id id;
		df_rd_copy(&p.r, id.b, DF_ID_LEN);
		if (!p.r.bad)
			again(&p, kind, df_fold_take(v->fold, &id));
	}
	df_op_finish(v, seq);
	/* Nothing is forgotten here: a row noted later in the journal may have
	 * told others of what is removed by now.  volume.c reaps at the end. */
	return p.r.bad ? DF_ECORRUPT : 0;
}
