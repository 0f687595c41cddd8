/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns where in the stream of bytes frames begin. Knows of their payloads only how long they are. */
#include "h2/h2_frames.h"

#include <string.h>

enum {
	PREFACE_BYTES = 24,
	PRIORITY = 2,
	PRIORITY_BYTES = 5,
	GOAWAY = 7,
	GOAWAY_MIN = 8,
};

void h2_frames_init(struct h2_frames *f)
{
	*f = (struct h2_frames){.left = PREFACE_BYTES};
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint32_t payload_bytes(const struct h2_frames *f)
{
	return get32(f->head) >> 8;
}

/* A word of the payload comes along where it is needed. */
static size_t head_bytes(const struct h2_frames *f)
{
	uint32_t n;
	bool has_word;

	if (f->head_n < H2_FRAME_HEAD_BYTES)
		return H2_FRAME_HEAD_BYTES;
	n = payload_bytes(f);
	has_word = (f->head[3] == PRIORITY && n == PRIORITY_BYTES) ||
		   (f->head[3] == GOAWAY && n >= GOAWAY_MIN);
	return has_word ? sizeof f->head : H2_FRAME_HEAD_BYTES;
}

static void unpack(struct h2_frames *f, struct h2_frame_head *head)
{
	*head = (struct h2_frame_head){
		.payload_n = payload_bytes(f),
		.type = f->head[3],
		.flags = f->head[4],
		.stream = get32(f->head + 5) & INT32_MAX,
	};
	if (f->head_n > H2_FRAME_HEAD_BYTES)
		head->word = get32(f->head + H2_FRAME_HEAD_BYTES) & INT32_MAX;
	f->left = head->payload_n - (f->head_n - H2_FRAME_HEAD_BYTES);
}

static size_t gather(struct h2_frames *f, const uint8_t *p, size_t n)
{
	size_t wanted, piece, used = 0;

	while (used < n && (wanted = head_bytes(f)) > f->head_n) {
		piece = wanted - f->head_n < n - used ? wanted - f->head_n : n - used;
		memcpy(f->head + f->head_n, p + used, piece);
		f->head_n += (uint8_t)piece;
		used += piece;
	}
	return used;
}

size_t h2_frames_take(struct h2_frames *f, const uint8_t *p, size_t n, const uint8_t **out,
		      size_t *out_n, struct h2_frame_head *head, bool *is_head)
{
	size_t used;

	*is_head = false;
	if (f->left) {
		used = f->left < n ? f->left : n;
		f->left -= (uint32_t)used;
		*out = p;
		*out_n = used;
		return used;
	}
	used = gather(f, p, n);
	*out = f->head;
	*out_n = 0;
	if (f->head_n == head_bytes(f)) {
		unpack(f, head);
		*is_head = true;
		*out_n = f->head_n;
		f->head_n = 0;
	}
	return used;
}
