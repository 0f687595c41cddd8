/* SPDX-License-Identifier: BSD-2-Clause */
/* Streams that are no more, or never were, which nghttp2 does not tell apart: the last of each kind. No I/O. */
#ifndef SL_H2_H2_PAST_H
#define SL_H2_H2_PAST_H

#include <stdbool.h>
#include <stdint.h>

enum {
	H2_PAST_GAPS = 4,
	H2_PAST_DONE = 32,
};

/* All zeros to begin with. */
struct h2_past {
	int32_t last; /* highest stream that was opened */
	struct {
		int32_t from, to;
	} gap[H2_PAST_GAPS];	    /* numbers that were passed over */
	int32_t done[H2_PAST_DONE]; /* ended by the client itself, or reset by it */
	uint8_t n_gaps, n_done;
};

void h2_past_opened(struct h2_past *p, int32_t id);
void h2_past_done(struct h2_past *p, int32_t id);
bool h2_past_has_done(const struct h2_past *p, int32_t id);
bool h2_past_has_skipped(const struct h2_past *p, int32_t id);

#endif
