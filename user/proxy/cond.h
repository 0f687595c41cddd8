/* SPDX-License-Identifier: BSD-2-Clause */
/* Conditional requests (RFC 9110 13) on answers of our own: If-Match, If-None-Match, If-Modified-Since,
 * If-Unmodified-Since, If-Range. */
#ifndef SL_PROXY_COND_H
#define SL_PROXY_COND_H

#include <stdbool.h>

#include "core/slice.h"

struct request;

/* A step of out.c: 304 in place of 200, or the status (412) of an error to answer instead; 0: go on. */
unsigned cond_step(struct request *r);
/* Does If-Range, if there is one, let ranges through? */
bool cond_if_range(const struct request *r);
/* Is TAG (n 0: the answer has none) in the field's LIST? WEAK: "W/" does not matter. */
bool cond_has_etag(struct slice list, struct slice tag, bool weak);

#endif
