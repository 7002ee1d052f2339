/*
 * view_foreign.c - rows that somebody else put into the table (an SDK, plain
 * SQL, the original CLI) become files, change and go away as such.
 *
 * Every 60 s the rows whose _id is none of ours are listed, with fingerprints
 * instead of contents.  What two lists 10 s apart agree on (10 s and 1 s on a
 * server of ours while the mount is in use) is acted upon, by ordinary local
 * operations, so that all mounts learn of it as of any write:
 *
 *	no file there, never seen	it is made
 *	no file there, seen		it was removed or moved: the row goes
 *	same bytes			nothing
 *	the file changed since		the row goes; ours says it now
 *	the row changed since		the file follows
 *	both changed, or the file is	beside it as NAME.conflict-row-<hash>,
 *	nobody's import			and the row goes
 *	the row has gone		an unchanged file goes, too
 *
 * "Seen" is kept where every mount has it: in the xattr VIEW_XATTR of the
 * file, tombstones included: SHA-256 of the row's bytes, H(path).  So an old
 * answer cannot bring a removed file back.
 *
 * What it does not do: take UPDATEs of rows that begin with "df-" for edits;
 * notice a row that went while nobody had the volume mounted.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/api.h"
#include "base/file.h"
#include "cache/viewi.h"

#define LIST_SHARE 20 /* listing takes a part of the time, one in so many */
#define ROWS_MAX 50000
#define PAGE_ROWS 2000
#define MARK_LEN VIEW_MARK_LEN

struct frow {
	char *path, *id; /* owned; id NULL: the row has none */
	struct df_id print;
	uint8_t mark[MARK_LEN]; /* once it was acted upon */
	bool done;
	bool dropped; /* by us */
};

struct view_foreign {
	struct frow *was; /* owned; sorted by path, id */
	size_t n_was;
	struct df_nidset marks; /* volume's lock; of H(mark) of all seen */
	bool walked; /* marks holds what the volume had at the start */
	bool told;   /* that there are too many */
	bool open;   /* the last two lists did not agree on everything */
	int64_t listed_ns, took_ns; /* the last list: when, how long */
};

void view_foreign_init(struct df_view *w)
{
	w->foreign = df_xalloc(sizeof(*w->foreign));
}

static void rows_free(struct frow *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(v[i].path);
		free(v[i].id);
	}
	free(v);
}

void view_foreign_free(struct df_view *w)
{
	struct view_foreign *f = w->foreign;

	if (!f)
		return;
	rows_free(f->was, f->n_was);
	df_nidset_release(&f->marks);
	free(f);
	w->foreign = NULL;
}

/* ---- what was seen */
static uint64_t mark_key(const void *mark)
{
	struct df_field f = { mark, MARK_LEN };
	struct df_id id = df_hash_fields(&f, 1);
	uint64_t key;

	memcpy(&key, id.b, sizeof(key));
	return (key >> 1) | 1; /* 0 and UINT64_MAX are none */
}

void view_mark(const char *path, const void *data, size_t len,
	       uint8_t out[MARK_LEN])
{
	struct df_field f = { path, strlen(path) };
	struct df_id id = df_hash_fields(&f, 1);

	df_sha256(data, len, out);
	memcpy(out + DF_SHA_LEN, id.b, DF_ID_LEN);
}

bool view_mark_is_at(const uint8_t mark[MARK_LEN], const char *path)
{
	struct df_field f = { path, strlen(path) };
	struct df_id id = df_hash_fields(&f, 1);

	return !memcmp(mark + DF_SHA_LEN, id.b, DF_ID_LEN);
}

static void add_mark(struct view_foreign *f, const struct df_obj *o)
{
	const struct df_xattr *x = df_obj_xattr(o, VIEW_XATTR);

	if (x && x->there && x->len == MARK_LEN)
		df_nidset_add(&f->marks, mark_key(x->value));
}

void view_foreign_merged(struct df_view *w, const struct df_obj *o)
{
	if (o->n_xattrs && df_obj_xattr(o, VIEW_XATTR))
		add_mark(w->foreign, o);
}

static int walk_one(void *arg, struct df_obj *o)
{
	if (o->n_xattrs)
		add_mark(arg, o);
	return 0;
}

static bool was_seen(struct df_view *w, const uint8_t mark[MARK_LEN])
{
	struct view_foreign *f = w->foreign;
	df_lock(&w->v->lock);
	if (!f->walked)
		f->walked = !df_fold_each(w->v->fold, walk_one, f);
	bool seen = df_nidset_has(&f->marks, mark_key(mark));
	df_unlock(&w->v->lock);
	return seen;
}

/* ---- listing */
static int ask(struct df_view *w, struct df_stmt *s, struct df_answer *a)
{
	struct df_call call = {
		.what = "read rows of others",
		.class = DF_HTTP_BULK,
		.deadline_ns = df_deadline_ms(VIEW_TIMEOUT_MS),
		.answer_max = DF_HTTP_ANSWER_CEILING,
	};
	int err = df_api_sql(view_table(w->v)->api, s, &call, a);

	df_stmt_release(s);
	return err;
}

static char *cell_text(const struct df_cell *c)
{
	char *s = df_xalloc(c->len + 1);

	memcpy(s, c->s, c->len);
	return s;
}

static void take_row(const struct df_answer *a, size_t r, struct frow *out)
{
	const struct df_cell *c = df_answer_cell(a, r, 0);
	struct df_field f[5];

	for (int i = 0; i < 5; i++)
		f[i] = (struct df_field){ c[i].s, c[i].len };
	*out = (struct frow){ .path = cell_text(&c[1]) };
	if (c[0].type == DF_CELL_TEXT)
		out->id = cell_text(&c[0]);
	out->print = df_hash_fields(f, 5);
}

static int row_cmp(const void *a, const void *b)
{
	const struct frow *x = a, *y = b;
	int c = strcmp(x->path, y->path);

	if (c || !x->id || !y->id)
		return c ? c : (x->id != NULL) - (y->id != NULL);
	return strcmp(x->id, y->id);
}

static int list_page(struct df_view *w, const char *after, struct df_answer *a)
{
	struct df_stmt s;

	df_stmt_init(&s, 0);
	df_stmt_sql(&s,
		    "SELECT _id, path, size_bytes, md5(content_text), "
		    "md5(encode(content, 'base64')) FROM \"%s\" WHERE "
		    "(%s OR _id IS NULL)%s ORDER BY path LIMIT %d",
		    w->v->conf.table,
		    /* ours has an index, and compares bytes */
		    w->v->remote->caps.ours ? "_id < 'df-' OR _id >= 'df.'"
					    : "_id NOT LIKE 'df-%'",
		    after ? " AND path > $1" : "", PAGE_ROWS);
	if (after)
		df_stmt_text(&s, after, strlen(after));
	return ask(w, &s, a);
}

static int list_rows(struct df_view *w, struct frow **out, size_t *n)
{
	char *after = NULL;
	size_t size = 0;
	bool more = true;
	int err = 0;

	*out = NULL;
	*n = 0;
	while (more && !err) {
		struct df_answer a;
		err = list_page(w, after, &a);
		if (err)
			break;
		more = a.n_rows == PAGE_ROWS && *n < ROWS_MAX;
		for (size_t r = 0; r < a.n_rows && a.n_cols == 5; r++) {
			const struct df_cell *p = df_answer_cell(&a, r, 1);
			if (p->type != DF_CELL_TEXT || !p->len ||
			    memchr(p->s, 0, p->len))
				continue;
			DF_GROW(*out, *n, size);
			take_row(&a, r, &(*out)[(*n)++]);
		}
		free(after);
		after = *n ? df_xstrdup((*out)[*n - 1].path) : NULL;
		df_answer_release(&a);
	}
	free(after);
	if (*n > 1)
		qsort(*out, *n, sizeof(**out), row_cmp);
	if (err) {
		rows_free(*out, *n);
		*out = NULL;
	}
	return err;
}

/* Does the server answer with what it has?  (Some answer 200 and no rows
 * while they refresh their credentials.) */
static bool is_sane(struct df_view *w)
{
	struct df_answer a;
	struct df_stmt s;

	df_stmt_init(&s, 0);
	df_stmt_sql(&s, "SELECT id FROM \"%s__log\" LIMIT 1", w->v->conf.table);
	if (ask(w, &s, &a))
		return false;
	bool any = a.n_rows != 0;
	df_answer_release(&a);
	return any;
}

/* ---- a row's bytes */
static int get_bytes(struct df_view *w, const struct frow *r,
		     struct df_buf *out)
{
	struct df_answer a;
	struct df_stmt s;

	df_stmt_init(&s, 0);
	df_stmt_sql(&s,
		    "SELECT encode(content, 'base64'), content_text FROM "
		    "\"%s\" WHERE path = $1 AND %s LIMIT 1",
		    w->v->conf.table, r->id ? "_id = $2" : "_id IS NULL");
	df_stmt_text(&s, r->path, strlen(r->path));
	if (r->id)
		df_stmt_text(&s, r->id, strlen(r->id));
	int err = ask(w, &s, &a);
	if (err)
		return err;
	err = a.n_rows && a.n_cols == 2 ? 0 : -ENOENT;
	if (!err) {
		const struct df_cell *raw = df_answer_cell(&a, 0, 0);
		const struct df_cell *text = df_answer_cell(&a, 0, 1);
		if (raw->type == DF_CELL_TEXT && raw->len) {
			struct df_buf b64; /* PostgreSQL breaks lines */
			df_buf_init(&b64, 0);
			for (size_t i = 0; i < raw->len; i++)
				if (raw->s[i] != '\n')
					df_buf_put_u8(&b64, (uint8_t)raw->s[i]);
			err = b64.err ? b64.err
				      : df_b64_get(out, (char *)b64.data,
						   b64.len);
			df_buf_release(&b64);
		} else if (text->type == DF_CELL_TEXT) {
			df_buf_put(out, text->s, text->len);
		}
		err = err ? err : out->err;
	}
	df_answer_release(&a);
	return err;
}

/* ---- files */

/* "/a/b" of a row's path; NULL: no path that a file can have. */
static char *clean_path(const char *path)
{
	char *out = df_strf("%s%s", *path == '/' ? "" : "/", path);

	for (const char *p = out; p && *p;) {
		size_t n = strcspn(p + 1, "/");
		if (!n || n > DF_NAME_MAX || !strncmp(p, "/.", n + 1) ||
		    (n == 2 && !strncmp(p, "/..", 3))) {
			free(out);
			return NULL;
		}
		p += n + 1;
	}
	return out;
}

/* The kernel did not ask for this change: it must forget what it knows. */
void view_tell_name(struct df_vol *v, df_nid dir, const char *name)
{
	df_lock(&v->lock);
	const struct df_obj *o = df_vol_obj(v, dir);
	if (o)
		df_vol_push_name(v, o->nid, name);
	df_unlock(&v->lock);
}

static void tell_data(struct df_vol *v, df_nid nid)
{
	df_lock(&v->lock);
	df_vol_push_inval(v, DF_INVAL_DATA, nid, 0, NULL);
	df_unlock(&v->lock);
}

/* The directory of path, made if it is missing; counts a lookup. */
static int make_parents(struct df_vol *v, char *path, df_nid *out)
{
	struct df_entry e = { .nid = DF_ROOT_NID };
	int err = 0;

	for (char *p = path + 1, *slash; !err && (slash = strchr(p, '/'));
	     p = slash + 1) {
		df_nid dir = e.nid;
		*slash = 0;
		err = df_vol_lookup(v, dir, p, &e);
		if (err == -ENOENT) {
			err = df_vol_mkdir(v, dir, p, 0, NULL, &e);
			view_tell_name(v, dir, p);
		}
		if (!err && !S_ISDIR(e.attr.mode)) {
			df_vol_forget(v, e.nid, 1);
			err = -ENOTDIR;
		}
		*slash = '/';
		if (dir != DF_ROOT_NID)
			df_vol_forget(v, dir, 1);
	}
	*out = e.nid;
	return err;
}

int view_write_file(struct df_vol *v, df_nid nid, const struct df_buf *raw,
		    const uint8_t *mark)
{
	struct df_attr a = { .size = 0 }, out;
	double timeout;
	int err = df_vol_load(v, nid, NULL, NULL);

	if (!err)
		err = df_vol_setattr(v, nid, DF_SET_SIZE, &a, &out, &timeout);
	for (size_t at = 0; at < raw->len && !err; at += 1 << 20)
		err = df_vol_write(v, nid, at, raw->data + at,
				   DF_MIN(raw->len - at, (size_t)1 << 20), 0,
				   NULL, NULL);
	if (!err && mark)
		err = df_vol_setxattr(v, nid, VIEW_XATTR, mark, MARK_LEN, 0);
	tell_data(v, nid);
	return err;
}

int view_make_file(struct df_vol *v, char *path, const struct df_buf *raw,
		   const uint8_t *mark)
{
	struct df_entry e = { 0 };
	df_nid dir = 0;
	int err = make_parents(v, path, &dir);

	if (!err)
		err = df_vol_mknod(v, dir, strrchr(path, '/') + 1, S_IFREG, 0,
				   0, NULL, &e);
	if (!err) {
		err = view_write_file(v, e.nid, raw, mark);
		df_vol_forget(v, e.nid, 1);
		view_tell_name(v, dir, strrchr(path, '/') + 1);
	}
	if (dir && dir != DF_ROOT_NID)
		df_vol_forget(v, dir, 1);
	return err;
}

/* The file's bytes as a mark of that path; -EFBIG where they are too many. */
static int file_mark(struct df_vol *v, const struct df_entry *e,
		     const char *path, uint8_t out[MARK_LEN])
{
	struct df_buf raw;
	uint64_t max = 64 << 20;

	if (e->attr.size > max) {
		memset(out, 0, MARK_LEN); /* no row has that many */
		return 0;
	}
	df_lock(&v->lock);
	const struct df_obj *o = df_vol_obj(v, e->nid);
	df_nid nid = o ? o->nid : 0;
	df_unlock(&v->lock);
	df_buf_init(&raw, 0);
	int err = nid ? view_read(v, nid, max, &raw) : -ESTALE;
	if (!err)
		view_mark(path, raw.data, raw.len, out);
	df_buf_release(&raw);
	return err;
}

static int set_aside(struct df_vol *v, const char *path,
		     const struct df_buf *raw, const struct df_id *print)
{
	char hex[33];

	df_id_hex(print, hex);
	DF_FREE char *beside =
		df_strf("%.*s.conflict-row-%.8s", (int)strlen(path), path, hex);
	if (!beside)
		return -ENOMEM;
	int err = view_make_file(v, beside, raw, NULL);
	return err == -EEXIST ? 0 : err;
}

/* A file is there.  *drop: the row has nothing more to say. */
static int meet_file(struct df_view *w, struct frow *r, const char *path,
		     const struct df_entry *e, const struct df_buf *raw,
		     bool *drop)
{
	struct df_vol *v = w->v;
	uint8_t mine[MARK_LEN], had[MARK_LEN];
	int err = file_mark(v, e, path, mine);

	if (err)
		return err;
	bool imported = df_vol_getxattr(v, e->nid, VIEW_XATTR, had,
					sizeof(had)) == MARK_LEN;
	if (!memcmp(mine, r->mark, MARK_LEN)) {
		if (imported && !memcmp(had, r->mark, MARK_LEN))
			return 0;
		return df_vol_setxattr(v, e->nid, VIEW_XATTR, r->mark, MARK_LEN,
				       0);
	}
	if (imported && !memcmp(had, mine, MARK_LEN))
		return view_write_file(v, e->nid, raw, r->mark);
	*drop = true;
	if (imported && !memcmp(had, r->mark, MARK_LEN))
		return 0; /* what it says was here and was changed */
	return set_aside(v, path, raw, &r->print);
}

static int act(struct df_view *w, struct frow *r)
{
	DF_FREE char *path = clean_path(r->path);
	struct df_vol *v = w->v;
	struct df_entry e;
	struct df_buf raw;
	bool drop = false;

	if (!path) {
		df_log_warn("a row of table %s has a path that no file can "
			    "have: left alone",
			    v->conf.table);
		return 0;
	}
	df_buf_init(&raw, 0);
	int err = get_bytes(w, r, &raw);
	if (!err)
		view_mark(path, raw.data, raw.len, r->mark);
	int found = err ? err : df_vol_resolve(v, path, &e);
	if (!err && !found && S_ISREG(e.attr.mode))
		err = meet_file(w, r, path, &e, &raw, &drop);
	else if (!err && !found)
		err = set_aside(v, path, &raw, &r->print);
	else if (!err && was_seen(w, r->mark))
		drop = true; /* removed or moved away here */
	else if (!err)
		err = view_make_file(v, path, &raw, r->mark);
	if (!found)
		df_vol_forget(v, e.nid, 1);
	if (!err) {
		df_lock(&v->lock);
		df_nidset_add(&w->foreign->marks, mark_key(r->mark));
		df_unlock(&v->lock);
	}
	if (!err && drop) {
		err = df_viewsql_drop(view_table(v), r->path, r->id,
				      view_deadline());
		r->dropped = !err;
	}
	df_buf_release(&raw);
	return err;
}

/* The row has gone: so does a file that is still what it said. */
static void row_gone(struct df_view *w, const struct frow *r)
{
	DF_FREE char *path = clean_path(r->path);
	struct df_vol *v = w->v;
	uint8_t mine[MARK_LEN], had[MARK_LEN];
	struct df_entry e, dir;

	if (!path || df_vol_resolve(v, path, &e))
		return;
	bool same = S_ISREG(e.attr.mode) &&
		    df_vol_getxattr(v, e.nid, VIEW_XATTR, had, sizeof(had)) ==
			    MARK_LEN &&
		    !memcmp(had, r->mark, MARK_LEN) &&
		    !file_mark(v, &e, path, mine) &&
		    !memcmp(mine, r->mark, MARK_LEN);
	df_vol_forget(v, e.nid, 1);
	char *name = strrchr(path, '/');
	*name++ = 0;
	if (!same || df_vol_resolve(v, path, &dir))
		return;
	df_vol_unlink(v, dir.nid, name);
	view_tell_name(v, dir.nid, name);
	if (dir.nid != DF_ROOT_NID)
		df_vol_forget(v, dir.nid, 1);
}

/* ---- a round */

/* Is the file still what the row says (or about to be sent)? */
static bool is_still_so(struct df_view *w, const struct frow *r)
{
	DF_FREE char *path = clean_path(r->path);
	struct df_vol *v = w->v;
	struct df_entry e;

	if (!path || df_vol_resolve(v, path, &e))
		return !path;
	df_lock(&v->lock);
	const struct df_obj *o = df_vol_obj(v, e.nid);
	const struct df_xattr *x = o ? df_obj_xattr(o, VIEW_XATTR) : NULL;
	bool same = x && x->there && x->len == MARK_LEN &&
		    !memcmp(x->value, r->mark, MARK_LEN) && o->heads.n == 1 &&
		    (!(o->heads.v[0]->flags & DF_VER_SUM) ||
		     !memcmp(o->heads.v[0]->sum, r->mark, DF_SHA_LEN));
	df_unlock(&v->lock);
	df_vol_forget(v, e.nid, 1);
	return same;
}

/* Of two lists 10 s apart; *open: something is not agreed on yet. */
static int compare(struct df_view *w, struct frow *now, size_t n, bool *open)
{
	struct view_foreign *f = w->foreign;
	int err = 0;

	for (size_t i = 0; i < n && !err; i++) {
		struct frow *old = f->n_was ? bsearch(&now[i], f->was, f->n_was,
						      sizeof(*now), row_cmp)
					    : NULL;
		if (!old || df_id_cmp(&old->print, &now[i].print)) {
			*open = true;
			continue;
		}
		memcpy(now[i].mark, old->mark, MARK_LEN);
		now[i].done = old->done && is_still_so(w, old);
		if (now[i].done)
			continue;
		err = act(w, &now[i]);
		now[i].done = !err;
		if (err == -ENOENT || err == -ENOTDIR || err == -EFBIG ||
		    err == -EINVAL)
			err = 0; /* this row's own trouble */
	}
	return err;
}

/* Rows of the last list that this one lacks are kept for one round more. */
static size_t carry_gone(struct df_view *w, struct frow **now, size_t n,
			 bool *open)
{
	struct view_foreign *f = w->foreign;
	size_t total = n, size = n;
	bool sane = false;

	for (size_t i = 0; i < f->n_was; i++) {
		struct frow *old = &f->was[i];
		if (!old->done || old->dropped ||
		    (n && bsearch(old, *now, n, sizeof(**now), row_cmp)))
			continue;
		static const struct df_id gone_once;
		if (!df_id_cmp(&old->print, &gone_once)) {
			sane = sane || is_sane(w);
			if (sane)
				row_gone(w, old);
			continue;
		}
		*open = true;
		DF_GROW(*now, total, size);
		struct frow *k = &(*now)[total++];
		*k = *old;
		k->print = gone_once;
		old->path = old->id = NULL;
	}
	if (total > 1)
		qsort(*now, total, sizeof(**now), row_cmp);
	return total;
}

int64_t view_foreign_due(struct df_view *w)
{
	struct view_foreign *f = w->foreign;
	struct df_vol *v = w->v;
	int64_t now = df_clock_mono_ns();

	if (!f->listed_ns || w->others)
		return 0;
	df_lock(&v->lock);
	bool used = now - v->last_request_ns < DF_IDLE_AFTER_MS * DF_NS_PER_MS;
	bool ours = v->remote->caps.ours;
	df_unlock(&v->lock);
	int64_t ms = f->open        ? ours ? DF_FOREIGN_OWN_AGREE_MS
					   : DF_FOREIGN_AGREE_MS
		     : ours && used ? DF_FOREIGN_OWN_MS
				    : DF_FOREIGN_MS;
	return f->listed_ns +
	       DF_MAX(ms * DF_NS_PER_MS, f->took_ns * LIST_SHARE);
}

int view_foreign_step(struct df_view *w)
{
	struct view_foreign *f = w->foreign;
	struct frow *now = NULL;
	size_t n = 0;
	bool open = false;

	f->listed_ns = df_clock_mono_ns();
	w->others = false;
	f->open = false;
	if (w->v->root != DF_ROOT_NID)
		return 0;
	int err = list_rows(w, &now, &n);
	f->took_ns = df_clock_mono_ns() - f->listed_ns;
	if (err)
		return err;
	if (n >= ROWS_MAX && !f->told) {
		f->told = true;
		df_log_warn("table %s has over %d rows of others: the rest "
			    "does not become files",
			    w->v->conf.table, ROWS_MAX);
	}
	err = compare(w, now, n, &open);
	n = carry_gone(w, &now, n, &open);
	rows_free(f->was, f->n_was);
	f->was = now;
	f->n_was = n;
	f->open = open;
	return err;
}
