/* SPDX-License-Identifier: BSD-2-Clause */
/* The decoded fields of an HTTP/2 header block (RFC 9113 8.2, 8.3) into the same struct that an HTTP/1
 * head gives, by rules at least as strict: what is accepted can be written as HTTP/1.1 in one way only. */
#ifndef SL_HTTP_HEAD_H2_H
#define SL_HTTP_HEAD_H2_H

#include "http/head.h"

/* State of one block; zero it. */
struct head_h2 {
	uint8_t pseudo; /* those seen, a bit each */
	bool regular;	/* a regular field came: no pseudo-header may follow */
	bool expect_continue;
	uint16_t n_cookies, n_lengths, n_hosts;
	uint32_t bytes;	       /* of all fields so far, as they would be in an HTTP/1 head */
	struct slice host;     /* the Host field */
	struct slice length;   /* Content-Length */
	enum head_error error; /* the first thing that was wrong; HEAD_OK */
};

/* The next field. NAME and VALUE are copied into the arena. After an error it only counts bytes. */
void head_h2_field(struct head_h2 *s, struct slice name, struct slice value,
		   const struct head_limits *lim, struct arena *a, struct req_head *out);
/* The block is complete. END_STREAM: no body follows. What is accepted has minor 1 and http2 set, one
 * Host field, one Cookie field at most. BODY_CHUNKED: a body of unknown length. After a refusal OUT has
 * method_text and target when these were well formed, for the log. */
enum head_error head_h2_finish(struct head_h2 *s, bool end_stream, struct arena *a,
			       struct req_head *out);
/* A field of a trailer block. */
enum head_error head_h2_trailer(struct slice name, struct slice value);

#endif
