// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0
/* Chooses the socket of a reuseport group, and so the worker, that a new connection goes to: the less busy
 * of two taken at random, which avoids both the busiest worker and the herd that runs after one figure
 * which is out of date. The kernel asks it too where a connection in the queue of a socket that closes
 * could go instead (migration). What it does not know it leaves to the kernel's own hash; it never
 * refuses a connection. */
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#include "steer_shared.h"

struct {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(max_entries, STEER_WORKERS_MAX);
	__type(key, __u32);
	__type(value, __u64);
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct steer_settings);
} settings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, STEER_WORKERS_MAX);
	__type(key, __u32);
	__type(value, struct steer_place);
} places SEC(".maps");

/* One for all listeners: userspace puts the same map into each program. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, STEER_WORKERS_MAX);
	__type(key, __u32);
	__type(value, struct steer_load);
} loads SEC(".maps");

/* Connections over the part of the time that is left, in fixed point. A full loop has a little left. */
static __always_inline __u64 weight(const struct steer_load *l)
{
	__u64 given = l->given, taken = l->taken;
	__u64 conns = l->conns + (given > taken ? given - taken : 0) + 1;
	__u32 busy = l->busy;

	return busy < STEER_BUSY_FULL ? conns * 256 / (STEER_BUSY_FULL - busy) : conns * 4096;
}

static __always_inline bool take(struct sk_reuseport_md *ctx, __u32 socket, __u32 slot)
{
	struct steer_load *l;

	if (bpf_sk_select_reuseport(ctx, &sockets, &socket, 0))
		return false;
	l = bpf_map_lookup_elem(&loads, &slot);
	if (l)
		__sync_fetch_and_add(&l->given, 1);
	return true;
}

/* Numbers instead of pointers from here on: without CAP_PERFMON Linux 6.1 refuses a pointer that may be NULL on
 * one way and not on another. False: what the master wrote makes no sense. */
static __always_inline bool look(__u32 i, struct steer_place *place, __u64 *weighs)
{
	const struct steer_place *p = bpf_map_lookup_elem(&places, &i);
	const struct steer_load *l;

	if (!p)
		return false;
	*place = *p;
	l = bpf_map_lookup_elem(&loads, &place->slot);
	if (!l)
		return false;
	*weighs = weight(l);
	return true;
}

/* SK_PASS without a socket chosen: the kernel chooses. */
SEC("sk_reuseport/migrate")
int steer(struct sk_reuseport_md *ctx)
{
	__u32 zero = 0, n, how, a, b;
	const struct steer_settings *set = bpf_map_lookup_elem(&settings, &zero);
	struct steer_place first, second;
	__u64 weighs_first, weighs_second;

	if (!set)
		return SK_PASS;
	how = set->how;
	n = set->n_places;
	if (how == STEER_KERNEL || n == 0 || n > STEER_WORKERS_MAX)
		return SK_PASS;
	a = (how == STEER_LOAD ? bpf_get_prandom_u32() : ctx->hash) % n;
	b = n > 1 ? (a + 1 + bpf_get_prandom_u32() % (n - 1)) % n : a;
	if (!look(a, &first, &weighs_first) || !look(b, &second, &weighs_second))
		return SK_PASS;
	/* One that has just stopped to listen is in the settings still: the other one, then. */
	if (how == STEER_LOAD && weighs_second < weighs_first) {
		if (!take(ctx, second.socket, second.slot))
			take(ctx, first.socket, first.slot);
	} else if (!take(ctx, first.socket, first.slot)) {
		take(ctx, second.socket, second.slot);
	}
	return SK_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
