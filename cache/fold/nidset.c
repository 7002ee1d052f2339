/* nidset.c - see nidset.h. */
#include "cache/fold/nidset.h"

#include <stdlib.h>

#include "base/mem.h"

#define GONE UINT64_MAX

static size_t slot(uint64_t key, size_t size)
{
	return (size_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> 20) &
	       (size - 1);
}

void df_nidset_release(struct df_nidset *s)
{
	free(s->v);
	*s = (struct df_nidset){ 0 };
}

static bool set_find(const struct df_nidset *s, uint64_t key, size_t *at)
{
	if (!s->size)
		return false;
	size_t i = slot(key, s->size), hole = SIZE_MAX;
	for (; s->v[i]; i = (i + 1) & (s->size - 1)) {
		if (s->v[i] == key) {
			*at = i;
			return true;
		}
		if (s->v[i] == GONE && hole == SIZE_MAX)
			hole = i;
	}
	*at = hole != SIZE_MAX ? hole : i;
	return false;
}

bool df_nidset_has(const struct df_nidset *s, uint64_t key)
{
	size_t at;

	return set_find(s, key, &at);
}

static void set_grow(struct df_nidset *s)
{
	struct df_nidset old = *s;
	size_t size = 16;

	while (size < old.n * 4)
		size *= 2;
	*s = (struct df_nidset){ .size = size };
	s->v = df_xalloc(size * sizeof(*s->v));
	for (size_t i = 0; i < old.size; i++)
		if (old.v[i] && old.v[i] != GONE)
			df_nidset_add(s, old.v[i]);
	free(old.v);
}

bool df_nidset_add(struct df_nidset *s, uint64_t key)
{
	size_t at;

	if (set_find(s, key, &at))
		return false;
	if (s->used * 2 >= s->size) {
		set_grow(s);
		set_find(s, key, &at);
	}
	s->used += s->v[at] == 0;
	s->v[at] = key;
	s->n++;
	return true;
}

bool df_nidset_del(struct df_nidset *s, uint64_t key)
{
	size_t at;

	if (!set_find(s, key, &at))
		return false;
	s->v[at] = GONE;
	s->n--;
	return true;
}

uint64_t df_nidset_pop(struct df_nidset *s, size_t *at)
{
	if (!s->n)
		return 0;
	for (;; (*at)++) {
		if (*at >= s->size)
			*at = 0;
		uint64_t key = s->v[*at];
		if (key && key != GONE) {
			s->v[*at] = GONE;
			s->n--;
			return key;
		}
	}
}

void df_nidmap_release(struct df_nidmap *m)
{
	free(m->v);
	*m = (struct df_nidmap){ 0 };
}

static bool map_find(const struct df_nidmap *m, uint64_t key, size_t *at)
{
	if (!m->size)
		return false;
	size_t i = slot(key, m->size), hole = SIZE_MAX;
	for (; m->v[i][0]; i = (i + 1) & (m->size - 1)) {
		if (m->v[i][0] == key) {
			*at = i;
			return true;
		}
		if (m->v[i][0] == GONE && hole == SIZE_MAX)
			hole = i;
	}
	*at = hole != SIZE_MAX ? hole : i;
	return false;
}

uint64_t df_nidmap_get(const struct df_nidmap *m, uint64_t key)
{
	size_t at;

	return m->n && map_find(m, key, &at) ? m->v[at][1] : 0;
}

static void map_grow(struct df_nidmap *m)
{
	struct df_nidmap old = *m;
	size_t size = 16;

	while (size < old.n * 4)
		size *= 2;
	*m = (struct df_nidmap){ .size = size };
	m->v = df_xalloc(size * sizeof(*m->v));
	for (size_t i = 0; i < old.size; i++)
		if (old.v[i][0] && old.v[i][0] != GONE)
			df_nidmap_set(m, old.v[i][0], old.v[i][1]);
	free(old.v);
}

void df_nidmap_set(struct df_nidmap *m, uint64_t key, uint64_t value)
{
	size_t at;
	bool there = map_find(m, key, &at);

	if (!value) {
		if (there) {
			m->v[at][0] = GONE;
			m->n--;
		}
		return;
	}
	if (!there) {
		if (m->used * 2 >= m->size) {
			map_grow(m);
			map_find(m, key, &at);
		}
		m->used += m->v[at][0] == 0;
		m->v[at][0] = key;
		m->n++;
	}
	m->v[at][1] = value;
}
