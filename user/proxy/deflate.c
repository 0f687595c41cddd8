/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns zlib's compressor states and the free list of those of full size. Knows no request. */
#include "proxy/deflate.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

enum {
	FULL_WINDOW_BITS = 15,
	FULL_MEM_LEVEL = 8,
	STREAM_WINDOW_BITS = 12, /* 38 KB in all; an event is far shorter than 4 KB */
	STREAM_MEM_LEVEL = 5,
	GZIP_FRAME = 16, /* added to window bits: RFC 1952 */
	LOOKAHEAD = 262, /* zlib's MIN_LOOKAHEAD: what a window must hold besides the text */
};

struct deflate_state {
	z_stream z;
	int window_bits;
	struct deflate_state *next; /* on the free list */
};

static struct {
	struct deflate_state *free;
	int n_free;
} pool;

static void out_of_memory(void)
{
	fputs("sluice: [emerg] out of memory\n", stderr);
	abort();
}

static struct deflate_state *make(int level, int window_bits, int mem_level)
{
	struct deflate_state *s = calloc(1, sizeof *s);

	if (!s || deflateInit2(&s->z, level, Z_DEFLATED, window_bits + GZIP_FRAME, mem_level,
			       Z_DEFAULT_STRATEGY) != Z_OK)
		out_of_memory();
	s->window_bits = window_bits;
	return s;
}

struct deflate_state *deflate_get(int level, int64_t length, bool streaming)
{
	int window_bits = FULL_WINDOW_BITS, mem_level = FULL_MEM_LEVEL;
	struct deflate_state *s = pool.free;

	if (streaming)
		return make(level, STREAM_WINDOW_BITS, STREAM_MEM_LEVEL);
	/* A window need not be larger than the text; 9 is zlib's smallest that works. */
	while (length >= 0 && window_bits > 9 && length < (1 << (window_bits - 1)) - LOOKAHEAD) {
		window_bits--;
		mem_level = mem_level > 1 ? mem_level - 1 : 1;
	}
	if (window_bits < FULL_WINDOW_BITS || !s)
		return make(level, window_bits, mem_level);
	pool.free = s->next;
	pool.n_free--;
	deflateParams(&s->z, level, Z_DEFAULT_STRATEGY);
	return s;
}

void deflate_put(struct deflate_state *s)
{
	if (s->window_bits == FULL_WINDOW_BITS && pool.n_free < DEFLATE_SPARES &&
	    deflateReset(&s->z) == Z_OK) {
		s->next = pool.free;
		pool.free = s;
		pool.n_free++;
		return;
	}
	deflateEnd(&s->z);
	free(s);
}

bool deflate_run(struct deflate_state *s, const char **p, size_t *n, struct buf *out,
		 enum deflate_how how)
{
	static const int flush[] = {
		[DEFLATE_MORE] = Z_NO_FLUSH,
		[DEFLATE_FLUSH] = Z_SYNC_FLUSH,
		[DEFLATE_END] = Z_FINISH,
	};
	int r;

	s->z.next_in = (Bytef *)*p;
	s->z.avail_in = (uInt)*n;
	s->z.next_out = (Bytef *)out->data + out->end;
	s->z.avail_out = buf_room(out);
	r = deflate(&s->z, flush[how]);
	assert(r == Z_OK || r == Z_STREAM_END || r == Z_BUF_ERROR);
	out->end = BUF_HEADROOM + BUF_PAYLOAD - s->z.avail_out;
	*p += *n - s->z.avail_in;
	*n = s->z.avail_in;
	return s->z.avail_out == 0 && r != Z_STREAM_END;
}
