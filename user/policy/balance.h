/* SPDX-License-Identifier: BSD-2-Clause */
/* An upstream group in shared memory: its servers, the peers (addresses) they resolved to, and
 * which is next, by one of the methods of balance_method.h, with max_fails, fail_timeout, backup,
 * down, max_conns, as in nginx. No descriptors, no clock of its own. All functions take the group's
 * lock for some dozen ns.
 *
 * While a request is on a peer (between pick and done) its slot keeps addr, text, server and
 * serial, so that these may be read without the lock. Who keeps idle connections by peer must
 * keep SERIAL with them: a slot that nobody is on may get another address. */
#ifndef SL_POLICY_BALANCE_H
#define SL_POLICY_BALANCE_H

#include "core/shm.h"
#include "core/stats.h"
#include "net/addr.h"

enum {
	BALANCE_SERVERS_MAX = 64,
	BALANCE_ADDRS_MAX = 32,	 /* addresses of one server */
	BALANCE_PEERS_MAX = 512, /* of a group */
	BALANCE_WORKERS_MAX = STATS_WORKERS_MAX,
	BALANCE_PROBE_MAX_S = 600, /* a probe without an end holds others up for so long at most */
	BALANCE_NAME_MAX = 128,
	BALANCE_SCALE = 1024,
	BALANCE_CHECKS_MAX = 8, /* health checks of a group */
	BALANCE_CHECK_ERROR_MAX = 80,
};

enum balance_resolve {
	BALANCE_FIXED,	 /* numeric or unix: never asked */
	BALANCE_PENDING, /* no answer yet */
	BALANCE_RESOLVED,
	BALANCE_FAILED, /* the last question failed; older addresses, if any, stay */
};

/* A server line. Set once when the group is made. */
struct balance_server_conf {
	struct slice host; /* as written, without port; or "unix:/path" */
	uint16_t port;
	bool has_port;		    /* else PORT is the scheme's, by upstream_conf_share() */
	uint32_t weight, max_fails; /* max_fails 0: never counted */
	uint32_t max_conns;	    /* 0: no limit */
	uint32_t fail_timeout_s;
	uint32_t slow_start_ms; /* 0: at once */
	bool backup, down;
	bool drain; /* as down: it has no requests of its own that could still come */
};

/* Of times, for least_time: the newest counts for an eighth. */
struct balance_average {
	uint32_t ms8;	 /* in 1/8 ms; 0: none yet */
	uint64_t fed_ms; /* monotonic */
};

struct balance_peer {
	struct addr addr;
	char text[ADDR_TEXT_MAX]; /* of addr, as in $upstream_addr */
	uint16_t server;
	bool used;
	bool gone;	 /* its name no longer has this address: no new requests */
	bool probing;	 /* one request tries whether it is back; others wait for that */
	uint32_t serial; /* another one whenever the slot gets another address */
	uint32_t weight;
	int64_t current_weight; /* in 1/BALANCE_SCALE, as a peer may count for a part of its weight */
	int32_t effective_weight;
	uint32_t conns;			 /* requests on it now */
	uint32_t fails;			 /* within the current fail_timeout */
	uint64_t checked_s, accessed_s;	 /* as in nginx: seconds of the monotonic clock; 0: never */
	uint64_t n_requests, n_failures; /* picked, and failed, since it appeared */
	uint64_t n_status[6];		 /* by class; [0]: no answer */
	uint64_t response_ms_total;
	struct balance_average header, response; /* time to an answer's head, and to its end */
	uint64_t unavailable_since_ms;		 /* wall clock; 0: available */
	uint64_t slow_since_ms; /* monotonic: its weight grows from here; 0: it is whole */
	/* Health checks, one bit each: those that say it is sick, those that must say it is not first. */
	uint32_t sick, unchecked;
	uint64_t n_checks, n_check_failures, checked_wall_ms;
	char check_error[BALANCE_CHECK_ERROR_MAX]; /* of the last one that failed */
};

struct balance_server {
	char host[BALANCE_NAME_MAX + 1];
	uint16_t port;
	uint32_t weight, max_fails, max_conns, fail_timeout_s, slow_start_ms;
	bool backup, down, drain;
	uint32_t resolve; /* enum balance_resolve */
	uint64_t resolved_wall_ms;
	char resolve_error[64];
};

struct balance_group {
	struct shm_lock lock;
	char name[BALANCE_NAME_MAX + 1];
	uint32_t n_servers, n_peers; /* slots in use or once used */
	uint32_t n_order;	     /* peers that may get requests, see balance_order() */
	uint32_t peers_room;
	uint32_t version; /* grows whenever addresses change */
	bool single;	  /* one peer only: nginx then counts no failures for picking */
	uint64_t random;  /* state of draws */
	uint32_t n_checks, checks_mandatory, checks_persistent; /* bits of health checks */
	uint32_t checks_generation; /* of the configuration that last set them */
	struct balance_server server[BALANCE_SERVERS_MAX];
	struct balance_peer peer[]; /* behind them: requests by worker and peer; the order */
};

size_t balance_bytes(uint32_t peers_room);
/* Fills fresh memory. Numeric and unix servers get their peer at once. -SL_EINVAL, -SL_ELIMIT. */
int balance_init(struct balance_group *g, size_t bytes, struct slice name,
		 const struct balance_server_conf *servers, uint32_t n_servers);
/* Takes failures, counters and addresses over from a group of the same name whose server lines were
 * different, peer by peer with the same address and server host. */
void balance_carry(struct balance_group *to, struct balance_group *from);

/* The answer for a server's name: addresses that stay keep their state. N 0 with ERROR: keep the
 * old. */
void balance_set_addrs(struct balance_group *g, uint32_t server, const struct addr *addrs,
		       uint32_t n, const char *error, uint64_t now_wall_ms);

enum balance_why {
	BALANCE_OK,
	BALANCE_NONE_LIVE,  /* all down, failed, full or tried */
	BALANCE_UNRESOLVED, /* no address is known, the names failed */
	BALANCE_WAIT,	    /* no address is known yet, an answer is pending */
};

struct balance_policy;

/* One request's way through a group: whom it tried already, and what its method remembers. Zeroed but
 * for POLICY and KEY. balance_pick() adds the peer that it returns. */
struct balance_ask {
	const struct balance_policy *policy; /* NULL: round robin */
	struct slice key;		     /* what a hash method maps */
	uint64_t tried[BALANCE_PEERS_MAX / 64];
	uint32_t hash, rehash, n_draws;
	bool begun;
};

/* Picks, and counts the request as on that peer by WORKER, the caller's slot in struct stats
 * (balance_done is due). A peer with max_fails failures is left out for fail_timeout, then tried
 * by one request at a time. */
enum balance_why balance_pick(struct balance_group *g, unsigned worker, uint64_t now_ms,
			      struct balance_ask *ask, uint32_t *peer);
/* A usable response head came from PEER after HEADER_MS: if it was out of use it is back now, though the
 * body (a stream of minutes, say) has just begun. */
void balance_alive(struct balance_group *g, uint32_t peer, uint64_t header_ms, uint64_t now_ms);

enum balance_outcome {
	BALANCE_SUCCESS,
	BALANCE_FAILURE, /* counts for max_fails */
	BALANCE_NEUTRAL, /* the client left, or a 4xx: neither; with a status the peer is alive */
};

/* STATUS 0: there was no answer. WORKER as in the pick. True: this failure was the one of max_fails. */
bool balance_done(struct balance_group *g, unsigned worker, uint32_t peer,
		  enum balance_outcome outcome, unsigned status, uint64_t response_ms,
		  uint64_t now_ms, uint64_t now_wall_ms);
/* That worker died: its requests are over. The master calls it for each group before the slot is
 * used again; the requests count as neither success nor failure. */
void balance_worker_gone(struct balance_group *g, unsigned worker);
/* How many peers could still be tried (neither down nor gone nor tried). */
uint32_t balance_n_untried(struct balance_group *g, const struct balance_ask *ask);

/* Health checks. MANDATORY: bits of those without whose first success a new peer gets no requests;
 * PERSISTENT: of those, the ones that a peer need not pass anew after a reload. */
struct balance_checks {
	uint32_t n, mandatory, persistent;
};

/* Of fresh memory, before balance_carry(). */
void balance_checks_init(struct balance_group *g, const struct balance_checks *c);
/* The checks of configuration GENERATION begin: what those before said and these cannot is forgotten.
 * Without effect when it is not the first time. */
void balance_checks_begin(struct balance_group *g, const struct balance_checks *c,
			  uint32_t generation);

enum balance_verdict {
	BALANCE_NO_VERDICT, /* as it was: not yet enough in a row */
	BALANCE_HEALTHY,
	BALANCE_SICK,
};

/* A check of PEER has ended, with ERROR (NULL: it passed), and says so much about it. Nothing happens when
 * the slot has another SERIAL. True when the peer has become sick, or
 * well in the view of all checks. A pass also does the work of a client's request after
 * fail_timeout: the peer is back. */
bool balance_checked(struct balance_group *g, uint32_t peer, uint32_t serial, unsigned check,
		     const char *error, enum balance_verdict verdict, uint64_t now_ms,
		     uint64_t now_wall_ms);

/* Consistent copies for status: false when there is no server I, or no peer in slot I. */
bool balance_get_server(struct balance_group *g, uint32_t i, struct balance_server *out);
bool balance_get_peer(struct balance_group *g, uint32_t i, struct balance_peer *out);
/* What can be seen of a peer without the group's lock, for who must not wait for it. */
struct balance_glimpse {
	uint32_t serial;
	bool is_down; /* failed max_fails times, or sick by a health check, and not back yet */
	char text[ADDR_TEXT_MAX];
	char why[BALANCE_CHECK_ERROR_MAX]; /* of a health check; may be empty */
};
/* False when slot I is free, or gets another address right now. */
bool balance_glimpse(const struct balance_group *g, uint32_t i, struct balance_glimpse *out);
/* Could a new request be sent to P now (not down, gone, failed, full)? Of a copied pair. */
bool balance_is_up(const struct balance_server *s, const struct balance_peer *p, uint64_t now_s);

#endif
