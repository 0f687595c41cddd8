/* SPDX-License-Identifier: BSD-2-Clause */
/* error_page, recursive_error_pages, internal, limit_except (module MOD_FLOW). */
#ifndef SL_PROXY_FLOW_CONF_H
#define SL_PROXY_FLOW_CONF_H

#include "conf/conf.h"
#include "http/head.h"

extern const struct conf_module flow_module;

enum {
	ERROR_PAGE_SAME = -1, /* the answer has the error's status */
	ERROR_PAGE_OWN = 0,   /* "=": the status of what answers */
};

struct error_page { /* one status of one error_page */
	struct error_page *next;
	uint16_t status;
	int32_t become; /* a status, or one of the above */
	struct tmpl *uri;
};

struct flow_scope {			/* MOD_FLOW's struct in http, server, location */
	struct error_page *error_pages; /* in the order of the file; inherited as a whole */
	int64_t recursive_error_pages;
	bool internal;		   /* location only */
	uint32_t limited;	   /* bits by enum http_method: limit_except does not name them */
	struct conf_block *except; /* its block; NULL: none */
};

/* The page for STATUS, NULL: none. */
const struct error_page *flow_conf_page(const struct flow_scope *s, unsigned status);
/* The block that holds for METHOD in B: B itself, or the one of its limit_except. */
const struct conf_block *flow_conf_limited(const struct conf_block *b, enum http_method method);

#endif
