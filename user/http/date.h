/* SPDX-License-Identifier: BSD-2-Clause */
/* Dates in header fields (RFC 9110 5.6.7): seconds since the epoch, UTC. */
#ifndef SL_HTTP_DATE_H
#define SL_HTTP_DATE_H

#include <stdint.h>

#include "core/slice.h"

enum { DATE_BYTES = 29 };

/* IMF-fixdate, RFC 850 and asctime(); the day's name and what follows the seconds are not looked at, as
 * in nginx. -1: not a date. */
int64_t date_parse(struct slice s);
/* IMF-fixdate, DATE_BYTES long, nothing is terminated. T is cut to the years 1970 to 9999. */
struct slice date_put(char *at, int64_t t);

#endif
