/*
 * flat.c - what a node shows, as a list of paths; see sim.h.
 *
 * Read through the volume's own face only: readdir in short pieces, so that
 * cookies are used, a lookup of every name, and the bytes of every file.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "tests/sim/sim.h"

#define PIECE 3        /* entries taken from one readdir */
#define DIR_MAX 100000 /* entries; more is a loop */
#define ENDS 64        /* bytes shown of each end of a long text */

static char *copy_text(const char *s)
{
	char *p = strdup(s);

	if (!p)
		abort();
	return p;
}

static struct ent *add(struct flat *f)
{
	if (f->n == f->size) {
		f->size = f->size * 2 + 32;
		f->e = realloc(f->e, f->size * sizeof(*f->e));
		if (!f->e)
			abort();
	}
	f->e[f->n] = (struct ent){ 0 };
	return &f->e[f->n++];
}

static void ent_release(struct ent *e)
{
	free(e->path);
	free(e->text);
	free(e->xattr);
}

static void ent_copy(struct ent *to, const struct ent *from)
{
	*to = *from;
	to->path = copy_text(from->path);
	to->text = copy_text(from->text);
	to->xattr = copy_text(from->xattr);
	to->nid = 0;
}

void ent_set_text(struct ent *e, const char *text)
{
	char *p = copy_text(text);

	free(e->text);
	e->text = p;
	e->size = strlen(p);
	e->lost = false;
}

void ent_set_xattr(struct ent *e, const char *value)
{
	free(e->xattr);
	e->xattr = copy_text(value);
}

/* ---- reading */
struct late {
	int err;
	struct df_read r; /* a copy: the volume's is gone after the call */
	bool ran;
};

static void read_late(void *arg, int err, struct df_read *r)
{
	struct late *l = arg;

	l->err = err;
	if (r)
		l->r = *r;
	l->ran = true;
}

static int gather(const struct df_read *r, char *out)
{
	for (unsigned i = 0; i < r->n; i++) {
		const struct df_src *s = &r->src[i];

		if (s->fd < 0)
			memset(out, 0, s->len);
		else if (df_pread_all(s->fd, out, s->len, (off_t)s->pos) !=
			 (ssize_t)s->len)
			return -EIO;
		out += s->len;
	}
	return 0;
}

int read_bytes(struct df_vol *v, df_nid nid, uint64_t off, void *buf,
	       size_t len, size_t *got)
{
	struct df_read here = { 0 }, *r = &here;
	struct late late = { 0 };
	int err = df_vol_read(v, nid, off, len, &here, read_late, &late);

	if (err == DF_EPARKED) {
		if (!late.ran) /* without threads nobody would ever answer */
			return -EDEADLK;
		err = late.err;
		here = late.r;
	}
	if (err)
		return err;
	*got = r->len;
	err = r->len > len ? -EOVERFLOW : gather(r, buf);
	df_vol_read_done(v, r);
	return err;
}

static bool is_token(const char *p)
{
	if (!memcmp(p, "same0000", TOK))
		return true;
	if (*p != 't')
		return false;
	for (int i = 1; i < TOK; i++)
		if (p[i] < '0' || p[i] > '9')
			return false;
	return true;
}

static void read_some(struct world *w, struct df_vol *v, struct ent *e,
		      uint64_t off, char *buf, size_t len)
{
	size_t got = 0;
	int err = read_bytes(v, e->nid, off, buf, len, &got);

	if (err == -EIO && len > TOK) { /* some of it may be there */
		for (size_t i = 0; i < len; i += TOK)
			read_some(w, v, e, off + i, buf + i,
				  len - i < TOK ? len - i : TOK);
		return;
	}
	if (err == -EIO && lost_bytes(w->now, e->nid)) {
		e->lost = true;
		memset(buf, '?', len);
		return;
	}
	if (err)
		fail(w, "read %s at %llu: %s", e->path, (unsigned long long)off,
		     df_strerror(err));
	if (got != len)
		fail(w, "read %s at %llu: %zu bytes of %zu, size is %llu",
		     e->path, (unsigned long long)off, got, len,
		     (unsigned long long)e->size);
}

static void read_text(struct world *w, struct df_vol *v, struct ent *e)
{
	char buf[SHOW_MAX + 1];

	if (e->size > SHOW_MAX) {
		read_some(w, v, e, 0, buf, ENDS);
		read_some(w, v, e, e->size - ENDS, buf + ENDS, ENDS);
		for (size_t i = 0; i < 2 * ENDS; i++)
			if (buf[i] < ' ' || buf[i] > '~')
				buf[i] = '.';
		buf[2 * ENDS] = 0;
		e->text =
			df_strf("%s (%llu)", buf, (unsigned long long)e->size);
		return;
	}
	read_some(w, v, e, 0, buf, e->size);
	buf[e->size] = 0;
	for (size_t i = 0; i < e->size && !e->lost; i += TOK)
		if (e->size - i < TOK || !is_token(buf + i))
			fail(w, "%s holds bytes that nobody wrote: \"%.*s\"",
			     e->path, (int)e->size, buf);
	e->text = copy_text(buf);
}

static void read_link(struct world *w, struct df_vol *v, struct ent *e)
{
	char buf[DF_SYMLINK_MAX + 1];
	int err = df_vol_readlink(v, e->nid, buf);

	if (err)
		fail(w, "readlink %s: %s", e->path, df_strerror(err));
	e->text = copy_text(buf);
}

static void read_xattr(struct world *w, struct df_vol *v, struct ent *e)
{
	char buf[65];
	ssize_t n = df_vol_getxattr(v, e->nid, "user.x", buf, 64);

	if (n < 0 && n != -ENODATA)
		fail(w, "getxattr %s: %s", e->path, df_strerror((int)n));
	buf[n < 0 ? 0 : n] = 0;
	e->xattr = copy_text(buf);
}

static void read_ent(struct world *w, struct df_vol *v, struct ent *e,
		     const struct df_attr *a)
{
	e->mode = a->mode & 07777;
	e->ino = a->ino;
	e->nlink = a->nlink;
	e->size = a->size;
	read_xattr(w, v, e);
	if (S_ISDIR(a->mode)) {
		e->kind = 'd';
		e->text = copy_text("");
		e->size = 0;
	} else if (S_ISLNK(a->mode)) {
		e->kind = 'l';
		e->xattr[0] = 0;
		read_link(w, v, e);
	} else {
		e->kind = 'f';
		e->mtime_ns = a->mtime.tv_sec * INT64_C(1000000000) +
			      a->mtime.tv_nsec;
		read_text(w, v, e);
	}
}

struct names {
	struct df_dirent *d; /* owned */
	size_t n, size, taken;
};

static bool take(void *arg, const struct df_dirent *d)
{
	struct names *names = arg;

	if (names->taken == PIECE)
		return false;
	names->taken++;
	if (names->n == names->size) {
		names->size = names->size * 2 + 16;
		names->d = realloc(names->d, names->size * sizeof(*names->d));
		if (!names->d)
			abort();
	}
	names->d[names->n++] = *d;
	return true;
}

static void list(struct world *w, struct df_vol *v, df_nid dir,
		 const char *path, bool plus, struct names *out)
{
	uint64_t cookie = 0;

	do {
		int err;

		out->taken = 0;
		err = df_vol_readdir(v, dir, cookie, plus, take, out);
		if (err)
			fail(w, "readdir %s/: %s", path, df_strerror(err));
		if (out->n > DIR_MAX)
			fail(w, "readdir %s/ does not end", path);
		if (out->taken)
			cookie = out->d[out->n - 1].cookie;
	} while (out->taken);
}

/* One name of a directory: looked up, and the same as readdir said. */
static void read_name(struct world *w, struct df_vol *v, df_nid dir,
		      const char *path, const struct df_dirent *d, bool plus,
		      struct flat *out)
{
	struct df_entry entry;
	struct ent *e;
	int err = df_vol_lookup(v, dir, d->name, &entry);

	if (err)
		fail(w, "readdir %s/ has \"%s\", lookup: %s", path, d->name,
		     df_strerror(err));
	if (entry.attr.ino != d->ino ||
	    (entry.attr.mode & S_IFMT) != (d->type & S_IFMT))
		fail(w, "readdir and lookup differ about %s/%s", path, d->name);
	/* a derived conflict copy has no number until it is looked up */
	if (plus && (d->entry.nid || !strstr(d->name, ".conflict-"))) {
		if (d->entry.nid != entry.nid)
			fail(w, "readdirplus and lookup differ about %s/%s",
			     path, d->name);
		df_vol_forget(v, d->entry.nid, 1);
	}
	e = add(out);
	e->path = df_strf("%s/%s", path, d->name);
	e->nid = entry.nid;
	read_ent(w, v, e, &entry.attr);
}

static void read_dir(struct world *w, struct df_vol *v, df_nid dir,
		     const char *path, struct flat *out)
{
	struct names names = { 0 };
	bool plus = w->step & 1;

	list(w, v, dir, path, plus, &names);
	for (size_t i = 0; i < names.n; i++) {
		const struct df_dirent *d = &names.d[i];

		if (!strcmp(d->name, ".") || !strcmp(d->name, ".."))
			continue;
		for (size_t j = 0; j < i; j++)
			if (!strcmp(names.d[j].name, d->name))
				fail(w, "readdir %s/ has \"%s\" twice", path,
				     d->name);
		read_name(w, v, dir, path, d, plus, out);
	}
	free(names.d);
}

void flat_read(struct world *w, struct node *nd, struct flat *out)
{
	*out = (struct flat){ .v = nd->v };
	node_as(nd);
	read_dir(w, nd->v, DF_ROOT_NID, "", out);
	for (size_t i = 0; i < out->n; i++) {
		char *path;

		if (out->e[i].kind != 'd')
			continue;
		for (size_t j = 0; j < i; j++)
			if (out->e[j].ino == out->e[i].ino)
				fail(w, "directory reached twice: %s and %s",
				     out->e[j].path, out->e[i].path);
		path = copy_text(out->e[i].path); /* out->e may move */
		read_dir(w, nd->v, out->e[i].nid, path, out);
		free(path);
	}
}

void flat_copy(const struct flat *in, struct flat *out)
{
	*out = (struct flat){ 0 };
	for (size_t i = 0; i < in->n; i++)
		ent_copy(add(out), &in->e[i]);
}

void flat_detach(struct flat *f)
{
	for (size_t i = 0; i < f->n; i++) {
		if (f->v && f->e[i].nid)
			df_vol_forget(f->v, f->e[i].nid, 1);
		f->e[i].nid = 0;
	}
	f->v = NULL;
}

void flat_release(struct flat *f)
{
	flat_detach(f);
	for (size_t i = 0; i < f->n; i++)
		ent_release(&f->e[i]);
	free(f->e);
	*f = (struct flat){ 0 };
}

/* ---- editing what is expected */
struct ent *flat_find(const struct flat *f, const char *path)
{
	for (size_t i = 0; i < f->n; i++)
		if (!strcmp(f->e[i].path, path))
			return &f->e[i];
	return NULL;
}

struct ent *flat_by_ino(const struct flat *f, uint64_t ino, size_t from)
{
	for (size_t i = from; i < f->n; i++)
		if (f->e[i].ino == ino)
			return &f->e[i];
	return NULL;
}

void flat_put(struct flat *f, const char *path, const struct ent *e)
{
	struct ent new;

	ent_copy(&new, e);
	free(new.path);
	new.path = copy_text(path);
	flat_del(f, path);
	*add(f) = new;
}

void flat_del(struct flat *f, const char *path)
{
	struct ent *e = flat_find(f, path);

	if (!e)
		return;
	ent_release(e);
	*e = f->e[--f->n];
}

bool path_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	return !strncmp(path, dir, n) && path[n] == '/';
}

bool flat_has_below(const struct flat *f, const char *path)
{
	for (size_t i = 0; i < f->n; i++)
		if (path_below(f->e[i].path, path))
			return true;
	return false;
}

void flat_move(struct flat *f, const char *from, const char *to)
{
	size_t n = strlen(from);

	for (size_t i = 0; i < f->n; i++) {
		struct ent *e = &f->e[i];
		char *path;

		if (strcmp(e->path, from) && !path_below(e->path, from))
			continue;
		path = df_strf("%s%s", to, e->path + n);
		free(e->path);
		e->path = path;
	}
}

void flat_swap(struct flat *f, const char *p, const char *q)
{
	flat_move(f, p, "//swap");
	flat_move(f, q, p);
	flat_move(f, "//swap", q);
}

/* ---- comparing */
static int by_path(const void *a, const void *b)
{
	const struct ent *x = a, *y = b;

	return strcmp(x->path, y->path);
}

static void describe(const struct ent *e, unsigned how, struct df_buf *b)
{
	if (!e) {
		df_buf_put_str(b, "nothing");
		return;
	}
	df_buf_printf(b, "%c %04o \"%s\"", e->kind, e->mode, e->text);
	if (e->xattr[0])
		df_buf_printf(b, " x=%s", e->xattr);
	if (how & CMP_TIMES && e->kind == 'f')
		df_buf_printf(b, " at %.3f", (double)e->mtime_ns / 1e9);
	df_buf_printf(b, " #%llx", (unsigned long long)e->ino);
}

static bool same_ent(const struct ent *a, const struct ent *b, unsigned how)
{
	bool text = a->lost || b->lost || !strcmp(a->text, b->text);

	return a->kind == b->kind && a->mode == b->mode && text &&
	       !strcmp(a->xattr, b->xattr) &&
	       (!(how & CMP_TIMES) || a->mtime_ns == b->mtime_ns);
}

/* The first path of e's object, so that classes of names can be compared
 * between nodes whose inode numbers might differ. */
static const char *class_of(const struct flat *f, const struct ent *e)
{
	return e->kind == 'd' ? e->path : flat_by_ino(f, e->ino, 0)->path;
}

static unsigned compare(const struct flat *a, const struct flat *b,
			unsigned how, struct df_buf *out)
{
	unsigned differ = 0;
	size_t i = 0, j = 0;

	while (i < a->n || j < b->n) {
		const struct ent *x = i < a->n ? &a->e[i] : NULL;
		const struct ent *y = j < b->n ? &b->e[j] : NULL;
		int c = !x ? 1 : !y ? -1 : strcmp(x->path, y->path);

		if (c > 0)
			x = NULL;
		if (c < 0)
			y = NULL;
		i += x != NULL;
		j += y != NULL;
		if (x && y && same_ent(x, y, how) &&
		    (!(how & CMP_LINKS) ||
		     !strcmp(class_of(a, x), class_of(b, y))))
			continue;
		if (differ++ >= 8)
			continue;
		df_buf_printf(out, "\n   %s: ", x ? x->path : y->path);
		describe(x, how, out);
		df_buf_put_str(out, " | ");
		describe(y, how, out);
		if (x && y && same_ent(x, y, how))
			df_buf_printf(out, " (one with %s | %s)",
				      class_of(a, x), class_of(b, y));
	}
	return differ;
}

void flat_trace(struct world *w, const char *head, const struct flat *f)
{
	struct df_buf b;

	df_buf_init(&b, 0);
	for (size_t i = 0; i < f->n; i++) {
		df_buf_reset(&b);
		describe(&f->e[i], CMP_TIMES, &b);
		trace(w, "%s %s: %s nlink %u", head, f->e[i].path,
		      df_buf_cstr(&b), f->e[i].nlink);
	}
	df_buf_release(&b);
}

void flat_same(struct world *w, const struct flat *a, const struct flat *b,
	       unsigned how, const char *what, ...)
{
	struct flat x, y;
	struct df_buf out;
	char head[512];
	va_list ap;

	flat_copy(a, &x);
	flat_copy(b, &y);
	if (x.n)
		qsort(x.e, x.n, sizeof(*x.e), by_path);
	if (y.n)
		qsort(y.e, y.n, sizeof(*y.e), by_path);
	df_buf_init(&out, 0);
	if (compare(&x, &y, how, &out)) {
		flat_trace(w, "left", &x);
		flat_trace(w, "right", &y);
		va_start(ap, what);
		vsnprintf(head, sizeof(head), what, ap);
		va_end(ap);
		fail(w, "%s%s", head, df_buf_cstr(&out));
	}
	df_buf_release(&out);
	flat_release(&x);
	flat_release(&y);
}

void text_tokens(const char *text, struct set *s)
{
	size_t len = strlen(text);

	for (size_t i = 0; i + TOK <= len; i += TOK)
		if (is_token(text + i) && text[i] == 't')
			set_add(s, (size_t)atol(text + i + 1));
}

void flat_tokens(const struct flat *f, struct set *s)
{
	for (size_t i = 0; i < f->n; i++)
		if (f->e[i].kind == 'f')
			text_tokens(f->e[i].text, s);
}

static void check_text_twice(struct world *w, const struct ent *e,
			     const char *at)
{
	size_t len = strlen(e->text);

	for (size_t i = 0; i + TOK <= len; i += TOK)
		for (size_t j = 0; j < i; j += TOK)
			if (e->text[i] == 't' &&
			    !memcmp(e->text + i, e->text + j, TOK))
				fail(w, "a record twice in %s at %s: \"%s\"",
				     e->path, at, e->text);
}

void flat_check_twice(struct world *w, const struct flat *f, const char *at)
{
	for (size_t i = 0; i < f->n; i++)
		if (f->e[i].kind == 'f' && f->e[i].size <= SHOW_MAX)
			check_text_twice(w, &f->e[i], at);
}
