/* SPDX-License-Identifier: BSD-2-Clause */
/* Counters in shared memory. Each worker slot is written by one process only, with plain stores; readers
 * (admin) add the slots up and may see a value that is a moment old. */
#ifndef SL_CORE_STATS_H
#define SL_CORE_STATS_H

#include <stdbool.h>
#include <stdint.h>

enum { STATS_WORKERS_MAX = 128 };

/* All are counts since the master started, but for the gauges. */
struct stats_worker {
	_Alignas(64) int32_t pid; /* 0: the slot is free */
	uint32_t generation;	  /* configuration it runs */
	/* gauges */
	uint64_t conns_active, conns_idle; /* client connections; idle: between requests */
	uint64_t requests_active;
	uint64_t upstream_conns_idle; /* in keep-alive pools */
	/* counters */
	uint64_t conns_accepted, conns_refused_banned, conns_refused_full;
	uint64_t requests, responses[6]; /* by status class; [0]: closed without an answer */
	uint64_t bytes_in, bytes_out;
	uint64_t tls_handshakes, tls_resumed, tls_failed;
	uint64_t bad_requests; /* refused by the parser */
	uint64_t limit_req_delayed, limit_req_rejected, limit_req_dry_run;
	uint64_t limit_conn_rejected, limit_conn_dry_run;
	uint64_t upstream_tries, upstream_retries, upstream_connects, upstream_failures;
	uint64_t upstream_cut;	   /* answers that ended too early, after the head was sent */
	uint64_t client_cancelled; /* the client left before the end */
	uint64_t client_slow;	   /* below client_min_rate */
	uint64_t bans_requested;
	uint64_t h2_conns;    /* client connections that spoke HTTP/2 */
	uint64_t h2_abuse[7]; /* those ended for abuse, by enum h2_abuse */
};

struct stats {
	uint64_t started_wall_ms;
	uint32_t generation; /* of the configuration that runs */
	uint32_t n_reloads, n_reload_failures;
	uint64_t reloaded_wall_ms;
	uint32_t n_worker_deaths;  /* not asked for */
	uint32_t guard_on;	   /* on how many interfaces XDP is attached */
	uint32_t guard_interfaces; /* and on how many it should be */
	char guard_mode[512];	   /* "veth0 native, eth0 off", or why it is on none */
	int32_t master_pid;
	uint64_t n_bans_userspace_only; /* that found no room in the kernel's maps, ever */
	struct stats_worker retired;	/* counters of workers that have ended; its gauges are 0 */
	struct stats_worker worker[STATS_WORKERS_MAX];
};

#endif
