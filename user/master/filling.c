/* SPDX-License-Identifier: BSD-2-Clause */
/* What the xdp block says, into the maps of a guard: the one that guards, and the one of a rehearsal. Bans
 * are not its business. */
#include <errno.h>
#include <stdio.h>

#include "core/err.h"
#include "master/master.h"

#define DENY_RULE_ID 0xffffffffu /* of `deny` lines */

static int put_settings(const struct guard_maps *m, const struct xdp_conf *x)
{
	struct guard_rates rates;

	xdp_conf_rates(x, &rates);
	if (guard_maps_set_flags(m, x->dry_run, true) ||
	    guard_maps_set_fail(m, (uint64_t)x->fail_after_ms * 1000000u, x->fail_open) ||
	    guard_rates_set(m, &rates))
		return -SL_ESYS;
	return 0;
}

int filling_put(const struct guard_maps *m, const struct xdp_conf *x, char *err, size_t room)
{
	int r = guard_nets_set_allow(m, x->allow, x->n_allow, err, room);

	if (!r)
		r = guard_nets_set_deny(m, x->deny, x->n_deny, DENY_RULE_ID, err, room);
	if (!r && put_settings(m, x)) {
		snprintf(err, room, "the settings cannot be written: %s", strerror(errno));
		r = -SL_ESYS;
	}
	return r;
}

const char *filling_rule_text(const struct xdp_conf *x, uint32_t rule_id)
{
	if (rule_id == DENY_RULE_ID)
		return "deny";
	for (int i = 0; i < XDP_N_RATES; i++)
		if (x->rates[i].text && x->rates[i].rule_id == rule_id)
			return x->rates[i].text;
	return NULL;
}
