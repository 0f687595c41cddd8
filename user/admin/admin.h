/* SPDX-License-Identifier: BSD-2-Clause */
/* The admin process: metrics, JSON API and dashboard over libmicrohttpd. It reads shared memory and
 * read-only map descriptors, and asks the master for everything that changes something. */
#ifndef SL_ADMIN_ADMIN_H
#define SL_ADMIN_ADMIN_H

#include "admin/admin_conf.h"
#include "core/event_ring.h"
#include "core/log.h"
#include "core/msg.h"
#include "core/stats.h"
#include "kernel/guard.h"
#include "kernel/relay.h"
#include "policy/ban.h"
#include "policy/limit_conf.h"
#include "policy/upstream_conf.h"

/* A listening socket, opened by the master, non-blocking. */
struct admin_fd {
	int fd;
	bool is_unix;
};

/* 0: the default. */
struct admin_limits {
	unsigned max_clients;	     /* connections over unix sockets, and as many over TCP; 64 */
	uint32_t request_timeout_ms; /* from connecting, or from the last answer's end, to an
				      * answer's end, without the wait for the master; 30000 */
	uint32_t master_timeout_ms;  /* how long a ban or unban may wait for the master; 5000 */
	uint32_t reload_timeout_ms;  /* and a reload; 60000 */
	unsigned max_watchers;	     /* of events; 16 */
	uint32_t heartbeat_ms;	     /* how long a watcher hears nothing at most; 10000 */
};

/* What the master hands over. Everything is borrowed and stays valid until admin_run() returns. */
struct admin_env {
	const struct admin_conf *conf;
	const struct upstream_conf *upstreams;	   /* first group; NULL: no http block */
	const struct limit_zone_conf *limit_zones; /* first zone; NULL: none */
	const struct stats *stats;
	const struct conf *config; /* NULL: none, for tests */
	const struct ban_table *bans;
	const struct event_ring *events;
	struct ban_evidence *evidence;	/* only looked at */
	const struct guard_maps *guard; /* read-only; NULL: off, stats->guard_mode says why */
	const struct relay *relay; /* NULL: off, and relay_off_why says why where it was wanted */
	const char *relay_off_why;
	const struct admin_fd *listens; /* never shut down: the next process has them too */
	int n_listens;
	int channel_fd; /* SOCK_SEQPACKET to the master */
	const struct log *log;
	struct log_sink *sinks; /* opened again at USR1 and MSG_REOPEN; NULL: none */
	const char *version;	/* "0.1.0" */
	struct admin_limits limits;
};

/* Body of the process: after the fork, with privileges dropped. Returns its exit code: 0 when told
 * to end (TERM or INT: at once; QUIT, MSG_QUIT or the channel closed by the master: after the
 * answers that are under way, at most a second), 1 when it cannot work.
 *
 * The master answers each message that has an id with MSG_REPLY, the same id, result and text:
 *
 *   MSG_BAN     0, or -SL_EPERM (in the allow list), -SL_EINVAL, -SL_ELIMIT (table full)
 *   MSG_UNBAN   0, or -SL_ENOTFOUND
 *   MSG_RELOAD  0 once the new configuration runs, or -SL_EINVAL with the first error of a bad one
 *
 * The answer to a reload may come after the MSG_QUIT that the reload causes, but within half a
 * second of it, and before the channel is closed. */
int admin_run(const struct admin_env *env);

#endif
