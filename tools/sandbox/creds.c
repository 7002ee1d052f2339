/* creds.c - see creds.h. */
#include "tools/sandbox/creds.h"

#include <jansson.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "tools/sandbox/cli.h"

#define DEFAULT_SERVER "https://api.deeplake.ai"

static char *default_path(void)
{
	const char *home = getenv("HOME");
	const struct passwd *pw = home && *home ? NULL : getpwuid(getuid());

	if (pw)
		home = pw->pw_dir;
	return df_strf("%s/.deeplake/credentials.json", home ? home : "");
}

static void overlay(json_t *o, const char *key, const char *env,
		    const char *env2)
{
	const char *v = getenv(env);

	if ((!v || !*v) && env2)
		v = getenv(env2);
	if (v && *v)
		json_object_set_new(o, key, json_string(v));
}

static int creds_set(struct df_creds *c, const json_t *o)
{
	const char *server = df_json_str(o, "apiUrl");

	c->server = strdup(*server ? server : DEFAULT_SERVER);
	c->text = json_dumps(o, JSON_INDENT(2));
	if (c->server && c->text)
		return 0;
	df_creds_release(c);
	return -ENOMEM;
}

static int load(const char *file, bool quiet, struct df_creds *c)
{
	DF_FREE char *usual = default_path();
	const char *path = file ? file : usual;
	json_error_t why;

	*c = (struct df_creds){ 0 };
	json_t *o = json_load_file(path, JSON_REJECT_DUPLICATES, &why);
	if (!o && (file || !access(path, F_OK))) {
		if (!quiet)
			df_log_error("credentials %s: %s", path, why.text);
		return -EACCES;
	}
	if (!o)
		o = json_object();
	overlay(o, "token", "DEEPLAKE_TOKEN", "DEEPLAKE_API_KEY");
	overlay(o, "orgId", "DEEPLAKE_ORG_ID", NULL);
	overlay(o, "workspaceId", "DEEPLAKE_WORKSPACE_ID",
		"DEEPLAKE_WORKSPACE");
	overlay(o, "apiUrl", "DEEPLAKE_API_URL", NULL);
	int err = *df_json_str(o, "token") ? creds_set(c, o) : -EACCES;
	json_decref(o);
	if (err == -EACCES && !quiet)
		df_log_error("no token for the table: %s is not there or has "
			     "none; write it by hand or with `deeplake login`, "
			     "or give --credentials FILE",
			     path);
	return err == -EACCES || quiet || !err ? err
					       : df_fail(err, "credentials");
}

int df_creds_load(const char *file, struct df_creds *c)
{
	return load(file, false, c);
}

int df_creds_load_quiet(const char *file, struct df_creds *c)
{
	return load(file, true, c);
}

int df_creds_parse(const char *text, size_t len, struct df_creds *c)
{
	json_t *o = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);

	*c = (struct df_creds){ 0 };
	int err = *df_json_str(o, "token") ? creds_set(c, o) : -EINVAL;
	json_decref(o);
	return err;
}

void df_creds_release(struct df_creds *c)
{
	if (c->text)
		explicit_bzero(c->text, strlen(c->text));
	free(c->text);
	free(c->server);
	*c = (struct df_creds){ 0 };
}
