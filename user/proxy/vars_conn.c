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

#define ROW(var, fn) \
	{ \
		.name = var, .get = fn \
	}

const struct var_def vars_conn[] = {
	ROW("http2", get_http2),
	{0},
};
