/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the proof, before anybody relies on it, that this kernel relays: a connection of the master's own on the
 * loopback interface. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/err.h"
#include "kernel/relay_impl.h"

enum { WAIT_MS = 1000, LIMIT_BYTES = 64 * 1024 };

static int no_proof(const char *what, char *err, size_t err_size)
{
	return relay_fail(-SL_ESYS, err, err_size, "a trial on 127.0.0.1 failed: %s", what);
}

static bool wait_for(int fd, short events)
{
	struct pollfd p = {.fd = fd, .events = events};

	return poll(&p, 1, WAIT_MS) == 1;
}

/* Sends N bytes one way and reads them. */
static bool passes(int from, int to, size_t n)
{
	char out[512], in[512];
	ssize_t got;

	memset(out, 'x', sizeof out);
	if (send(from, out, n, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)n || !wait_for(to, POLLIN))
		return false;
	got = recv(to, in, sizeof in, MSG_DONTWAIT);
	return got == (ssize_t)n && memcmp(in, out, n) == 0;
}

static int try_pair(struct relay *r, int client, int server, int group, const struct detour *d,
		    char *err, size_t err_size)
{
	struct relay_counts sum;
	char bytes[300];

	if (!passes(client, server, 100) || !passes(server, client, 200))
		return no_proof("what was sent did not come", err, err_size);
	relay_counts(r, group, &sum);
	if (sum.n_pairs != 1 || sum.n_request_bytes != 100 || sum.n_answer_bytes != 200)
		return no_proof("the two ends were not paired", err, err_size);
	/* The server says something while it has not read what came. */
	memset(bytes, 'y', sizeof bytes);
	if (send(client, bytes, sizeof bytes, MSG_NOSIGNAL) != sizeof bytes ||
	    !passes(server, client, 1))
		return no_proof("nothing more could be sent", err, err_size);
	if (d->unread != sizeof bytes)
		return no_proof("this kernel does not count what is redirected as received", err,
				err_size);
	return 0;
}

int relay_trial_run(struct relay *r, char *err, size_t err_size)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), server = -1;
	int group = RELAY_TRIAL_GROUP, rc = -SL_ESYS;
	struct detour *d = NULL;
	socklen_t n = sizeof to;

	if (listener < 0 || client < 0 || bind(listener, (struct sockaddr *)&to, sizeof to) ||
	    listen(listener, 1) || getsockname(listener, (struct sockaddr *)&to, &n)) {
		no_proof(strerror(errno), err, err_size);
		goto out;
	}
	d = relay_mark(r, client, group, LIMIT_BYTES);
	if (!d) {
		no_proof("a socket could not be marked", err, err_size);
		goto out;
	}
	if (connect(client, (struct sockaddr *)&to, sizeof to) || !wait_for(listener, POLLIN) ||
	    (server = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) < 0) {
		no_proof(strerror(errno), err, err_size);
		goto out;
	}
	rc = try_pair(r, client, server, group, d, err, err_size);
out:
	if (server >= 0)
		close(server);
	if (client >= 0)
		close(client);
	if (listener >= 0)
		close(listener);
	relay_mark_release(r, d);
	return rc;
}
