/* make.h - from the options of create and run to a sandbox with mounts. */
#ifndef DF_SANDBOX_MAKE_H
#define DF_SANDBOX_MAKE_H

#include "tools/sandbox/args.h"
#include "tools/sandbox/mount.h"

/* The options, read and checked before anything is made. */
struct df_plan {
	const struct df_args *args;
	struct df_mounts mounts;
	struct df_creds creds;
	struct df_pairs env;
	bool have_creds;
};
/* 0 or -errno, logged; release in every case. */
int df_plan_init(struct df_plan *plan, const struct df_args *a);
void df_plan_release(struct df_plan *plan);

/* Make one, with its mounts; on failure it is killed unless --keep. */
int df_make(struct df_prov *p, const struct df_plan *plan, const char *name,
	    struct df_sb **out);

/* Provider of the arguments and the sandbox that arg names (ID, or the ID of
 * "ID:/path"); both NULL on error, which is returned. */
int df_open(const struct df_args *a, const char *what, struct df_prov **p,
	    struct df_sb **sb);
void df_close(struct df_prov *p, struct df_sb *sb);

#endif
