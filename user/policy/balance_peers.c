/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the memory of an upstream group: its lock, servers, peers, and how answers of the resolver and
 * reloads change them. Chooses nobody, reads no clock. */
#include <assert.h>
#include <stdio.h>

#include "core/err.h"
#include "core/hash.h"
#include "policy/balance_impl.h"

static size_t peer_bytes(void)
{
	return sizeof(struct balance_peer) + BALANCE_WORKERS_MAX * sizeof(uint32_t) +
	       sizeof(uint16_t);
}

size_t balance_bytes(uint32_t peers_room)
{
	return sizeof(struct balance_group) + peers_room * peer_bytes();
}

static uint32_t *rows(struct balance_group *g)
{
	return (uint32_t *)&g->peer[g->peers_room];
}

uint32_t *balance_row(struct balance_group *g, unsigned worker)
{
	assert(worker < BALANCE_WORKERS_MAX);
	return rows(g) + (size_t)worker * g->peers_room;
}

uint16_t *balance_order(struct balance_group *g)
{
	return (uint16_t *)(rows(g) + (size_t)BALANCE_WORKERS_MAX * g->peers_room);
}

static bool is_listed(const struct balance_peer *p)
{
	return p->used && !p->gone;
}

/* Addresses of one server are told apart by family, bytes and port: they are never equal. */
static bool comes_before(const struct balance_peer *a, const struct balance_peer *b)
{
	const uint8_t *pa, *pb;
	size_t na, nb;
	int c;

	if (a->server != b->server)
		return a->server < b->server;
	na = addr_bytes(&a->addr, &pa);
	nb = addr_bytes(&b->addr, &pb);
	if (na != nb)
		return na < nb;
	c = na ? memcmp(pa, pb, na) : 0;
	return c ? c < 0 : addr_port(&a->addr) < addr_port(&b->addr);
}

/* After any change of the list of peers. */
static void set_order(struct balance_group *g)
{
	uint16_t *order = balance_order(g);
	uint32_t n = 0;

	for (uint32_t i = 0; i < g->n_peers; i++) {
		uint32_t at = n;

		if (!is_listed(&g->peer[i]))
			continue;
		while (at > 0 && comes_before(&g->peer[i], &g->peer[order[at - 1]])) {
			order[at] = order[at - 1];
			at--;
		}
		order[at] = (uint16_t)i;
		n++;
	}
	g->n_order = n;
	g->single = n == 1;
}

static void count_conns(struct balance_group *g)
{
	for (uint32_t i = 0; i < g->n_peers; i++)
		g->peer[i].conns = 0;
	for (unsigned w = 0; w < BALANCE_WORKERS_MAX; w++) {
		const uint32_t *row = balance_row(g, w);

		for (uint32_t i = 0; i < g->n_peers; i++)
			g->peer[i].conns += row[i];
	}
}

void balance_drop_if_idle(struct balance_peer *p)
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
			balance_drop_if_idle(p);
		}
	}
	set_order(g);
}

void balance_enter(struct balance_group *g)
{
	if (shm_lock_get(&g->lock))
		repair(g);
}

void balance_leave(struct balance_group *g)
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
	p->unchecked = g->checks_mandatory;
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
		.slow_start_ms = conf->slow_start_ms,
		.backup = conf->backup,
		.down = conf->down || conf->drain,
		.drain = conf->drain,
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
	g->random = hash_random_seed();
	for (uint32_t i = 0; i < n_servers; i++) {
		r = init_server(g, &servers[i]);
		if (r < 0)
			return r;
	}
	set_order(g);
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
		balance_drop_if_idle(p);
	}
	for (uint32_t i = 0; i < n; i++)
		if (!find_peer(g, server, &list[i]) && add_peer(g, server, &list[i]))
			changed = true;
	if (!changed)
		return;
	g->version++;
	set_order(g);
}

void balance_set_addrs(struct balance_group *g, uint32_t server, const struct addr *addrs,
		       uint32_t n, const char *error, uint64_t now_wall_ms)
{
	struct addr list[BALANCE_ADDRS_MAX];
	struct balance_server *s;

	balance_enter(g);
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
	balance_leave(g);
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

static void carry_state(const struct balance_group *to, struct balance_peer *p,
			const struct balance_peer *old)
{
	uint32_t checks = (1u << to->n_checks) - 1, persistent = to->checks_persistent;

	p->fails = old->fails;
	p->checked_s = old->checked_s;
	p->accessed_s = old->accessed_s;
	p->n_requests = old->n_requests;
	p->n_failures = old->n_failures;
	memcpy(p->n_status, old->n_status, sizeof p->n_status);
	p->response_ms_total = old->response_ms_total;
	p->header = old->header;
	p->response = old->response;
	p->unavailable_since_ms = old->unavailable_since_ms;
	p->slow_since_ms = old->slow_since_ms;
	p->sick = old->sick & checks;
	if (!old->sick && !old->unchecked)
		p->unchecked &= ~persistent;
	p->n_checks = old->n_checks;
	p->n_check_failures = old->n_check_failures;
	p->checked_wall_ms = old->checked_wall_ms;
	memcpy(p->check_error, old->check_error, sizeof p->check_error);
}

void balance_carry(struct balance_group *to, struct balance_group *from)
{
	balance_enter(from);
	balance_enter(to);
	for (uint32_t i = 0; i < to->n_servers; i++)
		if (to->server[i].resolve != BALANCE_FIXED)
			carry_addrs(to, i, from);
	for (uint32_t i = 0; i < to->n_peers; i++) {
		struct balance_peer *p = &to->peer[i];

		for (uint32_t k = 0; k < from->n_peers; k++) {
			const struct balance_peer *old = &from->peer[k];

			if (is_listed(old) && addr_eq(&p->addr, &old->addr) &&
			    !strcmp(to->server[p->server].host, from->server[old->server].host)) {
				carry_state(to, p, old);
				break;
			}
		}
	}
	to->version++;
	set_order(to);
	balance_leave(to);
	balance_leave(from);
}

bool balance_glimpse(const struct balance_group *g, uint32_t i, struct balance_glimpse *out)
{
	const struct balance_peer *p = &g->peer[i];

	if (i >= __atomic_load_n(&g->n_peers, __ATOMIC_RELAXED) ||
	    !__atomic_load_n(&p->used, __ATOMIC_RELAXED) ||
	    __atomic_load_n(&p->gone, __ATOMIC_RELAXED))
		return false;
	out->serial = __atomic_load_n(&p->serial, __ATOMIC_ACQUIRE);
	out->is_down = __atomic_load_n(&p->sick, __ATOMIC_RELAXED) ||
		       __atomic_load_n(&p->unavailable_since_ms, __ATOMIC_RELAXED);
	memcpy(out->text, p->text, sizeof out->text);
	memcpy(out->why, p->check_error, sizeof out->why);
	out->text[sizeof out->text - 1] = 0;
	out->why[sizeof out->why - 1] = 0;
	if (!out->is_down || !__atomic_load_n(&p->sick, __ATOMIC_RELAXED))
		out->why[0] = 0;
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return __atomic_load_n(&p->serial, __ATOMIC_RELAXED) == out->serial;
}
