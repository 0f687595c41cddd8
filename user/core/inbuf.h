/* SPDX-License-Identifier: BSD-2-Clause */
/* A read buffer whose content stays contiguous: a pool buffer at first, heap memory when a head is
 * larger, nothing at all while it is empty. Bounded by what the caller asks for. */
#ifndef SL_CORE_INBUF_H
#define SL_CORE_INBUF_H

#include "core/buf.h"

struct inbuf {
	char *p; /* NULL: holds no memory */
	uint32_t start, end, cap;
	struct buf *pooled; /* p points into it; NULL: p is heap memory, or nothing */
};

static inline struct slice inbuf_slice(const struct inbuf *b)
{
	return slice_make(b->p + b->start, b->end - b->start);
}

static inline uint32_t inbuf_len(const struct inbuf *b)
{
	return b->end - b->start;
}

/* Room for at least one byte, and for WANT bytes of content in all when that is more than a pool buffer
 * holds. Moves the content to the front if need be. Returns the room behind the content. */
uint32_t inbuf_reserve(struct inbuf *b, uint32_t want);
/* Spends N bytes; gives the memory back when nothing is left. */
void inbuf_consume(struct inbuf *b, uint32_t n);
void inbuf_clear(struct inbuf *b);

#endif
