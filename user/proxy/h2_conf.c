/* SPDX-License-Identifier: BSD-2-Clause */
/* The rows of the http2* directives. */
#include "proxy/h2_conf.h"

#include "core/err.h"

/* What nginx once had: as there, it warns and goes on without. */
static const struct {
	const char *name, *instead;
} obsolete[] = {
	{"http2_idle_timeout", "keepalive_timeout"},
	{"http2_recv_timeout", "client_header_timeout"},
	{"http2_max_requests", "keepalive_requests"},
	{"http2_max_field_size", "large_client_header_buffers"},
	{"http2_max_header_size", "large_client_header_buffers"},
};

static int set_obsolete(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
			const struct conf_row *row)
{
	for (size_t i = 0; i < sizeof obsolete / sizeof obsolete[0]; i++)
		if (slice_eq(n->name, slice_cstr(obsolete[i].name)))
			return conf_warn(
				c, n,
				"the \"%s\" directive is obsolete, use the \"%s\" directive instead",
				obsolete[i].name, obsolete[i].instead);
	return conf_warn(c, n, "the \"%s\" directive is obsolete, ignored", row->name);
}

#define AT(field) offsetof(struct h2_scope, field)
#define OBSOLETE(dname, ctx) \
	{ \
		.name = dname, .contexts = ctx, .args_min = 1, .args_max = 1, .type = CONF_CUSTOM, \
		.flags = CONF_MULTI, .set = set_obsolete, \
		.help = "obsolete in nginx too: a warning says what counts instead" \
	}

static const struct conf_row rows[] = {
	{.name = "http2",
	 .contexts = CTX_HTTP | CTX_SERVER,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_FLAG,
	 .offset = AT(on),
	 .deflt = "off",
	 .help = "HTTP/2 for this server: offered in the TLS handshake, known by its preface on plain "
		 "ports (the address's default server decides there)"},
	{.name = "http2_max_concurrent_streams",
	 .contexts = CTX_HTTP | CTX_SERVER,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_NUM,
	 .offset = AT(max_streams),
	 .min = 1,
	 .max = 65535,
	 .deflt = "128",
	 .help = "requests at once on one HTTP/2 connection"},
	{.name = "http2_body_preread_size",
	 .contexts = CTX_HTTP | CTX_SERVER,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_SIZE,
	 .offset = AT(preread_bytes),
	 .max = 1 << 24,
	 .deflt = "64k",
	 .help = "how much of each request body a client may send before it is wanted"},
	{.name = "http2_recv_buffer_size",
	 .contexts = CTX_HTTP,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_SIZE,
	 .offset = AT(recv_bytes),
	 .min = 16384,
	 .max = 1 << 26,
	 .deflt = "256k",
	 .help = "read from one connection before others have their turn"},
	{.name = "http2_chunk_size",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_SIZE,
	 .offset = AT(chunk_bytes),
	 .min = 1,
	 .max = 1 << 24,
	 .deflt = "16k",
	 .help = "largest DATA frame of an answer (16k is HTTP/2's own limit)"},
	OBSOLETE("http2_idle_timeout", CTX_HTTP | CTX_SERVER),
	OBSOLETE("http2_recv_timeout", CTX_HTTP | CTX_SERVER),
	OBSOLETE("http2_max_requests", CTX_HTTP | CTX_SERVER),
	OBSOLETE("http2_max_field_size", CTX_HTTP | CTX_SERVER),
	OBSOLETE("http2_max_header_size", CTX_HTTP | CTX_SERVER),
	OBSOLETE("http2_max_concurrent_pushes", CTX_HTTP | CTX_SERVER),
	OBSOLETE("http2_push", CTX_SCOPE),
	OBSOLETE("http2_push_preload", CTX_SCOPE),
};

const struct conf_module h2_module = {
	.name = "http2",
	.rows = rows,
	.n_rows = sizeof rows / sizeof rows[0],
	.contexts = CTX_SCOPE,
	.bytes = sizeof(struct h2_scope),
};
