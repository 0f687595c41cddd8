/* SPDX-License-Identifier: BSD-2-Clause */
/* limit_req: nginx's leaky bucket in shared memory, one zone for all workers. A key is kept as
 * its seeded 128-bit hash, so a node's size does not depend on the peer; when the zone is full
 * the least recently used node goes. No descriptors, no clock of its own. */
#ifndef SL_POLICY_LIMIT_H
#define SL_POLICY_LIMIT_H

#include "core/shm.h"

enum { LIMIT_USES_MAX = 16 };

/* Nodes of one key. It knows no rate: that is the configuration's, so that a reload which
 * changes only the rate keeps the nodes. */
struct limit_zone;

/* The least that limit_req_zone takes, as in nginx: 32 KB. */
size_t limit_zone_min_bytes(void);
/* Fills fresh memory of at least limit_zone_min_bytes(). */
void limit_zone_init(struct limit_zone *z, size_t bytes);

enum limit_verdict {
	LIMIT_PASS,
	LIMIT_DELAY,
	LIMIT_REJECT,
};

/* One zone as a limit_req line uses it. */
struct limit_use {
	struct limit_zone *zone;
	uint64_t rate_milli_per_s; /* requests a 1000 s, not 0; nginx's rounding: 10r/m is 166 */
	uint64_t burst_milli;	   /* burst * 1000 */
	uint64_t delay_milli;	   /* delay * 1000; nodelay: UINT64_MAX */
};

/* All lines of a location at once (at most LIMIT_USES_MAX), as nginx does: when one rejects,
 * none is charged; a delay is charged at once. KEYS[i] empty: that line does not apply.
 * *delay_ms is the longest delay; *which the line that decided, -1 when none applies;
 * *excess_milli its excess. All zones are held together, so that no worker sees the charge of
 * one without the other. */
enum limit_verdict limit_check(const struct limit_use *uses, const struct slice *keys, int n,
			       uint64_t now_ms, uint64_t *delay_ms, int *which,
			       uint64_t *excess_milli);
/* For status: nodes in use, room for. */
void limit_zone_usage(struct limit_zone *z, uint32_t *used, uint32_t *room);

#endif
