/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the reading of lines that say how a group is balanced: least_conn, least_time, ip_hash, hash, random; and
 * of zone. */
#include "core/err.h"
#include "policy/upstream_conf_impl.h"

enum { ZONE_MIN_BYTES = 8 * 4096 }; /* as nginx */

static int bad_param(struct conf *c, const struct conf_node *n, int arg)
{
	return conf_error(c, n, "invalid parameter \"%.*s\"", SLICE_FMT(n->args[arg]));
}

static int set_hash(struct conf *c, const struct conf_node *n, struct balance_policy *p)
{
	p->method = &balance_hash;
	p->key = BALANCE_KEY_TEXT;
	if (n->n_args == 2) {
		if (!slice_eq(n->args[1], SLICE("consistent")))
			return bad_param(c, n, 1);
		p->method = &balance_ring;
	}
	return conf_tmpl(c, n, n->args[0], &p->key_text);
}

static int set_random(struct conf *c, const struct conf_node *n, struct balance_policy *p)
{
	p->method = &balance_random;
	if (n->n_args == 0)
		return 0;
	if (!slice_eq(n->args[0], SLICE("two")))
		return bad_param(c, n, 0);
	if (n->n_args == 1 || slice_eq(n->args[1], SLICE("least_conn")))
		p->method = &balance_random_two;
	else if (slice_eq(n->args[1], SLICE("least_time=header")))
		p->method = &balance_random_two_header;
	else if (slice_eq(n->args[1], SLICE("least_time=last_byte")))
		p->method = &balance_random_two_last_byte;
	else
		return bad_param(c, n, 1);
	return 0;
}

static int set_least_time(struct conf *c, const struct conf_node *n, struct balance_policy *p)
{
	if (slice_eq(n->args[0], SLICE("header")))
		p->method = &balance_least_header;
	else if (slice_eq(n->args[0], SLICE("last_byte")))
		p->method = &balance_least_last_byte;
	else
		return bad_param(c, n, 0);
	return 0;
}

int upstream_method_set(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
			const struct conf_row *row)
{
	struct upstream_conf *u = ((struct upstream_block *)mod)->group;
	struct balance_policy *p = arena_zalloc(&c->arena, sizeof *p);

	if (u->policy)
		conf_warn(c, n, "load balancing method redefined");
	u->policy = p;
	if (slice_eq(n->name, SLICE("hash")))
		return set_hash(c, n, p);
	if (slice_eq(n->name, SLICE("random")))
		return set_random(c, n, p);
	if (slice_eq(n->name, SLICE("least_time")))
		return set_least_time(c, n, p);
	if (slice_eq(n->name, SLICE("ip_hash"))) {
		p->method = &balance_ip_hash;
		p->key = BALANCE_KEY_ADDR;
	} else {
		p->method = &balance_least_conn;
	}
	return 0;
}

int upstream_method_finish(struct conf *c, const struct conf_node *n, struct upstream_conf *u)
{
	const struct balance_method *m = u->policy ? u->policy->method : NULL;

	for (uint32_t i = 0; m && m->no_slow_start && i < u->n_servers; i++)
		if (u->servers[i].slow_start_ms)
			return conf_error(c, n,
					  "balancing method does not support parameter "
					  "\"slow_start\" in upstream \"%.*s\"",
					  SLICE_FMT(u->name));
	if (m != &balance_ring)
		return 0;
	u->policy->ring = balance_ring_new(&c->arena, u->servers, u->n_servers);
	if (!u->policy->ring)
		return conf_error(c, n, "weights of upstream \"%.*s\" are over %d together",
				  SLICE_FMT(u->name), BALANCE_RING_WEIGHT_MAX);
	return 0;
}

/* ---- zone ---- */

int upstream_zone_set(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		      const struct conf_row *row)
{
	struct upstream_conf *u = ((struct upstream_block *)mod)->group;

	if (n->args[0].n == 0)
		return conf_error(c, n, "invalid zone name \"\"");
	u->zone_node = n;
	if (n->n_args == 1)
		return 0;
	if (conf_parse_size(n->args[1], &u->zone_bytes) < 0)
		return conf_error(c, n, "invalid zone size \"%.*s\"", SLICE_FMT(n->args[1]));
	if (u->zone_bytes < ZONE_MIN_BYTES)
		return conf_error(c, n, "zone \"%.*s\" is too small", SLICE_FMT(n->args[0]));
	return 0;
}

/* Several groups may share a zone; one of them says how large it is. */
int upstream_zone_finish(struct conf *c, struct upstream_conf *u)
{
	const struct conf_node *n = u->zone_node;
	int64_t bytes = 0;

	if (!n)
		return 0;
	for (struct upstream_conf *g = upstream_conf_main(c)->groups; g; g = g->next) {
		if (!g->zone_node || !slice_eq(g->zone_node->args[0], n->args[0]))
			continue;
		if (bytes && g->zone_bytes && g->zone_bytes != bytes)
			return conf_error(c, g->zone_node,
					  "the size %lld of shared memory zone \"%.*s\" conflicts "
					  "with already declared size %lld",
					  (long long)g->zone_bytes, SLICE_FMT(n->args[0]),
					  (long long)bytes);
		bytes = bytes ? bytes : g->zone_bytes;
	}
	return bytes ? 0
		     : conf_error(c, n, "zero size shared memory zone \"%.*s\"",
				  SLICE_FMT(n->args[0]));
}
