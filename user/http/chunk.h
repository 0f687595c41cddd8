/* SPDX-License-Identifier: BSD-2-Clause */
/* Chunked transfer coding (RFC 9112 7.1), decoded in place and incrementally, strictly: the size is
 * 1 to 15 hexadecimal digits and nothing else, every line ends in CRLF, no white space where the
 * grammar calls it bad, unless that is allowed; extensions and trailers must be well formed, and are
 * bounded. Trailers are dropped unless somebody gives a place for them. */
#ifndef SL_HTTP_CHUNK_H
#define SL_HTTP_CHUNK_H

#include "core/slice.h"

enum {
	CHUNK_EXT_MAX = 256,	   /* bytes of extensions in one chunk's line */
	CHUNK_OVERHEAD_MAX = 4096, /* extensions beyond the data, and trailers, together */
};

struct chunk_dec {
	uint64_t left;	    /* bytes of the current chunk still to come */
	uint32_t overhead;  /* extension and trailer bytes that data has not made up for, bounded */
	uint16_t ext_bytes; /* the same for the current line */
	uint8_t state;
	uint8_t digits;
	bool allows_bws;
	bool in_trailers; /* the last chunk's size line is complete: no more data will come */
	uint16_t n_kept;
	char *kept; /* trailers, as they came; NULL: dropped */
};

void chunk_dec_init(struct chunk_dec *d);

/* White space is taken where RFC 9112 calls it bad and asks recipients to, and behind the size, where
 * servers pad it. Call it before the first chunk_decode(). */
void chunk_allow_bws(struct chunk_dec *d);

/* Trailers are copied to TO, CHUNK_OVERHEAD_MAX + 2 bytes, whose owner keeps it as long as D. Call it
 * before the first chunk_decode(). */
void chunk_keep_trailers(struct chunk_dec *d, char *to);
/* After chunk_decode() returned 1: all kept trailer lines and the empty line, as head_parse_trailers()
 * takes them; empty when there were none. */
struct slice chunk_trailers(const struct chunk_dec *d);

/* Decodes BUF[0..n) in place: afterwards BUF[0..*out_n) is body data, *used bytes of the input are
 * spent. Returns 0: all input used, more to come; 1: the final chunk and its trailers are complete
 * (input behind *used is not part of the body; further calls return 1 and use nothing); -SL_EINVAL:
 * malformed; -SL_ELIMIT: extensions or trailers over the limit. Both errors are final: further
 * calls return -SL_EINVAL; *out_n is what came before the error. */
int chunk_decode(struct chunk_dec *d, char *buf, size_t n, size_t *out_n, size_t *used);

/* Writes a chunk's size line ("1f\r\n") so that it ends at END; returns its length (at most 18).
 * The caller has that room before END. */
size_t chunk_put_size_before(char *end, uint64_t size);

#endif
