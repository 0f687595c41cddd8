/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the reading of health_check, and the numbers of checks within their groups. Checks nobody. */
#include "proxy/health_conf.h"

#include "core/err.h"
#include "core/num.h"
#include "http/chars.h"
#include "policy/upstream_conf.h"
#include "proxy/proxy_conf.h"

enum {
	COUNT_MAX = 1000000,
	INTERVAL_MIN_MS = 10,
};

struct health_scope { /* in http: the list of all; in a location: its own */
	struct health_check *first, **tail;
};

static struct health_scope *all_checks(const struct conf *c)
{
	return conf_top_get(c, CTX_HTTP, MOD_HEALTH);
}

struct health_check *health_conf_checks(const struct conf *c)
{
	struct health_scope *s = all_checks(c);

	return s ? s->first : NULL;
}

static void append(struct health_scope *s, struct health_check *h)
{
	if (!s->tail)
		s->tail = &s->first;
	*s->tail = h;
	s->tail = &h->next;
}

static int parse_count(struct slice v, int64_t max, int64_t *out)
{
	uint64_t n;

	if (num_u63(v, &n) < 0 || n == 0 || n > (uint64_t)max)
		return -SL_EINVAL;
	*out = (int64_t)n;
	return 0;
}

static int parse_uri(struct slice v, struct slice *out)
{
	for (size_t i = 0; i < v.n; i++)
		if ((unsigned char)v.p[i] <= ' ' || v.p[i] == 0x7f)
			return -SL_EINVAL;
	*out = v;
	return slice_starts(v, SLICE("/")) ? 0 : -SL_EINVAL;
}

static int parse_port(struct slice v, struct health_check *h)
{
	int64_t port;

	if (parse_count(v, 65535, &port))
		return -SL_EINVAL;
	h->port = (uint16_t)port;
	return 0;
}

static int parse_param(struct slice arg, struct health_check *h)
{
	struct slice v;

	if (conf_param(arg, "interval", &v))
		return conf_parse_msec(v, &h->interval_ms) || h->interval_ms < INTERVAL_MIN_MS
			       ? -SL_EINVAL
			       : 0;
	if (conf_param(arg, "jitter", &v))
		return conf_parse_msec(v, &h->jitter_ms);
	if (conf_param(arg, "fails", &v))
		return parse_count(v, COUNT_MAX, &h->n_fails);
	if (conf_param(arg, "passes", &v))
		return parse_count(v, COUNT_MAX, &h->n_passes);
	if (conf_param(arg, "uri", &v))
		return parse_uri(v, &h->uri);
	if (conf_param(arg, "port", &v))
		return parse_port(v, h);
	if (slice_eq(arg, SLICE("mandatory")))
		h->mandatory = true;
	else if (slice_eq(arg, SLICE("persistent")))
		h->persistent = true;
	else
		return -SL_EINVAL;
	return 0;
}

static int set_check(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		     const struct conf_row *row)
{
	static const char *const unsupported[] = {"match", "type", "keepalive_time", "grpc_service",
						  "grpc_status"};
	struct health_check *h = arena_zalloc(&c->arena, sizeof *h);
	struct slice v;

	*h = (struct health_check){
		.block = b,
		.node = n,
		.interval_ms = 5000,
		.n_fails = 1,
		.n_passes = 1,
		.uri = SLICE("/"),
	};
	for (int i = 0; i < n->n_args; i++) {
		for (size_t k = 0; k < sizeof unsupported / sizeof unsupported[0]; k++)
			if (conf_param(n->args[i], unsupported[k], &v))
				return conf_error(c, n, "parameter \"%s\" is not supported",
						  unsupported[k]);
		if (parse_param(n->args[i], h))
			return conf_error(c, n, "invalid parameter \"%.*s\"",
					  SLICE_FMT(n->args[i]));
	}
	if (h->persistent && !h->mandatory)
		return conf_error(c, n, "\"persistent\" needs \"mandatory\"");
	append(mod, h);
	return 0;
}

/* A group that proxy_pass makes of a host is checked as well as a named one. */
static int finish_check(struct conf *c, const struct conf_block *b, struct health_check *h)
{
	const struct proxy_scope *p = b->mod[MOD_PROXY];
	struct balance_checks *checks;

	if (!p->pass || !p->pass->group)
		return conf_error(
			c, h->node,
			"\"health_check\" needs a \"proxy_pass\" without variables in the "
			"same location");
	h->group = p->pass->group;
	checks = &h->group->checks;
	if (checks->n == BALANCE_CHECKS_MAX)
		return conf_error(c, h->node, "more than %d health checks of upstream \"%.*s\"",
				  BALANCE_CHECKS_MAX, SLICE_FMT(h->group->name));
	h->index = checks->n++;
	checks->mandatory |= (uint32_t)h->mandatory << h->index;
	checks->persistent |= (uint32_t)h->persistent << h->index;
	return 0;
}

static int finish(struct conf *c, struct conf_block *b, void *mod)
{
	struct health_scope *s = mod;

	if (b->ctx != CTX_LOCATION)
		return 0;
	for (struct health_check *h = s->first, *next; h; h = next) {
		next = h->next;
		h->next = NULL;
		if (finish_check(c, b, h))
			return -SL_EINVAL;
		append(all_checks(c), h);
	}
	s->first = NULL;
	return 0;
}

static const struct conf_row rows[] = {
	{
		.name = "health_check",
		.contexts = CTX_LOCATION,
		.args_min = 0,
		.args_max = -1,
		.type = CONF_CUSTOM,
		.flags = CONF_MULTI,
		.set = set_check,
		.help = "[interval=TIME] [jitter=TIME] [fails=N] [passes=N] [uri=URI] [port=N] "
			"[mandatory [persistent]] -- asks each server of proxy_pass's group for URI (/) "
			"each INTERVAL (5s), as the location's requests are sent; FAILS (1) answers in a "
			"row that are not 2xx or 3xx take a server out, PASSES (1) bring it back; "
			"mandatory: not before the first success; persistent: nor anew after a reload",
	},
};

const struct conf_module health_module = {
	.name = "health_check",
	.rows = rows,
	.n_rows = sizeof rows / sizeof rows[0],
	.contexts = CTX_HTTP | CTX_LOCATION,
	.bytes = sizeof(struct health_scope),
	.finish = finish,
};
