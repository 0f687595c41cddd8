/* SPDX-License-Identifier: BSD-2-Clause */
/* What is sent to a peer: where to, and the request's head. */
#ifndef SL_PROXY_UPREQ_H
#define SL_PROXY_UPREQ_H

#include "proxy/upstream.h"

/* Chooses r->up's group, scheme and request target from proxy_pass. 0, or the status to answer. */
int upreq_target(struct request *r);
/* Serialises r->up->head, once (all peers get the same), and chooses the TLS name for the peer. */
void upreq_build(struct request *r);

#endif
