/* SPDX-License-Identifier: BSD-2-Clause */
/* How the next peer is chosen: a method and what it was configured with. Made while the configuration is
 * loaded and constant afterwards; what changes is in the group. */
#ifndef SL_POLICY_BALANCE_POLICY_H
#define SL_POLICY_BALANCE_POLICY_H

#include "policy/balance.h"

struct balance_method;

struct balance_policy {
	const struct balance_method *method;
};

#endif
