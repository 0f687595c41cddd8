/* SPDX-License-Identifier: BSD-2-Clause */
/* Fetches the OCSP answers that are stapled to handshakes, in the background, by non-blocking I/O: at once
 * where there is none, then before each is out of date; after a failure again, ever more rarely. One
 * worker does so for all, who find the answers in shared memory. */
#ifndef SL_PROXY_OCSP_H
#define SL_PROXY_OCSP_H

#include "proxy/env.h"

/* FETCHES: this worker does so. After names_setup(). 0 or -SL_ENOMEM. */
int ocsp_setup(struct env *env, bool fetches);
/* Also when the worker drains: its successor fetches. Before names_fini(); safe to repeat. */
void ocsp_fini(struct env *env);

#endif
