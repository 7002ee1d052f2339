/* catalog.c - see catalog.h. */
#include "tools/serve/catalog.h"

#include <stdlib.h>
#include <string.h>

struct df_catalog *df_catalog_new(const char *workspace, uint64_t version)
{
	struct df_catalog *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	atomic_init(&c->refs, 1);
	c->version = version;
	df_arena_init(&c->arena, (size_t)64 << 20);
	c->workspace = df_arena_str(&c->arena, workspace);
	if (c->workspace == NULL) {
		df_catalog_put(c);
		return NULL;
	}
	return c;
}

struct df_catalog *df_catalog_get(struct df_catalog *c)
{
	atomic_fetch_add(&c->refs, 1);
	return c;
}

void df_catalog_put(struct df_catalog *c)
{
	if (c == NULL || atomic_fetch_sub(&c->refs, 1) != 1)
		return;
	df_arena_release(&c->arena);
	free(c);
}

const struct df_table *df_catalog_table(const struct df_catalog *c,
					const char *name)
{
	size_t i;

	for (i = 0; i < c->n_tables; i++)
		if (strcmp(c->table[i].name, name) == 0)
			return &c->table[i];
	return NULL;
}

const struct df_index *df_catalog_index(const struct df_catalog *c,
					const char *name)
{
	size_t i;

	for (i = 0; i < c->n_indexes; i++)
		if (strcmp(c->index[i].name, name) == 0)
			return &c->index[i];
	return NULL;
}

int df_table_column(const struct df_table *t, const char *name)
{
	size_t i;

	for (i = 0; i < t->n_cols; i++)
		if (strcmp(t->col[i].name, name) == 0)
			return (int)i;
	return -1;
}
