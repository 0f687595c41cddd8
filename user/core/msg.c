/* SPDX-License-Identifier: BSD-2-Clause */
/* Sends and receives whole messages; checks their size, and that texts end. */
#include "core/msg.h"

#include <errno.h>
#include <sys/socket.h>

#include "core/err.h"

int msg_send(int fd, const struct msg *m)
{
	ssize_t n;

	do
		n = send(fd, m, sizeof *m, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n == (ssize_t)sizeof *m)
		return 0;
	return n < 0 && (errno == EAGAIN || errno == ENOBUFS) ? -SL_EAGAIN : -SL_ECLOSED;
}

int msg_recv(int fd, struct msg *m)
{
	ssize_t n;

	do
		n = recv(fd, m, sizeof *m, MSG_DONTWAIT | MSG_TRUNC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? -SL_EAGAIN : -SL_ECLOSED;
	if (n == 0)
		return -SL_ECLOSED;
	if (n != (ssize_t)sizeof *m)
		return -SL_EINVAL;
	m->text[sizeof m->text - 1] = 0;
	m->ban.reason[sizeof m->ban.reason - 1] = 0;
	return 1;
}
