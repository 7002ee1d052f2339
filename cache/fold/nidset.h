/*
 * nidset.h - open-addressed set and map of node numbers: 8 and 16 bytes an
 * entry, for things there may be a million of.  0 is no valid key.
 */
#ifndef DF_CACHE_NIDSET_H
#define DF_CACHE_NIDSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct df_nidset {
	uint64_t *v; /* owned; 0 free, UINT64_MAX deleted */
	size_t n, used, size;
};

void df_nidset_release(struct df_nidset *s);
bool df_nidset_has(const struct df_nidset *s, uint64_t key);
bool df_nidset_add(struct df_nidset *s, uint64_t key); /* true: was not in */
bool df_nidset_del(struct df_nidset *s, uint64_t key); /* true: was in */
/* Any member and take it out; 0 when empty.  *at: where to look first. */
uint64_t df_nidset_pop(struct df_nidset *s, size_t *at);

struct df_nidmap {
	uint64_t (*v)[2]; /* owned: key, value */
	size_t n, used, size;
};

void df_nidmap_release(struct df_nidmap *m);
uint64_t df_nidmap_get(const struct df_nidmap *m, uint64_t key); /* 0: no */
/* value 0 removes */
void df_nidmap_set(struct df_nidmap *m, uint64_t key, uint64_t value);

#endif
