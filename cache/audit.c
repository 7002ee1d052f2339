/* audit.c - see audit.h. */
#include "cache/audit.h"

#ifndef NDEBUG
#include <stdlib.h>

struct sum {
	uint32_t seg;
	int64_t bytes;
};

struct audit {
	struct sum *v;
	size_t n, size;
};

static void add(struct audit *a, const struct df_ext *e)
{
	if (df_ext_remote(e) || !e->loc.seg || e->loc.seg == UINT32_MAX)
		return;
	for (size_t i = a->n; i-- > 0;)
		if (a->v[i].seg == e->loc.seg) {
			a->v[i].bytes += e->len;
			return;
		}
	DF_GROW(a->v, a->n, a->size);
	a->v[a->n++] = (struct sum){ e->loc.seg, e->len };
}

static int add_obj(void *arg, struct df_obj *o)
{
	for (uint32_t i = 0; i < o->heads.n; i++) {
		const struct df_extmap *m = &o->heads.v[i]->ext;
		for (struct df_extpos p = { 0, 0 }; df_extmap_at(m, p);
		     p = df_extmap_next(m, p))
			add(arg, df_extmap_at(m, p));
	}
	return 0;
}

void df_audit_dirty(struct df_vol *v)
{
	struct audit a = { 0 };

	df_lock(&v->lock);
	int err = df_fold_each_flagged(v->fold, add_obj, &a);
	for (size_t i = 0; i < a.n && !err; i++) {
		if (df_seg_counts(v->segs, a.v[i].seg, a.v[i].bytes))
			continue;
		df_log_error("segment %08x: %lld bytes that are nowhere else "
			     "are not counted",
			     a.v[i].seg, (long long)a.v[i].bytes);
		abort();
	}
	df_unlock(&v->lock);
	free(a.v);
}
#else
void df_audit_dirty(struct df_vol *v)
{
	(void)v;
}
#endif
