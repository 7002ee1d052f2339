/* vol_attr.c - attributes, extended attributes, statfs. */
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "cache/settle.h"
#include "cache/vol_data.h"

#define RELATIME_NS (24 * 3600 * DF_NS_PER_S)

int df_vol_getattr(struct df_vol *v, df_nid nid, struct df_attr *a,
		   double *timeout)
{
	df_lock(&v->lock);
	struct df_obj *o = df_vol_asked(v, nid);
	if (o) {
		df_vol_attr(v, o, a);
		*timeout = df_vol_timeout(v);
	}
	df_unlock(&v->lock);
	return o ? 0 : -ESTALE;
}

void df_vol_accessed(struct df_vol *v, struct df_obj *o)
{
	struct df_attr a;
	int64_t now, atime, mtime;

	if (v->conf.atime == DF_ATIME_NOATIME || v->conf.read_only)
		return;
	now = df_clock_real_ns();
	if (o->atime_ns > o->ctime_ns && now - o->atime_ns < RELATIME_NS &&
	    o->atime_ns <= now)
		return; /* cheap: newer than any change */
	df_vol_attr(v, o, &a);
	atime = a.atime.tv_sec * DF_NS_PER_S + a.atime.tv_nsec;
	mtime = a.mtime.tv_sec * DF_NS_PER_S + a.mtime.tv_nsec;
	if (o->atime_ns && atime > mtime && atime > o->ctime_ns &&
	    now - atime < RELATIME_NS && atime <= now)
		return;
	o->atime_ns = now;
	df_fold_touch(v->fold, o);
}

static int64_t to_ns(struct timespec t)
{
	return t.tv_sec * DF_NS_PER_S + t.tv_nsec;
}

/* chmod, chown and utimes as registers; the rest is elsewhere. */
static void set_registers(struct df_vol *v, struct df_obj *o, unsigned mask,
			  const struct df_attr *in)
{
	struct df_attrs a = { .mode = in->mode & 07777,
			      .uid = in->uid,
			      .gid = in->gid };
	unsigned fields = 0;

	if (mask & DF_SET_MODE)
		fields |= 1u << DF_A_MODE;
	if (mask & DF_SET_UID)
		fields |= 1u << DF_A_UID;
	if (mask & DF_SET_GID)
		fields |= 1u << DF_A_GID;
	if (mask & (DF_SET_MTIME | DF_SET_MTIME_NOW)) {
		fields |= 1u << DF_A_MTIME;
		a.mtime_ns = mask & DF_SET_MTIME_NOW ? v->op.now_ns
						     : to_ns(in->mtime);
	}
	if ((mask & DF_SET_KILL_SUID) && !(mask & DF_SET_MODE)) {
		uint32_t mode = o->a.mode & ~(uint32_t)S_ISUID;
		if (mode & S_IXGRP)
			mode &= ~(uint32_t)S_ISGID;
		if (o->a.st[DF_A_MODE].time && mode != o->a.mode) {
			a.mode = mode;
			fields |= 1u << DF_A_MODE;
		}
	}
	if (mask & (DF_SET_ATIME | DF_SET_ATIME_NOW))
		o->atime_ns = mask & DF_SET_ATIME_NOW ? v->op.now_ns
						      : to_ns(in->atime);
	if (fields)
		df_op_attrs(v, o, &a, fields);
	else
		df_op_times(v, o, false);
}

static int setattr_locked(struct df_vol *v, df_nid nid, unsigned mask,
			  const struct df_attr *in, struct df_attr *out)
{
	struct df_obj *o = df_vol_asked(v, nid);

	if (!o)
		return -ESTALE;
	if (mask & DF_SET_SIZE) {
		if (df_obj_is_dir(o))
			return -EISDIR;
		if (in->size > (uint64_t)DF_FILE_SIZE_MAX)
			return -EFBIG;
		if (df_data_unloaded(o))
			return -EAGAIN;
	}
	int err = mask & DF_SET_SIZE ? df_orphan_own(v, nid, &o) : 0;
	if (err)
		return err;
	err = df_op_begin(v, mask & DF_SET_SIZE ? DF_OP_FREES : DF_OP_GROWS);
	if (err)
		return err;
	df_settle_object(v, o->nid);
	if (mask & DF_SET_SIZE) {
		struct df_write w = { .off = in->size, .size = in->size };
		df_op_write(v, o, &w);
	}
	if (mask & ~(unsigned)(DF_SET_SIZE | DF_SET_CTIME))
		set_registers(v, o, mask, in);
	err = df_op_end(v);
	df_vol_attr(v, o, out);
	return err;
}

int df_vol_setattr(struct df_vol *v, df_nid nid, unsigned mask,
		   const struct df_attr *in, struct df_attr *out,
		   double *timeout)
{
	df_lock(&v->lock);
	int err = setattr_locked(v, nid, mask, in, out);
	*timeout = df_vol_timeout(v);
	df_unlock(&v->lock);
	return err;
}

/* ---- extended attributes */
ssize_t df_vol_getxattr(struct df_vol *v, df_nid nid, const char *name,
			void *value, size_t size)
{
	ssize_t n = -ESTALE;

	df_lock(&v->lock);
	struct df_obj *o = df_vol_asked(v, nid);
	const struct df_xattr *x = o ? df_obj_xattr(o, name) : NULL;
	if (o)
		n = x && x->there ? (ssize_t)x->len : -ENODATA;
	if (n >= 0 && size && (size_t)n > size)
		n = -ERANGE;
	else if (n > 0 && size)
		memcpy(value, x->value, (size_t)n);
	df_unlock(&v->lock);
	return n;
}

ssize_t df_vol_listxattr(struct df_vol *v, df_nid nid, char *list, size_t size)
{
	ssize_t n = 0;

	df_lock(&v->lock);
	struct df_obj *o = df_vol_asked(v, nid);
	for (uint32_t i = 0; o && i < o->n_xattrs && n >= 0; i++) {
		size_t len = strlen(o->xattrs[i].name) + 1;
		if (!o->xattrs[i].there)
			continue;
		if (size && (size_t)n + len > size) {
			n = -ERANGE;
			break;
		}
		if (size)
			memcpy(list + n, o->xattrs[i].name, len);
		n += (ssize_t)len;
	}
	df_unlock(&v->lock);
	return o ? n : -ESTALE;
}

static int change_xattr(struct df_vol *v, df_nid nid, const char *name,
			bool there, const void *value, size_t size, int flags)
{
	struct df_obj *o = df_vol_asked(v, nid);
	const struct df_xattr *x = o ? df_obj_xattr(o, name) : NULL;
	bool is = x && x->there;

	if (!o)
		return -ESTALE;
	if (is && (flags & XATTR_CREATE))
		return -EEXIST;
	if (!is && ((flags & XATTR_REPLACE) || !there))
		return -ENODATA;
	int err = df_op_begin(v, there ? DF_OP_GROWS : DF_OP_FREES);
	if (err)
		return err;
	df_settle_object(v, o->nid);
	df_op_xattr(v, o, name, there, value, (uint32_t)size);
	return df_op_end(v);
}

int df_vol_setxattr(struct df_vol *v, df_nid nid, const char *name,
		    const void *value, size_t size, int flags)
{
	if (!*name || strlen(name) > DF_XATTR_NAME_MAX)
		return -ERANGE;
	if (size > DF_XATTR_VALUE_MAX)
		return -E2BIG;
	df_lock(&v->lock);
	int err = change_xattr(v, nid, name, true, value, size, flags);
	df_unlock(&v->lock);
	return err;
}

int df_vol_removexattr(struct df_vol *v, df_nid nid, const char *name)
{
	df_lock(&v->lock);
	int err = change_xattr(v, nid, name, false, NULL, 0, 0);
	df_unlock(&v->lock);
	return err;
}

int df_vol_statfs(struct df_vol *v, struct df_statfs *out)
{
	df_lock(&v->lock);
	out->files = v->n_files;
	out->used_bytes = v->n_bytes;
	out->free_bytes = v->conf.free_bytes ? v->conf.free_bytes
					     : UINT64_C(1) << 50;
	df_unlock(&v->lock);
	return 0;
}
