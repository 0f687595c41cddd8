/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the filters that age: who completed a request lately (good, marked by workers without a system call),
 * and whose turn it is among those with an entry (known, marked by the program). */
#include <string.h>
#include <sys/mman.h>

#include "bpf/hash.h"
#include "core/err.h"
#include "kernel/guard.h"
#include "kernel/guard_impl.h"

#define GOOD_BYTES sizeof(struct guard_good)
#define KNOWN_BYTES (GUARD_KNOWN_WORDS * sizeof(struct guard_known))

int guard_good_open(struct guard *g)
{
	void *good = mmap(NULL, GOOD_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
			  g->maps.fd[GUARD_MAP_GOOD], 0);
	void *known = mmap(NULL, KNOWN_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
			   g->maps.fd[GUARD_MAP_KNOWN], 0);

	g->good = good == MAP_FAILED ? NULL : good;
	g->known = known == MAP_FAILED ? NULL : known;
	if (!g->good || !g->known)
		return -SL_ESYS;
	g->good->seed = g->maps.seed;
	return 0;
}

void guard_good_close(struct guard *g)
{
	if (g->good)
		munmap(g->good, GOOD_BYTES);
	if (g->known)
		munmap(g->known, KNOWN_BYTES);
	g->good = NULL;
	g->known = NULL;
}

struct guard_good *guard_good_take(struct guard *g)
{
	struct guard_good *good = g ? g->good : NULL;

	if (g)
		g->good = NULL;
	return good;
}

/* Where the bit of an address is. */
static uint64_t *place_of(struct guard_good *good, const struct guard_addr *a, uint64_t gen,
			  uint64_t *mask)
{
	uint64_t half[2] = {0}, hash;
	uint32_t number;

	if (a->family == 4) {
		memcpy(&number, a->bytes, sizeof number);
		half[1] = number;
	} else {
		memcpy(half, a->bytes, sizeof half);
	}
	hash = guard_hash(half[0], half[1], good->seed) & (GUARD_GOOD_BITS - 1);
	*mask = 1ull << (hash & 63);
	return (uint64_t *)&good->bits[hash / 64][gen & 1];
}

void guard_good_mark(struct guard_good *good, const struct guard_addr *a)
{
	uint64_t mask, *word;

	if (!good)
		return;
	word = place_of(good, a, good->current, &mask);
	if (!(__atomic_load_n(word, __ATOMIC_RELAXED) & mask))
		__atomic_fetch_or(word, mask, __ATOMIC_RELAXED);
}

bool guard_good_has(const struct guard_good *good, const struct guard_addr *a)
{
	struct guard_good *g = (struct guard_good *)good;
	uint64_t mask, *first = place_of(g, a, 0, &mask), *second = place_of(g, a, 1, &mask);

	return ((*first | *second) & mask) != 0;
}

void guard_good_turn(struct guard *g)
{
	uint64_t older = !(g->good->current & 1);

	for (size_t i = 0; i < GUARD_GOOD_WORDS; i++)
		g->good->bits[i][older] = 0;
	__atomic_store_n(&g->good->current, older, __ATOMIC_RELEASE);
}

int guard_good_turn_known(struct guard *g)
{
	struct guard_settings set;
	int rc = guard_maps_get_settings(&g->maps, &set);

	if (rc)
		return rc;
	set.known_gen++;
	for (size_t i = 0; i < GUARD_KNOWN_WORDS; i++)
		g->known[i].bits[set.known_gen & 1] = 0;
	return guard_maps_set_settings(&g->maps, &set);
}
