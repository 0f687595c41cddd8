/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the order of what is asked about an address. */
#include "policy/gate.h"

#include "kernel/xdp_conf.h"
#include "policy/lists.h"

bool gate_refuses(const struct conf *c, const struct ban_table *t, const struct addr *a,
		  const struct clock *now)
{
	const struct xdp_conf *x = xdp_conf_get(c);
	const struct lists *l = lists_get(c);
	bool is_banned = ban_check(t, a, now->mono_ms);
	struct guard_addr g;

	if (!x)
		return is_banned;
	if (x->dry_run || (!is_banned && !l->n_deny) || !guard_addr_from_sockaddr(&g, &a->sa))
		return false;
	if (!is_banned && !lists_deny(l, &g, now->wall_ms))
		return false;
	return !lists_allow(l, &g) && !ban_is_exempt(t, a);
}
