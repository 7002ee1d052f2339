/* inside.c - the looks inside a volume and a row that their faces do not offer:
 * which row a cut became, all registers in words (sim --dump), what a row names.
 * See sim.h. */
#include <stdio.h>

#include "cache/registers/codec.h"
#include "cache/registers/commit.h"
#include "cache/cut.h"
#include "cache/fold/fold.h"
#include "cache/identity.h"
#include "cache/upload.h"
#include "cache/vol.h"
#include "tests/sim/sim.h"

static void put_stamp(struct df_buf *b, struct df_stamp st)
{
	df_buf_printf(b, "%llu.%llu@%04x",
		      (unsigned long long)(st.time >> 16) % 100000000,
		      (unsigned long long)(st.time & 0xffff),
		      (unsigned)(st.node >> 48));
}

static void put_vv(struct df_buf *b, const char *head, const struct df_vv *vv)
{
	df_buf_printf(b, " %s{", head);
	for (size_t i = 0; i < vv->n; i++) {
		put_stamp(b, vv->v[i]);
		df_buf_put_str(b, i + 1 < vv->n ? " " : "");
	}
	df_buf_put_str(b, "}");
}

static const char *marks(bool there, bool dirty, bool pub)
{
	static char text[8];

	snprintf(text, sizeof(text), "%c%c%c", there ? '+' : '-',
		 dirty ? 'd' : '.', pub ? 'p' : '.');
	return text;
}

static void put_ver(struct df_buf *b, const struct df_ver *h)
{
	df_buf_put_str(b, "\n      head ");
	put_stamp(b, h->dot);
	put_vv(b, "vv", &h->vv);
	df_buf_put_str(b, " root ");
	put_stamp(b, h->root);
	put_vv(b, "pvv", &h->pvv);
	df_buf_printf(b, " size %llu flags %x base %llu",
		      (unsigned long long)h->size, h->flags,
		      (unsigned long long)h->own_base);
	df_buf_printf(b, " root_sum %08x extents %u pages %u",
		      (unsigned)h->root_sum.b[0] << 24 |
			      (unsigned)h->root_sum.b[1] << 16 |
			      (unsigned)h->root_sum.b[2] << 8 |
			      h->root_sum.b[3],
		      h->ext.n, h->n_pages);
	for (uint32_t i = 0; i < h->n_pieces; i++) {
		const struct df_append *p = &h->pieces[i];

		df_buf_put_str(b, "\n         piece ");
		put_stamp(b, (struct df_stamp){ p->time, p->node });
		df_buf_printf(b, " ident %04x len %llu%s",
			      (unsigned)(p->ident & 0xffff),
			      (unsigned long long)p->len,
			      p->restamped ? " restamped" : "");
	}
}

static int put_obj(void *arg, struct df_obj *o)
{
	struct df_buf *b = arg;

	df_buf_printf(b, "   nid %llu #%llx flags %x",
		      (unsigned long long)o->nid,
		      (unsigned long long)df_vol_ino(&o->id), o->flags);
	if (o->place.name) {
		df_buf_printf(
			b, " place %s in %llu \"%s\" (from %llu \"%s\") ",
			marks(o->place.there, o->place.dirty, o->place.pub),
			(unsigned long long)o->place.parent, o->place.name,
			(unsigned long long)o->place.from_parent,
			o->place.from_name);
		put_stamp(b, o->place.st);
		df_buf_printf(b, " live %llu e_name %s",
			      (unsigned long long)o->n_live,
			      o->e_name ? o->e_name : "-");
	}
	df_buf_printf(b, " attrs dirty %x pub %x", o->a.dirty, o->a.pub);
	put_vv(b, "gone", &o->gone);
	for (uint32_t i = 0; i < o->n_links; i++) {
		const struct df_link *l = &o->links[i];

		df_buf_printf(b, "\n      link %s in %llu \"%s\" ",
			      marks(l->there, l->dirty, l->pub),
			      (unsigned long long)l->parent, l->name);
		put_stamp(b, l->st);
	}
	for (uint32_t i = 0; i < o->n_xattrs; i++)
		df_buf_printf(b, "\n      xattr %s %s",
			      marks(o->xattrs[i].there, o->xattrs[i].dirty,
				    o->xattrs[i].pub),
			      o->xattrs[i].name);
	for (uint32_t i = 0; i < o->heads.n; i++)
		put_ver(b, o->heads.v[i]);
	df_buf_put_str(b, "\n");
	return 0;
}

void dump_node(struct node *nd)
{
	struct df_buf b;

	if (!nd->v)
		return;
	df_buf_init(&b, 0);
	df_fold_each(nd->v->fold, put_obj, &b);
	for (const struct df_outrow *o = nd->v->out; o; o = o->next)
		df_buf_printf(&b, "   noted row %llu of %04x%s\n",
			      (unsigned long long)o->row.seq,
			      (unsigned)(o->row.node >> 48),
			      o->acked ? ", acknowledged" : "");
	fprintf(stderr, "n%u, node %04x, %zu dirty, watermark %llu:\n%s",
		nd->uid, (unsigned)(nd->v->node >> 48), nd->v->dirty.n,
		(unsigned long long)(nd->v->watermark >> 16) % 100000000,
		df_buf_cstr(&b));
	df_buf_release(&b);
}

bool knows_row(struct node *nd, const struct df_id *id)
{
	bool own = false;

	for (const struct df_outrow *o = nd->v->out; o; o = o->next)
		own |= !df_id_cmp(&o->row.id, id);
	return own || df_fold_has_row(nd->v->fold, id);
}

bool lost_bytes(struct node *nd, df_nid nid)
{
	const struct df_obj *o = df_vol_obj(nd->v, nid);

	for (uint32_t i = 0; o && i < o->heads.n; i++) {
		const struct df_extmap *m = &o->heads.v[i]->ext;

		for (struct df_extpos p = { 0, 0 }; df_extmap_at(m, p);
		     p = df_extmap_next(m, p)) {
			const struct df_ext *e = df_extmap_at(m, p);

			if (df_ext_remote(e) &&
			    table_lost_pack(nd, &e->piece.pack))
				return true;
		}
	}
	return false;
}

/* The text of o, if it is a file that nd knows no name of, and never did; the
 * row with its name may have had some of its bytes, too. */
static void add_nameless(struct node *nd, const struct df_obj *o, struct set *s)
{
	char text[TOK + 1];
	size_t got = TOK;

	if (!o || o->n_links || !o->heads.n)
		return;
	for (uint64_t off = 0; got && off < SHOW_MAX; off += TOK) {
		if (read_bytes(nd->v, o->nid, off, text, TOK, &got))
			continue;
		text[got] = 0;
		text_tokens(text, s);
	}
}

static df_nid no_nid(void *arg, const struct df_id *id)
{
	(void)arg;
	(void)id;
	return DF_ROOT_NID;
}

void nameless_tokens(struct node *nd, const struct df_row *row, struct set *s)
{
	struct df_body body;
	struct df_buf regs;
	struct df_coder c;

	if (row->kind != DF_ROW_COMMIT ||
	    df_body_read(row->body, row->body_len, &body))
		return;
	node_as(nd);
	df_buf_init(&regs, DF_REGISTERS_MAX);
	df_coder_init(&c, false);
	c.nid_of = no_nid;
	if (!body.n_pieces && !df_body_registers(&body, &regs)) {
		struct df_rd r = df_rd(regs.data, regs.len);

		for (uint64_t n = df_rd_var(&r); n && !r.bad; n--) {
			struct df_obj *o = df_decode_object(&c, &r);

			if (o && o->n_links)
				add_nameless(nd,
					     df_fold_find(nd->v->fold, &o->id),
					     s);
			df_obj_free(o, NULL);
		}
	}
	df_coder_release(&c);
	df_buf_release(&regs);
	df_body_release(&body);
}

struct df_id newest_row(const struct node *nd)
{
	const struct df_outrow *o = nd->v->out;

	while (o && o->next)
		o = o->next;
	if (!o)
		fail(nd->w, "n%u cut a row and has none noted", nd->uid);
	return o->row.id;
}

bool all_sent(const struct node *nd)
{
	for (const struct df_outrow *o = nd->v->out; o; o = o->next)
		if (!o->acked)
			return false;
	return true;
}

void evict_all(struct node *nd)
{
	df_segs_evict(nd->v->segs, UINT64_MAX / 2);
}

void ask_identity(struct node *nd)
{
	node_as(nd);
	df_lock(&nd->v->lock);
	bool renewed = df_identity_check(nd->v);
	df_unlock(&nd->v->lock);
	if (renewed)
		nd->v->remote->ops->reset(nd->v->remote);
}

int cut_around(struct node *nd, void (*fn)(struct node *nd, bool copied))
{
	struct df_vol *v = nd->v;

	ask_identity(nd);
	df_lock(&v->lock);
	struct df_cut *c = df_cut_begin(v, 0);
	df_unlock(&v->lock);
	if (!c)
		return 0;
	fn(nd, false);
	df_cut_finish(v, c);
	fn(nd, true);
	bool empty = !c->n;
	int err = df_upload_cut(v, c);
	return err ? err : !empty;
}
