/* stamp.c - see stamp.h. */
#include "cache/registers/stamp.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

void df_vv_release(struct df_vv *vv)
{
	free(vv->v);
	*vv = (struct df_vv){ 0 };
}

struct df_vv df_vv_copy(const struct df_vv *vv)
{
	return (struct df_vv){ df_xdup(vv->v, vv->n * sizeof(*vv->v)), vv->n };
}

/* Index of the first entry whose node is >= node. */
static size_t vv_find(const struct df_vv *vv, uint64_t node)
{
	size_t lo = 0, hi = vv->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (vv->v[mid].node < node)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

uint64_t df_vv_get(const struct df_vv *vv, uint64_t node)
{
	size_t i = vv_find(vv, node);

	return i < vv->n && vv->v[i].node == node ? vv->v[i].time : 0;
}

void df_vv_set(struct df_vv *vv, uint64_t node, uint64_t time)
{
	size_t i = vv_find(vv, node);
	bool there = i < vv->n && vv->v[i].node == node;

	if (there && time) {
		vv->v[i].time = time;
	} else if (there) {
		memmove(vv->v + i, vv->v + i + 1,
			(vv->n - i - 1) * sizeof(*vv->v));
		vv->n--;
	} else if (time) {
		vv->v = df_xrealloc(vv->v, vv->n + 1, sizeof(*vv->v));
		memmove(vv->v + i + 1, vv->v + i, (vv->n - i) * sizeof(*vv->v));
		vv->v[i] = (struct df_stamp){ time, node };
		vv->n++;
	}
}

void df_vv_raise(struct df_vv *vv, uint64_t node, uint64_t time)
{
	if (df_vv_get(vv, node) < time)
		df_vv_set(vv, node, time);
}

void df_vv_join(struct df_vv *vv, const struct df_vv *other)
{
	struct df_stamp *out;
	size_t i = 0, k = 0, n = 0;

	if (!other->n || df_vv_covers_all(vv, other))
		return;
	out = df_xrealloc(NULL, vv->n + other->n, sizeof(*out));
	while (i < vv->n || k < other->n) {
		if (k == other->n ||
		    (i < vv->n && vv->v[i].node < other->v[k].node)) {
			out[n++] = vv->v[i++];
		} else if (i == vv->n || other->v[k].node < vv->v[i].node) {
			out[n++] = other->v[k++];
		} else {
			out[n] = vv->v[i++];
			out[n].time = DF_MAX(out[n].time, other->v[k].time);
			n++;
			k++;
		}
	}
	free(vv->v);
	vv->v = out;
	vv->n = n;
}

bool df_vv_covers(const struct df_vv *vv, struct df_stamp dot)
{
	return df_vv_get(vv, dot.node) >= dot.time;
}

bool df_vv_covers_all(const struct df_vv *vv, const struct df_vv *other)
{
	for (size_t i = 0; i < other->n; i++)
		if (!df_vv_covers(vv, other->v[i]))
			return false;
	return true;
}

bool df_vv_eq(const struct df_vv *a, const struct df_vv *b)
{
	return a->n == b->n &&
	       (!a->n || memcmp(a->v, b->v, a->n * sizeof(*a->v)) == 0);
}

uint64_t df_vv_max(const struct df_vv *vv)
{
	uint64_t max = 0;

	for (size_t i = 0; i < vv->n; i++)
		max = DF_MAX(max, vv->v[i].time);
	return max;
}
