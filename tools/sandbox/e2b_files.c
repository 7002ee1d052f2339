/* e2b_files.c - files through envd; see e2b.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "tools/sandbox/cli.h"
#include "tools/sandbox/e2b.h"
#include "tools/sandbox/intr.h"
#include "tools/sandbox/url.h"

#define RPC_MS 60000
#define FRESH_TRIES 30

bool df_e2b_again(const struct df_sb *sb, int status, int attempt)
{
	bool passing = status == 409 || status == 503 ||
		       (status == 502 && sb->fresh);

	if (!passing || attempt >= FRESH_TRIES)
		return false;
	return !df_intr_sleep_ms(attempt < 5 ? 100 : 500);
}

/* The agent's own errors have a word as code, the proxy's a number: a 409 of
 * the agent is "already exists", one of the proxy "changing state". */
static bool agent_answered(const struct df_resp *resp)
{
	json_t *o = json_loadb((const char *)resp->body.data, resp->body.len, 0,
			       NULL);
	bool own = json_is_string(json_object_get(o, "code"));

	json_decref(o);
	return own;
}

int df_e2b_rpc(struct df_e2b *e, struct df_sb *sb, const char *user,
	       const char *method, json_t *body, struct df_resp *resp)
{
	DF_FREE char *path = df_strf("/%s", method);
	DF_FREE char *url =
		df_e2b_port_url(e, sb, DF_ENVD_PORT, path ? path : "");
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	int status = -ENOMEM;

	json_decref(body);
	for (int i = 0; url && text; i++) {
		struct curl_slist *l = df_e2b_headers(sb, DF_ENVD_PORT, user);
		l = df_header(l, "Content-Type", "application/json");
		l = df_header(l, "Connect-Protocol-Version", "1");
		struct df_req req = {
			.method = "POST",
			.url = url,
			.headers = l,
			.body = text,
			.body_len = strlen(text),
			.has_body = true,
			.timeout_ms = RPC_MS,
			/* all of ours may be done twice */
			.repeat = true,
		};
		status = df_http_do(e->http, &req, resp);
		if (!status)
			status = (int)resp->status;
		if (status / 100 == 2)
			sb->fresh = false;
		if (agent_answered(resp) || !df_e2b_again(sb, status, i))
			break;
	}
	free(text);
	return status;
}

static char *files_url(struct df_e2b *e, struct df_sb *sb, const char *user,
		       const char *path)
{
	/* envd takes "~" in RPCs, but literally here */
	if (path[0] == '~' && path[1] == '/')
		path += 2;
	DF_FREE char *p = df_url_quote(path);
	DF_FREE char *u = df_url_quote(user ? user : "");
	DF_FREE char *tail = df_strf("/files?path=%s%s%s", p ? p : "",
				     user ? "&username=" : "",
				     user && u ? u : "");
	return tail ? df_e2b_port_url(e, sb, DF_ENVD_PORT, tail) : NULL;
}

int df_e2b_get(struct df_prov *p, struct df_sb *sb, const char *user,
	       const char *path, df_write_fn *to, void *arg)
{
	struct df_e2b *e = (struct df_e2b *)p;
	DF_FREE char *url = files_url(e, sb, user, path);
	struct df_resp resp;
	int status = -ENOMEM;

	df_resp_init(&resp);
	for (int i = 0; url; i++) {
		struct df_req req = { .method = "GET",
				      .url = url,
				      .headers = df_e2b_headers(
					      sb, DF_ENVD_PORT, NULL),
				      .to = to,
				      .arg = arg };
		status = df_http_do(e->http, &req, &resp);
		if (!status)
			status = (int)resp.status;
		if (!df_e2b_again(sb, status, i))
			break;
	}
	int err = status / 100 == 2 ? 0 : df_e2b_fail(status, &resp, path);
	df_resp_release(&resp);
	return err;
}

/* "200 []" is a refusal: the answer must name a file. */
static int check_written(const struct df_resp *resp, const char *path)
{
	json_t *o = json_loadb((const char *)resp->body.data, resp->body.len, 0,
			       NULL);
	bool named = json_array_size(o) > 0;

	json_decref(o);
	if (named)
		return 0;
	df_log_error("%s: the sandbox took the upload and wrote nothing", path);
	return -EIO;
}

int df_e2b_put(struct df_prov *p, struct df_sb *sb, const char *user,
	       const char *path, df_read_fn *from, void *arg)
{
	struct df_e2b *e = (struct df_e2b *)p;
	DF_FREE char *url = files_url(e, sb, user, path);
	const char *slash = strrchr(path, '/');
	struct df_resp resp;

	if (!url)
		return -ENOMEM;
	df_resp_init(&resp);
	/* a fresh sandbox may not answer yet, and `from` is read once only */
	if (sb->fresh)
		df_e2b_rpc(e, sb, NULL, "process.Process/List", json_object(),
			   &resp);
	struct df_req req = {
		.method = "POST",
		.url = url,
		.headers = df_e2b_headers(sb, DF_ENVD_PORT, NULL),
		.from = from,
		.from_size = -1,
		.filename = slash && slash[1] ? slash + 1 : path,
		.arg = arg,
	};
	int status = df_http_do(e->http, &req, &resp);
	if (!status)
		status = (int)resp.status;
	int err = status / 100 == 2 ? check_written(&resp, path)
				    : df_e2b_fail(status, &resp, path);
	df_resp_release(&resp);
	return err;
}

static json_t *fs_body(enum df_fs_op op, const char *a, const char *b)
{
	switch (op) {
	case DF_FS_LIST:
		return json_pack("{s:s, s:i}", "path", a, "depth", 1);
	case DF_FS_MOVE:
		return json_pack("{s:s, s:s}", "source", a, "destination", b);
	default:
		return json_pack("{s:s}", "path", a);
	}
}

int df_e2b_fs(struct df_prov *p, struct df_sb *sb, enum df_fs_op op,
	      const char *user, const char *a, const char *b, json_t **out)
{
	static const char *const methods[] = {
		[DF_FS_STAT] = "filesystem.Filesystem/Stat",
		[DF_FS_LIST] = "filesystem.Filesystem/ListDir",
		[DF_FS_MKDIR] = "filesystem.Filesystem/MakeDir",
		[DF_FS_MOVE] = "filesystem.Filesystem/Move",
		[DF_FS_REMOVE] = "filesystem.Filesystem/Remove",
	};
	struct df_resp resp;
	int err = 0;

	df_resp_init(&resp);
	int status = df_e2b_rpc((struct df_e2b *)p, sb, user, methods[op],
				fs_body(op, a, b), &resp);
	if (status == 404 && op == DF_FS_STAT)
		err = -ENOENT;
	else if (status == 409 && op == DF_FS_MKDIR)
		err = -EEXIST;
	else if (status / 100 != 2)
		err = df_e2b_fail(status, &resp, a);
	if (!err && out) {
		json_t *o = json_loadb((const char *)resp.body.data,
				       resp.body.len, 0, NULL);
		json_t *v = json_object_get(o, op == DF_FS_LIST ? "entries"
								: "entry");
		/* empty lists are left out of the answer */
		*out = v                  ? json_incref(v)
		       : op == DF_FS_LIST ? json_array()
					  : json_object();
		json_decref(o);
	}
	df_resp_release(&resp);
	return err;
}
