/* SPDX-License-Identifier: BSD-2-Clause */
/* Builds the request for a peer. What a client sent goes on only in forms that the parser accepted;
 * lengths and framing are always our own. */
#include "proxy/upreq.h"

#include <stdio.h>

#include "core/err.h"
#include "core/num.h"
#include "http/chars.h"
#include "net/addr.h"
#include "proxy/names.h"
#include "proxy/proxy_tls.h"

/* nginx's $proxy_add_... and friends come in by variables; a decoded %0d%0a must not become a new field. */
static struct slice one_line(struct arena *a, struct slice s)
{
	char *p;

	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] != '\r' && s.p[i] != '\n' && s.p[i] != 0)
			continue;
		p = arena_cstr(a, s);
		for (size_t k = i; k < s.n; k++)
			if (p[k] == '\r' || p[k] == '\n' || p[k] == 0)
				p[k] = ' ';
		return slice_make(p, s.n);
	}
	return s;
}

/* What a request target has to have escaped: nobody may take it for the end of something. */
static bool breaks_target(unsigned char c)
{
	return c <= ' ' || c == 0x7f || c == '#' || c == '\\';
}

/* The same for a request target: what may not stand there is percent-encoded. */
static struct slice safe_target(struct arena *a, struct slice s)
{
	static const char hex[] = "0123456789ABCDEF";
	char *out, *o;
	size_t bad = 0;

	for (size_t i = 0; i < s.n; i++)
		bad += breaks_target((unsigned char)s.p[i]);
	if (!bad)
		return s;
	out = o = arena_bytes(a, s.n + 2 * bad);
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (!breaks_target(c)) {
			*o++ = (char)c;
			continue;
		}
		*o++ = '%';
		*o++ = hex[c >> 4];
		*o++ = hex[c & 15];
	}
	return slice_make(out, (size_t)(o - out));
}

/* proxy_pass's URI in place of what the location matched, the rest escaped again. */
static struct slice replaced_target(struct request *r, struct slice uri)
{
	struct slice rest = slice_skip(r->uri.path, r->scope->loc_path.n);

	rest = uri_escape_path(rest, &r->arena);
	if (!r->uri.args.n)
		return arena_printf(&r->arena, "%.*s%.*s", SLICE_FMT(uri), SLICE_FMT(rest));
	return safe_target(&r->arena, arena_printf(&r->arena, "%.*s%.*s?%.*s", SLICE_FMT(uri),
						   SLICE_FMT(rest), SLICE_FMT(r->uri.args)));
}

/* What the client asked for, as it wrote it; after an internal redirect or a rewrite where that led to. */
static struct slice whole_target(struct request *r)
{
	struct slice path;

	if (!r->uri_changed)
		return r->head.path;
	path = uri_escape_path(r->uri.path, &r->arena);
	/* A `rewrite` may have made anything of it. */
	if (!slice_starts(path, SLICE("/")))
		path = arena_printf(&r->arena, "/%.*s", SLICE_FMT(path));
	if (!r->uri.args.n)
		return path;
	return safe_target(&r->arena, arena_printf(&r->arena, "%.*s?%.*s", SLICE_FMT(path),
						   SLICE_FMT(r->uri.args)));
}

/* proxy_pass with variables: the text is known only now. */
static int dynamic_target(struct request *r)
{
	struct upstream *u = r->up;
	struct slice url = tmpl_eval(u->conf->pass->url, r, &r->arena), rest, uri = {0};
	struct addr_parts parts;
	ptrdiff_t slash;

	if (slice_istarts(url, SLICE("https://")))
		u->https = true;
	else if (!slice_istarts(url, SLICE("http://")))
		return 500;
	else
		u->https = false;
	rest = slice_skip(url, u->https ? 8 : 7);
	for (slash = 0; slash < (ptrdiff_t)rest.n && !strchr("/?", rest.p[slash]); slash++)
		;
	uri = slice_skip(rest, (size_t)slash);
	u->host_text = slice_make(rest.p, (size_t)slash);
	if (addr_split(u->host_text, &parts))
		return 500;
	if (uri.n && uri.p[0] == '?')
		uri = arena_printf(&r->arena, "/%.*s", SLICE_FMT(uri));
	u->target = safe_target(&r->arena, uri.n ? uri : whole_target(r));
	u->group_conf = upstream_conf_find(r->env->conf, parts.host);
	u->group = u->group_conf ? u->group_conf->group
				 : names_group(r->env, r->block, parts.host,
					       parts.port ? parts.port
					       : u->https ? 443
							  : 80);
	return u->group ? 0 : 502;
}

/* proxy_method, or the client's. False: it is no method. */
static bool choose_method(struct request *r)
{
	struct upstream *u = r->up;
	struct slice m = r->head.method_text;

	if (u->fields_conf->method)
		m = tmpl_eval(u->fields_conf->method, r, &r->arena);
	for (size_t i = 0; i < m.n; i++)
		if (!chars_is(m.p[i], CHARS_TOKEN))
			return false;
	u->method = m;
	u->is_head = slice_eq(m, SLICE("HEAD"));
	u->sends_body = u->conf->pass_request_body && !u->fields_conf->body;
	return m.n > 0;
}

int upreq_target(struct request *r)
{
	struct upstream *u = r->up;
	const struct proxy_pass *pass = u->conf->pass;

	if (!choose_method(r))
		return 500;

	if (pass->url)
		return dynamic_target(r);
	u->host_text = pass->host_text;
	u->group_conf = pass->group;
	u->group = pass->group->group;
	u->target =
		pass->has_uri && !r->whole_uri ? replaced_target(r, pass->uri) : whole_target(r);
	return 0;
}

struct out {
	char *p;
	size_t n, room;
	struct arena *a;
};

static void put(struct out *o, struct slice s)
{
	if (o->n + s.n > o->room) {
		size_t room = 2 * (o->n + s.n);
		char *p = arena_bytes(o->a, room);

		memcpy(p, o->p, o->n);
		o->p = p;
		o->room = room;
	}
	if (s.n)
		memcpy(o->p + o->n, s.p, s.n);
	o->n += s.n;
}

static void put_field(struct out *o, struct slice name, struct slice value)
{
	put(o, name);
	put(o, SLICE(": "));
	put(o, value);
	put(o, SLICE("\r\n"));
}

/* Fields that the gateway makes itself or that end at this hop, as nginx's list. */
static bool is_own(enum hdr_id id)
{
	switch (id) {
	case HDR_HOST:
	case HDR_CONNECTION:
	case HDR_CONTENT_LENGTH:
	case HDR_TRANSFER_ENCODING:
	case HDR_TE:
	case HDR_KEEP_ALIVE:
	case HDR_EXPECT:
	case HDR_UPGRADE:
	case HDR_PROXY_CONNECTION:
	case HDR_TRAILER:
		return true;
	default:
		return false;
	}
}

static bool is_set(const struct proxy_headers *set, const struct hdr *f)
{
	if (f->id != HDR_OTHER)
		return set->sets[f->id];
	for (int i = 0; i < set->n; i++)
		if (set->v[i].id == HDR_OTHER && slice_ieq(set->v[i].name, f->name))
			return true;
	return false;
}

static void put_client_fields(struct out *o, const struct request *r,
			      const struct proxy_headers *set)
{
	const struct hdrs *fields = &r->head.fields;
	struct hdr_options nominated;

	hdrs_options(fields, &nominated);
	for (uint32_t i = 0; i < fields->n; i++) {
		const struct hdr *f = &fields->v[i];

		if (is_own(f->id) || is_set(set, f) || hdr_options_have(&nominated, f))
			continue;
		put_field(o, f->name, f->value);
	}
}

/* Only what the client of a protocol that can asked for, and the configuration passes on. */
static bool is_upgrade(const struct request *r, const struct proxy_header *h, struct slice value)
{
	return h->id == HDR_UPGRADE && value.n && r->ops->upgrade && r->head.minor >= 1 &&
	       r->up->conf->http_version == 11 && hdrs_find(&r->head.fields, HDR_UPGRADE);
}

/* h2c is no tunnel to anything: its requests would pass by every rule here. So nobody is asked for it. */
static bool is_h2c(const struct proxy_header *h, struct slice value)
{
	return h->id == HDR_UPGRADE && hdr_has_token(value, SLICE("h2c"));
}

static void put_set_fields(struct out *o, struct request *r, const struct proxy_headers *set)
{
	for (int i = 0; i < set->n; i++) {
		const struct proxy_header *h = &set->v[i];
		struct slice value;

		if (h->id == HDR_CONTENT_LENGTH || h->id == HDR_TRANSFER_ENCODING)
			continue;
		value = one_line(&r->arena, tmpl_eval(h->value, r, &r->arena));
		if (is_h2c(h, value))
			continue;
		r->up->asks_upgrade |= is_upgrade(r, h, value);
		if (value.n)
			put_field(o, h->name, value);
	}
}

static void put_own_fields(struct out *o, const struct request *r, const struct proxy_headers *set,
			   struct slice body)
{
	const struct upstream *u = r->up;
	bool has_length =
		r->head.body != BODY_NONE || hdrs_find(&r->head.fields, HDR_CONTENT_LENGTH);
	char n[20];

	if (!set->sets[HDR_HOST])
		put_field(o, SLICE("Host"), u->host_text);
	if (!set->sets[HDR_CONNECTION] &&
	    (u->conf->http_version == 10 || !u->group_conf || u->group_conf->keepalive == 0 ||
	     u->fields_conf->proxy_protocol))
		put_field(o, SLICE("Connection"), SLICE("close"));
	if (u->fields_conf->body)
		put_field(o, SLICE("Content-Length"), slice_make(n, num_put_u64(n, body.n)));
	else if (has_length && u->sends_chunks)
		put_field(o, SLICE("Transfer-Encoding"), SLICE("chunked"));
	else if (has_length && u->sends_body)
		put_field(o, SLICE("Content-Length"),
			  slice_make(n, num_put_u64(n, request_body_bytes(r))));
}

static struct slice without_port(struct slice s)
{
	struct addr_parts parts;

	return addr_split(s, &parts) ? s : parts.host;
}

/* The Host that the configuration itself writes; never what a client says. */
static struct slice configured_host(const struct proxy_headers *set)
{
	for (int i = 0; i < set->n; i++)
		if (set->v[i].id == HDR_HOST && set->v[i].value->constant)
			return without_port(set->v[i].value->source);
	return (struct slice){0};
}

static bool is_name(struct slice s)
{
	struct addr a;

	return s.n && !slice_starts(s, SLICE("unix:")) && addr_from_ip(s, 0, &a);
}

struct slice upreq_tls_names(const struct proxy_headers *set, struct slice own,
			     struct slice host_text, struct slice also[3])
{
	struct slice name;

	also[0] = without_port(own);
	also[1] = set ? configured_host(set) : (struct slice){0};
	also[2] = without_port(host_text);
	name = also[0];
	for (int i = 2; i >= 0; i--)
		if (is_name(also[i]))
			name = also[i];
	return name;
}

/* Whom the certificate must name: proxy_ssl_name alone, where it stands. */
static void choose_tls_names(struct request *r, const struct proxy_headers *set)
{
	struct upstream *u = r->up;
	struct slice own = u->host_text;

	memset(u->tls_also, 0, sizeof u->tls_also);
	if (u->conf->tls->name) {
		u->tls_name = without_port(tmpl_eval(u->conf->tls->name, r, &r->arena));
		return;
	}
	if (u->group_conf && !u->group_conf->implicit)
		own = slice_cstr(u->group->server[u->group->peer[u->peer].server].host);
	u->tls_name = upreq_tls_names(set, own, u->host_text, u->tls_also);
}

void upreq_build(struct request *r)
{
	static const struct proxy_headers none;
	struct upstream *u = r->up;
	const struct proxy_headers *set = u->conf->set_headers ? u->conf->set_headers : &none;
	struct out o = {.a = &r->sending, .room = r->head_bytes + 256};
	struct slice body = {0};

	if (u->https)
		choose_tls_names(r, set);
	if (u->head.n)
		return;
	o.p = arena_bytes(o.a, o.room);
	if (u->fields_conf->body)
		body = tmpl_eval(u->fields_conf->body, r, o.a);
	u->sends_chunks = u->sends_body && r->body.stream && !r->body.stream->whole &&
			  r->head.body == BODY_CHUNKED;
	put(&o, u->method);
	put(&o, SLICE(" "));
	put(&o, u->target);
	put(&o, u->conf->http_version == 10 ? SLICE(" HTTP/1.0\r\n") : SLICE(" HTTP/1.1\r\n"));
	put_set_fields(&o, r, set);
	put_own_fields(&o, r, set, body);
	if (u->conf->pass_request_headers)
		put_client_fields(&o, r, set);
	put(&o, SLICE("\r\n"));
	put(&o, body);
	u->head = slice_make(o.p, o.n);
}
