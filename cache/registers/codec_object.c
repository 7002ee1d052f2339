/* codec_object.c - whole objects in the form of codec.h. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/mem.h"
#include "cache/registers/codec_int.h"

enum {
	OBJ_LINKS = 1,
	OBJ_PLACE = 2,
	OBJ_ATTRS = 4,
	OBJ_HEADS = 8,
	OBJ_GONE = 16,
	OBJ_XATTRS = 32,
	OBJ_ALL = 63,
};

/* A register's marks and "there" in one byte. */
static uint8_t marks(const struct df_coder *c, bool there, bool dirty, bool pub)
{
	return (uint8_t)(there | (c->local ? dirty << 1 | pub << 2 : 0));
}

static void code_links(struct df_coder *c, struct df_buf *b,
		       const struct df_obj *o)
{
	df_buf_put_var(b, o->n_links);
	for (uint32_t i = 0; i < o->n_links; i++) {
		const struct df_link *l = &o->links[i];
		df_buf_put_u8(b, marks(c, l->there, l->dirty, l->pub));
		df_put_stamp(c, b, l->st);
		df_put_parent(c, b, l->parent);
		df_put_name(b, l->name);
	}
}

static bool get_marks(struct df_coder *c, struct df_rd *r, bool *there,
		      bool *dirty, bool *pub)
{
	uint8_t m = df_rd_u8(r);

	if (m > (c->local ? 7 : 1))
		r->bad = true;
	*there = m & 1;
	*dirty = m & 2;
	*pub = m & 4 || !c->local;
	return !r->bad;
}

static void decode_links(struct df_coder *c, struct df_rd *r, struct df_obj *o)
{
	uint32_t n = (uint32_t)df_rd_var_max(r, df_rd_left(r) / 5);
	uint32_t used = 0, size = 0;
	struct df_link *links = NULL;

	while (used < n && !r->bad) {
		DF_GROW(links, used, size);
		struct df_link *l = &links[used++];
		*l = (struct df_link){ 0 };
		get_marks(c, r, &l->there, &l->dirty, &l->pub);
		l->st = df_get_stamp(c, r);
		l->parent = df_get_parent(c, r);
		l->name = df_get_name(r);
		if (!l->name) { /* then r is bad */
			used--;
			break;
		}
	}
	df_obj_set_links(o, links, used);
}

static void code_place(struct df_coder *c, struct df_buf *b,
		       const struct df_place *p)
{
	bool same = p->from_parent == p->parent &&
		    !strcmp(p->from_name, p->name);

	df_buf_put_u8(
		b, (uint8_t)(marks(c, p->there, p->dirty, p->pub) | same << 3));
	df_put_stamp(c, b, p->st);
	df_put_parent(c, b, p->parent);
	df_put_name(b, p->name);
	if (same)
		return;
	df_put_parent(c, b, p->from_parent);
	df_put_name(b, p->from_name);
}

static void decode_place(struct df_coder *c, struct df_rd *r,
			 struct df_place *p)
{
	uint8_t m = df_rd_u8(r);

	if ((m & ~8) > (c->local ? 7 : 1))
		r->bad = true;
	p->there = m & 1;
	p->dirty = m & 2;
	p->pub = m & 4 || !c->local;
	p->st = df_get_stamp(c, r);
	p->parent = df_get_parent(c, r);
	p->name = df_get_name(r);
	p->from_parent = m & 8 ? p->parent : df_get_parent(c, r);
	p->from_name = m & 8 ? (p->name ? df_xstrdup(p->name) : NULL)
			     : df_get_name(r);
}

static void code_attr(struct df_coder *c, struct df_buf *b,
		      const struct df_attrs *a, int f)
{
	switch (f) {
	case DF_A_TYPE:
		df_buf_put_var(b, a->type >> 12);
		df_buf_put_var(b, a->rdev);
		break;
	case DF_A_MODE:
		df_buf_put_var(b, a->mode);
		break;
	case DF_A_UID:
		df_buf_put_var(b, a->uid);
		break;
	case DF_A_GID:
		df_buf_put_var(b, a->gid);
		break;
	case DF_A_BTIME:
		df_put_ns(c, b, a->btime_ns);
		break;
	case DF_A_MTIME:
		df_put_ns(c, b, a->mtime_ns);
		break;
	default:
		df_buf_put_bytes(b, a->target ? a->target : "",
				 a->target ? strlen(a->target) : 0);
	}
}

static void decode_target(struct df_rd *r, struct df_attrs *a)
{
	size_t len;
	const uint8_t *at = df_rd_bytes(r, DF_SYMLINK_MAX, &len);

	if (r->bad)
		return;
	if (memchr(at, 0, len))
		len = strnlen((const char *)at, len);
	free(a->target);
	a->target = df_xalloc(len + 1);
	memcpy(a->target, at, len);
}

bool df_type_known(uint32_t type)
{
	return type == S_IFREG || type == S_IFDIR || type == S_IFLNK ||
	       type == S_IFIFO || type == S_IFSOCK || type == S_IFCHR ||
	       type == S_IFBLK;
}

static void decode_attr(struct df_coder *c, struct df_rd *r, struct df_attrs *a,
			int f)
{
	switch (f) {
	case DF_A_TYPE:
		a->type = (uint32_t)df_rd_var_max(r, 15) << 12;
		a->rdev = (uint32_t)df_rd_var_max(r, UINT32_MAX);
		if (!df_type_known(a->type))
			r->bad = true;
		break;
	case DF_A_MODE:
		a->mode = (uint32_t)df_rd_var_max(r, 07777);
		break;
	case DF_A_UID:
		a->uid = (uint32_t)df_rd_var_max(r, UINT32_MAX);
		break;
	case DF_A_GID:
		a->gid = (uint32_t)df_rd_var_max(r, UINT32_MAX);
		break;
	case DF_A_BTIME:
		a->btime_ns = df_get_ns(c, r);
		break;
	case DF_A_MTIME:
		a->mtime_ns = df_get_ns(c, r);
		break;
	default:
		decode_target(r, a);
	}
}

static uint8_t attr_mask(const struct df_attrs *a)
{
	uint8_t mask = 0;

	for (int f = 0; f < DF_A_FIELDS; f++)
		if (a->st[f].time)
			mask |= (uint8_t)(1u << f);
	return mask;
}

static void code_attrs(struct df_coder *c, struct df_buf *b,
		       const struct df_attrs *a)
{
	uint8_t mask = attr_mask(a), fresh = 0;
	struct df_stamp last = { 0 };

	/* Fields with the stamp of the field before them share it. */
	for (int f = 0; f < DF_A_FIELDS; f++)
		if (mask & 1u << f && !df_stamp_eq(a->st[f], last)) {
			fresh |= (uint8_t)(1u << f);
			last = a->st[f];
		}
	df_buf_put_u8(b, mask);
	df_buf_put_u8(b, fresh);
	if (c->local) {
		df_buf_put_u8(b, a->dirty);
		df_buf_put_u8(b, a->pub);
	}
	for (int f = 0; f < DF_A_FIELDS; f++) {
		if (fresh & 1u << f)
			df_put_stamp(c, b, a->st[f]);
		if (mask & 1u << f)
			code_attr(c, b, a, f);
	}
}

static void decode_attrs(struct df_coder *c, struct df_rd *r,
			 struct df_attrs *a)
{
	uint8_t mask = df_rd_u8(r), fresh = df_rd_u8(r);
	struct df_stamp last = { 0 };

	a->dirty = c->local ? df_rd_u8(r) : 0;
	a->pub = c->local ? df_rd_u8(r) : mask;
	if (mask >> DF_A_FIELDS || (fresh & ~mask))
		r->bad = true;
	for (int f = 0; f < DF_A_FIELDS && !r->bad; f++) {
		if (fresh & 1u << f)
			last = df_get_stamp(c, r);
		if (!(mask & 1u << f))
			continue;
		a->st[f] = last;
		decode_attr(c, r, a, f);
		if (!last.time)
			r->bad = true;
	}
}

static void code_xattrs(struct df_coder *c, struct df_buf *b,
			const struct df_obj *o)
{
	df_buf_put_var(b, o->n_xattrs);
	for (uint32_t i = 0; i < o->n_xattrs; i++) {
		const struct df_xattr *x = &o->xattrs[i];
		df_buf_put_u8(b, marks(c, x->there, x->dirty, x->pub));
		df_put_stamp(c, b, x->st);
		df_buf_put_bytes(b, x->name, strlen(x->name));
		df_buf_put_bytes(b, x->value, x->len);
	}
}

static void decode_xattrs(struct df_coder *c, struct df_rd *r, struct df_obj *o)
{
	uint32_t n = (uint32_t)df_rd_var_max(r, df_rd_left(r) / 5);

	for (uint32_t i = 0; i < n && !r->bad; i++) {
		bool there, dirty, pub;
		size_t name_len, len;
		char name[DF_XATTR_NAME_MAX + 1] = "";
		get_marks(c, r, &there, &dirty, &pub);
		struct df_stamp st = df_get_stamp(c, r);
		const uint8_t *at =
			df_rd_bytes(r, DF_XATTR_NAME_MAX, &name_len);
		if (!r->bad)
			memcpy(name, at, name_len);
		const uint8_t *value = df_rd_bytes(r, DF_XATTR_VALUE_MAX, &len);
		if (strlen(name) != name_len || !name_len)
			r->bad = true;
		if (r->bad)
			return;
		df_obj_join_xattr(o, name, st, there, value, (uint32_t)len,
				  dirty);
		df_obj_xattr(o, name)->pub = pub;
	}
}

static void code_local(struct df_buf *b, const struct df_obj *o)
{
	uint32_t keep = DF_OBJ_CONTENT_DIRTY | DF_OBJ_CONTENT_PUB |
			DF_OBJ_GONE_DIRTY | DF_OBJ_GONE_PUB | DF_OBJ_ORPHAN |
			DF_OBJ_WHOLE | DF_OBJ_LOST | DF_OBJ_UNKNOWN_DIR;

	df_buf_put_var(b, o->nid);
	df_buf_put_var(b, o->flags & keep);
	df_buf_put_var(b, o->jseq);
	df_buf_put_svar(b, o->atime_ns);
	df_buf_put_var(b, o->n_subdirs);
	df_buf_put_var(b, o->n_live);
	df_buf_put_u8(b, o->e_name != NULL);
	if (o->e_name) {
		df_buf_put_var(b, o->e_parent);
		df_put_name(b, o->e_name);
	}
}

static void decode_local(struct df_rd *r, struct df_obj *o)
{
	o->nid = df_rd_var(r);
	o->flags = (uint32_t)df_rd_var_max(r, UINT32_MAX);
	o->jseq = df_rd_var(r);
	o->atime_ns = df_rd_svar(r);
	o->n_subdirs = (uint32_t)df_rd_var_max(r, UINT32_MAX);
	o->n_live = df_rd_var(r);
	if (df_rd_u8(r)) {
		o->e_parent = df_rd_var(r);
		o->e_name = df_get_name(r);
	}
}

void df_code_object(struct df_coder *c, struct df_buf *b,
		    const struct df_obj *o)
{
	uint8_t mask = (uint8_t)((o->n_links ? OBJ_LINKS : 0) |
				 (o->place.st.time ? OBJ_PLACE : 0) |
				 (attr_mask(&o->a) ? OBJ_ATTRS : 0) |
				 (o->heads.n ? OBJ_HEADS : 0) |
				 (o->gone.n ? OBJ_GONE : 0) |
				 (o->n_xattrs ? OBJ_XATTRS : 0));

	df_buf_put_u8(b, mask);
	df_buf_put(b, o->id.b, DF_ID_LEN);
	if (c->local)
		code_local(b, o);
	df_put_ns(c, b, o->ctime_ns);
	if (mask & OBJ_LINKS)
		code_links(c, b, o);
	if (mask & OBJ_PLACE)
		code_place(c, b, &o->place);
	if (mask & OBJ_ATTRS)
		code_attrs(c, b, &o->a);
	if (mask & OBJ_HEADS) {
		df_buf_put_var(b, o->heads.n);
		for (uint32_t i = 0; i < o->heads.n; i++)
			df_code_ver(c, b, o->heads.v[i]);
	}
	if (mask & OBJ_GONE)
		df_code_vv(c, b, &o->gone);
	if (mask & OBJ_XATTRS)
		code_xattrs(c, b, o);
}

static void decode_heads(struct df_coder *c, struct df_rd *r, struct df_obj *o)
{
	uint32_t n = (uint32_t)df_rd_var_max(r, df_rd_left(r) / 8);

	for (uint32_t i = 0; i < n && !r->bad; i++) {
		struct df_ver *v = df_decode_ver(c, r);
		if (v)
			df_heads_join(&o->heads, v, NULL);
	}
}

struct df_obj *df_decode_object(struct df_coder *c, struct df_rd *r)
{
	uint8_t mask = df_rd_u8(r);
	struct df_id id;

	df_rd_copy(r, id.b, DF_ID_LEN);
	struct df_obj *o = df_obj_new(&id);
	if (mask & ~OBJ_ALL)
		r->bad = true;
	if (c->local)
		decode_local(r, o);
	o->ctime_ns = df_get_ns(c, r);
	uint32_t flags = o->flags;
	if (mask & OBJ_LINKS)
		decode_links(c, r, o);
	if (mask & OBJ_PLACE)
		decode_place(c, r, &o->place);
	if (mask & OBJ_ATTRS)
		decode_attrs(c, r, &o->a);
	if (mask & OBJ_HEADS)
		decode_heads(c, r, o);
	if (mask & OBJ_GONE)
		df_decode_vv(c, r, &o->gone);
	if (mask & OBJ_XATTRS)
		decode_xattrs(c, r, o);
	o->flags = c->local ? flags & ~(uint32_t)DF_OBJ_UNKNOWN_DIR : 0;
	if (c->local && (flags & DF_OBJ_UNKNOWN_DIR))
		df_obj_be_dir(o);
	if (!r->bad)
		return o;
	df_obj_free(o, NULL);
	return NULL;
}
