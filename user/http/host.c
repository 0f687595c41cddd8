/* SPDX-License-Identifier: BSD-2-Clause */
/* Checks and splits host[:port]. Decides nothing about which hosts are served. */
#include "http/host.h"

#include <arpa/inet.h>

#include "core/err.h"
#include "http/chars.h"

/* Length of the bracketed IPv6 address at the start of S, or 0. */
static size_t ipv6_len(struct slice s)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr addr;
	ptrdiff_t close = slice_find(s, ']');

	if (close < 2 || (size_t)close > sizeof text)
		return 0;
	memcpy(text, s.p + 1, (size_t)close - 1);
	text[close - 1] = 0;
	/* A NUL within would end the text early. */
	if (strlen(text) != (size_t)close - 1 || inet_pton(AF_INET6, text, &addr) != 1)
		return 0;
	return (size_t)close + 1;
}

/* Length of the registered name or IPv4 address at the start of S, or 0. */
static size_t name_len(struct slice s)
{
	size_t n = (size_t)(chars_skip(s.p, s.p + s.n, CHARS_HOST) - s.p);

	for (size_t i = 0; i < n; i++)
		if (s.p[i] == '.' && (i == 0 || s.p[i - 1] == '.'))
			return 0;
	return n;
}

static int port_parse(struct slice s, uint16_t *port)
{
	unsigned v = 0;

	if (s.n < 1 || s.n > 5)
		return -SL_EINVAL;
	for (size_t i = 0; i < s.n; i++) {
		unsigned d = (unsigned)(s.p[i] - '0');

		if (d > 9)
			return -SL_EINVAL;
		v = v * 10 + d;
	}
	if (v < 1 || v > 65535)
		return -SL_EINVAL;
	*port = (uint16_t)v;
	return 0;
}

int host_parse(struct slice authority, struct arena *a, struct slice *host, uint16_t *port)
{
	bool ipv6 = authority.n && authority.p[0] == '[';
	size_t n = ipv6 ? ipv6_len(authority) : name_len(authority);
	char *lower;

	*port = 0;
	if (n == 0)
		return -SL_EINVAL;
	if (n < authority.n && authority.p[n] != ':')
		return -SL_EINVAL;
	/* "a:" is RFC 3986's (3.2.3): a port without digits is the scheme's. */
	if (n + 1 < authority.n && port_parse(slice_skip(authority, n + 1), port))
		return -SL_EINVAL;
	if (authority.p[n - 1] == '.')
		n--;
	lower = arena_bytes(a, n);
	for (size_t i = 0; i < n; i++)
		lower[i] = chars_lower(authority.p[i]);
	*host = slice_make(lower, n);
	return 0;
}
