/* SPDX-License-Identifier: BSD-2-Clause */
/* `geo`: its lines as a table of networks, and the variable that looks there when it is asked for. */
#include "proxy/geo_conf.h"

#include "core/err.h"
#include "policy/nets.h"
#include "proxy/request.h"
#include "proxy/vars_user.h"

/* MOD_GEO's struct in a geo block. */
struct geo {
	struct user_var *var; /* NULL: the block is another module's */
	struct tmpl *source;  /* NULL: the client's address */
	struct nets nets;     /* values: struct slice */
	const struct slice *deflt;
};

/* As nginx: what is no address counts as the last one of IPv4. */
static size_t address_of(struct request *r, const struct geo *g, struct addr *a,
			 const uint8_t **bytes)
{
	static const uint8_t none[4] = {255, 255, 255, 255};
	struct slice text;
	size_t n = 0;

	if (!g->source) {
		n = addr_bytes(&r->remote->addr, bytes);
	} else {
		text = tmpl_eval(g->source, r, &r->arena);
		if (!slice_starts(text, SLICE("[")) && addr_from_ip(text, 0, a) == 0)
			n = addr_bytes(a, bytes);
	}
	if (n)
		return n;
	*bytes = none;
	return sizeof none;
}

static bool look_up(struct request *r, const void *data, struct slice *out)
{
	const struct geo *g = data;
	const struct slice *value;
	const uint8_t *bytes;
	struct addr a;
	size_t n = address_of(r, g, &a, &bytes);

	value = nets_find(&g->nets, bytes, n);
	if (!value)
		value = g->deflt;
	*out = value ? *value : SLICE("");
	return true;
}

static int set_geo(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		   const struct conf_row *row)
{
	struct geo *g = mod;

	g->var = vars_user_add(c, n, n->args[n->n_args - 1]);
	if (!g->var)
		return -SL_EINVAL;
	nets_init(&g->nets, &c->arena);
	if (n->n_args == 1)
		return 0;
	if (n->args[0].n < 2 || n->args[0].p[0] != '$')
		return conf_error(c, n, "invalid variable name \"%.*s\"", SLICE_FMT(n->args[0]));
	return conf_tmpl(c, n, n->args[0], &g->source);
}

static int parse_net(struct conf *c, const struct conf_node *n, struct slice text, struct cidr *out)
{
	if (cidr_parse(text, out))
		return conf_error(c, n, "invalid network \"%.*s\"", SLICE_FMT(text));
	if (cidr_has_host_bits(text))
		conf_warn(c, n, "low address bits of %.*s are meaningless", SLICE_FMT(text));
	return 0;
}

static int free_line(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n)
{
	struct geo *g = mod;
	struct cidr net;

	if (slice_eq(n->name, SLICE("ranges")) || slice_eq(n->name, SLICE("proxy")) ||
	    slice_eq(n->name, SLICE("proxy_recursive")))
		return conf_error_hint(c, n, "networks, and set_real_ip_from, do what it is for",
				       "\"%.*s\" in \"geo\" is not supported", SLICE_FMT(n->name));
	if (n->n_args != 1)
		return conf_error(c, n, "invalid number of the geo parameters");
	if (slice_eq(n->name, SLICE("delete"))) {
		if (parse_net(c, n, n->args[0], &net))
			return -SL_EINVAL;
		nets_put(&g->nets, &net, NULL);
		return 0;
	}
	if (slice_eq(n->name, SLICE("default"))) {
		g->deflt = &n->args[0];
		return 0;
	}
	if (parse_net(c, n, n->name, &net))
		return -SL_EINVAL;
	nets_put(&g->nets, &net, &n->args[0]);
	return 0;
}

static int finish(struct conf *c, struct conf_block *b, void *mod)
{
	struct geo *g = mod;

	if (!g->var)
		return 0;
	nets_build(&g->nets);
	vars_user_compute(g->var, look_up, g, false);
	return 0;
}

static const struct conf_row rows[] = {
	{.name = "geo",
	 .contexts = CTX_HTTP,
	 .args_min = 1,
	 .args_max = 2,
	 .type = CONF_BLOCK,
	 .block_ctx = CTX_MAP,
	 .flags = CONF_MULTI,
	 .set = set_geo,
	 .help = "[$ADDRESS] $NAME -- $NAME is the value behind the smallest network that the address (the client's) is "
		 "in: `NETWORK VALUE`, `default VALUE`, `delete NETWORK`, `include FILE`"},
};

const struct conf_module geo_module = {
	.name = "geo",
	.rows = rows,
	.n_rows = sizeof rows / sizeof rows[0],
	.contexts = CTX_MAP,
	.bytes = sizeof(struct geo),
	.free_line = free_line,
	.finish = finish,
};
