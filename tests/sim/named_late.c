/*
 * named_late.c - scenarios by name: rows that come late or never; see sim.h.
 */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/file.h"
#include "tests/sim/sim.h"

#define A (w->nodes[0])
#define B (w->nodes[1])

static void two(struct world *w)
{
	w->table.everything = true;
	while (w->n_nodes < 2)
		node_new(w);
	for (unsigned i = 0; i < w->n_nodes; i++)
		w->nodes[i]->skew_ms = 0;
}

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

/* The row with a file's name is acknowledged and never kept, one with its text
 * is, and who wrote them is dead: nobody can show it, and the simulation knows. */
static void run_name_not_kept(struct world *w)
{
	two(w);
	do_create(A, "/g", "");
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

const struct named named_late[] = {
	{ "xattr-before-its-file", run_xattr_before_its_file },
	{ "name-not-kept", run_name_not_kept },
	{ NULL, NULL },
};
