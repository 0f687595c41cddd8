/* SPDX-License-Identifier: BSD-2-Clause */
/* Client connections that speak HTTP/1: reading heads and bodies, writing answers, keep-alive, lingering
 * close, TLS handshake in front. */
#ifndef SL_PROXY_H1_H
#define SL_PROXY_H1_H

#include "net/addr.h"
#include "proxy/env.h"

struct listener;
struct h1;

/* Takes FD, which came in on L. Never fails for the caller: what cannot be served is closed. */
void h1_start(struct env *env, const struct listener *l, int fd, const struct addr *peer);
/* Closes idle connections (quit), tells the others to end after their answer. */
void h1_drain(struct env *env, bool close_idle);
/* Closes the client connection that has been idle for longest, to make room; false: none is idle. */
bool h1_close_idlest(struct env *env);
/* Resets all connections from that address; how many there were. */
unsigned h1_reset_address(struct env *env, uint8_t family, const uint8_t *bytes);
/* Ends all connections at once (TERM). */
void h1_close_all(struct env *env);

#endif
