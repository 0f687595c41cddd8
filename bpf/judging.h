/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* What is known of one packet when it is judged, counting it, and telling the master of a refusal.
 *
 * What most packets go through is inline: where the kernel guards its returns against speculation, each
 * costs some 6 ns. Functions that are neither static nor inline are verified once, by themselves, and
 * not on each of the many ways that lead to them: for what is seldom, that keeps the program small to
 * the verifier. Their pointers may be NULL as far as it knows, and 6.1 takes nothing behind them as the
 * key of a map: copy keys. */
#ifndef SL_BPF_JUDGING_H
#define SL_BPF_JUDGING_H

#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#include "clock.h"
#include "maps.h"
#include "parse.h"
#include "shared.h"

#define JUDGING_EVENT_GAP_NS 1000000000ull

/* Scalars only, all of it set: it is handed to functions that are verified by themselves. */
struct judging {
	struct parse_result r;
	__u32 ifindex;
	__u64 now_ns;
	__u64 hash;    /* of the source */
	__u64 packets; /* of what is looked at, this one included */
	__u32 family;  /* of what is looked at; 0: of no single source */
	__u16 prefix_len;
	__u16 is_refused; /* by a rate, in a dry run or not */
};

/* XDP runs with preemption off, so the per-CPU slot is ours alone. */
static __always_inline void judging_count(__u32 index, __u64 bytes)
{
	struct guard_total *t = bpf_map_lookup_elem(&totals, &index);

	if (!t)
		return;
	t->packets++;
	t->bytes += bytes;
}

static __always_inline bool judging_is_drop(__u64 verdict)
{
	return verdict == GUARD_DROP_DENY || verdict == GUARD_DROP_NET ||
	       (verdict >= GUARD_DROP_SYN_RATE && verdict <= GUARD_DROP_UNKNOWN_SYN);
}

static __always_inline const struct guard_settings *judging_settings(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&settings, &zero);
}

static __always_inline struct guard_state *judging_state(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&state, &zero);
}

static __always_inline struct guard_cpu *judging_cpu(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&cpu, &zero);
}

static __always_inline bool judging_event_due(const struct judging *j, __u64 last_ns)
{
	return is_rehearsal || !last_ns || j->now_ns >= last_ns + JUDGING_EVENT_GAP_NS;
}

/* Sends an event; LAST_NS is when the one before was sent of the same entry and rule. Losing the
 * exchange means that another CPU sends it. */
__noinline int judging_send_event(const struct judging *j, __u64 *last_ns, __u32 rule_id,
				  __u32 verdict, __u32 is_dry)
{
	struct guard_event *e;
	__u64 before_ns;

	if (!j || !last_ns)
		return 0;
	before_ns = *last_ns;
	if (!judging_event_due(j, before_ns) ||
	    __sync_val_compare_and_swap(last_ns, before_ns, j->now_ns) != before_ns)
		return 0;
	e = bpf_ringbuf_reserve(&events, sizeof *e, 0);
	if (!e) {
		judging_count(GUARD_EVENTS_LOST, 0);
		return 0;
	}
	e->time_ns = j->now_ns;
	e->packets = j->packets;
	e->rule_id = rule_id;
	e->ifindex = j->ifindex;
	e->verdict = verdict;
	e->is_dry_run = is_dry;
	e->family = j->family;
	e->prefix_len = j->prefix_len;
	e->pad = 0;
	__builtin_memcpy(e->addr, j->r.addr, sizeof e->addr);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

#endif
