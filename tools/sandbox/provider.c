/* provider.c - see provider.h: the choice of one, and finding by name. */
#include "tools/sandbox/provider.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "tools/sandbox/cli.h"

int df_pairs_set(struct df_pairs *p, const char *key, const char *value)
{
	struct df_pair *v = realloc(p->v, (p->n + 1) * sizeof(*v));

	if (!v)
		return -ENOMEM;
	p->v = v;
	v[p->n] = (struct df_pair){ strdup(key), strdup(value) };
	if (!v[p->n].key || !v[p->n].value) {
		free(v[p->n].key);
		free(v[p->n].value);
		return -ENOMEM;
	}
	p->n++;
	return 0;
}

int df_pairs_add(struct df_pairs *p, const char *assignment)
{
	const char *eq = strchr(assignment, '=');

	if (!eq || eq == assignment)
		return -EINVAL;
	DF_FREE char *key = strndup(assignment, (size_t)(eq - assignment));
	return key ? df_pairs_set(p, key, eq + 1) : -ENOMEM;
}

const char *df_pairs_get(const struct df_pairs *p, const char *key)
{
	for (size_t i = p ? p->n : 0; i > 0; i--)
		if (strcmp(p->v[i - 1].key, key) == 0)
			return p->v[i - 1].value;
	return NULL;
}

void df_pairs_release(struct df_pairs *p)
{
	for (size_t i = 0; i < p->n; i++) {
		free(p->v[i].key);
		free(p->v[i].value);
	}
	free(p->v);
	*p = (struct df_pairs){ 0 };
}

json_t *df_pairs_json(const struct df_pairs *p)
{
	json_t *o = json_object();

	for (size_t i = 0; o && p && i < p->n; i++) {
		json_t *v = json_string(p->v[i].value);
		if (!v || json_object_set_new(o, p->v[i].key, v)) {
			json_decref(o);
			return NULL;
		}
	}
	return o;
}

void df_sb_free(struct df_sb *sb)
{
	if (!sb)
		return;
	free(sb->id);
	free(sb->name);
	free(sb->workdir);
	if (sb->token)
		explicit_bzero(sb->token, strlen(sb->token));
	free(sb->token);
	if (sb->traffic_token)
		explicit_bzero(sb->traffic_token, strlen(sb->traffic_token));
	free(sb->traffic_token);
	free(sb->domain);
	free(sb->template_id);
	free(sb);
}

int df_sb_new(const json_t *o, struct df_sb **out)
{
	const json_t *meta = json_object_get(o, "metadata");
	struct df_sb *sb = calloc(1, sizeof(*sb));

	if (!sb)
		return df_fail(-ENOMEM, "sandbox");
	sb->id = df_json_dup(o, "sandboxID");
	sb->template_id = df_json_dup(o, "templateID");
	sb->name = df_json_dup(meta, DF_META_NAME);
	sb->workdir = df_json_dup(meta, DF_META_WORKDIR);
	*out = sb;
	return 0;
}

json_t *df_sb_metadata(const struct df_sb_spec *spec)
{
	json_t *meta = df_pairs_json(spec->metadata);

	if (meta && spec->name)
		json_object_set_new(meta, DF_META_NAME,
				    json_string(spec->name));
	if (meta && spec->workdir)
		json_object_set_new(meta, DF_META_WORKDIR,
				    json_string(spec->workdir));
	return meta;
}

bool df_sb_matches(const json_t *o, const struct df_sb_filter *f)
{
	const json_t *meta = json_object_get(o, "metadata");
	const char *state = df_json_str(o, "state");

	if (f->state && *state && strcmp(f->state, state))
		return false;
	for (size_t i = 0; f->metadata && i < f->metadata->n; i++)
		if (strcmp(df_json_str(meta, f->metadata->v[i].key),
			   f->metadata->v[i].value))
			return false;
	return true;
}

int df_prov_new(const char *name, bool quiet, struct df_prov **out)
{
	const char *key = getenv("E2B_API_KEY");

	if (!name)
		name = getenv("DEEPLAKE_SANDBOX_PROVIDER");
	if (!name || !*name) {
		bool debug = getenv("E2B_DEBUG") &&
			     strcmp(getenv("E2B_DEBUG"), "true") == 0;
		name = (key && *key) || debug ? "e2b" : "local";
		if (strcmp(name, "local") == 0 && !quiet)
			df_log_info("no E2B_API_KEY: using a local sandbox "
				    "(bubblewrap on this machine)");
	}
	if (strcmp(name, "e2b") == 0)
		return df_e2b_new(out);
	if (strcmp(name, "local") == 0)
		return df_local_new(out);
	df_log_error("provider \"%s\" is unknown: use e2b or local", name);
	return -EINVAL;
}

void df_prov_free(struct df_prov *p)
{
	if (p)
		p->ops->free(p);
}

/* Names come first, and the newest of two wins nothing: ambiguity is said. */
static int find_listed(json_t *all, const char *what, char **id)
{
	const char *by_name = NULL;
	const char *by_prefix = NULL;
	int names = 0;
	int prefixes = 0;
	size_t i;
	json_t *o;

	json_array_foreach(all, i, o)
	{
		const char *sid = df_json_str(o, "sandboxID");
		const char *name = df_json_str(json_object_get(o, "metadata"),
					       DF_META_NAME);
		if (*name && strcmp(name, what) == 0) {
			by_name = sid;
			names++;
		}
		if (*what && strncmp(sid, what, strlen(what)) == 0) {
			by_prefix = sid;
			prefixes++;
		}
	}
	if (names > 1 || (!names && prefixes > 1)) {
		df_log_error("\"%s\" means %d sandboxes: use an id (see "
			     "`deeplake sandbox list`)",
			     what, names > 1 ? names : prefixes);
		return -ENOTUNIQ;
	}
	const char *hit = names ? by_name : by_prefix;
	if (!hit) {
		df_log_error("no sandbox \"%s\": it ended, or never was; "
			     "`deeplake sandbox list` shows those there are",
			     what);
		return -ENOENT;
	}
	*id = strdup(hit);
	return *id ? 0 : -ENOMEM;
}

int df_prov_find(struct df_prov *p, const char *what, struct df_sb **out)
{
	struct df_sb_filter any = { 0 };
	DF_FREE char *id = NULL;
	json_t *all = NULL;

	int err = p->ops->attach(p, what, out);
	if (err != -ENOENT)
		return err;
	err = p->ops->list(p, &any, &all);
	if (err)
		return err;
	err = find_listed(all, what, &id);
	json_decref(all);
	if (err)
		return err;
	err = p->ops->attach(p, id, out);
	if (err == -ENOENT)
		df_log_error("sandbox %s ended just now", id);
	return err;
}
