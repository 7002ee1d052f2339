/* rng.c - random numbers and small sets for the simulation; see sim.h. */
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

uint64_t rng_mix(uint64_t a, uint64_t b, uint64_t c)
{
	struct rng r = { a * UINT64_C(0x9e3779b97f4a7c15) ^ b };

	r.s = rng_next(&r) ^ c;
	return rng_next(&r);
}

uint64_t rng_next(struct rng *r)
{
	uint64_t z = r->s += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

uint32_t rng_below(struct rng *r, uint32_t n)
{
	return (uint32_t)((rng_next(r) >> 32) * n >> 32);
}

bool rng_chance(struct rng *r, unsigned percent)
{
	return rng_below(r, 100) < percent;
}

void set_add(struct set *s, size_t i)
{
	if (i >= s->size) {
		size_t size = i + i / 2 + 64;

		s->in = realloc(s->in, size);
		if (!s->in)
			abort();
		memset(s->in + s->size, 0, size - s->size);
		s->size = size;
	}
	s->in[i] = 1;
}

bool set_has(const struct set *s, size_t i)
{
	return i < s->size && s->in[i];
}

void set_join(struct set *s, const struct set *other)
{
	for (size_t i = 0; i < other->size; i++)
		if (other->in[i])
			set_add(s, i);
}

void set_release(struct set *s)
{
	free(s->in);
	*s = (struct set){ 0 };
}
