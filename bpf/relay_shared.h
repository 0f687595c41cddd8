/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* The ABI between the relay program (`sockmap on`) and userspace: sizes of its maps and what is in them.
 * Nothing of it is pinned, so both sides are always of one build. */
#ifndef SL_BPF_RELAY_SHARED_H
#define SL_BPF_RELAY_SHARED_H

#include <linux/types.h>

#define RELAY_SLOTS_MAX 65536  /* connections at a time */
#define RELAY_GROUPS_MAX 256   /* upstream groups since the master's start */
#define RELAY_MEETING_MAX 8192 /* connections whose other end has not come yet */
/* What an unread message costs the kernel beside its bytes (struct sk_msg). */
#define RELAY_MESSAGE_BYTES 1024

/* The two ends of a connection. */
enum relay_side {
	RELAY_GATEWAY,	/* a worker's */
	RELAY_UPSTREAM, /* of whatever process listens there */
};

/* One end, in the socket's own storage. A worker writes the first three before it connects, which is what
 * makes a connection one that is relayed; all else is the program's. */
struct relay_end {
	__u32 slot;
	__u32 group;
	__u32 limit_bytes;
	__u32 side;
	__u64 id; /* cookie of the gateway's socket */
	/* of the direction in which this end sends */
	__u64 n_sent;	  /* bytes, redirected */
	__u32 n_messages; /* since all was read; upstream only */
	__u32 by_tcp;	  /* for good */
};

/* Shared with the worker that has the connection, mapped: no system call. */
struct relay_slot {
	__u64 n_read; /* the worker's: bytes read of what came */
	__u64 mixed;  /* the program's: from here on bytes come by TCP, behind redirected ones */
	__u64 unread; /* the program's: what the upstream had not read when it last sent something */
};

/* Of a group, since the master's start. Mapped. */
struct relay_totals {
	__u64 n_pairs;		  /* connections of which both ends were found */
	__u64 n_request_bytes;	  /* redirected to the upstream */
	__u64 n_answer_bytes;	  /* redirected to the gateway */
	__u64 n_requests_latched; /* connections that go by TCP for good in that direction */
	__u64 n_answers_latched;
	__u64 pad[3];
};

_Static_assert(sizeof(struct relay_end) == 40, "layout");
_Static_assert(sizeof(struct relay_slot) == 24, "layout");
_Static_assert(sizeof(struct relay_totals) == 64, "layout");

#endif
