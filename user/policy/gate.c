/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the order of what is asked about an address. */
#include "policy/gate.h"

#include "kernel/xdp_conf.h"

bool gate_refuses(const struct conf *c, const struct ban_table *t, const struct addr *a,
		  uint64_t now_mono_ms)
{
	const struct xdp_conf *x = xdp_conf_get(c);
	bool is_banned = ban_check(t, a, now_mono_ms);
	struct guard_addr g;

	if (!x)
		return is_banned;
	if (x->dry_run || (!is_banned && !x->n_deny) || !guard_addr_from_sockaddr(&g, &a->sa))
		return false;
	return is_banned ? !xdp_conf_allows(x, &g) : xdp_conf_denies(x, &g);
}
