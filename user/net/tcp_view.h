/* SPDX-License-Identifier: BSD-2-Clause */
/* What the kernel knows of a TCP connection (tcp(7), TCP_INFO). */
#ifndef SL_NET_TCP_VIEW_H
#define SL_NET_TCP_VIEW_H

#include <stdbool.h>
#include <stdint.h>

enum tcp_view_field {
	TCP_VIEW_RTT,		/* us, smoothed */
	TCP_VIEW_MIN_RTT,	/* us */
	TCP_VIEW_RETRANSMITS,	/* segments sent again since the connection was made */
	TCP_VIEW_DELIVERY_RATE, /* bytes a second, of what the peer acknowledged last */
	TCP_VIEW_N_FIELDS,
};

struct tcp_view {
	uint64_t value[TCP_VIEW_N_FIELDS];
	uint8_t known; /* bits by field */
};

/* One system call. Where FD is no TCP connection, or was none yet, nothing is known. */
void tcp_view_read(int fd, struct tcp_view *v);

static inline bool tcp_view_knows(const struct tcp_view *v, enum tcp_view_field f)
{
	return v->known & (1u << f);
}

#endif
