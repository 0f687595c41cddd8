/* SPDX-License-Identifier: BSD-2-Clause */
/* The time as the loop last saw it, so that a request costs no clock call of its own. Policies take
 * the time as an argument and never read it, so that tests can choose it. */
#ifndef SL_CORE_CLOCK_H
#define SL_CORE_CLOCK_H

#include <stdint.h>
#include <time.h>

struct clock {
	uint64_t mono_ms;      /* CLOCK_MONOTONIC */
	uint64_t wall_ms;      /* since the epoch */
	time_t wall_s;	       /* the second that the texts below are for */
	char time_local[32];   /* 22/Nov/2026:23:10:00 +0000 */
	char time_iso8601[32]; /* 2026-11-22T23:10:00+00:00 */
	char http_date[32];    /* Sun, 22 Nov 2026 23:10:00 GMT (RFC 9110 5.6.7) */
	char log_time[32];     /* 2026/11/22 23:10:00 */
};

/* Reads both clocks; the texts are made anew when the second changed. */
void clock_update(struct clock *c);
/* Milliseconds of CLOCK_MONOTONIC, read now. */
uint64_t clock_mono_ms(void);
uint64_t clock_mono_ns(void);
uint64_t clock_wall_ms(void);

#endif
