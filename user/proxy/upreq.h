/* SPDX-License-Identifier: BSD-2-Clause */
/* What is sent to a peer: where to, and the request's head. */
#ifndef SL_PROXY_UPREQ_H
#define SL_PROXY_UPREQ_H

#include "proxy/upstream.h"

/* Chooses r->up's group, scheme and request target from proxy_pass. 0, or the status to answer. */
int upreq_target(struct request *r);
/* Serialises r->up->head, once (all peers get the same), and chooses the TLS name for the peer. */
void upreq_build(struct request *r);
/* The names that a certificate may have where no proxy_ssl_name stands, into ALSO: OWN (the server line's
 * host), the Host that SET (may be NULL) writes, and nginx's default, proxy_pass's HOST_TEXT; without
 * ports, n 0: none. Returns the first that is a name, to be told by SNI. */
struct slice upreq_tls_names(const struct proxy_headers *set, struct slice own,
			     struct slice host_text, struct slice also[3]);

#endif
