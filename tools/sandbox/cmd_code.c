/*
 * cmd_code.c - `code`: cells in the code interpreter of a sandbox.
 *
 * The answer of a cell is one JSON object a line.  Contexts of the service
 * have ids only; the names given here are kept in the sandbox, in a file of
 * its user, so that they live and die with it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "tools/sandbox/cli.h"
#include "tools/sandbox/e2b.h"
#include "tools/sandbox/guest.h"
#include "tools/sandbox/intr.h"
#include "tools/sandbox/make.h"

#define PORT 49999
#define CELL_S 300
#define LINE_MAX_BYTES (64u << 20)
#define CONTEXTS_FILE ".deeplake-contexts.json"

struct cell {
	const struct df_args *a;
	struct df_buf line;
	json_t *results; /* every line, with --json */
	int saved;       /* files written so far */
	bool failed;     /* the cell raised */
};

/* What a result may hold, and the file it becomes. */
static const struct {
	const char *key, *ext;
	bool base64;
} kinds[] = {
	{ "png", "png", true },         { "jpeg", "jpg", true },
	{ "pdf", "pdf", true },         { "svg", "svg", false },
	{ "html", "html", false },      { "latex", "tex", false },
	{ "markdown", "md", false },    { "json", "json", false },
	{ "javascript", "js", false },  { "chart", "chart.json", false },
	{ "data", "data.json", false },
};

static int save_one(struct cell *c, const json_t *v, const char *ext,
		    bool base64)
{
	DF_FREE char *path =
		df_strf("%s/result-%d.%s", c->a->output, c->saved, ext);
	struct df_buf b;
	int err = 0;

	df_buf_init(&b, LINE_MAX_BYTES);
	if (base64) {
		err = df_b64_get(&b, json_string_value(v),
				 json_string_length(v));
	} else if (json_is_string(v)) {
		df_buf_put(&b, json_string_value(v), json_string_length(v));
	} else {
		char *text = json_dumps(v, JSON_INDENT(1) | JSON_ENCODE_ANY);
		df_buf_put_str(&b, text ? text : "null");
		free(text);
	}
	if (!err)
		err = path ? df_file_replace(path, b.data, b.len, 0644)
			   : -ENOMEM;
	df_buf_release(&b);
	if (err)
		return df_fail(err, "%s", path ? path : "result");
	if (!c->a->json)
		printf("saved %s\n", path);
	return 0;
}

static int save_result(struct cell *c, const json_t *o)
{
	int err = 0;

	c->saved++;
	for (size_t i = 0; i < DF_ARRAY_LEN(kinds) && !err; i++) {
		const json_t *v = json_object_get(o, kinds[i].key);
		if (!v || json_is_null(v) ||
		    (kinds[i].base64 && !json_is_string(v)))
			continue;
		err = save_one(c, v, kinds[i].ext, kinds[i].base64);
	}
	return err;
}

static int print_line(struct cell *c, const json_t *o)
{
	const char *type = df_json_str(o, "type");
	const char *text = df_json_str(o, "text");

	if (!strcmp(type, "error"))
		c->failed = true;
	if (c->a->json)
		json_array_append(c->results, (json_t *)(uintptr_t)o);
	else if (!strcmp(type, "stdout"))
		fputs(text, stdout);
	else if (!strcmp(type, "stderr"))
		fputs(text, stderr);
	else if (!strcmp(type, "error"))
		fprintf(stderr, "%s: %s\n%s", df_json_str(o, "name"),
			df_json_str(o, "value"), df_json_str(o, "traceback"));
	else if (!strcmp(type, "result") && *text)
		printf("%s\n", text);
	if (!strcmp(type, "result") && c->a->output)
		return save_result(c, o);
	return 0;
}

static int on_line(struct cell *c)
{
	json_t *o =
		json_loadb((const char *)c->line.data, c->line.len, 0, NULL);
	int err = json_is_object(o) ? print_line(c, o)
				    : df_fail(-EPROTO, "a line of the cell");

	json_decref(o);
	df_buf_reset(&c->line);
	return err;
}

static int on_bytes(void *arg, const void *data, size_t len)
{
	struct cell *c = arg;
	const char *at = data;
	int err = 0;

	while (!err && len) {
		const char *nl = memchr(at, '\n', len);
		size_t n = nl ? (size_t)(nl - at) : len;
		df_buf_put(&c->line, at, n);
		if (c->line.err)
			return df_fail(c->line.err, "a line of the cell");
		n += nl != NULL;
		at += n;
		len -= n;
		if (nl && c->line.len)
			err = on_line(c);
	}
	return err;
}

/* 502: the interpreter of a new sandbox may still be starting. */
static int post(struct df_e2b *e, struct df_sb *sb, const char *path,
		json_t *body, struct cell *c, struct df_resp *resp)
{
	DF_FREE char *url = df_e2b_port_url(e, sb, PORT, path);
	char *text = json_dumps(body, JSON_COMPACT);
	int status = -ENOMEM;

	for (int i = 0; url && text; i++) {
		struct curl_slist *l = df_e2b_headers(sb, PORT, NULL);
		l = df_header(l, "Content-Type", "application/json");
		struct df_req req = {
			.method = "POST",
			.url = url,
			.headers = l,
			.body = text,
			.body_len = strlen(text),
			.has_body = true,
			.to = c ? on_bytes : NULL,
			.arg = c,
			.timeout_ms = 1000 * (c && c->a->timeout_s
						      ? c->a->timeout_s
						      : CELL_S),
		};
		status = df_http_do(e->http, &req, resp);
		if (!status)
			status = (int)resp->status;
		if (status != 502 || i >= 20 || df_intr_sleep_ms(500))
			break;
	}
	free(text);
	if (status == 502)
		df_log_error("no code interpreter answers in %s: use a "
			     "template that has one (code-interpreter-v1)",
			     sb->id);
	return status;
}

static int keep_bytes(void *arg, const void *data, size_t len)
{
	df_buf_put(arg, data, len);
	return ((struct df_buf *)arg)->err;
}

static json_t *load_contexts(struct df_prov *p, struct df_sb *sb)
{
	struct df_buf b;
	json_t *o = NULL;
	json_t *entry = NULL;

	df_buf_init(&b, 1 << 20);
	if (!df_guest_stat(p, sb, NULL, CONTEXTS_FILE, &entry) &&
	    !p->ops->get(p, sb, NULL, CONTEXTS_FILE, keep_bytes, &b))
		o = json_loadb((const char *)b.data, b.len, 0, NULL);
	json_decref(entry);
	df_buf_release(&b);
	if (!json_is_object(o)) {
		json_decref(o);
		o = json_object();
	}
	return o;
}

/* A new context of the service; caller frees. */
static int make_context(struct df_e2b *e, struct df_sb *sb,
			const struct df_args *a, char **id)
{
	json_t *body = json_pack("{s:s*, s:s*}", "language", a->language, "cwd",
				 a->cwd);
	struct df_resp resp;

	df_resp_init(&resp);
	int status = post(e, sb, "/contexts", body, NULL, &resp);
	json_decref(body);
	json_t *made = json_loadb((const char *)resp.body.data, resp.body.len,
				  0, NULL);
	const char *got = df_json_str(made, "id");
	int err = 0;
	if (status / 100 != 2 || !*got)
		err = df_e2b_fail(status / 100 == 2 ? -EPROTO : status, &resp,
				  "new context");
	else
		*id = strdup(got);
	json_decref(made);
	df_resp_release(&resp);
	return err;
}

/* The id of a named context, made if it is new; caller frees. */
static int context_id(struct df_prov *p, struct df_sb *sb,
		      const struct df_args *a, char **id)
{
	json_t *known = load_contexts(p, sb);
	const char *have = df_json_str(known, a->context);
	int err = 0;

	if (*have) {
		*id = strdup(have);
	} else {
		err = make_context((struct df_e2b *)p, sb, a, id);
		if (!err)
			json_object_set_new(known, a->context,
					    json_string(*id));
		char *text = err ? NULL : json_dumps(known, 0);
		if (text)
			err = df_guest_put_mem(p, sb, NULL, CONTEXTS_FILE, text,
					       strlen(text), -1);
		free(text);
	}
	json_decref(known);
	return err;
}

static int read_code(const char *path, struct df_buf *b)
{
	int err = strcmp(path, "-") ? df_file_read(path, b)
				    : df_file_read("/dev/stdin", b);

	return err ? df_fail(err, "%s", path) : 0;
}

static int run_cell(struct df_prov *p, struct df_sb *sb, struct cell *c)
{
	const struct df_args *a = c->a;
	DF_FREE char *id = NULL;
	struct df_buf code;
	struct df_resp resp;

	df_buf_init(&code, 16 << 20);
	df_resp_init(&resp);
	int err = read_code(a->pos.v[1], &code);
	if (!err && a->context)
		err = context_id(p, sb, a, &id);
	json_t *body = json_pack("{s:s, s:s*, s:s*}", "code",
				 df_buf_cstr(&code), "context_id", id,
				 "language", a->context ? NULL : a->language);
	if (!err && !body)
		err = df_fail(-EILSEQ, "%s is not UTF-8", a->pos.v[1]);
	if (!err) {
		int status = post((struct df_e2b *)p, sb, "/execute", body, c,
				  &resp);
		if (!err && status / 100 == 2 && c->line.len)
			err = on_line(c); /* the last one lacks its newline */
		else if (status / 100 != 2)
			err = status == -EINTR
				      ? status
				      : df_e2b_fail(status, &resp, "code");
	}
	json_decref(body);
	df_resp_release(&resp);
	df_buf_release(&code);
	return err;
}

int df_cmd_code(struct df_args *a)
{
	struct df_prov *p;
	struct df_sb *sb;
	struct cell c = { .a = a, .results = json_array() };

	df_buf_init(&c.line, LINE_MAX_BYTES);
	int err = df_open(a, a->pos.v[0], &p, &sb);
	if (!err && strcmp(p->ops->name, "e2b")) {
		df_log_error("code: a local sandbox has no interpreter; use "
			     "`deeplake sandbox exec %s -- python3 ...`",
			     sb->id);
		err = -EOPNOTSUPP;
	}
	if (!err && a->output) {
		err = df_mkdir_p(a->output, 0755);
		if (err)
			df_fail(err, "%s", a->output);
	}
	if (!err)
		err = run_cell(p, sb, &c);
	if (!err && a->json)
		df_json_print(json_incref(c.results));
	json_decref(c.results);
	df_buf_release(&c.line);
	df_close(p, sb);
	return err ? df_exit_of(err) : c.failed ? DF_EXIT_FAILED : 0;
}
