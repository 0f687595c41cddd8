/* SPDX-License-Identifier: BSD-2-Clause */
/* Seeded hashes (XXH3): a peer who does not know the seed cannot choose names that collide. */
#ifndef SL_CORE_HASH_H
#define SL_CORE_HASH_H

#include <stdint.h>

#include "core/slice.h"

struct hash128 {
	uint64_t lo, hi;
};

uint64_t hash64(struct slice s, uint64_t seed);
struct hash128 hash128(struct slice s, uint64_t seed);
/* As hash64, but ASCII letters count as lower case; names over 256 bytes hash their first 256. */
uint64_t hash64_lower(struct slice s, uint64_t seed);
/* MurmurHash2 without a seed, for shares that must be those of nginx: a peer can choose what collides. */
uint32_t hash_murmur2(struct slice s);
/* The id of a rule that stands at PLACE ("http/server0", "xdp") and says TEXT: never 0, and the same after
 * a restart, so that log, map, API and metric name one rule alike, as 8 hexadecimal digits. NTH counts up
 * from 0 while another rule has it. */
uint32_t hash_rule_id(struct slice place, struct slice text, unsigned nth);
/* From getrandom(2). */
uint64_t hash_random_seed(void);

#endif
