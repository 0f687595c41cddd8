// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0
/* The guard: an XDP program that drops the packets of banned sources before the kernel spends
 * anything on them, throttles who sends more than the rates allow, and counts what every source
 * sends. It decides by source address; it never bans (userspace does), never changes a packet, and
 * what it does not understand passes.
 * Order: allow, deny, ban_net, deny_net, rates. No path to PASS goes around the lists once the source
 * is known. */
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#include "clock.h"
#include "filter.h"
#include "hash.h"
#include "judging.h"
#include "maps.h"
#include "parse.h"
#include "shared.h"
#include "sources.h"

/* One family's maps and the source as their keys: IPv4 and IPv6 go through the same code. */
struct tables {
	void *allow;
	void *deny;
	void *ban_net;
	void *deny_net;
	const void *addr;
	const void *cidr;
	__u32 n_allow;
	__u32 n_ban_net;
	__u32 n_deny_net;
};

/* An entry that is over passes, which hides nothing that is in force: the look-ups go on until one
 * drops. So do they after one on trial (dry run). WHY is what the lists before said. */
static __always_inline __u64 list_over(__u64 why)
{
	return why == GUARD_PASS ? GUARD_EXPIRED : why;
}

/* Sends the event, if it is time for one. What entries count is not atomic, which would cost a fifth of
 * the verdict: two CPUs at once may lose one. The totals are exact. */
static __always_inline __u64 list_refuse(const struct guard_settings *set, __u64 drop,
					 __u64 *last_ns, __u32 rule_id, __u32 flags,
					 const struct judging *j)
{
	__u64 is_dry = set->dry_run || (flags & GUARD_DENY_DRY_RUN);

	if (judging_event_due(j, *last_ns))
		judging_send_event(j, last_ns, rule_id, drop, is_dry);
	return is_dry ? GUARD_WOULD_DROP : drop;
}

static __always_inline __u64 judge_net(void *map, const void *cidr, __u64 why,
				       const struct guard_settings *set, struct judging *j)
{
	struct guard_net *net = bpf_map_lookup_elem(map, cidr);

	if (!net)
		return why;
	if (net->expires_ns && j->now_ns >= net->expires_ns)
		return list_over(why);
	j->packets = ++net->packets;
	net->bytes += j->r.bytes;
	j->prefix_len = net->prefix_len;
	return list_refuse(set, GUARD_DROP_NET, &net->event_ns, net->rule_id, net->flags, j);
}

static __always_inline __u64 judge_address(const struct tables *t, __u64 why,
					   const struct guard_settings *set, struct judging *j)
{
	struct guard_deny *deny = bpf_map_lookup_elem(t->deny, t->addr);

	if (!deny)
		return why;
	if (deny->expires_ns && j->now_ns >= deny->expires_ns)
		return list_over(why);
	j->packets = ++deny->packets;
	deny->bytes += j->r.bytes;
	return list_refuse(set, GUARD_DROP_DENY, &deny->event_ns, deny->rule_id, deny->flags, j);
}

/* Of a source that may be in some list. */
static __always_inline __u64 judge_lists(const struct tables *t, const struct guard_settings *set,
					 struct judging *j)
{
	__u64 why = j->r.why;

	if (t->n_allow && bpf_map_lookup_elem(t->allow, t->cidr))
		return GUARD_PASS_ALLOW;
	why = judge_address(t, why, set, j);
	if (!judging_is_drop(why) && t->n_ban_net)
		why = judge_net(t->ban_net, t->cidr, why, set, j);
	if (!judging_is_drop(why) && t->n_deny_net)
		why = judge_net(t->deny_net, t->cidr, why, set, j);
	return why;
}

static __always_inline __u64 judge_lists_v4(__u32 number, const struct guard_settings *set,
					    struct judging *j)
{
	struct guard_cidr_v4 cidr = {.prefix_len = 32};
	struct tables t = {
		.allow = &allow_v4,
		.deny = &deny_v4,
		.ban_net = &ban_net_v4,
		.deny_net = &deny_net_v4,
		.addr = &number,
		.cidr = &cidr,
		.n_allow = filter_may_allow_v4(number) ? set->n_allow_v4 : 0,
		.n_ban_net = set->n_ban_net_v4,
		.n_deny_net = set->n_deny_net_v4,
	};

	__builtin_memcpy(cidr.addr, &number, sizeof cidr.addr);
	return judge_lists(&t, set, j);
}

static __always_inline __u64 judge_lists_v6(const struct guard_settings *set, struct judging *j)
{
	struct guard_cidr_v6 cidr = {.prefix_len = 128};
	struct tables t = {
		.allow = &allow_v6,
		.deny = &deny_v6,
		.ban_net = &ban_net_v6,
		.deny_net = &deny_net_v6,
		.addr = cidr.addr,
		.cidr = &cidr,
		.n_allow = set->n_allow_v6,
		.n_ban_net = set->n_ban_net_v6,
		.n_deny_net = set->n_deny_net_v6,
	};

	__builtin_memcpy(cidr.addr, j->r.addr, sizeof cidr.addr);
	return judge_lists(&t, set, j);
}

static __always_inline __u64 judge_v4(const struct guard_settings *set, struct judging *j)
{
	__u64 why = j->r.why;
	__u32 number;

	__builtin_memcpy(&number, j->r.addr, sizeof number);
	j->prefix_len = 32;
	if (filter_may_list_v4(number))
		why = judge_lists_v4(number, set, j);
	if (judging_is_drop(why) || !set->count_sources)
		return why;
	j->prefix_len = 32;
	j->hash = guard_hash(0, number, set->seed);
	return sources_judge(&sources_v4, &number, why, set, j);
}

static __always_inline __u64 judge_v6(const struct guard_settings *set, struct judging *j)
{
	__u64 why = j->r.why, half[2];

	__builtin_memcpy(half, j->r.addr, sizeof half);
	j->prefix_len = 128;
	if (filter_may_list_v6(half[0], set->seed))
		why = judge_lists_v6(set, j);
	if (judging_is_drop(why) || !set->count_sources)
		return why;
	j->prefix_len = 128;
	j->hash = guard_hash(half[0], half[1], set->seed);
	return sources_judge(&sources_v6, half, why, set, j);
}

/* The master is gone, and the configuration says that then all pass. */
static __always_inline bool is_fail_open(const struct guard_settings *set, const struct judging *j)
{
	__u32 zero = 0;
	__u64 *beat_ns;

	if (!set->fail_after_ns || !set->fail_open)
		return false;
	beat_ns = bpf_map_lookup_elem(&heartbeat, &zero);
	return beat_ns && j->now_ns > *beat_ns + set->fail_after_ns;
}

SEC("xdp.frags")
int sluice_guard(struct xdp_md *ctx)
{
	const struct guard_settings *set = judging_settings();
	struct judging j = {.ifindex = ctx->ingress_ifindex};
	struct guard_cpu *own = judging_cpu();
	__u64 verdict;

	if (!own || !set)
		return XDP_PASS;
	parse_frame(&j.r, ctx);
	verdict = j.r.why;
	j.family = j.r.family;
	if (j.r.family) {
		j.now_ns = clock_tick_ns(own);
		verdict = j.r.family == PARSE_V4 ? judge_v4(set, &j) : judge_v6(set, &j);
		if (judging_is_drop(verdict) && is_fail_open(set, &j))
			verdict = GUARD_FAIL_OPEN;
	}
	judging_count(verdict, j.r.bytes);
	return judging_is_drop(verdict) ? XDP_DROP : XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
