/* SPDX-License-Identifier: BSD-2-Clause */
/* A worker process: one loop, the listening sockets, the channel to the master. */
#ifndef SL_WORKER_WORKER_H
#define SL_WORKER_WORKER_H

#include "core/stats.h"
#include "kernel/relay.h"
#include "policy/ban.h"
#include "proxy/env.h"

struct steer_load;

/* What the master gives; everything is inherited over fork(). */
struct worker_params {
	struct conf *conf;
	const struct log *log;
	struct stats_worker *stats;
	const struct stats *all_stats;
	unsigned slot; /* of stats in struct stats */
	bool resolves; /* this worker asks DNS for the upstream groups */
	struct ban_table *bans;
	struct ban_evidence *evidence;
	struct relay *relay;	 /* NULL: off */
	int channel_fd;		 /* -1: there is no master */
	struct guard_good *good; /* mapped; NULL without a guard */
	uint32_t conns_max;
	bool multi_accept;
	uint64_t shutdown_timeout_ms; /* 0: none */
	struct steer_load *load;      /* where to say how busy this one is; NULL: nowhere */
	bool takes_queue; /* what waits at a socket of its own would be lost with it: serves that too */
	/* Without a master: carries a ban out. */
	void (*ban_here)(void *data, const struct msg *m);
	void *data;
};

/* Serves until it is told to end: TERM and INT at once, QUIT and MSG_QUIT after the requests under way,
 * MSG_DRAIN after all connections. Privileges are dropped already, signals are blocked. Returns the
 * process's exit code. */
int worker_run(const struct worker_params *p);

#endif
