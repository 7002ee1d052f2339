/* view_row.c - what an object is in the files view. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cache/viewi.h"
#include "cache/vol_data.h"

#define DOTS_MAX 64 /* replaced dots that are looked for */
#define DEPTH_MAX 1024
#define EXTENTS_MAX 65536
#define SNIFF 8192 /* bytes that tell the type of a big file */

void view_batch_release(struct view_batch *b)
{
	for (size_t i = 0; i < b->n; i++) {
		struct df_view_row *r = &b->row[i];
		free((char *)(uintptr_t)r->id);
		free((char *)(uintptr_t)r->path);
		free((char *)(uintptr_t)r->mime_type);
		free((void *)(uintptr_t)r->content);
	}
	free(b->row);
	free(b->gone.v);
	*b = (struct view_batch){ 0 };
}

/* ---- ids */
static void row_id(const struct df_id *obj, struct df_stamp dot,
		   const struct df_id *parent, const char *name,
		   char out[DF_VIEW_ID_LEN])
{
	uint8_t b[16];
	char hex[33];

	for (int i = 0; i < 8; i++) {
		b[i] = (uint8_t)(dot.time >> (8 * i));
		b[8 + i] = (uint8_t)(dot.node >> (8 * i));
	}
	struct df_field f[] = { { obj->b, DF_ID_LEN },
				{ b, sizeof(b) },
				{ parent ? parent->b : NULL, DF_ID_LEN },
				{ name, name ? strlen(name) : 0 } };
	struct df_id id = df_hash_fields(f, parent ? 4 : 2);
	df_id_hex(&id, hex);
	snprintf(out, DF_VIEW_ID_LEN, DF_VIEW_ID_PREFIX "%s", hex);
}

void view_batch_gone(struct view_batch *b, const char *id)
{
	struct view_ids *g = &b->gone;

	DF_GROW(g->v, g->n, g->size);
	memcpy(g->v[g->n++], id, DF_VIEW_ID_LEN);
	b->bytes += DF_VIEW_ID_LEN + 8;
}

/* ---- dots whose rows may be there */
struct dots {
	struct df_stamp v[DOTS_MAX];
	unsigned n;
};

static void add_dot(struct dots *d, struct df_stamp st)
{
	if (!st.time)
		return;
	for (unsigned i = 0; i < d->n; i++)
		if (df_stamp_eq(d->v[i], st))
			return;
	if (d->n < DOTS_MAX) {
		d->v[d->n++] = st;
		return;
	}
	unsigned oldest = 0;
	for (unsigned i = 1; i < d->n; i++)
		if (d->v[i].time < d->v[oldest].time)
			oldest = i;
	if (d->v[oldest].time < st.time)
		d->v[oldest] = st;
}

static void known_dots(const struct df_obj *o, const struct view_rec *rec,
		       struct dots *d)
{
	for (uint32_t i = 0; i < o->heads.n; i++) {
		const struct df_ver *h = o->heads.v[i];
		add_dot(d, h->dot);
		add_dot(d, (struct df_stamp){ h->own_base, h->dot.node });
		for (size_t k = 0; k < h->vv.n; k++)
			add_dot(d, h->vv.v[k]);
	}
	for (size_t k = 0; k < o->gone.n; k++)
		add_dot(d, o->gone.v[k]);
	if (!rec)
		return;
	add_dot(d, rec->dot);
	add_dot(d, rec->old);
}

/* ---- where it is shown */

/* The name under which candidate o of (parent, name) is shown; NULL: it is
 * hidden behind an equal.  Caller frees. */
static char *shown_name(struct df_vol *v, df_nid parent, const char *name,
			const struct df_obj *o)
{
	char *out = NULL;

	if (!df_fold_has_rivals(v->fold, parent) ||
	    df_tree_winner(v, df_fold_name(v->fold, parent, name)) == o->nid)
		return df_xstrdup(name);
	const struct df_dirview *d = df_dirview_see(v, parent);
	for (size_t i = 0; i < d->n && !out; i++)
		if (d->v[i].nid == o->nid && d->v[i].kind != DF_KIND_COPY &&
		    !strcmp(d->v[i].name, name))
			out = df_xstrdup(d->v[i].shown);
	return out;
}

char *view_dir_path(struct df_vol *v, df_nid dir)
{
	char *parts[DEPTH_MAX];
	int n = 0;
	struct df_buf b;
	bool ok = true;

	while (dir != DF_ROOT_NID && ok) {
		const struct df_obj *o = df_fold_get(v->fold, dir);
		const char *name;
		ok = n < DEPTH_MAX && o && df_obj_is_dir(o) &&
		     df_tree_dir_live(o);
		if (!ok)
			break;
		df_nid parent = df_tree_parent(o, &name);
		parts[n] = shown_name(v, parent, name, o);
		ok = parts[n] != NULL;
		n += ok;
		dir = parent;
	}
	df_buf_init(&b, 1 << 20);
	for (; n; n--) {
		df_buf_put_u8(&b, '/');
		df_buf_put_str(&b, parts[n - 1]);
		free(parts[n - 1]);
	}
	df_buf_put_u8(&b, 0);
	ok &= !b.err;
	size_t len;
	char *path = ok ? (char *)df_buf_steal(&b, &len) : NULL;
	df_buf_release(&b);
	return path;
}

static char *join(const char *dir, const char *name)
{
	return df_strf("%s/%s", dir, name);
}

struct wants {
	struct df_view_want *v;
	size_t n, size;
	df_nid dir; /* whose path is cached */
	char *path;
};

static struct df_view_want *add_want(struct df_vol *v, struct wants *w,
				     df_nid dir, const char *shown)
{
	if (w->dir != dir) {
		free(w->path);
		w->path = view_dir_path(v, dir);
		w->dir = dir;
	}
	if (!w->path)
		return NULL;
	DF_GROW(w->v, w->n, w->size);
	struct df_view_want *want = &w->v[w->n];
	want->path = join(w->path, shown);
	if (!want->path)
		return NULL;
	w->n++;
	return want;
}

/* Conflict copies of o: the texts behind the first. */
static void want_copies(struct df_vol *v, const struct df_obj *o,
			const struct df_texts *t, struct wants *w)
{
	struct df_dirview d;
	const char *name;
	df_nid parent;

	if (t->n < 2 || !df_tree_newest(o, df_vol_dirids(v), &parent, &name))
		return;
	df_dirview_init(v, parent, &d);
	for (size_t i = 0; i < d.n; i++) {
		if (d.v[i].nid != o->nid || d.v[i].kind != DF_KIND_COPY)
			continue;
		struct df_view_want *want =
			add_want(v, w, parent, d.v[i].shown);
		if (!want)
			continue;
		row_id(&o->id, d.v[i].st, NULL, NULL, want->id);
		for (uint32_t k = 0; k < t->n; k++)
			if (df_stamp_eq(t->v[k].dot, d.v[i].st))
				want->size = t->v[k].m->size;
	}
	df_dirview_release(&d);
}

/* The dot that names o's row: of the text that it shows, as committed. */
static struct df_stamp row_dot(const struct df_obj *o, const struct df_texts *t)
{
	struct df_stamp dot = t->v[0].dot;
	const struct df_ver *h = o->heads.v[0];

	if (o->heads.n == 1 && (o->flags & DF_OBJ_CONTENT_DIRTY) && h->own_base)
		return (struct df_stamp){ h->own_base, dot.node };
	return dot;
}

static void want_names(struct df_vol *v, const struct df_obj *o,
		       struct df_stamp dot, uint64_t size, struct wants *w)
{
	const char *newest;
	df_nid at;
	struct df_eff e;

	if (!df_tree_newest(o, df_vol_dirids(v), &at, &newest))
		return;
	df_obj_eff(o, df_vol_dirids(v), &e);
	for (uint32_t i = 0; i < e.n; i++) {
		const struct df_link *l = &o->links[e.i[i]];
		const struct df_obj *p = df_fold_get(v->fold, l->parent);
		DF_FREE char *shown = p ? shown_name(v, l->parent, l->name, o)
					: NULL;
		struct df_view_want *want =
			shown ? add_want(v, w, l->parent, shown) : NULL;
		if (!want)
			continue;
		bool first = l->parent == at && !strcmp(l->name, newest);
		row_id(&o->id, dot, first ? NULL : &p->id, l->name, want->id);
		want->size = size;
	}
	df_eff_release(&e);
}

static bool is_file(const struct df_obj *o)
{
	return !df_obj_is_dir(o) && o->heads.n &&
	       (!o->a.st[DF_A_TYPE].time || o->a.type == S_IFREG);
}

/* A file that is exactly what somebody else's row says needs none of ours. */
static bool is_foreign(const struct df_obj *o, const struct wants *w)
{
	const struct df_xattr *x = df_obj_xattr(o, VIEW_XATTR);

	return x && x->there && o->heads.n == 1 && x->len == VIEW_MARK_LEN &&
	       o->heads.v[0]->flags & DF_VER_SUM &&
	       !memcmp(x->value, o->heads.v[0]->sum, DF_SHA_LEN) && w->n == 1 &&
	       view_mark_is_at(x->value, w->v[0].path);
}

static void all_wants(struct df_vol *v, struct df_obj *o,
		      const struct view_rec *rec, struct wants *w)
{
	struct df_texts t;

	if (!is_file(o))
		return;
	df_texts_init(&t, &o->heads, NULL);
	struct df_stamp dot = rec && rec->dot.time && o->heads.n == 1
				      ? rec->dot
				      : row_dot(o, &t);
	want_names(v, o, dot, t.v[0].m->size, w);
	want_copies(v, o, &t, w);
	df_texts_release(&t, NULL);
	if (is_foreign(o, w)) {
		free(w->v[0].path);
		w->n = 0;
	}
}

struct df_view_want *view_wants(struct df_vol *v, struct df_obj *o, size_t *n)
{
	struct wants w = { 0 };

	all_wants(v, o, NULL, &w);
	free(w.path);
	*n = w.n;
	return w.v;
}

/* ---- what is to go */
static bool wanted(const struct wants *w, const char *id)
{
	for (size_t i = 0; i < w->n; i++)
		if (!strcmp(w->v[i].id, id))
			return true;
	return false;
}

static void add_replaced(struct df_vol *v, const struct df_obj *o,
			 const struct view_rec *rec, const struct wants *w,
			 struct view_batch *b)
{
	struct dots d = { .n = 0 };
	char id[DF_VIEW_ID_LEN];
	bool fresh = rec && rec->flags & VIEW_NEW_DOT;

	known_dots(o, rec, &d);
	for (unsigned i = 0; i < d.n; i++) {
		row_id(&o->id, d.v[i], NULL, NULL, id);
		if (!fresh || !wanted(w, id))
			view_batch_gone(b, id);
		for (uint32_t k = 0; k < o->n_links && o->n_links > 1; k++) {
			const struct df_link *l = &o->links[k];
			const struct df_obj *p =
				df_fold_get(v->fold, l->parent);
			if (!p)
				continue;
			row_id(&o->id, d.v[i], &p->id, l->name, id);
			if (!fresh || !wanted(w, id))
				view_batch_gone(b, id);
		}
	}
}

/* ---- bytes */
struct pull {
	struct df_lock lock;
	struct df_cond cond;
	bool ended;
	int err;
};

static void pulled(void *arg, int err)
{
	struct pull *p = arg;

	df_lock(&p->lock);
	p->ended = true;
	p->err = err;
	df_cond_signal(&p->cond);
	df_unlock(&p->lock);
}

static int fetch(struct df_vol *v, const struct df_piece *piece)
{
	struct pull p = { .ended = false };

	df_lock_init(&p.lock);
	df_cond_init(&p.cond);
	int err = df_fetch_get(v->fetch, piece, 1, v->conf.read_timeout_ms,
			       pulled, &p);
	df_lock(&p.lock);
	while (!err && !p.ended)
		df_cond_wait(&p.cond, &p.lock);
	df_unlock(&p.lock);
	df_cond_release(&p.cond);
	df_lock_release(&p.lock);
	return err ? err : p.err;
}

static int read_ext(struct df_vol *v, const struct df_ext *e, uint8_t *to,
		    size_t len)
{
	struct df_loc loc = e->loc;

	if (loc.seg && !df_seg_read(v->segs, loc, to, len))
		return 0;
	if (!df_ext_remote(e))
		return -EIO;
	for (int tries = 0; tries < 3; tries++) {
		if (df_seg_has_piece(v->segs, &e->piece.pack, e->piece.off,
				     e->piece.rlen, &loc) &&
		    (uint64_t)e->skip + len <= e->piece.rlen) {
			loc.off += e->skip;
			int err = df_seg_read(v->segs, loc, to, len);
			if (err != -ENOENT)
				return err;
		}
		int err = fetch(v, &e->piece);
		if (err)
			return err;
	}
	return -EIO;
}

static int read_map(struct df_vol *v, const struct df_extmap *m, uint64_t len,
		    struct df_buf *out)
{
	uint8_t *to = len ? df_buf_extend(out, len) : NULL;

	if (!len)
		return 0;
	if (!to)
		return out->err;
	memset(to, 0, len);
	for (struct df_extpos p = { 0, 0 }; df_extmap_at(m, p);
	     p = df_extmap_next(m, p)) {
		const struct df_ext *e = df_extmap_at(m, p);
		if (e->off >= len)
			break;
		int err = read_ext(v, e, to + e->off,
				   DF_MIN(e->len, len - e->off));
		if (err)
			return err;
	}
	return 0;
}

/* *size: of the whole text; the map copied says where its bytes are. */
static int copy_map(struct df_vol *v, df_nid nid, uint64_t max,
		    struct df_extmap *map, uint64_t *size)
{
	struct df_texts t = { 0 };

	df_lock(&v->lock);
	const struct df_obj *o = df_fold_get(v->fold, nid);
	int err = !o ? -ESTALE : is_file(o) ? 0 : -EISDIR;
	if (!err && df_data_unloaded(o))
		err = -EAGAIN;
	if (!err) {
		df_texts_init(&t, &o->heads, NULL);
		const struct df_ver *m = t.v[0].m;
		*size = m->size;
		uint64_t len = DF_MIN(*size, max);
		if (m->ext.n > EXTENTS_MAX && len > SNIFF)
			err = -EFBIG;
		else
			df_extmap_splice(map, 0, &m->ext, 0, len, NULL);
		df_texts_release(&t, NULL);
	}
	df_unlock(&v->lock);
	return err;
}

int view_read(struct df_vol *v, df_nid nid, uint64_t max, struct df_buf *out)
{
	struct df_extmap map = { 0 };
	uint64_t size = 0;
	int err = copy_map(v, nid, max, &map, &size);

	if (err == -EAGAIN) {
		err = df_vol_load(v, nid, NULL, NULL);
		if (!err)
			err = copy_map(v, nid, max, &map, &size);
	}
	if (!err)
		err = read_map(v, &map, DF_MIN(size, max), out);
	df_extmap_release(&map, NULL);
	return err;
}

/* ---- types */
bool view_is_text(const void *data, size_t len)
{
	const uint8_t *p = data, *end = p + len;

	while (p < end) {
		uint32_t c = *p++;
		int more = c < 0x80             ? 0
			   : (c & 0xe0) == 0xc0 ? 1
			   : (c & 0xf0) == 0xe0 ? 2
			   : (c & 0xf8) == 0xf0 ? 3
						: -1;
		if (!c || more < 0 || end - p < more)
			return false;
		if (!more)
			continue;
		uint32_t x = c & (0x3fu >> more);
		for (int i = 0; i < more; i++, p++) {
			if ((*p & 0xc0) != 0x80)
				return false;
			x = x << 6 | (*p & 0x3fu);
		}
		uint32_t least = more == 1 ? 0x80 : more == 2 ? 0x800 : 0x10000;
		if (x < least || x > 0x10ffff || (x >= 0xd800 && x < 0xe000))
			return false;
	}
	return true;
}

/* Kinds of text that libmagic takes for plain text: the vendor's names. */
static const struct {
	const char *end, *mime;
} text_types[] = {
	{ ".md", "text/markdown" },      { ".txt", "text/plain" },
	{ ".json", "application/json" }, { ".js", "text/javascript" },
	{ ".ts", "text/typescript" },    { ".css", "text/css" },
	{ ".html", "text/html" },        { ".svg", "image/svg+xml" },
	{ ".csv", "text/csv" },          { ".log", "text/plain" },
};

static const char *by_name(const char *name)
{
	const char *dot = strrchr(name, '.');

	for (size_t i = 0; dot && i < DF_ARRAY_LEN(text_types); i++)
		if (!strcasecmp(dot, text_types[i].end))
			return text_types[i].mime;
	return NULL;
}

const char *view_mime(struct df_view *w, const char *name, const void *data,
		      size_t len, bool text)
{
	const char *mime = text ? by_name(name) : NULL;

	if (mime || !len)
		return mime ? mime : "text/plain";
	if (!w->magic && !w->magic_failed) {
		w->magic = magic_open(MAGIC_MIME_TYPE);
		if (!w->magic || magic_load(w->magic, NULL)) {
			w->magic_failed = true;
			df_log_warn("files view: the database of file types "
				    "cannot be read (libmagic): types come "
				    "from names only");
		}
	}
	if (w->magic && !w->magic_failed)
		mime = magic_buffer(w->magic, data, DF_MIN(len, (size_t)SNIFF));
	return mime ? mime : text ? "text/plain" : "application/octet-stream";
}

/* ---- rows */
static struct df_view_row *new_row(struct view_batch *b, df_nid nid,
				   struct df_view_want *want)
{
	DF_GROW(b->row, b->n, b->size);
	struct df_view_row *r = &b->row[b->n++];
	*r = (struct df_view_row){ .id = df_xstrdup(want->id),
				   .path = want->path,
				   .size_bytes = want->size,
				   .tag = nid };
	want->path = NULL;
	r->filename = strrchr(r->path, '/') + 1;
	b->bytes += 256 + 2 * strlen(r->path);
	return r;
}

static void set_text(struct df_view *w, struct df_view_row *r,
		     const struct df_buf *raw, struct view_batch *b)
{
	uint64_t max = w->v->conf.view_text_max;
	bool whole = raw->len == r->size_bytes && raw->len <= max;
	bool text = view_is_text(raw->data, raw->len);

	r->mime_type = df_xstrdup(
		view_mime(w, r->filename, raw->data, raw->len, text));
	if (!whole || !raw->len)
		return;
	/* One copy: content_text is content where it is text at all. */
	r->content = df_xdup(raw->data, raw->len);
	r->content_len = raw->len;
	b->bytes += raw->len / 3 * 4;
	if (!text)
		return;
	r->content_text = r->content;
	r->content_text_len = raw->len;
	b->bytes += raw->len + raw->len / 16;
}

/* Bytes that cannot be had leave the row without its content. */
static int fill_rows(struct df_view *w, df_nid nid, struct wants *wants,
		     struct view_batch *b)
{
	uint64_t max = w->v->conf.view_text_max;
	struct df_buf raw;
	uint64_t size = wants->v[0].size;

	df_buf_init(&raw, 0);
	int err = view_read(w->v, nid, size <= max ? max : SNIFF, &raw);
	if (err == -ECANCELED || err == DF_EOFFLINE || err == -ETIMEDOUT) {
		df_buf_release(&raw);
		return err;
	}
	if (err)
		raw.len = 0;
	else if (size <= max)
		size = raw.len; /* it has grown since */
	for (size_t i = 0; i < wants->n; i++) {
		bool shown = wants->v[i].size == wants->v[0].size;
		struct df_view_row *r = new_row(b, nid, &wants->v[i]);
		if (!shown)
			continue; /* another text: a conflict copy */
		r->size_bytes = size;
		if (!err)
			set_text(w, r, &raw, b);
	}
	df_buf_release(&raw);
	return 0;
}

/* An object that is asked for twice must not get its rows twice. */
static bool has_rows_of(const struct view_batch *b, df_nid nid)
{
	for (size_t i = 0; i < b->n; i++)
		if (b->row[i].tag == nid)
			return true;
	return false;
}

/* Its wants, and all ids that its rows may have had.  rec NULL: of all. */
static void gather(struct df_view *w, df_nid nid, const struct view_rec *rec,
		   struct wants *wants, struct view_batch *b)
{
	struct df_vol *v = w->v;

	df_lock(&v->lock);
	df_fold_trim(v->fold);
	struct df_obj *o = df_fold_get(v->fold, nid);
	if (o && !df_obj_is_dir(o)) {
		/* Without a text of its own the cut changed names only; a
		 * newer text that is under way brings its own record. */
		bool skip = rec && !rec->dot.time && o->heads.n == 1 &&
			    (o->flags & DF_OBJ_CONTENT_DIRTY) &&
			    !(o->flags & DF_OBJ_ORPHAN);
		if (!skip)
			all_wants(v, o, rec, wants);
		if (!skip)
			add_replaced(v, o, rec, wants, b);
	}
	df_unlock(&v->lock);
}

static void wants_release(struct wants *w)
{
	for (size_t i = 0; i < w->n; i++)
		free(w->v[i].path);
	free(w->v);
	free(w->path);
}

void view_outline(struct df_view *w, df_nid nid, struct view_batch *b)
{
	struct wants wants = { 0 };

	df_lock(&w->v->lock);
	const struct df_obj *o = df_fold_get(w->v->fold, nid);
	bool dirty = o && o->flags & DF_OBJ_CONTENT_DIRTY;
	df_unlock(&w->v->lock);
	if (dirty)
		return;
	gather(w, nid, NULL, &wants, b);
	for (size_t i = 0; i < wants.n; i++)
		new_row(b, nid, &wants.v[i]);
	wants_release(&wants);
}

int view_rows_of(struct df_view *w, df_nid nid, const struct view_rec *rec,
		 struct view_batch *b)
{
	struct wants wants = { 0 };
	int err = 0;

	if (!rec && has_rows_of(b, nid))
		return 0;
	gather(w, nid, rec, &wants, b);
	if (wants.n)
		err = fill_rows(w, nid, &wants, b);
	wants_release(&wants);
	return err;
}
