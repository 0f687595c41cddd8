/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Whether a source can be in any list at all, from a few bits instead of four look-ups. A bit that is set
 * for nothing costs time; none that is needed is ever missing: userspace sets it before it makes
 * the entry (user/kernel/guard_filter.c has the other half). */
#ifndef SL_BPF_FILTER_H
#define SL_BPF_FILTER_H

#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "hash.h"
#include "maps.h"
#include "shared.h"

static __always_inline bool filter_bit(__u32 first_word, __u32 bit)
{
	__u32 at = first_word + bit / 64;
	const __u64 *word = bpf_map_lookup_elem(&filter, &at);

	return word && (*word >> (bit & 63) & 1);
}

/* NUMBER is the address in network order. */
static __always_inline bool filter_may_list_v4(__u32 number)
{
	number = bpf_ntohl(number);
	return filter_bit(0, number >> 16) && filter_bit(GUARD_FILTER_V4_AT, number >> 8);
}

static __always_inline bool filter_may_allow_v4(__u32 number)
{
	return filter_bit(GUARD_FILTER_ALLOW_V4_AT, bpf_ntohl(number) >> 16);
}

static __always_inline __u32 filter_v6_bit(__u64 first, __u64 kind, __u64 seed)
{
	return guard_hash(kind, first, seed) & (GUARD_FILTER_V6_WORDS * 64 - 1);
}

/* FIRST is the first half of the address. */
static __always_inline bool filter_may_list_v6(__u64 first, __u64 seed)
{
	if (filter_bit(GUARD_FILTER_V6_AT, filter_v6_bit(first, 64, seed)))
		return true;
	return filter_bit(GUARD_FILTER_V6_AT, filter_v6_bit((__u32)first, 32, seed));
}

#endif
