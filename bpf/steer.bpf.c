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

static __always_inline struct steer_load *load_of(const struct steer_place *p)
{
	__u32 slot;

	if (!p)
		return 0;
	slot = p->slot;
	return bpf_map_lookup_elem(&loads, &slot);
}

/* Connections over the part of the time that is left, in fixed point. A full loop has a little left. */
static __always_inline __u64 weight(const struct steer_load *l)
{
	__u64 given = l->given, taken = l->taken;
	__u64 conns = l->conns + (given > taken ? given - taken : 0) + 1;
	__u32 busy = l->busy;

	return busy < STEER_BUSY_FULL ? conns * 256 / (STEER_BUSY_FULL - busy) : conns * 4096;
}

static __always_inline bool take(struct sk_reuseport_md *ctx, const struct steer_place *p)
{
	struct steer_load *l = load_of(p);
	__u32 socket;

	if (!l)
		return false;
	socket = p->socket;
	if (bpf_sk_select_reuseport(ctx, &sockets, &socket, 0))
		return false;
	__sync_fetch_and_add(&l->given, 1);
	return true;
}

/* SK_PASS without a socket chosen: the kernel chooses. */
SEC("sk_reuseport/migrate")
int steer(struct sk_reuseport_md *ctx)
{
	__u32 zero = 0, n, a, b;
	const struct steer_settings *set = bpf_map_lookup_elem(&settings, &zero);
	const struct steer_place *first, *second;
	struct steer_load *at_first, *at_second;

	if (!set || set->how == STEER_KERNEL)
		return SK_PASS;
	n = set->n_places;
	if (n == 0 || n > STEER_WORKERS_MAX)
		return SK_PASS;
	a = (set->how == STEER_LOAD ? bpf_get_prandom_u32() : ctx->hash) % n;
	b = n > 1 ? (a + 1 + bpf_get_prandom_u32() % (n - 1)) % n : a;
	first = bpf_map_lookup_elem(&places, &a);
	second = bpf_map_lookup_elem(&places, &b);
	at_first = load_of(first);
	at_second = load_of(second);
	if (set->how == STEER_LOAD && at_first && at_second &&
	    weight(at_second) < weight(at_first)) {
		const struct steer_place *swap = first;

		first = second;
		second = swap;
	}
	/* One that has just stopped to listen is in the settings still. */
	if (!take(ctx, first))
		take(ctx, second);
	return SK_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
