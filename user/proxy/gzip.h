/* SPDX-License-Identifier: BSD-2-Clause */
/* Compressing answers, and decompressing those that a client could not read: two filters of out.h. */
#ifndef SL_PROXY_GZIP_H
#define SL_PROXY_GZIP_H

#include "core/slice.h"

struct arena;
struct request;

/* Steps of out.c's table: each changes r->resp and joins, or does nothing. */
void gzip_step(struct request *r);
void gunzip_step(struct request *r);

/* Would an answer to this request be compressed, as far as the request's head and the answer's fields for
 * caches decide? */
bool gzip_is_wanted(const struct request *r);
/* An answer whose bytes change: its length and ranges are not known any more, its ETag is a weak one. */
void gzip_forget_identity(struct request *r);
/* gzip_vary: caches must know that Accept-Encoding decides. */
void gzip_add_vary(struct request *r);
/* $gzip_ratio; false: nothing was compressed. */
bool gzip_ratio(const struct request *r, struct arena *a, struct slice *out);

#endif
