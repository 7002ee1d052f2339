/* segindex.c - see segindex.h. */
#include "cache/bytes/segindex.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NO_PACK UINT32_MAX

struct slot {
	uint32_t pack; /* number in packs + 1; 0 = empty */
	uint32_t off;
	struct df_loc loc; /* seg 0 = taken out; the slot stays for probing */
	uint32_t len;
};

struct df_segindex {
	bool (*alive)(void *arg, uint32_t seg);
	void *arg;
	uint64_t key;
	struct slot *slot; /* owned; n_slots is a power of two */
	uint32_t n_slots, used;
	struct df_id *pack; /* owned; by number */
	uint32_t n_packs, packs_size;
	uint32_t *by_id;  /* owned; number + 1, 0 = empty */
	uint32_t n_by_id; /* a power of two */
};

/* Pack ids are hashes, but an attacker may choose them: mix with a number
 * that nobody knows, or lookups could be made to crawl. */
static uint64_t mix(uint64_t x, uint64_t key)
{
	x = (x ^ key) * UINT64_C(0x9e3779b97f4a7c15);
	x ^= x >> 32;
	x *= UINT64_C(0xd6e8feb86659fd93);
	return x ^ (x >> 32);
}

static uint64_t id_hash(const struct df_id *id, uint64_t key)
{
	uint64_t a, b;

	memcpy(&a, id->b, 8);
	memcpy(&b, id->b + 8, 8);
	return mix(mix(a, key) ^ b, key);
}

static uint32_t find_pack(const struct df_segindex *x, const struct df_id *id)
{
	uint32_t mask = x->n_by_id - 1;

	for (uint32_t i = (uint32_t)id_hash(id, x->key) & mask;;
	     i = (i + 1) & mask) {
		uint32_t no = x->by_id[i];
		if (!no)
			return NO_PACK;
		if (!memcmp(&x->pack[no - 1], id, sizeof(*id)))
			return no - 1;
	}
}

static void link_pack(const struct df_segindex *x, uint32_t *by_id, uint32_t n,
		      uint32_t no)
{
	uint32_t i = (uint32_t)id_hash(&x->pack[no], x->key) & (n - 1);

	while (by_id[i])
		i = (i + 1) & (n - 1);
	by_id[i] = no + 1;
}

static int grow_packs(struct df_segindex *x)
{
	uint32_t size = x->packs_size ? 2 * x->packs_size : 64;
	struct df_id *pack = realloc(x->pack, size * sizeof(*pack));

	if (!pack)
		return -ENOMEM;
	x->pack = pack;
	uint32_t *by_id = calloc(2 * (size_t)size, sizeof(*by_id));
	if (!by_id)
		return -ENOMEM;
	for (uint32_t i = 0; i < x->n_packs; i++)
		link_pack(x, by_id, 2 * size, i);
	free(x->by_id);
	x->by_id = by_id;
	x->n_by_id = 2 * size;
	x->packs_size = size;
	return 0;
}

static int add_pack(struct df_segindex *x, const struct df_id *id, uint32_t *no)
{
	*no = x->packs_size ? find_pack(x, id) : NO_PACK;
	if (*no != NO_PACK)
		return 0;
	if (x->n_packs == x->packs_size) {
		int err = grow_packs(x);
		if (err)
			return err;
	}
	*no = x->n_packs++;
	x->pack[*no] = *id;
	link_pack(x, x->by_id, x->n_by_id, *no);
	return 0;
}

static struct slot *find_slot(const struct df_segindex *x, uint32_t pack,
			      uint32_t off)
{
	uint32_t mask = x->n_slots - 1;
	uint32_t i = (uint32_t)mix((uint64_t)pack << 32 | off, x->key) & mask;

	while (x->slot[i].pack &&
	       (x->slot[i].pack != pack || x->slot[i].off != off))
		i = (i + 1) & mask;
	return &x->slot[i];
}

static bool slot_alive(const struct df_segindex *x, const struct slot *s)
{
	return s->pack && s->loc.seg && x->alive(x->arg, s->loc.seg);
}

/* Make a new index of what is alive, with room for as much again. */
static int rebuild(struct df_segindex *x)
{
	struct df_segindex *y = df_segindex_new(x->alive, x->arg);
	uint32_t live = 0, n = 1024;

	if (!y)
		return -ENOMEM;
	for (uint32_t i = 0; i < x->n_slots; i++)
		live += slot_alive(x, &x->slot[i]);
	while (n < 3 * (live + 1))
		n *= 2;
	y->n_slots = n;
	y->slot = calloc(n, sizeof(*y->slot));
	int err = y->slot ? 0 : -ENOMEM;
	for (uint32_t i = 0; !err && i < x->n_slots; i++) {
		const struct slot *s = &x->slot[i];
		if (slot_alive(x, s))
			err = df_segindex_set(y, &x->pack[s->pack - 1], s->off,
					      s->loc, s->len);
	}
	if (!err) {
		struct df_segindex old = *x;
		*x = *y;
		*y = old;
	}
	df_segindex_free(y);
	return err;
}

struct df_segindex *df_segindex_new(bool (*alive)(void *arg, uint32_t seg),
				    void *arg)
{
	struct df_segindex *x = calloc(1, sizeof(*x));

	if (x) {
		x->alive = alive;
		x->arg = arg;
		df_random(&x->key, sizeof(x->key));
	}
	return x;
}

void df_segindex_free(struct df_segindex *x)
{
	if (!x)
		return;
	free(x->slot);
	free(x->pack);
	free(x->by_id);
	free(x);
}

int df_segindex_set(struct df_segindex *x, const struct df_id *pack,
		    uint32_t off, struct df_loc loc, uint32_t len)
{
	uint32_t no;
	int err = 0;

	if (4 * (uint64_t)(x->used + 1) > 3 * (uint64_t)x->n_slots)
		err = rebuild(x);
	if (!err)
		err = add_pack(x, pack, &no);
	if (err)
		return err;
	struct slot *s = find_slot(x, no + 1, off);
	x->used += !s->pack;
	*s = (struct slot){ no + 1, off, loc, len };
	return 0;
}

static struct slot *lookup(const struct df_segindex *x,
			   const struct df_id *pack, uint32_t off)
{
	uint32_t no = x->n_slots && x->n_packs ? find_pack(x, pack) : NO_PACK;

	if (no == NO_PACK)
		return NULL;
	struct slot *s = find_slot(x, no + 1, off);
	return s->pack && s->loc.seg ? s : NULL;
}

bool df_segindex_get(const struct df_segindex *x, const struct df_id *pack,
		     uint32_t off, struct df_loc *loc, uint32_t *len)
{
	const struct slot *s = lookup(x, pack, off);

	if (s) {
		*loc = s->loc;
		*len = s->len;
	}
	return s;
}

void df_segindex_del(struct df_segindex *x, const struct df_id *pack,
		     uint32_t off, struct df_loc loc)
{
	struct slot *s = lookup(x, pack, off);

	if (s && s->loc.seg == loc.seg && s->loc.off == loc.off)
		s->loc = (struct df_loc){ 0, 0 };
}
