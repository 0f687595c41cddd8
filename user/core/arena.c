/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the blocks of an arena. Small standard blocks are kept on a free list of the process (each
 * process is single-threaded), so that a request takes nothing from the heap in the steady state. */
#include "core/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct arena_block {
	struct arena_block *next;
	size_t bytes;
};

enum { SPARES_MAX = 128, ALIGN = 16 };

static struct {
	struct arena_block *free;
	int n;
} spares;

static struct arena_block *block_new(size_t bytes)
{
	struct arena_block *b;

	if (bytes == ARENA_SMALL_BYTES && spares.free) {
		b = spares.free;
		spares.free = b->next;
		spares.n--;
		return b;
	}
	b = malloc(bytes);
	if (!b) {
		fputs("sluice: [emerg] out of memory\n", stderr);
		abort();
	}
	b->bytes = bytes;
	return b;
}

static void block_free(struct arena_block *b)
{
	if (b->bytes == ARENA_SMALL_BYTES && spares.n < SPARES_MAX) {
		b->next = spares.free;
		spares.free = b;
		spares.n++;
		return;
	}
	free(b);
}

void arena_init(struct arena *a, size_t block_bytes)
{
	*a = (struct arena){.block_bytes = block_bytes};
}

void arena_fini(struct arena *a)
{
	struct arena_block *b = a->head, *next;

	for (; b; b = next) {
		next = b->next;
		block_free(b);
	}
	arena_init(a, a->block_bytes);
}

/* A new block for N bytes; an oversized one goes behind the current block, which stays in use. */
static char *grow(struct arena *a, size_t n)
{
	size_t head = (sizeof(struct arena_block) + ALIGN - 1) & ~(size_t)(ALIGN - 1);
	struct arena_block *b;
	size_t bytes = a->block_bytes;
	char *p;

	if (a->head && bytes == ARENA_SMALL_BYTES)
		bytes = ARENA_STEP_BYTES;
	if (n > bytes - head) {
		b = block_new(head + n);
		a->total_bytes += head + n;
		if (a->head) {
			b->next = a->head->next;
			a->head->next = b;
		} else {
			b->next = NULL;
			a->head = b;
			a->at = a->end = (char *)b + head + n;
		}
		return (char *)b + head;
	}
	b = block_new(bytes);
	a->total_bytes += bytes;
	b->next = a->head;
	a->head = b;
	p = (char *)b + head;
	a->at = p + n;
	a->end = (char *)b + bytes;
	return p;
}

char *arena_bytes(struct arena *a, size_t n)
{
	char *p = a->at;

	if ((size_t)(a->end - a->at) < n)
		return grow(a, n);
	a->at += n;
	return p;
}

void *arena_alloc(struct arena *a, size_t n)
{
	size_t pad = (size_t)(-(uintptr_t)a->at & (ALIGN - 1));
	char *p;

	if (!a->at || (size_t)(a->end - a->at) < pad + n)
		return grow(a, n);
	p = a->at + pad;
	a->at = p + n;
	return p;
}

void *arena_zalloc(struct arena *a, size_t n)
{
	return memset(arena_alloc(a, n), 0, n);
}

struct slice arena_dup(struct arena *a, struct slice s)
{
	return slice_make(arena_cstr(a, s), s.n);
}

char *arena_cstr(struct arena *a, struct slice s)
{
	char *p = arena_bytes(a, s.n + 1);

	if (s.n)
		memcpy(p, s.p, s.n);
	p[s.n] = 0;
	return p;
}

struct slice arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list ap, again;
	size_t room = (size_t)(a->end - a->at);
	char *p = a->at;
	int n;

	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(p, room, fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < room) {
		a->at += n + 1;
	} else {
		p = arena_bytes(a, (size_t)n + 1);
		vsnprintf(p, (size_t)n + 1, fmt, again);
	}
	va_end(again);
	return slice_make(p, (size_t)n);
}
