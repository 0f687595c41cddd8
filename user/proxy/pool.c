/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns all connections to peers while they are idle, and their memory always. */
#include "proxy/pool.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>

#include "core/err.h"
#include "kernel/relay.h"
#include "proxy/client.h"

struct upstream_pool {
	const struct upstream_conf *conf;
	struct upconn *first, *last;
	int64_t n_idle;
};

struct upstream_pools {
	uint32_t n;
	struct upstream_pool pool[];
};

void pool_setup(struct env *env)
{
	struct upstream_main *m = upstream_conf_main(env->conf);
	uint32_t n = m ? m->n_groups : 0;

	env->pools = calloc(1, sizeof *env->pools + n * sizeof env->pools->pool[0]);
	if (!env->pools)
		abort();
	env->pools->n = n;
	for (struct upstream_conf *g = m ? m->groups : NULL; g; g = g->next)
		env->pools->pool[g->index].conf = g;
}

static void idle_unlink(struct upconn *uc)
{
	struct upstream_pool *p = uc->pool;

	if (uc->prev)
		uc->prev->next = uc->next;
	else
		p->first = uc->next;
	if (uc->next)
		uc->next->prev = uc->prev;
	else
		p->last = uc->prev;
	uc->next = uc->prev = NULL;
	p->n_idle--;
	uc->env->stats->upstream_conns_idle--;
}

static bool is_idle(const struct upconn *uc)
{
	return uc->pool && (uc->prev || uc->pool->first == uc);
}

void pool_close(struct upconn *uc)
{
	struct env *env = uc->env;

	if (is_idle(uc))
		idle_unlink(uc);
	timer_cancel(&env->loop, &uc->timer);
	conn_close(&uc->conn);
	relay_mark_release(env->relay, uc->conn.detour);
	env->n_conns--;
	loop_free(&env->loop, uc);
}

/* A peer that speaks, or leaves, while nothing was asked: the connection is of no use. New TLS session
 * tickets are no payload and leave it usable. */
static void on_idle_event(struct conn *c)
{
	char byte;

	if (c->failed || (conn_may_read(c) && conn_read(c, &byte, 1) != -SL_EAGAIN))
		pool_close((struct upconn *)c);
}

static void on_idle_timeout(struct timer *t)
{
	pool_close((struct upconn *)((char *)t - offsetof(struct upconn, timer)));
}

struct upconn *pool_get(struct env *env, const struct upstream_conf *group, const struct addr *addr,
			const struct tls_client *tls, uint64_t key)
{
	struct upconn *uc;

	if (!group)
		return NULL;
	for (uc = env->pools->pool[group->index].first; uc; uc = uc->next) {
		if (!addr_eq(&uc->addr, addr) || uc->tls != tls || uc->key != key)
			continue;
		idle_unlink(uc);
		timer_pause(&uc->timer);
		return uc;
	}
	return NULL;
}

struct upconn *pool_connect(struct env *env, const struct upstream_conf *group,
			    const struct addr *addr, const struct addr *local, bool relayed,
			    void (*on_event)(struct conn *))
{
	struct upconn *uc = calloc(1, sizeof *uc);
	struct detour *d = NULL;
	int e, fd;

	if (!uc)
		return NULL;
	fd = conn_socket(addr);
	if (fd < 0 && errno == EMFILE && pool_close_one(env))
		fd = conn_socket(addr);
	if (relayed && fd >= 0)
		d = relay_mark(env->relay, fd, group->relay_group,
			       (uint32_t)group->sockmap_limit_bytes);
	if (conn_connect_fd(&uc->conn, &env->loop, fd, addr, local, on_event)) {
		e = errno;
		relay_mark_release(env->relay, d);
		free(uc);
		errno = e;
		return NULL;
	}
	uc->conn.detour = d;
	uc->env = env;
	uc->pool = group ? &env->pools->pool[group->index] : NULL;
	uc->addr = *addr;
	uc->made_ms = env->loop.clock.mono_ms;
	timer_init(&uc->timer, on_idle_timeout);
	env->n_conns++;
	env->stats->upstream_connects++;
	return uc;
}

/* Not one on which an upstream left something of a request unread: it would lie before the next one. Nor one that
 * went over to TCP in the middle: it is slower than a new one. */
static bool is_clean(const struct detour *d)
{
	return !d || !(__atomic_load_n(&d->unread, __ATOMIC_RELAXED) ||
		       __atomic_load_n(&d->mixed, __ATOMIC_RELAXED));
}

static bool may_stay(const struct upconn *uc)
{
	const struct upstream_conf *g = uc->pool ? uc->pool->conf : NULL;

	return g && g->keepalive > 0 && !uc->env->draining && !uc->conn.failed &&
	       !uc->conn.peer_closed && uc->n_requests < (uint64_t)g->keepalive_requests &&
	       uc->env->loop.clock.mono_ms - uc->made_ms < (uint64_t)g->keepalive_time_ms &&
	       is_clean(uc->conn.detour);
}

void pool_put(struct upconn *uc)
{
	struct upstream_pool *p = uc->pool;

	uc->x = NULL;
	if (!may_stay(uc)) {
		pool_close(uc);
		return;
	}
	if (p->n_idle >= p->conf->keepalive)
		pool_close(p->last);
	uc->conn.on_event = on_idle_event;
	uc->prev = NULL;
	uc->next = p->first;
	if (p->first)
		p->first->prev = uc;
	else
		p->last = uc;
	p->first = uc;
	p->n_idle++;
	uc->env->stats->upstream_conns_idle++;
	timer_set(&uc->env->loop, &uc->timer, (uint64_t)p->conf->keepalive_timeout_ms);
	/* What came behind the answer has no edge of its own any more; it would answer the next request. */
	on_idle_event(&uc->conn);
}

static bool close_one_idle(struct env *env)
{
	for (uint32_t i = 0; i < env->pools->n; i++) {
		if (!env->pools->pool[i].last)
			continue;
		pool_close(env->pools->pool[i].last);
		return true;
	}
	return false;
}

/* Once a second: who is closed so did nothing wrong, and nobody else would tell. */
static void say_reused(struct env *env, bool is_full)
{
	uint64_t now_ms = env->loop.clock.mono_ms;

	if (env->said_reused_ms && now_ms - env->said_reused_ms < 1000)
		return;
	env->said_reused_ms = now_ms;
	if (is_full)
		log_write(env->log, LOG_LVL_WARN, 0,
			  "%u worker_connections are not enough, reusing connections",
			  env->conns_max);
	else
		log_write(env->log, LOG_LVL_WARN, 0,
			  "no file descriptor is free, reusing connections: raise "
			  "worker_rlimit_nofile or lower worker_connections");
}

bool pool_close_one(struct env *env)
{
	bool is_full = env->n_conns >= env->conns_max;

	if (!client_close_idlest(env) && !close_one_idle(env))
		return false;
	say_reused(env, is_full);
	return true;
}

bool pool_make_room(struct env *env)
{
	return env->n_conns < env->conns_max || pool_close_one(env);
}

void pool_close_idle(struct env *env)
{
	for (uint32_t i = 0; i < env->pools->n; i++)
		while (env->pools->pool[i].first)
			pool_close(env->pools->pool[i].first);
}

void pool_fini(struct env *env)
{
	if (!env->pools)
		return;
	pool_close_idle(env);
	free(env->pools);
	env->pools = NULL;
}
