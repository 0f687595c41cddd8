/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns random: one drawn by weight, or the less loaded of two that are. */
#include "policy/balance_impl.h"

/* splitmix64: nobody gains by foreseeing it. */
static uint64_t next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* One that can be taken and is not NOT, or NULL: too many draws, or nobody is there. */
static struct balance_peer *draw(struct balance_turn *t, const struct balance_peer * not )
{
	uint32_t total = t->backup ? 0 : balance_total_weight(t->g);
	struct balance_ask *ask = t->ask;

	while (total && ask->n_draws <= BALANCE_DRAWS_MAX) {
		uint32_t i = balance_at_weight(t->g, (uint32_t)(next(&t->g->random) % total));

		if (&t->g->peer[i] != not &&balance_may_take(t, i))
			return &t->g->peer[i];
		ask->n_draws++;
	}
	return NULL;
}

static struct balance_peer *choose(struct balance_turn *t)
{
	struct balance_peer *p = draw(t, NULL);

	return p ? p : balance_rr.choose(t);
}

static struct balance_peer *of_two(struct balance_turn *t, balance_load_fn *load)
{
	struct balance_peer *a = draw(t, NULL), *b = a ? draw(t, a) : NULL;
	struct balance_load la, lb;

	if (!b)
		return balance_rr.choose(t);
	la = load(t, a);
	lb = load(t, b);
	return balance_load_compare(&la, &lb) < 0 ? a : b;
}

static struct balance_peer *choose_of_two(struct balance_turn *t)
{
	return of_two(t, balance_load_conns);
}

static struct balance_peer *choose_of_two_by_header(struct balance_turn *t)
{
	return of_two(t, balance_load_header);
}

static struct balance_peer *choose_of_two_by_last_byte(struct balance_turn *t)
{
	return of_two(t, balance_load_last_byte);
}

#define METHOD(text, fn) \
	{ \
		.name = text, .choose = fn, .no_backup = true, .no_slow_start = true \
	}

const struct balance_method balance_random = METHOD("random", choose);
const struct balance_method balance_random_two = METHOD("random two", choose_of_two);
const struct balance_method balance_random_two_header =
	METHOD("random two least_time=header", choose_of_two_by_header);
const struct balance_method balance_random_two_last_byte =
	METHOD("random two least_time=last_byte", choose_of_two_by_last_byte);
