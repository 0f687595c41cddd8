/* SPDX-License-Identifier: BSD-2-Clause */
/* How much of what costs a server more than its sender one HTTP/2 connection may do. Each kind has a bucket
 * that leaks with time; useful work makes room in it. No I/O. */
#ifndef SL_H2_H2_GUARD_H
#define SL_H2_H2_GUARD_H

#include <stdbool.h>
#include <stdint.h>

enum h2_abuse {
	H2_ABUSE_RESETS,   /* the client cancels what it asks for (CVE-2023-44487) */
	H2_ABUSE_BROKEN,   /* frames that make us reset streams (CVE-2025-8671), malformed requests,
			    * streams over the limit */
	H2_ABUSE_CONTROL,  /* SETTINGS, PING, PRIORITY, WINDOW_UPDATE, unknown frames */
	H2_ABUSE_EMPTY,	   /* frames without payload */
	H2_ABUSE_HEADERS,  /* header blocks out of all proportion, in bytes or in frames */
	H2_ABUSE_OVERHEAD, /* framing out of all proportion to what it carries */
	H2_ABUSE_UNREAD,   /* answers to SETTINGS and PING pile up: the client does not read */
	H2_ABUSE_N,
};

struct h2_guard {
	uint64_t at_ms;			    /* when levels were last let leak */
	uint32_t level[H2_ABUSE_EMPTY + 1]; /* thousandths of an event */
	uint64_t total_bytes, payload_bytes;
};

void h2_guard_init(struct h2_guard *g, uint64_t now_ms);
/* COST events of a kind that has a bucket (up to H2_ABUSE_EMPTY); false: too many. */
bool h2_guard_hit(struct h2_guard *g, enum h2_abuse kind, uint32_t cost, uint64_t now_ms);
/* Useful work was done: room for so many more. */
void h2_guard_credit(struct h2_guard *g, enum h2_abuse kind, uint32_t n);
/* TOTAL bytes went over the connection, PAYLOAD of them are fields or bodies; false: too few. */
bool h2_guard_traffic(struct h2_guard *g, uint64_t total, uint64_t payload);
/* "resets its streams too often", for the log. */
const char *h2_guard_text(enum h2_abuse kind);
/* "resets", for statistics. */
const char *h2_guard_name(enum h2_abuse kind);

#endif
