/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the guard's form of addresses: from sockets and text, and back. Nothing here touches BPF. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "core/err.h"
#include "kernel/guard.h"

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static void set_v4(struct guard_addr *out, const void *bytes)
{
	memset(out, 0, sizeof *out);
	out->family = 4;
	memcpy(out->bytes, bytes, 4);
}

static void set_v6(struct guard_addr *out, const void *bytes)
{
	if (memcmp(bytes, mapped_prefix, sizeof mapped_prefix) == 0) {
		set_v4(out, (const uint8_t *)bytes + sizeof mapped_prefix);
		return;
	}
	out->family = 6;
	memcpy(out->bytes, bytes, 16);
}

bool guard_addr_from_sockaddr(struct guard_addr *out, const struct sockaddr *sa)
{
	if (sa->sa_family == AF_INET)
		set_v4(out, &((const struct sockaddr_in *)(const void *)sa)->sin_addr);
	else if (sa->sa_family == AF_INET6)
		set_v6(out, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr);
	else
		return false;
	return true;
}

int guard_addr_from_text(struct guard_addr *out, const char *text)
{
	uint8_t bytes[16];

	if (inet_pton(AF_INET, text, bytes) == 1)
		set_v4(out, bytes);
	else if (inet_pton(AF_INET6, text, bytes) == 1)
		set_v6(out, bytes);
	else
		return -SL_EINVAL;
	return 0;
}

/* One to three digits, no leading zero, at most MAX; -1 otherwise. */
static int prefix_from_text(const char *text, int max)
{
	int v = 0;
	size_t n = strlen(text);

	if (n < 1 || n > 3 || (n > 1 && text[0] == '0'))
		return -1;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -1;
		v = v * 10 + (*text - '0');
	}
	return v > max ? -1 : v;
}

void guard_addr_clear_host_bits(struct guard_cidr *c)
{
	size_t n_bytes = c->addr.family == 4 ? 4 : 16;

	for (size_t i = 0; i < n_bytes; i++) {
		int keep = (int)c->prefix_len - (int)i * 8;

		if (keep <= 0)
			c->addr.bytes[i] = 0;
		else if (keep < 8)
			c->addr.bytes[i] &= (uint8_t)(0xff00 >> keep);
	}
}

int guard_addr_cidr_from_text(struct guard_cidr *out, const char *text)
{
	char addr_cstr[GUARD_ADDR_TEXT_MAX];
	const char *slash = strchr(text, '/');
	size_t addr_len = slash ? (size_t)(slash - text) : strlen(text);
	struct guard_cidr c;
	int len, full, mapped;

	if (addr_len >= sizeof addr_cstr)
		return -SL_EINVAL;
	memcpy(addr_cstr, text, addr_len);
	addr_cstr[addr_len] = '\0';
	if (guard_addr_from_text(&c.addr, addr_cstr) != 0)
		return -SL_EINVAL;
	full = strchr(addr_cstr, ':') ? 128 : 32;
	len = slash ? prefix_from_text(slash + 1, full) : full;
	/* An IPv4-mapped network became an IPv4 one; a shorter one would hold more than that. */
	mapped = full == 128 && c.addr.family == 4 ? 96 : 0;
	if (len < mapped)
		return -SL_EINVAL;
	c.prefix_len = (uint8_t)(len - mapped);
	guard_addr_clear_host_bits(&c);
	*out = c;
	return 0;
}

const char *guard_addr_to_text(const struct guard_addr *a, char out[static GUARD_ADDR_TEXT_MAX])
{
	if (!inet_ntop(a->family == 4 ? AF_INET : AF_INET6, a->bytes, out, GUARD_ADDR_TEXT_MAX))
		out[0] = '\0';
	return out;
}

const char *guard_addr_cidr_to_text(const struct guard_cidr *c,
				    char out[static GUARD_CIDR_TEXT_MAX])
{
	char text[GUARD_ADDR_TEXT_MAX];
	struct guard_cidr net = *c;

	guard_addr_clear_host_bits(&net);
	guard_addr_to_text(&net.addr, text);
	if (net.prefix_len < (net.addr.family == 4 ? 32 : 128))
		snprintf(out, GUARD_CIDR_TEXT_MAX, "%s/%u", text, net.prefix_len);
	else
		snprintf(out, GUARD_CIDR_TEXT_MAX, "%s", text);
	return out;
}
