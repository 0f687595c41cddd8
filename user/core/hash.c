/* SPDX-License-Identifier: BSD-2-Clause */
/* XXH3 with a seed; owns nothing. */
#define XXH_INLINE_ALL
#include "core/hash.h"

#include <stdlib.h>
#include <sys/random.h>
#include <xxhash.h>

uint64_t hash64(struct slice s, uint64_t seed)
{
	return XXH3_64bits_withSeed(s.p, s.n, seed);
}

struct hash128 hash128(struct slice s, uint64_t seed)
{
	XXH128_hash_t h = XXH3_128bits_withSeed(s.p, s.n, seed);

	return (struct hash128){h.low64, h.high64};
}

uint64_t hash64_lower(struct slice s, uint64_t seed)
{
	char lower[256];
	size_t n = s.n < sizeof lower ? s.n : sizeof lower;

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		lower[i] = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
	}
	return XXH3_64bits_withSeed(lower, n, seed) ^ s.n;
}

uint32_t hash_murmur2(struct slice s)
{
	const uint32_t m = 0x5bd1e995;
	const unsigned char *p = (const unsigned char *)s.p;
	uint32_t h = (uint32_t)s.n, k;
	size_t n = s.n;

	for (; n >= 4; n -= 4, p += 4) {
		k = p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
		k *= m;
		k ^= k >> 24;
		k *= m;
		h = h * m ^ k;
	}
	if (n) {
		k = 0;
		while (n)
			k = k << 8 | p[--n];
		h = (h ^ k) * m;
	}
	h ^= h >> 13;
	h *= m;
	return h ^ h >> 15;
}

uint32_t hash_rule_id(struct slice place, struct slice text, unsigned nth)
{
	/* Any constant will do: ids are names, not secrets. */
	uint64_t h = hash64(text, hash64(place, 0x51 + nth));
	uint32_t id = (uint32_t)(h ^ h >> 32);

	return id ? id : 1;
}

uint64_t hash_random_seed(void)
{
	uint64_t seed;

	if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
		abort();
	return seed;
}
