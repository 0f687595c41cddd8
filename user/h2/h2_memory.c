/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns a session's one large buffer; all else is malloc's. */
#define _GNU_SOURCE
#include "h2/h2_memory.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { BIG_MIN = 16 * 1024 };

static void *take(size_t n, void *user)
{
	struct h2_memory *m = user;
	void *p;

	if (n < BIG_MIN || m->big)
		return malloc(n);
	p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return malloc(n);
	m->big = p;
	m->big_bytes = n;
	return p;
}

static void give(void *p, void *user)
{
	struct h2_memory *m = user;

	if (!p || p != m->big) {
		free(p);
		return;
	}
	munmap(p, m->big_bytes);
	m->big = NULL;
}

static void *take_zeroed(size_t n, size_t bytes, void *user)
{
	return calloc(n, bytes);
}

static void *resize(void *p, size_t n, void *user)
{
	struct h2_memory *m = user;
	void *moved;

	/* This is how nghttp2 asks for its buffers. */
	if (!p)
		return take(n, m);
	if (p != m->big)
		return realloc(p, n);
	moved = malloc(n);
	if (!moved)
		return NULL;
	memcpy(moved, p, n < m->big_bytes ? n : m->big_bytes);
	give(p, m);
	return moved;
}

nghttp2_mem h2_memory_functions(struct h2_memory *m)
{
	return (nghttp2_mem){m, take, give, take_zeroed, resize};
}
