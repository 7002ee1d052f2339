/* place.c - see place.h. */
#include "tools/place.h"

#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/table.h"
#include "base/err.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"

int df_place_check_table(const char *table)
{
	static const char *const ours[] = { "__log", "__pack" };
	size_t len = strlen(table);
	int err = df_table_check_name(table);

	if (err)
		return err;
	for (size_t i = 0; i < DF_ARRAY_LEN(ours); i++) {
		size_t n = strlen(ours[i]);
		if (len > n && strcmp(table + len - n, ours[i]) == 0) {
			df_log_error("table name '%s': names that end in %s "
				     "belong to volumes; name the volume, "
				     "'%.*s'",
				     table, ours[i], (int)(len - n), table);
			return -EINVAL;
		}
	}
	return 0;
}

/* "/a/../b" and the like are not worth guessing at. */
static int check_subdir(const char *subdir)
{
	for (const char *p = subdir; *p;) {
		size_t n = strcspn(p, "/");
		if (*subdir != '/' || (n == 1 && *p == '.') ||
		    (n == 2 && p[0] == '.' && p[1] == '.')) {
			df_log_error("directory '%s' inside the table: write "
				     "it as TABLE:/sub/dir, without . and ..",
				     subdir);
			return -EINVAL;
		}
		p += n + (p[n] == '/');
	}
	return 0;
}

int df_place_source(const char *source, char **table, char **subdir)
{
	size_t head = strcspn(source, ":");
	DF_FREE char *name = strndup(source, head);
	DF_FREE char *sub = NULL;

	*table = *subdir = NULL;
	if (!name)
		return df_fail(-ENOMEM, "reading '%s'", source);
	char *slash = strrchr(name, '/');
	if (source[head] == ':' && strcmp(source + head + 1, "/") != 0) {
		int err = check_subdir(source + head + 1);
		if (err)
			return err;
		sub = strdup(source + head + 1);
		if (!sub)
			return df_fail(-ENOMEM, "reading '%s'", source);
	}
	char *base = strdup(slash ? slash + 1 : name);
	if (!base)
		return df_fail(-ENOMEM, "reading '%s'", source);
	int err = df_place_check_table(base);
	if (err) {
		free(base);
		return err;
	}
	*table = base;
	*subdir = sub && *sub ? sub : NULL;
	if (*subdir)
		sub = NULL;
	return 0;
}

char *df_place_home_of(uid_t uid)
{
	struct passwd pw, *found = NULL;
	char text[4096];

	if (getpwuid_r(uid, &pw, text, sizeof(text), &found) || !found)
		return NULL;
	return found->pw_dir && *found->pw_dir == '/' ? strdup(found->pw_dir)
						      : NULL;
}

char *df_place_home(void)
{
	const char *home = getenv("HOME");

	if (home && *home == '/')
		return strdup(home);
	return df_place_home_of(geteuid());
}

/* All the way, links followed: it must be there. */
static char *real_path(const char *path)
{
	char real[PATH_MAX];

	return realpath(path, real) ? strdup(real) : NULL;
}

/* The directory resolved, the last component as it is. */
static char *real_parent(const char *path, const char *slash, const char *name)
{
	char real[PATH_MAX];
	DF_FREE char *dir = slash ? strndup(path, (size_t)(slash - path))
				  : strdup(".");

	if (!dir)
		return NULL;
	if (realpath(*dir ? dir : "/", real))
		return df_strf("%s/%s", strcmp(real, "/") ? real : "", name);
	/* nothing of it is there yet: as it was written */
	return errno == ENOENT && *path == '/' ? strdup(path) : NULL;
}

int df_place_path(const char *path, char **out)
{
	char link[PATH_MAX];
	DF_FREE char *copy = strdup(path);
	size_t len = copy ? strlen(copy) : 0;

	*out = NULL;
	if (copy && !len)
		df_log_error("the path is empty; name a directory");
	if (!len)
		return copy ? -ENOENT : df_fail(-ENOMEM, "path '%s'", path);
	while (len > 1 && copy[len - 1] == '/')
		copy[--len] = 0;
	const char *slash = strrchr(copy, '/');
	const char *name = slash ? slash + 1 : copy;
	bool no_name = !*name || strcmp(name, ".") == 0 ||
		       strcmp(name, "..") == 0;
	errno = ENOMEM;
	/* a symbolic link is alive, so that it can be followed */
	if (no_name || readlink(copy, link, sizeof(link)) >= 0)
		*out = real_path(copy);
	else
		*out = real_parent(copy, slash, name);
	return *out ? 0 : df_fail(-errno, "path '%s'", path);
}

char *df_place_cache_dir(const char *api_url, const char *org,
			 const char *workspace, const char *table,
			 const char *path, unsigned nth)
{
	/* A cache belongs to one volume of one server: a name alone could be
	 * another table after the credentials changed. */
	const char *part[] = { api_url, org, workspace, table, path };
	struct df_field field[DF_ARRAY_LEN(part)];
	char hex[33], suffix[16] = "";
	DF_FREE char *home = NULL;

	for (size_t i = 0; i < DF_ARRAY_LEN(part); i++)
		field[i] = (struct df_field){ part[i] ? part[i] : "",
					      part[i] ? strlen(part[i]) : 0 };
	struct df_id id = df_hash_fields(field, DF_ARRAY_LEN(field));
	df_id_hex(&id, hex);
	if (nth)
		snprintf(suffix, sizeof(suffix), ".%u", nth + 1);
	if (geteuid() == 0)
		return df_strf("/var/cache/deeplake/%s-%.10s%s", table, hex,
			       suffix);
	const char *xdg = getenv("XDG_CACHE_HOME");
	if (xdg && *xdg == '/')
		return df_strf("%s/deeplake/%s-%.10s%s", xdg, table, hex,
			       suffix);
	home = df_place_home();
	if (!home)
		return NULL;
	return df_strf("%s/.cache/deeplake/%s-%.10s%s", home, table, hex,
		       suffix);
}

char *df_place_run_dir(uid_t uid, unsigned nth)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");

	if (uid == 0)
		return nth == 0 ? strdup("/run/deeplake") : NULL;
	bool own = uid == geteuid() && xdg && *xdg == '/';
	if (own && nth == 0)
		return df_strf("%s/deeplake", xdg);
	switch (nth - own) {
	case 0:
		return df_strf("/run/user/%u/deeplake", (unsigned)uid);
	case 1:
		return df_strf("/tmp/deeplake-%u", (unsigned)uid);
	default:
		return NULL;
	}
}
