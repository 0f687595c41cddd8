/* SPDX-License-Identifier: BSD-2-Clause */
/* Who is kept out, as workers decide it: at accept, and for a request that a trusted proxy passes on. The
 * guard in the kernel decides alike. */
#ifndef SL_POLICY_GATE_H
#define SL_POLICY_GATE_H

#include "conf/conf.h"
#include "core/clock.h"
#include "policy/ban.h"

/* The allow list, then bans, then the deny list; nobody with `dry_run on` in the xdp block. */
bool gate_refuses(const struct conf *c, const struct ban_table *t, const struct addr *a,
		  const struct clock *now);

#endif
