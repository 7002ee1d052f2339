/*
 * apart.c - what two nodes do to the same things before they hear of each
 * other, and random schedules hit too rarely; see sim.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "tests/sim/sim.h"

/* A new text at path, which nothing may lose from now on. */
static void leave_token(struct node *nd, const char *path)
{
	unsigned tok = token_new(nd->w);
	char text[TOK + 1];

	token_text(tok, text);
	trace(nd->w, "n%u writes %s to %s", nd->uid, text, path);
	do_append(nd, path, text);
	set_add(&nd->pending, tok);
}

/* One of f's files with text and exactly two names, which b shows as well; the
 * other name in *other. */
static const struct ent *two_names(const struct flat *f, const struct flat *b,
				   const struct ent **other)
{
	for (size_t i = 0; i < f->n; i++) {
		const struct ent *e = &f->e[i], *o, *p, *q;

		if (e->kind != 'f' || e->text[0] != 't' ||
		    flat_by_ino(f, e->ino, 0) != e)
			continue;
		o = flat_by_ino(f, e->ino, i + 1);
		if (!o || flat_by_ino(f, e->ino, (size_t)(o - f->e) + 1))
			continue;
		p = flat_find(b, e->path);
		q = flat_find(b, o->path);
		if (!p || !q || p->ino != q->ino)
			continue;
		*other = o;
		return e;
	}
	return NULL;
}

/* b knows what a does, as far as the table takes it. */
static void tell(struct node *a, struct node *b)
{
	struct world *w = a->w;

	for (int i = 0; i < 4; i++) {
		node_cut(a);
		node_send(a);
	}
	w->table.everything = true;
	node_poll(b, true);
	w->table.everything = false;
}

/* Some file with text gets one more name. */
static void link_one(struct node *nd, const struct flat *f)
{
	size_t k = f->n ? rng_below(&nd->w->rng, (uint32_t)f->n) : 0;
	char *to = df_strf("/two%u", ++nd->w->n_made);

	for (size_t i = 0; i < f->n; i++) {
		const struct ent *e = &f->e[(i + k) % f->n];

		if (e->kind == 'f' && e->text[0] == 't') {
			do_link(nd, e->path, to);
			break;
		}
	}
	free(to);
}

/* Each takes one of a file's two names away: neither meant the file. */
static void unlink_apart(struct node *a, struct node *b)
{
	struct flat fa, fb;
	const struct ent *p, *q;

	flat_read(a->w, a, &fa);
	link_one(a, &fa);
	flat_release(&fa);
	tell(a, b);
	flat_read(a->w, a, &fa);
	flat_read(a->w, b, &fb);
	p = two_names(&fa, &fb, &q);
	if (p) {
		do_unlink(a, p->path);
		do_unlink(b, q->path);
		a->w->n_apart++;
	}
	flat_release(&fa);
	flat_release(&fb);
}

/* One of f's directories that b shows too and that has nothing to do with
 * `not`; from the k-th on. */
static const struct ent *some_dir(const struct flat *f, const struct flat *b,
				  const char * not, size_t k)
{
	for (size_t i = 0; i < f->n; i++) {
		const struct ent *e = &f->e[(i + k) % f->n], *o;

		if (e->kind != 'd' ||
		    (not &&(!strcmp(not, e->path) || path_below(not, e->path) ||
			    path_below(e->path, not ))))
			continue;
		o = flat_find(b, e->path);
		if (o && o->kind == 'd')
			return e;
	}
	return NULL;
}

static void move_into(struct node *nd, const struct flat *f, const char *dir,
		      const char *into)
{
	char *to = df_strf("%s/ring", into), *in = df_strf("%s/ring/in", into);
	char *old = df_strf("%s/in", dir);
	const struct ent *e = flat_find(f, old);

	/* others may have moved anything to that name */
	if (!flat_find(f, to) && (!e || e->kind == 'f')) {
		do_rename(nd, dir, to, 0);
		leave_token(nd, in);
		nd->w->n_apart++;
	}
	free(to);
	free(in);
	free(old);
}

/* Each moves one of two directories into the other. */
static void move_apart(struct node *a, struct node *b)
{
	struct flat fa, fb;
	const struct ent *x, *y = NULL;

	tell(a, b);
	flat_read(a->w, a, &fa);
	flat_read(a->w, b, &fb);
	x = fa.n ? some_dir(&fa, &fb, NULL, rng_below(&a->w->rng, 100)) : NULL;
	if (x)
		y = some_dir(&fa, &fb, x->path, rng_below(&a->w->rng, 100));
	if (y) {
		move_into(a, &fa, x->path, y->path);
		move_into(b, &fb, y->path, x->path);
	} else {
		char *path = df_strf("/two%u", ++a->w->n_made);

		do_mkdir(a, path);
		free(path);
	}
	flat_release(&fa);
	flat_release(&fb);
}

void apart_random(struct world *w, struct node *a, struct node *b)
{
	if (a == b)
		return;
	if (rng_chance(&w->rng, 50))
		unlink_apart(a, b);
	else
		move_apart(a, b);
}
