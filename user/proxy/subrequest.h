/* SPDX-License-Identifier: BSD-2-Clause */
/* A request of sluice itself on behalf of another (auth_request): a GET without a body, whose answer nobody
 * sees but its status and head. Ends with its parent. */
#ifndef SL_PROXY_SUBREQUEST_H
#define SL_PROXY_SUBREQUEST_H

#include "proxy/pipeline.h"

struct subrequest;

/* What does PATH say of R? STEP_WAIT until it has answered; then STEP_NEXT, *status (0: it has none), and a
 * 401's challenges in R's struct flow. Once for each path that R is served for. */
enum step_result subrequest_ask(struct request *r, struct slice path, unsigned *status);
/* Ends those of R that are under way, and frees what is left of all. */
void subrequest_fini(struct request *r);

#endif
