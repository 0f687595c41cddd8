/* SPDX-License-Identifier: BSD-2-Clause */
/* Connections to peers: opened here, kept idle here (nginx's keepalive), closed here. A worker's own. */
#ifndef SL_PROXY_POOL_H
#define SL_PROXY_POOL_H

#include "net/conn.h"
#include "policy/upstream_conf.h"
#include "proxy/env.h"

struct exchange;
struct tls_client;

struct upconn {
	struct conn conn; /* first */
	struct env *env;
	struct upconn *next, *prev; /* idle list of its pool, most recent first */
	struct upstream_pool *pool; /* NULL: never kept */
	struct addr addr;
	const struct tls_client *tls; /* NULL: plain; else the settings it was made with */
	uint64_t key;		      /* hash of the TLS name and of where it comes from */
	struct exchange *x;	      /* who uses it; NULL: idle */
	uint32_t n_requests;
	uint64_t made_ms;
	struct timer timer; /* while idle */
};

/* One for each group of the configuration. */
void pool_setup(struct env *env);
void pool_fini(struct env *env);
/* Closes what is idle (drain). */
void pool_close_idle(struct env *env);

/* An idle connection to that peer with the same TLS settings and KEY, or NULL. GROUP may be NULL. */
struct upconn *pool_get(struct env *env, const struct upstream_conf *group, const struct addr *addr,
			const struct tls_client *tls, uint64_t key);
/* A new one, connecting from LOCAL (NULL: any address); NULL with errno when that fails at once. RELAYED: GROUP is one
 * with `sockmap on`, and nothing but requests that fit its limit will be on it. */
struct upconn *pool_connect(struct env *env, const struct upstream_conf *group,
			    const struct addr *addr, const struct addr *local, bool relayed,
			    void (*on_event)(struct conn *));
/* Is one more connection within worker_connections? Idle ones of clients make room first, as in nginx, then
 * idle ones to peers. */
bool pool_make_room(struct env *env);
/* The same for who found no descriptor: one that is idle is closed, if there is any. */
bool pool_close_one(struct env *env);
/* Gives it back: kept if it may be, closed otherwise. */
void pool_put(struct upconn *uc);
void pool_close(struct upconn *uc);

#endif
