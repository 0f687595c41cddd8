/* SPDX-License-Identifier: BSD-2-Clause */
/* `rate` and `new_sources` of the xdp block. */
#ifndef SL_KERNEL_XDP_RATE_CONF_H
#define SL_KERNEL_XDP_RATE_CONF_H

#include "conf/conf.h"
#include "kernel/guard.h"

enum xdp_rate_kind {
	XDP_RATE_SYN,
	XDP_RATE_PACKETS,
	XDP_RATE_NEW_TLS,
	XDP_RATE_UNKNOWN_SYN,
	XDP_N_RATES
};

struct xdp_rate {
	bool is_set;	      /* the line is in the file */
	uint64_t milli_per_s; /* 0: off */
	uint64_t burst;	      /* that may come at once, beyond one */
	bool is_dry_run;
	uint32_t rule_id;
	const char *text; /* the line, in one way to write it; NULL when off */
};

/* "syn", ... as in the file and in the API. */
const char *xdp_rate_conf_name(enum xdp_rate_kind kind);
/* Setters of the rows. */
int xdp_rate_conf_set(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		      const struct conf_row *row);
int xdp_rate_conf_set_new(struct conf *c, struct conf_block *b, void *mod,
			  const struct conf_node *n, const struct conf_row *row);
/* What the file does not say; from the module's finish(). */
void xdp_rate_conf_defaults(struct conf *c, struct xdp_rate rates[XDP_N_RATES],
			    struct xdp_rate *new_sources);

#endif
