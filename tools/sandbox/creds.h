/* creds.h - the table's credentials, as they go into a sandbox. */
#ifndef DF_SANDBOX_CREDS_H
#define DF_SANDBOX_CREDS_H

#include <stddef.h>

struct df_creds {
	char *text;   /* secret: the body of credentials.json; owned */
	char *server; /* apiUrl; owned */
};

/*
 * From file, or from ~/.deeplake/credentials.json with DEEPLAKE_TOKEN (or
 * DEEPLAKE_API_KEY) on top; and DEEPLAKE_ORG_ID (or ACTIVELOOP_ORG_ID),
 * DEEPLAKE_WORKSPACE_ID (or DEEPLAKE_WORKSPACE) and DEEPLAKE_API_URL, as
 * backend/creds.h has it.  0, or -EACCES, logged: also where others can read
 * the file.
 */
int df_creds_load(const char *file, struct df_creds *c);
/* The same without a word, for what is better with them and goes without. */
int df_creds_load_quiet(const char *file, struct df_creds *c);
/* From the text of such a file: 0, -EINVAL (silent), -ENOMEM. */
int df_creds_parse(const char *text, size_t len, struct df_creds *c);
void df_creds_release(struct df_creds *c); /* wipes */

#endif
