/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* The rates: GCRA on one word, for a source's entry, for the prefix it is in, for those without an
 * entry in a sketch, and for all unknown sources together. Throttles; what is refused moves no
 * time on, and bans nobody. The functions return a verdict: GUARD_PASS, GUARD_WOULD_DROP, or the
 * rate that drops. */
#ifndef SL_BPF_RATES_H
#define SL_BPF_RATES_H

#include <linux/bpf.h>
#include <stdbool.h>
#include <stddef.h>
#include <bpf/bpf_helpers.h>

#include "clock.h"
#include "hash.h"
#include "judging.h"
#include "maps.h"
#include "shared.h"

#define RATES_TRIES 2

/* Is TAT_NS so far ahead that an item is refused? The clock of a tick is asked first; only when that
 * refuses, the true one, to which *NOW_NS is moved. */
static __always_inline bool rates_is_over(const struct guard_rate_limit *l, __u64 tat_ns,
					  __u64 *now_ns)
{
	__u64 true_ns;

	if (tat_ns <= *now_ns + l->burst_ns)
		return false;
	true_ns = clock_true_ns();
	if (true_ns > *now_ns)
		*now_ns = true_ns;
	return tat_ns > *now_ns + l->burst_ns;
}

static __always_inline __u64 rates_next(const struct guard_rate_limit *l, __u64 tat_ns,
					__u64 now_ns)
{
	return (tat_ns > now_ns ? tat_ns : now_ns) + l->interval_ns;
}

/* Does an item pass? Who loses every exchange adds without looking again: what others let in
 * meanwhile is counted, and so is this. */
static __always_inline bool rates_pass(const struct guard_rate_limit *l, __u64 *tat_ns,
				       __u64 *now_ns)
{
	__u64 old = *(volatile __u64 *)tat_ns, seen;

	for (int i = 0; i < RATES_TRIES; i++) {
		if (rates_is_over(l, old, now_ns))
			return false;
		seen = __sync_val_compare_and_swap(tat_ns, old, rates_next(l, old, *now_ns));
		if (seen == old)
			return true;
		old = seen;
	}
	__sync_fetch_and_add(tat_ns, l->interval_ns);
	return true;
}

/* What it means that L refused. */
static __always_inline __u64 rates_refuse(const struct guard_settings *set,
					  const struct guard_rate_limit *l, __u64 drop,
					  struct judging *j, __u64 *last_ns)
{
	__u64 is_dry = set->dry_run || (l->flags & GUARD_DENY_DRY_RUN);

	j->is_refused = 1;
	if (judging_event_due(j, *last_ns))
		judging_send_event(j, last_ns, l->rule_id, drop, is_dry);
	if (!is_dry)
		return drop;
	judging_count(GUARD_WOULD_SYN_RATE + (drop - GUARD_DROP_SYN_RATE), j->r.bytes);
	return GUARD_WOULD_DROP;
}

static __always_inline bool rates_concerns(const struct judging *j, __u32 rate)
{
	return rate == GUARD_RATE_PACKETS || (rate == GUARD_RATE_SYN && j->r.is_syn) ||
	       (rate == GUARD_RATE_NEW_TLS && j->r.is_hello);
}

/* One rate, unless one before drops already. */
static __always_inline __u64 rates_one(__u64 verdict, const struct guard_settings *set, __u32 rate,
				       struct judging *j, struct guard_meter *m)
{
	const struct guard_rate_limit *l = &set->rates[rate];

	if (!l->interval_ns || !rates_concerns(j, rate) || judging_is_drop(verdict) ||
	    rates_pass(l, &m->tat_ns[rate], &j->now_ns))
		return verdict;
	return rates_refuse(set, l, GUARD_DROP_SYN_RATE + rate, j, &m->event_ns[rate]);
}

/* By the meter of a source or prefix. */
__noinline int rates_hold(struct judging *j, struct guard_meter *m)
{
	const struct guard_settings *set = judging_settings();
	__u64 verdict = GUARD_PASS;

	if (!set || !j || !m)
		return GUARD_PASS;
	verdict = rates_one(verdict, set, GUARD_RATE_SYN, j, m);
	verdict = rates_one(verdict, set, GUARD_RATE_PACKETS, j, m);
	return rates_one(verdict, set, GUARD_RATE_NEW_TLS, j, m);
}

/* The packets that most are: those that one rate at most concerns, which lets them through. They cost no
 * call. */
static __always_inline __u64 rates_lets_pass(const struct judging *j,
					     const struct guard_settings *set,
					     struct guard_meter *m)
{
	__u64 old = *(volatile __u64 *)&m->tat_ns[GUARD_RATE_PACKETS];
	__u64 now_ns = j->now_ns;

	if (j->r.is_syn || j->r.is_hello)
		return 0;
	if (!set->rates[GUARD_RATE_PACKETS].interval_ns)
		return 1;
	if (old > now_ns + set->rates[GUARD_RATE_PACKETS].burst_ns)
		return 0;
	return __sync_val_compare_and_swap(
		       &m->tat_ns[GUARD_RATE_PACKETS], old,
		       rates_next(&set->rates[GUARD_RATE_PACKETS], old, now_ns)) == old;
}

/* ---- who has no entry ---- */

static __always_inline struct guard_cell *rates_cell(__u32 rate, __u32 row, __u64 hash)
{
	__u32 at = (rate * GUARD_SKETCH_ROWS + row) * GUARD_SKETCH_COLUMNS +
		   ((hash >> row * 16) & (GUARD_SKETCH_COLUMNS - 1));

	return bpf_map_lookup_elem(&sketch, &at);
}

/* Only those cells move on that would otherwise say less than the least (conservative update). Two
 * CPUs at once in one cell may lose an item. */
static __always_inline __u64 rates_one_sketched(__u64 verdict, const struct guard_settings *set,
						__u32 rate, struct judging *j, __u64 hash)
{
	const struct guard_rate_limit *l = &set->rates[rate];
	struct guard_cell *first, *second;
	struct guard_state *st;
	__u64 a, b, least;

	if (!l->interval_ns || !rates_concerns(j, rate) || judging_is_drop(verdict))
		return verdict;
	first = rates_cell(rate, 0, hash);
	second = rates_cell(rate, 1, hash);
	if (!first || !second)
		return verdict;
	a = first->tat_ns;
	b = second->tat_ns;
	least = a < b ? a : b;
	if (rates_is_over(l, least, &j->now_ns)) {
		st = judging_state();
		return st ? rates_refuse(set, l, GUARD_DROP_SYN_RATE + rate, j,
					 &st->sketch_event_ns)
			  : verdict;
	}
	least = rates_next(l, least, j->now_ns);
	if (a < least)
		first->tat_ns = least;
	if (b < least)
		second->tat_ns = least;
	return verdict;
}

/* By the sketch, in the cells of HASH. */
static __always_inline __u64 rates_hold_sketched(struct judging *j,
						 const struct guard_settings *set, __u64 hash)
{
	__u64 verdict = GUARD_PASS;

	verdict = rates_one_sketched(verdict, set, GUARD_RATE_SYN, j, hash);
	verdict = rates_one_sketched(verdict, set, GUARD_RATE_PACKETS, j, hash);
	return rates_one_sketched(verdict, set, GUARD_RATE_NEW_TLS, j, hash);
}

/* ---- all unknown sources ---- */

/* Has the source completed a request in the last minutes? Both generations of a bit are in one
 * cache line. */
static __always_inline bool rates_is_good(__u64 hash)
{
	__u32 bit = hash & (GUARD_GOOD_BITS - 1);
	__u32 at = offsetof(struct guard_good, bits) / sizeof(__u64) + bit / 64 * 2;
	__u32 beside = at + 1;
	const __u64 *first = bpf_map_lookup_elem(&good, &at);
	const __u64 *second = bpf_map_lookup_elem(&good, &beside);

	return first && second && ((*first | *second) >> (bit & 63) & 1);
}

/* What it means that there are more of them than may be. */
__noinline int rates_refuse_unknown(struct judging *j)
{
	const struct guard_settings *set = judging_settings();
	struct guard_state *st = judging_state();
	__u64 verdict;

	if (!set || !j || !st)
		return GUARD_PASS;
	j->packets = ++st->unknown_syn_drops;
	j->family = 0;
	verdict = rates_refuse(set, &set->unknown_syn, GUARD_DROP_UNKNOWN_SYN, j,
			       &st->unknown_syn_event_ns);
	j->family = j->r.family;
	return verdict;
}

/* Is it a SYN for which there is no room among those of strangers, whatever its own rates say? Nothing more
 * is done about such a one: under a flood this is where nearly all end. The time of a tick will do. On
 * trial it goes the way of all others, so that it is counted once. */
static __always_inline bool rates_is_crowd(const struct judging *j,
					   const struct guard_settings *set)
{
	const struct guard_state *st = judging_state();

	return j->r.is_syn && set->unknown_syn.interval_ns && !set->dry_run &&
	       !(set->unknown_syn.flags & GUARD_DENY_DRY_RUN) && st &&
	       st->unknown_syn_tat_ns > j->now_ns + set->unknown_syn.burst_ns &&
	       !rates_is_good(j->hash);
}

/* A SYN of a source that is not known as good, which its own rates let through. */
static __always_inline __u64 rates_hold_unknown(struct judging *j, const struct guard_settings *set)
{
	struct guard_state *st = judging_state();

	if (!st || rates_pass(&set->unknown_syn, &st->unknown_syn_tat_ns, &j->now_ns))
		return GUARD_PASS;
	return rates_refuse_unknown(j);
}

/* ---- the gate ---- */

/* May this CPU make no more entries now? Its time is this CPU's own, so nothing is exchanged. */
static __always_inline bool rates_gate_shut(const struct guard_settings *set,
					    const struct guard_cpu *own, __u64 now_ns)
{
	const struct guard_rate_limit *l = &set->new_sources;

	return l->interval_ns && own->gate_tat_ns > now_ns + l->burst_ns;
}

/* The same, and takes it. */
static __always_inline bool rates_gate_open(const struct guard_settings *set, struct guard_cpu *own,
					    __u64 now_ns)
{
	const struct guard_rate_limit *l = &set->new_sources;

	if (!l->interval_ns)
		return true;
	if (rates_gate_shut(set, own, now_ns))
		return false;
	own->gate_tat_ns = rates_next(l, own->gate_tat_ns, now_ns);
	return true;
}

#endif
