/* named.c - what the scenarios by name share; see sim.h. */
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
