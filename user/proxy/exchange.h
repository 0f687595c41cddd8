/* SPDX-License-Identifier: BSD-2-Clause */
/* One try at one peer: connect, handshake, send, read the head, pass the body on. Reports to upstream.c,
 * which decides about retries; knows nothing of groups. */
#ifndef SL_PROXY_EXCHANGE_H
#define SL_PROXY_EXCHANGE_H

#include "proxy/pool.h"
#include "proxy/upstream.h"

/* Starts a try at ADDR for r->up, on a pooled connection unless FRESH. What goes wrong at once is
 * reported as if it came later: upstream_failed() may be called before this returns. */
void exchange_start(struct request *r, const struct addr *addr, bool fresh);
/* Ends it without a call back; the connection is closed. */
void exchange_cancel(struct exchange *x);
/* The client took some: read on. */
void exchange_resume(struct exchange *x);
/* More of the request's body is there to be sent. */
void exchange_body_came(struct exchange *x);
/* Did any byte of the request leave? */
bool exchange_sent_any(const struct exchange *x);

#endif
