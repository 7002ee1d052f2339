/* paths.c - operations by path, for the named scenarios; see sim.h.  Each
 * fails the run when the operation does. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/file.h"
#include "tests/sim/sim.h"

static const struct df_cred path_cred = { 1000, 1000, 0 };

static void done(struct node *nd, int err, const char *what, const char *path)
{
	if (err)
		fail(nd->w, "%s %s at n%u: %s", what, path, nd->uid,
		     df_strerror(err));
}

df_nid at_path(struct node *nd, const char *path)
{
	struct df_entry e;
	int err;

	node_as(nd);
	err = df_vol_resolve(nd->v, path, &e);
	if (err == -ENOENT)
		return 0;
	done(nd, err, "resolve", path);
	return e.nid;
}

void let_go(struct node *nd, df_nid nid)
{
	node_as(nd);
	df_vol_forget(nd->v, nid, 1);
}

/* The directory of path, a lookup counted; *name points into path. */
static df_nid dir_of(struct node *nd, const char *path, const char **name)
{
	const char *slash = strrchr(path, '/');
	char *dir = df_strf("%.*s", (int)(slash - path), path);
	df_nid nid = at_path(nd, *dir ? dir : "/");

	if (!nid)
		fail(nd->w, "n%u has no %s", nd->uid, dir);
	free(dir);
	*name = slash + 1;
	return nid;
}

static df_nid need(struct node *nd, const char *path)
{
	df_nid nid = at_path(nd, path);

	if (!nid)
		fail(nd->w, "n%u has no %s", nd->uid, path);
	return nid;
}

static void write_at(struct node *nd, df_nid nid, uint64_t off,
		     const void *data, size_t len, unsigned flags)
{
	const char *p = data;

	while (len) {
		size_t n = len < (1 << 20) ? len : 1 << 20;

		done(nd, df_vol_write(nd->v, nid, off, p, n, flags, NULL, NULL),
		     "write", "");
		off += n;
		p += n;
		len -= n;
	}
}

static df_nid create(struct node *nd, const char *path, int open_flags)
{
	const char *name;
	df_nid dir = dir_of(nd, path, &name);
	struct df_entry e;

	trace(nd->w, "n%u create %s", nd->uid, path);
	done(nd, make_file(nd, dir, name, open_flags, 0644, &e), "create",
	     path);
	let_go(nd, dir);
	return e.nid;
}

void do_create(struct node *nd, const char *path, const char *text)
{
	df_nid nid = create(nd, path, O_CREAT | O_TRUNC | O_WRONLY);

	write_at(nd, nid, 0, text, strlen(text), 0);
	let_go(nd, nid);
}

void do_append(struct node *nd, const char *path, const char *text)
{
	df_nid nid = at_path(nd, path);

	if (!nid)
		nid = create(nd, path, O_CREAT | O_APPEND | O_WRONLY);
	write_at(nd, nid, 0, text, strlen(text), DF_WRITE_APPEND);
	let_go(nd, nid);
}

void do_write(struct node *nd, const char *path, uint64_t off, const void *data,
	      size_t len)
{
	df_nid nid = need(nd, path);

	write_at(nd, nid, off, data, len, 0);
	let_go(nd, nid);
}

void do_truncate(struct node *nd, const char *path, uint64_t size)
{
	struct df_attr in = { .size = size }, out;
	df_nid nid = need(nd, path);
	double timeout;

	done(nd, df_vol_load(nd->v, nid, NULL, NULL), "load", path);
	done(nd, df_vol_setattr(nd->v, nid, DF_SET_SIZE, &in, &out, &timeout),
	     "truncate", path);
	let_go(nd, nid);
}

void do_replace(struct node *nd, const char *path, const char *text)
{
	trace(nd->w, "n%u replace %s", nd->uid, path);
	do_truncate(nd, path, 0);
	do_write(nd, path, 0, text, strlen(text));
}

void do_mkdir(struct node *nd, const char *path)
{
	const char *name;
	df_nid dir = dir_of(nd, path, &name);
	struct df_entry e;

	trace(nd->w, "n%u mkdir %s", nd->uid, path);
	done(nd, df_vol_mkdir(nd->v, dir, name, 0755, &path_cred, &e), "mkdir",
	     path);
	let_go(nd, e.nid);
	let_go(nd, dir);
}

void do_symlink(struct node *nd, const char *path, const char *target)
{
	const char *name;
	df_nid dir = dir_of(nd, path, &name);
	struct df_entry e;

	trace(nd->w, "n%u symlink %s", nd->uid, path);
	done(nd, df_vol_symlink(nd->v, dir, name, target, &path_cred, &e),
	     "symlink", path);
	let_go(nd, e.nid);
	let_go(nd, dir);
}

void do_link(struct node *nd, const char *from, const char *to)
{
	const char *name;
	df_nid nid = need(nd, from), dir = dir_of(nd, to, &name);
	struct df_entry e;

	trace(nd->w, "n%u link %s %s", nd->uid, from, to);
	done(nd, df_vol_link(nd->v, nid, dir, name, &e), "link", to);
	let_go(nd, e.nid);
	let_go(nd, nid);
	let_go(nd, dir);
}

void do_unlink(struct node *nd, const char *path)
{
	const char *name;
	df_nid dir = dir_of(nd, path, &name);

	trace(nd->w, "n%u unlink %s", nd->uid, path);
	done(nd, df_vol_unlink(nd->v, dir, name), "unlink", path);
	let_go(nd, dir);
}

void do_rmdir(struct node *nd, const char *path)
{
	const char *name;
	df_nid dir = dir_of(nd, path, &name);

	trace(nd->w, "n%u rmdir %s", nd->uid, path);
	done(nd, df_vol_rmdir(nd->v, dir, name), "rmdir", path);
	let_go(nd, dir);
}

void do_rename(struct node *nd, const char *from, const char *to,
	       unsigned flags)
{
	const char *old, *new;
	df_nid dir = dir_of(nd, from, &old), into = dir_of(nd, to, &new);

	trace(nd->w, "n%u rename %s %s", nd->uid, from, to);
	done(nd, df_vol_rename(nd->v, dir, old, into, new, flags), "rename",
	     from);
	let_go(nd, dir);
	let_go(nd, into);
}

void do_setxattr(struct node *nd, const char *path, const char *value)
{
	df_nid nid = need(nd, path);

	trace(nd->w, "n%u setxattr %s %s", nd->uid, path, value);
	done(nd,
	     *value ? df_vol_setxattr(nd->v, nid, "user.x", value,
				      strlen(value), 0)
		    : df_vol_removexattr(nd->v, nid, "user.x"),
	     "setxattr", path);
	let_go(nd, nid);
}
