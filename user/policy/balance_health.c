/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns what health checks say about peers. Checks nobody: proxy/health.c does. */
#include <stdio.h>

#include "policy/balance_impl.h"

static void set_checks(struct balance_group *g, const struct balance_checks *c)
{
	g->n_checks = c->n;
	g->checks_mandatory = c->mandatory;
	g->checks_persistent = c->persistent;
}

void balance_checks_init(struct balance_group *g, const struct balance_checks *c)
{
	balance_enter(g);
	set_checks(g, c);
	for (uint32_t i = 0; i < g->n_peers; i++)
		if (g->peer[i].used)
			g->peer[i].unchecked = c->mandatory;
	balance_leave(g);
}

/* Bits have no names: after a reload they may mean other checks, so that only a peer that all found well
 * is known to be. */
static void begin_peer(struct balance_peer *p, const struct balance_checks *c)
{
	bool was_well = !p->sick && !p->unchecked;

	p->sick &= (1u << c->n) - 1;
	p->unchecked = was_well ? c->mandatory & ~c->persistent : c->mandatory;
}

void balance_checks_begin(struct balance_group *g, const struct balance_checks *c,
			  uint32_t generation)
{
	balance_enter(g);
	if (g->checks_generation && g->checks_generation != generation)
		for (uint32_t i = 0; i < g->n_peers; i++)
			if (g->peer[i].used)
				begin_peer(&g->peer[i], c);
	g->checks_generation = generation;
	set_checks(g, c);
	balance_leave(g);
}

static bool is_well(const struct balance_peer *p)
{
	return !p->sick && !p->unchecked;
}

/* After fail_timeout a request would be let through to see; the check has just done so. */
static void pass(const struct balance_group *g, struct balance_peer *p, uint64_t now_ms)
{
	const struct balance_server *s = &g->server[p->server];
	uint64_t now_s = now_ms / 1000;

	if (balance_has_failed(s, p) && !p->probing && now_s > p->checked_s &&
	    now_s - p->checked_s > s->fail_timeout_s)
		balance_come_back(g, p, now_ms);
}

static void judge(const struct balance_group *g, struct balance_peer *p, uint32_t bit,
		  enum balance_verdict verdict, uint64_t now_ms)
{
	bool was_well = is_well(p);

	if (verdict != BALANCE_NO_VERDICT) {
		p->unchecked &= ~bit;
		p->sick = verdict == BALANCE_SICK ? p->sick | bit : p->sick & ~bit;
	}
	if (was_well || !is_well(p))
		return;
	balance_come_back(g, p, now_ms);
	if (g->server[p->server].slow_start_ms)
		p->slow_since_ms = now_ms;
}

bool balance_checked(struct balance_group *g, uint32_t peer, uint32_t serial, unsigned check,
		     const char *error, enum balance_verdict verdict, uint64_t now_ms,
		     uint64_t now_wall_ms)
{
	struct balance_peer *p = &g->peer[peer];
	bool changed = false, was_well, was_sick;

	balance_enter(g);
	if (!p->used || p->serial != serial || check >= g->n_checks)
		goto out;
	was_well = is_well(p);
	was_sick = p->sick != 0;
	p->n_checks++;
	p->checked_wall_ms = now_wall_ms;
	if (error) {
		p->n_check_failures++;
		snprintf(p->check_error, sizeof p->check_error, "%s", error);
	} else {
		pass(g, p, now_ms);
	}
	judge(g, p, 1u << check, verdict, now_ms);
	changed = was_well ? !is_well(p) : is_well(p) || (p->sick && !was_sick);
out:
	balance_leave(g);
	return changed;
}
