/* SPDX-License-Identifier: BSD-2-Clause */
/* health_check (module MOD_HEALTH): which groups are checked, and how. */
#ifndef SL_PROXY_HEALTH_CONF_H
#define SL_PROXY_HEALTH_CONF_H

#include "conf/conf.h"

extern const struct conf_module health_module;

struct upstream_conf;

struct health_check { /* one directive */
	struct health_check *next;
	const struct conf_block *block; /* the location: how its requests are sent */
	const struct conf_node *node;
	struct upstream_conf *group;
	unsigned index; /* among the checks of the group */
	int64_t interval_ms, jitter_ms;
	int64_t n_fails, n_passes;
	struct slice uri;
	uint16_t port; /* 0: the server's */
	bool mandatory, persistent;
};

/* All of the configuration; NULL: none. */
struct health_check *health_conf_checks(const struct conf *c);

#endif
