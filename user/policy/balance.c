/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the memory of an upstream group: which peer is next, what peers' failures mean, and how
 * answers of the resolver change the peers. Opens nothing, resolves nothing, reads no clock. */
#include "policy/balance.h"

#include <assert.h>
#include <stdio.h>

#include "core/err.h"

static size_t peer_bytes(void)
{
	return sizeof(struct balance_peer) + BALANCE_WORKERS_MAX * sizeof(uint32_t);
}

size_t balance_bytes(uint32_t peers_room)
{
	return sizeof(struct balance_group) + peers_room * peer_bytes();
}

/* How many requests WORKER has on each peer: what makes up for a worker that died. */
static uint32_t *row_of(struct balance_group *g, unsigned worker)
{
	assert(worker < BALANCE_WORKERS_MAX);
	return (uint32_t *)&g->peer[g->peers_room] + (size_t)worker * g->peers_room;
}

static bool is_listed(const struct balance_peer *p)
{
	return p->used && !p->gone;
}

static void count_single(struct balance_group *g)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < g->n_peers; i++)
		n += is_listed(&g->peer[i]);
	g->single = n == 1;
}

static void count_conns(struct balance_group *g)
{
	for (uint32_t i = 0; i < g->n_peers; i++)
		g->peer[i].conns = 0;
	for (unsigned w = 0; w < BALANCE_WORKERS_MAX; w++) {
		const uint32_t *row = row_of(g, w);

		for (uint32_t i = 0; i < g->n_peers; i++)
			g->peer[i].conns += row[i];
	}
}

/* Frees the slot of a peer that has no address any more, as soon as nobody is on it. */
static void drop_if_idle(struct balance_peer *p)
{
	uint32_t serial = p->serial;

	if (!p->gone || p->conns)
		return;
	p->used = false;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	memset(p, 0, sizeof *p);
	p->serial = serial;
}

/* The last holder of the lock died at any place: sums are made anew, weights start over. */
static void repair(struct balance_group *g)
{
	if (g->n_peers > g->peers_room)
		g->n_peers = g->peers_room;
	count_conns(g);
	for (uint32_t i = 0; i < g->n_peers; i++) {
		struct balance_peer *p = &g->peer[i];

		p->current_weight = 0;
		p->effective_weight = (int32_t)p->weight;
		p->text[ADDR_TEXT_MAX - 1] = 0;
		p->probing = false;
		if (!p->used || p->server >= g->n_servers) {
			p->gone = true;
			drop_if_idle(p);
		}
	}
	count_single(g);
}

static void enter(struct balance_group *g)
{
	if (shm_lock_get(&g->lock))
		repair(g);
}

static void leave(struct balance_group *g)
{
	shm_lock_put(&g->lock);
}

/* ---- addresses ---- */

static struct balance_peer *find_peer(struct balance_group *g, uint32_t server,
				      const struct addr *a)
{
	for (uint32_t i = 0; i < g->n_peers; i++) {
		struct balance_peer *p = &g->peer[i];

		if (p->used && p->server == server && addr_eq(&p->addr, a))
			return p;
	}
	return NULL;
}

static struct balance_peer *free_slot(struct balance_group *g)
{
	for (uint32_t i = 0; i < g->n_peers; i++)
		if (!g->peer[i].used && !g->peer[i].conns)
			return &g->peer[i];
	return g->n_peers < g->peers_room ? &g->peer[g->n_peers++] : NULL;
}

/* NULL when there is no room. */
static struct balance_peer *add_peer(struct balance_group *g, uint32_t server, const struct addr *a)
{
	struct balance_peer *p = free_slot(g);

	if (!p)
		return NULL;
	*p = (struct balance_peer){.serial = p->serial + 1};
	p->addr = *a;
	addr_text(a, p->text);
	p->server = (uint16_t)server;
	p->weight = g->server[server].weight;
	p->effective_weight = (int32_t)p->weight;
	/* In use only once it is whole: see repair(). */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	p->used = true;
	return p;
}

static int init_server(struct balance_group *g, const struct balance_server_conf *conf)
{
	struct balance_server *s = &g->server[g->n_servers];
	struct addr a;
	int r;

	if (conf->host.n == 0 || conf->host.n > BALANCE_NAME_MAX)
		return -SL_EINVAL;
	*s = (struct balance_server){
		.port = conf->port,
		.weight = conf->weight ? conf->weight : 1,
		.max_fails = conf->max_fails,
		.max_conns = conf->max_conns,
		.fail_timeout_s = conf->fail_timeout_s,
		.backup = conf->backup,
		.down = conf->down,
		.resolve = BALANCE_FIXED,
	};
	memcpy(s->host, conf->host.p, conf->host.n);
	if (slice_starts(conf->host, SLICE("unix:")))
		r = addr_from_unix(slice_skip(conf->host, 5), &a);
	else
		r = addr_from_ip(conf->host, conf->port, &a);
	g->n_servers++;
	if (r == 0)
		return add_peer(g, g->n_servers - 1, &a) ? 0 : -SL_ELIMIT;
	if (r == -SL_ELIMIT)
		return r;
	s->resolve = BALANCE_PENDING;
	return 0;
}

int balance_init(struct balance_group *g, size_t bytes, struct slice name,
		 const struct balance_server_conf *servers, uint32_t n_servers)
{
	size_t room;
	int r;

	if (name.n > BALANCE_NAME_MAX || n_servers == 0 || bytes < balance_bytes(1))
		return -SL_EINVAL;
	if (n_servers > BALANCE_SERVERS_MAX)
		return -SL_ELIMIT;
	room = (bytes - sizeof *g) / peer_bytes();
	if (room > BALANCE_PEERS_MAX)
		room = BALANCE_PEERS_MAX;
	memset(g, 0, balance_bytes((uint32_t)room));
	shm_lock_init(&g->lock);
	if (name.n)
		memcpy(g->name, name.p, name.n);
	g->peers_room = (uint32_t)room;
	for (uint32_t i = 0; i < n_servers; i++) {
		r = init_server(g, &servers[i]);
		if (r < 0)
			return r;
	}
	count_single(g);
	return 0;
}

static bool among(const struct addr *a, const struct addr *list, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (addr_eq(a, &list[i]))
			return true;
	return false;
}

/* Makes the peers of a server those of LIST, whose ports are set. */
static void set_peers(struct balance_group *g, uint32_t server, const struct addr *list, uint32_t n)
{
	bool changed = false;

	for (uint32_t i = 0; i < g->n_peers; i++) {
		struct balance_peer *p = &g->peer[i];
		bool keep;

		if (!p->used || p->server != server)
			continue;
		keep = among(&p->addr, list, n);
		changed |= keep == p->gone;
		p->gone = !keep;
		drop_if_idle(p);
	}
	for (uint32_t i = 0; i < n; i++)
		if (!find_peer(g, server, &list[i]) && add_peer(g, server, &list[i]))
			changed = true;
	if (!changed)
		return;
	g->version++;
	count_single(g);
}

void balance_set_addrs(struct balance_group *g, uint32_t server, const struct addr *addrs,
		       uint32_t n, const char *error, uint64_t now_wall_ms)
{
	struct addr list[BALANCE_ADDRS_MAX];
	struct balance_server *s;

	enter(g);
	if (server >= g->n_servers || g->server[server].resolve == BALANCE_FIXED)
		goto out;
	s = &g->server[server];
	if (n > BALANCE_ADDRS_MAX)
		n = BALANCE_ADDRS_MAX;
	if (n == 0) {
		s->resolve = BALANCE_FAILED;
		snprintf(s->resolve_error, sizeof s->resolve_error, "%s",
			 error ? error : "the name has no address");
		goto out;
	}
	for (uint32_t i = 0; i < n; i++) {
		list[i] = addrs[i];
		addr_set_port(&list[i], s->port);
	}
	set_peers(g, server, list, n);
	s->resolve = BALANCE_RESOLVED;
	s->resolved_wall_ms = now_wall_ms;
	s->resolve_error[0] = 0;
out:
	leave(g);
}

/* The addresses that a name had in the group before. */
static void carry_addrs(struct balance_group *to, uint32_t server, const struct balance_group *from)
{
	struct balance_server *s = &to->server[server];

	for (uint32_t i = 0; i < from->n_peers; i++) {
		const struct balance_peer *old = &from->peer[i];
		const struct balance_server *os = &from->server[old->server];
		struct addr a = old->addr;

		if (!is_listed(old) || strcmp(os->host, s->host) != 0)
			continue;
		addr_set_port(&a, s->port);
		if (!find_peer(to, server, &a))
			add_peer(to, server, &a);
		s->resolve = os->resolve;
		s->resolved_wall_ms = os->resolved_wall_ms;
		memcpy(s->resolve_error, os->resolve_error, sizeof s->resolve_error);
	}
}

static void carry_state(struct balance_peer *p, const struct balance_peer *old)
{
	p->fails = old->fails;
	p->checked_s = old->checked_s;
	p->accessed_s = old->accessed_s;
	p->n_requests = old->n_requests;
	p->n_failures = old->n_failures;
	memcpy(p->n_status, old->n_status, sizeof p->n_status);
	p->response_ms_total = old->response_ms_total;
	p->unavailable_since_ms = old->unavailable_since_ms;
}

void balance_carry(struct balance_group *to, struct balance_group *from)
{
	enter(from);
	enter(to);
	for (uint32_t i = 0; i < to->n_servers; i++)
		if (to->server[i].resolve != BALANCE_FIXED)
			carry_addrs(to, i, from);
	for (uint32_t i = 0; i < to->n_peers; i++) {
		struct balance_peer *p = &to->peer[i];

		for (uint32_t k = 0; k < from->n_peers; k++) {
			const struct balance_peer *old = &from->peer[k];

			if (is_listed(old) && addr_eq(&p->addr, &old->addr) &&
			    !strcmp(to->server[p->server].host, from->server[old->server].host)) {
				carry_state(p, old);
				break;
			}
		}
	}
	to->version++;
	count_single(to);
	leave(to);
	leave(from);
}

/* ---- choice ---- */

static bool was_tried(const struct balance_tried *tried, uint32_t i)
{
	return tried->bits[i / 64] >> i % 64 & 1;
}

static bool has_failed(const struct balance_server *s, const struct balance_peer *p)
{
	return s->max_fails && p->fails >= s->max_fails;
}

/* Failed, and neither is its time over nor is it free for a probe. */
static bool is_out(const struct balance_server *s, const struct balance_peer *p, uint64_t now_s)
{
	uint64_t since = now_s > p->checked_s ? now_s - p->checked_s : 0;

	if (!has_failed(s, p))
		return false;
	return since <= s->fail_timeout_s || (p->probing && since <= BALANCE_PROBE_MAX_S);
}

bool balance_is_up(const struct balance_server *s, const struct balance_peer *p, uint64_t now_s)
{
	return is_listed(p) && !s->down && !is_out(s, p, now_s) &&
	       (s->max_conns == 0 || p->conns < s->max_conns);
}

/* Only one peer: its failures are no reason to ask nobody. */
static bool may_take(const struct balance_group *g, const struct balance_peer *p, uint64_t now_s)
{
	const struct balance_server *s = &g->server[p->server];

	if (!g->single)
		return balance_is_up(s, p, now_s);
	return is_listed(p) && !s->down && (s->max_conns == 0 || p->conns < s->max_conns);
}

/* Smooth weighted round robin: each candidate gains its weight, the richest is taken and pays
 * what all gained together. A weight that failures have lowered comes back by one in each round. */
static struct balance_peer *best_of(struct balance_group *g, bool backup, uint64_t now_s,
				    const struct balance_tried *tried)
{
	struct balance_peer *best = NULL;
	int32_t total = 0;

	for (uint32_t i = 0; i < g->n_peers; i++) {
		struct balance_peer *p = &g->peer[i];

		if (!p->used || g->server[p->server].backup != backup || was_tried(tried, i) ||
		    !may_take(g, p, now_s))
			continue;
		p->current_weight += p->effective_weight;
		total += p->effective_weight;
		if (p->effective_weight < (int32_t)p->weight)
			p->effective_weight++;
		if (!best || p->current_weight > best->current_weight)
			best = p;
	}
	if (best)
		best->current_weight -= total;
	return best;
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

enum balance_why balance_pick(struct balance_group *g, unsigned worker, uint64_t now_s,
			      struct balance_tried *tried, uint32_t *peer)
{
	enum balance_why why = BALANCE_OK;
	const struct balance_server *s;
	struct balance_peer *p;
	uint32_t i;

	enter(g);
	p = best_of(g, false, now_s, tried);
	if (!p)
		p = best_of(g, true, now_s, tried);
	if (!p) {
		why = why_none(g);
		goto out;
	}
	s = &g->server[p->server];
	i = (uint32_t)(p - g->peer);
	p->probing = !g->single && has_failed(s, p);
	if (now_s > p->checked_s && now_s - p->checked_s > s->fail_timeout_s)
		p->checked_s = now_s;
	row_of(g, worker)[i]++;
	p->conns++;
	p->n_requests++;
	tried->bits[i / 64] |= 1ULL << i % 64;
	*peer = i;
out:
	leave(g);
	return why;
}

/* ---- outcome ---- */

/* A success counts only when the peer was picked, or probed, later than its last failure's time:
 * until then the failures stay counted. */
static void mark_alive(struct balance_peer *p)
{
	if (p->accessed_s >= p->checked_s)
		return;
	p->fails = 0;
	p->probing = false;
	p->unavailable_since_ms = 0;
}

void balance_alive(struct balance_group *g, uint32_t peer)
{
	/* Nearly always false; a race costs nothing, since balance_done() looks again. */
	if (!__atomic_load_n(&g->peer[peer].probing, __ATOMIC_RELAXED))
		return;
	enter(g);
	mark_alive(&g->peer[peer]);
	leave(g);
}

static void mark_failed(const struct balance_group *g, struct balance_peer *p, uint64_t now_s,
			uint64_t now_wall_ms)
{
	const struct balance_server *s = &g->server[p->server];

	p->n_failures++;
	p->probing = false;
	if (g->single)
		return;
	p->fails++;
	p->accessed_s = p->checked_s = now_s;
	if (s->max_fails)
		p->effective_weight -= (int32_t)(p->weight / s->max_fails);
	if (p->effective_weight < 0)
		p->effective_weight = 0;
	if (has_failed(s, p) && !p->unavailable_since_ms)
		p->unavailable_since_ms = now_wall_ms;
}

/* A probe that ended without a word about the peer: the next request may probe at once. */
static void mark_unknown(struct balance_peer *p)
{
	if (p->probing)
		p->checked_s = p->accessed_s;
	p->probing = false;
}

void balance_done(struct balance_group *g, unsigned worker, uint32_t peer,
		  enum balance_outcome outcome, unsigned status, uint64_t response_ms,
		  uint64_t now_s, uint64_t now_wall_ms)
{
	struct balance_peer *p;
	uint32_t *on;

	enter(g);
	if (peer >= g->n_peers)
		goto out;
	p = &g->peer[peer];
	on = row_of(g, worker) + peer;
	if (*on) {
		--*on;
		p->conns -= p->conns > 0;
	}
	if (!p->used)
		goto out;
	p->n_status[status / 100 < 6 ? status / 100 : 0]++;
	p->response_ms_total += response_ms;
	if (outcome == BALANCE_FAILURE)
		mark_failed(g, p, now_s, now_wall_ms);
	else if (outcome == BALANCE_SUCCESS || status)
		mark_alive(p);
	else
		mark_unknown(p);
	if (g->single) {
		p->fails = 0;
		p->unavailable_since_ms = 0;
	}
	drop_if_idle(p);
out:
	leave(g);
}

void balance_worker_gone(struct balance_group *g, unsigned worker)
{
	uint32_t *row;

	enter(g);
	row = row_of(g, worker);
	for (uint32_t i = 0; i < g->n_peers; i++) {
		struct balance_peer *p = &g->peer[i];

		if (row[i] == 0)
			continue;
		p->conns -= p->conns < row[i] ? p->conns : row[i];
		row[i] = 0;
		mark_unknown(p);
		drop_if_idle(p);
	}
	leave(g);
}

/* ---- status ---- */

uint32_t balance_n_untried(struct balance_group *g, const struct balance_tried *tried)
{
	uint32_t n = 0;

	enter(g);
	for (uint32_t i = 0; i < g->n_peers; i++)
		n += is_listed(&g->peer[i]) && !g->server[g->peer[i].server].down &&
		     !was_tried(tried, i);
	leave(g);
	return n;
}

bool balance_get_server(struct balance_group *g, uint32_t i, struct balance_server *out)
{
	bool found;

	enter(g);
	found = i < g->n_servers;
	if (found)
		*out = g->server[i];
	leave(g);
	return found;
}

bool balance_get_peer(struct balance_group *g, uint32_t i, struct balance_peer *out)
{
	bool found;

	enter(g);
	found = i < g->n_peers && g->peer[i].used;
	if (found)
		*out = g->peer[i];
	leave(g);
	return found;
}
