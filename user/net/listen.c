/* SPDX-License-Identifier: BSD-2-Clause */
/* Opens listening sockets; keeps none. */
#include "net/listen.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/err.h"

static void set_int(int fd, int level, int name, int value)
{
	setsockopt(fd, level, name, &value, sizeof value);
}

/* A socket file that a dead process left behind; one that answers is somebody's. */
static void remove_stale_unix(const struct addr *a)
{
	struct stat st;
	int fd;

	if (lstat(a->un.sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return;
	if (connect(fd, &a->sa, a->len) < 0 && errno == ECONNREFUSED)
		unlink(a->un.sun_path);
	close(fd);
}

static void set_keepalive(int fd, const struct listen_opts *o)
{
	if (o->keepalive)
		set_int(fd, SOL_SOCKET, SO_KEEPALIVE, o->keepalive > 0);
	if (o->keepidle_s)
		set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, o->keepidle_s);
	if (o->keepintvl_s)
		set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, o->keepintvl_s);
	if (o->keepcnt)
		set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, o->keepcnt);
}

int listen_tune(int fd, const struct addr *a, const struct listen_opts *o, const char **what)
{
	if (o->rcvbuf)
		set_int(fd, SOL_SOCKET, SO_RCVBUF, o->rcvbuf);
	if (o->sndbuf)
		set_int(fd, SOL_SOCKET, SO_SNDBUF, o->sndbuf);
	/* One that was somebody else's, or of a configuration without it: others can join it now. */
	if (o->reuseport)
		set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	*what = "listen()";
	if (listen(fd, listen_backlog(o)) < 0)
		return -SL_ESYS;
	if (a->sa.sa_family == AF_UNIX)
		return 0;
	/* Accepted connections inherit these. */
	set_keepalive(fd, o);
	set_int(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, o->deferred);
	*what = "setsockopt(TCP_FASTOPEN)";
	if (o->fastopen &&
	    setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN, &o->fastopen, sizeof o->fastopen) < 0)
		return -SL_ESYS;
	return 0;
}

bool listen_is_socket(int fd, struct addr *a)
{
	int type = 0, listens = 0;
	socklen_t n = sizeof type;

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) < 0 || type != SOCK_STREAM)
		return false;
	n = sizeof listens;
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &n) < 0 || !listens)
		return false;
	memset(a, 0, sizeof *a);
	a->len = sizeof a->un;
	return getsockname(fd, &a->sa, &a->len) == 0;
}

int listen_open(const struct addr *a, const struct listen_opts *o, const char **what)
{
	int family = a->sa.sa_family, fd, e;

	*what = "socket()";
	fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -SL_ESYS;
	set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (o->reuseport)
		set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (family == AF_INET6)
		set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, o->ipv6only);
	if (family == AF_UNIX)
		remove_stale_unix(a);
	*what = "bind()";
	if (bind(fd, &a->sa, a->len) < 0)
		goto fail;
	*what = "chmod()";
	if (family == AF_UNIX && chmod(a->un.sun_path, o->unix_mode ? o->unix_mode : 0666) < 0)
		goto fail;
	if (listen_tune(fd, a, o, what))
		goto fail;
	return fd;
fail:
	e = errno;
	close(fd);
	errno = e;
	return -SL_ESYS;
}
