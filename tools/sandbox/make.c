/* make.c - see make.h. */
#include "tools/sandbox/make.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "tools/sandbox/cli.h"
#include "tools/sandbox/guest.h"
#include "tools/sandbox/intr.h"
#include "tools/sandbox/token.h"
#include "tools/sandbox/url.h"

#define DEFAULT_TIMEOUT_S 300

static int read_env_file(struct df_pairs *env, const char *path)
{
	char line[32768];
	int number = 0;
	int err = 0;

	FILE *f = fopen(path, "re");
	if (!f)
		return df_fail(-errno, "--env-file %s", path);
	while (!err && fgets(line, sizeof(line), f)) {
		number++;
		line[strcspn(line, "\r\n")] = 0;
		char *at = line + strspn(line, " \t");
		if (!*at || *at == '#')
			continue;
		if (strncmp(at, "export ", 7) == 0)
			at += 7;
		err = df_pairs_add(env, at);
		if (err == -EINVAL)
			df_log_error("%s, line %d: not NAME=VALUE", path,
				     number);
	}
	fclose(f);
	return err;
}

int df_plan_init(struct df_plan *plan, const struct df_args *a)
{
	*plan = (struct df_plan){ .args = a };
	int err = a->env_file ? read_env_file(&plan->env, a->env_file) : 0;
	for (size_t i = 0; !err && i < a->env.n; i++)
		err = df_pairs_set(&plan->env, a->env.v[i].key,
				   a->env.v[i].value);
	for (size_t i = 0; !err && i < a->mounts.n; i++)
		err = df_mounts_add(&plan->mounts, a->mounts.v[i]);
	if (!err && plan->mounts.n > 16) {
		df_log_error("at most 16 mounts in one sandbox");
		err = -EINVAL;
	}
	if (!err && plan->mounts.n) {
		err = df_creds_load(a->credentials, &plan->creds);
		plan->have_creds = !err;
	}
	if (!err && a->internet && a->no_internet) {
		df_log_error("--internet and --no-internet exclude each other");
		err = -EINVAL;
	}
	return err;
}

void df_plan_release(struct df_plan *plan)
{
	df_mounts_release(&plan->mounts);
	df_creds_release(&plan->creds);
	df_pairs_release(&plan->env);
}

/* A sandbox elsewhere cannot reach this machine's loopback. */
static int check_reach(struct df_prov *p, const struct df_plan *plan)
{
	const char *api = getenv("E2B_API_URL");
	DF_FREE char *host = NULL;
	DF_FREE char *api_host = NULL;
	int port;

	if (strcmp(p->ops->name, "e2b") || !plan->have_creds ||
	    df_url_host(plan->creds.server, &host, &port) ||
	    !df_host_is_loopback(host))
		return 0;
	if (api && !df_url_host(api, &api_host, &port) &&
	    df_host_is_loopback(api_host))
		return 0;
	df_log_error("the table server %s is on this machine only; a sandbox "
		     "of E2B cannot reach it: use a public server, or "
		     "--provider local",
		     plan->creds.server);
	return -EINVAL;
}

static int make_workdir(struct df_prov *p, struct df_sb *sb, const char *dir,
			const char *user)
{
	static const char script[] = "mkdir -p \"$2\" && chown \"$1\" \"$2\"";
	struct df_sh s;

	df_sh_init(&s, p, sb);
	s.user = user;
	int err = df_sh_run(&s, "id -un", NULL);
	DF_FREE char *who = strdup(df_sh_said(&s));
	const char *const args[] = { who, dir, NULL };
	s.user = "root";
	if (!err)
		err = df_sh_run(&s, script, args);
	if (!err && s.status) {
		df_log_error("--workdir %s: %s", dir, df_sh_said(&s));
		err = -EIO;
	}
	df_sh_release(&s);
	return err;
}

/* Two of one name could only be told apart by their ids. */
static int check_name(struct df_prov *p, const char *name)
{
	struct df_pairs want = { 0 };
	struct df_sb_filter f = { &want, NULL };
	json_t *list = NULL;

	if (strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
			 "0123456789._-") != strlen(name) ||
	    !*name || strlen(name) > 64) {
		df_log_error("--name \"%s\": letters, digits, \".\", \"_\" and "
			     "\"-\" only, at most 64",
			     name);
		return -EINVAL;
	}
	int err = df_pairs_set(&want, DF_META_NAME, name);
	if (!err)
		err = p->ops->list(p, &f, &list);
	if (!err && json_array_size(list)) {
		df_log_error("--name \"%s\" is taken by %s", name,
			     df_json_str(json_array_get(list, 0), "sandboxID"));
		err = -EEXIST;
	}
	json_decref(list);
	df_pairs_release(&want);
	return err;
}

int df_make(struct df_prov *p, const struct df_plan *plan, const char *name,
	    struct df_sb **out)
{
	const struct df_args *a = plan->args;
	bool local = strcmp(p->ops->name, "local") == 0;
	struct df_creds creds = { 0 };
	bool own = false;
	struct df_sb_spec spec = {
		.template_id = a->template_id,
		.name = name,
		.timeout_s = a->timeout_s ? a->timeout_s : DEFAULT_TIMEOUT_S,
		.env = &plan->env,
		.metadata = &a->metadata,
		.workdir = a->workdir,
		.server = plan->creds.server,
		.memory_mb = a->memory_mb,
		.max_procs = a->max_procs,
		.internet = a->internet || (!local && !a->no_internet),
		.auto_pause = a->auto_pause,
	};

	int err = check_reach(p, plan);
	if (!err && name)
		err = check_name(p, name);
	if (!err)
		err = p->ops->create(p, &spec, out);
	if (err)
		return err;
	df_log_debug("sandbox %s is there", (*out)->id);
	if (plan->mounts.n)
		err = df_token_make(&plan->creds, &plan->mounts, spec.timeout_s,
				    &creds, &own);
	if (!err)
		err = df_mount_all(p, *out, &plan->mounts, &creds, a->user,
				   a->bundle);
	/* after the mounts: the directory may lie in one */
	if (!err && a->workdir)
		err = make_workdir(p, *out, a->workdir, a->user);
	if (!err && df_intr_now())
		err = -EINTR;
	if (err && own && !a->keep)
		df_token_end(&creds);
	df_creds_release(&creds);
	if (!err)
		return 0;
	if (a->keep) {
		df_log_warn("sandbox %s is left as it is (--keep)", (*out)->id);
	} else {
		df_intr_hold(1); /* nothing was done in it: no flush */
		p->ops->kill(p, *out);
		df_intr_hold(-1);
	}
	df_sb_free(*out);
	*out = NULL;
	return err;
}

int df_open(const struct df_args *a, const char *what, struct df_prov **p,
	    struct df_sb **sb)
{
	DF_FREE char *id = strndup(what, strcspn(what, ":"));

	*p = NULL;
	*sb = NULL;
	int err = id ? df_prov_new(a->provider, true, p) : -ENOMEM;
	if (err)
		return err;
	err = df_prov_find(*p, id, sb);
	if (err) {
		df_prov_free(*p);
		*p = NULL;
	}
	return err;
}

void df_close(struct df_prov *p, struct df_sb *sb)
{
	df_sb_free(sb);
	df_prov_free(p);
}
