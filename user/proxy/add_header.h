/* SPDX-License-Identifier: BSD-2-Clause */
/* Fields and trailers that a configuration adds to answers. */
#ifndef SL_PROXY_ADD_HEADER_H
#define SL_PROXY_ADD_HEADER_H

#include <stdbool.h>

struct request;

/* The statuses whose answers get fields without `always`. */
bool add_header_is_usual(unsigned status);
/* Steps of out.c. */
void add_header_step(struct request *r);
void add_header_trailers_step(struct request *r);

#endif
