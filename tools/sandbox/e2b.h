/*
 * e2b.h - the provider for E2B and for servers of the same API.
 *
 * e2b.c speaks to the control plane (REST), e2b_exec.c and e2b_files.c to the
 * guest agent (envd).  Only sandboxID and the token of a sandbox are certain;
 * decisions go by HTTP status, the body only words the message.
 */
#ifndef DF_SANDBOX_E2B_H
#define DF_SANDBOX_E2B_H

#include "tools/sandbox/http.h"
#include "tools/sandbox/provider.h"

#define DF_ENVD_PORT 49983

struct df_e2b {
	struct df_prov prov;
	struct df_http *http;
	struct df_http *streams; /* connections of exec, one at a time */
	bool streaming;          /* and it is taken */
	char *key;               /* secret */
	char *domain;
	char *api_url;
	char *sandbox_url; /* or NULL */
	bool debug;        /* E2B_DEBUG: one envd on localhost, no control */
	bool v1;           /* the server was found to lack v2 */
};

/*
 * One call of the control plane.  body: freed; NULL = none.  *out: the JSON
 * answer, or NULL if it has none or out is NULL.  Returns the HTTP status, or
 * -errno (not logged).
 */
int df_e2b_call(struct df_e2b *e, const char *method, const char *path,
		json_t *body, json_t **out);
/* Same, keeping the response (initialised by the caller). */
int df_e2b_call_resp(struct df_e2b *e, const char *method, const char *path,
		     json_t *body, struct df_resp *resp);
/* Log "WHAT: why", return the -errno that a status (or -errno) means. */
int df_e2b_fail(int status, const struct df_resp *resp, const char *what);

/* URL of a port of a sandbox (caller frees) and the headers that lead there;
 * user: of envd calls, NULL = none. */
char *df_e2b_port_url(struct df_e2b *e, const struct df_sb *sb, int port,
		      const char *path);
struct curl_slist *df_e2b_headers(const struct df_sb *sb, int port,
				  const char *user);
/* The message in an error body, bounded and printable; caller frees. */
char *df_e2b_message(const struct df_resp *resp);

int df_e2b_exec(struct df_prov *p, struct df_sb *sb, const struct df_exec *x,
		struct df_exec_end *end);
/* A unary RPC: HTTP status or -errno; *out may be NULL. */
int df_e2b_rpc(struct df_e2b *e, struct df_sb *sb, const char *user,
	       const char *method, json_t *body, struct df_resp *resp);
int df_e2b_get(struct df_prov *p, struct df_sb *sb, const char *user,
	       const char *path, df_write_fn *to, void *arg);
int df_e2b_put(struct df_prov *p, struct df_sb *sb, const char *user,
	       const char *path, df_read_fn *from, void *arg);
int df_e2b_fs(struct df_prov *p, struct df_sb *sb, enum df_fs_op op,
	      const char *user, const char *a, const char *b, json_t **out);
/* A request that the proxy refused (502) or put off (409) just after create or
 * resume is worth sending again: true after a wait. */
bool df_e2b_again(const struct df_sb *sb, int status, int attempt);

#endif
