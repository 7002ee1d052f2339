/* e2b_make.c - see e2b_make.h. */
#include "tools/sandbox/e2b_make.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "tools/sandbox/cli.h"
#include "tools/sandbox/intr.h"
#include "tools/sandbox/url.h"

#define CREATE_TRIES 5

static json_t *create_body(const struct df_sb_spec *spec, const char *tag,
			   bool v1)
{
	json_t *meta = df_sb_metadata(spec);

	json_object_set_new(meta, DF_META_CREATE, json_string(tag));
	json_t *o = json_pack("{s:s, s:I, s:o, s:o, s:b}", "templateID",
			      spec->template_id ? spec->template_id : "base",
			      "timeout", (json_int_t)spec->timeout_s,
			      "metadata", meta, "envVars",
			      df_pairs_json(spec->env), "allow_internet_access",
			      spec->internet);
	if (spec->auto_pause)
		json_object_set_new(o, "autoPause", json_true());
	if (v1) /* not the default there, and without it no token */
		json_object_set_new(o, "secure", json_true());
	return o;
}

/* Was the path unknown, or the template?  A server without v2 answers in
 * plain text, or in JSON that does not speak of a template. */
static bool lacks_v2(int status, const struct df_resp *resp)
{
	if (status == 405 || status == 501)
		return true;
	if (status != 404)
		return false;
	json_t *o = json_loadb((const char *)resp->body.data, resp->body.len, 0,
			       NULL);
	bool template = strstr(df_json_str(o, "message"), "template") ||
			strstr(df_json_str(o, "message"), "snapshot");
	json_decref(o);
	return !template;
}

/* Sandboxes with the tag, as list gives them. */
static int find_tagged(struct df_e2b *e, const char *tag, json_t **list)
{
	struct df_pairs want = { 0 };
	struct df_sb_filter f = { &want, NULL };

	int err = df_pairs_set(&want, DF_META_CREATE, tag);
	if (!err)
		err = e->prov.ops->list(&e->prov, &f, list);
	df_pairs_release(&want);
	return err;
}

static int adopt_tagged(struct df_e2b *e, const char *tag, struct df_sb **out)
{
	json_t *list = NULL;

	int err = find_tagged(e, tag, &list);
	const char *id = df_json_str(json_array_get(list, 0), "sandboxID");
	if (!err)
		err = *id ? e->prov.ops->attach(&e->prov, id, out) : -ENOENT;
	json_decref(list);
	return err;
}

/* A create that was given up may still have been carried out, late. */
static void kill_others(struct df_e2b *e, const char *tag, const char *keep)
{
	json_t *list = NULL;
	json_t *o;
	size_t i;

	df_intr_hold(1);
	if (!find_tagged(e, tag, &list))
		json_array_foreach(list, i, o)
		{
			struct df_sb sb = { 0 };
			DF_FREE char *id = strdup(df_json_str(o, "sandboxID"));
			sb.id = id;
			if (id && *id && (!keep || strcmp(id, keep)))
				e->prov.ops->kill(&e->prov, &sb);
		}
	json_decref(list);
	df_intr_hold(-1);
}

static bool answer_lost(int status)
{
	return status == -ETIMEDOUT || status == -ECONNRESET || status == 500 ||
	       status == 502 || status == 504;
}

static int send_create(struct df_e2b *e, const struct df_sb_spec *spec,
		       const char *tag, struct df_resp *resp)
{
	int status = 404;

	if (!e->v1) {
		status = df_e2b_call_resp(e, "POST", "/v2/sandboxes",
					  create_body(spec, tag, false), resp);
		e->v1 = lacks_v2(status, resp);
	}
	if (e->v1)
		status = df_e2b_call_resp(e, "POST", "/sandboxes",
					  create_body(spec, tag, true), resp);
	return status;
}

static int parse_created(const struct df_resp *resp, struct df_sb **out)
{
	json_t *o = json_loadb((const char *)resp->body.data, resp->body.len, 0,
			       NULL);
	int err = df_e2b_sandbox(o, out);

	json_decref(o);
	return err;
}

static int create_loop(struct df_e2b *e, const struct df_sb_spec *spec,
		       const char *tag, struct df_sb **out, bool *doubt)
{
	struct df_resp resp;
	int err = -EIO;

	df_resp_init(&resp);
	for (int i = 0; i < CREATE_TRIES; i++) {
		int status = send_create(e, spec, tag, &resp);
		if (status / 100 == 2) {
			err = parse_created(&resp, out);
			break;
		}
		if (!answer_lost(status)) {
			*doubt |= status == -EINTR;
			err = df_e2b_fail(status, &resp, "create sandbox");
			break;
		}
		*doubt = true;
		df_log_debug("the answer to create was lost: looking for it");
		err = df_intr_sleep_ms(500 << DF_MIN(i, 3));
		if (!err)
			err = adopt_tagged(e, tag, out);
		if (err != -ENOENT)
			break;
		if (i + 1 == CREATE_TRIES)
			err = df_e2b_fail(status, &resp, "create sandbox");
	}
	df_resp_release(&resp);
	return err;
}

int df_e2b_create(struct df_prov *p, const struct df_sb_spec *spec,
		  struct df_sb **out)
{
	struct df_e2b *e = (struct df_e2b *)p;
	uint8_t r[16];
	char tag[33];
	bool doubt = false;

	*out = NULL;
	if (e->debug)
		return p->ops->attach(p, "debug_sandbox_id", out);
	df_random(r, sizeof(r));
	df_hex(r, sizeof(r), tag);
	int err = create_loop(e, spec, tag, out, &doubt);
	if (doubt)
		kill_others(e, tag, *out ? (*out)->id : NULL);
	if (err)
		return err;
	(*out)->fresh = true;
	if (!(*out)->workdir && spec->workdir)
		(*out)->workdir = strdup(spec->workdir);
	if (!(*out)->name && spec->name)
		(*out)->name = strdup(spec->name);
	return 0;
}

int df_e2b_connect(struct df_e2b *e, struct df_sb *sb, long timeout_s,
		   json_t **out)
{
	struct df_resp resp;
	int status = 404;

	df_resp_init(&resp);
	for (int i = 0; i < CREATE_TRIES; i++) {
		for (int v = e->v1 ? 1 : 2; v > 0; v--) {
			DF_FREE char *path = df_strf("%s/sandboxes/%s/connect",
						     v == 2 ? "/v2" : "",
						     sb->id);
			status = df_e2b_call_resp(
				e, "POST", path,
				json_pack("{s:I}", "timeout",
					  (json_int_t)timeout_s),
				&resp);
			if (status != 404 && status != 405)
				break;
		}
		/* connect only ever extends: sending it twice is harmless */
		if (status != 409 && !answer_lost(status))
			break;
		if (df_intr_sleep_ms(500 << DF_MIN(i, 3)))
			break;
	}
	int err = 0;
	if (status == 404)
		err = -ENOENT;
	else if (status / 100 != 2)
		err = df_e2b_fail(status, &resp, "resume");
	else if (out)
		*out = json_loadb((const char *)resp.body.data, resp.body.len,
				  0, NULL);
	df_resp_release(&resp);
	return err;
}
