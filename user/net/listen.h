/* SPDX-License-Identifier: BSD-2-Clause */
/* Listening sockets: opened by the master or inherited by it, kept over a reload when their address
 * stays, used by the workers with EPOLLEXCLUSIVE, or with one socket a worker (reuseport). */
#ifndef SL_NET_LISTEN_H
#define SL_NET_LISTEN_H

#include "net/addr.h"

struct listen_opts {
	int backlog;   /* 0: the default, see listen_backlog() */
	bool ipv6only; /* on unless said otherwise */
	bool deferred, reuseport;
	bool steer;			      /* steer=load: with reuseport only */
	int rcvbuf, sndbuf;		      /* 0: the system's */
	mode_t unix_mode;		      /* 0: 0666 as nginx */
	int fastopen;			      /* length of the queue; 0: off */
	int keepalive;			      /* 0: the system's default, 1: on, -1: off */
	int keepidle_s, keepintvl_s, keepcnt; /* 0: the system's */
};

static inline int listen_backlog(const struct listen_opts *o)
{
	return o->backlog > 0 ? o->backlog : 511;
}

/* A non-blocking listening descriptor, or -SL_ESYS with errno; *what names the call that failed. A
 * stale unix socket that nobody answers on is replaced. */
int listen_open(const struct addr *a, const struct listen_opts *o, const char **what);
/* Options that can change while a socket listens, the backlog among them. 0 or -SL_ESYS as above. */
int listen_tune(int fd, const struct addr *a, const struct listen_opts *o, const char **what);
/* Is FD a stream socket that listens? Then *A is its address. */
bool listen_is_socket(int fd, struct addr *a);

#endif
