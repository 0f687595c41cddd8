/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the groups of a configuration: the list of them, upstream blocks, and the references to the groups'
 * shared memory. Lines inside are read by upstream_server.c, upstream_method.c and upstream_resolver.c.
 * Resolves no name and talks to no server. */
#include "policy/upstream_conf_impl.h"

#include <errno.h>

#include "core/err.h"

enum {
	ROOM_OF_NAME = 2 * BALANCE_ADDRS_MAX, /* new addresses beside those still in use */
};

static struct upstream_block *http_block(const struct conf *c)
{
	return conf_top_get(c, CTX_HTTP, MOD_UPSTREAM);
}

struct upstream_main *upstream_conf_main(const struct conf *c)
{
	struct upstream_block *http = http_block(c);

	return http ? &http->main : NULL;
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
	u->relay_group = -1;
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
	if (upstream_method_finish(c, b->node, u) || upstream_zone_finish(c, u) ||
	    upstream_sockmap_finish(c, u))
		return -SL_EINVAL;
	u->keepalive = blk->keepalive;
	u->keepalive_requests = blk->keepalive_requests;
	u->keepalive_timeout_ms = blk->keepalive_timeout_ms;
	u->keepalive_time_ms = blk->keepalive_time_ms;
	return 0;
}

/* ---- use by proxy_pass ---- */

int upstream_conf_use(struct conf *c, const struct conf_node *n, struct upstream_conf *u,
		      uint16_t default_port)
{
	if (default_port == 443 && u->sockmap)
		return conf_error(c, n,
				  "upstream \"%.*s\" has \"sockmap on\", which is for plain TCP: "
				  "it cannot be used with https",
				  SLICE_FMT(u->name));
	if (default_port == 443)
		u->used_443 = true;
	else
		u->used_80 = true;
	return 0;
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
	s = upstream_server_new(c, u);
	wrong = upstream_server_address(name, s);
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
	return u && upstream_conf_use(c, n, u, default_port) == 0 ? u : NULL;
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

		text = arena_printf(&c->arena, "%.*s%.*s:%u %u %u %u %u %u %d%d%d;",
				    SLICE_FMT(text), SLICE_FMT(s->host), s->port, s->weight,
				    s->max_fails, s->max_conns, s->fail_timeout_s, s->slow_start_ms,
				    s->backup, s->down, s->drain);
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
	balance_checks_init(u->group, &u->checks);
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
		.set = upstream_server_set,
		.help = "ADDRESS[:PORT] | unix:PATH [weight=N] [max_fails=N] [fail_timeout=TIME] "
			"[max_conns=N] [slow_start=TIME] [backup] [down] [drain] [resolve] -- a server of the group; without "
			"a port: 443 when the group is used by https alone, else 80; names are resolved "
			"again by TTL",
	},
	{
		.name = "least_conn",
		.contexts = CTX_UPSTREAM,
		.type = CONF_CUSTOM,
		.flags = CONF_MULTI,
		.set = upstream_method_set,
		.help = "-- the server with the fewest requests for its weight is next",
	},
	{
		.name = "least_time",
		.contexts = CTX_UPSTREAM,
		.args_min = 1,
		.args_max = 1,
		.type = CONF_CUSTOM,
		.flags = CONF_MULTI,
		.set = upstream_method_set,
		.help = "header | last_byte -- the server with the least average time to the head, or "
			"to the end, of an answer, times its requests, for its weight is next",
	},
	{
		.name = "ip_hash",
		.contexts = CTX_UPSTREAM,
		.type = CONF_CUSTOM,
		.flags = CONF_MULTI,
		.set = upstream_method_set,
		.help = "-- requests of one address (IPv4: its /24) go to the same server",
	},
	{
		.name = "hash",
		.contexts = CTX_UPSTREAM,
		.args_min = 1,
		.args_max = 2,
		.type = CONF_CUSTOM,
		.flags = CONF_MULTI,
		.set = upstream_method_set,
		.help = "KEY [consistent] -- requests with the same KEY go to the same server; "
			"consistent: another server moves only its share of the keys",
	},
	{
		.name = "random",
		.contexts = CTX_UPSTREAM,
		.args_max = 2,
		.type = CONF_CUSTOM,
		.flags = CONF_MULTI,
		.set = upstream_method_set,
		.help = "[two [least_conn | least_time=header | least_time=last_byte]] -- a server by "
			"chance and weight; two: the one of two that has less to do",
	},
	{
		.name = "zone",
		.contexts = CTX_UPSTREAM,
		.args_min = 1,
		.args_max = 2,
		.type = CONF_CUSTOM,
		.set = upstream_zone_set,
		.help = "NAME [SIZE] -- all workers share the state of the group's servers: they "
			"do so without it, too, and in memory that is large enough",
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
		.name = "sockmap",
		.contexts = CTX_UPSTREAM,
		.args_min = 1,
		.args_max = 2,
		.type = CONF_CUSTOM,
		.set = upstream_sockmap_set,
		.help = "on [limit=SIZE] | off -- bytes between a worker and the group's servers, which are on "
			"this host and speak plain TCP, go from socket to socket, past TCP (docs/sockmap.md); at most "
			"SIZE (1m) lies unread in each direction of a connection",
	},
	{
		.name = "resolver",
		.contexts = CTX_SCOPE | CTX_UPSTREAM,
		.args_min = 1,
		.args_max = -1,
		.type = CONF_CUSTOM,
		.set = upstream_resolver_set,
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
	.inherit = upstream_resolver_inherit,
	.finish = finish_upstream,
};
