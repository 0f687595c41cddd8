/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading HTTP/1 requests in mock-llm (RFC 9112): heads and chunked bodies. Strict, so that a
 * gateway that sends something doubtful gets 400 and its test fails. No I/O.
 */
#ifndef MOCK_HEAD_H
#define MOCK_HEAD_H

#include "buf.h"

enum { HEAD_MAX = 256 * 1024 };

/* Spans point into the text that was parsed. */
struct head {
	struct span method, target, headers;
	int minor; /* HTTP/1.minor */
	bool keep_alive, chunked, has_length, expect;
	uint64_t length;
	const char *error; /* why head_parse() said < 0 */
};

struct head_iter {
	struct span rest;
};

/* > 0: length of the head; 0: need more; < 0: malformed, see error. */
int head_parse(const char *p, size_t n, struct head *h);
void head_start(struct head_iter *it, const struct head *h);
/* Headers in order; false at the end. Only after head_parse() found the head well formed. */
bool head_next(struct head_iter *it, struct span *name, struct span *value);

/* A zeroed struct is at the start of a body. */
struct chunked {
	int state;
	unsigned n_digits;
	size_t line_bytes;
	uint64_t left;
};

/*
 * Takes bytes up to the end of one piece of data or of the input; *data is that piece, maybe empty.
 * Returns what it took, < 0 when malformed. chunked_done() says whether the body is over.
 */
long chunked_feed(struct chunked *c, const char *p, size_t n, struct span *data);
bool chunked_done(const struct chunked *c);

#endif
