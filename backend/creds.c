/* creds.c - see creds.h. */
#include "backend/creds.h"

#include <fcntl.h>
#include <jansson.h>
#include <libgen.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"

#define FILE_MAX ((size_t)1 << 20)

/* Say it, unless the caller wants silence. */
#define complain(quiet, ...)                       \
	do {                                       \
		if (!(quiet))                      \
			df_log_error(__VA_ARGS__); \
	} while (0)

char *df_creds_home(const char *file)
{
	const char *home = getenv("HOME");
	char text[4096];
	struct passwd pw, *found = NULL;

	if (!home || *home != '/') {
		if (getpwuid_r(getuid(), &pw, text, sizeof(text), &found) ||
		    !found || *found->pw_dir != '/') {
			df_log_error("no home directory: HOME is not set and "
				     "user %u has none; set HOME or use "
				     "-o credentials=FILE",
				     (unsigned)getuid());
			return NULL;
		}
		home = found->pw_dir;
	}
	return file ? df_strf("%s/.deeplake/%s", home, file)
		    : df_strf("%s/.deeplake", home);
}

static void wipe_buf(struct df_buf *b)
{
	if (b->data)
		explicit_bzero(b->data, b->size);
	df_buf_release(b);
}

static void wipe_free(char **s)
{
	if (*s)
		explicit_bzero(*s, strlen(*s));
	free(*s);
	*s = NULL;
}

void df_creds_release(struct df_creds *c)
{
	wipe_free(&c->token);
	free(c->org_id);
	free(c->org_name);
	free(c->user_name);
	free(c->workspace);
	free(c->api_url);
	free(c->path);
	*c = (struct df_creds){ 0 };
}

/* jansson frees strings with free(); a token in one would stay in memory. */
static void wipe_json(json_t *root)
{
	json_t *token = json_object_get(root, "token");
	const char *s = json_string_value(token);

	if (s) {
		char *w;
		memcpy(&w, &s, sizeof(w)); /* ours to wipe: last reference */
		explicit_bzero(w, json_string_length(token));
	}
	json_decref(root);
}

/* ---- the file */

static int check_file(int fd, const char *path, bool quiet)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode)) {
		complain(quiet, "%s is not a regular file", path);
		return DF_EAUTH;
	}
	if (geteuid() != 0 && st.st_uid != geteuid() && st.st_uid != 0) {
		complain(quiet,
			 "%s belongs to user %u, not to you; it is not "
			 "used",
			 path, (unsigned)st.st_uid);
		return DF_EAUTH;
	}
	if (st.st_mode & 077) {
		complain(quiet,
			 "%s can be read by others (mode %04o) and is "
			 "not used; run: chmod 600 %s",
			 path, (unsigned)(st.st_mode & 07777), path);
		return DF_EAUTH;
	}
	return 0;
}

static int read_fd(int fd, struct df_buf *out)
{
	for (;;) {
		if (df_buf_reserve(out, 4096))
			return out->err;
		ssize_t n = read(fd, out->data + out->len, 4096);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		out->len += (size_t)n;
	}
}

/* *out: the file's object, or NULL where there is no file. */
static int read_file(const char *path, bool quiet, json_t **out)
{
	struct df_buf text;
	json_error_t where;

	*out = NULL;
	DF_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	if (fd < 0) {
		int err = errno;
		complain(quiet, "%s: %s", path, df_strerror(-err));
		return DF_EAUTH;
	}
	int err = check_file(fd, path, quiet);
	if (err)
		return err;
	/* No reallocation: it would leave copies of the token behind. */
	df_buf_init(&text, FILE_MAX + 8192);
	df_buf_reserve(&text, FILE_MAX);
	err = read_fd(fd, &text);
	if (!err)
		*out = json_loadb((const char *)text.data, text.len, 0, &where);
	wipe_buf(&text);
	if (!err && !json_is_object(*out)) {
		complain(quiet,
			 "%s is not a JSON object (line %d); correct "
			 "it or run: deeplake login",
			 path, *out ? 1 : where.line);
		json_decref(*out);
		*out = NULL;
		return DF_EAUTH;
	}
	return err;
}

/* ---- fields */

static const char *env(const char *a, const char *b)
{
	const char *v = getenv(a);

	if ((!v || !*v) && b)
		v = getenv(b);
	return v && *v ? v : NULL;
}

static int pick(char **out, const char *from_env, json_t *file, const char *key,
		const char *fallback, bool *is_env)
{
	const char *v = from_env;

	if (is_env)
		*is_env = v != NULL;
	if (!v)
		v = json_string_value(json_object_get(file, key));
	if (!v || !*v)
		v = fallback;
	*out = v ? strdup(v) : NULL;
	return v && !*out ? -ENOMEM : 0;
}

static int pick_org(struct df_creds *c, json_t *file)
{
	const char *v = env("DEEPLAKE_ORG_ID", "ACTIVELOOP_ORG_ID");

	c->org_from_env = v != NULL;
	if (!v && !c->token_from_env)
		v = json_string_value(json_object_get(file, "orgId"));
	if (v && *v)
		return (c->org_id = strdup(v)) ? 0 : -ENOMEM;
	c->org_id = c->token ? df_creds_token_org(c->token) : NULL;
	return 0;
}

static int fill(struct df_creds *c, json_t *file)
{
	int err = pick(&c->token, env("DEEPLAKE_TOKEN", "DEEPLAKE_API_KEY"),
		       file, "token", NULL, &c->token_from_env);

	if (!err)
		err = pick_org(c, file);
	if (!err)
		err = pick(&c->workspace,
			   env("DEEPLAKE_WORKSPACE_ID", "DEEPLAKE_WORKSPACE"),
			   file, "workspaceId", DF_WORKSPACE_DEFAULT,
			   &c->workspace_from_env);
	if (!err)
		err = pick(&c->api_url, env("DEEPLAKE_API_URL", NULL), file,
			   "apiUrl", DF_API_URL_DEFAULT, &c->url_from_env);
	if (!err)
		err = pick(&c->org_name, NULL, file, "orgName", NULL, NULL);
	if (!err)
		err = pick(&c->user_name, NULL, file, "userName", NULL, NULL);
	return err;
}

static int load(const char *path, bool quiet, struct df_creds *out)
{
	json_t *file = NULL;
	int err = 0;

	*out = (struct df_creds){ 0 };
	out->path = path ? strdup(path) : df_creds_home("credentials.json");
	bool env_token = env("DEEPLAKE_TOKEN", "DEEPLAKE_API_KEY") != NULL;
	if (!out->path && (path || !env_token))
		return path ? -ENOMEM : DF_EAUTH;
	/* A token from the environment works without any file; one that was
	 * named by hand must be good all the same. */
	if (out->path)
		err = read_file(out->path, quiet || (env_token && !path),
				&file);
	if (err && env_token && !path)
		err = 0;
	if (!err)
		err = fill(out, file);
	wipe_json(file);
	if (!err && (!out->token || !*out->token)) {
		complain(quiet,
			 path ? "no credentials: %s, which was named for them, "
				"is missing or has no \"token\""
			      : "no credentials: set DEEPLAKE_TOKEN, or run "
				"deeplake login, or write the token into %s",
			 out->path);
		err = DF_EAUTH;
	}
	if (err)
		df_creds_release(out);
	return err;
}

int df_creds_load(const char *path, struct df_creds *out)
{
	return load(path, false, out);
}

int df_creds_load_quiet(const char *path, struct df_creds *out)
{
	return load(path, true, out);
}

/* ---- writing */

static void set(json_t *root, const char *key, const char *value)
{
	if (value)
		json_object_set_new(root, key, json_string(value));
}

static int write_file(const char *path, json_t *root)
{
	DF_FREE char *copy = strdup(path);
	char *text = json_dumps(root, JSON_INDENT(2));
	int err = copy && text ? df_mkdir_p(dirname(copy), 0700) : -ENOMEM;

	if (!err)
		err = df_file_replace(path, text, strlen(text), 0600);
	wipe_free(&text);
	return err ? df_fail(err, "write %s", path) : 0;
}

int df_creds_save(const char *path, const struct df_creds *c)
{
	DF_FREE char *usual = path ? NULL : df_creds_home("credentials.json");
	const char *at = path ? path : usual;
	json_t *root = NULL;
	char now[32];
	struct tm tm;
	time_t s = (time_t)(df_clock_real_ns() / DF_NS_PER_S);

	if (!at)
		return -ENOENT;
	/* A file that is open to others is replaced, its fields are kept
	 * only if it can be trusted. */
	if (read_file(at, false, &root))
		df_log_warn("%s is written anew", at);
	if (!root)
		root = json_object();
	if (!root)
		return -ENOMEM;
	gmtime_r(&s, &tm);
	strftime(now, sizeof(now), "%Y-%m-%dT%H:%M:%SZ", &tm);
	set(root, "token", c->token);
	set(root, "orgId", c->org_id);
	set(root, "orgName", c->org_name);
	set(root, "userName", c->user_name);
	set(root, "workspaceId", c->workspace);
	set(root, "apiUrl", c->api_url);
	set(root, "savedAt", now);
	int err = write_file(at, root);
	wipe_json(root);
	return err;
}

int df_creds_forget(const char *path)
{
	DF_FREE char *usual = path ? NULL : df_creds_home("credentials.json");
	const char *at = path ? path : usual;
	json_t *root = NULL;

	if (!at)
		return -ENOENT;
	int err = read_file(at, false, &root);
	if (err || !root)
		return err;
	json_object_del(root, "token");
	json_object_del(root, "userName");
	err = write_file(at, root);
	json_decref(root);
	return err;
}

/* ---- tokens */

/* base64url without padding, as JWTs have it, into plain base64. */
static int decode_part(const char *part, size_t len, struct df_buf *out)
{
	struct df_buf b64;

	df_buf_init(&b64, 65536);
	for (size_t i = 0; i < len; i++)
		df_buf_put_u8(&b64, (uint8_t)(part[i] == '-'   ? '+'
					      : part[i] == '_' ? '/'
							       : part[i]));
	while (b64.len % 4 && !b64.err)
		df_buf_put_u8(&b64, '=');
	int err = b64.err ? b64.err
			  : df_b64_get(out, (const char *)b64.data, b64.len);
	df_buf_release(&b64);
	return err;
}

char *df_creds_token_org(const char *token)
{
	static const char *const names[] = { "org_id", "OrgID", "orgId" };
	const char *begin = strchr(token, '.');
	const char *end = begin ? strchr(begin + 1, '.') : NULL;
	struct df_buf claims;
	char *org = NULL;

	if (!end)
		return NULL;
	df_buf_init(&claims, 65536);
	if (decode_part(begin + 1, (size_t)(end - begin - 1), &claims) == 0) {
		json_t *root = json_loadb((const char *)claims.data, claims.len,
					  0, NULL);
		for (size_t i = 0; !org && i < DF_ARRAY_LEN(names); i++) {
			const char *v = json_string_value(
				json_object_get(root, names[i]));
			org = v && *v ? strdup(v) : NULL;
		}
		json_decref(root);
	}
	df_buf_release(&claims);
	return org;
}
