/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the reading and inheritance of resolver lines. */
#include "core/err.h"
#include "policy/upstream_conf_impl.h"

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
	wrong = upstream_server_address(text, &s);
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

int upstream_resolver_set(struct conf *c, struct conf_block *b, void *mod,
			  const struct conf_node *n, const struct conf_row *row)
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

int upstream_resolver_inherit(struct conf *c, struct conf_block *b, void *mod, const void *parent)
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
