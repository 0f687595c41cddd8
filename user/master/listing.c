/* SPDX-License-Identifier: BSD-2-Clause */
/* The allow and deny lists, in the only process that writes them: what the configuration says, and who is
 * never to be shut out by a mistake: this host, its upstreams, and who administrates it. */
#include <errno.h>
#include <ifaddrs.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "master/master.h"
#include "policy/lists.h"
#include "policy/upstream_conf.h"

enum {
	REFRESH_MS = 2000,
	ADMIN_PEER_MS = 24 * 3600 * 1000,
};

struct gathered {
	struct ban_exempt v[BAN_EXEMPT_MAX];
	uint32_t n;
	bool is_full;
};

static const struct log *log_of(const struct master *m)
{
	return &m->cycle->log;
}

static const struct lists *lists_of(const struct master *m)
{
	return lists_get(&m->cycle->conf);
}

static struct guard_cidr cidr_of(const struct ban_net *n)
{
	struct guard_cidr c = {.addr.family = n->family, .prefix_len = n->prefix_len};

	memcpy(c.addr.bytes, n->bytes, sizeof c.addr.bytes);
	return c;
}

/* ---- who is exempt ---- */

static void gather(struct gathered *g, const struct ban_net *net, enum ban_exempt_why why)
{
	if (g->n == BAN_EXEMPT_MAX) {
		g->is_full = true;
		return;
	}
	g->v[g->n++] = (struct ban_exempt){.net = *net, .why = (uint8_t)why};
}

static void gather_addr(struct gathered *g, const struct addr *a, enum ban_exempt_why why)
{
	struct ban_net net;

	if (ban_net_of(&net, a, 0))
		gather(g, &net, why);
}

static void gather_own(struct gathered *g)
{
	struct ifaddrs *all = NULL;

	if (getifaddrs(&all))
		return;
	for (const struct ifaddrs *i = all; i; i = i->ifa_next) {
		struct addr a = {0};

		if (!i->ifa_addr)
			continue;
		if (i->ifa_addr->sa_family == AF_INET)
			a.len = sizeof a.in;
		else if (i->ifa_addr->sa_family == AF_INET6)
			a.len = sizeof a.in6;
		else
			continue;
		memcpy(&a.sa, i->ifa_addr, a.len);
		gather_addr(g, &a, BAN_EXEMPT_OWN);
	}
	freeifaddrs(all);
}

static void gather_upstreams(struct gathered *g, const struct conf *c)
{
	const struct upstream_main *up = upstream_conf_main(c);
	struct balance_peer p;

	for (struct upstream_conf *u = up ? up->groups : NULL; u; u = u->next)
		for (uint32_t i = 0; u->group && i < u->group->peers_room; i++)
			if (balance_get_peer(u->group, i, &p) && !p.gone)
				gather_addr(g, &p.addr, BAN_EXEMPT_UPSTREAM);
}

static void gather_admins(struct gathered *g, const struct master *m)
{
	for (int i = 0; i < ADMIN_PEERS_MAX; i++)
		if (m->admin_peers[i].until_ms > m->loop.clock.mono_ms)
			gather(g, &m->admin_peers[i].net, BAN_EXEMPT_ADMIN);
}

static int by_net(const void *x, const void *y)
{
	const struct ban_exempt *a = x, *b = y;
	int r = memcmp(&a->net, &b->net, sizeof a->net);

	return r ? r : a->why - b->why;
}

/* Each network once, for the least of its reasons. */
static void sort_out(struct gathered *g)
{
	uint32_t n = 0;

	qsort(g->v, g->n, sizeof g->v[0], by_net);
	for (uint32_t i = 0; i < g->n; i++)
		if (!n || memcmp(&g->v[i].net, &g->v[n - 1].net, sizeof g->v[i].net) != 0)
			g->v[n++] = g->v[i];
	g->n = n;
}

uint32_t listing_of_conf(const struct conf *c, struct ban_exempt out[static BAN_EXEMPT_MAX])
{
	struct gathered *g = calloc(1, sizeof *g);
	const struct lists *l = lists_get(c);
	uint32_t n = 0;

	if (g && l && l->allow_auto) {
		gather_own(g);
		gather_upstreams(g, c);
		sort_out(g);
		n = g->n;
		memcpy(out, g->v, n * sizeof *out);
	}
	free(g);
	return n;
}

/* True: it is another list than before. */
static bool find_exempt(struct master *m)
{
	struct gathered *g = calloc(1, sizeof *g);
	const struct lists *l = lists_of(m);
	bool changed;

	if (!g)
		return false;
	if (l && l->allow_auto) {
		gather_own(g);
		gather_admins(g, m);
		gather_upstreams(g, &m->cycle->conf);
	}
	sort_out(g);
	if (g->is_full && !m->said_exempt_full)
		log_write(
			log_of(m), LOG_LVL_WARN, 0,
			"allow_auto has room for %d addresses: there are more, which may be banned",
			BAN_EXEMPT_MAX);
	m->said_exempt_full = g->is_full;
	changed = ban_exempt_set(m->bans, g->v, g->n);
	free(g);
	return changed;
}

/* ---- into the kernel ---- */

static void apply_allow(struct master *m)
{
	struct ban_exempt *exempt = calloc(BAN_EXEMPT_MAX, sizeof *exempt);
	uint32_t n_exempt = exempt ? ban_exempt_list(m->bans, exempt) : 0;
	char err[GUARD_ERR_MAX] = "no memory";

	if (!exempt ||
	    filling_allow(guard_maps(m->guard), lists_of(m), exempt, n_exempt, err, sizeof err))
		log_write(log_of(m), LOG_LVL_ERROR, 0, "the guard's allow list: %s", err);
	free(exempt);
}

static void apply_deny(struct master *m)
{
	struct filling_denied d;
	char err[GUARD_ERR_MAX];

	if (filling_deny(guard_maps(m->guard), lists_of(m), &d, err, sizeof err))
		log_write(log_of(m), LOG_LVL_ERROR, 0, "the guard's deny list: %s", err);
	m->deny_ends_wall_ms = d.ends_wall_ms;
	if (d.change.n_added || d.change.n_changed || d.change.n_deleted)
		log_write(log_of(m), LOG_LVL_NOTICE, 0,
			  "the guard's deny list: %zu networks, %u added, %u changed, %u taken out",
			  d.n, d.change.n_added, d.change.n_changed, d.change.n_deleted);
}

void listing_find(struct master *m)
{
	find_exempt(m);
	m->listed_ms = m->loop.clock.mono_ms;
}

void listing_apply(struct master *m)
{
	apply_allow(m);
	apply_deny(m);
}

void listing_sweep(struct master *m)
{
	uint64_t now_ms = m->loop.clock.mono_ms;

	if (!lists_of(m))
		return;
	if (m->guard && m->deny_ends_wall_ms && m->deny_ends_wall_ms <= m->loop.clock.wall_ms)
		apply_deny(m);
	if (now_ms - m->listed_ms < REFRESH_MS)
		return;
	m->listed_ms = now_ms;
	if (!find_exempt(m))
		return;
	if (m->guard)
		apply_allow(m);
	banning_lift_allowed(m);
}

void listing_admin(struct master *m, const struct msg_ban *who)
{
	struct ban_net net = {.family = who->family};
	struct admin_peer *at = &m->admin_peers[0];

	memcpy(net.bytes, who->bytes, sizeof net.bytes);
	if (!ban_net_clean(&net))
		return;
	for (int i = 0; i < ADMIN_PEERS_MAX; i++) {
		struct admin_peer *p = &m->admin_peers[i];

		if (memcmp(&p->net, &net, sizeof net) == 0) {
			at = p;
			break;
		}
		if (p->until_ms < at->until_ms)
			at = p;
	}
	*at = (struct admin_peer){net, m->loop.clock.mono_ms + ADMIN_PEER_MS};
}

const char *listing_why_allowed(const struct master *m, const struct ban_net *n)
{
	static const char *const why[] = {
		[0] = NULL,
		[BAN_EXEMPT_OWN] = "the allow list: it is this host's own (allow_auto)",
		[BAN_EXEMPT_UPSTREAM] = "the allow list: it is an upstream (allow_auto)",
		[BAN_EXEMPT_ADMIN] = "the allow list: it used the admin API (allow_auto)",
	};
	struct guard_cidr c = cidr_of(n);
	struct ban_net plain = *n;

	plain.is_trial = 0;
	if (lists_allow_net(lists_of(m), &c))
		return "the allow list";
	return why[ban_exempt_why(m->bans, &plain)];
}
