/* tree.c - the indexes behind the tree; see tree.h. */
#include "cache/tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

df_nid df_tree_parent(const struct df_obj *o, const char **name)
{
	*name = o->e_name ? o->e_name : o->place.name;
	return o->e_name ? o->e_parent : o->place.parent;
}

bool df_tree_dir_live(const struct df_obj *o)
{
	return o->nid == DF_ROOT_NID || o->place.there ||
	       (o->n_live && !df_rule_off(DF_RULE_REVIVE_DIR));
}

bool df_tree_newest(const struct df_obj *o, struct df_dirids ids,
		    df_nid *parent, const char **name)
{
	struct df_eff e;

	df_obj_eff(o, ids, &e);
	if (!e.n)
		return false;
	const struct df_link *best = &o->links[e.i[0]];
	for (uint32_t k = 1; k < e.n; k++) {
		const struct df_link *l = &o->links[e.i[k]];
		if (df_link_cmp(l, best, ids) > 0)
			best = l;
	}
	*parent = best->parent;
	*name = best->name;
	df_eff_release(&e);
	return true;
}

/* Who has the name is to be found out again. */
static void forget_winner(struct df_vol *v, df_nid parent, const char *name)
{
	if (df_fold_has_rivals(v->fold, parent))
		df_fold_name(v->fold, parent, name)->winner = 0;
}

/* ---- rivals */
static void update_rival(struct df_vol *v, struct df_name *n)
{
	bool rival = n->n > 1;

	if (n->n == 1) {
		const struct df_obj *o = df_fold_get(v->fold, n->one);
		df_nid parent;
		const char *name;
		rival = o && o->heads.n > 1 &&
			df_tree_newest(o, df_vol_dirids(v), &parent, &name) &&
			parent == n->parent && !strcmp(name, n->name);
	}
	df_fold_set_rival(v->fold, n->parent, n->name, rival);
}

/* ---- entries and live counts */
static void note_revived(struct df_vol *v, int delta)
{
	v->n_revived += (uint64_t)(int64_t)delta;
	df_fold_set_meta(v->fold, "n_revived", v->n_revived);
}

/* Make o an entry (or no entry) of parent; what that makes of the directories
 * above follows. */
static void set_entry(struct df_vol *v, df_nid parent, const char *name,
		      const struct df_obj *o, bool add)
{
	for (;;) {
		struct df_name *n = df_fold_name(v->fold, parent, name);
		struct df_obj *p = df_fold_get(v->fold, parent);
		if (!p || df_name_has(n, o->nid) == add)
			return;
		if (add)
			df_fold_add_cand(v->fold, n, o->nid);
		else
			df_fold_del_cand(v->fold, n, o->nid);
		n->winner = 0;
		update_rival(v, n);
		if (v->merging)
			df_vol_push_name(v, parent, name);
		bool was = df_tree_dir_live(p);
		p->n_live += add ? 1 : (uint64_t)-1;
		if (df_obj_is_dir(o))
			p->n_subdirs += add ? 1 : (uint32_t)-1;
		df_fold_touch(v->fold, p);
		if (was == df_tree_dir_live(p))
			return;
		note_revived(v, was ? -1 : 1);
		v->n_files += was ? (uint64_t)-1 : 1;
		parent = df_tree_parent(p, &name);
		o = p;
		add = !was;
	}
}

static uint64_t shown_bytes(const struct df_obj *o)
{
	return o->heads.n ? df_ver_bytes(o->heads.v[0]) : 0;
}

void df_tree_before(struct df_vol *v, struct df_obj *o, struct df_was *w)
{
	*w = (struct df_was){ .dir = df_obj_is_dir(o) };
	w->more = &w->one;
	w->n_heads = o->heads.n;
	if (w->dir) {
		const char *name = NULL;
		w->live = o->nid != DF_ROOT_NID && df_tree_dir_live(o);
		w->revived = w->live && !o->place.there;
		if (!w->live)
			return;
		w->one.parent = df_tree_parent(o, &name);
		w->one.name = df_xstrdup(name);
		w->n = 1;
		return;
	}
	struct df_eff e;
	df_obj_eff(o, df_vol_dirids(v), &e);
	w->n = e.n;
	w->revived = e.revived;
	w->bytes = e.n ? shown_bytes(o) : 0;
	if (e.n > 1)
		w->more = df_xalloc(e.n * sizeof(*w->more));
	for (uint32_t i = 0; i < e.n; i++) {
		const struct df_link *l = &o->links[e.i[i]];
		w->more[i].parent = l->parent;
		w->more[i].name = df_xstrdup(l->name);
	}
	df_eff_release(&e);
}

static void was_release(struct df_was *w)
{
	for (uint32_t i = 0; i < w->n; i++)
		free(w->more[i].name);
	if (w->more != &w->one)
		free(w->more);
}

/* The names were taken from the object's links, whose order they have. */
static bool was_at(const struct df_was *w, df_nid parent, const char *name)
{
	uint32_t lo = 0, hi = w->n;

	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;
		const struct df_at *at = &w->more[mid];
		int c = at->parent != parent ? (at->parent < parent ? -1 : 1)
					     : strcmp(at->name, name);
		if (!c)
			return true;
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return false;
}

static void file_after(struct df_vol *v, struct df_obj *o, struct df_was *w)
{
	struct df_eff e;

	df_obj_eff(o, df_vol_dirids(v), &e);
	for (uint32_t i = 0; i < w->n; i++) {
		const struct df_link *l =
			df_obj_link(o, w->more[i].parent, w->more[i].name);
		bool still = e.revived ? l == &o->links[e.one]
				       : e.n && l && l->there;
		if (!still)
			set_entry(v, w->more[i].parent, w->more[i].name, o,
				  false);
	}
	for (uint32_t i = 0; i < e.n; i++) {
		const struct df_link *l = &o->links[e.i[i]];
		forget_winner(v, l->parent, l->name);
		if (w->dir || !was_at(w, l->parent, l->name))
			set_entry(v, l->parent, l->name, o, true);
		else if (o->heads.n > 1 || w->n_heads > 1) {
			update_rival(v,
				     df_fold_name(v->fold, l->parent, l->name));
			if (v->merging) /* conflict copies come and go */
				df_vol_push_name(v, l->parent, l->name);
		}
	}
	if (e.revived != (w->revived && !w->dir))
		note_revived(v, e.revived ? 1 : -1);
	v->n_files += (e.n != 0) - (!w->dir && w->n != 0);
	v->n_bytes += (e.n ? shown_bytes(o) : 0) - w->bytes;
	bool orphan = !e.n;
	if (orphan != !!(o->flags & DF_OBJ_ORPHAN))
		o->flags ^= DF_OBJ_ORPHAN;
	df_eff_release(&e);
}

static void dir_after(struct df_vol *v, struct df_obj *o, struct df_was *w)
{
	const char *name;
	df_nid parent = df_tree_parent(o, &name);

	o->flags &= ~(uint32_t)DF_OBJ_ORPHAN;
	if (!w->dir) /* a file that somebody took for a directory */
		for (uint32_t i = 0; i < w->n; i++)
			set_entry(v, w->more[i].parent, w->more[i].name, o,
				  false);
	else if (w->live &&
		 (w->one.parent != parent || strcmp(w->one.name, name)))
		set_entry(v, w->one.parent, w->one.name, o, false);
	bool live = df_tree_dir_live(o);
	forget_winner(v, parent, name);
	set_entry(v, parent, name, o, live);
	bool revived = live && !o->place.there;
	if (revived != (w->dir && w->revived))
		note_revived(v, revived ? 1 : -1);
	v->n_files += live - (w->dir ? w->live : w->n != 0);
}

void df_tree_after(struct df_vol *v, struct df_obj *o, struct df_was *w)
{
	if (df_obj_is_dir(o) && o->nid != DF_ROOT_NID)
		dir_after(v, o, w);
	else if (o->nid != DF_ROOT_NID)
		file_after(v, o, w);
	df_fold_touch(v->fold, o);
	was_release(w);
}

bool df_tree_below(struct df_vol *v, df_nid dir, df_nid top)
{
	const char *name;

	for (int depth = 0; depth < 1 << 20; depth++) {
		if (dir == top)
			return true;
		if (dir == DF_ROOT_NID)
			return false;
		const struct df_obj *o = df_fold_get(v->fold, dir);
		if (!o || !df_obj_is_dir(o))
			return false;
		dir = df_tree_parent(o, &name);
	}
	return false;
}

/* ---- what a name shows */
struct df_stamp df_tree_stamp(const struct df_obj *o, df_nid parent,
			      const char *name, bool *there)
{
	if (df_obj_is_dir(o)) {
		*there = o->place.there;
		return o->place.st;
	}
	const struct df_link *l = df_obj_link(o, parent, name);
	*there = l && l->there;
	return l ? l->st : (struct df_stamp){ 0 };
}

/* So many candidates of one name are no accident. */
#define CROWD 256

struct cand {
	df_nid nid;
	struct df_id id;
	struct df_stamp st;
	bool there, dir;
};

static int cand_cmp(const void *a, const void *b)
{
	const struct cand *x = a, *y = b;

	if (x->there != y->there)
		return x->there ? -1 : 1;
	int c = df_stamp_cmp(y->st, x->st);
	return c ? c : df_id_cmp(&y->id, &x->id);
}

/* Candidates of a name, the one that has it first, the oldest (here) `most` of
 * them and `first` if it is not 0; caller frees.  Ends with a nid of 0. */
static struct cand *ranked(struct df_vol *v, const struct df_name *n,
			   uint32_t most, df_nid first)
{
	most = DF_MIN(most, n->n);
	struct cand *c = df_xalloc((most + 2) * sizeof(*c));
	uint32_t used = 0;

	for (uint32_t i = 0; i < most + (first != 0); i++) {
		df_nid nid = i < most ? df_name_cand(n, i) : first;
		struct df_obj *own = NULL;
		/* A crowd would fill memory, and push all others out. */
		const struct df_obj *o =
			n->n > CROWD ? df_fold_peek(v->fold, nid, &own)
				     : df_fold_get(v->fold, nid);
		if (!o)
			continue;
		c[used].nid = o->nid;
		c[used].id = o->id;
		c[used].dir = df_obj_is_dir(o);
		c[used].st =
			df_tree_stamp(o, n->parent, n->name, &c[used].there);
		used++;
		df_obj_free(own, NULL);
	}
	if (used > 1)
		qsort(c, used, sizeof(*c), cand_cmp);
	return c;
}

df_nid df_tree_winner(struct df_vol *v, struct df_name *n)
{
	if (n->n < 2)
		return n->n ? n->one : 0;
	if (!n->winner) {
		struct cand *c = ranked(v, n, n->n, 0);
		n->winner = c[0].nid;
		free(c);
	}
	return n->winner;
}

char *df_cname(const char *name, struct df_stamp st, const char *tail)
{
	char end[96], when[32];
	time_t s = (time_t)(DF_STAMP_MS(st.time) / 1000);
	struct tm tm;

	const char *cut = strstr(name, ".conflict-");
	size_t len = cut ? (size_t)(cut - name) : strlen(name);
	if (!gmtime_r(&s, &tm))
		memset(&tm, 0, sizeof(tm));
	strftime(when, sizeof(when), "%Y%m%dT%H%M%SZ", &tm);
	int n = snprintf(end, sizeof(end), ".conflict-%08x-%s%s%s",
			 (unsigned)(st.node >> 32), when, *tail ? "-" : "",
			 tail);
	if (len + (size_t)n > DF_NAME_MAX) {
		len = DF_NAME_MAX - (size_t)n;
		while (len && ((unsigned char)name[len] & 0xc0) == 0x80)
			len--; /* a UTF-8 border */
	}
	char *out = df_xalloc(len + (size_t)n + 1);
	memcpy(out, name, len);
	memcpy(out + len, end, (size_t)n);
	return out;
}

struct df_id df_copy_id(const struct df_id *id, struct df_stamp dot)
{
	uint8_t b[16];

	for (int i = 0; i < 8; i++) {
		b[i] = (uint8_t)(dot.time >> (8 * i));
		b[8 + i] = (uint8_t)(dot.node >> (8 * i));
	}
	struct df_field f[] = { { id->b, DF_ID_LEN }, { b, sizeof(b) } };
	return df_hash_fields(f, 2);
}

static bool is_regular(const struct df_obj *o)
{
	return !o->a.st[DF_A_TYPE].time || o->a.type == S_IFREG;
}

/* Is loser's text the winner's, and its only one? */
static bool same_text(const struct df_obj *w, const struct df_obj *o)
{
	struct df_texts a, b;

	if (!is_regular(w) || !is_regular(o))
		return false;
	df_texts_init(&a, &w->heads, NULL);
	df_texts_init(&b, &o->heads, NULL);
	bool same = a.n && b.n;
	for (uint32_t i = 0; i < b.n && same; i++)
		same = df_ver_equal(a.v[0].m, b.v[i].m);
	df_texts_release(&a, NULL);
	df_texts_release(&b, NULL);
	return same;
}

static struct df_loser *add_loser(struct df_dirview *d, size_t *size)
{
	DF_GROW(d->v, d->n, *size);
	struct df_loser *l = &d->v[d->n++];
	*l = (struct df_loser){ 0 };
	return l;
}

/* Texts of o beyond the first that differ from it, if (parent, name) is where
 * they are shown. */
static void add_copies(struct df_vol *v, struct df_dirview *d, size_t *size,
		       const struct df_obj *o, df_nid parent, const char *name)
{
	df_nid at;
	const char *newest;
	struct df_texts t;

	if (o->heads.n < 2 ||
	    !df_tree_newest(o, df_vol_dirids(v), &at, &newest) ||
	    at != parent || strcmp(newest, name))
		return;
	df_texts_init(&t, &o->heads, NULL);
	for (uint32_t i = 1; i < t.n; i++) {
		if (df_ver_equal(t.v[i].m, t.v[0].m))
			continue;
		struct df_loser *l = add_loser(d, size);
		l->name = df_xstrdup(name);
		l->kind = DF_KIND_COPY;
		l->nid = o->nid;
		l->st = t.v[i].dot;
		l->id = o->id;
	}
	df_texts_release(&t, NULL);
}

static void add_name(struct df_vol *v, struct df_dirview *d, size_t *size,
		     df_nid parent, const char *name)
{
	struct df_name *n = df_fold_name(v->fold, parent, name);
	bool crowd = n->n > DF_DIRVIEW_MOST;
	df_nid winner = crowd ? df_tree_winner(v, n) : 0;
	struct cand *c = ranked(v, n, DF_DIRVIEW_MOST, winner);

	if (crowd)
		df_vol_say(v,
			   "a name has more than %d entries, of which so many "
			   "are shown: remove some, and others appear",
			   DF_DIRVIEW_MOST);
	for (uint32_t i = 0; c[i].nid; i++) {
		if (i && c[i].nid == c[i - 1].nid)
			continue; /* the winner, twice */
		const struct df_obj *o = df_fold_get(v->fold, c[i].nid);
		if (i && !c[i].dir && !c[0].dir &&
		    same_text(df_fold_get(v->fold, c[0].nid), o)) {
			DF_GROW(d->hidden, d->n_hidden, d->hidden_size);
			d->hidden[d->n_hidden].name = df_xstrdup(name);
			d->hidden[d->n_hidden++].nid = c[i].nid;
			continue;
		}
		if (i) {
			struct df_loser *l = add_loser(d, size);
			l->name = df_xstrdup(name);
			l->kind = c[i].dir ? DF_KIND_DIR : DF_KIND_FILE;
			l->nid = c[i].nid;
			l->st = c[i].st;
			l->id = c[i].id;
		}
		if (!c[i].dir)
			add_copies(v, d, size, o, parent, name);
	}
	free(c);
}

/* One object may lose as a whole and with a text, by one operation. */
static int loser_cmp(const void *a, const void *b)
{
	const struct df_loser *x = a, *y = b;
	int c = strcmp(x->name, y->name);

	if (!c)
		c = df_stamp_cmp(x->st, y->st);
	if (!c)
		c = df_id_cmp(&x->id, &y->id);
	return c ? c : (int)x->kind - (int)y->kind;
}

/* Names given to losers: indexes + 1 into d->v, open addressing. */
struct given {
	const struct df_dirview *d;
	uint32_t *slot; /* owned */
	size_t n_slots; /* a power of two */
};

static uint32_t *given_slot(const struct given *g, const char *name)
{
	size_t at = df_name_cookie(name) & (g->n_slots - 1);

	while (g->slot[at] && strcmp(g->d->v[g->slot[at] - 1].shown, name))
		at = (at + 1) & (g->n_slots - 1);
	return &g->slot[at];
}

/* The k-th name to try for l.  From the fourth on only somebody who has seen
 * and settled this very text can have taken it. */
static char *nth_cname(const struct df_loser *l, unsigned k)
{
	struct df_id id = k < 3 ? l->id : df_copy_id(&l->id, l->st);
	char hex[33], tail[48] = "";

	df_id_hex(&id, hex);
	if (k == 1)
		hex[8] = 0;
	if (k > 3)
		snprintf(tail, sizeof(tail), "%s-%u", hex, k - 2);
	else if (k)
		snprintf(tail, sizeof(tail), "%s", hex);
	return df_cname(l->name, l->st, tail);
}

static void give_names(struct df_vol *v, df_nid parent, struct df_dirview *d)
{
	struct given g = { .d = d, .n_slots = 4 };

	while (g.n_slots < 2 * d->n)
		g.n_slots *= 2;
	g.slot = df_xalloc(g.n_slots * sizeof(*g.slot));
	for (size_t i = 0; i < d->n; i++) {
		struct df_loser *l = &d->v[i];
		for (unsigned k = 0;; k++) {
			char *name = nth_cname(l, k);
			uint32_t *slot = given_slot(&g, name);
			if (!*slot && !df_fold_name(v->fold, parent, name)->n) {
				*slot = (uint32_t)i + 1;
				l->shown = name;
				break;
			}
			free(name);
		}
	}
	free(g.slot);
}

void df_dirview_init(struct df_vol *v, df_nid parent, struct df_dirview *d)
{
	size_t size = 0, n = 0, n_size = 0;
	char **names = NULL;
	const char *rival;

	*d = (struct df_dirview){ 0 };
	if (df_rule_off(DF_RULE_LINKS))
		return;
	for (uint32_t i = 0; (rival = df_fold_rival(v->fold, parent, i)); i++) {
		DF_GROW(names, n, n_size);
		names[n++] = df_xstrdup(rival);
	}
	for (size_t i = 0; i < n; i++) {
		add_name(v, d, &size, parent, names[i]);
		free(names[i]);
	}
	free(names);
	if (d->n)
		qsort(d->v, d->n, sizeof(*d->v), loser_cmp);
	give_names(v, parent, d);
}

void df_dirview_release(struct df_dirview *d)
{
	for (size_t i = 0; i < d->n; i++) {
		free(d->v[i].shown);
		free(d->v[i].name);
	}
	for (size_t i = 0; i < d->n_hidden; i++)
		free(d->hidden[i].name);
	free(d->v);
	free(d->hidden);
	*d = (struct df_dirview){ 0 };
}

const struct df_dirview *df_dirview_see(struct df_vol *v, df_nid parent)
{
	uint64_t now = df_fold_changes(v->fold);

	if (!v->seen)
		v->seen = df_xalloc(sizeof(*v->seen));
	else if (v->seen_dir == parent && v->seen_at == now)
		return v->seen;
	df_dirview_release(v->seen);
	df_dirview_init(v, parent, v->seen);
	v->seen_dir = parent;
	v->seen_at = now;
	return v->seen;
}

static struct df_shown shown_obj(struct df_vol *v, df_nid nid)
{
	const struct df_obj *o = nid ? df_fold_get(v->fold, nid) : NULL;

	if (!o)
		return (struct df_shown){ 0 };
	return (struct df_shown){ df_obj_is_dir(o) ? DF_KIND_DIR : DF_KIND_FILE,
				  nid,
				  { 0 } };
}

struct df_shown df_tree_lookup(struct df_vol *v, df_nid parent,
			       const char *name)
{
	struct df_name *n = df_fold_name(v->fold, parent, name);

	if (n->n == 1)
		return shown_obj(v, n->one);
	if (n->n)
		return shown_obj(v, df_tree_winner(v, n));
	struct df_shown s = { 0 };
	if (!df_fold_has_rivals(v->fold, parent) || !strstr(name, ".conflict-"))
		return s;
	const struct df_dirview *d = df_dirview_see(v, parent);
	for (size_t i = 0; i < d->n; i++)
		if (!strcmp(d->v[i].shown, name)) {
			s.kind = d->v[i].kind;
			s.nid = d->v[i].nid;
			s.dot = d->v[i].st;
			break;
		}
	return s;
}

char *df_tree_free_cname(struct df_vol *v, df_nid parent,
			 const struct df_loser *l)
{
	for (unsigned k = 0;; k++) {
		char *name = nth_cname(l, k);
		if (!df_tree_lookup(v, parent, name).kind)
			return name;
		free(name);
	}
}
