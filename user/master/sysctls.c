/* SPDX-License-Identifier: BSD-2-Clause */
/* Looks, at start and reload, at the kernel's settings that decide how listeners stand a flood of SYNs, and says what
 * does not fit. Changes none of them: they are the machine's. */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "master/master.h"
#include "proxy/http_conf.h"

int64_t sysctls_read(const char *path)
{
	char text[32];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return -1;
	text[n] = 0;
	return strtoll(text, NULL, 10);
}

/* The longest queue that is asked for, of TCP alone or of all sockets. */
static const struct listener *longest(const struct http_conf *h, bool tcp)
{
	const struct listener *best = NULL;

	for (uint32_t i = 0; h && i < h->n_listeners; i++) {
		const struct listener *l = &h->listeners[i];

		if (l->shares || (tcp && l->addr.sa.sa_family == AF_UNIX))
			continue;
		if (!best || listen_backlog(&l->opts) > listen_backlog(&best->opts))
			best = l;
	}
	return best;
}

static void check_backlog(const struct log *log, const struct listener *l)
{
	int64_t most = sysctls_read("/proc/sys/net/core/somaxconn");
	int wanted = listen_backlog(&l->opts);
	char text[ADDR_TEXT_MAX];

	if (most < 0 || most >= wanted)
		return;
	addr_text(&l->addr, text);
	log_write(log, LOG_LVL_WARN, 0,
		  "the backlog of %s is %d, but the kernel cuts it to %lld: "
		  "sysctl -w net.core.somaxconn=%d and reload",
		  text, wanted, (long long)most, wanted);
}

/* tcp_max_syn_backlog counts only while there are no cookies. */
static void check_cookies(const struct log *log, const struct listener *l)
{
	int64_t cookies = sysctls_read("/proc/sys/net/ipv4/tcp_syncookies");
	int64_t most = sysctls_read("/proc/sys/net/ipv4/tcp_max_syn_backlog");
	int wanted = listen_backlog(&l->opts);

	if (cookies > 0)
		return;
	log_write(
		log, LOG_LVL_WARN, 0,
		cookies < 0
			? "the kernel has no SYN cookies (CONFIG_SYN_COOKIES): a SYN flood keeps clients out"
			: "SYN cookies are off, a SYN flood keeps clients out: "
			  "sysctl -w net.ipv4.tcp_syncookies=1");
	if (most >= 0 && most < wanted)
		log_write(
			log, LOG_LVL_WARN, 0,
			"without SYN cookies at most %lld handshakes can be under way, the backlog is %d: "
			"sysctl -w net.ipv4.tcp_max_syn_backlog=%d",
			(long long)most, wanted, wanted);
}

void sysctls_check(const struct cycle *c)
{
	const struct listener *any = longest(c->conf.http, false);
	const struct listener *tcp = longest(c->conf.http, true);

	if (any)
		check_backlog(&c->log, any);
	if (tcp)
		check_cookies(&c->log, tcp);
}
