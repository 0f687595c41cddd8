/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns a connection's descriptor and its readiness; the plain I/O table. Knows no protocol. */
#include "net/conn.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "core/err.h"

enum { GATHER_BYTES = 4096 };

static void on_io(struct io *io, uint32_t events)
{
	struct conn *c = (struct conn *)io;

	if (events & EPOLLIN)
		c->readable = true;
	if (events & EPOLLOUT)
		c->writable = true;
	if (events & EPOLLRDHUP)
		c->peer_closed = true;
	if (events & (EPOLLERR | EPOLLHUP)) {
		c->failed = true;
		c->readable = true;
		c->writable = true;
	}
	c->on_event(c);
}

int conn_start(struct conn *c, struct loop *l, int fd, void (*on_event)(struct conn *))
{
	int one = 1;

	*c = (struct conn){.io.fn = on_io,
			   .io.fd = -1,
			   .loop = l,
			   .ops = &conn_plain_ops,
			   .on_event = on_event};
	/* Fails on unix sockets, where there is nothing to delay. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (io_add(l, &c->io, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)) {
		int e = errno;

		close(fd);
		c->io.fd = -1;
		errno = e;
		return -SL_ESYS;
	}
	return 0;
}

int conn_socket(const struct addr *to)
{
	return socket(to->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

int conn_connect(struct conn *c, struct loop *l, const struct addr *to, const struct addr *local,
		 void (*on_event)(struct conn *))
{
	return conn_connect_fd(c, l, conn_socket(to), to, local, on_event);
}

int conn_connect_fd(struct conn *c, struct loop *l, int fd, const struct addr *to,
		    const struct addr *local, void (*on_event)(struct conn *))
{
	int e, one = 1;

	*c = (struct conn){.io.fd = -1};
	if (fd < 0) /* errno is conn_socket()'s */
		return -SL_ESYS;
	/* The kernel chooses the port when it knows both ends: there are more of them then. */
	if (local && addr_port(local) == 0)
		setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
	if ((local && bind(fd, &local->sa, local->len) < 0) ||
	    (connect(fd, &to->sa, to->len) < 0 && errno != EINPROGRESS)) {
		e = errno;
		close(fd);
		errno = e;
		return -SL_ESYS;
	}
	return conn_start(c, l, fd, on_event);
}

int conn_connected(struct conn *c)
{
	int e = 0;
	socklen_t n = sizeof e;

	if (!c->writable && !c->failed)
		return -SL_EAGAIN;
	if (c->failed && getsockopt(c->io.fd, SOL_SOCKET, SO_ERROR, &e, &n) == 0 && e) {
		errno = e;
		return -SL_ESYS;
	}
	return 0;
}

/* Have a read that got less than it had room for emptied the socket? Not where bytes may have come both ways:
 * those of one way end where those of the other begin. */
static bool is_emptied(const struct conn *c)
{
	return !c->peer_closed && !c->failed &&
	       !(c->detour && __atomic_load_n(&c->detour->mixed, __ATOMIC_ACQUIRE));
}

static ssize_t receive(struct conn *c, void *to, size_t n, int flags)
{
	ssize_t got;

	if (!c->readable && !c->peer_closed)
		return -SL_EAGAIN;
	do
		got = recv(c->io.fd, to, n, flags);
	while (got < 0 && errno == EINTR);
	if (got < 0) {
		if (errno != EAGAIN)
			return -SL_ERESET;
		c->readable = false;
		return -SL_EAGAIN;
	}
	/* A short read has emptied the socket: the next edge says when there is more. */
	if ((size_t)got < n && is_emptied(c))
		c->readable = false;
	return got;
}

ssize_t conn_raw_read(struct conn *c, void *to, size_t n)
{
	return receive(c, to, n, 0);
}

ssize_t conn_raw_peek(struct conn *c, void *to, size_t n)
{
	return receive(c, to, n, MSG_PEEK);
}

static ssize_t written(struct conn *c, ssize_t n, size_t wanted)
{
	if (n < 0) {
		if (errno != EAGAIN)
			return -SL_ERESET;
		c->writable = false;
		return -SL_EAGAIN;
	}
	if ((size_t)n < wanted)
		c->writable = false;
	return n;
}

ssize_t conn_raw_write(struct conn *c, const void *from, size_t n)
{
	ssize_t put;

	if (!c->writable)
		return -SL_EAGAIN;
	do
		put = send(c->io.fd, from, n, MSG_NOSIGNAL);
	while (put < 0 && errno == EINTR);
	return written(c, put, n);
}

ssize_t conn_sendfile(struct conn *c, int fd, uint64_t *at, size_t n)
{
	off_t offset = (off_t)*at;
	ssize_t put;

	if (!c->writable)
		return -SL_EAGAIN;
	do
		put = sendfile(c->io.fd, fd, &offset, n);
	while (put < 0 && errno == EINTR);
	/* Less than was wanted may be the file's doing: only EAGAIN says that the socket is full. */
	if (put <= 0)
		return put ? written(c, put, n) : 0;
	c->n_sent += (uint64_t)put;
	*at = (uint64_t)offset;
	return put;
}

static ssize_t plain_read(struct conn *c, void *to, size_t n)
{
	ssize_t got = conn_raw_read(c, to, n);

	if (got <= 0)
		return got;
	c->n_received += (uint64_t)got;
	if (c->detour)
		__atomic_store_n(&c->detour->n_read, c->detour->n_read + (uint64_t)got,
				 __ATOMIC_RELAXED);
	return got;
}

/* A head and a short body go out faster as one piece than as a vector. */
static struct iovec gathered(const struct iovec *iov, int n_iov, char *to)
{
	struct iovec one = {.iov_base = to};

	for (int i = 0; i < n_iov; i++) {
		memcpy(to + one.iov_len, iov[i].iov_base, iov[i].iov_len);
		one.iov_len += iov[i].iov_len;
	}
	return one;
}

static ssize_t plain_writev(struct conn *c, const struct iovec *iov, int n_iov)
{
	struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)n_iov};
	char small[GATHER_BYTES];
	struct iovec one;
	size_t wanted = 0;
	ssize_t put;

	if (!c->writable)
		return -SL_EAGAIN;
	for (int i = 0; i < n_iov; i++)
		wanted += iov[i].iov_len;
	if (n_iov > 1 && wanted <= sizeof small) {
		one = gathered(iov, n_iov, small);
		iov = &one;
		n_iov = 1;
	}
	do
		put = n_iov == 1 ? send(c->io.fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL)
				 : sendmsg(c->io.fd, &msg, MSG_NOSIGNAL);
	while (put < 0 && errno == EINTR);
	put = written(c, put, wanted);
	if (put > 0)
		c->n_sent += (uint64_t)put;
	return put;
}

static void plain_shutdown(struct conn *c)
{
	shutdown(c->io.fd, SHUT_WR);
}

const struct conn_ops conn_plain_ops = {
	.read = plain_read,
	.writev = plain_writev,
	.shutdown = plain_shutdown,
};

ssize_t conn_write(struct conn *c, const void *from, size_t n)
{
	struct iovec iov = {.iov_base = (void *)from, .iov_len = n};

	return conn_writev(c, &iov, 1);
}

bool conn_is_alive(struct conn *c)
{
	char byte;
	ssize_t n;

	if (c->peer_closed || c->failed)
		return false;
	n = recv(c->io.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
	/* In plain text nobody asked for bytes; under TLS they may be a new session ticket. */
	if (n > 0 && c->tls) {
		c->readable = true;
		return conn_read(c, &byte, 1) == -SL_EAGAIN;
	}
	return n < 0 && errno == EAGAIN;
}

void conn_shutdown(struct conn *c)
{
	if (c->shut || !c->ops || c->io.fd < 0)
		return;
	c->shut = true;
	c->ops->shutdown(c);
}

void conn_close(struct conn *c)
{
	if (!c->ops || c->io.fd < 0)
		return;
	if (!c->shut && c->tls && !c->failed)
		c->ops->shutdown(c);
	if (c->ops->fini)
		c->ops->fini(c);
	io_forget(c->loop, &c->io);
	close(c->io.fd);
	c->io.fd = -1;
	c->ops = NULL;
}

void conn_reset(struct conn *c)
{
	struct linger now = {.l_onoff = 1};

	if (!c->ops || c->io.fd < 0)
		return;
	setsockopt(c->io.fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
	c->failed = true;
	conn_close(c);
}
