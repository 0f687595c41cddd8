// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0
/* The guard: an XDP program that drops the packets of banned sources before the kernel spends
 * anything on them, and counts what every source sends. It decides by source address alone; it
 * never bans (userspace does), never changes a packet, and what it does not understand passes.
 * Order: allow, deny, ban_net, deny_net. No path to PASS goes around them once the source is known. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "maps.h"
#include "parse.h"
#include "shared.h"

/* One family's maps and the source as their keys: IPv4 and IPv6 go through the same code. */
struct tables {
	void *allow;
	void *deny;
	void *ban_net;
	void *deny_net;
	void *sources;
	const void *addr;
	const void *cidr;
	__u32 n_allow;
	__u32 n_ban_net;
	__u32 n_deny_net;
};

/* What all look-ups about one packet share. */
struct judging {
	const struct guard_settings *set;
	__u64 now_ns;
	__u64 bytes;
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

/* What an entry makes of a packet, of which the lists before said WHY. What is over, or on trial (dry
 * run), hides nothing that is in force: the look-ups go on until one drops. */
static __always_inline enum guard_total_index entry_verdict(enum guard_total_index why,
							    __u64 expires_ns, __u32 flags,
							    const struct judging *j,
							    enum guard_total_index drop)
{
	if (expires_ns && j->now_ns >= expires_ns)
		return why == GUARD_PASS ? GUARD_EXPIRED : why;
	if (j->set->dry_run || (flags & GUARD_DENY_DRY_RUN))
		return GUARD_WOULD_DROP;
	return drop;
}

static __always_inline enum guard_total_index judge_net(void *map, const void *cidr,
							enum guard_total_index why,
							const struct judging *j)
{
	struct guard_net *net = bpf_map_lookup_elem(map, cidr);

	if (!net)
		return why;
	if (!net->expires_ns || j->now_ns < net->expires_ns) {
		__sync_fetch_and_add(&net->packets, 1);
		__sync_fetch_and_add(&net->bytes, j->bytes);
	}
	return entry_verdict(why, net->expires_ns, net->flags, j, GUARD_DROP_NET);
}

/* WHY is the verdict on a packet that no list knows. */
static __always_inline enum guard_total_index judge(const struct tables *t,
						    enum guard_total_index why,
						    const struct judging *j)
{
	struct guard_deny *deny;

	if (t->n_allow && bpf_map_lookup_elem(t->allow, t->cidr))
		return GUARD_PASS_ALLOW;
	deny = bpf_map_lookup_elem(t->deny, t->addr);
	if (deny) {
		if (!deny->expires_ns || j->now_ns < deny->expires_ns) {
			__sync_fetch_and_add(&deny->packets, 1);
			__sync_fetch_and_add(&deny->bytes, j->bytes);
		}
		why = entry_verdict(why, deny->expires_ns, deny->flags, j, GUARD_DROP_DENY);
	}
	if (!is_drop(why) && t->n_ban_net)
		why = judge_net(t->ban_net, t->cidr, why, j);
	if (!is_drop(why) && t->n_deny_net)
		why = judge_net(t->deny_net, t->cidr, why, j);
	return why;
}

/* What a list drops is counted in the list: a network of forged sources would otherwise buy an
 * insert, the dearest thing here, with each packet. */
static __always_inline void count_source(const struct tables *t, bool is_syn,
					 const struct judging *j)
{
	struct guard_source *s = bpf_map_lookup_elem(t->sources, t->addr);
	struct guard_source fresh = {
		.packets = 1,
		.bytes = j->bytes,
		.syns = is_syn,
		.first_seen_ns = j->now_ns,
		.last_seen_ns = j->now_ns,
	};

	if (!s) {
		bpf_map_update_elem(t->sources, t->addr, &fresh, BPF_NOEXIST);
		return;
	}
	__sync_fetch_and_add(&s->packets, 1);
	__sync_fetch_and_add(&s->bytes, j->bytes);
	if (is_syn)
		__sync_fetch_and_add(&s->syns, 1);
	s->last_seen_ns = j->now_ns;
}

static __always_inline enum guard_total_index decide(const struct tables *t,
						     const struct parse_result *r,
						     const struct guard_settings *set, __u64 bytes)
{
	const struct judging j = {.set = set, .now_ns = bpf_ktime_get_coarse_ns(), .bytes = bytes};
	enum guard_total_index verdict = judge(t, r->why, &j);

	if (set->count_sources && !is_drop(verdict))
		count_source(t, r->is_syn, &j);
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
		.ban_net = &ban_net_v4,
		.deny_net = &deny_net_v4,
		.sources = &sources_v4,
		.addr = &r->v4,
		.cidr = &cidr,
		.n_allow = set->n_allow_v4,
		.n_ban_net = set->n_ban_net_v4,
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
		.ban_net = &ban_net_v6,
		.deny_net = &deny_net_v6,
		.sources = &sources_v6,
		.addr = &r->v6,
		.cidr = &cidr,
		.n_allow = set->n_allow_v6,
		.n_ban_net = set->n_ban_net_v6,
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
	struct parse_result r = {0};
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
