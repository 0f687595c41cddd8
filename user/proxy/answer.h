/* SPDX-License-Identifier: BSD-2-Clause */
/* From an upstream's head to the answer's: which fields go on, by nginx's and RFC 9110's rules. */
#ifndef SL_PROXY_ANSWER_H
#define SL_PROXY_ANSWER_H

#include "http/head.h"
#include "proxy/reply.h"
#include "proxy/request.h"

/* Fills r->resp from HEAD, whose slices point into RAW; copies what it keeps. */
void answer_build(struct request *r, struct resp_head *head, struct slice raw);

/* Adds to r->resp.trailers what of TRAILERS (see head_parse_trailers()) may stand there. */
void answer_trailers(struct request *r, struct slice trailers);

/* Hands a 103 with HEAD on to a client that may have it, by `early_hints`. */
void answer_hint(struct request *r, const struct resp_head *head);

#endif
