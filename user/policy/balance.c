/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns what picks and outcomes do to peers: who can be taken, what failures mean, who is back. How one
 * is chosen among those is the methods'. Opens nothing, reads no clock. */
#include "policy/balance.h"

#include "policy/balance_impl.h"

/* ---- choice ---- */

static bool is_listed(const struct balance_peer *p)
{
	return p->used && !p->gone;
}

static bool was_tried(const struct balance_ask *ask, uint32_t i)
{
	return ask->tried[i / 64] >> i % 64 & 1;
}

bool balance_has_failed(const struct balance_server *s, const struct balance_peer *p)
{
	return s->max_fails && p->fails >= s->max_fails;
}

/* Failed, and neither is its time over nor is it free for a probe. */
static bool is_out(const struct balance_server *s, const struct balance_peer *p, uint64_t now_s)
{
	uint64_t since = now_s > p->checked_s ? now_s - p->checked_s : 0;

	if (!balance_has_failed(s, p))
		return false;
	return since <= s->fail_timeout_s || (p->probing && since <= BALANCE_PROBE_MAX_S);
}

/* Whatever failures of requests say. */
static bool can_serve(const struct balance_server *s, const struct balance_peer *p)
{
	return is_listed(p) && !s->down && !p->sick && !p->unchecked &&
	       (s->max_conns == 0 || p->conns < s->max_conns);
}

bool balance_is_up(const struct balance_server *s, const struct balance_peer *p, uint64_t now_s)
{
	return can_serve(s, p) && !is_out(s, p, now_s);
}

uint32_t balance_total_weight(struct balance_group *g)
{
	const uint16_t *order = balance_order(g);
	uint32_t total = 0;

	for (uint32_t k = 0; k < g->n_order; k++)
		if (!g->server[g->peer[order[k]].server].backup)
			total += g->peer[order[k]].weight;
	return total;
}

uint32_t balance_at_weight(struct balance_group *g, uint32_t w)
{
	const uint16_t *order = balance_order(g);
	uint32_t i = order[0];

	for (uint32_t k = 0; k < g->n_order; k++) {
		if (g->server[g->peer[order[k]].server].backup)
			continue;
		i = order[k];
		if (w < g->peer[i].weight)
			break;
		w -= g->peer[i].weight;
	}
	return i;
}

/* Of only one peer failures are no reason to ask nobody. */
bool balance_may_take(const struct balance_turn *t, uint32_t i)
{
	const struct balance_group *g = t->g;
	const struct balance_peer *p = &g->peer[i];
	const struct balance_server *s = &g->server[p->server];

	if (s->backup != t->backup || was_tried(t->ask, i))
		return false;
	if (!g->single)
		return balance_is_up(s, p, t->now_ms / 1000);
	return can_serve(s, p);
}

/* slow_start: a peer that came back counts for more and more of its weight. */
int64_t balance_scaled(const struct balance_turn *t, const struct balance_peer *p, int32_t weight)
{
	uint64_t whole_ms = t->g->server[p->server].slow_start_ms, since_ms = 0;
	int64_t scaled = (int64_t)weight * BALANCE_SCALE;

	if (!p->slow_since_ms || t->g->single)
		return scaled;
	if (t->now_ms > p->slow_since_ms)
		since_ms = t->now_ms - p->slow_since_ms;
	if (since_ms >= whole_ms)
		return scaled;
	scaled = scaled * (int64_t)since_ms / (int64_t)whole_ms;
	return scaled > 0 || weight == 0 ? scaled : 1;
}

static enum balance_why why_none(const struct balance_group *g)
{
	bool known = false, failed = false;

	for (uint32_t i = 0; i < g->n_servers; i++) {
		if (g->server[i].down)
			continue;
		if (g->server[i].resolve == BALANCE_PENDING)
			return BALANCE_WAIT;
		failed |= g->server[i].resolve == BALANCE_FAILED;
	}
	for (uint32_t i = 0; i < g->n_peers; i++)
		known |= is_listed(&g->peer[i]);
	return failed && !known ? BALANCE_UNRESOLVED : BALANCE_NONE_LIVE;
}

static struct balance_peer *choose(struct balance_turn *t)
{
	const struct balance_policy *policy = t->ask->policy;
	const struct balance_method *m = policy && !t->g->single ? policy->method : &balance_rr;
	struct balance_peer *p = m->choose(t);

	if (p)
		return p;
	t->backup = true;
	return m->choose(t);
}

enum balance_why balance_pick(struct balance_group *g, unsigned worker, uint64_t now_ms,
			      struct balance_ask *ask, uint32_t *peer)
{
	struct balance_turn t = {.g = g, .ask = ask, .now_ms = now_ms};
	enum balance_why why = BALANCE_OK;
	uint64_t now_s = now_ms / 1000;
	const struct balance_server *s;
	struct balance_peer *p;
	uint32_t i;

	balance_enter(g);
	p = choose(&t);
	if (!p) {
		why = why_none(g);
		goto out;
	}
	s = &g->server[p->server];
	i = (uint32_t)(p - g->peer);
	p->probing = !g->single && balance_has_failed(s, p);
	if (now_s > p->checked_s && now_s - p->checked_s > s->fail_timeout_s)
		p->checked_s = now_s;
	if (p->slow_since_ms && now_ms - p->slow_since_ms >= s->slow_start_ms)
		p->slow_since_ms = 0;
	balance_row(g, worker)[i]++;
	p->conns++;
	p->n_requests++;
	ask->tried[i / 64] |= 1ULL << i % 64;
	*peer = i;
out:
	balance_leave(g);
	return why;
}

/* ---- outcome ---- */

/* A success counts only when the peer was picked, or probed, later than its last failure's time:
 * until then the failures stay counted. */
static void mark_alive(const struct balance_group *g, struct balance_peer *p, uint64_t now_ms)
{
	if (p->accessed_s < p->checked_s)
		balance_come_back(g, p, now_ms);
}

void balance_come_back(const struct balance_group *g, struct balance_peer *p, uint64_t now_ms)
{
	const struct balance_server *s = &g->server[p->server];

	if (s->slow_start_ms && balance_has_failed(s, p))
		p->slow_since_ms = now_ms;
	p->fails = 0;
	p->probing = false;
	p->unavailable_since_ms = 0;
}

void balance_alive(struct balance_group *g, uint32_t peer, uint64_t header_ms, uint64_t now_ms)
{
	/* Without the lock: of two at once one is lost. */
	balance_average_feed(&g->peer[peer].header, header_ms, now_ms);
	/* Nearly always false; a race costs nothing, since balance_done() looks again. */
	if (!__atomic_load_n(&g->peer[peer].probing, __ATOMIC_RELAXED))
		return;
	balance_enter(g);
	mark_alive(g, &g->peer[peer], now_ms);
	balance_leave(g);
}

/* True: this was the one of max_fails. */
static bool mark_failed(const struct balance_group *g, struct balance_peer *p, uint64_t now_s,
			uint64_t now_wall_ms)
{
	const struct balance_server *s = &g->server[p->server];

	p->n_failures++;
	p->probing = false;
	if (g->single)
		return false;
	p->fails++;
	p->accessed_s = p->checked_s = now_s;
	if (s->max_fails)
		p->effective_weight -= (int32_t)(p->weight / s->max_fails);
	if (p->effective_weight < 0)
		p->effective_weight = 0;
	if (!balance_has_failed(s, p))
		return false;
	if (!p->unavailable_since_ms)
		p->unavailable_since_ms = now_wall_ms;
	return true;
}

/* A probe that ended without a word about the peer: the next request may probe at once. */
static void mark_unknown(struct balance_peer *p)
{
	if (p->probing)
		p->checked_s = p->accessed_s;
	p->probing = false;
}

bool balance_done(struct balance_group *g, unsigned worker, uint32_t peer,
		  enum balance_outcome outcome, unsigned status, uint64_t response_ms,
		  uint64_t now_ms, uint64_t now_wall_ms)
{
	bool disabled = false;
	struct balance_peer *p;
	uint32_t *on;

	balance_enter(g);
	if (peer >= g->n_peers)
		goto out;
	p = &g->peer[peer];
	on = balance_row(g, worker) + peer;
	if (*on) {
		--*on;
		p->conns -= p->conns > 0;
	}
	if (!p->used)
		goto out;
	p->n_status[status / 100 < 6 ? status / 100 : 0]++;
	p->response_ms_total += response_ms;
	if (outcome == BALANCE_SUCCESS && status)
		balance_average_feed(&p->response, response_ms, now_ms);
	if (outcome == BALANCE_FAILURE)
		disabled = mark_failed(g, p, now_ms / 1000, now_wall_ms);
	else if (outcome == BALANCE_SUCCESS || status)
		mark_alive(g, p, now_ms);
	else
		mark_unknown(p);
	if (g->single) {
		p->fails = 0;
		p->unavailable_since_ms = 0;
	}
	balance_drop_if_idle(p);
out:
	balance_leave(g);
	return disabled;
}

void balance_worker_gone(struct balance_group *g, unsigned worker)
{
	uint32_t *row;

	balance_enter(g);
	row = balance_row(g, worker);
	for (uint32_t i = 0; i < g->n_peers; i++) {
		struct balance_peer *p = &g->peer[i];

		if (row[i] == 0)
			continue;
		p->conns -= p->conns < row[i] ? p->conns : row[i];
		row[i] = 0;
		mark_unknown(p);
		balance_drop_if_idle(p);
	}
	balance_leave(g);
}

/* ---- status ---- */

uint32_t balance_n_untried(struct balance_group *g, const struct balance_ask *ask)
{
	uint32_t n = 0;

	balance_enter(g);
	for (uint32_t i = 0; i < g->n_peers; i++)
		n += is_listed(&g->peer[i]) && !g->server[g->peer[i].server].down &&
		     !g->peer[i].sick && !g->peer[i].unchecked && !was_tried(ask, i);
	balance_leave(g);
	return n;
}

bool balance_get_server(struct balance_group *g, uint32_t i, struct balance_server *out)
{
	bool found;

	balance_enter(g);
	found = i < g->n_servers;
	if (found)
		*out = g->server[i];
	balance_leave(g);
	return found;
}

bool balance_get_peer(struct balance_group *g, uint32_t i, struct balance_peer *out)
{
	bool found;

	balance_enter(g);
	found = i < g->n_peers && g->peer[i].used;
	if (found)
		*out = g->peer[i];
	balance_leave(g);
	return found;
}
