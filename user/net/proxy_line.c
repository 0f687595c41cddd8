/* SPDX-License-Identifier: BSD-2-Clause */
/* Writes PROXY protocol headers (the specification is haproxy's doc/proxy-protocol.txt, 2.1 and 2.2). Sends
 * nothing. */
#include "net/proxy_line.h"

#include <arpa/inet.h>
#include <stdio.h>

enum {
	V2_HEAD_BYTES = 16,
	V2_LOCAL = 0x20,
	V2_PROXY = 0x21,
	V2_TCP4 = 0x11,
	V2_TCP6 = 0x21,
};

/* A pair of addresses of one family: 4, 16, or 0 bytes each. */
struct pair {
	uint8_t from[16], to[16];
	size_t n;
};

static void widen(uint8_t bytes[16], const uint8_t *from, size_t n)
{
	memset(bytes, 0, 16);
	if (n == 4)
		memset(bytes + 10, 0xff, 2);
	memcpy(bytes + 16 - n, from, n);
}

static struct pair pair_of(const struct addr *from, const struct addr *to)
{
	struct pair p = {.n = 0};
	const uint8_t *a, *b;
	size_t n_a = addr_bytes(from, &a), n_b = addr_bytes(to, &b);

	if (n_a == 0 || n_b == 0)
		return p;
	if (n_a == 4 && n_b == 4) {
		memcpy(p.from, a, 4);
		memcpy(p.to, b, 4);
		p.n = 4;
		return p;
	}
	widen(p.from, a, n_a);
	widen(p.to, b, n_b);
	p.n = 16;
	return p;
}

size_t proxy_line_v1(char out[PROXY_LINE_MAX], const struct addr *from, const struct addr *to)
{
	struct pair p = pair_of(from, to);
	char a[INET6_ADDRSTRLEN], b[INET6_ADDRSTRLEN];
	int family = p.n == 4 ? AF_INET : AF_INET6;

	if (p.n == 0)
		return (size_t)snprintf(out, PROXY_LINE_MAX, "PROXY UNKNOWN\r\n");
	inet_ntop(family, p.from, a, sizeof a);
	inet_ntop(family, p.to, b, sizeof b);
	return (size_t)snprintf(out, PROXY_LINE_MAX, "PROXY TCP%d %s %s %u %u\r\n",
				p.n == 4 ? 4 : 6, a, b, addr_port(from), addr_port(to));
}

size_t proxy_line_v2(char out[PROXY_LINE_MAX], const struct addr *from, const struct addr *to)
{
	static const char signature[] = "\r\n\r\n\0\r\nQUIT\n";
	struct pair p = pair_of(from, to);
	uint16_t ports[2] = {htons(addr_port(from)), htons(addr_port(to))};
	size_t n = p.n ? 2 * p.n + sizeof ports : 0;

	memcpy(out, signature, 12);
	out[12] = p.n ? V2_PROXY : V2_LOCAL;
	out[13] = (char)(p.n == 4 ? V2_TCP4 : p.n == 16 ? V2_TCP6 : 0);
	out[14] = 0;
	out[15] = (char)n;
	if (n) {
		memcpy(out + V2_HEAD_BYTES, p.from, p.n);
		memcpy(out + V2_HEAD_BYTES + p.n, p.to, p.n);
		memcpy(out + V2_HEAD_BYTES + 2 * p.n, ports, sizeof ports);
	}
	return V2_HEAD_BYTES + n;
}
