/* SPDX-License-Identifier: BSD-2-Clause */
/* The rows of the proxy module, and what finish() makes of them: groups, hidden names, TLS settings. */
#include "proxy/proxy_conf.h"

#include <stdio.h>

#include "core/err.h"
#include "core/num.h"
#include "net/addr.h"
#include "policy/upstream_conf.h"
#include "proxy/http_conf.h"

/* "host[:port]" of a proxy_pass. */
static int parse_host(struct conf *c, const struct conf_node *n, struct proxy_pass *p)
{
	struct addr_parts parts;
	const char *wrong = addr_split(p->host_text, &parts);

	if (wrong)
		return conf_error(c, n, "%s in upstream \"%.*s\"", wrong, SLICE_FMT(p->host_text));
	p->host = parts.host;
	p->port = parts.port;
	p->has_port = parts.port != 0;
	/* $proxy_host leaves the scheme's own port out. */
	if (p->port == (p->https ? 443 : 80))
		p->host_text = p->host;
	return 0;
}

static int set_pass(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		    const struct conf_row *row)
{
	struct proxy_scope *s = mod;
	struct proxy_pass *p = arena_zalloc(&c->arena, sizeof *p);
	const struct http_scope *http = b->mod[MOD_HTTP];
	struct slice url = n->args[0], rest;
	size_t end;

	if (s->pass)
		return conf_error(c, n, "\"proxy_pass\" directive is duplicate");
	s->pass = p;
	p->node = n;
	if (slice_find(url, '$') >= 0)
		return conf_tmpl(c, n, url, &p->url);
	if (slice_istarts(url, SLICE("https://")))
		p->https = true;
	else if (!slice_istarts(url, SLICE("http://")))
		return conf_error_hint(c, n, "http://... or https://...", "invalid URL prefix");
	rest = slice_skip(url, p->https ? 8 : 7);
	if (slice_starts(rest, SLICE("unix:"))) {
		ptrdiff_t colon = slice_find(slice_skip(rest, 5), ':');

		end = colon < 0 ? rest.n : (size_t)colon + 5;
		p->host_text = p->host = slice_make(rest.p, end);
		p->uri = slice_skip(rest, colon < 0 ? end : end + 1);
	} else {
		for (end = 0; end < rest.n && rest.p[end] != '/' && rest.p[end] != '?'; end++)
			;
		p->host_text = slice_make(rest.p, end);
		p->uri = slice_skip(rest, end);
	}
	p->has_uri = p->uri.n > 0;
	if (p->has_uri && (b->ctx & CTX_PART || http->loc_kind >= ROUTE_REGEX))
		return conf_error(
			c, n,
			"\"proxy_pass\" cannot have URI part in location given by regular "
			"expression, or inside named location, or inside \"if\" statement, or "
			"inside \"limit_except\" block");
	if (p->has_uri && p->uri.p[0] == '?')
		p->uri = arena_printf(&c->arena, "/%.*s", SLICE_FMT(p->uri));
	return parse_host(c, n, p);
}

static int set_header(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		      const struct conf_row *row)
{
	struct proxy_scope *s = mod;
	struct proxy_headers *h = s->set_headers;
	struct proxy_header *v;
	struct slice name = n->args[0];

	for (size_t i = 0; i < name.n; i++)
		if ((unsigned char)name.p[i] <= ' ' || strchr("()<>@,;:\\\"/[]?={}\x7f", name.p[i]))
			return conf_error(c, n, "invalid header name \"%.*s\"", SLICE_FMT(name));
	if (!h)
		h = s->set_headers = arena_zalloc(&c->arena, sizeof *h);
	v = arena_alloc(&c->arena, (size_t)(h->n + 1) * sizeof *v);
	if (h->n)
		memcpy(v, h->v, (size_t)h->n * sizeof *v);
	v[h->n] = (struct proxy_header){.name = name, .id = hdr_id_of(name, hdr_hash(name))};
	h->sets[v[h->n].id] |= v[h->n].id != HDR_OTHER;
	h->v = v;
	return conf_tmpl(c, n, n->args[1], &v[h->n++].value);
}

/* proxy_hide_header and proxy_pass_header. */
static int set_name(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		    const struct conf_row *row)
{
	struct proxy_names **at = (void *)((char *)mod + row->offset), *names = *at;
	struct slice *v;

	if (!names)
		names = *at = arena_zalloc(&c->arena, sizeof *names);
	v = arena_alloc(&c->arena, (size_t)(names->n + 1) * sizeof *v);
	if (names->n)
		memcpy(v, names->v, (size_t)names->n * sizeof *v);
	v[names->n++] = n->args[0];
	names->v = v;
	return 0;
}

/* Files that do cache elsewhere say so where they do not. */
static int set_cache(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		     const struct conf_row *row)
{
	if (slice_eq(n->args[0], SLICE("off")))
		return 0;
	return conf_error_hint(c, n, "only \"off\" is taken",
			       "this version of sluice does not cache answers");
}

static void hide(uint8_t table[HDR_N], struct slice name, uint8_t value)
{
	enum hdr_id id = hdr_id_of(name, hdr_hash(name));

	if (id != HDR_OTHER)
		table[id] = value;
}

static int inherit(struct conf *c, struct conf_block *b, void *mod, const void *parent)
{
	const struct proxy_scope *outer = parent;
	struct proxy_scope *s = mod;
	static const enum hdr_id hidden[] = {
		HDR_DATE,
		HDR_SERVER,
		HDR_X_PAD,
		HDR_X_ACCEL_EXPIRES,
		HDR_X_ACCEL_REDIRECT,
		HDR_X_ACCEL_LIMIT_RATE,
		HDR_X_ACCEL_BUFFERING,
		HDR_X_ACCEL_CHARSET,
	};

	if ((b->ctx & CTX_PART) && !s->pass)
		s->pass = outer->pass;
	for (size_t i = 0; i < sizeof hidden / sizeof hidden[0]; i++)
		s->hide[hidden[i]] = 1;
	for (int i = 0; s->hide_headers && i < s->hide_headers->n; i++)
		hide(s->hide, s->hide_headers->v[i], 1);
	for (int i = 0; s->pass_headers && i < s->pass_headers->n; i++)
		hide(s->hide, s->pass_headers->v[i], 0);
	return 0;
}

static int finish(struct conf *c, struct conf_block *b, void *mod)
{
	struct proxy_scope *s = mod;
	struct proxy_pass *p = s->pass;

	if (!p)
		return 0;
	if (p->url) {
		struct slice host = slice_skip(
			p->url->source, slice_istarts(p->url->source, SLICE("https")) ? 8 : 7);

		/* A literal group name in front of the first variable is used by this scheme. */
		for (size_t i = 0; i < host.n; i++)
			if (host.p[i] == '/' || host.p[i] == '$')
				host.n = i;
		if (!upstream_conf_find(c, host))
			return 0;
		return upstream_conf_use(c, p->node, upstream_conf_find(c, host),
					 slice_istarts(p->url->source, SLICE("https")) ? 443 : 80);
	}
	p->group =
		upstream_conf_get(c, p->node, p->host, p->port, p->has_port, p->https ? 443 : 80);
	return p->group ? 0 : -SL_EINVAL;
}

static const struct conf_value http_versions[] = {{"1.0", 10}, {"1.1", 11}, {NULL, 0}};
static const struct conf_value llm_values[] = {
	{"off", LLM_OFF}, {"on", LLM_ON}, {"auto", LLM_AUTO}, {NULL, 0}};
static const struct conf_value next_values[] = {{"error", NEXT_ERROR},
						{"timeout", NEXT_TIMEOUT},
						{"invalid_header", NEXT_INVALID_HEADER},
						{"http_500", NEXT_HTTP_500},
						{"http_502", NEXT_HTTP_502},
						{"http_503", NEXT_HTTP_503},
						{"http_504", NEXT_HTTP_504},
						{"http_403", NEXT_HTTP_403},
						{"http_404", NEXT_HTTP_404},
						{"http_429", NEXT_HTTP_429},
						{"non_idempotent", NEXT_NON_IDEMPOTENT},
						{"off", NEXT_OFF},
						{NULL, 0}};
#define AT(field) offsetof(struct proxy_scope, field)
#define TYPED(dname, t, field, dflt, text) \
	{ \
		.name = dname, .contexts = CTX_SCOPE, .args_min = 1, .args_max = 1, .type = t, \
		.offset = AT(field), .deflt = dflt, .help = text \
	}

static const struct conf_row rows[] = {
	{.name = "proxy_cache",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_CUSTOM,
	 .set = set_cache,
	 .help = "off -- answers are not cached; there is nothing else yet"},
	{.name = "proxy_pass",
	 .contexts = CTX_LOCATION | CTX_PART,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_CUSTOM,
	 .set = set_pass,
	 .help = "http[s]://GROUP|HOST[:PORT][/URI] -- where requests go; a URI takes the place of the "
		 "location's path; variables are allowed"},
	TYPED("proxy_connect_timeout", CONF_MSEC, connect_timeout_ms, "60s",
	      "until the connection, and its TLS handshake, stand"),
	TYPED("proxy_send_timeout", CONF_MSEC, send_timeout_ms, "60s",
	      "the longest pause between two writes to the upstream"),
	TYPED("proxy_read_timeout", CONF_MSEC, read_timeout_ms, "60s",
	      "the longest pause between two reads from the upstream"),
	{.name = "proxy_http_version",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_ENUM,
	 .offset = AT(http_version),
	 .values = http_versions,
	 .deflt = "1.1",
	 .help = "version spoken to the upstream"},
	{.name = "proxy_set_header",
	 .contexts = CTX_SCOPE,
	 .args_min = 2,
	 .args_max = 2,
	 .type = CONF_CUSTOM,
	 .offset = AT(set_headers),
	 .flags = CONF_MULTI | CONF_INHERIT,
	 .set = set_header,
	 .help = "NAME VALUE -- sets a request field; an empty value removes it"},
	TYPED("proxy_pass_request_headers", CONF_FLAG, pass_request_headers, "on",
	      "the client's fields go to the upstream"),
	TYPED("proxy_pass_request_body", CONF_FLAG, pass_request_body, "on",
	      "the client's body goes to the upstream"),
	{.name = "proxy_hide_header",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_CUSTOM,
	 .offset = AT(hide_headers),
	 .flags = CONF_MULTI | CONF_INHERIT,
	 .set = set_name,
	 .help = "NAME -- a field of the answer that clients do not get"},
	{.name = "proxy_pass_header",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_CUSTOM,
	 .offset = AT(pass_headers),
	 .flags = CONF_MULTI | CONF_INHERIT,
	 .set = set_name,
	 .help = "NAME -- a field that clients get although it is hidden by default"},
	{.name = "proxy_next_upstream",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = -1,
	 .type = CONF_BITS,
	 .offset = AT(next_upstream),
	 .values = next_values,
	 .flags = CONF_MULTI,
	 .deflt = "error timeout",
	 .help = "when another server is asked"},
	TYPED("proxy_next_upstream_tries", CONF_NUM, next_tries, "0",
	      "servers asked for one request, at most; 0: all"),
	TYPED("proxy_next_upstream_timeout", CONF_MSEC, next_timeout_ms, "0",
	      "no further server is asked after this time; 0: no limit"),
	{.name = "llm",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_ENUM,
	 .offset = AT(llm),
	 .values = llm_values,
	 .deflt = "auto",
	 .help = "a POST may be asked again of another server before its answer began; auto: when its "
		 "path is that of an LLM API"},
};

const struct conf_module proxy_module = {
	.name = "proxy",
	.rows = rows,
	.n_rows = sizeof rows / sizeof rows[0],
	.contexts = CTX_SCOPE,
	.bytes = sizeof(struct proxy_scope),
	.inherit = inherit,
	.finish = finish,
};
