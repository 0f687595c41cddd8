/* SPDX-License-Identifier: BSD-2-Clause */
/* limit_rate: an answer's body in no more than so many bytes a second. */
#ifndef SL_PROXY_THROTTLE_H
#define SL_PROXY_THROTTLE_H

#include <stdint.h>

struct request;

/* A step of out.c, the last one that may join. */
void throttle_step(struct request *r);
/* How many bytes may go out now, of an answer of which SENT have, ELAPSED_MS after the request's beginning: as
 * in nginx a second's worth is there at once. */
uint64_t throttle_allowance(uint64_t rate_per_s, uint64_t after, uint64_t elapsed_ms,
			    uint64_t sent);

#endif
