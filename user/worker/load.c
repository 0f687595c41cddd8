/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns this worker's figures for steering while it accepts. Decides nothing. */
#include "worker/load.h"

#include <stddef.h>

enum {
	WINDOW_MS = 100,
	FULL = 1000,
	NEGLIGIBLE = 15, /* thousandths */
};

#define WINDOW_NS (WINDOW_MS * 1000000ull)

static struct load *of_loop(struct loop *loop)
{
	return loop->turn_data;
}

static void on_turn(struct loop *loop, uint64_t now_ns, uint64_t busy_ns)
{
	load_turn(of_loop(loop), now_ns, busy_ns);
}

/* The turn that it makes is all that is wanted. */
static void on_timer(struct timer *t)
{
}

static uint64_t n_accepted(const struct stats_worker *s)
{
	return s->conns_accepted + s->conns_refused_banned + s->conns_refused_full;
}

void load_start(struct load *l, struct steer_load *at, struct loop *loop,
		const struct stats_worker *stats)
{
	*l = (struct load){.at = at,
			   .loop = loop,
			   .stats = stats,
			   .since_ns = clock_mono_ns(),
			   .n_accepted = n_accepted(stats)};
	timer_init(&l->timer, on_timer);
	if (!at)
		return;
	loop->turn_data = l;
	loop->on_turn = on_turn;
}

void load_stop(struct load *l)
{
	if (!l->at)
		return;
	l->loop->on_turn = NULL;
	timer_cancel(l->loop, &l->timer);
	l->at = NULL;
}

/* An idle loop turns not at all: a window that is much too long was idle but for its end. */
static void end_window(struct load *l, uint64_t now_ns)
{
	uint64_t took = now_ns - l->since_ns, most = 2 * WINDOW_NS;
	uint64_t share;

	if (took > most)
		took = l->busy_ns > WINDOW_NS ? l->busy_ns : WINDOW_NS;
	share = l->busy_ns < took ? l->busy_ns * FULL / took : FULL;
	l->busy_thousandth = (uint32_t)(l->busy_thousandth + share) / 2;
	if (l->busy_thousandth < NEGLIGIBLE)
		l->busy_thousandth = 0;
	l->since_ns = now_ns;
	l->busy_ns = 0;
}

/* Sent here, and accepted; who never finishes the handshake is forgotten by half in each window. */
static void count_taken(struct load *l, bool window_ends)
{
	struct steer_load *at = l->at;
	uint64_t given = __atomic_load_n(&at->given, __ATOMIC_RELAXED);
	uint64_t n = n_accepted(l->stats), taken = at->taken + (n - l->n_accepted);

	l->n_accepted = n;
	if (taken < given && window_ends)
		taken += (given - taken + 1) / 2;
	at->taken = taken < given ? taken : given;
}

void load_turn(struct load *l, uint64_t now_ns, uint64_t busy_ns)
{
	bool window_ends = now_ns - l->since_ns >= WINDOW_NS;

	l->busy_ns += busy_ns;
	l->at->conns = (uint32_t)l->stats->conns_active;
	count_taken(l, window_ends);
	if (window_ends) {
		end_window(l, now_ns);
		l->at->busy = (l->busy_thousandth * STEER_BUSY_FULL + FULL / 2) / FULL;
	}
	if ((l->busy_thousandth || l->busy_ns > WINDOW_NS * NEGLIGIBLE / FULL ||
	     l->at->taken != l->at->given) &&
	    !timer_is_set(&l->timer))
		timer_set(l->loop, &l->timer, WINDOW_MS);
}
