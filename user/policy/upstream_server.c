/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the reading of one server line of a group: its address and its parameters. */
#include "core/err.h"
#include "core/num.h"
#include "policy/upstream_conf_impl.h"

enum {
	WEIGHT_MAX = 1000000,
	COUNT_MAX = 1000000000,
};

struct balance_server_conf *upstream_server_new(struct conf *c, struct upstream_conf *u)
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

const char *upstream_server_address(struct slice a, struct balance_server_conf *s)
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

static int parse_time(struct slice v, bool in_ms, uint32_t *out)
{
	int64_t n;

	if ((in_ms ? conf_parse_msec(v, &n) : conf_parse_sec(v, &n)) < 0 || n > COUNT_MAX)
		return -SL_EINVAL;
	*out = (uint32_t)n;
	return 0;
}

/* `resolve` is what sluice does anyway. */
static int parse_server_param(struct slice arg, struct balance_server_conf *s)
{
	struct slice v;

	if (slice_eq(arg, SLICE("backup")))
		s->backup = true;
	else if (slice_eq(arg, SLICE("down")))
		s->down = true;
	else if (slice_eq(arg, SLICE("drain")))
		s->drain = true;
	else if (conf_param(arg, "weight", &v))
		return parse_count(v, 1, WEIGHT_MAX, &s->weight);
	else if (conf_param(arg, "max_fails", &v))
		return parse_count(v, 0, COUNT_MAX, &s->max_fails);
	else if (conf_param(arg, "max_conns", &v))
		return parse_count(v, 0, COUNT_MAX, &s->max_conns);
	else if (conf_param(arg, "fail_timeout", &v))
		return parse_time(v, false, &s->fail_timeout_s);
	else if (conf_param(arg, "slow_start", &v))
		return parse_time(v, true, &s->slow_start_ms);
	else if (!slice_eq(arg, SLICE("resolve")))
		return -SL_EINVAL;
	return 0;
}

/* What nginx has and sluice has not, by the name of the parameter; NULL: something else. */
static const char *unsupported(struct slice arg)
{
	static const char *const names[] = {"service", "route", "sid"};
	struct slice v;

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (conf_param(arg, names[i], &v))
			return names[i];
	return NULL;
}

static int set_param(struct conf *c, const struct conf_node *n, struct slice arg,
		     const struct balance_policy *policy, struct balance_server_conf *s)
{
	const char *name = unsupported(arg);

	if (name)
		return conf_error(c, n, "parameter \"%s\" is not supported", name);
	if (parse_server_param(arg, s) < 0)
		return conf_error(c, n, "invalid parameter \"%.*s\"", SLICE_FMT(arg));
	/* As in nginx, where the method stands before: behind it, backups serve when it gives up. */
	if (s->backup && policy && policy->method->no_backup)
		return conf_error(c, n, "balancing method does not support parameter \"%.*s\"",
				  SLICE_FMT(arg));
	return 0;
}

int upstream_server_set(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
			const struct conf_row *row)
{
	struct upstream_conf *u = ((struct upstream_block *)mod)->group;
	struct balance_server_conf *s;
	const char *wrong;

	if (u->n_servers == BALANCE_SERVERS_MAX)
		return conf_error(c, n, "more than %d servers in upstream \"%.*s\"",
				  BALANCE_SERVERS_MAX, SLICE_FMT(u->name));
	s = upstream_server_new(c, u);
	wrong = upstream_server_address(n->args[0], s);
	if (wrong)
		return conf_error(c, n, "%s in upstream \"%.*s\"", wrong, SLICE_FMT(n->args[0]));
	for (int i = 1; i < n->n_args; i++)
		if (set_param(c, n, n->args[i], u->policy, s) < 0)
			return -SL_EINVAL;
	return 0;
}
