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

static __always_inline struct guard_known *sources_known_word(__u64 hash)
{
	__u32 at = (hash >> 20) % GUARD_KNOWN_WORDS;

	return bpf_map_lookup_elem(&known, &at);
}

/* Might it have an entry? One that was silent for minutes is taken for a stranger. */
static __always_inline bool sources_may_know(__u64 hash)
{
	const struct guard_known *k = sources_known_word(hash);

	return k && ((k->bits[0] | k->bits[1]) >> (hash & 63) & 1);
}

static __always_inline void sources_mark_known(__u64 hash, __u32 gen)
{
	struct guard_known *k = sources_known_word(hash);

	if (k)
		__sync_fetch_and_or(gen & 1 ? &k->bits[1] : &k->bits[0], 1ull << (hash & 63));
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
	fresh.bytes = j->r.bytes;
	fresh.syns = j->r.is_syn;
	fresh.new_tls = j->r.is_hello;
	fresh.drops = j->is_refused;
	fresh.first_seen_ns = fresh.last_seen_ns = j->now_ns;
	fresh.meter.tat_ns[GUARD_RATE_SYN] = sources_first_tat(set, GUARD_RATE_SYN, j);
	fresh.meter.tat_ns[GUARD_RATE_PACKETS] = sources_first_tat(set, GUARD_RATE_PACKETS, j);
	fresh.meter.tat_ns[GUARD_RATE_NEW_TLS] = sources_first_tat(set, GUARD_RATE_NEW_TLS, j);
	if (st->shut_ns && j->now_ns < st->shut_ns + SOURCES_ESTIMATE_NS)
		fresh.flags = GUARD_SOURCE_ESTIMATE;
	fresh.known_gen = set->known_gen;
	sources_mark_known(j->hash, set->known_gen);
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

/* Two CPUs at once may lose a count: these are for people, the rates do not rest on them. */
static __always_inline void sources_count(struct guard_source *s, const struct guard_settings *set,
					  const struct judging *j)
{
	s->packets++;
	s->bytes += j->r.bytes;
	if (j->r.is_syn)
		s->syns++;
	if (j->r.is_hello)
		s->new_tls++;
	s->last_seen_ns = j->now_ns;
	if (s->known_gen != set->known_gen) {
		sources_mark_known(j->hash, set->known_gen);
		s->known_gen = set->known_gen;
	}
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
	__u64 verdict;
	__u64 was_refused;

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
		j->packets = ++p->packets;
		p->last_seen_ns = j->now_ns;
		verdict =
			rates_lets_pass(j, set, &p->meter) ? GUARD_PASS : rates_hold(j, &p->meter);
		if (j->is_refused)
			p->drops++;
	} else if (rates_gate_open(set, own, j->now_ns)) {
		sources_insert_prefix(j, half[0], half[1]);
		verdict = GUARD_PASS;
	} else {
		sources_shut(st, j);
		j->packets = 0;
		verdict = rates_hold_sketched(j, set, guard_hash(half[0], half[1], ~set->seed));
	}
	j->is_refused |= was_refused;
	j->prefix_len = 128;
	return verdict;
}

/* The graver of two verdicts. */
static __always_inline __u64 sources_graver(__u64 before, __u64 now)
{
	return now == GUARD_PASS ? before : now;
}

/* What holds for more than the source: its network, and all strangers together. */
static __always_inline __u64 sources_hold_around(const struct guard_settings *set,
						 struct judging *j)
{
	__u64 verdict = GUARD_PASS;

	if (j->r.family == PARSE_V6 && set->has_rates && set->v6_prefix && set->v6_prefix < 128)
		verdict = sources_hold_prefix(j);
	if (j->r.is_syn && set->unknown_syn.interval_ns && !judging_is_drop(verdict) &&
	    !rates_is_good(j->hash))
		verdict = sources_graver(verdict, rates_hold_unknown(j, set));
	return verdict;
}

/* A source without an entry is given one where the gate is open, or it is known as good. */
static __always_inline __u64 sources_new(const struct guard_settings *set, struct judging *j,
					 bool is_allowed)
{
	struct guard_state *st = judging_state();
	struct guard_cpu *own = judging_cpu();

	if (!st || !own)
		return GUARD_PASS;
	if (rates_gate_open(set, own, j->now_ns) || rates_is_good(j->hash)) {
		sources_insert(j);
		return GUARD_PASS;
	}
	sources_shut(st, j);
	judging_count(GUARD_NOT_COUNTED, j->r.bytes);
	j->packets = 0;
	return set->has_rates && !is_allowed ? rates_hold_sketched(j, set, j->hash) : GUARD_PASS;
}

/* The entry of a source, if it may have one. */
static __always_inline struct guard_source *sources_find(void *map, const void *addr,
							 const struct guard_settings *set,
							 const struct judging *j)
{
	const struct guard_cpu *own = judging_cpu();

	if (!own || (rates_gate_shut(set, own, j->now_ns) && !sources_may_know(j->hash)))
		return NULL;
	return bpf_map_lookup_elem(map, addr);
}

/* WHY is what the lists said; what they allow is counted alone. */
static __always_inline __u64 sources_judge(void *map, const void *addr, __u64 why,
					   const struct guard_settings *set, struct judging *j)
{
	struct guard_source *s;

	if (why != GUARD_PASS_ALLOW && rates_is_crowd(j, set))
		return rates_refuse_unknown(j);
	s = sources_find(map, addr, set, j);
	if (s) {
		sources_count(s, set, j);
		j->packets = s->packets;
	}
	if (why != GUARD_PASS_ALLOW) {
		if (s && set->has_rates && !rates_lets_pass(j, set, &s->meter))
			why = sources_graver(why, rates_hold(j, &s->meter));
		if ((j->r.is_syn || j->r.family == PARSE_V6) && !judging_is_drop(why))
			why = sources_graver(why, sources_hold_around(set, j));
	}
	if (!s)
		return judging_is_drop(why)
			       ? why
			       : sources_graver(why, sources_new(set, j, why == GUARD_PASS_ALLOW));
	if (j->is_refused)
		s->drops++;
	return why;
}

#endif
