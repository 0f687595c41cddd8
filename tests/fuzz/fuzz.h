/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared by the fuzzers: the entry point that libFuzzer and replay.c call, and helpers. */
#ifndef SL_TESTS_FUZZ_H
#define SL_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* As assert(), whatever NDEBUG says. */
#define FUZZ_CHECK(cond) fuzz_check((cond), #cond, __FILE__, __LINE__)

static inline void fuzz_check(int ok, const char *what, const char *file, int line)
{
	if (ok)
		return;
	fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
	abort();
}

/* In memory of exactly N bytes, so that the sanitizer sees the first byte too many. */
static inline char *fuzz_copy(const void *p, size_t n)
{
	char *copy = malloc(n ? n : 1);

	FUZZ_CHECK(copy != NULL);
	if (n)
		memcpy(copy, p, n);
	return copy;
}

/* The first WHAT in the N bytes at P, or NULL. */
static inline const char *fuzz_find(const char *p, size_t n, const char *what)
{
	size_t k = strlen(what);

	for (size_t i = 0; i + k <= n; i++)
		if (memcmp(p + i, what, k) == 0)
			return p + i;
	return NULL;
}

#endif
