/* SPDX-License-Identifier: BSD-2-Clause */
/* What vars.c and vars_upstream.c share: texts of numbers, in an arena. */
#ifndef SL_PROXY_VARS_IMPL_H
#define SL_PROXY_VARS_IMPL_H

#include "core/num.h"
#include "proxy/request.h"

enum { VARS_SECONDS_MAX = 24 }; /* room that vars_put_seconds() may need */

/* "12.034"; returns the length. */
static inline size_t vars_put_seconds(char *at, uint64_t ms)
{
	size_t n = num_put_u64(at, ms / 1000);

	at[n] = '.';
	at[n + 1] = (char)('0' + ms % 1000 / 100);
	at[n + 2] = (char)('0' + ms % 100 / 10);
	at[n + 3] = (char)('0' + ms % 10);
	return n + 4;
}

static inline bool vars_seconds(struct arena *a, uint64_t ms, struct slice *out)
{
	char *at = arena_bytes(a, VARS_SECONDS_MAX);

	*out = slice_make(at, vars_put_seconds(at, ms));
	return true;
}

static inline bool vars_number(struct arena *a, uint64_t v, struct slice *out)
{
	char *at = arena_bytes(a, 20);

	*out = slice_make(at, num_put_u64(at, v));
	return true;
}

/* The common signature of all getters. */
#define VARS_GETTER(name) \
	static bool name(void *request, struct slice arg, void *data, struct arena *a, \
			 struct slice *out)

#endif
