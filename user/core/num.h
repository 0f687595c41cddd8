/* SPDX-License-Identifier: BSD-2-Clause */
/* Strict numbers from text, and text from numbers without stdio on the data path. */
#ifndef SL_CORE_NUM_H
#define SL_CORE_NUM_H

#include <stdint.h>

#include "core/slice.h"

/* Decimal digits only, the whole slice; -SL_EINVAL for anything else, -SL_ELIMIT when it does not
 * fit into 63 bits. */
int num_u63(struct slice s, uint64_t *out);
/* Writes decimal digits, returns their count (at most 20); nothing is terminated. */
size_t num_put_u64(char *at, uint64_t v);
/* Lower-case hexadecimal, at most 16 digits. */
size_t num_put_hex(char *at, uint64_t v);
/* Value of a hexadecimal digit or -1. */
static inline int num_hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

#endif
