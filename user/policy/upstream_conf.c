/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the groups of a configuration: reading upstream blocks and resolver lines, and the
 * references to the groups' shared memory. Resolves no name and talks to no server. */
#include "policy/upstream_conf.h"

#include <errno.h>

#include "core/err.h"
#include "core/num.h"

enum {
	WEIGHT_MAX = 1000000,
	COUNT_MAX = 1000000000,
	ROOM_OF_NAME = 2 * BALANCE_ADDRS_MAX, /* new addresses beside those still in use */
};

/* MOD_UPSTREAM's struct in all its contexts. */
struct upstream_block {
	struct upstream_scope scope; /* first: conf_get() gives a struct upstream_scope */
	struct upstream_main main;   /* http */
	struct upstream_conf *group; /* upstream */
	int64_t keepalive, keepalive_requests, keepalive_timeout_ms, keepalive_time_ms;
};

static struct upstream_block *http_block(const struct conf *c)
{
	for (const struct conf_block *b = c->main ? c->main->first_child : NULL; b; b = b->next)
		if (b->ctx == CTX_HTTP)
			return b->mod[MOD_UPSTREAM];
	return NULL;
}

struct upstream_main *upstream_conf_main(const struct conf *c)
{
	struct upstream_block *http = http_block(c);

	return http ? &http->main : NULL;
}

static int bad_param(struct conf *c, const struct conf_node *n, struct slice arg)
{
	return conf_error(c, n, "invalid parameter \"%.*s\"", SLICE_FMT(arg));
}

/* ---- groups ---- */

static struct upstream_conf *group_new(struct conf *c, const struct conf_node *n, struct slice name)
{
	struct upstream_conf *u = arena_zalloc(&c->arena, sizeof *u), **at;
	struct upstream_block *http = http_block(c);

	u->name = name;
	u->node = n;
	u->keepalive = http->keepalive;
	u->keepalive_requests = http->keepalive_requests;
	u->keepalive_timeout_ms = http->keepalive_timeout_ms;
	u->keepalive_time_ms = http->keepalive_time_ms;
	u->scope = &http->scope;
	u->index = http->main.n_groups++;
	for (at = &http->main.groups; *at; at = &(*at)->next)
		;
	*at = u;
	return u;
}

struct upstream_conf *upstream_conf_find(const struct conf *c, struct slice name)
{
	struct upstream_main *m = upstream_conf_main(c);
	struct upstream_conf *u = m ? m->groups : NULL;

	while (u && (u->implicit || !slice_ieq(u->name, name)))
		u = u->next;
	return u;
}

static int set_upstream(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
			const struct conf_row *row)
{
	struct upstream_block *blk = mod;
	struct slice name = n->args[0];

	if (name.n == 0)
		return conf_error(c, n, "no host in upstream \"\"");
	if (name.n > BALANCE_NAME_MAX)
		return conf_error(c, n, "name of upstream \"%.*s\" is longer than %d", 32, name.p,
				  BALANCE_NAME_MAX);
	if (upstream_conf_find(c, name))
		return conf_error(c, n, "duplicate upstream \"%.*s\"", SLICE_FMT(name));
	blk->group = group_new(c, n, name);
	blk->group->scope = &blk->scope;
	return 0;
}

static struct balance_server_conf *server_new(struct conf *c, struct upstream_conf *u)
{
	struct balance_server_conf *grown;

	if (u->n_servers == u->servers_room) {
		u->servers_room = u->servers_room ? 2 * u->servers_room : 4;
		grown = arena_zalloc(&c->arena, u->servers_room * sizeof *grown);
		if (u->n_servers)
			memcpy(grown, u->servers, u->n_servers * sizeof *grown);
		u->servers = grown;
	}
	u->servers[u->n_servers] = (struct balance_server_conf){
		.weight = 1,
		.max_fails = 1,
		.fail_timeout_s = 10,
	};
	return &u->servers[u->n_servers++];
}

/* ---- server ---- */

static const char *check_unix(struct slice path)
{
	struct addr a;

	if (path.n == 0)
		return "no path in the unix domain socket";
	return addr_from_unix(path, &a) < 0 ? "too long path in the unix domain socket" : NULL;
}

/* Names as they can be in DNS or a hosts file; what else there is is a typing error. */
static bool is_host(struct slice s)
{
	struct addr a;

	if (s.n && s.p[0] == '[')
		return s.p[s.n - 1] == ']' && addr_from_ip(s, 0, &a) == 0;
	for (size_t i = 0; i < s.n; i++) {
		char ch = s.p[i];

		if (!((ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') ||
		      (ch >= '0' && ch <= '9') || ch == '-' || ch == '.' || ch == '_'))
			return false;
	}
	return s.n <= BALANCE_NAME_MAX;
}

/* "host", "host:port", "[v6]:port", "unix:/path" into S; NULL or what is wrong. */
static const char *parse_address(struct slice a, struct balance_server_conf *s)
{
	struct slice host = a;
	ptrdiff_t end, colon;
	uint64_t port;

	s->host = a;
	if (slice_starts(a, SLICE("unix:")))
		return check_unix(slice_skip(a, 5));
	end = a.n && a.p[0] == '[' ? slice_find(a, ']') : 0;
	if (end < 0)
		return "invalid host";
	colon = slice_find(slice_skip(a, (size_t)end), ':');
	if (colon >= 0) {
		host.n = (size_t)(end + colon);
		if (num_u63(slice_skip(a, host.n + 1), &port) < 0 || port == 0 || port > 65535)
			return "invalid port";
		s->port = (uint16_t)port;
		s->has_port = true;
	}
	if (host.n == 0)
		return "no host";
	s->host = host;
	return is_host(host) ? NULL : "invalid host";
}

static int parse_count(struct slice v, uint64_t min, uint64_t max, uint32_t *out)
{
	uint64_t n;

	if (num_u63(v, &n) < 0 || n < min || n > max)
		return -SL_EINVAL;
	*out = (uint32_t)n;
	return 0;
}

/* `resolve` is what sluice does anyway. */
static int parse_server_param(struct slice arg, struct balance_server_conf *s)
{
	struct slice v;
	int64_t sec;

	if (slice_eq(arg, SLICE("backup")))
		s->backup = true;
	else if (slice_eq(arg, SLICE("down")))
		s->down = true;
	else if (conf_param(arg, "weight", &v))
		return parse_count(v, 1, WEIGHT_MAX, &s->weight);
	else if (conf_param(arg, "max_fails", &v))
		return parse_count(v, 0, COUNT_MAX, &s->max_fails);
	else if (conf_param(arg, "max_conns", &v))
		return parse_count(v, 0, COUNT_MAX, &s->max_conns);
	else if (conf_param(arg, "fail_timeout", &v)) {
		if (conf_parse_sec(v, &sec) < 0 || sec > COUNT_MAX)
			return -SL_EINVAL;
		s->fail_timeout_s = (uint32_t)sec;
	} else if (!slice_eq(arg, SLICE("resolve")))
		return -SL_EINVAL;
	return 0;
}

static int set_server(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		      const struct conf_row *row)
{
	struct upstream_conf *u = ((struct upstream_block *)mod)->group;
	struct balance_server_conf *s;
	const char *wrong;

	if (u->n_servers == BALANCE_SERVERS_MAX)
		return conf_error(c, n, "more than %d servers in upstream \"%.*s\"",
				  BALANCE_SERVERS_MAX, SLICE_FMT(u->name));
	s = server_new(c, u);
	wrong = parse_address(n->args[0], s);
	if (wrong)
		return conf_error(c, n, "%s in upstream \"%.*s\"", wrong, SLICE_FMT(n->args[0]));
	for (int i = 1; i < n->n_args; i++)
		if (parse_server_param(n->args[i], s) < 0)
			return bad_param(c, n, n->args[i]);
	return 0;
}

/* ---- resolver ---- */

static int parse_onoff(struct slice v, int64_t *out)
{
	*out = slice_eq(v, SLICE("on"));
	return *out || slice_eq(v, SLICE("off")) ? 0 : -SL_EINVAL;
}

/* A name server is given by address: a name would need another resolver. */
static const char *check_resolver_addr(struct slice text)
{
	struct balance_server_conf s = {0};
	const char *wrong;
	struct addr a;

	if (slice_starts(text, SLICE("unix:")))
		return "host not found";
	wrong = parse_address(text, &s);
	if (wrong && strcmp(wrong, "invalid port") == 0)
		return wrong;
	return wrong || addr_from_ip(s.host, 53, &a) < 0 ? "host not found" : NULL;
}

static int resolver_arg(struct conf *c, const struct conf_node *n, struct slice arg,
			struct upstream_scope *s)
{
	const char *wrong;
	struct slice v;
	int r = 0;

	if (conf_param(arg, "valid", &v))
		r = conf_parse_msec(v, &s->resolver_valid_ms);
	else if (conf_param(arg, "ipv4", &v))
		r = parse_onoff(v, &s->resolver_ipv4);
	else if (conf_param(arg, "ipv6", &v))
		r = parse_onoff(v, &s->resolver_ipv6);
	else if (conf_param(arg, "status_zone", &v))
		return conf_error(c, n, "parameter \"status_zone\" is not supported");
	else {
		wrong = check_resolver_addr(arg);
		if (wrong)
			return conf_error(c, n, "%s in resolver \"%.*s\"", wrong, SLICE_FMT(arg));
		s->resolver_addrs[s->n_resolver_addrs++] = arg;
	}
	return r < 0 ? conf_error(c, n, "invalid parameter: %.*s", SLICE_FMT(arg)) : 0;
}

static int set_resolver(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
			const struct conf_row *row)
{
	struct upstream_scope *s = mod;
	int r = 0;

	s->resolver_addrs = arena_zalloc(&c->arena, (size_t)n->n_args * sizeof *s->resolver_addrs);
	s->resolver_ipv4 = s->resolver_ipv6 = 1;
	for (int i = 0; r == 0 && i < n->n_args; i++)
		r = resolver_arg(c, n, n->args[i], s);
	if (r < 0)
		return r;
	if (!s->n_resolver_addrs)
		return conf_error(c, n, "no name servers defined");
	if (!s->resolver_ipv4 && !s->resolver_ipv6)
		return conf_error(c, n, "\"ipv4\" and \"ipv6\" cannot both be \"off\"");
	return 0;
}

/* A resolver line is taken over as a whole; resolver_timeout is typed and comes by itself. */
static int inherit_resolver(struct conf *c, struct conf_block *b, void *mod, const void *parent)
{
	const struct upstream_scope *outer = parent;
	struct upstream_scope *s = mod;

	if (s->resolver_addrs)
		return 0;
	s->resolver_addrs = outer ? outer->resolver_addrs : NULL;
	s->n_resolver_addrs = outer ? outer->n_resolver_addrs : 0;
	s->resolver_valid_ms = outer ? outer->resolver_valid_ms : 0;
	s->resolver_ipv4 = outer ? outer->resolver_ipv4 : 1;
	s->resolver_ipv6 = outer ? outer->resolver_ipv6 : 1;
	return 0;
}

static int finish_upstream(struct conf *c, struct conf_block *b, void *mod)
{
	const struct upstream_block *blk = mod;
	struct upstream_conf *u = blk->group;
	bool primary = false;

	if (b->ctx != CTX_UPSTREAM)
		return 0;
	if (!u->n_servers)
		return conf_error(c, b->node, "no servers are inside upstream");
	for (uint32_t i = 0; i < u->n_servers; i++)
		primary |= !u->servers[i].backup;
	if (!primary)
		return conf_error(c, b->node, "no servers in upstream \"%.*s\" but backup ones",
				  SLICE_FMT(u->name));
	u->keepalive = blk->keepalive;
	u->keepalive_requests = blk->keepalive_requests;
	u->keepalive_timeout_ms = blk->keepalive_timeout_ms;
	u->keepalive_time_ms = blk->keepalive_time_ms;
	return 0;
}

/* ---- use by proxy_pass ---- */

void upstream_conf_use(struct upstream_conf *u, uint16_t default_port)
{
	if (default_port == 443)
		u->used_443 = true;
	else
		u->used_80 = true;
}

static struct upstream_conf *implicit_group(struct conf *c, const struct conf_node *n,
					    struct slice host, uint16_t port)
{
	bool is_unix = slice_starts(host, SLICE("unix:"));
	struct slice name = host;
	struct balance_server_conf *s;
	struct upstream_conf *u;
	const char *wrong;

	if (!is_unix)
		name = arena_printf(&c->arena, "%.*s:%u", SLICE_FMT(host), port);
	for (u = upstream_conf_main(c)->groups; u; u = u->next)
		if (u->implicit && slice_ieq(u->name, name))
			return u;
	u = group_new(c, n, name);
	u->implicit = true;
	u->default_port = is_unix ? 0 : port;
	s = server_new(c, u);
	wrong = parse_address(name, s);
	if (!wrong && name.n > BALANCE_NAME_MAX)
		wrong = "too long name";
	if (!wrong)
		return u;
	conf_error(c, n, "%s in upstream \"%.*s\"", wrong, SLICE_FMT(host));
	return NULL;
}

struct upstream_conf *upstream_conf_get(struct conf *c, const struct conf_node *n,
					struct slice host, uint16_t port, bool has_port,
					uint16_t default_port)
{
	struct upstream_conf *u = upstream_conf_find(c, host);

	if (u && has_port) {
		conf_error(c, n, "upstream \"%.*s\" may not have port %u", SLICE_FMT(host), port);
		return NULL;
	}
	if (!u)
		u = implicit_group(c, n, host, has_port ? port : default_port);
	if (u)
		upstream_conf_use(u, default_port);
	return u;
}

/* ---- shared memory ---- */

static void set_ports(struct conf *c, struct upstream_conf *u)
{
	uint16_t port = u->used_443 && !u->used_80 ? 443 : 80;
	bool any = false;

	for (uint32_t i = 0; i < u->n_servers; i++) {
		struct balance_server_conf *s = &u->servers[i];

		if (s->has_port || slice_starts(s->host, SLICE("unix:")))
			continue;
		s->port = port;
		any = true;
	}
	if (any && u->used_80 && u->used_443)
		conf_warn(c, u->node,
			  "upstream \"%.*s\" is used with http and with https and has servers "
			  "without a port: port 80 is taken for both",
			  SLICE_FMT(u->name));
}

/* What must stay equal for peers' state to stay as it is, and the room that the peers need. */
static struct slice server_lines(struct conf *c, const struct upstream_conf *u,
				 uint32_t *peers_room)
{
	struct slice text = SLICE("");
	uint32_t room = 0;

	for (uint32_t i = 0; i < u->n_servers; i++) {
		const struct balance_server_conf *s = &u->servers[i];
		struct addr a;

		text = arena_printf(&c->arena, "%.*s%.*s:%u %u %u %u %u %d%d;", SLICE_FMT(text),
				    SLICE_FMT(s->host), s->port, s->weight, s->max_fails,
				    s->max_conns, s->fail_timeout_s, s->backup, s->down);
		room += slice_starts(s->host, SLICE("unix:")) || addr_from_ip(s->host, 0, &a) == 0
				? 1
				: ROOM_OF_NAME;
	}
	*peers_room = room < BALANCE_PEERS_MAX ? room : BALANCE_PEERS_MAX;
	return text;
}

/* The group of that name in the configuration before: the registry has the newest first. */
static struct shm_zone *zone_before(const struct conf *c, const struct shm_zone *now)
{
	for (struct shm_zone *z = c->shm->zones; z; z = z->next)
		if (z != now && !z->fresh && strcmp(z->kind, now->kind) == 0 &&
		    strcmp(z->name, now->name) == 0)
			return z;
	return NULL;
}

static int share(struct conf *c, struct upstream_conf *u)
{
	const char *kind = u->implicit ? "proxy_pass" : "upstream";
	struct shm_zone *before;
	uint32_t room;
	struct slice key;

	set_ports(c, u);
	key = server_lines(c, u, &room);
	u->zone = shm_zone_ref(c->shm, kind, u->name, key, balance_bytes(room));
	if (!u->zone)
		return conf_error(c, u->node, "no memory for upstream \"%.*s\": %s",
				  SLICE_FMT(u->name), strerror(errno));
	u->group = u->zone->mem;
	if (!u->zone->fresh)
		return 0;
	if (balance_init(u->group, u->zone->bytes, u->name, u->servers, u->n_servers) < 0)
		return conf_error(c, u->node, "upstream \"%.*s\" has too many servers",
				  SLICE_FMT(u->name));
	before = zone_before(c, u->zone);
	if (before)
		balance_carry(u->group, before->mem);
	u->zone->fresh = false;
	return 0;
}

int upstream_conf_share(struct conf *c)
{
	struct upstream_main *m = upstream_conf_main(c);
	int r = 0;

	for (struct upstream_conf *u = m ? m->groups : NULL; u && r == 0; u = u->next)
		r = share(c, u);
	return r;
}

void upstream_conf_release(struct conf *c)
{
	struct upstream_main *m = upstream_conf_main(c);

	for (struct upstream_conf *u = m ? m->groups : NULL; u; u = u->next) {
		shm_zone_unref(c->shm, u->zone);
		u->zone = NULL;
		u->group = NULL;
	}
}

/* ---- rows ---- */

#define AT(field) offsetof(struct upstream_block, field)

static const struct conf_row rows[] = {
	{
		.name = "upstream",
		.contexts = CTX_HTTP,
		.args_min = 1,
		.args_max = 1,
		.type = CONF_BLOCK,
		.block_ctx = CTX_UPSTREAM,
		.flags = CONF_MULTI,
		.set = set_upstream,
		.help = "NAME -- a group of servers for proxy_pass",
	},
	{
		.name = "server",
		.contexts = CTX_UPSTREAM,
		.args_min = 1,
		.args_max = -1,
		.type = CONF_CUSTOM,
		.flags = CONF_MULTI,
		.set = set_server,
		.help = "ADDRESS[:PORT] | unix:PATH [weight=N] [max_fails=N] [fail_timeout=TIME] "
			"[max_conns=N] [backup] [down] [resolve] -- a server of the group; without "
			"a port: 443 when the group is used by https alone, else 80; names are resolved "
			"again by TTL",
	},
	{
		.name = "keepalive",
		.contexts = CTX_UPSTREAM,
		.args_min = 1,
		.args_max = 1,
		.type = CONF_NUM,
		.offset = AT(keepalive),
		.max = 65536,
		.deflt = "32",
		.help = "idle connections to the group's servers that each worker keeps; 0: none",
	},
	{
		.name = "keepalive_requests",
		.contexts = CTX_UPSTREAM,
		.args_min = 1,
		.args_max = 1,
		.type = CONF_NUM,
		.offset = AT(keepalive_requests),
		.deflt = "1000",
		.help = "requests on one connection to a server",
	},
	{
		.name = "keepalive_timeout",
		.contexts = CTX_UPSTREAM,
		.args_min = 1,
		.args_max = 1,
		.type = CONF_MSEC,
		.offset = AT(keepalive_timeout_ms),
		.deflt = "60s",
		.help = "how long an idle connection to a server is kept",
	},
	{
		.name = "keepalive_time",
		.contexts = CTX_UPSTREAM,
		.args_min = 1,
		.args_max = 1,
		.type = CONF_MSEC,
		.offset = AT(keepalive_time_ms),
		.deflt = "1h",
		.help = "how long one connection to a server serves requests",
	},
	{
		.name = "resolver",
		.contexts = CTX_SCOPE | CTX_UPSTREAM,
		.args_min = 1,
		.args_max = -1,
		.type = CONF_CUSTOM,
		.set = set_resolver,
		.help = "ADDRESS[:PORT]... [valid=TIME] [ipv4=on|off] [ipv6=on|off] -- name "
			"servers; by default those of resolv.conf, and answers are kept by their TTL",
	},
	{
		.name = "resolver_timeout",
		.contexts = CTX_SCOPE | CTX_UPSTREAM,
		.args_min = 1,
		.args_max = 1,
		.type = CONF_MSEC,
		.offset = AT(scope.resolver_timeout_ms),
		.deflt = "30s",
		.help = "how long an answer of the name servers is waited for",
	},
};

const struct conf_module upstream_module = {
	.name = "upstream",
	.rows = rows,
	.n_rows = sizeof rows / sizeof rows[0],
	.contexts = CTX_SCOPE | CTX_UPSTREAM,
	.bytes = sizeof(struct upstream_block),
	.inherit = inherit_resolver,
	.finish = finish_upstream,
};
