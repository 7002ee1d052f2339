/*
 * token.h - a token of its own for each sandbox, where the server is ours.
 *
 * A server that proves itself a deeplake-serve makes a token from the user's
 * that is no wider than the sandbox's mounts: their workspace, their table if it
 * is one, reading if all are read-only.  Only that one goes inside.  It ends
 * itself when the tool kills the sandbox, and by itself after LIFE days.  Other
 * servers have no such thing: there the user's own token goes inside.
 */
#ifndef DF_SANDBOX_TOKEN_H
#define DF_SANDBOX_TOKEN_H

#include "tools/sandbox/mount.h"

#define DF_TOKEN_LIFE_DAYS 30

/*
 * Credentials for a sandbox with these mounts, lives of timeout_s at a time.
 * 0: *out is what goes inside, *own says whether it is a token of its own; a
 * server that is ours and makes none is an error (logged).
 */
int df_token_make(const struct df_creds *user, const struct df_mounts *m,
		  long timeout_s, struct df_creds *out, bool *own);
/* The one that a sandbox has, for df_token_end; user: NULL = its usual one.
 * -ENOENT (silent): it has none of its own. */
int df_token_of(struct df_prov *p, struct df_sb *sb, const char *user,
		const struct df_creds *mine, struct df_creds *out);
/* It is good for nothing from now on.  Best effort, said when verbose. */
void df_token_end(const struct df_creds *c);

#endif
