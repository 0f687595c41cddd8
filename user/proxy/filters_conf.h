/* SPDX-License-Identifier: BSD-2-Clause */
/* What a configuration says of answers on their way out: fields, trailers, freshness, conditions, ranges, rates
 * (module MOD_FILTERS). */
#ifndef SL_PROXY_FILTERS_CONF_H
#define SL_PROXY_FILTERS_CONF_H

#include "conf/conf.h"
#include "proxy/expires.h"

extern const struct conf_module filters_module;

/* One `add_header` or `add_trailer`. */
struct add_header {
	struct add_header *next;
	struct slice name;
	struct tmpl *value;
	bool always;
};

enum if_modified_since {
	IMS_OFF,
	IMS_EXACT,
	IMS_BEFORE,
};

struct filters_scope { /* MOD_FILTERS's struct in http, server, location, if */
	struct add_header *add_headers, *add_trailers; /* inherited when none is set here */
	struct expires *expires;		       /* NULL: off */
	struct tmpl *limit_rate, *limit_rate_after;    /* sizes; NULL: none */
	int64_t if_modified_since;
	int64_t max_ranges, force_ranges;
};

static inline const struct filters_scope *filters_scope_of(const struct conf_block *b)
{
	return b->mod[MOD_FILTERS];
}

#endif
