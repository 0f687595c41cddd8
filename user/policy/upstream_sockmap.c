/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the directive sockmap of upstream blocks, and what of a group makes it impossible. Loads nothing: that is
 * the master's, with user/kernel/relay.h. */
#include <ifaddrs.h>

#include "core/err.h"
#include "kernel/relay.h"
#include "policy/upstream_conf_impl.h"

enum { LIMIT_DEFAULT_BYTES = 1024 * 1024 };

int upstream_sockmap_set(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
			 const struct conf_row *row)
{
	struct upstream_conf *u = ((struct upstream_block *)mod)->group;
	int64_t limit = LIMIT_DEFAULT_BYTES;
	bool on = slice_eq(n->args[0], SLICE("on"));
	struct slice v;

	if (!on && !slice_eq(n->args[0], SLICE("off")))
		return conf_error(
			c, n,
			"invalid value \"%.*s\" in \"sockmap\" directive, it must be \"on\" or \"off\"",
			SLICE_FMT(n->args[0]));
	if (n->n_args > 1 && (!on || !conf_param(n->args[1], "limit", &v)))
		return conf_error(c, n, "invalid parameter \"%.*s\"", SLICE_FMT(n->args[1]));
	if (n->n_args > 1 && (conf_parse_size(v, &limit) || limit < RELAY_LIMIT_MIN_BYTES ||
			      limit > RELAY_LIMIT_MAX_BYTES))
		return conf_error(c, n, "invalid limit \"%.*s\", it must be 16k to 64m",
				  SLICE_FMT(v));
	u->sockmap = on ? n : NULL;
	u->sockmap_limit_bytes = limit;
	return 0;
}

/* An address that packets to never leave this host for. */
static bool is_here(const struct addr *a, const struct ifaddrs *list)
{
	const uint8_t *bytes;
	struct addr mine;

	if (addr_bytes(a, &bytes) == 4 && bytes[0] == 127)
		return true;
	for (; list; list = list->ifa_next) {
		if (!list->ifa_addr || list->ifa_addr->sa_family != a->sa.sa_family)
			continue;
		mine = (struct addr){.len = a->len};
		memcpy(&mine.sa, list->ifa_addr, a->len);
		if (addr_ip_eq(&mine, a))
			return true;
	}
	return false;
}

/* A name is left to its answers: where one leads elsewhere, the other end is not found here, and those
 * connections go by TCP. */
static int check_server(struct conf *c, const struct upstream_conf *u, struct slice host,
			const struct ifaddrs *list)
{
	struct addr a;

	if (slice_starts(host, SLICE("unix:")))
		return conf_error(c, u->sockmap,
				  "\"sockmap\" is for TCP: server \"%.*s\" is a unix socket, which "
				  "has no TCP to go past",
				  SLICE_FMT(host));
	if (addr_from_ip(host, 0, &a) || is_here(&a, list))
		return 0;
	return conf_error(
		c, u->sockmap,
		"\"sockmap\" is for servers on this host: \"%.*s\" is no address of it (or of "
		"another network namespace)",
		SLICE_FMT(host));
}

int upstream_sockmap_finish(struct conf *c, const struct upstream_conf *u)
{
	struct ifaddrs *list = NULL;
	int r = 0;

	if (!u->sockmap)
		return 0;
	if (getifaddrs(&list))
		return 0; /* it is only for the message */
	for (uint32_t i = 0; i < u->n_servers && r == 0; i++)
		r = check_server(c, u, u->servers[i].host, list);
	freeifaddrs(list);
	return r;
}
