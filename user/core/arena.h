/* SPDX-License-Identifier: BSD-2-Clause */
/* Bump allocation with one lifetime: a request, or a loaded configuration. What does not fit into
 * the current block gets a new one; everything is freed at once. Never frees single objects. */
#ifndef SL_CORE_ARENA_H
#define SL_CORE_ARENA_H

#include <stddef.h>

#include "core/slice.h"

struct arena_block;

/* Blocks of the first size are kept for reuse: a request's. A usual chat request needs 2.7 to 3.3 KB, and each
 * open stream holds it, so an arena of such blocks grows in small steps. */
enum {
	ARENA_SMALL_BYTES = 2816,
	ARENA_STEP_BYTES = 384,
};

struct arena {
	struct arena_block *head;
	char *at, *end;
	size_t block_bytes; /* usual size of a block */
	size_t total_bytes; /* taken from the heap so far */
};

/* BLOCK_BYTES is the usual size of a block; nothing is taken from the heap before the first use. */
void arena_init(struct arena *a, size_t block_bytes);
/* Frees everything; the arena can be used again afterwards. */
void arena_fini(struct arena *a);

/* Aligned to 16. Never NULL: the process ends with a message when memory is exhausted, since no
 * caller could go on (limits keep what a peer can ask for far below that). */
void *arena_alloc(struct arena *a, size_t n) __attribute__((malloc, alloc_size(2)));
void *arena_zalloc(struct arena *a, size_t n) __attribute__((malloc, alloc_size(2)));
/* Bytes without alignment, for text. */
char *arena_bytes(struct arena *a, size_t n) __attribute__((malloc, alloc_size(2)));
/* Copies; the copy is NUL-terminated behind its end. */
struct slice arena_dup(struct arena *a, struct slice s);
char *arena_cstr(struct arena *a, struct slice s);
struct slice arena_printf(struct arena *a, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif
