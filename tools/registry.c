/* registry.c - see registry.h. */
#include "tools/registry.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "tools/place.h"

#define REGISTRY_MAX (16 << 20)

static char *registry_file(const char *name)
{
	DF_FREE char *home = df_place_home();

	if (!home) {
		df_log_error("no home directory: set HOME");
		return NULL;
	}
	return df_strf("%s/.deeplake/%s", home, name);
}

/* The whole document; an absent file is {"mounts": []}. */
static int registry_read(const char *file, json_t **out)
{
	struct df_buf text;
	json_error_t why;

	df_buf_init(&text, REGISTRY_MAX);
	int err = df_file_read(file, &text);
	if (err == -ENOENT) {
		*out = json_pack("{s:[]}", "mounts");
		df_buf_release(&text);
		return *out ? 0 : -ENOMEM;
	}
	*out = err ? NULL : json_loadb((char *)text.data, text.len, 0, &why);
	df_buf_release(&text);
	if (err)
		return df_fail(err, "%s", file);
	if (!*out)
		return df_fail(DF_ECORRUPT,
			       "%s, line %d: %s; repair it or "
			       "move it away",
			       file, why.line, why.text);
	if (json_is_array(json_object_get(*out, "mounts")))
		return 0;
	json_decref(*out);
	*out = NULL;
	return df_fail(DF_ECORRUPT,
		       "%s: no list \"mounts\" in it; repair it "
		       "or move it away",
		       file);
}

static char *copy_or_null(const char *s)
{
	return s && *s ? strdup(s) : NULL;
}

/* Parts of deeplake://ORG/WORKSPACE/TABLE, for entries written by hand. */
static void fill_from_url(struct df_entry_reg *e, const char *url)
{
	static const char scheme[] = "deeplake://";
	char *part[3] = { NULL, NULL, NULL };

	if (!url || strncmp(url, scheme, sizeof(scheme) - 1) != 0)
		return;
	DF_FREE char *copy = strdup(url + sizeof(scheme) - 1);
	char *at = copy;
	for (size_t i = 0; i < DF_ARRAY_LEN(part); i++)
		part[i] = strsep(&at, "/");
	e->org = copy_or_null(part[0]);
	if (!e->workspace)
		e->workspace = copy_or_null(part[1]);
	if (!e->table)
		e->table = copy_or_null(part[2]);
}

static const char *text_of(const json_t *j, const char *key)
{
	return json_string_value(json_object_get(j, key));
}

static void entry_release(struct df_entry_reg *e)
{
	free(e->path);
	free(e->table);
	free(e->subdir);
	free(e->workspace);
	free(e->org);
	free(e->options);
}

/* False for an entry without a path or a table: somebody else's. */
static bool entry_parse(const json_t *j, struct df_entry_reg *e)
{
	memset(e, 0, sizeof(*e));
	e->path = copy_or_null(text_of(j, "mountPath"));
	e->table = copy_or_null(text_of(j, "tableName"));
	e->subdir = copy_or_null(text_of(j, "subdir"));
	e->workspace = copy_or_null(text_of(j, "workspaceName"));
	e->options = copy_or_null(text_of(j, "options"));
	fill_from_url(e, text_of(j, "dbUrl"));
	if (e->path && *e->path == '/' && e->table)
		return true;
	entry_release(e);
	return false;
}

int df_registry_load(struct df_registry *out)
{
	DF_FREE char *file = registry_file("mounts.json");
	json_t *doc, *mounts, *j;
	size_t i;

	*out = (struct df_registry){ NULL, 0 };
	if (!file)
		return -ENOENT;
	int err = registry_read(file, &doc);
	if (err)
		return err;
	mounts = json_object_get(doc, "mounts");
	out->v = calloc(json_array_size(mounts) + 1, sizeof(*out->v));
	if (!out->v) {
		json_decref(doc);
		return -ENOMEM;
	}
	json_array_foreach(mounts, i, j) if (entry_parse(j, &out->v[out->n]))
		out->n++;
	json_decref(doc);
	return 0;
}

void df_registry_release(struct df_registry *r)
{
	for (size_t i = 0; i < r->n; i++)
		entry_release(&r->v[i]);
	free(r->v);
	*r = (struct df_registry){ NULL, 0 };
}

const struct df_entry_reg *df_registry_find(const struct df_registry *r,
					    const char *path)
{
	for (size_t i = 0; i < r->n; i++)
		if (strcmp(r->v[i].path, path) == 0)
			return &r->v[i];
	return NULL;
}

/* ---- changes */

static int lock_file(void)
{
	DF_FREE char *file = registry_file("mounts.lock");

	if (!file)
		return -ENOENT;
	char *slash = strrchr(file, '/');
	*slash = 0;
	int err = df_mkdir_p(file, 0700);
	*slash = '/';
	if (err)
		return df_fail(err, "making the directory of %s", file);
	int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || flock(fd, LOCK_EX))
		return df_fail(-errno, "locking %s", file);
	return fd;
}

typedef int edit_fn(json_t *mounts, const void *arg);

/* Runs edit on the list, under the lock; > 0 from it means: write it. */
static int registry_edit(edit_fn *edit, const void *arg)
{
	DF_FREE char *file = registry_file("mounts.json");
	json_t *doc;

	if (!file)
		return -ENOENT;
	DF_CLOSE int lock = lock_file();
	if (lock < 0)
		return lock;
	int err = registry_read(file, &doc);
	if (err)
		return err;
	err = edit(json_object_get(doc, "mounts"), arg);
	if (err > 0) {
		DF_FREE char *text = json_dumps(doc, JSON_INDENT(2));
		err = text ? df_file_replace(file, text, strlen(text), 0600)
			   : -ENOMEM;
		if (err)
			df_fail(err, "writing %s", file);
	}
	json_decref(doc);
	return err;
}

static json_t *find_json(json_t *mounts, const char *path)
{
	json_t *j;
	size_t i;

	json_array_foreach(mounts, i, j)
	{
		const char *at = text_of(j, "mountPath");
		if (at && strcmp(at, path) == 0)
			return j;
	}
	return NULL;
}

/* The name that other tools look for: every '/' becomes '_'. */
static char *pid_file(const char *path)
{
	DF_FREE char *name = df_strf("pid_%s.pid", path);

	if (!name)
		return NULL;
	for (char *p = name; *p; p++)
		if (*p == '/')
			*p = '_';
	return registry_file(name);
}

static int set_text(json_t *j, const char *key, const char *value)
{
	if (!value)
		return json_object_del(j, key), 0;
	return json_object_set_new(j, key, json_string(value));
}

static int edit_put(json_t *mounts, const void *arg)
{
	const struct df_entry_reg *e = arg;
	json_t *j = find_json(mounts, e->path);
	DF_FREE char *pid = pid_file(e->path);
	DF_FREE char *url = df_strf("deeplake://%s/%s/%s", e->org ? e->org : "",
				    e->workspace ? e->workspace : "default",
				    e->table);
	char now[32];
	time_t t = time(NULL);
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(now, sizeof(now), "%Y-%m-%dT%H:%M:%S.000Z", &tm);
	if (!j) {
		j = json_pack("{s:s, s:s, s:n}", "mountPath", e->path,
			      "createdAt", now, "pid");
		if (!j || json_array_append_new(mounts, j))
			return -ENOMEM;
	}
	if (!pid || !url || set_text(j, "dbUrl", url) ||
	    set_text(j, "pidFile", pid) ||
	    set_text(j, "backendType", "managed") ||
	    set_text(j, "tableName", e->table) ||
	    set_text(j, "workspaceName",
		     e->workspace ? e->workspace : "default") ||
	    set_text(j, "subdir", e->subdir) ||
	    set_text(j, "options", e->options))
		return -ENOMEM;
	return 1;
}

int df_registry_put(const struct df_entry_reg *e)
{
	return registry_edit(edit_put, e);
}

struct pid_change {
	const char *path;
	pid_t pid, only;
};

static int edit_pid(json_t *mounts, const void *arg)
{
	const struct pid_change *c = arg;
	json_t *j = find_json(mounts, c->path);

	if (!j)
		return -ENOENT;
	json_int_t now = json_integer_value(json_object_get(j, "pid"));
	if (c->only > 0 && now != c->only)
		return 0;
	json_t *pid = c->pid > 0 ? json_integer(c->pid) : json_null();
	return json_object_set_new(j, "pid", pid) ? -ENOMEM : 1;
}

int df_registry_set_pid(const char *path, pid_t pid, pid_t only)
{
	struct pid_change c = { path, pid, only };
	DF_FREE char *file = pid_file(path);
	char text[16];

	int err = registry_edit(edit_pid, &c);
	if (err || !file)
		return err;
	if (pid <= 0)
		return unlink(file) && errno != ENOENT ? -errno : 0;
	int n = snprintf(text, sizeof(text), "%d\n", (int)pid);
	return df_file_replace(file, text, (size_t)n, 0600);
}

struct table_name {
	const char *table, *workspace;
};

static int edit_drop(json_t *mounts, const void *arg)
{
	const struct table_name *t = arg;
	int dropped = 0;

	for (size_t i = json_array_size(mounts); i-- > 0;) {
		struct df_entry_reg e;
		if (!entry_parse(json_array_get(mounts, i), &e))
			continue;
		const char *ws = e.workspace ? e.workspace : "default";
		bool same = strcmp(e.table, t->table) == 0 &&
			    strcmp(ws, t->workspace) == 0;
		entry_release(&e);
		if (!same)
			continue;
		json_array_remove(mounts, i);
		dropped = 1;
	}
	return dropped;
}

int df_registry_drop_table(const char *table, const char *workspace)
{
	struct table_name t = { table, workspace ? workspace : "default" };

	return registry_edit(edit_drop, &t);
}
