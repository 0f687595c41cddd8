/* SPDX-License-Identifier: BSD-2-Clause */
/* Which early data has been taken already: ClientHellos by their random bytes, in memory that all
 * workers share and that a reload keeps (RFC 8446 8.2). OpenSSL takes early data for ten seconds after
 * its ClientHello was made; what is older need not be remembered. When there is no room to remember
 * one, its early data is refused, which costs its client a round trip and nothing else. */
#ifndef SL_TLS_TLS_REPLAYS_H
#define SL_TLS_TLS_REPLAYS_H

#include <stdint.h>

#include "core/slice.h"

struct tls_replays; /* lives wholly in the zone */

enum {
	TLS_REPLAYS_BYTES = 256 * 1024, /* about 800 a second */
	TLS_REPLAYS_KEEP_S = 20,
};

/* In MEM (page aligned, TLS_REPLAYS_BYTES); FRESH memory is zeroed and gets its layout here. */
struct tls_replays *tls_replays_at(void *mem, bool fresh, uint64_t now_s);
/* Is it the first time that RANDOM is seen? Remembers it. With OLD_TICKETS, tickets may be older than
 * this memory: nothing is taken until what may have come before is out of date. */
bool tls_replays_first(struct tls_replays *r, struct slice random, uint64_t now_s,
		       bool old_tickets);

#endif
