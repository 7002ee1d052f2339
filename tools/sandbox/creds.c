/* creds.c - see creds.h. */
#include "tools/sandbox/creds.h"

#include <jansson.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

/* What the environment says goes before the file; but a file that was named on
 * purpose goes before a token, and the file's organization is not that of a
 * token from elsewhere. */
static void overlay_all(json_t *o, bool named)
{
	DF_FREE char *token = strdup(df_json_str(o, "token"));

	if (!named)
		overlay(o, "token", "DEEPLAKE_TOKEN", "DEEPLAKE_API_KEY");
	if (token && strcmp(token, df_json_str(o, "token")) != 0)
		json_object_del(o, "orgId");
	if (token)
		explicit_bzero(token, strlen(token));
	overlay(o, "orgId", "DEEPLAKE_ORG_ID", "ACTIVELOOP_ORG_ID");
	overlay(o, "workspaceId", "DEEPLAKE_WORKSPACE_ID",
		"DEEPLAKE_WORKSPACE");
	overlay(o, "apiUrl", "DEEPLAKE_API_URL", NULL);
}

/* NULL: there is none, and none was named, or *err. */
static json_t *read_file(const char *path, bool named, bool quiet, int *err)
{
	json_error_t why = { .text = "cannot be read" };
	struct stat st;

	*err = 0;
	if (!named && access(path, F_OK))
		return NULL;
	*err = -EACCES;
	if (!stat(path, &st) && (st.st_mode & 077)) {
		if (!quiet)
			df_log_error("%s can be read by others (mode %04o) "
				     "and is not used; run: chmod 600 %s",
				     path, (unsigned)(st.st_mode & 07777),
				     path);
		return NULL;
	}
	json_t *o = json_load_file(path, JSON_REJECT_DUPLICATES, &why);
	if (!o && !quiet)
		df_log_error("credentials %s: %s", path, why.text);
	*err = o ? 0 : -EACCES;
	return o;
}

static int load(const char *file, bool quiet, struct df_creds *c)
{
	DF_FREE char *usual = default_path();
	const char *path = file ? file : usual;
	int err;

	*c = (struct df_creds){ 0 };
	json_t *o = read_file(path, file, quiet, &err);
	if (err)
		return err;
	if (!o)
		o = json_object();
	overlay_all(o, file);
	err = *df_json_str(o, "token") ? creds_set(c, o) : -EACCES;
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
