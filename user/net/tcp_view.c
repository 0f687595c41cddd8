/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the reading of TCP_INFO. The kernel's header and not the C library's, whose struct ends before the
 * fields that are wanted; the two cannot meet in one file. */
#include "net/tcp_view.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

static void know(struct tcp_view *v, enum tcp_view_field f, uint64_t value)
{
	v->value[f] = value;
	v->known |= (uint8_t)(1u << f);
}

void tcp_view_read(int fd, struct tcp_view *v)
{
	struct tcp_info info = {0};
	socklen_t n = sizeof info;

	memset(v, 0, sizeof *v);
	/* Linux 4.9 and later fill in all that is read here. */
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &n) < 0 ||
	    n < offsetof(struct tcp_info, tcpi_delivery_rate) + sizeof info.tcpi_delivery_rate)
		return;
	/* A time that was never measured is 0, the least of none the largest number. */
	if (info.tcpi_rtt)
		know(v, TCP_VIEW_RTT, info.tcpi_rtt);
	if (info.tcpi_min_rtt != UINT32_MAX)
		know(v, TCP_VIEW_MIN_RTT, info.tcpi_min_rtt);
	if (v->known)
		know(v, TCP_VIEW_RETRANSMITS, info.tcpi_total_retrans);
	if (info.tcpi_delivery_rate)
		know(v, TCP_VIEW_DELIVERY_RATE, info.tcpi_delivery_rate);
}
