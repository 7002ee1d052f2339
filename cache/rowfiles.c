/* rowfiles.c - see rowfiles.h. */
#include "cache/rowfiles.h"

#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/api.h"
#include "backend/foreign.h"
#include "base/file.h"
#include "base/log.h"
#include "cache/inlinepack.h"
#include "cache/sender.h"
#include "cache/viewi.h"

#define PAGE_ROWS 1000
#define ROWS_MAX 50000
#define NAME_MAX_BYTES 200 /* longer keys are cut and get a hash */
#define NAME_CUT 180
#define TIMEOUT_MS 60000
#define BUSY_MS 5000
#define IDLE_AFTER_MS 60000
#define IDLE_MS 30000
#define SHARE 20 /* reading takes a part of the time, one in so many */

struct rowfile {
	char *name; /* owned */
	struct df_id hash;
};

struct rowlist {
	struct rowfile *v; /* owned */
	size_t n, size;
};

struct df_rowfiles {
	struct df_vol *v;
	struct df_remote *table; /* not owned */
	struct rowlist have;     /* sorted by name */
	bool was_empty;          /* the last answer: not believed at once */
	bool told;               /* that there are too many */
	unsigned limit;          /* rows a page */

	struct df_lock lock;
	struct df_cond cond;
	bool stop;        /* lock */
	pthread_t thread; /* who may write: the starter, then the thread */
	bool started;
};

static void list_free(struct rowlist *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i].name);
	free(l->v);
	*l = (struct rowlist){ 0 };
}

static int file_cmp(const void *a, const void *b)
{
	const struct rowfile *x = a, *y = b;

	return strcmp(x->name, y->name);
}

/* ---- a row as a file */

static void put_key(struct df_buf *b, const struct df_cell *key)
{
	struct df_field f = { key->s, key->len };
	size_t n = key->len;
	char hex[33];

	if (n > NAME_MAX_BYTES / 3) {
		n = NAME_CUT / 3;
		while (n && ((unsigned char)key->s[n] & 0xc0) == 0x80)
			n--; /* between characters */
	}
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)key->s[i];
		if (c == '/' || c == '%' || c < 0x20 || c == 0x7f)
			df_buf_printf(b, "%%%02X", c);
		else
			df_buf_put_u8(b, c);
	}
	if (n == key->len)
		return;
	struct df_id id = df_hash_fields(&f, 1);
	df_id_hex(&id, hex);
	df_buf_printf(b, "~%.8s", hex);
}

static void put_row(struct df_buf *b, const struct df_answer *a, size_t r)
{
	for (size_t i = 0; i < a->n_cols; i++) {
		const struct df_cell *c = df_answer_cell(a, r, (int)i);
		df_buf_put_str(b, i ? ",\n  \"" : "{\n  \"");
		df_json_escape(b, a->col[i].s, a->col[i].len);
		df_buf_put_str(b, "\": ");
		if (c->type == DF_CELL_NULL) {
			df_buf_put_str(b, "null");
		} else if (c->type == DF_CELL_TEXT) {
			df_buf_put_u8(b, '"');
			df_json_escape(b, c->s, c->len);
			df_buf_put_u8(b, '"');
		} else {
			df_buf_put(b, c->s, c->len);
		}
	}
	df_buf_put_str(b, a->n_cols ? "\n}\n" : "{}\n");
}

static int write_row(struct df_rowfiles *x, const char *name, bool there,
		     const struct df_buf *raw)
{
	DF_FREE char *path = df_strf("/%s", name);
	struct df_entry e;

	if (!path)
		return -ENOMEM;
	if (!there)
		return view_make_file(x->v, path, raw, NULL);
	int err = df_vol_resolve(x->v, path, &e);
	if (err)
		return err;
	err = view_write_file(x->v, e.nid, raw, NULL);
	df_vol_forget(x->v, e.nid, 1);
	return err;
}

/* ---- reading the table */
struct pass {
	struct rowlist now;
	struct df_buf last; /* the key of the row before */
	unsigned same;      /* rows of that key so far */
};

/* Doubled keys stand side by side: rows come in their order. */
static char *row_name(struct pass *p, const struct df_answer *a, size_t r,
		      int key)
{
	const struct df_cell *c = key >= 0 ? df_answer_cell(a, r, key) : NULL;
	struct df_buf b;

	if (!c || c->type == DF_CELL_NULL || !c->len)
		return df_strf("row-%zu.json", p->now.n + 1);
	bool same = p->now.n && p->last.len == c->len &&
		    !memcmp(p->last.data, c->s, c->len);
	p->same = same ? p->same + 1 : 1;
	p->last.len = 0;
	df_buf_put(&p->last, c->s, c->len);
	df_buf_init(&b, 0);
	put_key(&b, c);
	if (same)
		df_buf_printf(&b, "~%u", p->same);
	df_buf_put_str(&b, ".json");
	char *name = b.err ? NULL : df_xstrdup(df_buf_cstr(&b));
	df_buf_release(&b);
	return name;
}

static int take_row(struct df_rowfiles *x, struct pass *p,
		    const struct df_answer *a, size_t r, int key)
{
	struct rowfile row = { .name = row_name(p, a, r, key) };
	struct df_buf raw;

	if (!row.name)
		return -ENOMEM;
	df_buf_init(&raw, 0);
	put_row(&raw, a, r);
	struct df_field f = { raw.data, raw.len };
	row.hash = df_hash_fields(&f, 1);
	const struct rowfile *had =
		x->have.n ? bsearch(&row, x->have.v, x->have.n,
				    sizeof(*x->have.v), file_cmp)
			  : NULL;
	int err = raw.err;
	if (!err && (!had || df_id_cmp(&had->hash, &row.hash)))
		err = write_row(x, row.name, had != NULL, &raw);
	df_buf_release(&raw);
	if (err == -EEXIST) /* written by a pass that did not end */
		err = 0;
	DF_GROW(p->now.v, p->now.n, p->now.size);
	p->now.v[p->now.n++] = row;
	return err;
}

static int read_table(struct df_rowfiles *x, struct pass *p)
{
	bool more = true;
	int err = 0;

	while (more && !err && p->now.n < ROWS_MAX) {
		struct df_answer a;
		int key;
		err = df_foreign_page(x->table, p->now.n, x->limit, TIMEOUT_MS,
				      &a, &key);
		if (err == -EOVERFLOW && x->limit > 1) {
			x->limit /= 2;
			err = 0;
			continue;
		}
		more = !err && a.n_rows == x->limit;
		for (size_t r = 0; !err && r < a.n_rows; r++)
			err = take_row(x, p, &a, r, key);
		df_answer_release(&a);
	}
	if (!err && p->now.n >= ROWS_MAX && !x->told) {
		df_log_warn("table %s has more than %d rows: the rest has no "
			    "files; ask it with 'deeplake query'",
			    x->v->conf.table, ROWS_MAX);
		x->told = true;
	}
	return err;
}

static void remove_gone(struct df_rowfiles *x, struct rowlist *now)
{
	for (size_t i = 0; i < x->have.n; i++) {
		const char *name = x->have.v[i].name;
		if (now->n && bsearch(&x->have.v[i], now->v, now->n,
				      sizeof(*now->v), file_cmp))
			continue;
		df_vol_unlink(x->v, DF_ROOT_NID, name);
		view_tell_name(x->v, DF_ROOT_NID, name);
	}
}

static int refresh(struct df_rowfiles *x)
{
	struct pass p = { .same = 0 };

	df_buf_init(&p.last, 0);
	int err = read_table(x, &p);
	df_buf_release(&p.last);
	if (p.now.n > 1)
		qsort(p.now.v, p.now.n, sizeof(*p.now.v), file_cmp);
	/* Some servers answer 200 without rows while they are busy. */
	bool doubt = !err && !p.now.n && x->have.n && !x->was_empty;
	x->was_empty = doubt;
	if (err || doubt) {
		list_free(&p.now);
		return err;
	}
	remove_gone(x, &p.now);
	list_free(&x->have);
	x->have = p.now;
	return 0;
}

/* ---- the thread */

static int64_t wait_ms(struct df_rowfiles *x, int64_t took_ns)
{
	df_lock(&x->v->lock);
	int64_t quiet = df_clock_mono_ns() - x->v->last_request_ns;
	df_unlock(&x->v->lock);
	int64_t ms = quiet > IDLE_AFTER_MS * DF_NS_PER_MS ? IDLE_MS : BUSY_MS;

	return DF_MAX(ms, took_ns * SHARE / DF_NS_PER_MS);
}

static void *rows_main(void *arg)
{
	struct df_rowfiles *x = arg;
	int64_t took = 0;
	unsigned fails = 0;

	for (;;) {
		int64_t until = df_deadline_ms(wait_ms(x, took));
		df_lock(&x->lock);
		while (!x->stop &&
		       df_cond_wait_until(&x->cond, &x->lock, until))
			;
		bool stop = x->stop;
		df_unlock(&x->lock);
		if (stop)
			return NULL;
		int64_t begun = df_clock_mono_ns();
		int err = refresh(x);
		took = df_clock_mono_ns() - begun;
		fails = err ? fails + 1 : 0;
		if (err && !df_vol_backoff(x->v, fails, err))
			return NULL;
	}
}

bool df_rowfiles_is_self(const struct df_rowfiles *x)
{
	return x && pthread_equal(x->thread, pthread_self());
}

int df_rowfiles_start(struct df_vol *v, struct df_rowfiles **out)
{
	struct df_rowfiles *x = df_xalloc(sizeof(*x));

	x->v = v;
	x->table = df_inlinepack_lower(v->remote);
	x->limit = PAGE_ROWS;
	df_lock_init(&x->lock);
	df_cond_init(&x->cond);
	x->thread = pthread_self();
	*out = x;
	int err = refresh(x);
	if (err)
		return df_fail(err, "reading the rows of table %s",
			       v->conf.table);
	df_lock(&x->lock); /* until it is known who it is */
	x->started = !pthread_create(&x->thread, NULL, rows_main, x);
	df_unlock(&x->lock);
	return x->started ? 0
			  : df_fail(-EAGAIN, "start the thread of the rows");
}

void df_rowfiles_stop(struct df_rowfiles *x)
{
	if (!x)
		return;
	df_lock(&x->lock);
	x->stop = true;
	df_cond_signal(&x->cond);
	df_unlock(&x->lock);
	if (x->started)
		pthread_join(x->thread, NULL);
	list_free(&x->have);
	df_cond_release(&x->cond);
	df_lock_release(&x->lock);
	free(x);
}

static int remove_one(const char *path, const struct stat *st, int type,
		      struct FTW *at)
{
	(void)st, (void)type;
	return at->level && remove(path) ? -errno : 0;
}

int df_rowfiles_clear(const char *cache_dir)
{
	int err = df_mkdir_p(cache_dir, 0700);

	if (!err)
		err = nftw(cache_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return err ? df_fail(err < 0 ? err : -EIO, "emptying %s", cache_dir)
		   : 0;
}
