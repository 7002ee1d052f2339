/* named_copy.c - scenarios by name: conflict copies; see sim.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "tests/sim/sim.h"

#define C (w->nodes[2])

/* The names of one file that an operation settles together have one stamp, and
 * may have one name: which directory comes first is the ids' business, for
 * numbers differ from node to node. */
#define PAIRS 8
static void make_pairs(struct world *w)
{
	char p[16], q[16];

	two(w);
	for (int i = 0; i < PAIRS; i++) { /* numbered the other way round */
		snprintf(p, sizeof(p), "/p%d", i);
		snprintf(q, sizeof(q), "/q%d", i);
		do_mkdir(A, p);
		do_mkdir(B, q);
	}
	agree(w);
}

static void write_fd(struct node *nd, df_nid nid, const char *text)
{
	node_as(nd);
	must_be(nd->w,
		df_vol_write(nd->v, nid, 0, text, TOK, DF_WRITE_APPEND, NULL,
			     NULL),
		0, "write");
}

/* From the newest checkpoint as from the log. */
static void agree_again(struct world *w)
{
	agree(w);
	node_as(A);
	must_be(w, df_step_checkpoint(A->v), 0, "checkpoint");
	agree(w);
	node_restart(A);
	agree(w);
}

/* Somebody who has heard of nothing takes every name that a copy gets. */
static void run_copy_names_taken(struct world *w)
{
	struct flat f;
	char *at;

	node_new(w);
	node_new(w);
	node_new(w);
	two(w);
	do_create(A, "/f", "t0000001");
	w->now_ms += 1000;
	do_create(B, "/f", "t0000002");
	node_push(B);
	node_poll(A, true);
	for (unsigned i = 0; i < 6; i++) {
		at = NULL;
		flat_read(w, A, &f);
		for (size_t k = 0; k < f.n; k++)
			if (f.e[k].path[2] && strcmp(f.e[k].text, "t0000003"))
				at = df_strf("%s", f.e[k].path);
		flat_release(&f);
		must(w, at); /* the copy: /f has the shortest name */
		do_create(w->nodes[2], at, "t0000003");
		node_push(w->nodes[2]);
		node_poll(A, true);
		free(at);
	}
	agree(w);
	must(w, names(B, "/f", NULL) == 2 + 6);
}

static void run_copy_in_two_dirs(struct world *w)
{
	char p[64], q[64], *copy;

	make_pairs(w);
	for (int i = 0; i < PAIRS; i++) {
		snprintf(p, sizeof(p), "/p%d/x", i);
		snprintf(q, sizeof(q), "/q%d/x", i);
		do_create(A, p, "t0000001");
		do_link(A, p, q);
		w->now_ms += 1000;
		do_create(B, p, "t0000002");
		do_create(B, q, "t0000003");
	}
	agree(w);
	for (int i = 0; i < PAIRS; i++) {
		snprintf(p, sizeof(p), "/p%d/x.conflict-", i);
		copy = whole_name(A, p);
		snprintf(p, sizeof(p), "/p%d/%s", (i + 1) % PAIRS, copy + 4);
		/* all that settles, and its other name, get one stamp */
		do_rename(A, copy, p, 0);
		free(copy);
		meet(w);
		do_append(A, p, "t0000004");
		do_replace(B, p, "t0000005");
		agree(w);
	}
	agree_again(w);
}

/* A look at a copy leaves an object behind, which the fold may have written when
 * the copy becomes real.  Replayed after a crash, that must be sent all the same:
 * its name without its text would be shown by nobody else. */
static void run_copy_looked_at(struct world *w)
{
	char *copy, *text = NULL;
	df_nid nid;

	two(w);
	do_create(A, "/f", "t0000001");
	agree(w);
	do_replace(A, "/f", "t0000002");
	w->now_ms += 1000;
	do_replace(B, "/f", "t0000003");
	agree(w);
	copy = whole_name(A, "/f.conflict-");
	nid = at_path(A, copy);
	node_fold(A);
	do_append(A, "/f", "t0000004"); /* settles: the copy is a file now */
	let_go(A, nid);
	node_restart(A);
	agree(w);
	shows(B, "/f", "t0000003t0000004");
	must(w, names(B, "/f.conflict-", &text) == 1);
	must(w, !strcmp(text, "t0000002"));
	free(copy);
	free(text);
}

/* A copy is written to after its author has replaced that text, so that no name
 * shows it; then somebody's row makes it real, who had not heard of that.  What
 * was looked at is a file with that text from then on, here as elsewhere. */
static void run_copy_written_unseen(struct world *w)
{
	struct node *c;
	char *copy;
	df_nid nid;

	two(w);
	c = node_new(w);
	two(w);
	do_create(A, "/f", "t0000001");
	agree(w);
	do_replace(B, "/f", "t0000002");
	w->now_ms += 1000;
	do_replace(A, "/f", "t0000003");
	node_push(A);
	node_push(B);
	node_poll(A, true);
	node_poll(c, true);
	copy = whole_name(A, "/f.conflict-");
	nid = at_path(A, copy);
	do_append(c, "/f", "t0000004"); /* settles */
	do_replace(B, "/f", "t0000005");
	node_push(B);
	node_poll(A, true);
	shows(A, copy, NULL);
	write_fd(A, nid, "t0000006");
	agree(w);
	shows(c, copy, "t0000002t0000006");
	do_rename(c, copy, "/g", 0);
	agree(w);
	shows(A, "/g", "t0000002t0000006");
	let_go(A, nid);
	free(copy);
}

/* ... and not if a copy was made real in it, whose removal must be told. */
static void run_copy_in_unsent_dir(struct world *w)
{
	char *copy, *below;

	two(w);
	do_create(A, "/f", "t0000001");
	agree(w);
	do_replace(B, "/f", "t0000002");
	w->now_ms += 1000;
	do_replace(A, "/f", "t0000003");
	node_push(A);
	node_push(B);
	do_mkdir(A, "/d");
	do_rename(A, "/f", "/d/f", 0);
	node_poll(A, true);
	node_poll(B, true);
	copy = whole_name(B, "/f.conflict-");
	below = df_strf("/d%s", copy);
	do_append(B, "/f", "t0000004"); /* settles: here it is real too */
	w->now_ms += 1000;
	do_unlink(A, below);
	do_unlink(A, "/d/f");
	node_fold(A); /* nothing keeps the directory any more */
	do_rmdir(A, "/d");
	agree(w);
	shows(A, copy, "t0000002"); /* B's name for it nobody removed */
	free(copy);
	free(below);
}

static void run_revived_in_two_dirs(struct world *w)
{
	char p[64], q[64];
	df_nid nid[PAIRS];

	make_pairs(w);
	for (int i = 0; i < PAIRS; i++) {
		snprintf(p, sizeof(p), "/p%d/x", i);
		snprintf(q, sizeof(q), "/q%d/x", i);
		do_create(B, p, "");
		do_link(B, p, q);
		nid[i] = at_path(B, p);
		w->now_ms += 1000;
		do_create(A, p, "");
		do_link(A, p, q);
	}
	agree(w); /* B's are hidden equals */
	for (int i = 0; i < PAIRS; i++) {
		snprintf(p, sizeof(p), "/p%d/x", i);
		snprintf(q, sizeof(q), "/q%d/x", i);
		do_unlink(A, p); /* and both hidden names go at once */
		do_unlink(A, q);
		write_fd(B, nid[i], "t0000006");
		let_go(B, nid[i]);
	}
	agree_again(w);
	must(w, names(A, "/p", NULL) + names(A, "/q", NULL) >= 3 * PAIRS);
}

static void three(struct world *w)
{
	while (w->n_nodes < 3)
		node_new(w);
	two(w);
	do_create(A, "/f", "t0000001");
	agree(w);
}

/* An open copy, to whose text more was appended elsewhere: it is shown under
 * another name, by another object, and a write goes where the descriptor is. */
static void run_copy_grew(struct world *w)
{
	char *copy;
	df_nid nid;

	three(w);
	do_append(B, "/f", "t0000002");
	w->now_ms += 1000;
	do_append(C, "/f", "t0000003");
	w->now_ms += 1000;
	do_replace(A, "/f", "t0000004");
	node_push(B);
	node_poll(A, true);
	copy = whole_name(A, "/f.conflict-");
	shows(A, copy, "t0000001t0000002");
	nid = at_path(A, copy);
	node_push(C);
	node_poll(A, true);
	shows(A, copy, NULL);
	write_fd(A, nid, "t0000005");
	shows(A, copy, "t0000001t0000002t0000005");
	must(w, names(A, "/f.conflict-", NULL) == 2);
	let_go(A, nid);
	agree_again(w);
	shows(C, copy, "t0000001t0000002t0000005");
	shows(C, "/f", "t0000004");
	must(w, names(C, "/f", NULL) == 3);
	free(copy);
}

/* An open copy whose file is hidden since, with all its texts. */
static void run_copy_hidden(struct world *w)
{
	char *copy;
	df_nid nid;

	three(w);
	do_replace(C, "/f", "same0000");
	w->now_ms += 1000;
	do_replace(B, "/f", "t0000002");
	node_push(C);
	node_push(B);
	node_poll(A, true);
	copy = whole_name(A, "/f.conflict-");
	nid = at_path(A, copy);
	free(copy);
	do_rename(C, "/f", "/g", 0);
	w->now_ms += 1000;
	do_replace(B, "/f", "same0000");
	do_create(B, "/g", "same0000"); /* newer */
	node_push(C);
	node_push(B);
	node_poll(A, true);
	must(w, names(A, "/", NULL) == 1);
	node_fold(A);
	write_fd(A, nid, "t0000003");
	copy = whole_name(A, "/g.conflict-");
	shows(A, copy, "same0000t0000003");
	must(w, names(A, "/", NULL) == 2);
	let_go(A, nid);
	node_restart(A);
	agree_again(w);
	shows(C, copy, "same0000t0000003");
	shows(C, "/g", "same0000");
	must(w, names(C, "/", NULL) == 2);
	free(copy);
}

/* An open copy whose file was unlinked by all who knew one of its texts: it has
 * no name to be linked from or written to, and fstat(2) says so. */
static void run_copy_unlinked(struct world *w)
{
	struct df_entry e;
	struct df_attr a;
	double timeout;
	char *copy;
	df_nid nid;

	three(w);
	do_replace(B, "/f", "t0000002");
	do_replace(C, "/f", "t0000003");
	node_push(B);
	node_push(C);
	node_poll(A, true);
	copy = whole_name(A, "/f.conflict-");
	nid = at_path(A, copy);
	do_unlink(B, "/f");
	do_unlink(C, "/f");
	node_push(B);
	node_push(C);
	node_poll(A, true);
	must(w, names(A, "/", NULL) == 0);
	node_as(A);
	must_be(w, df_vol_getattr(A->v, nid, &a, &timeout), 0, "fstat");
	must(w, a.nlink == 0);
	must_be(w, df_vol_link(A->v, nid, DF_ROOT_NID, "g", &e), -ENOENT,
		"link");
	write_fd(A, nid, "t0000004");
	let_go(A, nid);
	agree_again(w);
	must(w, names(C, "/", NULL) == 0);
	free(copy);
}

const struct named named_copy[] = {
	{ "copy-names-taken", run_copy_names_taken },
	{ "copy-in-two-dirs", run_copy_in_two_dirs },
	{ "copy-looked-at", run_copy_looked_at },
	{ "copy-written-unseen", run_copy_written_unseen },
	{ "copy-in-unsent-dir", run_copy_in_unsent_dir },
	{ "revived-in-two-dirs", run_revived_in_two_dirs },
	{ "copy-grew", run_copy_grew },
	{ "copy-hidden", run_copy_hidden },
	{ "copy-unlinked", run_copy_unlinked },
	{ NULL, NULL },
};
