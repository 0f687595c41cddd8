/* SPDX-License-Identifier: BSD-2-Clause */
/* client_min_rate: connections of clients that drip their requests, or their reading, are freed. */
#ifndef SL_PROXY_SLOW_H
#define SL_PROXY_SLOW_H

struct env;

/* Starts to look at the worker's connections, when any part of the configuration asks for it. */
void slow_start(struct env *env);
void slow_stop(struct env *env);

#endif
