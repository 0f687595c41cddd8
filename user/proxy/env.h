/* SPDX-License-Identifier: BSD-2-Clause */
/* The one context of a worker process, passed down to everything that serves requests. */
#ifndef SL_PROXY_ENV_H
#define SL_PROXY_ENV_H

#include "conf/conf.h"
#include "core/stats.h"
#include "net/loop.h"
#include "net/tcp_view.h"
#include "policy/ban.h"

struct client_conn;
struct guard_good;
struct http_conf;
struct upstream_pools;
struct names;
struct health;
struct ocsp;
struct auth_store;
struct relay;

struct env {
	struct loop loop;
	struct conf *conf;
	struct http_conf *http;
	const struct log *log; /* of the main block */
	struct stats_worker *stats;
	const struct stats *all_stats; /* of all workers */
	struct ban_table *bans;
	struct ban_evidence *evidence;
	struct guard_good
		*good; /* the guard's filter of who completed a request; NULL without one */
	/* Tells the master of a ban that a rule asks for (without a master: carries it out). */
	void (*ask_ban)(struct env *env, const struct msg *m);
	unsigned slot;		     /* of this worker in struct stats */
	uint64_t n_serial;	     /* connections so far: $connection */
	uint32_t n_conns, conns_max; /* client and upstream connections, worker_connections */
	uint64_t said_reused_ms;     /* when the log was last told that idle ones make room */
	void (*on_no_clients)(struct env *env);	    /* the last client's connection is closed */
	struct client_conn *clients;		    /* doubly linked list of client connections */
	struct client_conn *idle_first, *idle_last; /* those that are idle, the longest first */
	struct upstream_pools *pools;
	struct relay *relay;	 /* of groups with `sockmap on`; NULL: none, or it cannot be */
	struct timer slow_timer; /* slow.c's */
	struct names *names;	 /* upstream names being resolved */
	struct health *health;	 /* health checks; NULL: another worker's */
	struct ocsp *ocsp;	 /* what is fetched to be stapled; NULL: another worker does */
	struct auth_store *auth; /* NULL until a password was asked for */
	bool draining;		 /* no new connections; every answer closes its connection */
	bool quitting;		 /* idle connections are closed too */
	bool keeps_bodies;	 /* $request_body is used: bodies stay until the log is written */
	bool keeps_tcp;		 /* $upstream_tcp_... are used: asked for when a try ends */
	uint64_t id_seed, id_count; /* for $request_id */
	/* $tcp_...: what was asked last, for the next variable of the same line. */
	struct tcp_view tcp;
	uint64_t tcp_serial, tcp_ms; /* of which connection, when; 0: none */
};

#endif
