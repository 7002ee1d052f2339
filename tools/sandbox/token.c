/* token.c - see token.h. */
#include "tools/sandbox/token.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "tools/sandbox/cli.h"
#include "tools/sandbox/guest.h"
#include "tools/sandbox/http.h"
#include "tools/sandbox/url.h"

/* In credentials.json: this token is the sandbox's own, and may be ended. */
#define MARK "sandboxToken"
#define CALL_MS 10000
#define FILE_MAX_LEN (64u << 10)

/* One request with the credentials' token: the status or -errno. */
static int call(const json_t *creds, const char *method, const char *path,
		json_t *body, struct df_resp *resp)
{
	const char *server = df_json_str(creds, "apiUrl");
	DF_FREE char *url =
		df_strf("%.*s%s", (int)strcspn(server, "?#"), server, path);
	DF_FREE char *bearer =
		df_strf("Bearer %s", df_json_str(creds, "token"));
	DF_FREE char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	struct df_http *h = NULL;

	json_decref(body);
	if (!url || !bearer || df_http_new(&h))
		return -ENOMEM;
	struct curl_slist *l = df_header(NULL, "Authorization", bearer);
	if (*df_json_str(creds, "orgId"))
		l = df_header(l, "X-Activeloop-Org-Id",
			      df_json_str(creds, "orgId"));
	if (text)
		l = df_header(l, "Content-Type", "application/json");
	struct df_req req = { .method = method,
			      .url = url,
			      .headers = l,
			      .body = text,
			      .body_len = text ? strlen(text) : 0,
			      .has_body = text,
			      .timeout_ms = CALL_MS,
			      .once = true };
	int err = df_http_do(h, &req, resp);
	df_http_free(h);
	explicit_bzero(bearer, strlen(bearer));
	return err ? err : (int)resp->status;
}

static json_t *answer(const struct df_resp *resp)
{
	return json_loadb((const char *)resp->body.data, resp->body.len, 0,
			  NULL);
}

static const char *workspace_of(const json_t *creds)
{
	const char *ws = df_json_str(creds, "workspaceId");

	return *ws ? ws : "default";
}

/* Is it a deeplake-serve?  Whoever does not answer is not. */
static bool is_ours(const json_t *creds)
{
	DF_FREE char *ws = df_url_quote(workspace_of(creds));
	DF_FREE char *path =
		df_strf("/workspaces/%s/capabilities", ws ? ws : "");
	struct df_resp resp;

	df_resp_init(&resp);
	int status = path ? call(creds, "GET", path, NULL, &resp) : -ENOMEM;
	json_t *o = status == 200 ? answer(&resp) : NULL;
	bool ours = !strcmp(df_json_str(o, "server"), "deeplakefs");
	json_decref(o);
	df_resp_release(&resp);
	return ours;
}

static bool read_only(const char *options)
{
	DF_FREE char *list = df_strf(",%s,", options);

	return list && strstr(list, ",ro,");
}

/* The name of a table without ":/sub/dir". */
static char *table_name(const struct df_mount *m)
{
	return strndup(m->table, strcspn(m->table, ":"));
}

/* The narrowest that all mounts work with. */
static json_t *token_request(const json_t *creds, const struct df_mounts *m,
			     long timeout_s)
{
	long life = DF_TOKEN_LIFE_DAYS * 86400L;
	DF_FREE char *table = m->n ? table_name(&m->v[0]) : NULL;
	bool one = true;
	bool ro = m->n > 0;

	for (size_t i = 0; i < m->n; i++) {
		DF_FREE char *other = table_name(&m->v[i]);
		one = one && table && other && !strcmp(table, other);
		ro = ro && read_only(m->v[i].options);
	}
	return json_pack("{s:s, s:I, s:s, s:s*, s:b}", "name", "sandbox",
			 "duration", (json_int_t)DF_MAX(life, 2 * timeout_s),
			 "workspace", workspace_of(creds), "table",
			 one ? table : NULL, "read_only", ro);
}

static int replace_token(const json_t *creds, const char *token,
			 struct df_creds *out)
{
	json_t *o = json_deep_copy(creds);

	int err = o && !json_object_set_new(o, "token", json_string(token)) &&
				  !json_object_set_new(o, MARK, json_true())
			  ? 0
			  : -ENOMEM;
	char *text = err ? NULL : json_dumps(o, JSON_COMPACT);
	json_decref(o);
	if (!text)
		return -ENOMEM;
	err = df_creds_parse(text, strlen(text), out);
	explicit_bzero(text, strlen(text));
	free(text);
	return err;
}

static int make(const json_t *creds, const struct df_mounts *m, long timeout_s,
		struct df_creds *out)
{
	struct df_resp resp;

	df_resp_init(&resp);
	int status = call(creds, "POST", "/users/me/tokens",
			  token_request(creds, m, timeout_s), &resp);
	json_t *o = status == 201 ? answer(&resp) : NULL;
	const char *token = df_json_str(json_object_get(o, "token"), "token");
	int err = *token ? replace_token(creds, token, out) : -EPROTO;
	if (err) {
		json_t *why = answer(&resp);
		df_log_error("a token for the sandbox from %s: %s",
			     df_json_str(creds, "apiUrl"),
			     status < 0 ? df_strerror(status)
			     : *df_json_str(why, "error")
				     ? df_json_str(why, "error")
				     : "the server made none");
		json_decref(why);
		err = status == 403 || status == 401 ? -EACCES : err;
	}
	json_decref(o);
	df_resp_release(&resp);
	return err;
}

int df_token_make(const struct df_creds *user, const struct df_mounts *m,
		  long timeout_s, struct df_creds *out, bool *own)
{
	json_t *creds = json_loads(user->text, 0, NULL);

	if (!creds)
		return df_fail(-ENOMEM, "credentials");
	json_object_set_new(creds, "apiUrl", json_string(user->server));
	*own = is_ours(creds);
	int err = *own ? make(creds, m, timeout_s, out)
		       : df_creds_parse(user->text, strlen(user->text), out);
	json_decref(creds);
	return err;
}

static int collect(void *arg, const void *data, size_t len)
{
	struct df_buf *b = arg;

	df_buf_put(b, data, len);
	return b->err;
}

int df_token_of(struct df_prov *p, struct df_sb *sb, const char *user,
		const struct df_creds *mine, struct df_creds *out)
{
	static const char path[] = ".deeplake/credentials.json";
	json_t *entry = NULL;
	struct df_buf b;

	*out = (struct df_creds){ 0 };
	int err = df_guest_stat(p, sb, user, path, &entry);
	json_decref(entry);
	if (err)
		return -ENOENT;
	df_buf_init(&b, FILE_MAX_LEN);
	err = p->ops->get(p, sb, user, path, collect, &b);
	json_t *ours = json_loads(mine->text, 0, NULL);
	json_t *o = err ? NULL
			: json_loadb((const char *)b.data, b.len, 0, NULL);
	/* what is in there is the sandbox's to say: only its token is taken,
	 * and it goes to our server */
	err = json_is_true(json_object_get(o, MARK)) && *df_json_str(o, "token")
		      ? replace_token(ours, df_json_str(o, "token"), out)
		      : -ENOENT;
	if (b.data)
		explicit_bzero(b.data, b.len);
	df_buf_release(&b);
	json_decref(o);
	json_decref(ours);
	return err;
}

void df_token_end(const struct df_creds *c)
{
	json_t *o = json_loads(c->text, 0, NULL);
	struct df_resp resp;

	if (!o)
		return;
	json_object_set_new(o, "apiUrl", json_string(c->server));
	df_resp_init(&resp);
	int status = is_ours(o) ? call(o, "DELETE", "/users/me/tokens/current",
				       NULL, &resp)
				: 0;
	df_log_debug("the sandbox's token: %s",
		     status == 200 ? "ended" : "ends by itself");
	df_resp_release(&resp);
	json_decref(o);
}
