/* SPDX-License-Identifier: BSD-2-Clause */
/* The directive `ban` (module MOD_BAN): rules by which a source that offends is banned. */
#ifndef SL_POLICY_BAN_CONF_H
#define SL_POLICY_BAN_CONF_H

#include "conf/conf.h"
#include "policy/ban.h"

extern const struct conf_module ban_module;

/* The first of all rules of a loaded configuration, by next_all; NULL: none. */
const struct ban_rule *ban_conf_rules(const struct conf *c);
/* "limit_req", "status", ... */
const char *ban_conf_on_name(enum ban_on on);
/* NULL: no such rule (any more). */
const struct ban_rule *ban_conf_rule(const struct conf *c, uint32_t id);

#endif
