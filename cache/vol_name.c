/*
 * vol_name.c - operations on names: lookup, make, link, remove, rename.
 *
 * Each is: find what is shown, check, settle, change registers, end.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/copy.h"
#include "cache/settle.h"

static int name_ok(const char *name)
{
	size_t len = strlen(name);

	if (len > DF_NAME_MAX)
		return -ENAMETOOLONG;
	return len && strcmp(name, ".") && strcmp(name, "..") ? 0 : -EINVAL;
}

/* The directory with this number, or -errno. */
static int get_dir(struct df_vol *v, df_nid nid, struct df_obj **out)
{
	struct df_obj *o = df_vol_asked(v, nid);

	if (!o)
		return -ESTALE;
	if (!df_obj_is_dir(o))
		return -ENOTDIR;
	*out = o;
	return 0;
}

static int shown_obj(struct df_vol *v, const struct df_obj *dir,
		     const char *name, struct df_obj **out)
{
	struct df_shown s = df_tree_lookup(v, dir->nid, name);

	if (s.kind == DF_KIND_COPY)
		*out = df_copy_look(v, &s);
	else
		*out = s.kind ? df_fold_get(v->fold, s.nid) : NULL;
	if (*out)
		return 0;
	return df_fold_error(v->fold) ? -EIO : -ENOENT; /* not known */
}

static int find(struct df_vol *v, df_nid parent, const char *name,
		struct df_obj **out)
{
	struct df_obj *dir;
	int err = get_dir(v, parent, &dir);

	if (err)
		return err;
	if (!strcmp(name, ".")) {
		*out = dir;
		return 0;
	}
	if (!strcmp(name, "..")) {
		const char *unused;
		*out = dir->nid == v->root
			       ? dir
			       : df_fold_get(v->fold,
					     df_tree_parent(dir, &unused));
		return *out ? 0 : -ESTALE;
	}
	if (strlen(name) > DF_NAME_MAX)
		return -ENAMETOOLONG;
	return shown_obj(v, dir, name, out);
}

/* Is there a name by which one could get to o? */
static bool reachable(const struct df_vol *v, const struct df_obj *o)
{
	if (df_obj_is_dir(o))
		return o->nid == v->root || df_tree_dir_live(o);
	return !(o->flags & DF_OBJ_ORPHAN);
}

int df_vol_lookup(struct df_vol *v, df_nid parent, const char *name,
		  struct df_entry *e)
{
	struct df_obj *o;

	*e = (struct df_entry){ 0 };
	df_lock(&v->lock);
	/* With export handles the kernel asks a node for itself. */
	int err;
	if (!strcmp(name, ".")) {
		o = df_vol_asked(v, parent);
		err = o && reachable(v, o) ? 0 : -ESTALE;
	} else {
		err = find(v, parent, name, &o);
	}
	if (!err) {
		df_vol_count(v, o);
		df_vol_entry(v, o, e);
	} else if (err == -ENOENT) {
		e->entry_timeout = df_vol_timeout(v);
	}
	df_unlock(&v->lock);
	return err;
}

void df_vol_forget(struct df_vol *v, df_nid nid, uint64_t n)
{
	df_lock(&v->lock);
	uint64_t count = df_nidmap_get(&v->lookups, nid);
	count = count > n ? count - n : 0;
	df_nidmap_set(&v->lookups, nid, count);
	if (!count) {
		df_nid real = v->alias.n ? df_nidmap_get(&v->alias, nid) : 0;
		struct df_obj *o = df_fold_get(v->fold, real ? real : nid);
		if (o)
			df_vol_reap(v, o);
	}
	df_unlock(&v->lock);
}

/* ---- ids */
static struct df_id fresh_id(struct df_vol *v)
{
	uint8_t random[16];
	int64_t now = df_clock_real_ns();
	uint64_t count = ++v->id_count;

	df_random(random, sizeof(random));
	struct df_field f[] = { { random, sizeof(random) },
				{ &v->node, sizeof(v->node) },
				{ &now, sizeof(now) },
				{ &count, sizeof(count) } };
	return df_hash_fields(f, 4);
}

static struct df_id derived_id(const char *kind, const struct df_id *parent,
			       const char *name, unsigned k)
{
	uint8_t n[4] = { (uint8_t)k, (uint8_t)(k >> 8), (uint8_t)(k >> 16),
			 (uint8_t)(k >> 24) };
	struct df_field f[] = { { kind, strlen(kind) },
				{ parent->b, DF_ID_LEN },
				{ name, strlen(name) },
				{ n, sizeof(n) } };

	return df_hash_fields(f, 4);
}

/* merge-rules 3: "the same directory made twice" is one. */
static struct df_obj *dir_obj(struct df_vol *v, const struct df_obj *parent,
			      const char *name)
{
	struct df_id id;

	for (unsigned k = 0; !df_rule_off(DF_RULE_DET_DIR); k++) {
		id = derived_id("dir", &parent->id, name, k);
		struct df_obj *o = df_fold_find(v->fold, &id);
		if (!o)
			return df_fold_make(v->fold, &id);
		if (!df_obj_is_dir(o) || o->place.there)
			continue;
		if (o->place.st.time && (o->place.parent != parent->nid ||
					 strcmp(o->place.name, name)))
			continue;
		/* The old one may be somebody's working directory. */
		if (!df_nidmap_get(&v->lookups, df_vol_nid(v, o)))
			return o;
		df_nid fresh = df_fold_new_nid(v->fold);
		df_nidmap_set(&v->alias, fresh, o->nid);
		df_nidmap_set(&v->alias_of, o->nid, fresh);
		return o;
	}
	id = fresh_id(v);
	return df_fold_make(v->fold, &id);
}

static struct df_obj *file_obj(struct df_vol *v, const struct df_obj *parent,
			       const char *name, bool log)
{
	struct df_id id;

	for (unsigned k = 0; log; k++) {
		id = derived_id("log", &parent->id, name, k);
		struct df_obj *o = df_fold_find(v->fold, &id);
		if (!o)
			return df_fold_make(v->fold, &id);
		if (df_obj_blank(o))
			return o;
	}
	id = fresh_id(v);
	return df_fold_make(v->fold, &id);
}

/* ---- making */
struct make {
	mode_t mode;
	uint32_t rdev;
	const char *target;
	bool log;
	const struct df_cred *cred; /* NULL: it has no owner and no mode */
};

static void set_owner(struct df_vol *v, struct df_obj *dir,
		      const struct make *m, struct df_attrs *a)
{
	struct df_attr d;

	df_vol_attr(v, dir, &d);
	a->uid = m->cred->uid;
	a->gid = d.mode & S_ISGID ? d.gid : m->cred->gid;
	a->mode = m->mode & 07777;
	if ((d.mode & S_ISGID) && S_ISDIR(m->mode))
		a->mode |= S_ISGID;
}

static int make(struct df_vol *v, df_nid parent, const char *name,
		const struct make *m, struct df_entry *e)
{
	struct df_obj *dir, *o;
	bool is_dir = S_ISDIR(m->mode);
	int err = get_dir(v, parent, &dir);

	if (!err)
		err = name_ok(name);
	if (!err && !df_tree_dir_live(dir))
		err = -ENOENT; /* removed while somebody stands in it */
	if (!err && !shown_obj(v, dir, name, &o))
		err = -EEXIST;
	if (!err)
		err = df_op_begin(v, DF_OP_GROWS);
	if (err)
		return err;
	df_settle_dirs(v, dir->nid);
	struct df_attrs a = { .type = m->mode & S_IFMT,
			      .rdev = m->rdev,
			      .btime_ns = v->op.now_ns };
	a.mtime_ns = v->op.now_ns;
	if (m->cred)
		set_owner(v, dir, m, &a);
	DF_FREE char *target = m->target ? df_xstrdup(m->target) : NULL;
	a.target = target;
	unsigned mask = (1u << DF_A_TARGET) - 1;
	if (!is_dir)
		mask &= ~(1u << DF_A_MTIME);
	if (!m->cred)
		mask &= ~(1u << DF_A_MODE | 1u << DF_A_UID | 1u << DF_A_GID);
	if (target)
		mask |= 1u << DF_A_TARGET;
	o = is_dir ? dir_obj(v, dir, name) : file_obj(v, dir, name, m->log);
	for (uint32_t i = 0; i < o->n_xattrs; i++) /* of its former life */
		if (o->xattrs[i].there)
			df_op_xattr(v, o, o->xattrs[i].name, false, NULL, 0);
	df_op_attrs(v, o, &a, mask);
	if (is_dir) {
		df_op_place(v, o, true, dir->nid, name, dir->nid, name);
	} else {
		df_op_birth(v, o, m->log);
		df_op_link(v, o, dir->nid, name, true);
	}
	df_op_times(v, dir, true);
	err = df_op_end(v);
	if (!err) {
		df_vol_count(v, o);
		df_vol_entry(v, o, e);
	}
	return err;
}

int df_vol_mknod(struct df_vol *v, df_nid parent, const char *name, mode_t mode,
		 uint32_t rdev, int open_flags, const struct df_cred *cred,
		 struct df_entry *e)
{
	struct make m = { .mode = mode, .rdev = rdev, .cred = cred };

	if (!(mode & S_IFMT))
		m.mode |= S_IFREG;
	m.log = S_ISREG(m.mode) && (open_flags & O_APPEND) &&
		!(open_flags & (O_EXCL | O_TRUNC));
	df_lock(&v->lock);
	int err = make(v, parent, name, &m, e);
	df_unlock(&v->lock);
	return err;
}

int df_vol_mkdir(struct df_vol *v, df_nid parent, const char *name, mode_t mode,
		 const struct df_cred *cred, struct df_entry *e)
{
	struct make m = { .mode = S_IFDIR | (mode & 07777), .cred = cred };

	df_lock(&v->lock);
	int err = make(v, parent, name, &m, e);
	df_unlock(&v->lock);
	return err;
}

int df_vol_symlink(struct df_vol *v, df_nid parent, const char *name,
		   const char *target, const struct df_cred *cred,
		   struct df_entry *e)
{
	struct make m = { .mode = S_IFLNK | 0777,
			  .target = target,
			  .cred = cred };

	if (strlen(target) > DF_SYMLINK_MAX)
		return -ENAMETOOLONG;
	df_lock(&v->lock);
	int err = make(v, parent, name, &m, e);
	df_unlock(&v->lock);
	return err;
}

int df_vol_readlink(struct df_vol *v, df_nid nid, char *out)
{
	df_lock(&v->lock);
	struct df_obj *o = df_vol_asked(v, nid);
	int err = !o                                    ? -ESTALE
		  : o->a.type == S_IFLNK && o->a.target ? 0
							: -EINVAL;
	if (!err) {
		snprintf(out, DF_SYMLINK_MAX + 1, "%s", o->a.target);
		df_vol_accessed(v, o);
	}
	df_unlock(&v->lock);
	return err;
}

static int link_locked(struct df_vol *v, df_nid nid, df_nid parent,
		       const char *name, struct df_entry *e)
{
	struct df_obj *dir = NULL, *o = df_vol_asked(v, nid), *there;
	int err = o ? name_ok(name) : -ESTALE;

	if (!err && df_obj_is_dir(o))
		err = -EPERM;
	if (!err && (o->flags & DF_OBJ_ORPHAN) && !df_copy_owner(v, o))
		err = -ENOENT;
	if (!err && o->n_links >= DF_LINK_MAX)
		err = -EMLINK;
	if (!err)
		err = get_dir(v, parent, &dir);
	if (!err && !df_tree_dir_live(dir))
		err = -ENOENT;
	if (!err && !shown_obj(v, dir, name, &there))
		err = -EEXIST;
	if (!err)
		err = df_op_begin(v, DF_OP_GROWS);
	if (err)
		return err;
	df_settle_object(v, o->nid);
	df_settle_dirs(v, dir->nid);
	df_op_link(v, o, dir->nid, name, true);
	df_op_times(v, dir, true);
	err = df_op_end(v);
	if (!err) {
		df_vol_count(v, o);
		df_vol_entry(v, o, e);
	}
	return err;
}

int df_vol_link(struct df_vol *v, df_nid nid, df_nid parent, const char *name,
		struct df_entry *e)
{
	df_lock(&v->lock);
	int err = link_locked(v, nid, parent, name, e);
	df_unlock(&v->lock);
	return err;
}

/* ---- removing */
static void forget_links(struct df_obj *o)
{
	df_obj_drop_unpublished(o);
}

/* Take the name (parent, name) from file o; gone when it was the last. */
static void kill_link(struct df_vol *v, struct df_obj *o, df_nid parent,
		      const char *name)
{
	df_op_link(v, o, parent, name, false);
	uint32_t left = 0;
	for (uint32_t i = 0; i < o->n_links; i++)
		left += o->links[i].there;
	if (!left || df_rule_off(DF_RULE_HARDGONE))
		df_op_gone(v, o);
	forget_links(o);
}

/* Make room at a shown name: unlink or rmdir what is there. */
static void remove_shown(struct df_vol *v, struct df_obj *dir, const char *name,
			 struct df_obj *o)
{
	if (!df_obj_is_dir(o)) {
		kill_link(v, o, dir->nid, name);
		return;
	}
	const char *at;
	df_nid parent = df_tree_parent(o, &at);
	DF_FREE char *copy = df_xstrdup(at);
	df_op_place(v, o, false, parent, copy, parent, copy);
}

static int removable(const struct df_obj *o, bool as_dir)
{
	if (as_dir != df_obj_is_dir(o))
		return as_dir ? -ENOTDIR : -EISDIR;
	return as_dir && o->n_live ? -ENOTEMPTY : 0;
}

static int remove_locked(struct df_vol *v, df_nid parent, const char *name,
			 bool as_dir)
{
	struct df_obj *dir, *o;
	int err = get_dir(v, parent, &dir);

	if (!err)
		err = shown_obj(v, dir, name, &o);
	if (!err)
		err = removable(o, as_dir);
	if (!err)
		err = df_op_begin(v, DF_OP_FREES);
	if (err)
		return err;
	df_settle_name(v, dir->nid, name);
	remove_shown(v, dir, name, o);
	df_settle_dirs(v, dir->nid);
	df_op_times(v, dir, true);
	err = df_op_end(v);
	df_vol_reap(v, o);
	return err;
}

int df_vol_unlink(struct df_vol *v, df_nid parent, const char *name)
{
	df_lock(&v->lock);
	int err = remove_locked(v, parent, name, false);
	df_unlock(&v->lock);
	return err;
}

int df_vol_rmdir(struct df_vol *v, df_nid parent, const char *name)
{
	df_lock(&v->lock);
	int err = remove_locked(v, parent, name, true);
	df_unlock(&v->lock);
	return err;
}

/* ---- rename */
struct rename_args {
	struct df_obj *dir, *new_dir;
	const char *name, *new_name;
	struct df_obj *o, *there; /* there: NULL if the new name is free */
	unsigned flags;
};

static int rename_flags_ok(const struct rename_args *r)
{
	bool exchange = r->flags & RENAME_EXCHANGE;

	if (r->flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE) ||
	    (exchange && (r->flags & RENAME_NOREPLACE)))
		return -EINVAL;
	if (r->there && (r->flags & RENAME_NOREPLACE))
		return -EEXIST;
	return !r->there && exchange ? -ENOENT : 0;
}

static int rename_check(struct df_vol *v, const struct rename_args *r)
{
	bool exchange = r->flags & RENAME_EXCHANGE;
	int err = rename_flags_ok(r);

	if (err)
		return err;
	if (df_obj_is_dir(r->o) && df_tree_below(v, r->new_dir->nid, r->o->nid))
		return -EINVAL;
	if (exchange && df_obj_is_dir(r->there) &&
	    df_tree_below(v, r->dir->nid, r->there->nid))
		return -EINVAL;
	if (!df_tree_dir_live(r->new_dir))
		return -ENOENT;
	if (!r->there || exchange || r->there == r->o)
		return 0;
	if (df_obj_is_dir(r->o) && !df_obj_is_dir(r->there))
		return -ENOTDIR;
	if (!df_obj_is_dir(r->o) && df_obj_is_dir(r->there))
		return -EISDIR;
	return removable(r->there, df_obj_is_dir(r->there));
}

/* o goes from (dir, name) to (new_dir, new_name). */
static void move_to(struct df_vol *v, struct df_obj *o,
		    const struct df_obj *dir, const char *name,
		    const struct df_obj *new_dir, const char *new_name)
{
	if (!df_obj_is_dir(o)) {
		df_op_link(v, o, new_dir->nid, new_name, true);
		df_op_link(v, o, dir->nid, name, false);
		forget_links(o);
		return;
	}
	const char *at;
	df_nid from = df_tree_parent(o, &at);
	DF_FREE char *copy = df_xstrdup(at);
	df_op_place(v, o, true, new_dir->nid, new_name, from, copy);
}

static void rename_apply(struct df_vol *v, const struct rename_args *r)
{
	if (r->flags & RENAME_EXCHANGE) {
		move_to(v, r->o, r->dir, r->name, r->new_dir, r->new_name);
		move_to(v, r->there, r->new_dir, r->new_name, r->dir, r->name);
	} else {
		if (r->there)
			remove_shown(v, r->new_dir, r->new_name, r->there);
		move_to(v, r->o, r->dir, r->name, r->new_dir, r->new_name);
	}
}

static int rename_find(struct df_vol *v, df_nid parent, df_nid new_parent,
		       struct rename_args *r)
{
	int err = get_dir(v, parent, &r->dir);

	if (!err)
		err = get_dir(v, new_parent, &r->new_dir);
	if (!err)
		err = name_ok(r->new_name);
	if (!err)
		err = shown_obj(v, r->dir, r->name, &r->o);
	if (!err && shown_obj(v, r->new_dir, r->new_name, &r->there))
		r->there = NULL;
	return err;
}

static int rename_locked(struct df_vol *v, df_nid parent, df_nid new_parent,
			 struct rename_args *r)
{
	int err = rename_find(v, parent, new_parent, r);

	if (!err)
		err = rename_check(v, r);
	if (err || r->there == r->o)
		return err;
	err = df_op_begin(v, DF_OP_GROWS);
	if (err)
		return err;
	df_settle_rings(v);
	if (r->there)
		df_settle_name(v, r->new_dir->nid, r->new_name);
	df_settle_name(v, r->dir->nid, r->name);
	df_hold_with(v, r->there, r->o);
	rename_apply(v, r);
	df_settle_dirs(v, r->dir->nid);
	df_settle_dirs(v, r->new_dir->nid);
	df_op_times(v, r->dir, true);
	if (r->new_dir != r->dir)
		df_op_times(v, r->new_dir, true);
	err = df_op_end(v);
	if (r->there && !(r->flags & RENAME_EXCHANGE))
		df_vol_reap(v, r->there);
	return err;
}

int df_vol_rename(struct df_vol *v, df_nid parent, const char *name,
		  df_nid new_parent, const char *new_name, unsigned flags)
{
	struct rename_args r = { .name = name,
				 .new_name = new_name,
				 .flags = flags };

	df_lock(&v->lock);
	int err = rename_locked(v, parent, new_parent, &r);
	df_unlock(&v->lock);
	return err;
}

int df_vol_resolve(struct df_vol *v, const char *path, struct df_entry *e)
{
	DF_FREE char *copy = df_xstrdup(path);
	char *save = NULL;
	int err = 0;

	df_lock(&v->lock);
	struct df_obj *o = df_vol_obj(v, DF_ROOT_NID);
	for (char *part = strtok_r(copy, "/", &save); part && !err;
	     part = strtok_r(NULL, "/", &save)) {
		err = df_obj_is_dir(o) ? 0 : -ENOTDIR;
		if (!err && strlen(part) > DF_NAME_MAX)
			err = -ENAMETOOLONG;
		if (!err)
			err = shown_obj(v, o, part, &o);
	}
	if (!err) {
		df_vol_count(v, o);
		df_vol_entry(v, o, e);
	}
	df_unlock(&v->lock);
	return err;
}
