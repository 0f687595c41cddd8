/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* What every source that no list drops goes through: its counters, its rates and its prefix's, the
 * limit on SYNs of unknown ones, and the gate in front of new entries: an insert is the dearest
 * thing here, and under a flood of forged sources it buys nothing. */
#ifndef SL_BPF_SOURCES_H
#define SL_BPF_SOURCES_H

#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#include "judging.h"
#include "maps.h"
#include "rates.h"
#include "shared.h"

/* How long after the gate was shut new entries are marked as estimates. */
#define SOURCES_ESTIMATE_NS 60000000000ull

static __always_inline __u64 sources_first_tat(const struct guard_settings *set, __u32 rate,
					       const struct judging *j)
{
	const struct guard_rate_limit *l = &set->rates[rate];

	return l->interval_ns && rates_concerns(j, rate) ? j->now_ns + l->interval_ns : 0;
}

__noinline int sources_insert(const struct judging *j)
{
	const struct guard_settings *set = judging_settings();
	struct guard_state *st = judging_state();
	struct guard_source fresh = {.packets = 1};
	__u64 half[2];
	__u32 number;

	if (!set || !st || !j)
		return 0;
	fresh.bytes = j->bytes;
	fresh.syns = j->r.is_syn;
	fresh.new_tls = j->r.is_hello;
	fresh.drops = j->is_refused;
	fresh.first_seen_ns = fresh.last_seen_ns = j->now_ns;
	fresh.meter.tat_ns[GUARD_RATE_SYN] = sources_first_tat(set, GUARD_RATE_SYN, j);
	fresh.meter.tat_ns[GUARD_RATE_PACKETS] = sources_first_tat(set, GUARD_RATE_PACKETS, j);
	fresh.meter.tat_ns[GUARD_RATE_NEW_TLS] = sources_first_tat(set, GUARD_RATE_NEW_TLS, j);
	if (st->shut_ns && j->now_ns < st->shut_ns + SOURCES_ESTIMATE_NS)
		fresh.flags = GUARD_SOURCE_ESTIMATE;
	if (j->r.family == PARSE_V4) {
		__builtin_memcpy(&number, j->r.addr, sizeof number);
		bpf_map_update_elem(&sources_v4, &number, &fresh, BPF_NOEXIST);
	} else {
		__builtin_memcpy(half, j->r.addr, sizeof half);
		bpf_map_update_elem(&sources_v6, half, &fresh, BPF_NOEXIST);
	}
	return 0;
}

static __always_inline void sources_shut(struct guard_state *st, const struct judging *j)
{
	if (st->shut_ns != j->now_ns)
		st->shut_ns = j->now_ns;
}

static __always_inline void sources_count(struct guard_source *s, const struct judging *j)
{
	__sync_fetch_and_add(&s->packets, 1);
	__sync_fetch_and_add(&s->bytes, j->bytes);
	if (j->r.is_syn)
		__sync_fetch_and_add(&s->syns, 1);
	if (j->r.is_hello)
		__sync_fetch_and_add(&s->new_tls, 1);
	s->last_seen_ns = j->now_ns;
}

static __always_inline bool sources_has_rates(const struct guard_settings *set)
{
	return set->rates[GUARD_RATE_SYN].interval_ns ||
	       set->rates[GUARD_RATE_PACKETS].interval_ns ||
	       set->rates[GUARD_RATE_NEW_TLS].interval_ns;
}

__noinline int sources_insert_prefix(const struct judging *j, __u64 first, __u64 second)
{
	const struct guard_settings *set = judging_settings();
	struct guard_prefix fresh = {.packets = 1};
	__u64 key[2] = {first, second};

	if (!set || !j)
		return 0;
	fresh.last_seen_ns = j->now_ns;
	fresh.meter.tat_ns[GUARD_RATE_SYN] = sources_first_tat(set, GUARD_RATE_SYN, j);
	fresh.meter.tat_ns[GUARD_RATE_PACKETS] = sources_first_tat(set, GUARD_RATE_PACKETS, j);
	fresh.meter.tat_ns[GUARD_RATE_NEW_TLS] = sources_first_tat(set, GUARD_RATE_NEW_TLS, j);
	bpf_map_update_elem(&prefixes_v6, key, &fresh, BPF_NOEXIST);
	return 0;
}

/* The network of settings.v6_prefix bits that an IPv6 source is in. */
__noinline int sources_hold_prefix(struct judging *j)
{
	const struct guard_settings *set = judging_settings();
	struct guard_cpu *own = judging_cpu();
	struct guard_state *st = judging_state();
	struct guard_prefix *p;
	__u64 half[2];
	__u32 verdict;
	__u16 was_refused;

	if (!set || !own || !st || !j)
		return GUARD_PASS;
	__builtin_memcpy(half, j->r.addr, sizeof half);
	half[0] &= set->v6_mask[0];
	half[1] &= set->v6_mask[1];
	was_refused = j->is_refused;
	j->is_refused = 0;
	j->prefix_len = set->v6_prefix;
	p = bpf_map_lookup_elem(&prefixes_v6, half);
	if (p) {
		j->packets = __sync_fetch_and_add(&p->packets, 1) + 1;
		p->last_seen_ns = j->now_ns;
		verdict = rates_hold(j, &p->meter);
		if (j->is_refused)
			__sync_fetch_and_add(&p->drops, 1);
	} else if (rates_gate_open(set, own, j->now_ns)) {
		sources_insert_prefix(j, half[0], half[1]);
		verdict = GUARD_PASS;
	} else {
		sources_shut(st, j);
		j->packets = 0;
		verdict = rates_hold_sketched(j, guard_hash(half[0], half[1], ~set->seed));
	}
	j->is_refused |= was_refused;
	j->prefix_len = 128;
	return verdict;
}

/* The graver of two verdicts. */
static __always_inline __u32 sources_graver(__u32 before, __u32 now)
{
	return now == GUARD_PASS ? before : now;
}

/* A source without an entry is given one where the gate is open, or it is known as good. */
static __always_inline __u32 sources_new(const struct guard_settings *set, struct guard_cpu *own,
					 struct guard_state *st, __u32 verdict, bool has_rates,
					 struct judging *j)
{
	if (rates_gate_open(set, own, j->now_ns) || rates_is_good(j->hash)) {
		sources_insert(j);
		return verdict;
	}
	sources_shut(st, j);
	judging_count(GUARD_NOT_COUNTED, j->bytes);
	j->packets = 0;
	return has_rates ? sources_graver(verdict, rates_hold_sketched(j, j->hash)) : verdict;
}

/* WHY is what the lists said; what they allow is counted alone. */
static __always_inline __u32 sources_judge(void *map, const void *addr, __u32 why,
					   struct judging *j)
{
	const struct guard_settings *set = judging_settings();
	struct guard_state *st = judging_state();
	struct guard_cpu *own = judging_cpu();
	bool has_rates, is_allowed = why == GUARD_PASS_ALLOW;
	struct guard_source *s;

	if (!set || !st || !own)
		return why;
	has_rates = !is_allowed && sources_has_rates(set);
	s = bpf_map_lookup_elem(map, addr);
	if (s) {
		sources_count(s, j);
		j->packets = s->packets;
		if (has_rates)
			why = sources_graver(why, rates_hold(j, &s->meter));
	}
	if (has_rates && j->r.family == PARSE_V6 && set->v6_prefix && set->v6_prefix < 128 &&
	    !judging_is_drop(why))
		why = sources_graver(why, sources_hold_prefix(j));
	if (j->r.is_syn && !is_allowed && set->unknown_syn.interval_ns && !judging_is_drop(why) &&
	    !rates_is_good(j->hash))
		why = sources_graver(why, rates_hold_unknown(j));
	if (s) {
		if (j->is_refused)
			__sync_fetch_and_add(&s->drops, 1);
		return why;
	}
	if (judging_is_drop(why))
		return why;
	return sources_new(set, own, st, why, has_rates, j);
}

#endif
