/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns where the bytes of an inbuf lie. */
#include "core/inbuf.h"

#include <stdio.h>
#include <stdlib.h>

static void grow(struct inbuf *b, uint32_t cap)
{
	uint32_t n = inbuf_len(b);
	char *p = malloc(cap);

	if (!p) {
		fputs("sluice: [emerg] out of memory\n", stderr);
		abort();
	}
	memcpy(p, b->p + b->start, n);
	inbuf_clear(b);
	*b = (struct inbuf){.p = p, .end = n, .cap = cap};
}

uint32_t inbuf_reserve(struct inbuf *b, uint32_t want)
{
	if (!b->p) {
		b->pooled = buf_new();
		b->p = b->pooled->data + BUF_HEADROOM;
		b->start = b->end = 0;
		b->cap = BUF_PAYLOAD;
	}
	if (b->end == b->cap && b->start) {
		memmove(b->p, b->p + b->start, inbuf_len(b));
		b->end -= b->start;
		b->start = 0;
	}
	if (b->end == b->cap && want > b->cap)
		grow(b, want);
	return b->cap - b->end;
}

void inbuf_consume(struct inbuf *b, uint32_t n)
{
	b->start += n;
	if (b->start == b->end)
		inbuf_clear(b);
}

void inbuf_clear(struct inbuf *b)
{
	if (b->pooled)
		buf_free(b->pooled);
	else
		free(b->p);
	*b = (struct inbuf){0};
}
