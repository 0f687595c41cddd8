/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns least_conn: fewest requests for the weight; round robin among equals. */
#include "policy/balance_impl.h"

/* How loaded a peer is: N / WEIGHT. */
struct load {
	uint64_t n, weight;
	bool ramping; /* somebody is in slow_start: nobody counts as empty */
};

static int compare(const struct load *a, const struct load *b)
{
	__uint128_t l = (__uint128_t)a->n * b->weight, r = (__uint128_t)b->n * a->weight;

	return l < r ? -1 : l > r;
}

static struct load load_of(const struct balance_turn *t, const struct balance_peer *p, bool ramping)
{
	return (struct load){
		.n = (uint64_t)p->conns + ramping,
		.weight = (uint64_t)balance_scaled(t, p, (int32_t)p->weight),
		.ramping = ramping,
	};
}

static bool is_equal(const struct balance_turn *t, const struct balance_peer *p, const void *data)
{
	const struct load *best = data;
	struct load own = load_of(t, p, best->ramping);

	return compare(&own, best) == 0;
}

/* One whose weight still grows has no request yet, and would get all of them until it has some. */
static bool is_ramping(const struct balance_turn *t)
{
	const uint16_t *order = balance_order(t->g);

	for (uint32_t k = 0; k < t->g->n_order; k++)
		if (t->g->peer[order[k]].slow_since_ms && balance_may_take(t, order[k]))
			return true;
	return false;
}

static struct balance_peer *choose(struct balance_turn *t)
{
	const uint16_t *order = balance_order(t->g);
	bool many = false, ramping = is_ramping(t);
	struct balance_peer *best = NULL;
	struct load least = {0};

	for (uint32_t k = 0; k < t->g->n_order; k++) {
		struct balance_peer *p = &t->g->peer[order[k]];
		struct load own;
		int c;

		if (!balance_may_take(t, order[k]))
			continue;
		own = load_of(t, p, ramping);
		c = best ? compare(&own, &least) : -1;
		if (c < 0) {
			best = p;
			least = own;
		}
		many = c == 0 || (c > 0 && many);
	}
	return many ? balance_rr_choose(t, is_equal, &least) : best;
}

const struct balance_method balance_least_conn = {.name = "least_conn", .choose = choose};
