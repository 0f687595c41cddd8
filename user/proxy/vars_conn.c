/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the variables of the connection that a request came by. */
#include "proxy/vars_impl.h"

/* As in nginx: empty, but there, over HTTP/1. */
VARS_GETTER(get_http2)
{
	const struct request *r = request;

	*out = !r->head.http2 ? SLICE("") : r->client->tls ? SLICE("h2") : SLICE("h2c");
	return true;
}

enum { PROXIED_SERVER = 1 };

/* Of the PROXY header: the client's address, or (DATA) the one that it connected to. */
static const struct addr *proxied(const struct request *r, const void *data)
{
	const struct proxy_intro *h = r->client->proxied;

	if (!h)
		return NULL;
	return (uintptr_t)data == PROXIED_SERVER ? &h->dst : &h->src;
}

VARS_GETTER(get_proxied_addr)
{
	const struct addr *from = proxied(request, data);
	char *at;

	if (!from)
		return false;
	at = arena_bytes(a, ADDR_TEXT_MAX);
	*out = slice_make(at, addr_ip_text(from, at));
	return true;
}

VARS_GETTER(get_proxied_port)
{
	const struct addr *from = proxied(request, data);

	return from && vars_number(a, addr_port(from), out);
}

#define SERVER_ROW(var, fn) \
	{ \
		.name = var, .get = fn, .data = (void *)PROXIED_SERVER \
	}
#define ROW(var, fn) \
	{ \
		.name = var, .get = fn \
	}

const struct var_def vars_conn[] = {
	ROW("http2", get_http2),
	ROW("proxy_protocol_addr", get_proxied_addr),
	ROW("proxy_protocol_port", get_proxied_port),
	SERVER_ROW("proxy_protocol_server_addr", get_proxied_addr),
	SERVER_ROW("proxy_protocol_server_port", get_proxied_port),
	{0},
};
