/* e2b_make.h - create and connect, in both versions of the API. */
#ifndef DF_SANDBOX_E2B_MAKE_H
#define DF_SANDBOX_E2B_MAKE_H

#include "tools/sandbox/e2b.h"

/*
 * Every create carries a tag of its own in the metadata.  When the answer is
 * lost, the sandbox is looked for by that tag before another create is sent,
 * and once more at the end: a late one beside it is killed.
 */
int df_e2b_create(struct df_prov *p, const struct df_sb_spec *spec,
		  struct df_sb **out);
/* Resume if paused; the end is only ever moved later. */
int df_e2b_connect(struct df_e2b *e, struct df_sb *sb, long timeout_s,
		   json_t **out);
/* From an answer of the server; only sandboxID must be there. */
int df_e2b_sandbox(const json_t *o, struct df_sb **out);

#endif
