/*
 * creds.h - who we are for the table API.
 *
 * For each field: the environment, then the credentials file, then a default.
 *
 *	token      DEEPLAKE_TOKEN, DEEPLAKE_API_KEY            "token"
 *	org        DEEPLAKE_ORG_ID, ACTIVELOOP_ORG_ID          "orgId"
 *	workspace  DEEPLAKE_WORKSPACE_ID, DEEPLAKE_WORKSPACE   "workspaceId"
 *	api_url    DEEPLAKE_API_URL                            "apiUrl"
 *
 * An organization that nobody names is the token's own (its claim org_id); a
 * token from the environment never takes the file's organization.
 *
 * The file, ~/.deeplake/credentials.json, belongs to its reader and is closed
 * to others (0600); fields that we do not know are kept.  Without HOME the
 * password database is asked.  Nothing here is ever logged but names of files
 * and fields; tokens are wiped when released.
 *
 * Threads: df_creds_load reads the environment; call it before others change
 * it.  Errors are logged, with the next step.
 */
#ifndef DF_BACKEND_CREDS_H
#define DF_BACKEND_CREDS_H

#include <stdbool.h>

#define DF_API_URL_DEFAULT "https://api.deeplake.ai"
#define DF_WORKSPACE_DEFAULT "default"

struct df_creds {
	char *token;     /* owned, wiped; never NULL after a load */
	char *org_id;    /* owned; NULL: the server takes the token's */
	char *org_name;  /* owned or NULL; for people */
	char *user_name; /* owned or NULL; for people */
	char *workspace; /* owned; an id, "default" if nobody says */
	char *api_url;   /* owned */
	char *path;      /* owned; the file that was or would be read */
	bool token_from_env;
	bool url_from_env;
	bool org_from_env;
	bool workspace_from_env;
};

/* "~/.deeplake" or a file in it, HOME or password database; caller frees; NULL
 * (logged): there is no home. */
char *df_creds_home(const char *file);

/* path NULL: the usual file.
 *   DF_EAUTH  no token anywhere; the file is open to others or not ours; not
 *             JSON.  What to do is logged. */
int df_creds_load(const char *path, struct df_creds *out);
/* The same without saying a word; for reload while refused. */
int df_creds_load_quiet(const char *path, struct df_creds *out);
void df_creds_release(struct df_creds *c);

/* Write token, orgId, orgName, userName, workspaceId, apiUrl (NULL: as they
 * were) and savedAt, keeping what else is in the file.  Makes the directory
 * 0700 and the file 0600. */
int df_creds_save(const char *path, const struct df_creds *c);
/* Take token and userName out of the file, keep the rest; no file: 0. */
int df_creds_forget(const char *path);

/* The claim org_id (OrgID, orgId) of a JWT; NULL if it is none.  Not verified:
 * it is our own token.  Caller frees. */
char *df_creds_token_org(const char *token);

#endif
