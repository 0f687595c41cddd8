/* SPDX-License-Identifier: BSD-2-Clause */
/* Socket addresses: IPv4, IPv6, unix. */
#ifndef SL_NET_ADDR_H
#define SL_NET_ADDR_H

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "core/slice.h"

struct addr {
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
	};
	socklen_t len;
};

/* An address and the bits that count, for allow and deny lists. */
struct cidr {
	uint8_t family; /* 4 or 6 */
	uint8_t prefix_len;
	uint8_t bytes[16]; /* IPv4: the first four */
};

enum { ADDR_TEXT_MAX = 128 };

/* Numeric "1.2.3.4", "::1" or "[::1]", with PORT; -SL_EINVAL when it is not one. */
int addr_from_ip(struct slice ip, uint16_t port, struct addr *out);
/* "unix:/path" (without the prefix). -SL_ELIMIT when it is too long. */
int addr_from_unix(struct slice path, struct addr *out);
/* "HOST[:PORT]" apart: a name, 1.2.3.4, [::1] (which keeps its brackets) or unix:/path (which has no port).
 * NULL, or what is wrong with it: "no host", "invalid host", "invalid port". */
struct addr_parts {
	struct slice host;
	uint16_t port; /* 0: none was there */
};
const char *addr_split(struct slice s, struct addr_parts *out);
/* The numeric "1.2.3.4[:PORT]", "[::1]:PORT", "::1", or unix:/path. -SL_EINVAL, -SL_ELIMIT. */
int addr_parse(struct slice s, uint16_t default_port, struct addr *out);
/* "1.2.3.0/24", "2001:db8::/32", a single address, host bits set are cleared. */
int cidr_parse(struct slice s, struct cidr *out);
/* ADDRESS/BITS has an address of which BITS leaves something out, as 10.0.0.1/8. */
bool cidr_has_host_bits(struct slice s);
bool cidr_match(const struct cidr *c, const struct addr *a);

uint16_t addr_port(const struct addr *a);
void addr_set_port(struct addr *a, uint16_t port);
/* "1.2.3.4", "::1", "unix:" (as nginx's $remote_addr); IPv4-mapped IPv6 comes out as IPv4. Returns the
 * length; TEXT has ADDR_TEXT_MAX bytes and is NUL-terminated. */
size_t addr_ip_text(const struct addr *a, char *text);
/* "1.2.3.4:80", "[::1]:80", "unix:/path". */
size_t addr_text(const struct addr *a, char *text);
/* The raw bytes, 4 or 16 (mapped IPv4: 4); *bytes points into A. 0 for unix. */
size_t addr_bytes(const struct addr *a, const uint8_t **bytes);
bool addr_eq(const struct addr *a, const struct addr *b);
/* Equal without looking at the port. */
bool addr_ip_eq(const struct addr *a, const struct addr *b);

#endif
