/*
 * check.c - what must hold after a cut and at the end of a run; see sim.h.
 *
 * A probe is a mount of its own with an empty disk that sees chosen rows: what
 * it shows is what the table says.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "tests/sim/sim.h"

#define ORDERS 2 /* random orders of arrival tried at each end */

static void trace_past(struct world *w, const struct set *past)
{
	for (size_t i = 0; i < w->table.n_rows; i++) {
		const struct wrow *r = &w->table.row[i];

		if (set_has(past, i))
			trace(w, "  past: row %zu of %04x by n%u, seq %llu%s",
			      i, (unsigned)(r->row.node >> 48), r->by,
			      (unsigned long long)r->row.seq,
			      r->row.kind == DF_ROW_CHECKPOINT ? ", checkpoint"
							       : "");
	}
}

/* Did the writer itself know all of its row's past?  Not when it gave up
 * waiting for a cause that the table had lost for so long (E5). */
static bool had_past(const struct cutrec *c, const struct set *past, size_t row)
{
	for (size_t i = 1; i < past->size; i++)
		if (i != row && set_has(past, i) && !set_has(&c->known, i))
			return false;
	return true;
}

/* Prefix: after this row the table holds exactly what its writer showed. */
void check_prefix(struct world *w, size_t row, const struct cutrec *c)
{
	struct node *as = w->now, *probe;
	struct set past = { 0 };
	struct flat got;

	if (table_past(&w->table, row, &past) && had_past(c, &past, row)) {
		set_add(&past, 0); /* the format row */
		trace_past(w, &past);
		probe = node_probe(w, &past);
		node_poll(probe, true);
		flat_read(w, probe, &got);
		flat_same(w, &c->shown, &got, CMP_SHAPE | CMP_TIMES | CMP_LINKS,
			  "prefix: the table after n%u's cut is not what it "
			  "showed (node | table)",
			  as->uid);
		flat_release(&got);
		node_free(probe);
		w->n_prefix++;
	}
	set_release(&past);
	w->now = as;
}

static void check_nodes(struct world *w, const struct flat *want)
{
	struct node *probe;
	struct flat got;

	for (unsigned i = 1; i < w->n_nodes; i++) {
		flat_read(w, w->nodes[i], &got);
		flat_same(w, want, &got, CMP_SHAPE | CMP_TIMES | CMP_LINKS,
			  "n%u and n%u differ", w->nodes[0]->uid,
			  w->nodes[i]->uid);
		flat_release(&got);
	}
	probe = node_probe(w, NULL);
	node_poll(probe, true);
	w->now_ms += DF_GAP_MS + 1000; /* gives up rows that never were kept */
	node_poll(probe, true);
	flat_read(w, probe, &got);
	flat_same(w, want, &got, CMP_SHAPE | CMP_TIMES | CMP_LINKS,
		  "a new mount differs (n%u | new)", w->nodes[0]->uid);
	flat_release(&got);
	node_free(probe);
	/* and after a restart, from its own disk */
	node_restart(w->nodes[0]);
	flat_read(w, w->nodes[0], &got);
	flat_same(w, want, &got, CMP_SHAPE | CMP_TIMES | CMP_LINKS,
		  "n%u differs after a restart (before | after)",
		  w->nodes[0]->uid);
	flat_release(&got);
}

/* Rows come a few at a time in random order, so far apart that the missing
 * ones are given up: joins commute, so the end is the same. */
static void check_order(struct world *w, const struct flat *want)
{
	const struct table *t = &w->table;
	struct set only = { 0 };
	struct node *probe;
	struct flat got;
	size_t left = 0;

	set_add(&only, 0);
	for (size_t i = 0; i < t->n_rows; i++)
		left += t->row[i].kept && !set_has(&only, i);
	probe = node_probe(w, &only);
	while (left) {
		for (size_t i = 0; i < t->n_rows; i++)
			if (t->row[i].kept && !set_has(&only, i) &&
			    rng_chance(&w->rng, 30)) {
				set_add(&only, i);
				left--;
			}
		node_poll(probe, true);
		w->now_ms += DF_GAP_MS + 1000;
		node_poll(probe, true);
	}
	flat_read(w, probe, &got);
	flat_same(w, want, &got, CMP_SHAPE | CMP_TIMES | CMP_LINKS,
		  "order of arrival matters (n%u | shuffled)",
		  w->nodes[0]->uid);
	flat_release(&got);
	node_free(probe);
	set_release(&only);
	w->n_orders++;
}

/* Promise 6: what a row said that the table acknowledged and never kept may be
 * missing, if its writer is dead and nobody else said it: texts, and the only
 * name of a file whose text another row said. */
static void excuse_lost(struct world *w, const struct flat *want,
			struct set *seen)
{
	const struct table *t = &w->table;

	for (size_t i = 0; i < t->n_rows; i++)
		if (!t->row[i].kept)
			set_join(seen, &t->row[i].fresh);
	for (size_t i = 0; i < t->n_rows; i++)
		for (size_t k = 0; t->row[i].kept && k < seen->size; k++)
			if (set_has(&t->row[i].fresh, k))
				seen->in[k] = 0;
	for (size_t i = 0; i < t->n_rows; i++)
		if (!t->row[i].kept)
			nameless_tokens(w->nodes[0], &t->row[i].row, seen);
	for (size_t i = 0; i < want->n; i++)
		w->n_lost += want->e[i].lost;
}

static void check_lost(struct world *w, const struct flat *want)
{
	struct set posted = { 0 }, seen = { 0 };

	for (size_t i = 0; i < w->table.n_rows; i++)
		if (w->table.row[i].kept)
			set_join(&posted, &w->table.row[i].tokens);
	for (unsigned i = 0; i < w->n_nodes; i++) {
		set_join(&posted, &w->nodes[i]->pending);
		for (struct cutrec *c = w->nodes[i]->cuts; c; c = c->next)
			set_join(&posted, &c->tokens);
	}
	excuse_lost(w, want, &seen);
	flat_tokens(want, &seen);
	for (size_t i = 1; i <= w->n_tokens; i++)
		if (set_has(&posted, i) && !set_has(&seen, i) &&
		    !set_has(&w->released, i)) {
			flat_trace(w, "end", want);
			fail(w, "lost in silence: t%07zu", i);
		}
	set_release(&posted);
	set_release(&seen);
}

static void exchange_all(struct node *a, struct node *b)
{
	struct node *nodes[] = { a, b, a, b };

	for (unsigned i = 0; i < DF_ARRAY_LEN(nodes); i++) {
		a->w->now_ms += 2000;
		node_push(nodes[i]);
		node_poll(nodes[i], true);
	}
}

/* Both, cut off from each other, make "/q": afterwards there is one. */
static void check_one_dir(struct world *w, struct node *a, struct node *b)
{
	struct flat got;
	unsigned n = 0;

	do_mkdir(a, "/q");
	do_mkdir(b, "/q");
	exchange_all(a, b);
	flat_read(w, b, &got);
	for (size_t i = 0; i < got.n; i++)
		n += !strncmp(got.e[i].path, "/q", 2);
	if (n != 1)
		fail(w, "two mkdir of one name make %u directories", n);
	flat_release(&got);
}

static void check_one_log(struct world *w, struct node *a, struct node *b)
{
	struct set toks = { 0 }, seen = { 0 };

	for (int round = 0; round < 2; round++) {
		struct node *nodes[] = { a, b };

		for (int i = 0; i < 2; i++) {
			unsigned tok = token_new(w);
			char text[TOK + 1];

			token_text(tok, text);
			set_add(&toks, tok);
			do_append(nodes[i], "/qlog", text);
		}
		exchange_all(a, b);
		for (int i = 0; i < 2; i++) {
			struct flat got;
			struct ent *e;
			unsigned n = 0;

			flat_read(w, nodes[i], &got);
			for (size_t j = 0; j < got.n; j++)
				n += !strncmp(got.e[j].path, "/qlog", 5);
			e = flat_find(&got, "/qlog");
			if (n != 1 || !e)
				fail(w, "two appends to a name: %u files", n);
			set_release(&seen);
			text_tokens(e->text, &seen);
			if (e->size != (uint64_t)(round + 1) * 2 * TOK)
				fail(w, "appends of two: \"%s\"", e->text);
			for (size_t t = 0; t < toks.size; t++)
				if (set_has(&toks, t) && !set_has(&seen, t))
					fail(w,
					     "append t%07zu is not in "
					     "\"%s\"",
					     t, e->text);
			flat_release(&got);
		}
	}
	set_release(&toks);
	set_release(&seen);
}

static void check_small(struct world *w)
{
	struct node *new = node_probe(w, NULL);

	node_poll(new, true);
	w->now_ms += DF_GAP_MS + 1000;
	node_poll(new, true);
	check_one_dir(w, w->nodes[0], new);
	check_one_log(w, w->nodes[0], new);
	node_free(new);
}

void check_end(struct world *w)
{
	struct flat want;

	flat_read(w, w->nodes[0], &want);
	flat_check_twice(w, &want, "the end");
	for (size_t i = 0; i < want.n; i++)
		w->n_conflicts += strstr(want.e[i].path, ".conflict-") != NULL;
	check_lost(w, &want);
	flat_detach(&want); /* n0 is restarted below */
	check_nodes(w, &want);
	for (int i = 0; i < ORDERS; i++)
		check_order(w, &want);
	flat_release(&want);
	check_small(w);
}
