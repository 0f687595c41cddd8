/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns smooth weighted round robin, to which the other methods come back when theirs finds nobody. */
#include "policy/balance_impl.h"

/* Each candidate gains its weight, the richest is taken and pays what all gained together. A weight that
 * failures have lowered comes back by one in each round. */
struct balance_peer *balance_rr_choose(struct balance_turn *t,
				       bool (*also)(const struct balance_turn *t,
						    const struct balance_peer *p, const void *data),
				       const void *data)
{
	const uint16_t *order = balance_order(t->g);
	struct balance_peer *best = NULL;
	int64_t total = 0;

	for (uint32_t k = 0; k < t->g->n_order; k++) {
		struct balance_peer *p = &t->g->peer[order[k]];
		int64_t gain;

		if (!balance_may_take(t, order[k]) || (also && !also(t, p, data)))
			continue;
		gain = balance_scaled(t, p, p->effective_weight);
		p->current_weight += gain;
		total += gain;
		if (p->effective_weight < (int32_t)p->weight)
			p->effective_weight++;
		if (!best || p->current_weight > best->current_weight)
			best = p;
	}
	if (best)
		best->current_weight -= total;
	return best;
}

static struct balance_peer *choose(struct balance_turn *t)
{
	return balance_rr_choose(t, NULL, NULL);
}

const struct balance_method balance_rr = {.name = "round_robin", .choose = choose};
