/* SPDX-License-Identifier: BSD-2-Clause */
/* The session cache that all workers share: a table of fixed slots in shared memory. A session that
 * does not fit into a slot is not kept; a full bucket gives up what has expired, else what was used
 * longest ago. Holds secrets: slots are wiped when they are given up. */
#ifndef SL_TLS_TLS_CACHE_H
#define SL_TLS_TLS_CACHE_H

#include <stdint.h>

#include "core/slice.h"

struct tls_cache; /* lives wholly in the zone */

enum {
	TLS_CACHE_SLOT_BYTES = 256,	/* about 4,000 sessions a megabyte */
	TLS_CACHE_MIN_BYTES = 8 * 4096, /* as nginx: 8 pages */
	TLS_CACHE_ID_MAX = 32,
};

/* The cache in MEM (page aligned, BYTES >= TLS_CACHE_MIN_BYTES); FRESH memory is zeroed and gets
 * its layout here. */
struct tls_cache *tls_cache_at(void *mem, size_t bytes, bool fresh);
/* Keeps DER under ID until EXPIRES_S (same clock as NOW_S). -SL_ELIMIT: too large to be kept. */
int tls_cache_put(struct tls_cache *c, struct slice id, struct slice der, uint32_t now_s,
		  uint32_t expires_s);
/* Copies what is kept under ID; its length, or 0 when nothing is or ROOM is too small. */
size_t tls_cache_get(struct tls_cache *c, struct slice id, uint32_t now_s, void *to, size_t room);
void tls_cache_remove(struct tls_cache *c, struct slice id);
/* Slots in all, for status and tests. */
uint32_t tls_cache_n_slots(const struct tls_cache *c);

#endif
