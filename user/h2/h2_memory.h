/* SPDX-License-Identifier: BSD-2-Clause */
/* Where nghttp2's memory comes from. */
#ifndef SL_H2_H2_MEMORY_H
#define SL_H2_H2_MEMORY_H

#include <nghttp2/nghttp2.h>

/* nghttp2 keeps a buffer for a frame of 16 KB a session, of which most sessions only ever touch the beginning:
 * it is mapped by itself, so that the rest costs nothing. */
struct h2_memory {
	void *big; /* NULL: not mapped */
	size_t big_bytes;
};

/* For a session; M must outlive it. */
nghttp2_mem h2_memory_functions(struct h2_memory *m);

#endif
