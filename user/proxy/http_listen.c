/* SPDX-License-Identifier: BSD-2-Clause */
/* Puts the `listen` lines of all servers together: one listener an address, with its default server, names
 * and TLS. Opens nothing. */
#include "proxy/http_listen.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/err.h"
#include "core/num.h"
#include "proxy/h2_conf.h"
#include "proxy/proxy_conf.h"
#include "proxy/vars_user.h"
#include "tls/tls_conf.h"

bool http_listen_is_proxied(const struct conf_block *location)
{
	const struct proxy_scope *p = location->mod[MOD_PROXY];

	return p && p->pass;
}

enum { LISTEN_PORTS_MAX = 1024, LISTEN_ADDRS_MAX = 16 };

/* What one `listen` names: addresses, each with ports FIRST to LAST. */
struct listen_names {
	struct addr addrs[LISTEN_ADDRS_MAX];
	int n;
	uint64_t first, last;
};

/* A host name in `listen` is looked up once and means all its addresses, IPv4 first, as in nginx. */
static const char *lookup(struct slice host, struct listen_names *out)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG},
			*all = NULL;
	static const int families[] = {AF_INET, AF_INET6};
	char name[256];

	if (host.n >= sizeof name)
		return "invalid host";
	snprintf(name, sizeof name, "%.*s", SLICE_FMT(host));
	if (getaddrinfo(name, NULL, &hints, &all))
		return "host not found";
	for (int f = 0; f < 2; f++)
		for (struct addrinfo *ai = all; ai && out->n < LISTEN_ADDRS_MAX; ai = ai->ai_next) {
			struct addr *to = &out->addrs[out->n];

			if (ai->ai_family != families[f])
				continue;
			memset(to, 0, sizeof *to);
			memcpy(&to->sa, ai->ai_addr, ai->ai_addrlen);
			to->len = ai->ai_addrlen;
			out->n++;
		}
	freeaddrinfo(all);
	return out->n ? NULL : "host not found";
}

/* PORT or FIRST-LAST. */
static const char *parse_ports(struct slice s, struct listen_names *out)
{
	ptrdiff_t dash = slice_find(s, '-');
	struct slice first = dash < 0 ? s : slice_make(s.p, (size_t)dash);

	if (num_u63(first, &out->first) || out->first < 1 || out->first > 65535)
		return "invalid port";
	out->last = out->first;
	if (dash < 0)
		return NULL;
	if (num_u63(slice_skip(s, (size_t)dash + 1), &out->last) || out->last > 65535 ||
	    out->last < out->first)
		return "invalid port range";
	return out->last - out->first < LISTEN_PORTS_MAX ? NULL : "too long port range";
}

/* All of it is a port, or ports. */
static bool is_port(struct slice s)
{
	ptrdiff_t dash = slice_find(s, '-');
	uint64_t port;

	return num_u63(dash < 0 ? s : slice_make(s.p, (size_t)dash), &port) == 0;
}

/* NULL, or what is wrong, in nginx's words. */
static const char *parse_names(struct slice s, struct listen_names *out)
{
	struct slice host = s, ports = {0};
	bool has_ports = false;
	ptrdiff_t end;

	*out = (struct listen_names){.first = 80, .last = 80};
	if (slice_starts(s, SLICE("unix:"))) {
		out->n = 1;
		if (s.n == 5)
			return "no path in the unix domain socket";
		return addr_from_unix(slice_skip(s, 5), &out->addrs[0])
			       ? "too long path in the unix domain socket"
			       : NULL;
	}
	if (slice_find(s, '/') >= 0)
		return "invalid host";
	if (is_port(s)) {
		host = SLICE("*");
		ports = s;
		has_ports = true;
	} else if (s.n && s.p[0] == '[') {
		end = slice_find(s, ']') + 1;
		host = slice_make(s.p, (size_t)end);
		if (end == 0 || (host.n < s.n && s.p[end] != ':'))
			return "invalid host";
		has_ports = host.n < s.n;
		ports = slice_skip(s, (size_t)end + has_ports);
	} else if ((end = slice_find(s, ':')) >= 0) {
		host = slice_make(s.p, (size_t)end);
		ports = slice_skip(s, (size_t)end + 1);
		has_ports = true;
	}
	if (has_ports) {
		const char *error = parse_ports(ports, out);

		if (error)
			return error;
	}
	if (host.n == 0)
		return "no host";
	out->n = 1;
	if (addr_from_ip(slice_eq(host, SLICE("*")) ? SLICE("0.0.0.0") : host, 80,
			 &out->addrs[0]) == 0)
		return NULL;
	out->n = 0;
	return host.p[0] == '[' ? "invalid host" : lookup(host, out);
}

/* on, off, or IDLE:INTERVAL:COUNT with parts left out, as nginx. */
static int parse_keepalive(struct slice v, struct listen_opts *o)
{
	int *to[] = {&o->keepidle_s, &o->keepintvl_s, &o->keepcnt};
	bool some = false;

	o->keepalive = slice_eq(v, SLICE("off")) ? -1 : 1;
	if (slice_eq(v, SLICE("on")) || slice_eq(v, SLICE("off")))
		return 0;
	for (int i = 0; i < 3; i++) {
		ptrdiff_t colon = slice_find(v, ':');
		struct slice part = colon < 0 ? v : slice_make(v.p, (size_t)colon);
		int64_t n = 0;

		if ((i < 2) != (colon >= 0))
			return -SL_EINVAL;
		if (part.n && i < 2 && conf_parse_sec(part, &n))
			return -SL_EINVAL;
		if (part.n && i == 2 && num_u63(part, (uint64_t *)&n))
			return -SL_EINVAL;
		if (part.n && (n <= 0 || n > 32767))
			return -SL_EINVAL;
		*to[i] = (int)n;
		some |= part.n > 0;
		v = slice_skip(v, part.n + (i < 2));
	}
	return some ? 0 : -SL_EINVAL;
}

/* In nginx's words, which differ from parameter to parameter. */
static int bad_param(struct conf *c, const struct conf_node *n, struct slice p)
{
	static const char *const known[] = {"backlog", "rcvbuf", "sndbuf", "fastopen"};
	struct slice v;

	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		if (conf_param(p, known[i], &v))
			return conf_error(c, n, "invalid %s \"%.*s\"", known[i], SLICE_FMT(p));
	if (conf_param(p, "so_keepalive", &v))
		return conf_error(c, n, "invalid so_keepalive value: \"%.*s\"", SLICE_FMT(v));
	return conf_error(c, n, "invalid parameter \"%.*s\"", SLICE_FMT(p));
}

static int parse_param(struct conf *c, const struct conf_node *n, struct slice p,
		       struct listen_conf *l)
{
	struct slice v;
	uint64_t num;
	int64_t size;

	if (slice_eq(p, SLICE("ssl"))) {
		l->ssl = true;
		return 0;
	}
	if (slice_eq(p, SLICE("default_server")) || slice_eq(p, SLICE("default"))) {
		l->default_server = true;
		return 0;
	}
	if (slice_eq(p, SLICE("proxy_protocol"))) {
		l->proxy_protocol = true;
		return 0;
	}
	if (slice_eq(p, SLICE("http2"))) {
		l->http2 = true;
		return 0;
	}
	l->has_opts = true;
	/* Each address has a socket of its own, but where a wildcard has the port already. */
	if (slice_eq(p, SLICE("bind")))
		return 0;
	if (conf_param(p, "backlog", &v) && num_u63(v, &num) == 0 && num > 0 && num < INT32_MAX)
		l->opts.backlog = (int)num;
	else if (conf_param(p, "rcvbuf", &v) && conf_parse_size(v, &size) == 0 && size < INT32_MAX)
		l->opts.rcvbuf = (int)size;
	else if (conf_param(p, "sndbuf", &v) && conf_parse_size(v, &size) == 0 && size < INT32_MAX)
		l->opts.sndbuf = (int)size;
	else if (conf_param(p, "fastopen", &v) && num_u63(v, &num) == 0 && num < INT32_MAX)
		l->opts.fastopen = (int)num;
	else if (conf_param(p, "so_keepalive", &v) && parse_keepalive(v, &l->opts) == 0)
		return 0;
	else if (slice_eq(p, SLICE("reuseport")))
		l->opts.reuseport = true;
	else if (slice_eq(p, SLICE("steer=load")))
		l->opts.steer = true;
	else if (slice_eq(p, SLICE("deferred")))
		l->opts.deferred = true;
	else if (slice_eq(p, SLICE("ipv6only=on")))
		l->opts.ipv6only = true;
	else if (slice_eq(p, SLICE("ipv6only=off")))
		l->opts.ipv6only = false;
	else
		return bad_param(c, n, p);
	return 0;
}

static int add_conf(struct conf *c, struct http_scope *s, const struct listen_conf *from,
		    const struct addr *addr, uint16_t port)
{
	struct listen_conf *l = arena_alloc(&c->arena, sizeof *l);
	char text[ADDR_TEXT_MAX];

	*l = *from;
	l->addr = *addr;
	if (addr->sa.sa_family != AF_UNIX)
		addr_set_port(&l->addr, port);
	addr_text(&l->addr, text);
	for (const struct listen_conf *k = s->listens; k; k = k->next)
		if (addr_eq(&k->addr, &l->addr) && k->node == l->node)
			return 0; /* a name with the same address twice */
		else if (addr_eq(&k->addr, &l->addr))
			return conf_error(c, from->node, "a duplicate listen %s", text);
	*s->listens_tail = l;
	s->listens_tail = &l->next;
	return 0;
}

int http_listen_set(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		    const struct conf_row *row)
{
	struct listen_conf l = {.opts.ipv6only = true, .node = n};
	struct listen_names names;
	const char *wrong = parse_names(n->args[0], &names);

	if (wrong)
		return conf_error_hint(c, n, "ADDRESS[:PORT[-PORT]], PORT[-PORT] or unix:PATH",
				       "%s in \"%.*s\" of the \"listen\" directive", wrong,
				       SLICE_FMT(n->args[0]));
	for (int i = 1; i < n->n_args; i++)
		if (parse_param(c, n, n->args[i], &l))
			return -SL_EINVAL;
	if (l.opts.steer && !l.opts.reuseport)
		return conf_error_hint(c, n, "listen ... reuseport steer=load",
				       "\"steer=load\" without \"reuseport\"");
	if (l.opts.reuseport && names.addrs[0].sa.sa_family == AF_UNIX)
		return conf_error(c, n, "\"reuseport\" is not possible for a unix socket");
	for (uint64_t port = names.first; port <= names.last; port++)
		for (int i = 0; i < names.n; i++)
			if (add_conf(c, mod, &l, &names.addrs[i], (uint16_t)port))
				return -SL_EINVAL;
	return 0;
}

static struct listener *find(struct http_conf *h, const struct addr *a)
{
	for (uint32_t i = 0; i < h->n_listeners; i++)
		if (addr_eq(&h->listeners[i].addr, a))
			return &h->listeners[i];
	return NULL;
}

static bool is_wildcard(const struct addr *a)
{
	return (a->sa.sa_family == AF_INET && a->in.sin_addr.s_addr == 0) ||
	       (a->sa.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&a->in6.sin6_addr));
}

static void add_regex(struct conf *c, struct listener *l, struct server *srv,
		      const struct vars_regex *re)
{
	struct listener_regex *lr = arena_zalloc(&c->arena, sizeof *lr);

	lr->re = re;
	lr->server = srv;
	*l->regexes_tail = lr;
	l->regexes_tail = &lr->next;
}

static int add_name(struct conf *c, struct listener *l, struct server *srv,
		    const struct listen_conf *lc, struct slice name)
{
	int r = route_names_add(&l->names, name, true, srv);
	char text[ADDR_TEXT_MAX];

	if (r == 0)
		return 0;
	addr_text(&l->addr, text);
	if (r == -SL_EEXIST)
		return conf_warn(c, lc->node, "conflicting server name \"%.*s\" on %s, ignored",
				 SLICE_FMT(name), text);
	return conf_error(c, lc->node, "invalid server name or wildcard \"%.*s\" on %s",
			  SLICE_FMT(name), text);
}

/* A server without a name has the empty one: that of requests without a Host. */
static int add_names(struct conf *c, struct listener *l, struct server *srv,
		     const struct listen_conf *lc)
{
	if (!srv->scope->n_names)
		return add_name(c, l, srv, lc, SLICE(""));
	for (int i = 0; i < srv->scope->n_names; i++) {
		struct server_name *name = &srv->scope->names[i];

		if (name->re)
			add_regex(c, l, srv, name->re);
		else if (add_name(c, l, srv, lc, name->text))
			return -SL_EINVAL;
	}
	return 0;
}

static int add_listen(struct conf *c, struct server *srv, struct listen_conf *lc)
{
	struct http_conf *h = c->http;
	struct listener *l = find(h, &lc->addr);
	char text[ADDR_TEXT_MAX];

	addr_text(&lc->addr, text);
	if (!l) {
		l = &h->listeners[h->n_listeners++];
		*l = (struct listener){.addr = lc->addr,
				       .opts = lc->opts,
				       .ssl = lc->ssl,
				       .wildcard = is_wildcard(&lc->addr),
				       .fd = -1,
				       .node = lc->node};
		l->regexes_tail = &l->regexes;
		route_names_init(&l->names, &c->arena);
	} else if (lc->has_opts) {
		if (l->has_opts)
			return conf_error(c, lc->node, "duplicate listen options for %s", text);
		l->opts = lc->opts;
	}
	l->has_opts |= lc->has_opts;
	l->ssl |= lc->ssl;
	l->http2 |= lc->http2;
	l->proxy_protocol |= lc->proxy_protocol;
	if (lc->default_server && l->default_is_said)
		return conf_error(c, lc->node, "a duplicate default server for %s", text);
	l->default_is_said |= lc->default_server;
	if (!l->default_server || lc->default_server)
		l->default_server = srv;
	return add_names(c, l, srv, lc);
}

static struct listen_conf *implied_listen(struct conf *c, const struct server *srv)
{
	struct listen_conf *l = arena_zalloc(&c->arena, sizeof *l);

	*l = (struct listen_conf){.opts.ipv6only = true, .node = srv->block->node};
	addr_from_ip(SLICE("0.0.0.0"), geteuid() == 0 ? 80 : 8000, &l->addr);
	return l;
}

/* One socket serves a wildcard and the addresses of the same port: two binds would collide. */
static void share_sockets(struct http_conf *h)
{
	for (uint32_t i = 0; i < h->n_listeners; i++) {
		struct listener *l = &h->listeners[i];

		for (uint32_t k = 0; k < h->n_listeners && !l->wildcard; k++) {
			struct listener *w = &h->listeners[k];

			if (!w->wildcard || w->addr.sa.sa_family != l->addr.sa.sa_family ||
			    l->addr.sa.sa_family == AF_UNIX ||
			    addr_port(&w->addr) != addr_port(&l->addr))
				continue;
			l->shares = w;
			w->has_specific = true;
		}
	}
}

/* The server that a client's SNI means (RFC 6066 3), as nginx: unknown names stay with the default. */
static const struct server *server_of_sni(const struct listener *l, struct slice name)
{
	char low[256];
	size_t n = name.n < sizeof low ? name.n : 0;

	if (n == 0)
		return l->default_server; /* not the one that is named "" */
	for (size_t i = 0; i < n; i++)
		low[i] = (char)slice_lower(name.p[i]);
	return http_conf_server(l, slice_make(low, n), NULL);
}

static struct tls_server *pick_tls(struct conn *c, struct slice name, void *data)
{
	return server_of_sni(data, name)->tls;
}

static struct slice alpn_of(struct slice name, void *data)
{
	static const struct slice both = SLICE_INIT("\x02h2\x08http/1.1\x08http/1.0\x08http/0.9");

	return http_listen_has_h2(data, server_of_sni(data, name))
		       ? both
		       : slice_make(both.p + 3, both.n - 3);
}

bool http_listen_has_h2(const struct listener *l, const struct server *srv)
{
	return l->http2 || h2_scope_of(srv->block)->on;
}

static int build_tls(struct conf *c, struct listener *l, struct server *srv)
{
	/* As nginx: a server that is nobody's default may leave its clients to the default's certificate. */
	if (!srv->tls && (l->default_server == srv || tls_conf_has_certificate(srv->block))) {
		srv->tls = tls_conf_build(c, srv->block);
		if (!srv->tls)
			return -SL_EINVAL;
	}
	l->tls = (struct tls_listener){
		.server = l->default_server->tls, .alpn = alpn_of, .pick = pick_tls, .data = l};
	return 0;
}

static int finish_server(struct conf *c, struct server *srv)
{
	struct http_conf *h = c->http;

	for (struct listen_conf *lc = srv->scope->listens; lc; lc = lc->next) {
		struct listener *l = find(h, &lc->addr);

		if (l->ssl && build_tls(c, l, srv))
			return -SL_EINVAL;
	}
	return 0;
}

/* What $server_name says: the first name, in nginx's form of it. */
static struct slice own_name(struct conf *c, const struct server_name *name)
{
	struct slice first = name->text;
	char *p;

	if (name->re || !first.n)
		return first;
	if (first.p[0] == '.')
		first = slice_skip(first, 1);
	p = arena_bytes(&c->arena, first.n + 1);
	for (size_t i = 0; i < first.n; i++)
		p[i] = (char)slice_lower(first.p[i]);
	return slice_make(p, first.n);
}

int http_listen_build(struct conf *c)
{
	struct http_conf *h = c->http;
	uint32_t n = 0;

	for (struct server *s = h->servers; s; s = s->next) {
		if (!s->scope->listens)
			s->scope->listens = implied_listen(c, s);
		if (s->scope->n_names)
			s->name = own_name(c, &s->scope->names[0]);
		for (struct listen_conf *l = s->scope->listens; l; l = l->next)
			n++;
	}
	h->listeners = arena_zalloc(&c->arena, (n + 1) * sizeof *h->listeners);
	for (struct server *s = h->servers; s; s = s->next)
		for (struct listen_conf *l = s->scope->listens; l; l = l->next)
			if (add_listen(c, s, l))
				return -SL_EINVAL;
	share_sockets(h);
	for (struct server *s = h->servers; s; s = s->next)
		if (finish_server(c, s))
			return -SL_EINVAL;
	for (uint32_t i = 0; i < h->n_listeners; i++)
		if (h->listeners[i].ssl)
			h->listeners[i].tls.server = h->listeners[i].default_server->tls;
	return 0;
}

struct server *http_conf_server_named(const struct listener *l, struct slice host,
				      struct request *r)
{
	struct server *s;

	if (host.n && host.p[host.n - 1] == '.')
		host.n--;
	s = route_names_find(&l->names, host);
	for (const struct listener_regex *x = l->regexes; x && !s && host.n; x = x->next)
		if (r ? vars_user_match(r, x->re, host) > 0 : vars_user_test(x->re, host))
			s = x->server;
	return s;
}

struct server *http_conf_server(const struct listener *l, struct slice host, struct request *r)
{
	struct server *s = http_conf_server_named(l, host, r);

	return s ? s : l->default_server;
}

const struct listener *http_conf_listener(const struct http_conf *h, const struct listener *l,
					  const struct addr *local)
{
	for (uint32_t i = 0; i < h->n_listeners; i++)
		if (h->listeners[i].shares == l && addr_eq(&h->listeners[i].addr, local))
			return &h->listeners[i];
	return l;
}
