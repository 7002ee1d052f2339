/* vol.c - what the volume's files share: objects by number, attributes,
 * notices, errors.  See vol.h. */
#include "cache/vol.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "cache/copy.h"
#include "cache/room.h"
#include "cache/rowfiles.h"
#include "cache/tree.h"

#define TIMEOUT_POLL_S 10.0
#define TIMEOUT_FEED_S 3600.0

static void say(struct df_vol *v, const char *fmt, va_list ap)
{
	char text[256];

	vsnprintf(text, sizeof(text), fmt, ap);
	for (unsigned i = 0; i < v->n_errors; i++)
		if (!strcmp(v->errors[i], text))
			return;
	df_log_error("%s", text);
	if (v->n_errors == DF_ARRAY_LEN(v->errors)) {
		memmove(v->errors, v->errors + 1,
			sizeof(v->errors) - sizeof(v->errors[0]));
		v->n_errors--;
	}
	memcpy(v->errors[v->n_errors++], text, sizeof(text));
}

void df_vol_say(struct df_vol *v, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(v, fmt, ap);
	va_end(ap);
}

void df_vol_fail(struct df_vol *v, const char *fmt, ...)
{
	va_list ap;

	v->failsafe = true;
	va_start(ap, fmt);
	say(v, fmt, ap);
	va_end(ap);
}

void df_vol_sent(struct df_vol *v, uint64_t bytes)
{
	v->bytes_sent += bytes;
	v->last_sent_ns = df_clock_mono_ns();
	v->offline = false;
	v->auth_err = 0;
}

int64_t df_vol_away_ms(const struct df_vol *v)
{
	struct df_remote_health h = { 0 };

	if (v->remote->ops->health)
		v->remote->ops->health(v->remote, &h);
	return h.away_ms;
}

int df_vol_writable(struct df_vol *v)
{
	if (df_vol_read_only(v) && !df_rowfiles_is_self(v->rows))
		return -EROFS;
	if (df_fold_error(v->fold) && !v->failsafe)
		df_vol_fail(v, "the local database failed (mount again): %s",
			    df_strerror(df_fold_error(v->fold)));
	return v->failsafe ? -EIO : 0;
}

struct df_obj *df_vol_obj(struct df_vol *v, df_nid nid)
{
	df_fold_trim(v->fold);
	if (nid == DF_ROOT_NID)
		return df_fold_get(v->fold, v->root);
	df_nid real = v->alias.n ? df_nidmap_get(&v->alias, nid) : 0;
	return df_fold_get(v->fold, real ? real : nid);
}

void df_vol_used(struct df_vol *v)
{
	int64_t now = df_clock_mono_ns();

	/* It polled seldom, for nobody wanted to see anything. */
	if (now - v->last_request_ns > DF_IDLE_AFTER_MS * DF_NS_PER_MS) {
		v->poll_now = true;
		df_cond_signal(&v->poll_cond);
	}
	v->last_request_ns = now;
}

struct df_obj *df_vol_asked(struct df_vol *v, df_nid nid)
{
	df_vol_used(v);
	return df_vol_obj(v, nid);
}

df_nid df_vol_nid(const struct df_vol *v, const struct df_obj *o)
{
	if (o->nid == v->root)
		return DF_ROOT_NID;
	df_nid alias = v->alias_of.n ? df_nidmap_get(&v->alias_of, o->nid) : 0;
	return alias ? alias : o->nid;
}

void df_vol_count(struct df_vol *v, struct df_obj *o)
{
	df_nid nid = df_vol_nid(v, o);

	if (nid != DF_ROOT_NID)
		df_nidmap_set(&v->lookups, nid,
			      df_nidmap_get(&v->lookups, nid) + 1);
}

void df_vol_reap(struct df_vol *v, struct df_obj *o)
{
	if (o->nid == DF_ROOT_NID || (o->flags & DF_OBJ_DEAD))
		return;
	bool dir = df_obj_is_dir(o);
	if (dir ? df_tree_dir_live(o) : !(o->flags & DF_OBJ_ORPHAN))
		return;
	if (df_nidmap_get(&v->lookups, df_vol_nid(v, o)) ||
	    df_nidmap_get(&v->lookups, o->nid))
		return;
	if (df_obj_published(o))
		return; /* a tombstone: others must learn, or know */
	if (dir && (o->n_dirty_names || o->n_live))
		return;
	df_nidset_del(&v->dirty, o->nid);
	df_nidmap_set(&v->copies, o->nid, 0);

	df_fold_drop(v->fold, o);
}

void df_vol_forget_names(struct df_vol *v, struct df_obj *o)
{
	struct df_was w;
	bool unknown = false;

	for (uint32_t i = 0; i < o->n_links; i++)
		unknown |= !o->links[i].there && !o->links[i].pub;
	if (!unknown)
		return;
	df_tree_before(v, o, &w);
	df_obj_drop_unpublished(o);
	df_tree_after(v, o, &w);
}

double df_vol_timeout(const struct df_vol *v)
{
	return v->remote->caps.feed ? TIMEOUT_FEED_S : TIMEOUT_POLL_S;
}

static uint64_t obj_ino(struct df_obj *o)
{
	uint8_t sum[DF_SHA_LEN];

	if (o->ino)
		return o->ino;
	df_sha256(o->id.b, DF_ID_LEN, sum);
	uint64_t ino = 0;
	for (int i = 0; i < 8; i++)
		ino = ino << 8 | sum[i];
	ino >>= 1;
	return o->ino = ino ? ino : 2;
}

uint64_t df_vol_ino(const struct df_id *id)
{
	struct df_obj o = { .id = *id };

	return obj_ino(&o);
}

static struct timespec from_ns(int64_t ns)
{
	int64_t s = ns / DF_NS_PER_S, rest = ns % DF_NS_PER_S;

	if (rest < 0) {
		rest += DF_NS_PER_S;
		s--;
	}
	return (struct timespec){ .tv_sec = s, .tv_nsec = rest };
}

/* Size, blocks and mtime of the text that is shown. */
static void text_attr(struct df_obj *o, struct df_attr *a, int64_t *mtime,
		      struct df_stamp *dot)
{
	struct df_texts t = { 0 };
	const struct df_ver *h = o->heads.n ? o->heads.v[0] : NULL;

	if (o->heads.n > 1) {
		df_texts_init(&t, &o->heads, NULL);
		h = t.v[0].m;
	}
	if (h) {
		a->size = h->size;
		a->blocks = (df_ver_bytes(h) + 511) / 512;
		*mtime = h->mtime_ns;
		*dot = h->dot;
	}
	df_texts_release(&t, NULL);
}

void df_vol_attr(struct df_vol *v, struct df_obj *o, struct df_attr *a)
{
	const struct df_attrs *r = &o->a;
	bool dir = df_obj_is_dir(o);
	int64_t mtime = r->btime_ns;
	struct df_stamp dot = { 0 };

	*a = (struct df_attr){ .ino = obj_ino(o), .nlink = 1 };
	uint32_t type = dir                     ? S_IFDIR
			: r->st[DF_A_TYPE].time ? r->type
						: S_IFREG;
	uint32_t mode = r->st[DF_A_MODE].time
				? r->mode
				: (dir ? 0777u : 0666u) & ~v->conf.umask;
	a->mode = type | mode;
	a->uid = r->st[DF_A_UID].time ? r->uid : v->conf.uid;
	a->gid = r->st[DF_A_GID].time ? r->gid : v->conf.gid;
	a->rdev = r->rdev;
	if (dir) {
		a->nlink = 2 + o->n_subdirs;
		if (o->nid != v->root && !df_tree_dir_live(o))
			a->nlink = 0;
		a->size = 4096;
		a->blocks = 8;
	} else {
		struct df_eff e;
		df_obj_eff(o, df_vol_dirids(v), &e);
		a->nlink = e.n ? e.n : df_copy_owner(v, o) != 0;
		df_eff_release(&e);
		text_attr(o, a, &mtime, &dot);
		if (type == S_IFLNK)
			a->size = r->target ? strlen(r->target) : 0;
	}
	if (r->st[DF_A_MTIME].time && df_stamp_cmp(r->st[DF_A_MTIME], dot) > 0)
		mtime = r->mtime_ns;
	a->mtime = from_ns(mtime);
	/* Never read here: as old as it is (not as its last change). */
	a->atime = from_ns(o->atime_ns   ? o->atime_ns
			   : r->btime_ns ? r->btime_ns
					 : mtime);
	a->ctime = from_ns(DF_MAX(o->ctime_ns, r->btime_ns));
	a->btime = from_ns(r->btime_ns);
}

void df_vol_entry(struct df_vol *v, struct df_obj *o, struct df_entry *e)
{
	e->nid = df_vol_nid(v, o);
	e->generation = e->nid != DF_ROOT_NID; /* the kernel's root has 0 */
	df_vol_attr(v, o, &e->attr);
	e->entry_timeout = e->attr_timeout = df_vol_timeout(v);
}

void df_vol_push_inval(struct df_vol *v, enum df_inval_kind kind, df_nid nid,
		       df_nid parent, const char *name)
{
	struct df_inval_node *n;
	bool entry = kind == DF_INVAL_ENTRY || kind == DF_INVAL_DELETE;
	df_nid held = entry ? parent : nid;

	if (!v->started)
		return;
	/* What the kernel never looked up it cannot have kept. */
	if (held != DF_ROOT_NID && !df_nidmap_get(&v->lookups, held))
		return;
	/* A directory that gets many entries is told once. */
	if (kind == DF_INVAL_DATA && v->inval_data &&
	    v->inval_data->ev.nid == nid)
		return;
	n = df_xalloc(sizeof(*n));
	if (kind == DF_INVAL_DATA)
		v->inval_data = n;
	n->ev.kind = kind;
	n->ev.nid = nid;
	n->ev.parent = parent;
	if (name)
		snprintf(n->ev.name, sizeof(n->ev.name), "%s", name);
	*v->inval_tail = n;
	v->inval_tail = &n->next;
	df_cond_signal(&v->inval_cond);
}

void df_vol_push_name(struct df_vol *v, df_nid parent, const char *name)
{
	const struct df_obj *p = df_fold_get(v->fold, parent);

	if (!p || !name)
		return;
	df_vol_push_inval(v, DF_INVAL_ENTRY, 0, df_vol_nid(v, p), name);
	df_vol_push_inval(v, DF_INVAL_DATA, df_vol_nid(v, p), 0, NULL);
}

int df_vol_next_inval(struct df_vol *v, struct df_inval *out)
{
	df_lock(&v->lock);
	while (!v->inval_head && !v->stopped)
		df_cond_wait(&v->inval_cond, &v->lock);
	struct df_inval_node *n = v->inval_head;
	if (n) {
		v->inval_head = n->next;
		if (!n->next)
			v->inval_tail = &v->inval_head;
		if (v->inval_data == n)
			v->inval_data = NULL;
		*out = n->ev;
	}
	df_unlock(&v->lock);
	free(n);
	return n ? 0 : -ECANCELED;
}

void df_vol_mark_dirty(struct df_vol *v, struct df_obj *o)
{
	int64_t now;

	if (v->conf.read_only)
		return;
	df_nidset_add(&v->dirty, o->nid);
	if (v->replaying)
		return;
	now = df_clock_mono_ns();
	v->last_change_ns = now;
	if (df_fold_many(v->fold)) {
		df_cond_signal(&v->fold_cond);
		df_room_look(v);
	}
	if (v->first_dirty_ns)
		return;
	v->first_dirty_ns = now;
	if (v->started)
		df_cond_signal(&v->up_cond);
}

bool df_vol_all_remote(const struct df_vol *v)
{
	bool remote = !v->dirty.n;

	for (const struct df_outrow *o = v->out; o; o = o->next)
		remote &= o->acked;
	return remote;
}

void df_waiters_run(struct df_waiter *ready, int err)
{
	while (ready) {
		struct df_waiter *next = ready->next;
		ready->done(ready->arg, err ? err : ready->err);
		free(ready);
		ready = next;
	}
}
