/*
 * stamp.h - stamps (hybrid logical clock), version vectors (merge-rules A).
 * Pure functions; no locks.
 */
#ifndef DF_CACHE_STAMP_H
#define DF_CACHE_STAMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct df_stamp {
	uint64_t time; /* 48 bits of ms since 1970, 16 of counter; < 2^63 */
	uint64_t node;
};

#define DF_TIME_MAX (UINT64_C(1) << 63)
#define DF_STAMP_MS(time) ((int64_t)((time) >> 16))

static inline int df_stamp_cmp(struct df_stamp a, struct df_stamp b)
{
	if (a.time != b.time)
		return a.time < b.time ? -1 : 1;
	return a.node < b.node ? -1 : a.node > b.node;
}
static inline bool df_stamp_eq(struct df_stamp a, struct df_stamp b)
{
	return a.time == b.time && a.node == b.node;
}

/* node -> newest time; sorted by node, no duplicates.  Owned array. */
struct df_vv {
	struct df_stamp *v;
	size_t n;
};

void df_vv_release(struct df_vv *vv);
struct df_vv df_vv_copy(const struct df_vv *vv);
uint64_t df_vv_get(const struct df_vv *vv, uint64_t node); /* 0: absent */
/* Raise an entry to at least time. */
void df_vv_raise(struct df_vv *vv, uint64_t node, uint64_t time);
/* Set an entry, up or down; 0 removes it. */
void df_vv_set(struct df_vv *vv, uint64_t node, uint64_t time);
void df_vv_join(struct df_vv *vv, const struct df_vv *other);
bool df_vv_covers(const struct df_vv *vv, struct df_stamp dot);
bool df_vv_covers_all(const struct df_vv *vv, const struct df_vv *other);
bool df_vv_eq(const struct df_vv *a, const struct df_vv *b);
uint64_t df_vv_max(const struct df_vv *vv); /* greatest time, 0 if empty */

#endif
