/* cmd_files.c - cp, ls, cat, rm, mkdir, mv. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "tools/sandbox/cli.h"
#include "tools/sandbox/copy.h"
#include "tools/sandbox/guest.h"
#include "tools/sandbox/local.h"
#include "tools/sandbox/make.h"

/* "ID:/path" -> the path, or NULL: no sandbox is named.  "./a:b" and "/a:b"
 * are local names. */
static const char *remote_path(const char *text)
{
	const char *colon = strchr(text, ':');

	if (!colon || colon == text || text[0] == '.' || text[0] == '/' ||
	    memchr(text, '/', (size_t)(colon - text)))
		return NULL;
	return colon[1] ? colon + 1 : "~";
}

static int need_remote(const struct df_args *a, const char *text,
		       const char **path)
{
	*path = remote_path(text);
	if (*path)
		return 0;
	df_log_error("%s: \"%s\" is not ID:/path", a->cmd->name, text);
	return -EINVAL;
}

/* Between two sandboxes: through a file here. */
static int copy_between(const struct df_args *a, const char *from,
			const char *to)
{
	char dir[] = "/tmp/deeplake-cp-XXXXXX";
	struct df_prov *p = NULL;
	struct df_sb *sb = NULL;

	if (!mkdtemp(dir))
		return df_fail(-errno, "%s", dir);
	DF_FREE char *mid = df_strf("%s/x", dir);
	int err = df_open(a, from, &p, &sb);
	if (!err)
		err = df_copy_down(p, sb, a->user, remote_path(from), mid,
				   a->recursive);
	df_close(p, sb);
	p = NULL;
	sb = NULL;
	if (!err)
		err = df_open(a, to, &p, &sb);
	if (!err)
		err = df_copy_up(p, sb, a->user, mid, remote_path(to),
				 a->recursive);
	df_close(p, sb);
	df_tree_remove(dir);
	return err;
}

int df_cmd_cp(struct df_args *a)
{
	const char *src = a->pos.v[0];
	const char *dst = a->pos.v[1];
	const char *from = remote_path(src);
	const char *to = remote_path(dst);
	struct df_prov *p = NULL;
	struct df_sb *sb = NULL;

	if (!from && !to) {
		df_log_error("cp: neither side is in a sandbox: write "
			     "ID:/path");
		return DF_EXIT_USAGE;
	}
	if (from && to)
		return df_exit_of(copy_between(a, src, dst));
	int err = df_open(a, from ? src : dst, &p, &sb);
	if (!err && from)
		err = df_copy_down(p, sb, a->user, from, dst, a->recursive);
	else if (!err)
		err = df_copy_up(p, sb, a->user, src, to, a->recursive);
	if (!err && a->json)
		df_json_print(json_pack("{s:s, s:s}", "from", src, "to", dst));
	df_close(p, sb);
	return df_exit_of(err);
}

/* File names are bytes: control characters must not reach a terminal. */
static void print_name(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 32 || *s == 127)
			printf("\\%03o", (unsigned char)*s);
		else
			putchar(*s);
}

static void print_entry(const json_t *e)
{
	const char *link = df_json_str(e, "symlinkTarget");
	const char *perms = df_json_str(e, "permissions");
	char type = df_entry_is_dir(e) ? 'd' : *link ? 'l' : '-';

	/* envd's first letter is not a file type */
	printf("%c%s %-8s %-8s %12lld %.19s ", type,
	       strlen(perms) == 10 ? perms + 1 : perms, df_json_str(e, "owner"),
	       df_json_str(e, "group"), (long long)df_entry_size(e),
	       df_json_str(e, "modifiedTime"));
	print_name(df_json_str(e, "name"));
	if (*link) {
		printf(" -> ");
		print_name(link);
	}
	putchar('\n');
}

static int by_name(const void *x, const void *y)
{
	return strcmp(df_json_str(*(json_t *const *)x, "name"),
		      df_json_str(*(json_t *const *)y, "name"));
}

static void print_sorted(json_t *list)
{
	size_t n = json_array_size(list);
	json_t **v = calloc(n + 1, sizeof(json_t *));

	for (size_t i = 0; v && i < n; i++)
		v[i] = json_array_get(list, i);
	if (v)
		qsort(v, n, sizeof(json_t *), by_name);
	for (size_t i = 0; v && i < n; i++)
		print_entry(v[i]);
	free(v);
}

int df_cmd_ls(struct df_args *a)
{
	const char *path;
	struct df_prov *p = NULL;
	struct df_sb *sb = NULL;
	json_t *entry = NULL;
	json_t *list = NULL;

	int err = need_remote(a, a->pos.v[0], &path);
	if (!err)
		err = df_open(a, a->pos.v[0], &p, &sb);
	if (!err) {
		err = df_guest_stat(p, sb, a->user, path, &entry);
		if (err == -ENOENT)
			df_log_error("%s:%s does not exist", sb->id, path);
	}
	if (!err && df_entry_is_dir(entry)) {
		err = p->ops->fs(p, sb, DF_FS_LIST, a->user, path, NULL, &list);
	} else if (!err) {
		list = json_array();
		json_array_append(list, entry);
	}
	if (!err && a->json)
		df_json_print(json_incref(list));
	else if (!err)
		print_sorted(list);
	json_decref(entry);
	json_decref(list);
	df_close(p, sb);
	return df_exit_of(err);
}

/* Each operand by itself, all of them, the first failure as status. */
static int each(struct df_args *a,
		int (*one)(const struct df_args *a, struct df_prov *p,
			   struct df_sb *sb, const char *path))
{
	int first = 0;

	for (size_t i = 0; i < a->pos.n; i++) {
		const char *path;
		struct df_prov *p = NULL;
		struct df_sb *sb = NULL;
		int err = need_remote(a, a->pos.v[i], &path);
		if (!err)
			err = df_open(a, a->pos.v[i], &p, &sb);
		if (!err)
			err = one(a, p, sb, path);
		df_close(p, sb);
		first = first ? first : err;
	}
	return df_exit_of(first);
}

static int cat_one(const struct df_args *a, struct df_prov *p, struct df_sb *sb,
		   const char *path)
{
	return df_copy_down(p, sb, a->user, path, "-", false);
}

static int rm_one(const struct df_args *a, struct df_prov *p, struct df_sb *sb,
		  const char *path)
{
	json_t *entry = NULL;

	int err = df_guest_stat(p, sb, a->user, path, &entry);
	if (err == -ENOENT) {
		df_log_error("%s:%s does not exist", sb->id, path);
	} else if (!err && df_entry_is_dir(entry) && !a->recursive) {
		df_log_error("%s:%s is a directory: add -r", sb->id, path);
		err = -EISDIR;
	} else if (!err) {
		err = p->ops->fs(p, sb, DF_FS_REMOVE, a->user, path, NULL,
				 NULL);
	}
	json_decref(entry);
	return err;
}

static int mkdir_one(const struct df_args *a, struct df_prov *p,
		     struct df_sb *sb, const char *path)
{
	int err = p->ops->fs(p, sb, DF_FS_MKDIR, a->user, path, NULL, NULL);

	if (err == -EEXIST && a->parents)
		return 0;
	if (err == -EEXIST)
		df_log_error("%s:%s exists already", sb->id, path);
	return err;
}

int df_cmd_cat(struct df_args *a)
{
	return each(a, cat_one);
}

int df_cmd_rm(struct df_args *a)
{
	return each(a, rm_one);
}

int df_cmd_mkdir(struct df_args *a)
{
	return each(a, mkdir_one);
}

int df_cmd_mv(struct df_args *a)
{
	const char *from;
	const char *to = remote_path(a->pos.v[1]);
	struct df_prov *p = NULL;
	struct df_sb *sb = NULL;

	int err = need_remote(a, a->pos.v[0], &from);
	if (!err && to &&
	    strncmp(a->pos.v[0], a->pos.v[1], strcspn(a->pos.v[0], ":") + 1)) {
		df_log_error("mv: both names must be in one sandbox; use cp");
		err = -EINVAL;
	}
	if (!err)
		err = df_open(a, a->pos.v[0], &p, &sb);
	if (!err)
		err = p->ops->fs(p, sb, DF_FS_MOVE, a->user, from,
				 to ? to : a->pos.v[1], NULL);
	df_close(p, sb);
	return df_exit_of(err);
}
