/* named.c - what the scenarios by name share; see sim.h. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "tests/sim/sim.h"

void two(struct world *w)
{
	w->table.everything = true;
	while (w->n_nodes < 2)
		node_new(w);
	for (unsigned i = 0; i < w->n_nodes; i++)
		w->nodes[i]->skew_ms = 0;
}

void meet(struct world *w)
{
	for (unsigned round = 0; round < 3; round++)
		for (unsigned i = 0; i < w->n_nodes; i++) {
			w->now_ms += 2000;
			node_push(w->nodes[i]);
			node_poll(w->nodes[i], true);
		}
}

void agree(struct world *w)
{
	struct node *probe;
	struct flat a, x;

	meet(w);
	flat_read(w, A, &a);
	for (unsigned i = 1; i < w->n_nodes; i++) {
		flat_read(w, w->nodes[i], &x);
		flat_same(w, &a, &x, CMP_SHAPE | CMP_TIMES | CMP_LINKS,
			  "n%u and n%u differ", A->uid, w->nodes[i]->uid);
		flat_release(&x);
	}
	probe = node_probe(w, NULL);
	flat_read(w, probe, &x);
	flat_same(w, &a, &x, CMP_SHAPE | CMP_TIMES | CMP_LINKS,
		  "a new mount differs (n%u | new)", A->uid);
	flat_release(&x);
	node_free(probe);
	flat_release(&a);
}

void shows(struct node *nd, const char *path, const char *text)
{
	struct flat f;
	struct ent *e;

	flat_read(nd->w, nd, &f);
	e = flat_find(&f, path);
	if (text && !e)
		fail(nd->w, "n%u does not show %s", nd->uid, path);
	if (!text && e)
		fail(nd->w, "n%u shows %s", nd->uid, path);
	if (text && strcmp(e->text, text))
		fail(nd->w, "n%u shows %s: \"%s\", not \"%s\"", nd->uid, path,
		     e->text, text);
	flat_release(&f);
}

unsigned names(struct node *nd, const char *prefix, char **text)
{
	struct flat f;
	unsigned n = 0;

	flat_read(nd->w, nd, &f);
	for (size_t i = 0; i < f.n; i++) {
		if (strncmp(f.e[i].path, prefix, strlen(prefix)))
			continue;
		n++;
		if (text) {
			free(*text);
			*text = df_strf("%s", f.e[i].text);
		}
	}
	flat_release(&f);
	return n;
}

char *whole_name(struct node *nd, const char *prefix)
{
	struct flat f;
	char *found = NULL;

	flat_read(nd->w, nd, &f);
	for (size_t i = 0; i < f.n && !found; i++)
		if (!strncmp(f.e[i].path, prefix, strlen(prefix)))
			found = df_strf("%s", f.e[i].path);
	flat_release(&f);
	must(nd->w, found);
	return found;
}
