/* SPDX-License-Identifier: BSD-2-Clause */
/* What a slow client has not taken of an upstream's answer: beyond proxy_buffers in a temporary file, so that
 * the upstream is free before its client has everything. */
#ifndef SL_PROXY_SPOOL_H
#define SL_PROXY_SPOOL_H

#include <stdbool.h>

struct request;
struct spool;

/* Step of out.c: a filter nearest to the upstream, r->up->spool. */
void spool_step(struct request *r);
/* Memory and file hold all they may: no more is to be read from the upstream. */
bool spool_is_full(const struct spool *s);

#endif
