/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Growing byte queue and borrowed text, for mock-llm. Bytes are appended at the end and consumed
 * from the front. Running out of memory ends the process with a message: this is a test peer.
 */
#ifndef MOCK_BUF_H
#define MOCK_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Borrowed bytes, not NUL-terminated; p may be NULL when n is 0. */
struct span {
	const char *p;
	size_t n;
};

#define SPAN(literal) ((struct span){"" literal, sizeof(literal) - 1})

/* Live bytes are data[off .. len). A zeroed struct is an empty buffer. */
struct buf {
	char *data;
	size_t off, len, cap;
};

static inline size_t buf_pending(const struct buf *b)
{
	return b->len - b->off;
}

static inline const char *buf_head(const struct buf *b)
{
	return b->data + b->off;
}

/* Makes room for n bytes and returns where they go; the caller adds to len what it wrote. */
char *buf_reserve(struct buf *b, size_t n);
void buf_add(struct buf *b, const void *p, size_t n);
void buf_span(struct buf *b, struct span s);
void buf_u64(struct buf *b, uint64_t v);
void buf_hex64(struct buf *b, uint64_t v);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Text with what JSON wants escaped; bytes that are not valid UTF-8 are read as Latin-1. No quotes
 * added. */
void buf_json(struct buf *b, struct span s);
void buf_consume(struct buf *b, size_t n);
/* Empties; gives the memory back when it is more than keep_max bytes. */
void buf_reset(struct buf *b, size_t keep_max);
void buf_free(struct buf *b);

/* Same text, ASCII case ignored. */
bool span_is(struct span s, const char *text);
bool span_starts(struct span s, const char *prefix);
/* Decimal digits only, 0..max; false otherwise. */
bool span_u64(struct span s, uint64_t max, uint64_t *v);

#endif
