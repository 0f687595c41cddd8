/* SPDX-License-Identifier: BSD-2-Clause */
/* A stream connection, plain or under TLS, behind one table of I/O functions. It is registered
 * edge-triggered once; `readable` and `writable` remember what epoll said until a call has used it up,
 * so that no system call is made that is known to end in EAGAIN. */
#ifndef SL_NET_CONN_H
#define SL_NET_CONN_H

#include <sys/types.h>
#include <sys/uio.h>

#include "core/detour.h"
#include "net/addr.h"
#include "net/loop.h"

struct conn;

struct conn_ops {
	/* >0 bytes; 0: the peer ended the stream in order; -SL_EAGAIN, -SL_ERESET, -SL_ETRUNCATED (TLS peer
	 * gone without close_notify), -SL_ETLS. */
	ssize_t (*read)(struct conn *c, void *to, size_t n);
	/* >0 bytes taken (may be fewer); -SL_EAGAIN, -SL_ERESET, -SL_ETLS. After -SL_EAGAIN the next call must
	 * start with the same bytes, at least as many. */
	ssize_t (*writev)(struct conn *c, const struct iovec *iov, int n_iov);
	/* True when read() could return data that the kernel does not hold any more. */
	bool (*pending)(const struct conn *c);
	/* Ends the sending side: close_notify, FIN. Best effort, never blocks. */
	void (*shutdown)(struct conn *c);
	/* Frees the layer's state; the descriptor stays. */
	void (*fini)(struct conn *c);
};

extern const struct conn_ops conn_plain_ops;

struct conn {
	struct io io; /* first: epoll points here */
	struct loop *loop;
	const struct conn_ops *ops;
	/* Called after readable, writable, peer_closed or failed changed. */
	void (*on_event)(struct conn *c);
	void *tls;	       /* user/tls's state */
	struct detour *detour; /* NULL: all bytes go by TCP */
	bool readable, writable;
	bool peer_closed;	     /* EPOLLRDHUP: read until 0 */
	bool failed;		     /* EPOLLERR or EPOLLHUP */
	bool shut;		     /* conn_shutdown was called */
	uint64_t n_received, n_sent; /* payload bytes (inside TLS) */
};

/* Takes FD (non-blocking already), registers it. On -SL_ESYS the descriptor is closed. */
int conn_start(struct conn *c, struct loop *l, int fd, void (*on_event)(struct conn *));
/* Starts a TCP or unix connection; it is writable when it is made. LOCAL may be NULL. -SL_ESYS at once
 * (refused locally, no route): errno says why. */
int conn_connect(struct conn *c, struct loop *l, const struct addr *to, const struct addr *local,
		 void (*on_event)(struct conn *));
/* The two halves of it, for who does something with the socket in between: a descriptor, -1 with errno; and
 * the rest, which takes it. */
int conn_socket(const struct addr *to);
int conn_connect_fd(struct conn *c, struct loop *l, int fd, const struct addr *to,
		    const struct addr *local, void (*on_event)(struct conn *));
/* 0 once connected; -SL_EAGAIN; -SL_ESYS with errno set from SO_ERROR. */
int conn_connected(struct conn *c);

static inline ssize_t conn_read(struct conn *c, void *to, size_t n)
{
	return c->ops->read(c, to, n);
}

static inline ssize_t conn_writev(struct conn *c, const struct iovec *iov, int n_iov)
{
	return c->ops->writev(c, iov, n_iov);
}

ssize_t conn_write(struct conn *c, const void *from, size_t n);

/* Is there, or may there be, something to read without waiting? */
static inline bool conn_may_read(const struct conn *c)
{
	return c->readable || c->peer_closed || (c->ops->pending && c->ops->pending(c));
}

/* Looks at the socket itself: has the peer not closed it? For a connection that was idle, before a request
 * that cannot be repeated goes out on it. */
bool conn_is_alive(struct conn *c);
void conn_shutdown(struct conn *c);
/* Closes in order; frees the TLS layer. The struct itself is the caller's (loop_free it: events of this
 * turn may still point to it). Safe on a zeroed or closed conn. */
void conn_close(struct conn *c);
/* The same with a TCP reset (SO_LINGER 0). */
void conn_reset(struct conn *c);

/* The raw socket, for layers above: keeps `readable`/`writable` right. */
ssize_t conn_raw_read(struct conn *c, void *to, size_t n);
/* Reads without taking: what there is is found again by the next call, after the next event. */
ssize_t conn_raw_peek(struct conn *c, void *to, size_t n);
ssize_t conn_raw_write(struct conn *c, const void *from, size_t n);
/* sendfile(2) on a connection without a layer: at most N bytes of FD from *AT on, which advances. 0: the file has
 * no more. */
ssize_t conn_sendfile(struct conn *c, int fd, uint64_t *at, size_t n);

#endif
