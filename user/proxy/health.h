/* SPDX-License-Identifier: BSD-2-Clause */
/* Health checks of upstream servers, run by the one worker that also resolves their names; what they find
 * is in the groups, for all. */
#ifndef SL_PROXY_HEALTH_H
#define SL_PROXY_HEALTH_H

#include "proxy/env.h"

/* Only in that worker. Groups without checks are told so. */
void health_setup(struct env *env);
/* Ends all checks: the worker that replaces this one has begun, or this one ends. Safe without setup, and
 * twice. */
void health_stop(struct env *env);

#endif
