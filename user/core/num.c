/* SPDX-License-Identifier: BSD-2-Clause */
/* Number parsing and printing; owns nothing. */
#include "core/num.h"

#include "core/err.h"

int num_u63(struct slice s, uint64_t *out)
{
	uint64_t v = 0;

	if (s.n == 0)
		return -SL_EINVAL;
	for (size_t i = 0; i < s.n; i++) {
		unsigned d = (unsigned)(s.p[i] - '0');

		if (d > 9)
			return -SL_EINVAL;
		if (v > ((uint64_t)INT64_MAX - d) / 10)
			return -SL_ELIMIT;
		v = v * 10 + d;
	}
	*out = v;
	return 0;
}

size_t num_put_u64(char *at, uint64_t v)
{
	char tmp[20];
	size_t n = 0;

	do {
		tmp[n++] = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	for (size_t i = 0; i < n; i++)
		at[i] = tmp[n - 1 - i];
	return n;
}

size_t num_put_hex(char *at, uint64_t v)
{
	char tmp[16];
	size_t n = 0;

	do {
		tmp[n++] = "0123456789abcdef"[v & 15];
		v >>= 4;
	} while (v);
	for (size_t i = 0; i < n; i++)
		at[i] = tmp[n - 1 - i];
	return n;
}
