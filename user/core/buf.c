/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the free list of I/O buffers of this process. */
#include "core/buf.h"

#include <stdio.h>
#include <stdlib.h>

enum {
	SPARES_MAX = 32,
	JOIN_MAX = 4096, /* pieces up to this are copied rather than kept */
};

static struct {
	struct buf *free;
	uint32_t n_free, n_used;
} pool;

struct buf *buf_new(void)
{
	struct buf *b = pool.free;

	if (b) {
		pool.free = b->next;
		pool.n_free--;
	} else {
		b = malloc(sizeof *b);
		if (!b) {
			fputs("sluice: [emerg] out of memory\n", stderr);
			abort();
		}
	}
	pool.n_used++;
	b->next = NULL;
	buf_reset(b);
	return b;
}

void buf_free(struct buf *b)
{
	if (!b)
		return;
	pool.n_used--;
	if (pool.n_free >= SPARES_MAX) {
		free(b);
		return;
	}
	b->next = pool.free;
	pool.free = b;
	pool.n_free++;
}

uint32_t buf_n_used(void)
{
	return pool.n_used;
}

void bufq_put(struct bufq *q, const char *p, size_t n)
{
	while (n) {
		struct buf *last =
			q->first ? (struct buf *)((char *)q->tail - offsetof(struct buf, next))
				 : NULL;
		size_t room = last ? buf_room(last) : 0, k;

		if (!room) {
			last = buf_new();
			bufq_push(q, last);
			room = buf_room(last);
		}
		k = n < room ? n : room;
		memcpy(last->data + last->end, p, k);
		last->end += (uint32_t)k;
		q->bytes += k;
		p += k;
		n -= k;
	}
}

void bufq_join(struct bufq *q, struct buf *b)
{
	if (!q->first || buf_len(b) > JOIN_MAX) {
		bufq_push(q, b);
		return;
	}
	bufq_put(q, buf_head(b), buf_len(b));
	buf_free(b);
}

struct buf *bufq_take(struct bufq *q)
{
	struct buf *b = q->first;

	if (!b)
		return NULL;
	q->first = b->next;
	if (!q->first)
		q->tail = &q->first;
	q->n--;
	q->bytes -= buf_len(b);
	b->next = NULL;
	return b;
}

void bufq_consume(struct bufq *q, size_t n)
{
	while (q->first && n >= buf_len(q->first)) {
		n -= buf_len(q->first);
		buf_free(bufq_take(q));
	}
	if (n && q->first) {
		q->first->start += (uint32_t)n;
		q->bytes -= n;
	}
}

void bufq_clear(struct bufq *q)
{
	struct buf *b;

	while ((b = bufq_take(q)))
		buf_free(b);
}
