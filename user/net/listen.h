/* SPDX-License-Identifier: BSD-2-Clause */
/* Listening sockets: opened by the master, kept over a reload when their address stays, used by the
 * workers with EPOLLEXCLUSIVE. */
#ifndef SL_NET_LISTEN_H
#define SL_NET_LISTEN_H

#include "net/addr.h"

struct listen_opts {
	int backlog;   /* <0: the default, 511 */
	bool ipv6only; /* on unless said otherwise */
	bool deferred, reuseport;
	int rcvbuf, sndbuf; /* 0: the system's */
	mode_t unix_mode;   /* 0: 0666 as nginx */
};

/* A non-blocking listening descriptor, or -SL_ESYS with errno; *what names the call that failed. A
 * stale unix socket that nobody answers on is replaced. */
int listen_open(const struct addr *a, const struct listen_opts *o, const char **what);

#endif
