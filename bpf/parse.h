/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Finds the source address of a frame, and whether it opens a TCP connection or a TLS session. Writes nothing to the
 * packet and knows no map. What can be read of the source is reported even when the rest is broken,
 * so that nothing odd behind the address hides it.
 *
 * The common headers are read in place. What lies at a variable offset (behind IPv4 options or IPv6
 * extension headers) is copied out by a helper, which also finds it in a fragment of the frame. A call
 * costs several ns, so the usual packet makes none. */
#ifndef SL_BPF_PARSE_H
#define SL_BPF_PARSE_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "shared.h"

#define PARSE_VLAN_MAX 2
#define PARSE_EXT_MAX 8
#define PARSE_IP4_OFFSET_MASK 0x1fff
#define PARSE_IP6_OFFSET_MASK 0xfff8

/* Of a TLS record (RFC 8446, 5.1) with a ClientHello in it: 0x16, 3, minor version, two bytes of
 * length, 1. */
#define PARSE_HELLO_BYTES 6
#define PARSE_TLS_HANDSHAKE 0x16

enum parse_family {
	PARSE_NO_ADDR = 0, /* .why says why */
	PARSE_V4 = 4,
	PARSE_V6 = 6,
};

struct parse_vlan {
	__be16 tci;
	__be16 proto;
};

/* The start that all IPv6 extension headers share. All are at least 8 bytes long. */
struct parse_ext {
	__u8 next;
	__u8 len; /* AH: in 4 bytes beyond 8; fragment: reserved; others: in 8 bytes beyond 8 */
	__be16 fragment_offset;
	__be32 rest;
};

struct parse_result {
	__u64 bytes; /* of the frame; not what lies behind the IP packet in fragments of their own */
	__u8 addr[16]; /* the source; IPv4: the first four bytes */
	__u8 family;   /* enum parse_family */
	__u8 why;      /* enum guard_total_index: GUARD_PASS when the headers are whole */
	__u8 is_syn;
	__u8 is_hello; /* the segment begins with a TLS ClientHello */
};

/* Where the reading is: AT in the packet, which is readable up to END; .offset is the same place as
 * a number. .left is how much there is from there on, of the frame or, within IP, of what the IP
 * header says: padding behind that is not part of the packet. */
struct parse_cursor {
	struct xdp_md *ctx;
	void *at;
	void *end;
	__u32 offset;
	__u32 left;
};

static __always_inline void parse_skip(struct parse_cursor *c, __u32 bytes)
{
	c->at += bytes;
	c->offset += bytes;
	c->left -= bytes;
}

/* Counts what follows in fragments of the frame, which .left does not know at first. */
static __always_inline void parse_measure(struct parse_result *r, struct parse_cursor *c)
{
	__u64 whole = bpf_xdp_get_buff_len(c->ctx);

	c->left += whole - r->bytes;
	r->bytes = whole;
}

static __always_inline bool parse_tcp_is_syn(const struct tcphdr *tcp)
{
	return tcp->syn && !tcp->ack;
}

static __always_inline bool parse_is_hello(const __u8 *p)
{
	return p[0] == PARSE_TLS_HANDSHAKE && p[1] == 3 && p[5] == 1;
}

/* What a TCP segment begins with, DISTANCE behind the cursor. One that is too short to tell counts,
 * or a peer would cut it there. */
static __always_inline bool parse_hello_far(const struct parse_cursor *c, __u32 distance)
{
	__u8 start[PARSE_HELLO_BYTES];

	if (distance >= c->left)
		return false;
	if (c->left - distance < sizeof start)
		return !bpf_xdp_load_bytes(c->ctx, c->offset + distance, start, 1) &&
		       start[0] == PARSE_TLS_HANDSHAKE;
	return !bpf_xdp_load_bytes(c->ctx, c->offset + distance, start, sizeof start) &&
	       parse_is_hello(start);
}

/* The TCP header at the cursor has the usual length of HEAD_BYTES, a constant. */
static __always_inline bool parse_hello_near(const struct parse_cursor *c, __u32 head_bytes)
{
	const __u8 *p = c->at + head_bytes;

	if (c->left < head_bytes + PARSE_HELLO_BYTES || (void *)(p + PARSE_HELLO_BYTES) > c->end)
		return parse_hello_far(c, head_bytes);
	return parse_is_hello(p);
}

/* A transport header at a variable distance from the cursor, which is at most .left. */
static __always_inline void parse_l4_far(struct parse_result *r, const struct parse_cursor *c,
					 __u32 distance, __u8 proto)
{
	struct tcphdr tcp;

	if (proto != IPPROTO_TCP)
		return;
	if (c->left - distance < sizeof tcp ||
	    bpf_xdp_load_bytes(c->ctx, c->offset + distance, &tcp, sizeof tcp)) {
		r->why = GUARD_MALFORMED;
		return;
	}
	r->is_syn = parse_tcp_is_syn(&tcp);
	if (tcp.doff >= 5)
		r->is_hello = parse_hello_far(c, distance + tcp.doff * 4);
}

/* A transport header right behind the IP header at the cursor. */
static __always_inline void parse_l4_near(struct parse_result *r, const struct parse_cursor *c,
					  __u8 proto)
{
	struct tcphdr *tcp = c->at;

	if (proto != IPPROTO_TCP)
		return;
	if (c->left < sizeof *tcp || (void *)(tcp + 1) > c->end) {
		r->why = GUARD_MALFORMED;
		return;
	}
	r->is_syn = parse_tcp_is_syn(tcp);
	if (tcp->doff == 8) /* timestamps */
		r->is_hello = parse_hello_near(c, 32);
	else if (tcp->doff == 5)
		r->is_hello = parse_hello_near(c, 20);
	else if (tcp->doff > 5)
		r->is_hello = parse_hello_far(c, tcp->doff * 4);
}

static __always_inline void parse_ipv4(struct parse_result *r, struct parse_cursor *c)
{
	struct iphdr *ip = c->at;
	__u32 head_bytes, total_bytes;

	r->why = GUARD_MALFORMED;
	if ((void *)(ip + 1) > c->end || ip->version != 4)
		return;
	r->family = PARSE_V4;
	__builtin_memcpy(r->addr, &ip->saddr, sizeof ip->saddr);

	head_bytes = ip->ihl * 4;
	total_bytes = bpf_ntohs(ip->tot_len);
	if (total_bytes > c->left)
		parse_measure(r, c);
	if (head_bytes < sizeof *ip || total_bytes < head_bytes || total_bytes > c->left)
		return;
	c->left = total_bytes;
	r->why = GUARD_PASS;
	if (ip->frag_off & bpf_htons(PARSE_IP4_OFFSET_MASK))
		return; /* a later fragment: no transport header in it */
	if (head_bytes == sizeof *ip) {
		parse_skip(c, sizeof *ip);
		parse_l4_near(r, c, ip->protocol);
	} else {
		parse_l4_far(r, c, head_bytes, ip->protocol);
	}
}

static __always_inline bool parse_is_ext(__u8 proto)
{
	return proto == IPPROTO_HOPOPTS || proto == IPPROTO_ROUTING || proto == IPPROTO_DSTOPTS ||
	       proto == IPPROTO_FRAGMENT || proto == IPPROTO_AH || proto == IPPROTO_MH;
}

/* The chain of extension headers at the cursor, the first of which is NEXT. A chain that is cut
 * short, or longer than anyone sends in earnest, is malformed. */
static __always_inline void parse_ext_chain(struct parse_result *r, const struct parse_cursor *c,
					    __u8 next)
{
	bool is_later_part = false;
	__u32 distance = 0;
	struct parse_ext ext;

	for (int i = 0; i < PARSE_EXT_MAX; i++) {
		if (bpf_xdp_load_bytes(c->ctx, c->offset + distance, &ext, sizeof ext))
			return;
		if (next == IPPROTO_FRAGMENT) {
			distance += sizeof ext;
			is_later_part = ext.fragment_offset & bpf_htons(PARSE_IP6_OFFSET_MASK);
		} else if (next == IPPROTO_AH) {
			distance += (ext.len + 2) * 4;
		} else {
			distance += (ext.len + 1) * 8;
		}
		next = ext.next;
		if (distance > c->left)
			return;
		if (is_later_part || !parse_is_ext(next)) {
			r->why = GUARD_PASS;
			if (!is_later_part)
				parse_l4_far(r, c, distance, next);
			return;
		}
	}
}

static __always_inline void parse_ipv6(struct parse_result *r, struct parse_cursor *c)
{
	struct ipv6hdr *ip = c->at;
	__u32 payload_bytes;
	bool is_jumbo;

	r->why = GUARD_MALFORMED;
	if ((void *)(ip + 1) > c->end || ip->version != 6)
		return;
	r->family = PARSE_V6;
	__builtin_memcpy(r->addr, &ip->saddr, sizeof ip->saddr);

	parse_skip(c, sizeof *ip);
	payload_bytes = bpf_ntohs(ip->payload_len);
	/* A jumbogram (RFC 2675) has 0 there and its length in a hop-by-hop option. */
	is_jumbo = !payload_bytes && ip->nexthdr == IPPROTO_HOPOPTS;
	if (payload_bytes > c->left || is_jumbo)
		parse_measure(r, c);
	if (payload_bytes > c->left)
		return;
	if (!is_jumbo)
		c->left = payload_bytes;
	if (parse_is_ext(ip->nexthdr)) {
		parse_ext_chain(r, c, ip->nexthdr);
	} else {
		r->why = GUARD_PASS;
		parse_l4_near(r, c, ip->nexthdr);
	}
}

static __always_inline bool parse_is_vlan(__be16 proto)
{
	return proto == bpf_htons(ETH_P_8021Q) || proto == bpf_htons(ETH_P_8021AD);
}

static __always_inline void parse_ethernet(struct parse_result *r, struct parse_cursor *c)
{
	struct ethhdr *eth = c->at;
	__be16 proto;

	r->why = GUARD_MALFORMED;
	if ((void *)(eth + 1) > c->end)
		return;
	proto = eth->h_proto;
	parse_skip(c, sizeof *eth);
	for (int i = 0; i < PARSE_VLAN_MAX; i++) {
		struct parse_vlan *tag = c->at;

		if (!parse_is_vlan(proto))
			break;
		if ((void *)(tag + 1) > c->end)
			return;
		proto = tag->proto;
		parse_skip(c, sizeof *tag);
	}
	if (proto == bpf_htons(ETH_P_IP))
		parse_ipv4(r, c);
	else if (proto == bpf_htons(ETH_P_IPV6))
		parse_ipv6(r, c);
	else
		r->why = parse_is_vlan(proto) ? GUARD_VLAN_DEEP : GUARD_NOT_IP;
}

/* *R is zero. */
static __always_inline void parse_frame(struct parse_result *r, struct xdp_md *ctx)
{
	struct parse_cursor c = {
		.ctx = ctx,
		.at = (void *)(long)ctx->data,
		.end = (void *)(long)ctx->data_end,
	};

	r->bytes = c.end - c.at;
	c.left = r->bytes;
	parse_ethernet(r, &c);
	if (!r->family)
		r->bytes = bpf_xdp_get_buff_len(ctx);
}

#endif
