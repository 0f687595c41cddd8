// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0
/* The guard: an XDP program that drops the packets of banned sources before the kernel spends
 * anything on them, and counts what every source sends. It decides by source address alone; it
 * never bans (userspace does), never changes a packet, and what it does not understand passes.
 * Order: allow, deny, deny_net. No path to PASS goes around them once the source is known. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "maps.h"
#include "parse.h"
#include "shared.h"

/* One family's maps and the source as their keys: IPv4 and IPv6 go through the same code. */
struct tables {
	void *allow;
	void *deny;
	void *deny_net;
	void *sources;
	const void *addr;
	const void *cidr;
	__u32 n_allow;
	__u32 n_deny_net;
};

/* XDP runs with preemption off, so the per-CPU slot is ours alone. */
static __always_inline void count_total(__u32 index, __u64 bytes)
{
	struct guard_total *t = bpf_map_lookup_elem(&totals, &index);

	if (!t)
		return;
	t->packets++;
	t->bytes += bytes;
}

static __always_inline bool is_drop(enum guard_total_index verdict)
{
	return verdict == GUARD_DROP_DENY || verdict == GUARD_DROP_NET;
}

/* WHY is the verdict on a packet that no list knows. What is on trial (dry run) hides nothing that
 * is in force: the look-ups go on until one drops. */
static __always_inline enum guard_total_index judge(const struct tables *t,
						    enum guard_total_index why,
						    const struct guard_settings *set, __u64 now_ns,
						    __u64 bytes)
{
	struct guard_deny *deny;
	struct guard_net *net;

	if (t->n_allow && bpf_map_lookup_elem(t->allow, t->cidr))
		return GUARD_PASS_ALLOW;
	deny = bpf_map_lookup_elem(t->deny, t->addr);
	if (deny && (!deny->expires_ns || now_ns < deny->expires_ns)) {
		__sync_fetch_and_add(&deny->packets, 1);
		__sync_fetch_and_add(&deny->bytes, bytes);
		if (!set->dry_run && !(deny->flags & GUARD_DENY_DRY_RUN))
			return GUARD_DROP_DENY;
		why = GUARD_WOULD_DROP;
	} else if (deny && why == GUARD_PASS) {
		why = GUARD_EXPIRED;
	}
	if (!t->n_deny_net)
		return why;
	net = bpf_map_lookup_elem(t->deny_net, t->cidr);
	if (!net)
		return why;
	return set->dry_run || (net->flags & GUARD_DENY_DRY_RUN) ? GUARD_WOULD_DROP
								 : GUARD_DROP_NET;
}

/* A source that only deny_net knows gets no entry: a whole network of forged sources would buy an
 * insert, the dearest thing here, with each packet. */
static __always_inline void count_source(const struct tables *t, enum guard_total_index verdict,
					 bool is_syn, __u64 now_ns, __u64 bytes)
{
	struct guard_source *s = bpf_map_lookup_elem(t->sources, t->addr);
	struct guard_source fresh = {
		.packets = 1,
		.bytes = bytes,
		.syns = is_syn,
		.drops = is_drop(verdict),
		.first_seen_ns = now_ns,
		.last_seen_ns = now_ns,
	};

	if (!s) {
		if (verdict != GUARD_DROP_NET)
			bpf_map_update_elem(t->sources, t->addr, &fresh, BPF_NOEXIST);
		return;
	}
	__sync_fetch_and_add(&s->packets, 1);
	__sync_fetch_and_add(&s->bytes, bytes);
	if (is_syn)
		__sync_fetch_and_add(&s->syns, 1);
	if (is_drop(verdict))
		__sync_fetch_and_add(&s->drops, 1);
	s->last_seen_ns = now_ns;
}

static __always_inline enum guard_total_index decide(const struct tables *t,
						     const struct parse_result *r,
						     const struct guard_settings *set, __u64 bytes)
{
	__u64 now_ns = bpf_ktime_get_coarse_ns();
	enum guard_total_index verdict = judge(t, r->why, set, now_ns, bytes);

	if (set->count_sources)
		count_source(t, verdict, r->is_syn, now_ns, bytes);
	return verdict;
}

static __always_inline enum guard_total_index decide_v4(const struct parse_result *r,
							const struct guard_settings *set,
							__u64 bytes)
{
	struct guard_cidr_v4 cidr = {.prefix_len = 32};
	struct tables t = {
		.allow = &allow_v4,
		.deny = &deny_v4,
		.deny_net = &deny_net_v4,
		.sources = &sources_v4,
		.addr = &r->v4,
		.cidr = &cidr,
		.n_allow = set->n_allow_v4,
		.n_deny_net = set->n_deny_net_v4,
	};

	__builtin_memcpy(cidr.addr, r->v4.addr, sizeof cidr.addr);
	return decide(&t, r, set, bytes);
}

static __always_inline enum guard_total_index decide_v6(const struct parse_result *r,
							const struct guard_settings *set,
							__u64 bytes)
{
	struct guard_cidr_v6 cidr = {.prefix_len = 128};
	struct tables t = {
		.allow = &allow_v6,
		.deny = &deny_v6,
		.deny_net = &deny_net_v6,
		.sources = &sources_v6,
		.addr = &r->v6,
		.cidr = &cidr,
		.n_allow = set->n_allow_v6,
		.n_deny_net = set->n_deny_net_v6,
	};

	__builtin_memcpy(cidr.addr, r->v6.addr, sizeof cidr.addr);
	return decide(&t, r, set, bytes);
}

SEC("xdp.frags")
int sluice_guard(struct xdp_md *ctx)
{
	__u64 bytes = bpf_xdp_get_buff_len(ctx);
	struct guard_settings *set;
	enum guard_total_index verdict;
	struct parse_result r;
	__u32 zero = 0;

	set = bpf_map_lookup_elem(&settings, &zero);
	if (!set)
		return XDP_PASS;
	parse_frame(&r, ctx, bytes);
	verdict = r.why;
	if (r.family == PARSE_V4)
		verdict = decide_v4(&r, set, bytes);
	else if (r.family == PARSE_V6)
		verdict = decide_v6(&r, set, bytes);
	count_total(verdict, bytes);
	return is_drop(verdict) ? XDP_DROP : XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
