/*
 * named_late.c - scenarios by name: rows that come late or never; see sim.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "tests/sim/sim.h"

/* A row with only an attribute of a file came, and those that tell what it is
 * of are late: a start must not forget it. */
static void run_xattr_before_its_file(struct world *w)
{
	struct set only = { 0 };
	struct node *late;
	struct flat a, x;

	two(w);
	do_create(A, "/f", "t0000001");
	node_push(A);
	do_setxattr(A, "/f", "one");
	node_push(A);
	set_add(&only, 0);
	set_add(&only, w->table.n_rows - 1);
	late = node_probe(w, &only);
	w->now_ms += 2 * 60000; /* long enough to do without the first */
	node_poll(late, true);
	node_poll(late, true);
	node_kill(late);
	node_open(late, NULL);
	node_poll(late, true);
	flat_read(w, A, &a);
	flat_read(w, late, &x);
	flat_same(w, &a, &x, CMP_SHAPE, "the late one differs (n%u | late)",
		  A->uid);
	flat_release(&a);
	flat_release(&x);
	node_free(late);
	set_release(&only);
}

static void name_not_kept(struct world *w, const char *text)
{
	two(w);
	do_create(A, "/g", text);
	w->table.faults.not_kept = 100;
	node_push(A);
	w->table.faults.not_kept = 0;
	w->n_tokens = 2;
	do_append(A, "/g", "t0000002");
	node_push(A);
	node_drop(w, A);
	world_quiesce(w);
	must(w, !at_path(A, "/g")); /* that was B */
	check_end(w);
}

/* The row with a file's name is acknowledged and never kept, one with its text
 * is, and who wrote them is dead: nobody can show it, and the simulation knows. */
static void run_name_not_kept(struct world *w)
{
	name_not_kept(w, "");
}

/* ... nor if the first bytes of that text are lost with the name. */
static void run_name_and_bytes_not_kept(struct world *w)
{
	name_not_kept(w, "same0000");
}

static int rename_unseen(struct node *nd, const char *from, const char *to)
{
	nd->w->table.faults.not_kept = 100;
	do_rename(nd, from, to, 0);
	node_push(nd);
	nd->w->table.faults.not_kept = 0;
	node_as(nd);
	return df_step_checkpoint(nd->v);
}

/* A row was acknowledged and never kept, and its writer makes a checkpoint: who
 * folds it would know of a name that nobody else ever hears of.  It waits until
 * the row is sent again; if the writer dies first, there is none. */
static void run_checkpoint_of_unseen(struct world *w)
{
	df_nid nid;

	two(w);
	do_create(A, "/f", "t0000001");
	w->n_tokens = 1;
	world_quiesce(w);
	must_be(w, rename_unseen(A, "/f", "/g"), -EAGAIN, "checkpoint");
	w->now_ms += 16000; /* it is sent again after 15 s */
	node_poll(A, true);
	node_push(A);
	must_be(w, df_step_checkpoint(A->v), 0, "checkpoint");
	world_quiesce(w);
	must_be(w, rename_unseen(A, "/g", "/h"), -EAGAIN, "checkpoint");
	node_drop(w, A);
	world_quiesce(w);
	nid = at_path(A, "/g"); /* that was B */
	must(w, nid);
	let_go(A, nid);
	check_end(w);
}

/* A row whose `sent` is older than what B has folded: polls pass it by.  Then B
 * sees a checkpoint that covers it. */
static struct node *row_passed_by(struct world *w)
{
	struct node *late;

	two(w);
	late = node_new(w);
	late->skew_ms = 0;
	A->skew_ms = 400000; /* its rows are a minute ahead */
	node_poll(A, true);
	do_create(A, "/f", "t0000001");
	do_create(late, "/late", "t0000002");
	w->n_tokens = 2;
	node_poll(late, true); /* so that sending does not look once more */
	node_push(A);
	node_poll(A, true);
	node_poll(B, false);
	node_push(late);
	w->now_ms += 40000;
	node_poll(A, true);
	node_as(A);
	must_be(w, df_step_checkpoint(A->v), 0, "checkpoint");
	node_poll(B, false);
	shows(B, "/late", NULL);
	return late;
}

/* The next look at the table lists what the checkpoint waits for. */
static void run_checkpoint_before_its_row(struct world *w)
{
	row_passed_by(w);
	w->now_ms += 1000;
	node_poll(B, false);
	shows(B, "/late", "t0000002");
	agree(w);
	check_end(w);
}

/* A day later the row is deleted, by a node whose new checkpoint nobody ever
 * sees; the old one does not count as known where the row is missing. */
static void run_checkpoint_outlives_its_row(struct world *w)
{
	node_drop(w, row_passed_by(w));
	w->now_ms += 2 * DF_DAY_MS;
	node_poll(A, true);
	w->table.faults.not_kept = 100;
	node_as(A);
	must_be(w, df_step_checkpoint(A->v), 0, "checkpoint");
	must(w, w->n_deleted);
	world_quiesce(w);
	shows(B, "/late", "t0000002");
	check_end(w);
}

/* A new name of a log came, the row that made it did not: appending to the old
 * name makes another file, for this one is known. */
static void run_log_known_by_name(struct world *w)
{
	struct set only = { 0 };
	struct node *late;
	df_nid nid;

	two(w);
	do_append(A, "/d", "t0000001");
	node_push(A);
	do_rename(A, "/d", "/c", 0);
	node_push(A);
	set_add(&only, 0);
	set_add(&only, w->table.n_rows - 1);
	late = node_probe(w, &only);
	w->now_ms += 2 * 60000; /* long enough to do without the first */
	node_poll(late, true);
	node_poll(late, true);
	do_append(late, "/d", "t0000002");
	must(w, !at_path(late, "/c"));
	nid = at_path(late, "/d");
	must(w, nid);
	let_go(late, nid);
	node_free(late);
	set_release(&only);
}

/* A lookup of the one conflict copy there is. */
static df_nid at_copy(struct node *nd)
{
	struct flat f;
	df_nid nid = 0;

	flat_read(nd->w, nd, &f);
	for (size_t i = 0; i < f.n; i++)
		if (strstr(f.e[i].path, ".conflict-"))
			nid = at_path(nd, f.e[i].path);
	flat_release(&f);
	must(nd->w, nid);
	return nid;
}

/* Who looks at a copy shows it with its file's attributes; who settled it gave it
 * those of then.  What was written to it keeps its text here until that comes,
 * not the mode that was borrowed, which may be the newer one. */
static void run_copy_mode_borrowed(struct world *w)
{
	struct df_attr in = { .mode = S_IFREG | 0600 }, out;
	struct node *c;
	double timeout;
	df_nid nid;

	two(w);
	c = node_new(w);
	two(w);
	do_create(A, "/f", "t0000001");
	world_quiesce(w);
	do_replace(B, "/f", "t0000002");
	w->now_ms += 1000;
	do_replace(A, "/f", "t0000003");
	node_push(A);
	node_push(B);
	node_poll(c, true);
	do_append(c, "/f", "t0000004"); /* settles */
	w->now_ms += 1000;
	nid = at_path(B, "/f"); /* B has heard of neither */
	must_be(w, df_vol_setattr(B->v, nid, DF_SET_MODE, &in, &out, &timeout),
		0, "chmod");
	let_go(B, nid);
	node_push(B);
	node_poll(A, true);
	nid = at_copy(A);
	do_replace(B, "/f", "t0000005");
	node_push(B);
	node_poll(A, true);
	node_as(A);
	must_be(w, df_vol_write(A->v, nid, 0, "t0000006", TOK, 0, NULL, NULL),
		0, "write");
	world_quiesce(w);
	let_go(A, nid);
	check_end(w);
}

/* /h is new, /g a new name of /f, and more than a row holds. */
static void make_big_row(struct world *w)
{
	char path[16], target[DF_SYMLINK_MAX + 1];

	two(w);
	do_create(A, "/f", "t0000001");
	world_quiesce(w);
	do_link(A, "/f", "/g");
	do_create(A, "/h", "t0000002");
	for (int i = 0; i < 64; i++) {
		for (size_t k = 0; k < 4000; k += 16)
			snprintf(target + k, 17, "%016llx",
				 (unsigned long long)rng_next(&w->rng));
		snprintf(path, sizeof(path), "/s%d", i);
		do_symlink(A, path, target);
	}
}

static void forget_row(struct world *w)
{
	evict_all(A);
	node_restart(A);
	world_quiesce(w);
	must(w, !at_path(B, "/g") && !at_path(B, "/h"));
	check_end(w);
}

/* A row too big to travel whole, whose registers this disk lacks after a crash:
 * which they were cannot be said, so that what goes now is told, all of it ... */
static void run_row_forgotten(struct world *w)
{
	make_big_row(w);
	node_cut(A);
	node_send(A);
	do_unlink(A, "/g");
	do_unlink(A, "/h");
	forget_row(w);
}

static void unlink_both(struct world *w)
{
	w->table.on_pack = NULL; /* once */
	do_unlink(A, "/g");
	do_unlink(A, "/h");
}

/* ... and what went while its packs were sent, before it was noted ... */
static void run_row_forgotten_late(struct world *w)
{
	make_big_row(w);
	w->unnoted = true; /* the cut shows what was there when it began */
	w->table.on_pack = unlink_both;
	node_cut(A);
	must(w, !w->table.on_pack);
	forget_row(w);
}

static void fold_and_unlink(struct node *nd, bool copied)
{
	if (copied)
		return;
	node_fold(nd);
	do_unlink(nd, "/g");
	do_unlink(nd, "/h");
}

/* ... even if the fold was written before all that it took was copied. */
static void run_row_forgotten_folded(struct world *w)
{
	make_big_row(w);
	must_be(w, cut_around(A, fold_and_unlink), 1, "cut");
	forget_row(w);
}

static void grow(struct node *nd, bool copied)
{
	if (copied)
		do_append(nd, "/f", "t0000002");
}

/* A file grows while its first bytes leave.  The fold on the disk says that they
 * are nowhere else, and after a crash the journal cannot tell which of them the
 * noted row has: the cache keeps them until the fold knows. */
static void run_sent_not_folded(struct world *w)
{
	two(w);
	do_create(A, "/f", "t0000001");
	node_restart(A); /* its segment is none that is written to */
	node_fold(A);
	must_be(w, cut_around(A, grow), 1, "cut");
	evict_all(A);
	node_restart(A);
	world_quiesce(w);
	check_end(w);
}

/* A feed brings a row once.  One whose cause the server lost (a backup was
 * restored) is shown after a minute all the same, and a restart meanwhile does
 * not forget it. */
static void run_cause_lost_in_a_feed(struct world *w)
{
	struct node *c, *d;
	size_t cause;

	w->table.ours = true;
	two(w);
	for (unsigned i = 0; i < w->n_nodes; i++)
		node_restart(w->nodes[i]);
	c = node_probe(w, NULL);
	d = node_probe(w, NULL);
	do_create(A, "/f", "t0000001");
	cause = w->table.n_rows;
	node_push(A);
	node_poll(B, false);
	do_create(B, "/g", "t0000002");
	table_lose(w, cause);
	node_push(B);
	node_poll(c, false);
	node_poll(d, false);
	node_kill(d);
	node_open(d, NULL);
	node_poll(d, false);
	must(w, !at_path(c, "/g") && !at_path(d, "/g"));
	w->now_ms += 61000;
	for (unsigned i = 0; i < 2; i++) {
		node_poll(c, false);
		node_poll(d, false);
	}
	must(w, at_path(c, "/g"));
	must(w, at_path(d, "/g"));
	must(w, !at_path(c, "/f") && !at_path(d, "/f"));
	node_free(c);
	node_free(d);
}

/* More rows wait for a cause than a node keeps in memory: what it left out, which
 * the feed does not bring again, comes by a listing. */
static void run_many_wait(struct world *w)
{
	uint64_t data[3800];
	char path[16];
	struct node *c;
	size_t cause;

	w->table.ours = w->unnoted = true;
	two(w);
	for (unsigned i = 0; i < w->n_nodes; i++)
		node_restart(w->nodes[i]);
	c = node_probe(w, NULL);
	do_create(A, "/f", "t0000001");
	cause = w->table.n_rows;
	node_push(A);
	node_poll(B, false);
	table_lose(w, cause);
	for (unsigned i = 0; i < 600; i++) {
		for (size_t k = 0; k < DF_ARRAY_LEN(data); k++)
			data[k] = rng_next(&w->rng);
		snprintf(path, sizeof(path), "/g%u", i);
		do_create(B, path, "");
		do_write(B, path, 0, data, sizeof(data));
		node_push(B);
	}
	for (unsigned i = 0; i < 9; i++) /* 64 pages of one poll */
		node_poll(c, false);
	must(w, !at_path(c, "/g0"));
	w->now_ms += 61000;
	node_poll(c, false);
	must(w, at_path(c, "/g0"));
	node_poll(c, true);
	must(w, at_path(c, "/g599"));
	node_free(c);
}

const struct named named_late[] = {
	{ "xattr-before-its-file", run_xattr_before_its_file },
	{ "name-not-kept", run_name_not_kept },
	{ "name-and-bytes-not-kept", run_name_and_bytes_not_kept },
	{ "checkpoint-of-unseen", run_checkpoint_of_unseen },
	{ "checkpoint-before-its-row", run_checkpoint_before_its_row },
	{ "checkpoint-outlives-its-row", run_checkpoint_outlives_its_row },
	{ "log-known-by-name", run_log_known_by_name },
	{ "copy-mode-borrowed", run_copy_mode_borrowed },
	{ "row-forgotten", run_row_forgotten },
	{ "row-forgotten-late", run_row_forgotten_late },
	{ "row-forgotten-folded", run_row_forgotten_folded },
	{ "sent-not-folded", run_sent_not_folded },
	{ "cause-lost-in-a-feed", run_cause_lost_in_a_feed },
	{ "many-wait", run_many_wait },
	{ NULL, NULL },
};
