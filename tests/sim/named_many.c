/*
 * named_many.c - one directory made by all: several sandboxes of one job begin
 * with the same mkdir -p, fill it and go down with their last file; see sim.h.
 *
 * Every interleaving is another seed: sim --only one-dir --seeds 300.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/file.h"
#include "tests/sim/sim.h"

#define DEPTH 2
static const char *const dirs[DEPTH] = { "/job", "/job/out" };

/* One sandbox: what it has made so far, and how much it is to make. */
struct worker {
	struct node *nd; /* NULL: it went down */
	unsigned uid, made, most, depth;
};

static char *file_path(const struct worker *k, unsigned i)
{
	return df_strf("%s/n%u-%u", dirs[DEPTH - 1], k->uid, i);
}

static char *file_text(const struct worker *k, unsigned i)
{
	return df_strf("t%03u%04u", k->uid, i);
}

/* mkdir -p: what is there already will do. */
static void make_dir(struct worker *k)
{
	const char *path = dirs[k->depth++];
	df_nid nid = at_path(k->nd, path);

	if (nid)
		let_go(k->nd, nid);
	else
		do_mkdir(k->nd, path);
}

static void make_one(struct worker *k)
{
	char *path = file_path(k, k->made), *text = file_text(k, k->made);

	do_create(k->nd, path, text);
	k->made++;
	free(path);
	free(text);
}

/* All is sent; then it is gone, in good order or not. */
static void go_down(struct world *w, struct worker *k)
{
	node_push(k->nd);
	if (rng_chance(&w->rng, 50))
		node_stop(k->nd);
	node_drop(w, k->nd);
	k->nd = NULL;
}

static void checkpoint(struct node *nd)
{
	int err;

	node_push(nd);
	node_as(nd);
	err = df_step_checkpoint(nd->v);
	if (err && err != -EAGAIN && err != DF_EOFFLINE)
		fail(nd->w, "checkpoint: %s", df_strerror(err));
}

static void one_step(struct world *w, struct worker *k)
{
	unsigned x = rng_below(&w->rng, 100);

	w->now_ms += rng_below(&w->rng, 400);
	if (x < 55)
		for (unsigned n = 1 + rng_below(&w->rng, k->most / 2 + 1);
		     n && k->made < k->most; n--)
			if (k->depth < DEPTH)
				make_dir(k);
			else
				make_one(k);
	else if (x < 72)
		node_cut(k->nd);
	else if (x < 84)
		node_send(k->nd);
	else if (x < 94)
		node_poll(k->nd, rng_chance(&w->rng, 20));
	else if (x < 97)
		node_fold(k->nd);
	else if (x < 98)
		node_restart(k->nd);
	else
		checkpoint(k->nd);
	if (k->made == k->most)
		go_down(w, k);
}

/* Every file of every worker, with its text, and nothing else. */
static void all_there(struct world *w, struct node *nd, const struct worker *k,
		      unsigned n, const char *who)
{
	struct flat f;
	size_t want = DEPTH;

	flat_read(w, nd, &f);
	for (unsigned i = 0; i < n; i++) {
		want += k[i].made;
		for (unsigned j = 0; j < k[i].made; j++) {
			char *path = file_path(&k[i], j);
			char *text = file_text(&k[i], j);
			const struct ent *e = flat_find(&f, path);

			if (!e || strcmp(e->text, text))
				fail(w, "%s: %s is %s", who, path,
				     e ? e->text : "not there");
			free(path);
			free(text);
		}
	}
	if (f.n != want)
		fail(w, "%s: %zu names instead of %zu", who, f.n, want);
	flat_release(&f);
}

static void run_one_dir(struct world *w)
{
	unsigned n = 3 + rng_below(&w->rng, MAX_NODES - 3), left = n;
	/* with the most, registers are too many for a row and go in a pack */
	unsigned most = rng_chance(&w->rng, 20) ? 1500
						: 5 + rng_below(&w->rng, 60);
	struct worker k[MAX_NODES];
	struct node *probe;

	w->table.faults = (struct faults){ 5, 5, 0, 10, false };
	w->unnoted = true;
	for (unsigned i = 0; i < n; i++) {
		k[i] = (struct worker){ .nd = node_new(w), .most = most };
		k[i].uid = k[i].nd->uid;
	}
	probe = node_new(w); /* looks on from the beginning */
	for (w->step = 0; left; w->step++) {
		struct worker *one = &k[rng_below(&w->rng, n)];

		if (one->nd) {
			one_step(w, one);
			left -= !one->nd;
		}
		if (rng_below(&w->rng, 10) == 0)
			node_poll(probe, false);
	}
	w->table.faults = (struct faults){ 0 };
	w->now_ms += 2 * DELAY_MS;
	node_poll(probe, true);
	all_there(w, probe, k, n, "who looked on");
	probe = node_probe(w, NULL);
	node_poll(probe, true);
	all_there(w, probe, k, n, "a new mount");
	node_free(probe);
}

/* Names that were there and are not, for ever: 100 bytes of checkpoint each. */
static void run_removed_names(struct world *w)
{
	enum { N = 2000 };
	char path[32], text[TOK + 1];
	size_t before;

	w->unnoted = true;
	two(w);
	do_mkdir(A, "/d");
	node_push(A);
	for (unsigned i = 0; i < N; i++) {
		snprintf(path, sizeof(path), "/d/result-%06u.json", i);
		token_text(token_new(w), text);
		do_create(A, path, text);
	}
	node_push(A);
	for (unsigned i = 0; i < N; i++) {
		snprintf(path, sizeof(path), "/d/result-%06u.json", i);
		do_unlink(A, path);
	}
	node_push(A);
	before = table_pack_bytes(&w->table);
	node_as(A);
	must_be(w, df_step_checkpoint(A->v), 0, "checkpoint");
	size_t each = (table_pack_bytes(&w->table) - before) / N;
	if (each > 100)
		fail(w, "a removed name costs %zu bytes of checkpoint", each);
}

const struct named named_many[] = {
	{ "one-dir", run_one_dir },
	{ "removed-names", run_removed_names },
	{ NULL, NULL },
};
