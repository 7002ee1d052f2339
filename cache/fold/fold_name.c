/* fold_name.c - names, rivals, folded rows and small values of the fold. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "cache/fold/fold_int.h"

uint64_t df_name_cookie(const char *name)
{
	uint64_t x = df_xxh3(name, strlen(name)) >> 1;

	return x < 3 ? x + 3 : x; /* 0 starts, 1 is ".", 2 is ".." */
}

static uint32_t name_slot(const struct df_fold *f, df_nid parent,
			  uint64_t cookie)
{
	uint64_t x = (parent * UINT64_C(0x9e3779b97f4a7c15)) ^ cookie;

	return (uint32_t)((x * UINT64_C(0x9e3779b97f4a7c15)) >> 32) &
	       (f->name_buckets - 1);
}

static void grow_names(struct df_fold *f)
{
	uint32_t old = f->name_buckets;
	struct df_name **names = f->names;

	f->name_buckets *= 2;
	f->names = df_xalloc(f->name_buckets * sizeof(*f->names));
	for (uint32_t i = 0; i < old; i++)
		for (struct df_name *n = names[i], *next; n; n = next) {
			next = n->next_hash;
			uint32_t s = name_slot(f, n->parent, n->cookie);
			n->next_hash = f->names[s];
			f->names[s] = n;
		}
	free(names);
}

/* Where nid is among n->more (n > 1), or would be. */
static uint32_t cand_at(const struct df_name *n, df_nid nid)
{
	uint32_t lo = 0, hi = n->n;

	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;
		if (n->more[mid] < nid)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static void push_cand(struct df_name *n, df_nid nid)
{
	if (n->n == 0) {
		n->one = nid;
		n->n = 1;
		return;
	}
	if (n->n == 1) {
		n->more_size = 4;
		n->more = df_xalloc(n->more_size * sizeof(*n->more));
		n->more[0] = n->one;
	}
	DF_GROW(n->more, n->n, n->more_size);
	uint32_t at = cand_at(n, nid);
	memmove(n->more + at + 1, n->more + at, (n->n - at) * sizeof(*n->more));
	n->more[at] = nid;
	n->n++;
}

static void load_cands(struct df_fold *f, struct df_name *n)
{
	sqlite3_stmt *st = f->st[ST_ENT_GET];
	int rc;

	if (f->bare)
		return;
	sqlite3_bind_int64(st, 1, (sqlite3_int64)n->parent);
	sqlite3_bind_int64(st, 2, (sqlite3_int64)n->cookie);
	sqlite3_bind_blob(st, 3, n->name, (int)strlen(n->name), SQLITE_STATIC);
	while ((rc = sqlite3_step(st)) == SQLITE_ROW)
		push_cand(n, (df_nid)sqlite3_column_int64(st, 0));
	if (rc != SQLITE_DONE)
		df_fold_sql_error(f, f->rd, "look up a name");
	sqlite3_reset(st);
}

struct df_name *df_fold_name(struct df_fold *f, df_nid parent, const char *name)
{
	uint64_t cookie = df_name_cookie(name);
	struct df_name *n = f->names[name_slot(f, parent, cookie)];

	for (; n; n = n->next_hash)
		if (n->parent == parent && n->cookie == cookie &&
		    !strcmp(n->name, name))
			break;
	if (n) {
		n->lru_prev->lru_next = n->lru_next;
		n->lru_next->lru_prev = n->lru_prev;
	} else {
		n = df_xalloc(sizeof(*n));
		n->parent = parent;
		n->cookie = cookie;
		n->name = df_xstrdup(name);
		n->mem = (uint32_t)(sizeof(*n) + 32 + strlen(name));
		load_cands(f, n);
		if (++f->n_names > f->name_buckets)
			grow_names(f);
		uint32_t s = name_slot(f, parent, cookie);
		n->next_hash = f->names[s];
		f->names[s] = n;
		f->used += n->mem;
	}
	n->lru_next = f->name_lru.lru_next;
	n->lru_prev = &f->name_lru;
	n->lru_next->lru_prev = n;
	f->name_lru.lru_next = n;
	return n;
}

void df_fold_free_name(struct df_fold *f, struct df_name *n)
{
	struct df_name **p = &f->names[name_slot(f, n->parent, n->cookie)];

	while (*p != n)
		p = &(*p)->next_hash;
	*p = n->next_hash;
	n->lru_prev->lru_next = n->lru_next;
	n->lru_next->lru_prev = n->lru_prev;
	f->n_names--;
	f->used -= n->mem;
	free(n->name);
	free(n->more);
	free(n->changed);
	free(n);
}

bool df_name_has(const struct df_name *n, df_nid nid)
{
	if (n->n < 2)
		return n->n && n->one == nid;
	uint32_t at = cand_at(n, nid);
	return at < n->n && n->more[at] == nid;
}

void df_fold_touch_name(struct df_fold *f, struct df_name *n)
{
	if (n->dirty)
		return;
	n->dirty = true;
	DF_GROW(f->dirty_names, f->n_dirty_names, f->dirty_names_size);
	f->dirty_names[f->n_dirty_names++] = n;
	if (n->flushing)
		return; /* is in its parent's list already */
	struct df_obj *p = df_fold_get(f, n->parent);
	if (!p)
		return;
	n->dirty_prev = NULL;
	n->dirty_next = p->dirty_names;
	if (n->dirty_next)
		n->dirty_next->dirty_prev = n;
	p->dirty_names = n;
	p->n_dirty_names++;
}

void df_fold_cand_changed(struct df_fold *f, struct df_name *n, df_nid nid)
{
	DF_GROW(n->changed, n->n_changed, n->changed_size);
	n->changed[n->n_changed++] = nid;
	f->changes++;
	df_fold_touch_name(f, n);
}

void df_fold_add_cand(struct df_fold *f, struct df_name *n, df_nid nid)
{
	if (df_name_has(n, nid))
		return;
	push_cand(n, nid);
	df_fold_cand_changed(f, n, nid);
}

void df_fold_del_cand(struct df_fold *f, struct df_name *n, df_nid nid)
{
	if (!df_name_has(n, nid))
		return;
	if (n->n > 1) {
		uint32_t at = cand_at(n, nid);
		memmove(n->more + at, n->more + at + 1,
			(n->n - at - 1) * sizeof(*n->more));
		if (n->n == 2) {
			n->one = n->more[0];
			free(n->more);
			n->more = NULL;
			n->more_size = 0;
		}
	}
	n->n--;
	df_fold_cand_changed(f, n, nid);
}

/* ---- listing: SQLite's rows with memory's changes laid over them */
static int row_cmp(const void *a, const void *b)
{
	const struct df_dirrow *x = a, *y = b;

	if (x->cookie != y->cookie)
		return x->cookie < y->cookie ? -1 : 1;
	int c = strcmp(x->name, y->name);
	return c ? c : (x->nid > y->nid) - (x->nid < y->nid);
}

/* Changed names of the directory behind `after`, candidates in order: no more of
 * one name than the caller takes. */
static struct df_dirrow *changed_rows(const struct df_obj *dir, uint64_t after,
				      int max, size_t *n)
{
	struct df_dirrow *rows = NULL;
	size_t used = 0, size = 0;

	for (struct df_name *m = dir ? dir->dirty_names : NULL; m;
	     m = m->dirty_next) {
		if (m->cookie <= after)
			continue;
		for (uint32_t i = 0; i < m->n && i < (uint32_t)max; i++) {
			DF_GROW(rows, used, size);
			rows[used].cookie = m->cookie;
			rows[used].nid = df_name_cand(m, i);
			snprintf(rows[used].name, sizeof(rows[used].name), "%s",
				 m->name);
			used++;
		}
	}
	if (used)
		qsort(rows, used, sizeof(*rows), row_cmp);
	*n = used;
	return rows;
}

/* Is the name changed in memory (then SQLite's rows of it do not count)? */
static bool is_changed(struct df_fold *f, df_nid parent, const char *name,
		       uint64_t cookie)
{
	struct df_name *n = f->names[name_slot(f, parent, cookie)];

	for (; n; n = n->next_hash)
		if (n->parent == parent && n->cookie == cookie &&
		    !strcmp(n->name, name))
			return n->dirty || n->flushing;
	return false;
}

static bool next_stored(struct df_fold *f, sqlite3_stmt *st, df_nid parent,
			bool any_changed, struct df_dirrow *out)
{
	int rc;

	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		int len = DF_MIN(sqlite3_column_bytes(st, 1), DF_NAME_MAX);
		out->cookie = (uint64_t)sqlite3_column_int64(st, 0);
		memcpy(out->name, sqlite3_column_blob(st, 1), (size_t)len);
		out->name[len] = 0;
		out->nid = (df_nid)sqlite3_column_int64(st, 2);
		if (!any_changed ||
		    !is_changed(f, parent, out->name, out->cookie))
			return true;
	}
	if (rc != SQLITE_DONE)
		df_fold_sql_error(f, f->rd, "list a directory");
	return false;
}

int df_fold_list(struct df_fold *f, df_nid parent, uint64_t after,
		 struct df_dirrow *out, int max)
{
	struct df_obj *dir = df_fold_get(f, parent);
	sqlite3_stmt *st = f->st[ST_ENT_LIST];
	size_t n_changed, at = 0;
	int n = 0;

	struct df_dirrow *changed = changed_rows(dir, after, max, &n_changed);
	sqlite3_bind_int64(st, 1, (sqlite3_int64)parent);
	sqlite3_bind_int64(st, 2, (sqlite3_int64)after);
	struct df_dirrow stored;
	bool any = dir && dir->dirty_names;
	bool more = next_stored(f, st, parent, any, &stored);
	while (n < max && (more || at < n_changed)) {
		if (!more ||
		    (at < n_changed && row_cmp(&changed[at], &stored) < 0)) {
			out[n++] = changed[at++];
		} else {
			out[n++] = stored;
			more = next_stored(f, st, parent, any, &stored);
		}
	}
	sqlite3_reset(st);
	free(changed);
	return f->err ? f->err : n;
}

/* ---- rivals */
static size_t rival_find(const struct df_fold *f, df_nid parent)
{
	size_t lo = 0, hi = f->n_rivals;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (f->rivals[mid].parent < parent)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

bool df_fold_has_rivals(struct df_fold *f, df_nid parent)
{
	if (!f->n_rivals)
		return false;
	size_t i = rival_find(f, parent);
	return i < f->n_rivals && f->rivals[i].parent == parent;
}

bool df_fold_any_rival(const struct df_fold *f)
{
	return f->n_rivals != 0;
}

const char *df_fold_rival(struct df_fold *f, df_nid parent, uint32_t i)
{
	size_t at = rival_find(f, parent);

	if (at == f->n_rivals || f->rivals[at].parent != parent ||
	    i >= f->rivals[at].n)
		return NULL;
	return f->rivals[at].names[i];
}

struct df_pending *df_fold_pend(struct df_fold *f, enum df_stmt stmt)
{
	DF_GROW(f->pending, f->n_pending, f->pending_size);
	struct df_pending *p = &f->pending[f->n_pending++];
	*p = (struct df_pending){ .stmt = stmt };
	return p;
}

static void pend_rival(struct df_fold *f, df_nid parent, const char *name,
		       bool on)
{
	struct df_pending *p =
		df_fold_pend(f, on ? ST_RIVAL_PUT : ST_RIVAL_DEL);

	f->changes++;
	p->parent = parent;
	p->text = df_xstrdup(name);
}

static void remove_rival(struct df_fold *f, size_t at, uint32_t k)
{
	struct df_rivals *r = &f->rivals[at];

	free(r->names[k]);
	r->names[k] = r->names[--r->n];
	if (r->n)
		return;
	free(r->names);
	memmove(r, r + 1, (f->n_rivals - at - 1) * sizeof(*r));
	f->n_rivals--;
}

void df_fold_set_rival(struct df_fold *f, df_nid parent, const char *name,
		       bool on)
{
	if (!on && !f->n_rivals)
		return;
	size_t at = rival_find(f, parent);
	bool there = at < f->n_rivals && f->rivals[at].parent == parent;
	for (uint32_t k = 0; there && k < f->rivals[at].n; k++)
		if (!strcmp(f->rivals[at].names[k], name)) {
			if (on)
				return;
			remove_rival(f, at, k);
			pend_rival(f, parent, name, false);
			return;
		}
	if (!on)
		return;
	if (!there) {
		f->rivals = df_xrealloc(f->rivals, f->n_rivals + 1,
					sizeof(*f->rivals));
		memmove(f->rivals + at + 1, f->rivals + at,
			(f->n_rivals - at) * sizeof(*f->rivals));
		f->rivals[at] = (struct df_rivals){ .parent = parent };
		f->n_rivals++;
	}
	struct df_rivals *r = &f->rivals[at];
	r->names = df_xrealloc(r->names, r->n + 1, sizeof(*r->names));
	r->names[r->n++] = df_xstrdup(name);
	pend_rival(f, parent, name, true);
}

/* ---- folded rows */
bool df_pending_has_row(const struct df_pending *p, size_t n,
			const struct df_id *id)
{
	for (size_t i = 0; i < n; i++)
		if (p[i].stmt == ST_ROW_PUT && !df_id_cmp(&p[i].row.id, id))
			return true;
	return false;
}

bool df_fold_has_row(struct df_fold *f, const struct df_id *id)
{
	if (df_pending_has_row(f->pending, f->n_pending, id) ||
	    df_fold_flight_has(f, id))
		return true;
	sqlite3_stmt *st = f->st[ST_ROW_HAS];
	sqlite3_bind_blob(st, 1, id->b, DF_ID_LEN, SQLITE_STATIC);
	int rc = sqlite3_step(st);
	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		df_fold_sql_error(f, f->rd, "look up a row");
	sqlite3_reset(st);
	return rc == SQLITE_ROW;
}

void df_fold_add_row(struct df_fold *f, const struct df_dep *row, bool dep)
{
	struct df_pending *p = df_fold_pend(f, ST_ROW_PUT);

	p->row = *row;
	p->value = dep;
}

void df_fold_del_row(struct df_fold *f, const struct df_id *id)
{
	df_fold_pend(f, ST_ROW_DEL)->row.id = *id;
}

void df_fold_deps_taken(struct df_fold *f)
{
	df_fold_pend(f, ST_ROW_TAKEN);
}

struct df_dep *df_fold_rows(struct df_fold *f, bool deps_only, size_t *n)
{
	struct df_dep *rows = NULL;
	size_t size = 0;
	sqlite3_stmt *st;

	*n = 0;
	df_fold_flush(f);
	if (sqlite3_prepare_v2(
		    f->rd,
		    deps_only ? "SELECT id, epoch FROM log WHERE dep = 1"
			      : "SELECT id, epoch FROM log",
		    -1, &st, NULL) != SQLITE_OK)
		return NULL;
	int rc;
	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		DF_GROW(rows, *n, size);
		memcpy(rows[*n].id.b, sqlite3_column_blob(st, 0), DF_ID_LEN);
		rows[(*n)++].epoch = (uint64_t)sqlite3_column_int64(st, 1);
	}
	if (rc != SQLITE_DONE)
		df_fold_sql_error(f, f->rd, "list rows");
	sqlite3_finalize(st);
	return rows;
}

/* ---- small values */
uint64_t df_fold_meta(struct df_fold *f, const char *key, uint64_t fallback)
{
	for (unsigned i = 0; i < f->n_meta; i++)
		if (!strcmp(f->meta[i].key, key))
			return f->meta[i].value;
	return fallback;
}

void df_fold_set_meta(struct df_fold *f, const char *key, uint64_t value)
{
	unsigned i = 0;

	while (i < f->n_meta && strcmp(f->meta[i].key, key))
		i++;
	if (i == DF_ARRAY_LEN(f->meta))
		return; /* keys are few and all ours */
	if (i == f->n_meta)
		snprintf(f->meta[f->n_meta++].key, sizeof(f->meta[i].key), "%s",
			 key);
	else if (f->meta[i].value == value)
		return;
	f->meta[i].value = value;
	struct df_pending *p = df_fold_pend(f, ST_META_PUT);
	p->text = df_xstrdup(key);
	p->value = value;
}
