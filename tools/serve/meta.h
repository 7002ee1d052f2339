/*
 * meta.h - the server's own data: small values, orgs, tokens, logins.  The
 * same code for every store, on its own_run and own_rows (store.h); the tables
 * are made by the store.
 *
 * Errors: 0 or -errno, logged where the context is; those named here are not.
 */
#ifndef DF_SERVE_META_H
#define DF_SERVE_META_H

#include "tools/serve/store.h"

/* Small values of the server itself: the secret, the default org.  -ENOENT if
 * there is none.  put with `once` keeps an older value. */
int df_meta_get(struct df_store *s, const char *key, struct df_buf *out);
int df_meta_put(struct df_store *s, const char *key, const char *value,
		bool once);
int df_meta_org_put(struct df_store *s, const char *id, const char *name);
/* JSON: [{"id", "name"}, ...]; workspaces have more. */
int df_meta_org_list(struct df_store *s, struct df_buf *out);
int df_meta_ws_list(struct df_store *s, const char *org, struct df_buf *out);
int df_meta_token_put(struct df_store *s, const struct df_token_row *r);
/* -ENOENT, likewise _revoke */
int df_meta_token_get(struct df_store *s, const char *id,
		      struct df_token_row *row);
int df_meta_token_revoke(struct df_store *s, const char *id);
int df_meta_token_list(struct df_store *s,
		       void (*each)(void *arg, const struct df_token_row *),
		       void *arg);

/* A login by device code (device.c), from its begin until its token is given
 * out, refused, or 15 minutes have passed. */
struct df_login {
	char code[72];      /* SHA-256 of the machine's code, hex */
	char user_code[12]; /* ABCD-EFGH */
	char grant[40];     /* "": pending; "-": refused; else the id of the
			     * token that confirmed it */
	char user[128];     /* of that token */
	int64_t until_s;    /* CLOCK_REALTIME */
	int64_t asked_ms;   /* the machine's last question; 0: none */
};
#define DF_LOGIN_REFUSED "-"

/* Expired ones go.  -EBUSY: too many are under way. */
int df_meta_login_put(struct df_store *s, const struct df_login *l,
		      int64_t now_s);
/* The machine asks.  One that is not pending any more is taken out: only one
 * question gets it.  -ENOENT: there is none, or it has expired. */
int df_meta_login_ask(struct df_store *s, const char *code, int64_t now_ms,
		      struct df_login *out);
/* Somebody has a token to show: at most ten times a code.  -ENOENT as above. */
int df_meta_login_try(struct df_store *s, const char *user_code, int64_t now_s);
int df_meta_login_end(struct df_store *s, const char *user_code,
		      const char *token, const char *user);

/* sql with each "@" replaced by schema; caller frees, NULL without memory. */
char *df_meta_sql(const char *sql, const char *schema);

#endif
