/* SPDX-License-Identifier: BSD-2-Clause */
/* `listen`, and how all of them become listeners. Part of the http module. */
#ifndef SL_PROXY_HTTP_LISTEN_H
#define SL_PROXY_HTTP_LISTEN_H

#include "proxy/http_conf.h"

int http_listen_set(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		    const struct conf_row *row);
/* All servers' addresses, names and TLS contexts as c->http->listeners. */
int http_listen_build(struct conf *c);
/* Does HTTP/2 hold for what SRV is asked on this address? */
bool http_listen_has_h2(const struct listener *l, const struct server *srv);
/* Does the location have a proxy_pass? */
bool http_listen_is_proxied(const struct conf_block *location);

#endif
