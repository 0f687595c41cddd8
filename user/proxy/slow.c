/* SPDX-License-Identifier: BSD-2-Clause */
/* Measures how fast clients move what they owe us, and ends those below their minimum. The time-outs look at
 * single pauses; who moves a byte before each of them ends would hold a connection for ever. */
#include "proxy/slow.h"

#include "proxy/client.h"

enum { LOOK_MS = 1000 };

static bool is_asked_for(const struct conf_block *b)
{
	const struct http_scope *s = b->mod[MOD_HTTP];

	if (s && s->min_rate && s->min_rate->bytes_s)
		return true;
	for (const struct conf_block *k = b->first_child; k; k = k->next)
		if (is_asked_for(k))
			return true;
	return false;
}

/* Did C move too little since the window began? A window that was good enough is followed by another. */
static bool is_slow(struct client_conn *c, const struct http_min_rate *min, uint64_t now_ms)
{
	uint64_t moved = c->conn.n_received + c->conn.n_sent, took_ms;

	/* Counters begin anew where a layer below them changed. */
	if (!c->slow_since_ms || moved < c->slow_bytes) {
		c->slow_since_ms = now_ms;
		c->slow_bytes = moved;
		return false;
	}
	took_ms = now_ms - c->slow_since_ms;
	if (took_ms < (uint64_t)min->after_ms)
		return false;
	if ((moved - c->slow_bytes) * 1000 < (uint64_t)min->bytes_s * took_ms)
		return true;
	c->slow_since_ms = now_ms;
	c->slow_bytes = moved;
	return false;
}

static void look(struct timer *t)
{
	struct env *env = (struct env *)((char *)t - offsetof(struct env, slow_timer));

	for (struct client_conn *c = env->clients; c; c = c->next) {
		const struct http_scope *s =
			c->dead || !c->proto->awaits ? NULL : c->proto->awaits(c);

		if (!s || !s->min_rate || !s->min_rate->bytes_s) {
			c->slow_since_ms = 0;
			continue;
		}
		if (!is_slow(c, s->min_rate, env->loop.clock.mono_ms))
			continue;
		client_log(c, s, LOG_LVL_INFO, "client is slower than client_min_rate");
		env->stats->client_slow++;
		client_offence(c, BAN_ON_SLOW_CLIENT);
		client_kill(c, false);
	}
	timer_set(&env->loop, &env->slow_timer, LOOK_MS);
}

void slow_start(struct env *env)
{
	timer_init(&env->slow_timer, look);
	if (is_asked_for(env->conf->main))
		timer_set(&env->loop, &env->slow_timer, LOOK_MS);
}

void slow_stop(struct env *env)
{
	timer_cancel(&env->loop, &env->slow_timer);
}
