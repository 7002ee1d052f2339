/*
 * deeds.c - random operations, each with the whole effect it must have: what
 * the node shows afterwards is what it showed before, edited by hand here, and
 * nothing more.  See sim.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/file.h"
#include "tests/sim/sim.h"

#define BIG_SIZE (17 << 20) /* over what is held back */
#define BIG_PIECE (1 << 20)

static const struct df_cred sim_cred = { 1000, 1000, 0 };

/* One operation under way. */
struct deed {
	struct world *w;
	struct node *nd;
	struct flat before; /* holds the lookups */
	struct flat exp;    /* before, edited */
	char *path;         /* owned; what it is about, for messages */
	bool open_end;      /* new conflict names with text `tok` may appear */
	unsigned tok;
};

/* ---- paths */
static const char *base_name(const char *path)
{
	return strrchr(path, '/') + 1;
}

static char *dir_name(const char *path)
{
	return df_strf("%.*s", (int)(strrchr(path, '/') - path), path);
}

/* Node of the directory that path lies in, which is shown before. */
static df_nid parent_of(struct deed *d, const char *path)
{
	char *dir = dir_name(path);
	struct ent *e = *dir ? flat_find(&d->before, dir) : NULL;
	df_nid nid = e ? e->nid : *dir ? 0 : DF_ROOT_NID;

	free(dir);
	if (!nid) /* made or moved by this very deed: cannot be */
		fail(d->w, "no directory of %s", path);
	return nid;
}

static const struct ent *pick(struct deed *d, const char *kinds)
{
	size_t n = 0, k;

	for (size_t i = 0; i < d->before.n; i++)
		n += strchr(kinds, d->before.e[i].kind) != NULL;
	if (!n)
		return NULL;
	k = rng_below(&d->w->rng, (uint32_t)n);
	for (size_t i = 0; i < d->before.n; i++)
		if (strchr(kinds, d->before.e[i].kind) && !k--)
			return &d->before.e[i];
	return NULL;
}

/* Some directory and one of five names; may be there already. */
static char *fresh(struct deed *d)
{
	size_t n = 1, k;
	const char *dir = "";

	for (size_t i = 0; i < d->before.n; i++)
		n += d->before.e[i].kind == 'd';
	k = rng_below(&d->w->rng, (uint32_t)n);
	for (size_t i = 0; k && i < d->before.n; i++)
		if (d->before.e[i].kind == 'd' && !--k)
			dir = d->before.e[i].path;
	return df_strf("%s/%c", dir, "abcde"[rng_below(&d->w->rng, 5)]);
}

/* A file that is there (four times of five), or some fresh name. */
static char *some(struct deed *d)
{
	const struct ent *e = pick(d, "fl");

	return e && rng_chance(&d->w->rng, 80) ? df_strf("%s", e->path)
					       : fresh(d);
}

/* ---- expectations */
static void want(struct deed *d, int got, int wanted, const char *what)
{
	if (got != wanted)
		fail(d->w, "%s %s at n%u: %s instead of %s", what,
		     d->path ? d->path : "", d->nd->uid,
		     got ? df_strerror(got) : "done",
		     wanted ? df_strerror(wanted) : "done");
}

static void release_text(struct deed *d, const char *text)
{
	text_tokens(text, &d->w->released);
}

/* Every name of this object has this text from now on. */
static void exp_text(struct deed *d, uint64_t ino, const char *text)
{
	for (size_t i = 0; i < d->exp.n; i++)
		if (d->exp.e[i].ino == ino && d->exp.e[i].kind == 'f')
			ent_set_text(&d->exp.e[i], text);
}

static void exp_add(struct deed *d, const char *path, char kind, uint32_t mode,
		    uint64_t ino, const char *text)
{
	struct ent e = { .kind = kind, .mode = mode, .ino = ino };

	e.path = df_strf("%s", path);
	e.text = df_strf("%s", text);
	e.xattr = df_strf("%s", "");
	flat_put(&d->exp, path, &e);
	free(e.path);
	free(e.text);
	free(e.xattr);
}

/* A name goes; its tokens with it, if it was the last one shown. */
static void exp_unlink(struct deed *d, const char *path)
{
	struct ent *e = flat_find(&d->exp, path);
	uint64_t ino = e->ino;
	char *text = df_strf("%s", e->kind == 'f' ? e->text : "");

	flat_del(&d->exp, path);
	if (!flat_by_ino(&d->exp, ino, 0))
		release_text(d, text);
	free(text);
}

static void keep_open(struct deed *d, df_nid nid)
{
	if (d->nd->n_opened < MAX_OPENED)
		d->nd->opened[d->nd->n_opened++] = nid;
	else
		df_vol_forget(d->nd->v, nid, 1);
}

/* ---- bytes */
static unsigned some_token(struct deed *d)
{
	d->tok = rng_chance(&d->w->rng, 25) ? 0 : token_new(d->w);
	return d->tok;
}

static void answers_for(struct deed *d)
{
	if (!d->tok)
		return;
	set_add(&d->nd->pending, d->tok);
	trace(d->w, "  t%07u", d->tok);
}

static void put_bytes(struct deed *d, df_nid nid, uint64_t off,
		      const void *data, size_t len, unsigned flags)
{
	int err =
		df_vol_write(d->nd->v, nid, off, data, len, flags, NULL, NULL);

	want(d, err, 0, "write");
}

static void set_size(struct deed *d, df_nid nid, uint64_t size)
{
	struct df_attr in = { .size = size }, out;
	double timeout;

	want(d, df_vol_load(d->nd->v, nid, NULL, NULL), 0, "load");
	want(d, df_vol_setattr(d->nd->v, nid, DF_SET_SIZE, &in, &out, &timeout),
	     0, "truncate");
	if (out.size != size)
		fail(d->w, "truncate %s: size %llu", d->path,
		     (unsigned long long)out.size);
}

int make_file(struct node *nd, df_nid dir, const char *name, int open_flags,
	      mode_t mode, struct df_entry *e)
{
	node_as(nd);
	return df_vol_mknod(nd->v, dir, name, S_IFREG | mode, 0, open_flags,
			    &sim_cred, e);
}

static void deed_create(struct deed *d)
{
	char text[TOK + 1];
	struct df_entry e;
	int err;

	free(d->path);
	d->path = fresh(d);
	err = make_file(d->nd, parent_of(d, d->path), base_name(d->path),
			O_CREAT | O_TRUNC | O_WRONLY, 0644, &e);
	if (flat_find(&d->before, d->path)) {
		want(d, err, -EEXIST, "create");
		return;
	}
	want(d, err, 0, "create");
	token_text(some_token(d), text);
	put_bytes(d, e.nid, 0, text, TOK, 0);
	exp_add(d, d->path, 'f', 0644, e.attr.ino, text);
	answers_for(d);
	if (rng_chance(&d->w->rng, 40))
		keep_open(d, e.nid);
	else
		df_vol_forget(d->nd->v, e.nid, 1);
}

static void deed_write(struct deed *d)
{
	struct ent *e = flat_find(&d->before, d->path);
	char text[TOK + 1];

	if (!e) {
		deed_create(d);
		return;
	}
	if (e->kind != 'f')
		return;
	token_text(some_token(d), text);
	set_size(d, e->nid, 0);
	put_bytes(d, e->nid, 0, text, TOK, 0);
	exp_text(d, e->ino, text);
	release_text(d, e->text);
	answers_for(d);
}

static void deed_append(struct deed *d)
{
	struct ent *e = flat_find(&d->before, d->path);
	char text[TOK + 1], *all;
	struct df_entry made;

	if (e && (e->kind != 'f' || e->lost || e->size > SHOW_MAX - TOK))
		return;
	d->tok = token_new(d->w);
	token_text(d->tok, text);
	answers_for(d);
	if (!e) {
		want(d,
		     make_file(d->nd, parent_of(d, d->path), base_name(d->path),
			       O_CREAT | O_APPEND | O_WRONLY, 0640, &made),
		     0, "create to append");
		put_bytes(d, made.nid, 0, text, TOK, DF_WRITE_APPEND);
		exp_add(d, d->path, 'f', 0640, made.attr.ino, text);
		df_vol_forget(d->nd->v, made.nid, 1);
		return;
	}
	put_bytes(d, e->nid, 0, text, TOK, DF_WRITE_APPEND);
	all = df_strf("%s%s", e->text, text);
	exp_text(d, e->ino, all);
	free(all);
}

/* Overwrite one token in place. */
static void deed_patch(struct deed *d)
{
	struct ent *e = flat_find(&d->before, d->path);
	char text[TOK + 1], *all, old[TOK + 1] = "";
	uint64_t off;

	if (!e || e->kind != 'f' || e->lost || e->size < TOK ||
	    e->size > SHOW_MAX)
		return;
	off = rng_below(&d->w->rng, (uint32_t)(e->size / TOK)) * TOK;
	token_text(some_token(d), text);
	put_bytes(d, e->nid, off, text, TOK, 0);
	memcpy(old, e->text + off, TOK);
	all = df_strf("%s", e->text);
	memcpy(all + off, text, TOK);
	exp_text(d, e->ino, all);
	release_text(d, old);
	answers_for(d);
	free(all);
}

static void deed_truncate(struct deed *d)
{
	struct ent *e = flat_find(&d->before, d->path);
	uint64_t size;
	char *all;

	if (!e || e->kind != 'f' || e->lost || e->size > SHOW_MAX)
		return;
	size = rng_below(&d->w->rng, (uint32_t)(e->size / TOK + 1)) * TOK;
	set_size(d, e->nid, size);
	release_text(d, e->text + size);
	all = df_strf("%.*s", (int)size, e->text);
	exp_text(d, e->ino, all);
	free(all);
}

/* How flat.c shows what deed_big writes. */
static void exp_big(struct ent *e)
{
	struct df_buf b;

	df_buf_init(&b, 0);
	for (int i = 0; i < 16; i++)
		df_buf_put_str(&b, "bigbytes");
	df_buf_printf(&b, " (%u)", BIG_SIZE);
	ent_set_text(e, df_buf_cstr(&b));
	df_buf_release(&b);
}

/* A file that is held back from cuts. */
static void deed_big(struct deed *d)
{
	struct df_entry e;
	char *piece;
	int err;

	if (!d->w->big || d->w->n_big >= 3)
		return;
	free(d->path);
	d->path = fresh(d);
	if (flat_find(&d->before, d->path))
		return;
	d->w->n_big++;
	err = make_file(d->nd, parent_of(d, d->path), base_name(d->path),
			O_CREAT | O_WRONLY, 0644, &e);
	want(d, err, 0, "create");
	piece = malloc(BIG_PIECE);
	if (!piece)
		abort();
	for (size_t i = 0; i < BIG_PIECE; i += TOK)
		memcpy(piece + i, "bigbytes", TOK);
	for (uint64_t off = 0; off < BIG_SIZE; off += BIG_PIECE)
		put_bytes(d, e.nid, off, piece, BIG_PIECE, 0);
	free(piece);
	exp_add(d, d->path, 'f', 0644, e.attr.ino, "");
	exp_big(flat_find(&d->exp, d->path));
	df_vol_forget(d->nd->v, e.nid, 1);
}

static void deed_open(struct deed *d)
{
	const struct ent *e = flat_find(&d->before, d->path);
	struct df_entry entry;

	if (!e || e->kind != 'f')
		return;
	want(d,
	     df_vol_lookup(d->nd->v, parent_of(d, d->path), base_name(d->path),
			   &entry),
	     0, "lookup");
	keep_open(d, entry.nid);
}

static unsigned names_shown(const struct deed *d, uint64_t ino)
{
	unsigned n = 0;

	for (size_t i = 0; i < d->before.n; i++)
		n += d->before.e[i].ino == ino;
	return n;
}

/* One of the open files; one that is hidden somewhere, if there is one. */
static df_nid some_open(struct deed *d, struct df_attr *a)
{
	struct node *nd = d->nd;
	unsigned first = rng_below(&d->w->rng, nd->n_opened);
	double timeout;
	df_nid nid = 0;

	for (unsigned i = nd->n_opened + 1; i--;) {
		nid = nd->opened[(first + i) % nd->n_opened];
		want(d, df_vol_getattr(nd->v, nid, a, &timeout), 0, "fstat");
		if (a->nlink && !names_shown(d, a->ino))
			break;
	}
	return nid;
}

/* Write through a descriptor, wherever its object is by now. */
static void deed_fdwrite(struct deed *d)
{
	struct node *nd = d->nd;
	struct df_attr a;
	struct ent *e;
	char text[TOK + 1];
	unsigned names;
	df_nid nid;

	if (!nd->n_opened)
		return;
	nid = some_open(d, &a);
	names = names_shown(d, a.ino);
	free(d->path);
	d->path = df_strf("#%llx", (unsigned long long)a.ino);
	token_text(some_token(d), text);
	set_size(d, nid, 0);
	put_bytes(d, nid, 0, text, TOK, 0);
	/* without a name it is a file of its own, even if its object is back */
	e = a.nlink ? flat_by_ino(&d->before, a.ino, 0) : NULL;
	if (e) {
		release_text(d, e->text);
		exp_text(d, a.ino, text);
	}
	if (e || a.nlink) /* else unlinked while open: its bytes stay local */
		answers_for(d);
	/* hidden as an equal everywhere: from now on conflict copies; else
	 * the names where it was hidden are the others' alone */
	d->open_end = a.nlink && !names;
	trace(d->w, "  fdwrite: %u names shown, nlink %u", names, a.nlink);
}

/* ---- names and attributes */
static void deed_chmod(struct deed *d)
{
	static const uint32_t modes[] = { 0600, 0755, 0750 };
	const struct ent *e = pick(d, "fd");
	struct df_attr in = { 0 }, out;
	double timeout;

	if (!e)
		return;
	free(d->path);
	d->path = df_strf("%s", e->path);
	in.mode = (e->kind == 'd' ? S_IFDIR : S_IFREG) |
		  modes[rng_below(&d->w->rng, 3)];
	want(d,
	     df_vol_setattr(d->nd->v, e->nid, DF_SET_MODE, &in, &out, &timeout),
	     0, "chmod");
	for (size_t i = 0; i < d->exp.n; i++)
		if (d->exp.e[i].ino == e->ino)
			d->exp.e[i].mode = in.mode & 07777;
}

static void deed_setxattr(struct deed *d)
{
	const struct ent *e = pick(d, "fd");
	char value[TOK + 1];
	int err;

	if (!e)
		return;
	free(d->path);
	d->path = df_strf("%s", e->path);
	if (e->xattr[0] && rng_chance(&d->w->rng, 30)) {
		err = df_vol_removexattr(d->nd->v, e->nid, "user.x");
		want(d, err, 0, "removexattr");
		value[0] = 0;
	} else {
		snprintf(value, sizeof(value), "v%u",
			 rng_below(&d->w->rng, 1000));
		err = df_vol_setxattr(d->nd->v, e->nid, "user.x", value,
				      strlen(value), 0);
		want(d, err, 0, "setxattr");
	}
	for (size_t i = 0; i < d->exp.n; i++)
		if (d->exp.e[i].ino == e->ino)
			ent_set_xattr(&d->exp.e[i], value);
}

static void deed_mkdir(struct deed *d)
{
	struct df_entry e;
	int err;

	free(d->path);
	d->path = fresh(d);
	err = df_vol_mkdir(d->nd->v, parent_of(d, d->path), base_name(d->path),
			   0755, &sim_cred, &e);
	if (flat_find(&d->before, d->path)) {
		want(d, err, -EEXIST, "mkdir");
		return;
	}
	want(d, err, 0, "mkdir");
	exp_add(d, d->path, 'd', 0755, e.attr.ino, "");
	df_vol_forget(d->nd->v, e.nid, 1);
}

static void deed_symlink(struct deed *d)
{
	static const char *const targets[] = { "a", "../b", "nowhere" };
	const char *to = targets[rng_below(&d->w->rng, 3)];
	struct df_entry e;
	int err;

	free(d->path);
	d->path = fresh(d);
	err = df_vol_symlink(d->nd->v, parent_of(d, d->path),
			     base_name(d->path), to, &sim_cred, &e);
	if (flat_find(&d->before, d->path)) {
		want(d, err, -EEXIST, "symlink");
		return;
	}
	want(d, err, 0, "symlink");
	exp_add(d, d->path, 'l', e.attr.mode & 07777, e.attr.ino, to);
	df_vol_forget(d->nd->v, e.nid, 1);
}

static void remove_file(struct deed *d, const char *path)
{
	want(d, df_vol_unlink(d->nd->v, parent_of(d, path), base_name(path)), 0,
	     "unlink");
	exp_unlink(d, path);
}

static void remove_dir(struct deed *d, const char *path)
{
	int err = df_vol_rmdir(d->nd->v, parent_of(d, path), base_name(path));

	if (flat_has_below(&d->exp, path)) {
		want(d, err, -ENOTEMPTY, "rmdir");
		return;
	}
	want(d, err, 0, "rmdir");
	flat_del(&d->exp, path);
}

static void deed_unlink(struct deed *d)
{
	const struct ent *e = flat_find(&d->before, d->path);

	if (e && e->kind != 'd')
		remove_file(d, e->path);
}

static void deed_rmdir(struct deed *d)
{
	const struct ent *e = pick(d, "d");

	if (!e)
		return;
	free(d->path);
	d->path = df_strf("%s", e->path);
	remove_dir(d, e->path);
}

static void deed_rmtree(struct deed *d)
{
	const struct ent *top = pick(d, "d");
	size_t longest;

	if (!top || !rng_chance(&d->w->rng, 40))
		return;
	free(d->path);
	d->path = df_strf("%s", top->path);
	do { /* deepest first: the longest path has nothing below it */
		const struct ent *e = NULL;
		char *path;

		longest = 0;
		for (size_t i = 0; i < d->exp.n; i++) {
			const struct ent *x = &d->exp.e[i];

			if (strlen(x->path) > longest &&
			    (path_below(x->path, d->path) ||
			     !strcmp(x->path, d->path))) {
				longest = strlen(x->path);
				e = x;
			}
		}
		if (!e)
			break;
		path = df_strf("%s", e->path);
		if (e->kind == 'd')
			remove_dir(d, path);
		else
			remove_file(d, path);
		free(path);
	} while (longest);
}

static int rename_to(struct deed *d, const char *to, unsigned flags)
{
	return df_vol_rename(d->nd->v, parent_of(d, d->path),
			     base_name(d->path), parent_of(d, to),
			     base_name(to), flags);
}

static void deed_rename(struct deed *d)
{
	const struct ent *e = flat_find(&d->before, d->path), *there;
	char *to = rng_chance(&d->w->rng, 50) ? some(d) : fresh(d);
	unsigned flags = rng_chance(&d->w->rng, 20) ? RENAME_NOREPLACE : 0;

	there = flat_find(&d->before, to);
	if (!e || e->kind == 'd' ||
	    (there && (there->kind == 'd' || there->ino == e->ino))) {
		free(to);
		return;
	}
	trace(d->w, "  to %s", to);
	if (there && flags) {
		want(d, rename_to(d, to, flags), -EEXIST, "rename");
	} else {
		want(d, rename_to(d, to, flags), 0, "rename");
		if (there)
			exp_unlink(d, to);
		flat_move(&d->exp, d->path, to);
	}
	free(to);
}

static void deed_mvdir(struct deed *d)
{
	const struct ent *e = pick(d, "d"), *there;
	char *to = fresh(d);

	there = flat_find(&d->before, to);
	if (!e || !strcmp(e->path, to))
		goto out;
	free(d->path);
	d->path = df_strf("%s", e->path);
	trace(d->w, "  %s to %s", d->path, to);
	if (path_below(to, d->path)) {
		want(d, rename_to(d, to, 0), -EINVAL, "rename into itself");
	} else if (there && there->kind != 'd') {
		want(d, rename_to(d, to, 0), -ENOTDIR, "rename onto a file");
	} else if (there && flat_has_below(&d->before, to)) {
		want(d, rename_to(d, to, 0), -ENOTEMPTY, "rename onto full");
	} else {
		want(d, rename_to(d, to, 0), 0, "rename");
		flat_del(&d->exp, to);
		flat_move(&d->exp, d->path, to);
	}
out:
	free(to);
}

static void deed_exchange(struct deed *d)
{
	const struct ent *e = pick(d, "dfl"), *o = pick(d, "dfl");

	if (!e || e->ino == o->ino || path_below(e->path, o->path) ||
	    path_below(o->path, e->path))
		return;
	free(d->path);
	d->path = df_strf("%s", e->path);
	trace(d->w, "  %s with %s", d->path, o->path);
	want(d, rename_to(d, o->path, RENAME_EXCHANGE), 0, "exchange");
	flat_swap(&d->exp, d->path, o->path);
}

static void deed_link(struct deed *d)
{
	const struct ent *e = flat_find(&d->before, d->path);
	char *to = fresh(d);
	struct df_entry made;
	int err;

	if (e && e->kind == 'f') {
		trace(d->w, "  to %s", to);
		err = df_vol_link(d->nd->v, e->nid, parent_of(d, to),
				  base_name(to), &made);
		if (flat_find(&d->before, to)) {
			want(d, err, -EEXIST, "link");
		} else {
			want(d, err, 0, "link");
			df_vol_forget(d->nd->v, made.nid, 1);
			flat_put(&d->exp, to, flat_find(&d->exp, d->path));
		}
	}
	free(to);
}

/* ---- one of them.  Weights by profile: everything; directories that move
 * about; names and hard links; appends and rewrites. */
static const struct {
	const char *name;
	void (*run)(struct deed *d);
	unsigned weight[PROFILES];
} deeds[] = {
	{ "create", deed_create, { 2, 1, 2, 2 } },
	{ "write", deed_write, { 2, 1, 1, 3 } },
	{ "append", deed_append, { 3, 1, 1, 5 } },
	{ "patch", deed_patch, { 1, 0, 0, 2 } },
	{ "truncate", deed_truncate, { 1, 0, 0, 1 } },
	{ "mkdir", deed_mkdir, { 2, 4, 1, 1 } },
	{ "unlink", deed_unlink, { 1, 1, 3, 1 } },
	{ "rmdir", deed_rmdir, { 1, 2, 0, 0 } },
	{ "rename", deed_rename, { 2, 1, 2, 1 } },
	{ "mvdir", deed_mvdir, { 2, 6, 0, 1 } },
	{ "link", deed_link, { 1, 0, 4, 0 } },
	{ "chmod", deed_chmod, { 1, 1, 1, 0 } },
	{ "open", deed_open, { 1, 0, 1, 2 } },
	{ "fdwrite", deed_fdwrite, { 1, 0, 1, 3 } },
	{ "rmtree", deed_rmtree, { 1, 1, 1, 0 } },
	{ "symlink", deed_symlink, { 1, 1, 1, 0 } },
	{ "exchange", deed_exchange, { 1, 1, 1, 0 } },
	{ "setxattr", deed_setxattr, { 1, 1, 1, 1 } },
	{ "big", deed_big, { 1, 0, 0, 1 } },
};

/* New names may only be conflict copies that hold what was just written. */
static void allow_copies(struct deed *d, const struct flat *after)
{
	char text[TOK + 1];
	unsigned n = 0;

	token_text(d->tok, text);
	for (size_t i = 0; i < after->n; i++) {
		const struct ent *e = &after->e[i];

		if (flat_find(&d->before, e->path))
			continue;
		if (e->kind != 'f' || strcmp(e->text, text) ||
		    !strstr(e->path, ".conflict-"))
			fail(d->w, "write to a hidden equal at n%u: %s \"%s\"",
			     d->nd->uid, e->path, e->text);
		flat_put(&d->exp, e->path, e);
		n++;
	}
	if (!n)
		fail(d->w, "write to a hidden equal %s at n%u shows nowhere",
		     d->path, d->nd->uid);
	d->w->n_hidden++;
}

static void deed_check(struct deed *d, const char *name)
{
	struct flat after;

	flat_read(d->w, d->nd, &after);
	if (d->w->settle) {
		if (d->open_end)
			allow_copies(d, &after);
		flat_same(d->w, &d->exp, &after, CMP_SHAPE | CMP_LINKS,
			  "local %s %s at n%u did more than asked "
			  "(expected | got)",
			  name, d->path, d->nd->uid);
	}
	flat_check_twice(d->w, &after, name);
	flat_release(&after);
}

void deed_random(struct world *w, struct node *nd)
{
	struct deed d = { .w = w, .nd = nd };
	unsigned sum = 0, x, i;

	for (i = 0; i < DF_ARRAY_LEN(deeds); i++)
		sum += deeds[i].weight[w->profile];
	x = rng_below(&w->rng, sum);
	for (i = 0; x >= deeds[i].weight[w->profile]; i++)
		x -= deeds[i].weight[w->profile];
	node_as(nd);
	flat_read(w, nd, &d.before);
	flat_check_twice(w, &d.before, "before an operation");
	flat_copy(&d.before, &d.exp);
	d.path = some(&d);
	trace(w, "n%u %s %s", nd->uid, deeds[i].name, d.path);
	deeds[i].run(&d);
	deed_check(&d, deeds[i].name);
	flat_release(&d.before);
	flat_release(&d.exp);
	free(d.path);
}
