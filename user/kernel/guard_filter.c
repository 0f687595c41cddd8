/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the filter in front of the lists (bpf/filter.h): sets the bits of an entry before it is made, and makes
 * the whole anew from the maps. Bits of entries that went stay until then; they cost time only. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bpf/hash.h"
#include "core/err.h"
#include "kernel/guard.h"
#include "kernel/guard_impl.h"

#define FILTER_BYTES ((size_t)GUARD_FILTER_WORDS * sizeof(uint64_t))

int guard_filter_open(struct guard_maps *m)
{
	struct guard_settings set;
	void *at = mmap(NULL, FILTER_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
			m->fd[GUARD_MAP_FILTER], 0);

	if (at == MAP_FAILED || guard_maps_get_settings(m, &set))
		return -SL_ESYS;
	m->filter = at;
	m->seed = set.seed;
	return guard_filter_rebuild(m);
}

void guard_filter_close(struct guard_maps *m)
{
	if (m->filter)
		munmap(m->filter, FILTER_BYTES);
	m->filter = NULL;
}

/* N bits from the bit FIRST of the words at AT on. */
static void set_bits(uint64_t *words, uint32_t at, uint32_t first, uint32_t n)
{
	uint32_t end = first + n;

	while (first < end) {
		uint32_t in_word = 64 - first % 64;
		uint32_t here = in_word < end - first ? in_word : end - first;
		uint64_t mask = here == 64 ? ~0ull : ((1ull << here) - 1) << first % 64;

		__atomic_fetch_or(&words[at + first / 64], mask, __ATOMIC_SEQ_CST);
		first += here;
	}
}

static void set_v4(uint64_t *words, const uint8_t bytes[4], uint32_t prefix_len)
{
	uint32_t number = (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 |
			  (uint32_t)bytes[2] << 8 | bytes[3];

	set_bits(words, GUARD_FILTER_V4_AT, number >> 8,
		 prefix_len < 24 ? 1u << (24 - prefix_len) : 1);
	set_bits(words, 0, number >> 16, prefix_len < 16 ? 1u << (16 - prefix_len) : 1);
}

static void set_v6(uint64_t *words, uint64_t seed, const uint8_t bytes[16], uint32_t prefix_len)
{
	const uint32_t mask = GUARD_FILTER_V6_WORDS * 64 - 1;
	uint64_t first = 0;

	if (prefix_len < 32) {
		set_bits(words, GUARD_FILTER_V6_AT, 0, mask + 1);
		return;
	}
	memcpy(&first, bytes, prefix_len < 64 ? 4 : 8);
	set_bits(words, GUARD_FILTER_V6_AT,
		 (uint32_t)guard_hash(prefix_len < 64 ? 32 : 64, first, seed) & mask, 1);
}

static void set_allow_v4(uint64_t *words, const uint8_t bytes[4], uint32_t prefix_len)
{
	set_bits(words, GUARD_FILTER_ALLOW_V4_AT, (uint32_t)bytes[0] << 8 | bytes[1],
		 prefix_len < 16 ? 1u << (16 - prefix_len) : 1);
}

void guard_filter_add(const struct guard_maps *m, const struct guard_cidr *net, bool is_allow)
{
	if (!m->filter)
		return; /* a reader cannot write the entry, either */
	if (is_allow && net->addr.family == 4)
		set_allow_v4(m->filter, net->addr.bytes, net->prefix_len);
	if (net->addr.family == 4)
		set_v4(m->filter, net->addr.bytes, net->prefix_len);
	else
		set_v6(m->filter, m->seed, net->addr.bytes, net->prefix_len);
}

/* What one map is read into. */
struct reading {
	uint64_t *words;
	uint64_t seed;
	bool is_v4;
	bool is_lpm; /* the key begins with the prefix length */
	bool is_allow;
};

static int read_entry(void *arg, const void *key, const void *value)
{
	const struct reading *r = arg;
	const uint8_t *bytes = key;
	uint32_t prefix_len = r->is_v4 ? 32 : 128;

	(void)value;
	if (r->is_lpm) {
		memcpy(&prefix_len, key, sizeof prefix_len);
		bytes += sizeof prefix_len;
	}
	if (r->is_v4 && r->is_allow)
		set_allow_v4(r->words, bytes, prefix_len);
	if (r->is_v4)
		set_v4(r->words, bytes, prefix_len);
	else
		set_v6(r->words, r->seed, bytes, prefix_len);
	return 0;
}

static int read_maps(const struct guard_maps *m, uint64_t *words)
{
	static const struct {
		enum guard_map map;
		bool is_v4, is_lpm;
	} all[] = {
		{GUARD_MAP_ALLOW_V4, true, true},    {GUARD_MAP_ALLOW_V6, false, true},
		{GUARD_MAP_DENY_V4, true, false},    {GUARD_MAP_DENY_V6, false, false},
		{GUARD_MAP_DENY_NET_V4, true, true}, {GUARD_MAP_DENY_NET_V6, false, true},
		{GUARD_MAP_BAN_NET_V4, true, true},  {GUARD_MAP_BAN_NET_V6, false, true},
	};

	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
		struct reading r = {words, m->seed, all[i].is_v4, all[i].is_lpm,
				    all[i].map == GUARD_MAP_ALLOW_V4};
		size_t key = (all[i].is_v4 ? 4 : 16) + (all[i].is_lpm ? 4 : 0);
		size_t value = all[i].is_lpm ? sizeof(struct guard_net) : sizeof(struct guard_deny);
		int rc =
			guard_maps_each(m->fd[all[i].map], key, value, GUARD_BATCH, read_entry, &r);

		if (rc)
			return rc;
	}
	return 0;
}

int guard_filter_rebuild(const struct guard_maps *m)
{
	uint64_t *words = calloc(GUARD_FILTER_WORDS, sizeof *words);
	int rc = words ? read_maps(m, words) : -SL_ENOMEM;

	/* Nobody else writes: what is needed is in WORDS, and the program sees each word whole. */
	for (size_t i = 0; i < GUARD_FILTER_WORDS && !rc; i++)
		if (m->filter[i] != words[i])
			__atomic_store_n(&m->filter[i], words[i], __ATOMIC_SEQ_CST);
	free(words);
	return rc;
}
