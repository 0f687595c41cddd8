/* SPDX-License-Identifier: BSD-2-Clause */
/* The rows of the http module and what their setters store; listeners are put together in
 * http_listen.c. */
#include "proxy/http_conf.h"

#include <errno.h>
#include <unistd.h>

#include "conf/log_conf.h"
#include "core/err.h"
#include "core/num.h"
#include "http/headers.h"
#include "proxy/http_listen.h"
#include "proxy/location.h"
#include "proxy/vars_user.h"

struct http_large_buffers {
	int64_t n, bytes;
};

struct http_keepalive {
	int64_t timeout_ms, header_s;
};

static int set_http(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		    const struct conf_row *row)
{
	c->http = arena_zalloc(&c->arena, sizeof *c->http);
	c->http->block = b;
	c->http->servers_tail = &c->http->servers;
	return 0;
}

static int set_server(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		      const struct conf_row *row)
{
	struct server *s = arena_zalloc(&c->arena, sizeof *s);
	struct http_scope *scope = mod;

	s->block = b;
	s->scope = scope;
	scope->listens_tail = &scope->listens;
	*c->http->servers_tail = s;
	c->http->servers_tail = &s->next;
	return 0;
}

/* "~PATTERN"; without regard to case where it has capitals, since names are lower case. */
static int name_regex(struct conf *c, const struct conf_node *n, struct server_name *name)
{
	struct slice pattern = slice_skip(name->text, 1);
	bool caseless = false;

	if (!pattern.n)
		return conf_error(c, n, "empty regex in server name \"%.*s\"",
				  SLICE_FMT(name->text));
	for (size_t i = 0; i < pattern.n; i++)
		caseless |= pattern.p[i] >= 'A' && pattern.p[i] <= 'Z';
	name->re = vars_user_regex(c, n, pattern, caseless);
	return name->re ? 0 : -SL_EINVAL;
}

static int add_name(struct conf *c, const struct conf_node *n, struct server_name *name)
{
	char host[256] = "";

	if (slice_starts(name->text, SLICE("~")))
		return name_regex(c, n, name);
	if (slice_find(name->text, '/') >= 0)
		conf_warn(c, n, "server name \"%.*s\" has suspicious symbols",
			  SLICE_FMT(name->text));
	if (slice_ieq(name->text, SLICE("$hostname")) && gethostname(host, sizeof host - 1) == 0)
		name->text = arena_dup(&c->arena, slice_cstr(host));
	return 0;
}

static int set_server_name(struct conf *c, struct conf_block *b, void *mod,
			   const struct conf_node *n, const struct conf_row *row)
{
	struct http_scope *s = mod;
	struct server_name *names =
		arena_zalloc(&c->arena, (size_t)(s->n_names + n->n_args) * sizeof *names);

	if (s->n_names)
		memcpy(names, s->names, (size_t)s->n_names * sizeof *names);
	s->names = names;
	for (int i = 0; i < n->n_args; i++) {
		names[s->n_names].text = n->args[i];
		if (add_name(c, n, &names[s->n_names++]))
			return -SL_EINVAL;
	}
	return 0;
}

static int set_large_buffers(struct conf *c, struct conf_block *b, void *mod,
			     const struct conf_node *n, const struct conf_row *row)
{
	struct http_scope *s = mod;
	struct http_large_buffers *l = arena_zalloc(&c->arena, sizeof *l);
	uint64_t count;

	if (s->large)
		return conf_error(c, n, "\"%.*s\" directive is duplicate", SLICE_FMT(n->name));
	if (num_u63(n->args[0], &count) || count == 0 || count > 1024 ||
	    conf_parse_size(n->args[1], &l->bytes) || l->bytes < 256 || l->bytes > 1 << 20)
		return conf_error_hint(c, n, "a number from 1 to 1024, a size from 256 to 1m",
				       "\"%.*s\" directive invalid value", SLICE_FMT(n->name));
	l->n = (int64_t)count;
	s->large = l;
	return 0;
}

static int set_keepalive_timeout(struct conf *c, struct conf_block *b, void *mod,
				 const struct conf_node *n, const struct conf_row *row)
{
	struct http_scope *s = mod;
	struct http_keepalive *k = arena_zalloc(&c->arena, sizeof *k);

	if (s->keepalive)
		return conf_error(c, n, "\"%.*s\" directive is duplicate", SLICE_FMT(n->name));
	if (conf_parse_msec(n->args[0], &k->timeout_ms) ||
	    (n->n_args == 2 && conf_parse_sec(n->args[1], &k->header_s)))
		return conf_error(c, n, "\"%.*s\" directive invalid value", SLICE_FMT(n->name));
	s->keepalive = k;
	return 0;
}

static int set_min_rate(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
			const struct conf_row *row)
{
	struct http_scope *s = mod;
	struct http_min_rate *m = arena_alloc(&c->arena, sizeof *m);
	struct slice after;

	*m = (struct http_min_rate){.after_ms = 10000};
	s->min_rate = m;
	if (conf_parse_size(n->args[0], &m->bytes_s))
		return conf_error(c, n, "invalid rate \"%.*s\"", SLICE_FMT(n->args[0]));
	if (n->n_args < 2)
		return 0;
	if (!conf_param(n->args[1], "after", &after) || conf_parse_msec(after, &m->after_ms) ||
	    m->after_ms < 1000)
		return conf_error_hint(c, n, "after=TIME, at least 1s",
				       "invalid parameter \"%.*s\"", SLICE_FMT(n->args[1]));
	return 0;
}

static int inherit(struct conf *c, struct conf_block *b, void *mod, const void *parent)
{
	const struct http_scope *outer = parent;
	struct http_scope *s = mod;
	const struct log_scope *log = b->mod[MOD_LOG];

	if (b->ctx & CTX_PART) {
		s->loc_path = outer->loc_path;
		s->loc_kind = outer->loc_kind;
	}
	if (!s->large) {
		s->large = arena_alloc(&c->arena, sizeof *s->large);
		*s->large = (struct http_large_buffers){4, 8192};
	}
	if (!s->keepalive) {
		s->keepalive = arena_alloc(&c->arena, sizeof *s->keepalive);
		*s->keepalive = (struct http_keepalive){75000, 0};
	}
	s->large_header_n = s->large->n;
	s->large_header_bytes = s->large->bytes;
	s->keepalive_timeout_ms = s->keepalive->timeout_ms;
	s->keepalive_header_s = s->keepalive->header_s;
	s->error_log = log ? log->log : NULL;
	return 0;
}

static int finish(struct conf *c, struct conf_block *b, void *mod)
{
	if (b->ctx == CTX_HTTP)
		return http_listen_build(c);
	return location_build(c, b);
}

struct conf_block *http_conf_named(const struct server *srv, struct slice name)
{
	return location_named(srv, name);
}

static const struct conf_value keepalive_disable_words[] = {{"none", HTTP_KEEPALIVE_NONE},
							    {"msie6", HTTP_KEEPALIVE_MSIE6},
							    {"safari", HTTP_KEEPALIVE_SAFARI},
							    {NULL, 0}};
static const struct conf_value lingering_close_words[] = {{"off", HTTP_LINGERING_OFF},
							  {"on", HTTP_LINGERING_ON},
							  {"always", HTTP_LINGERING_ALWAYS},
							  {NULL, 0}};

#define AT(field) offsetof(struct http_scope, field)
#define TYPED(dname, ctx, t, field, dflt, text) \
	{ \
		.name = dname, .contexts = ctx, .args_min = 1, .args_max = 1, .type = t, \
		.offset = AT(field), .deflt = dflt, .help = text \
	}

static const struct conf_row rows[] = {
	{.name = "http",
	 .contexts = CTX_MAIN,
	 .type = CONF_BLOCK,
	 .block_ctx = CTX_HTTP,
	 .set = set_http,
	 .help = "everything about HTTP"},
	{.name = "server",
	 .contexts = CTX_HTTP,
	 .type = CONF_BLOCK,
	 .block_ctx = CTX_SERVER,
	 .flags = CONF_MULTI,
	 .set = set_server,
	 .help = "a virtual server"},
	{.name = "location",
	 .contexts = CTX_SERVER | CTX_LOCATION,
	 .args_min = 1,
	 .args_max = 2,
	 .type = CONF_BLOCK,
	 .block_ctx = CTX_LOCATION,
	 .flags = CONF_MULTI,
	 .set = location_set,
	 .help = "[= | ^~] PATH | ~ PATTERN | ~* PATTERN | @NAME -- what holds for paths that begin with (=: are) "
		 "PATH, or match (~*: in any case); an @NAME is entered by error_page, try_files and the like"},
	{.name = "listen",
	 .contexts = CTX_SERVER,
	 .args_min = 1,
	 .args_max = -1,
	 .type = CONF_CUSTOM,
	 .flags = CONF_MULTI,
	 .set = http_listen_set,
	 .help = "ADDRESS[:PORT] | PORT | unix:PATH [ssl] [http2] [proxy_protocol] [default_server] [bind] [backlog=N] "
		 "[rcvbuf=SIZE] [sndbuf=SIZE] [deferred] [ipv6only=on|off] [fastopen=N] [so_keepalive=on|off|IDLE:INTERVAL:COUNT] "
		 "[reuseport [steer=load]] -- where the server accepts connections; PORT may be a range, FIRST-LAST; reuseport: by a socket for each "
		 "worker, steer=load: each new connection goes to the less busy of two workers"},
	{.name = "server_name",
	 .contexts = CTX_SERVER,
	 .args_min = 1,
	 .args_max = -1,
	 .type = CONF_CUSTOM,
	 .flags = CONF_MULTI,
	 .set = set_server_name,
	 .help = "NAME ... -- exact names, *.wildcards, .both, wild.cards.*, ~regular expressions"},
	TYPED("client_max_body_size", CTX_SCOPE, CONF_SIZE, client_max_body_bytes, "1m",
	      "larger request bodies get 413; 0: no limit"),
	TYPED("client_body_buffer_size", CTX_SCOPE, CONF_SIZE, client_body_buffer_bytes, "16k",
	      "request bodies up to this size stay in memory, larger ones go to a file"),
	{.name = "client_header_buffer_size",
	 .contexts = CTX_HTTP | CTX_SERVER,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_SIZE,
	 .offset = AT(client_header_buffer_bytes),
	 .min = 64,
	 .max = 1 << 20,
	 .deflt = "1k",
	 .help = "a request head may have this much besides large_client_header_buffers"},
	{.name = "large_client_header_buffers",
	 .contexts = CTX_HTTP | CTX_SERVER,
	 .args_min = 2,
	 .args_max = 2,
	 .type = CONF_CUSTOM,
	 .offset = AT(large),
	 .flags = CONF_INHERIT,
	 .set = set_large_buffers,
	 .help = "NUMBER SIZE -- limits of a request head: SIZE a line (414, 400), NUMBER * SIZE in all"},
	TYPED("client_header_timeout", CTX_HTTP | CTX_SERVER, CONF_MSEC, client_header_timeout_ms,
	      "60s", "a TLS handshake, and a request head, must be complete within this time"),
	TYPED("client_body_timeout", CTX_SCOPE, CONF_MSEC, client_body_timeout_ms, "60s",
	      "the longest pause between two reads of a request body"),
	TYPED("send_timeout", CTX_SCOPE, CONF_MSEC, send_timeout_ms, "60s",
	      "the longest pause between two writes to a client"),
	{.name = "keepalive_timeout",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 2,
	 .type = CONF_CUSTOM,
	 .offset = AT(keepalive),
	 .flags = CONF_INHERIT,
	 .set = set_keepalive_timeout,
	 .help = "TIME [TIME] -- how long an idle client connection stays; the second goes into "
		 "\"Keep-Alive: timeout=\""},
	TYPED("keepalive_requests", CTX_SCOPE, CONF_NUM, keepalive_requests, "1000",
	      "requests on one client connection"),
	TYPED("keepalive_time", CTX_SCOPE, CONF_MSEC, keepalive_time_ms, "1h",
	      "how long a client connection may be used in all"),
	TYPED("lingering_time", CTX_SCOPE, CONF_MSEC, lingering_time_ms, "30s",
	      "how long a body that nobody wants is read and dropped, at most"),
	TYPED("lingering_timeout", CTX_SCOPE, CONF_MSEC, lingering_timeout_ms, "5s",
	      "how long is waited for more of such a body"),
	{.name = "client_min_rate",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 2,
	 .type = CONF_CUSTOM,
	 .offset = AT(min_rate),
	 .flags = CONF_INHERIT,
	 .set = set_min_rate,
	 .help = "RATE [after=TIME] -- a client that moves less than RATE bytes a second over TIME (10s), while a "
		 "request or the reading of an answer is awaited from it, loses its connection; 0: no minimum"},
	TYPED("merge_slashes", CTX_HTTP | CTX_SERVER, CONF_FLAG, merge_slashes, "on",
	      "several slashes in a path count as one"),
	TYPED("underscores_in_headers", CTX_HTTP | CTX_SERVER, CONF_FLAG, underscores_in_headers,
	      "off", "pass on request fields with an underscore in their name"),
	TYPED("ignore_invalid_headers", CTX_HTTP | CTX_SERVER, CONF_FLAG, ignore_invalid_headers,
	      "on", "off: pass on request fields whatever their name is made of"),
	{.name = "keepalive_disable",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = -1,
	 .type = CONF_BITS,
	 .offset = AT(keepalive_disable),
	 .values = keepalive_disable_words,
	 .deflt = "msie6",
	 .help = "old browsers whose connections are closed after an answer (msie6: after a POST)"},
	{.name = "lingering_close",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_ENUM,
	 .offset = AT(lingering_close),
	 .values = lingering_close_words,
	 .deflt = "on",
	 .help = "off: what a client still sends when its connection is closed is not read, so that it may lose "
		 "the answer; always: it is waited for even when nothing is due"},
	TYPED("reset_timedout_connection", CTX_SCOPE, CONF_FLAG, reset_timedout, "off",
	      "a request that timed out, and one closed by 444, ends its connection by a reset"),
	TYPED("chunked_transfer_encoding", CTX_SCOPE, CONF_FLAG, chunked, "on",
	      "off: an answer of unknown length ends with its connection"),
	TYPED("absolute_redirect", CTX_SCOPE, CONF_FLAG, absolute_redirect, "on",
	      "redirects to a path name scheme and host too"),
	TYPED("port_in_redirect", CTX_SCOPE, CONF_FLAG, port_in_redirect, "on",
	      "absolute redirects name the port"),
	TYPED("server_name_in_redirect", CTX_SCOPE, CONF_FLAG, server_name_in_redirect, "off",
	      "absolute redirects name the first server_name, not the request's host"),
};

const struct conf_module http_module = {
	.name = "http",
	.rows = rows,
	.n_rows = sizeof rows / sizeof rows[0],
	.contexts = CTX_SCOPE,
	.bytes = sizeof(struct http_scope),
	.inherit = inherit,
	.finish = finish,
};
