/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* The keyed hash of addresses, the same in the program and in userspace (which sets the bits that
 * the program reads). It mixes well and is no secret: the seed only keeps a peer from choosing
 * what collides. */
#ifndef SL_BPF_HASH_H
#define SL_BPF_HASH_H

#include <linux/types.h>

#include "shared.h"

static inline __attribute__((always_inline)) __u64 guard_hash(__u64 hi, __u64 lo, __u64 seed)
{
	__u64 h = (lo ^ seed) * 0x9e3779b97f4a7c15ull;

	h ^= h >> 32;
	h = (h ^ hi) * 0xd6e8feb86659fd93ull;
	h ^= h >> 32;
	h *= 0xd6e8feb86659fd93ull;
	return h ^ h >> 32;
}

#endif
