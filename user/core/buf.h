/* SPDX-License-Identifier: BSD-2-Clause */
/* The buffers that bodies pass through: 16 KB with room before and after the payload, so that a
 * chunk's size line, its CRLF, or a frame header is written in place and never copied. Buffers come
 * from a free list of the process; an idle connection holds none. */
#ifndef SL_CORE_BUF_H
#define SL_CORE_BUF_H

#include <stdint.h>

#include "core/slice.h"

enum {
	BUF_HEADROOM = 32,   /* kept free before fresh data */
	BUF_TAILROOM = 32,   /* never filled by a read */
	BUF_PAYLOAD = 16320, /* with both rooms one TLS record (RFC 8446 5.1) */
	BUF_BYTES = BUF_HEADROOM + BUF_PAYLOAD + BUF_TAILROOM,
};

struct buf {
	struct buf *next;    /* in a struct bufq or on the free list */
	uint32_t start, end; /* valid bytes are data[start..end) */
	char data[BUF_BYTES];
};

/* Empty, start = end = BUF_HEADROOM. Never NULL (as arena_alloc). */
struct buf *buf_new(void);
void buf_free(struct buf *b);
/* How many buffers are out, for status and tests. */
uint32_t buf_n_used(void);

static inline uint32_t buf_len(const struct buf *b)
{
	return b->end - b->start;
}

static inline char *buf_head(struct buf *b)
{
	return b->data + b->start;
}

/* Room for a read behind the data, the tail room left out (which the data may have used). */
static inline uint32_t buf_room(const struct buf *b)
{
	return b->end < BUF_HEADROOM + BUF_PAYLOAD ? BUF_HEADROOM + BUF_PAYLOAD - b->end : 0;
}

static inline struct slice buf_slice(const struct buf *b)
{
	return slice_make(b->data + b->start, b->end - b->start);
}

static inline void buf_reset(struct buf *b)
{
	b->start = b->end = BUF_HEADROOM;
}

/* Moves the data to the front so that buf_room() is as large as can be. */
static inline void buf_compact(struct buf *b)
{
	uint32_t n = buf_len(b);

	if (b->start == BUF_HEADROOM)
		return;
	memmove(b->data + BUF_HEADROOM, b->data + b->start, n);
	b->start = BUF_HEADROOM;
	b->end = BUF_HEADROOM + n;
}

/* First in, first out. */
struct bufq {
	struct buf *first, **tail;
	uint32_t n;	/* buffers */
	uint64_t bytes; /* must be kept by who changes a queued buffer */
};

static inline void bufq_init(struct bufq *q)
{
	q->first = NULL;
	q->tail = &q->first;
	q->n = 0;
	q->bytes = 0;
}

static inline void bufq_push(struct bufq *q, struct buf *b)
{
	b->next = NULL;
	*q->tail = b;
	q->tail = &b->next;
	q->n++;
	q->bytes += buf_len(b);
}

/* The same for what may wait: a small piece shares the last buffer, and B is freed. A peer that sends byte by byte
 * would else make a queue hold 16 KB for each. */
void bufq_join(struct bufq *q, struct buf *b);

/* Copies N bytes behind what is there: into the last buffer's room, then into new ones. */
void bufq_put(struct bufq *q, const char *p, size_t n);
/* The first one, its ownership with it, or NULL. */
struct buf *bufq_take(struct bufq *q);
/* Frees N bytes from the front, whole buffers with them. */
void bufq_consume(struct bufq *q, size_t n);
void bufq_clear(struct bufq *q);

#endif
