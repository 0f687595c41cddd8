/* SPDX-License-Identifier: BSD-2-Clause */
/* The Range field (RFC 9110 14.2), read as nginx reads it. */
#ifndef SL_HTTP_RANGE_H
#define SL_HTTP_RANGE_H

#include <stdint.h>

#include "core/arena.h"
#include "core/slice.h"

struct range {
	uint64_t start, end; /* END is behind the last byte; start < end */
};

struct ranges {
	struct range *v; /* in the client's order */
	uint32_t n;
};

enum range_result {
	RANGE_OK,
	RANGE_NONE, /* the whole is answered: another unit, too many or overlapping ranges */
	RANGE_BAD,  /* 416 */
};

/* VALUE of a Range field for a body of LENGTH bytes; at most N_MAX ranges, OUT in the arena. */
enum range_result range_parse(struct slice value, uint64_t length, uint32_t n_max, struct arena *a,
			      struct ranges *out);

#endif
