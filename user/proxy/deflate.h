/* SPDX-License-Identifier: BSD-2-Clause */
/* zlib's compressor with a gzip frame. The states of a process are kept for the next answer, as many as
 * DEFLATE_SPARES: one of full size is 268 KB that would else be mapped and cleared for each. */
#ifndef SL_PROXY_DEFLATE_H
#define SL_PROXY_DEFLATE_H

#include "core/buf.h"

struct deflate_state;

enum { DEFLATE_SPARES = 8 };

enum deflate_how {
	DEFLATE_MORE,
	DEFLATE_FLUSH, /* what went in can be read by the other end */
	DEFLATE_END,
};

/* LEVEL 1 to 9. LENGTH is how much will come, -1: not known; a short answer gets a small state, and so does
 * a STREAMING one, of which there may be many that last. Never NULL. */
struct deflate_state *deflate_get(int level, int64_t length, bool streaming);
void deflate_put(struct deflate_state *s);
/* Takes from *P (advancing it and *N), appends to OUT. True: OUT is full, and there is more to come. */
bool deflate_run(struct deflate_state *s, const char **p, size_t *n, struct buf *out,
		 enum deflate_how how);

#endif
