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
	if (o->rcvbuf)
		set_int(fd, SOL_SOCKET, SO_RCVBUF, o->rcvbuf);
	if (o->sndbuf)
		set_int(fd, SOL_SOCKET, SO_SNDBUF, o->sndbuf);
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
	*what = "listen()";
	if (listen(fd, o->backlog > 0 ? o->backlog : 511) < 0)
		goto fail;
	if (o->deferred && family != AF_UNIX)
		set_int(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 1);
	return fd;
fail:
	e = errno;
	close(fd);
	errno = e;
	return -SL_ESYS;
}
