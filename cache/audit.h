/*
 * audit.h - debug builds: are the bytes that exist only here counted?
 *
 * Eviction spares a segment for its count of dirty bytes alone (seg.h), and
 * that count is kept by many hands.  This works it out again from all extent
 * maps and aborts where a segment has fewer, or was evicted all the same.
 */
#ifndef DF_CACHE_AUDIT_H
#define DF_CACHE_AUDIT_H

#include "cache/vol.h"

/* Not locked.  Nothing in release builds. */
void df_audit_dirty(struct df_vol *v);

#endif
