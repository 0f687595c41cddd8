/* SPDX-License-Identifier: BSD-2-Clause */
/* Parsing, comparing and printing addresses; owns nothing and resolves nothing. */
#include "net/addr.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <stdio.h>

#include "core/err.h"
#include "core/num.h"

int addr_from_ip(struct slice ip, uint16_t port, struct addr *out)
{
	char text[INET6_ADDRSTRLEN];

	memset(out, 0, sizeof *out);
	if (ip.n > 2 && ip.p[0] == '[' && ip.p[ip.n - 1] == ']')
		ip = slice_make(ip.p + 1, ip.n - 2);
	if (ip.n == 0 || ip.n >= sizeof text)
		return -SL_EINVAL;
	memcpy(text, ip.p, ip.n);
	text[ip.n] = 0;
	if (inet_pton(AF_INET, text, &out->in.sin_addr) == 1) {
		out->in.sin_family = AF_INET;
		out->in.sin_port = htons(port);
		out->len = sizeof out->in;
		return 0;
	}
	if (inet_pton(AF_INET6, text, &out->in6.sin6_addr) == 1) {
		out->in6.sin6_family = AF_INET6;
		out->in6.sin6_port = htons(port);
		out->len = sizeof out->in6;
		return 0;
	}
	return -SL_EINVAL;
}

int addr_from_unix(struct slice path, struct addr *out)
{
	memset(out, 0, sizeof *out);
	if (path.n == 0 || path.n >= sizeof out->un.sun_path)
		return -SL_ELIMIT;
	out->un.sun_family = AF_UNIX;
	memcpy(out->un.sun_path, path.p, path.n);
	out->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.n + 1);
	return 0;
}

const char *addr_split(struct slice s, struct addr_parts *out)
{
	ptrdiff_t end = slice_find(s, ':');
	uint64_t port;

	*out = (struct addr_parts){.host = s};
	if (slice_starts(s, SLICE("unix:")))
		return s.n > 5 ? NULL : "no host";
	if (s.n && s.p[0] == '[') {
		end = slice_find(s, ']') + 1;
		if (end < 3)
			return "invalid host";
	}
	if (end < 0 || (size_t)end == s.n)
		return s.n ? NULL : "no host";
	out->host = slice_make(s.p, (size_t)end);
	if (s.p[end] != ':')
		return "invalid host";
	if (num_u63(slice_skip(s, (size_t)end + 1), &port) || port == 0 || port > 65535)
		return "invalid port";
	out->port = (uint16_t)port;
	return end ? NULL : "no host";
}

int addr_parse(struct slice s, uint16_t default_port, struct addr *out)
{
	struct addr_parts parts;

	if (slice_starts(s, SLICE("unix:")))
		return addr_from_unix(slice_skip(s, 5), out);
	if (addr_from_ip(s, default_port, out) == 0)
		return 0;
	if (addr_split(s, &parts))
		return -SL_EINVAL;
	return addr_from_ip(parts.host, parts.port ? parts.port : default_port, out);
}

static void mask_bytes(uint8_t *b, size_t n, unsigned bits)
{
	for (size_t i = 0; i < n; i++) {
		unsigned keep = bits >= 8 ? 8 : bits;

		b[i] &= (uint8_t)(0xff00u >> keep);
		bits -= keep;
	}
}

int cidr_parse(struct slice s, struct cidr *out)
{
	ptrdiff_t slash = slice_find(s, '/');
	struct slice ip = slash < 0 ? s : slice_make(s.p, (size_t)slash);
	const uint8_t *bytes;
	struct addr a;
	uint64_t bits;
	size_t n;

	if (addr_from_ip(ip, 0, &a))
		return -SL_EINVAL;
	memset(out, 0, sizeof *out);
	bytes = a.sa.sa_family == AF_INET ? (const uint8_t *)&a.in.sin_addr
					  : a.in6.sin6_addr.s6_addr;
	n = a.sa.sa_family == AF_INET ? 4 : 16;
	bits = n * 8;
	if (slash >= 0 && (num_u63(slice_skip(s, (size_t)slash + 1), &bits) || bits > n * 8))
		return -SL_EINVAL;
	out->family = n == 4 ? 4 : 6;
	out->prefix_len = (uint8_t)bits;
	memcpy(out->bytes, bytes, n);
	mask_bytes(out->bytes, n, (unsigned)bits);
	return 0;
}

bool cidr_has_host_bits(struct slice s)
{
	ptrdiff_t slash = slice_find(s, '/');
	struct cidr net, whole;

	return slash > 0 && cidr_parse(s, &net) == 0 &&
	       cidr_parse(slice_make(s.p, (size_t)slash), &whole) == 0 &&
	       memcmp(net.bytes, whole.bytes, sizeof net.bytes) != 0;
}

bool cidr_match(const struct cidr *c, const struct addr *a)
{
	const uint8_t *bytes;
	size_t n = addr_bytes(a, &bytes), whole = c->prefix_len / 8;
	unsigned rest = c->prefix_len % 8;

	if (n != (c->family == 4 ? 4u : 16u) || memcmp(bytes, c->bytes, whole))
		return false;
	return rest == 0 || ((bytes[whole] ^ c->bytes[whole]) & (0xff00u >> rest) & 0xff) == 0;
}

uint16_t addr_port(const struct addr *a)
{
	if (a->sa.sa_family == AF_INET)
		return ntohs(a->in.sin_port);
	return a->sa.sa_family == AF_INET6 ? ntohs(a->in6.sin6_port) : 0;
}

void addr_set_port(struct addr *a, uint16_t port)
{
	if (a->sa.sa_family == AF_INET)
		a->in.sin_port = htons(port);
	else if (a->sa.sa_family == AF_INET6)
		a->in6.sin6_port = htons(port);
}

size_t addr_bytes(const struct addr *a, const uint8_t **bytes)
{
	if (a->sa.sa_family == AF_INET) {
		*bytes = (const uint8_t *)&a->in.sin_addr;
		return 4;
	}
	if (a->sa.sa_family != AF_INET6)
		return 0;
	*bytes = a->in6.sin6_addr.s6_addr;
	if (!IN6_IS_ADDR_V4MAPPED(&a->in6.sin6_addr))
		return 16;
	*bytes += 12;
	return 4;
}

size_t addr_ip_text(const struct addr *a, char *text)
{
	const uint8_t *bytes;
	size_t n = addr_bytes(a, &bytes);

	if (n == 0)
		return (size_t)snprintf(text, ADDR_TEXT_MAX, "unix:");
	inet_ntop(n == 4 ? AF_INET : AF_INET6, bytes, text, ADDR_TEXT_MAX);
	return strlen(text);
}

size_t addr_text(const struct addr *a, char *text)
{
	char ip[ADDR_TEXT_MAX];
	size_t n = addr_ip_text(a, ip);

	if (a->sa.sa_family == AF_UNIX)
		return (size_t)snprintf(text, ADDR_TEXT_MAX, "unix:%.*s",
					(int)sizeof a->un.sun_path, a->un.sun_path);
	if (memchr(ip, ':', n))
		return (size_t)snprintf(text, ADDR_TEXT_MAX, "[%.60s]:%u", ip, addr_port(a));
	return (size_t)snprintf(text, ADDR_TEXT_MAX, "%.60s:%u", ip, addr_port(a));
}

bool addr_ip_eq(const struct addr *a, const struct addr *b)
{
	const uint8_t *x, *y;
	size_t n = addr_bytes(a, &x);

	return n && n == addr_bytes(b, &y) && memcmp(x, y, n) == 0;
}

bool addr_eq(const struct addr *a, const struct addr *b)
{
	if (a->sa.sa_family != b->sa.sa_family)
		return false;
	if (a->sa.sa_family == AF_UNIX)
		return a->len == b->len && memcmp(&a->un, &b->un, a->len) == 0;
	return addr_ip_eq(a, b) && addr_port(a) == addr_port(b);
}
