// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0
/* The relay: bytes between a worker and an upstream on this host, put from one socket straight into the
 * other's receive queue. `relay_meet` sees connections being established and pairs those that a worker has
 * marked; `relay_message` sees what either end of a pair sends. docs/sockmap.md says why each rule is there.
 *
 * A direction begins redirected, with its first byte, or never is: once anything went by TCP all else does,
 * so that nothing is ever overtaken. */
#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "relay_shared.h"

#define AF_INET 2
#define AF_INET6 10
#define FIRST_PAGE_BYTES 4096
#define TCP_ESTABLISHED 1
#define TCP_CLOSE_WAIT 8

/* Of the kernel's types what is read here; libbpf finds the offsets. */
typedef struct {
	__s64 counter;
} atomic64_t;

typedef struct {
	int counter;
} atomic_t;

struct proto {
	unsigned long *memory_pressure;
} __attribute__((preserve_access_index));

struct sock_common {
	struct proto *skc_prot;
	atomic64_t skc_cookie;
} __attribute__((preserve_access_index));

struct sock {
	struct sock_common __sk_common;
	struct {
		atomic_t rmem_alloc;
	} sk_backlog;
	__u8 sk_kern_sock : 1;
} __attribute__((preserve_access_index));

struct addresses {
	__u64 netns;
	__u32 gateway[4], upstream[4]; /* IPv4 mapped into IPv6 */
	__u16 gateway_port, upstream_port;
	__u32 pad;
};

struct met {
	__u64 id;
	__u32 slot, group, limit_bytes, pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct relay_end);
} marks SEC(".maps");

/* By id and side. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 2 * RELAY_SLOTS_MAX);
	__type(key, __u64);
	__type(value, __u64);
} ends SEC(".maps");

/* From the moment in which the gateway's end is established until the upstream's is. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, RELAY_MEETING_MAX);
	__type(key, struct addresses);
	__type(value, struct met);
} meeting SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, RELAY_SLOTS_MAX);
	__type(key, __u32);
	__type(value, struct relay_slot);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, RELAY_GROUPS_MAX);
	__type(key, __u32);
	__type(value, struct relay_totals);
} totals SEC(".maps");

static __always_inline __u64 end_key(__u64 id, __u32 side)
{
	return id << 1 | side;
}

/* ---- who meets whom ---- */

/* Keeps the compiler from choosing between addresses within the context, which the verifier forbids. */
#define KEPT(value) \
	({ \
		__u32 kept_ = (value); \
		asm volatile("" : "+r"(kept_)); \
		kept_; \
	})

static __always_inline void put_v4(__u32 to[4], __u32 addr)
{
	to[0] = to[1] = 0;
	to[2] = bpf_htonl(0xffff);
	to[3] = addr;
}

/* An upstream that listens on [::] sees IPv4 as mapped addresses, which the fields for IPv6 show; the
 * gateway's end is of IPv4 then. */
static __always_inline int read_addresses(struct bpf_sock_ops *ops, struct addresses *a, int active)
{
	__u32 *local = active ? a->gateway : a->upstream;
	__u32 *remote = active ? a->upstream : a->gateway;
	__u16 local_port = KEPT(ops->local_port), remote_port = bpf_ntohl(KEPT(ops->remote_port));
	__u32 family = KEPT(ops->family);

	a->netns = bpf_get_netns_cookie(ops);
	a->gateway_port = active ? local_port : remote_port;
	a->upstream_port = active ? remote_port : local_port;
	a->pad = 0;
	if (family == AF_INET) {
		put_v4(local, KEPT(ops->local_ip4));
		put_v4(remote, KEPT(ops->remote_ip4));
		return 0;
	}
	local[0] = KEPT(ops->local_ip6[0]);
	local[1] = KEPT(ops->local_ip6[1]);
	local[2] = KEPT(ops->local_ip6[2]);
	local[3] = KEPT(ops->local_ip6[3]);
	remote[0] = KEPT(ops->remote_ip6[0]);
	remote[1] = KEPT(ops->remote_ip6[1]);
	remote[2] = KEPT(ops->remote_ip6[2]);
	remote[3] = KEPT(ops->remote_ip6[3]);
	return family == AF_INET6 ? 0 : -1;
}

/* A worker's connection is made: its end, and a word for the other one, whose turn is next. */
static __always_inline void meet_gateway(struct bpf_sock_ops *ops)
{
	struct bpf_sock *sock = ops->sk;
	struct relay_end *end;
	struct addresses a;
	struct met met = {};
	__u64 key;

	if (!sock)
		return;
	end = bpf_sk_storage_get(&marks, sock, NULL, 0);
	if (!end || read_addresses(ops, &a, 1))
		return;
	end->side = RELAY_GATEWAY;
	end->id = bpf_get_socket_cookie(ops);
	key = end_key(end->id, RELAY_GATEWAY);
	if (bpf_sock_hash_update(ops, &ends, &key, BPF_NOEXIST))
		return;
	met.id = end->id;
	met.slot = end->slot;
	met.group = end->group;
	met.limit_bytes = end->limit_bytes;
	bpf_map_update_elem(&meeting, &a, &met, BPF_ANY);
}

/* The children of a listening socket that the kernel made for itself are left alone: MPTCP's, which
 * accept() turns back into plain TCP and must know again by their functions. */
static __always_inline int is_kernels(struct sock *sk)
{
	return BPF_CORE_READ_BITFIELD(sk, sk_kern_sock);
}

static __always_inline void meet_upstream(struct bpf_sock_ops *ops)
{
	struct bpf_sock *sock = ops->sk;
	struct relay_totals *sum;
	struct addresses a;
	struct relay_end *end;
	struct met *found, met;
	struct sock *sk;
	__u64 key;

	if (!sock || read_addresses(ops, &a, 0))
		return;
	found = bpf_map_lookup_elem(&meeting, &a);
	if (!found)
		return; /* nobody's of ours */
	met = *found;
	bpf_map_delete_elem(&meeting, &a);
	sk = (struct sock *)bpf_skc_to_tcp_sock(sock);
	if (!sk || is_kernels(sk))
		return;
	end = bpf_sk_storage_get(&marks, sock, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!end)
		return;
	end->side = RELAY_UPSTREAM;
	end->id = met.id;
	end->slot = met.slot;
	end->group = met.group;
	end->limit_bytes = met.limit_bytes;
	key = end_key(met.id, RELAY_UPSTREAM);
	if (bpf_sock_hash_update(ops, &ends, &key, BPF_NOEXIST))
		return;
	sum = bpf_map_lookup_elem(&totals, &met.group);
	if (sum)
		__sync_fetch_and_add(&sum->n_pairs, 1);
}

SEC("sockops")
int relay_meet(struct bpf_sock_ops *ops)
{
	if (ops->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB)
		meet_gateway(ops);
	else if (ops->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		meet_upstream(ops);
	return 1;
}

/* ---- what they say ---- */

static __always_inline int by_tcp(struct relay_end *end, struct relay_slot *slot,
				  struct relay_totals *sum)
{
	end->by_tcp = 1;
	if (end->side == RELAY_UPSTREAM) {
		slot->mixed = 1;
		__sync_fetch_and_add(&sum->n_answers_latched, 1);
	} else {
		__sync_fetch_and_add(&sum->n_requests_latched, 1);
	}
	return SK_PASS;
}

/* TCP has less memory than it would like: a redirect may fail then, with an error that no upstream expects, where
 * TCP makes the sender wait. What fits into an empty queue's first page is always let through. */
static __always_inline int is_short_of_memory(struct sock *sk)
{
	unsigned long value = 0, *at = sk->__sk_common.skc_prot->memory_pressure;

	if (at)
		bpf_probe_read_kernel(&value, sizeof value, at);
	return value != 0;
}

/* The worker acknowledges what it has read; all that lies unread costs its bytes and something for each message. */
static __always_inline int fits(struct relay_end *end, const struct relay_slot *slot, __u32 size,
				struct sock *sk)
{
	__u64 queued = end->n_sent - slot->n_read;

	if (queued == 0)
		end->n_messages = 0;
	end->n_messages++;
	if (queued + size + end->n_messages * (__u64)RELAY_MESSAGE_BYTES > end->limit_bytes)
		return 0;
	return (queued == 0 && size <= FIRST_PAGE_BYTES) || !is_short_of_memory(sk);
}

SEC("sk_msg")
int relay_message(struct sk_msg_md *msg)
{
	struct bpf_sock *sock = msg->sk;
	struct relay_totals *sum;
	struct relay_slot *slot;
	struct relay_end *end;
	struct sock *sk;
	__u64 key;

	if (!sock)
		return SK_PASS;
	end = bpf_sk_storage_get(&marks, sock, NULL, 0);
	if (!end)
		return SK_PASS;
	slot = bpf_map_lookup_elem(&slots, &end->slot);
	sum = bpf_map_lookup_elem(&totals, &end->group);
	sk = (struct sock *)bpf_skc_to_tcp_sock(sock);
	if (!slot || !sum || !sk)
		return SK_PASS;
	/* An upstream cannot acknowledge, but what it has not read counts as received by its socket. */
	if (end->side == RELAY_UPSTREAM)
		slot->unread = sk->sk_backlog.rmem_alloc.counter;
	if (end->by_tcp)
		return SK_PASS;
	if (sock->state != TCP_ESTABLISHED && sock->state != TCP_CLOSE_WAIT)
		return by_tcp(end, slot,
			      sum); /* it said that it sends no more: TCP has the error */
	if (end->side == RELAY_UPSTREAM && !fits(end, slot, msg->size, sk))
		return by_tcp(end, slot, sum);
	key = end_key(end->id, end->side == RELAY_UPSTREAM ? RELAY_GATEWAY : RELAY_UPSTREAM);
	if (bpf_msg_redirect_hash(msg, &ends, &key, BPF_F_INGRESS) != SK_PASS)
		return by_tcp(end, slot, sum); /* it has not come, or is closed */
	end->n_sent += msg->size;
	__sync_fetch_and_add(end->side == RELAY_UPSTREAM ? &sum->n_answer_bytes
							 : &sum->n_request_bytes,
			     msg->size);
	return SK_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
