/* SPDX-License-Identifier: BSD-2-Clause */
/* Finds the heads of frames in what a client sends: nghttp2 tells nobody of frames that it ignores, and who counts
 * abuse must know of them all. Judges nothing. No I/O. */
#ifndef SL_H2_H2_FRAMES_H
#define SL_H2_H2_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	H2_FRAME_HEAD_BYTES = 9,
	H2_FRAME_MAX = 16384, /* of payload (RFC 9113 6.5.2); more is an error */
};

struct h2_frames {
	/* The frame's head, and the first word of a PRIORITY's or a GOAWAY's payload: a stream's number. */
	uint8_t head[H2_FRAME_HEAD_BYTES + 4];
	uint8_t head_n;
	uint32_t left; /* of its payload, or of the preface */
};

struct h2_frame_head {
	uint32_t payload_n;
	uint32_t stream, word; /* of 31 bits; WORD is 0 where there is none */
	uint8_t type, flags;
};

void h2_frames_init(struct h2_frames *f);
/* Takes some of the N > 0 bytes at P, and says how many. *OUT of *OUT_N bytes is what to hand on of them (none: the rest of
 * a head is awaited). True in *IS_HEAD: OUT is a whole head, *HEAD what it says; it may be changed before it is handed on. */
size_t h2_frames_take(struct h2_frames *f, const uint8_t *p, size_t n, const uint8_t **out,
		      size_t *out_n, struct h2_frame_head *head, bool *is_head);

#endif
