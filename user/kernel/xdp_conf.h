/* SPDX-License-Identifier: BSD-2-Clause */
/* The main-level block `xdp { }` (module MOD_XDP): which interfaces the guard is to be on, and
 * how. Whom it always lets through or drops is policy/lists.h's. */
#ifndef SL_KERNEL_XDP_CONF_H
#define SL_KERNEL_XDP_CONF_H

#include "conf/conf.h"
#include "kernel/guard.h"
#include "kernel/xdp_rate_conf.h"

extern const struct conf_module xdp_module;

struct xdp_interface {
	const char *name; /* may not exist: that is for the master to see, at start */
	const struct conf_node *node;
};

struct xdp_conf {
	struct xdp_interface *interfaces; /* at least one, no name twice */
	uint32_t n_interfaces;
	int64_t mode;	   /* enum guard_mode */
	bool is_libxdp;	   /* attach through libxdp ... */
	uint32_t priority; /* ... with this run priority */
	uint32_t interfaces_room;
	int64_t dry_run;       /* count what would drop, drop nothing */
	int64_t fail_after_ms; /* without a heartbeat of the master for so long ... */
	int64_t fail_open;     /* ... the guard passes all (else: goes on with what it has) */
	struct xdp_rate rates[XDP_N_RATES];
	struct xdp_rate new_sources; /* how fast new ones are given an entry, for each CPU */
	int64_t v6_prefix;
	int64_t good_for_ms; /* how long a completed request makes a source known as good, at least */
	struct slice pin_dir; /* NUL-terminated, absolute */
};

/* NULL: the configuration has no xdp block. */
const struct xdp_conf *xdp_conf_get(const struct conf *c);
/* The rates as the kernel has them. */
void xdp_conf_rates(const struct xdp_conf *x, struct guard_rates *out);

#endif
