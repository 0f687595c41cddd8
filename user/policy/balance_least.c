/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns least_conn and least_time: the least to do for the weight; round robin among equals. */
#include "policy/balance_impl.h"

enum {
	HALF_LIFE_MS = 10000,  /* of a time that nobody has measured again */
	TIME_MAX_MS = 1 << 24, /* nearly five hours */
};

struct least {
	balance_load_fn *load;
	struct balance_load best;
};

int balance_load_compare(const struct balance_load *a, const struct balance_load *b)
{
	__uint128_t l = (__uint128_t)a->n * b->weight, r = (__uint128_t)b->n * a->weight;

	return l < r ? -1 : l > r;
}

static uint64_t weight_of(const struct balance_turn *t, const struct balance_peer *p)
{
	return (uint64_t)balance_scaled(t, p, (int32_t)p->weight);
}

/* RAMPING: somebody is in slow_start. He has no request yet, and would get all of them until he has some, if
 * nobody counted as busy with the one that is to come. */
struct balance_load balance_load_conns(const struct balance_turn *t, const struct balance_peer *p)
{
	return (struct balance_load){.n = (uint64_t)p->conns + t->ramping,
				     .weight = weight_of(t, p)};
}

/* The time of one who was slow, and is not asked therefore, is forgotten by and by. */
static uint32_t value_at(const struct balance_average *a, uint64_t now_ms)
{
	uint32_t ms8 = __atomic_load_n(&a->ms8, __ATOMIC_RELAXED);
	uint64_t fed_ms = __atomic_load_n(&a->fed_ms, __ATOMIC_RELAXED);
	uint64_t halvings = now_ms > fed_ms ? (now_ms - fed_ms) / HALF_LIFE_MS : 0;

	return halvings < 32 ? ms8 >> halvings : 0;
}

void balance_average_feed(struct balance_average *a, uint64_t ms, uint64_t now_ms)
{
	uint64_t old = value_at(a, now_ms), new = 8 * (ms < TIME_MAX_MS ? ms : TIME_MAX_MS);

	if (old)
		new = (7 * old + new) / 8;
	__atomic_store_n(&a->ms8, (uint32_t) new, __ATOMIC_RELAXED);
	__atomic_store_n(&a->fed_ms, now_ms, __ATOMIC_RELAXED);
}

static struct balance_load timed(const struct balance_turn *t, const struct balance_peer *p,
				 const struct balance_average *average)
{
	return (struct balance_load){.n = ((uint64_t)p->conns + 1) * value_at(average, t->now_ms),
				     .weight = weight_of(t, p)};
}

struct balance_load balance_load_header(const struct balance_turn *t, const struct balance_peer *p)
{
	return timed(t, p, &p->header);
}

struct balance_load balance_load_last_byte(const struct balance_turn *t,
					   const struct balance_peer *p)
{
	return timed(t, p, &p->response);
}

static bool is_equal(const struct balance_turn *t, const struct balance_peer *p, const void *data)
{
	const struct least *least = data;
	struct balance_load own = least->load(t, p);

	return balance_load_compare(&own, &least->best) == 0;
}

static bool is_ramping(const struct balance_turn *t)
{
	const uint16_t *order = balance_order(t->g);

	for (uint32_t k = 0; k < t->g->n_order; k++)
		if (t->g->peer[order[k]].slow_since_ms && balance_may_take(t, order[k]))
			return true;
	return false;
}

static struct balance_peer *choose(struct balance_turn *t, balance_load_fn *load)
{
	const uint16_t *order = balance_order(t->g);
	struct least least = {.load = load};
	struct balance_peer *best = NULL;
	bool many = false;

	t->ramping = is_ramping(t);
	for (uint32_t k = 0; k < t->g->n_order; k++) {
		struct balance_peer *p = &t->g->peer[order[k]];
		struct balance_load own;
		int c;

		if (!balance_may_take(t, order[k]))
			continue;
		own = load(t, p);
		c = best ? balance_load_compare(&own, &least.best) : -1;
		if (c < 0) {
			best = p;
			least.best = own;
		}
		many = c == 0 || (c > 0 && many);
	}
	return many ? balance_rr_choose(t, is_equal, &least) : best;
}

static struct balance_peer *choose_conns(struct balance_turn *t)
{
	return choose(t, balance_load_conns);
}

static struct balance_peer *choose_header(struct balance_turn *t)
{
	return choose(t, balance_load_header);
}

static struct balance_peer *choose_last_byte(struct balance_turn *t)
{
	return choose(t, balance_load_last_byte);
}

const struct balance_method balance_least_conn = {.name = "least_conn", .choose = choose_conns};
const struct balance_method balance_least_header = {.name = "least_time header",
						    .choose = choose_header};
const struct balance_method balance_least_last_byte = {.name = "least_time last_byte",
						       .choose = choose_last_byte};
