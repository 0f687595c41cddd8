/* SPDX-License-Identifier: BSD-2-Clause */
/* Answers to a part of what is there: 206, multipart/byteranges, 416. Whoever makes a body that can be
 * cut says so (resp.allow_ranges), and sends what resp.parts says. */
#ifndef SL_PROXY_RANGES_H
#define SL_PROXY_RANGES_H

#include "http/range.h"

struct request;

/* What is to be sent in place of the whole, in this order. */
struct ranges_parts {
	struct ranges list;
	uint64_t length; /* of the whole */
	struct slice first,
		tail; /* multipart: before each ranges_line(), behind the last part; else n 0 */
};

enum { RANGES_LINE_MAX = 96 };

/* "Content-Range: ..." of part I and the empty line, behind FIRST; the length. */
size_t ranges_line(const struct ranges_parts *p, uint32_t i, char to[RANGES_LINE_MAX]);

/* A step of out.c: 0, or 416. */
unsigned ranges_step(struct request *r);

#endif
