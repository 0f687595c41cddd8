/* SPDX-License-Identifier: BSD-2-Clause */
/* How the next peer is chosen: a method and what it was configured with. Made while the configuration is
 * loaded and constant afterwards; what changes is in the group. */
#ifndef SL_POLICY_BALANCE_POLICY_H
#define SL_POLICY_BALANCE_POLICY_H

#include "core/arena.h"
#include "policy/balance.h"

struct balance_turn;
struct tmpl;

struct balance_method {
	const char *name; /* as in `sluicectl upstreams` */
	/* The peer to take, which is one that balance_may_take(), or NULL: there is none. */
	struct balance_peer *(*choose)(struct balance_turn *t);
	bool no_backup;	    /* `server ... backup` makes no sense with it */
	bool no_slow_start; /* nor does slow_start */
};

extern const struct balance_method balance_rr;
extern const struct balance_method balance_least_conn;
extern const struct balance_method balance_least_header; /* least_time */
extern const struct balance_method balance_least_last_byte;
extern const struct balance_method balance_hash;
extern const struct balance_method balance_ip_hash;
extern const struct balance_method balance_ring;
extern const struct balance_method balance_random;
extern const struct balance_method balance_random_two;
extern const struct balance_method balance_random_two_header;
extern const struct balance_method balance_random_two_last_byte;

enum balance_key {
	BALANCE_KEY_NONE,
	BALANCE_KEY_ADDR, /* bytes of the client's address, see balance_ip_key() */
	BALANCE_KEY_TEXT,
};

struct balance_policy {
	const struct balance_method *method;
	enum balance_key key;
	struct tmpl *key_text;	   /* BALANCE_KEY_TEXT */
	struct balance_ring *ring; /* balance_ring */
};

/* What ip_hash maps of an address: three bytes of IPv4, so that a net of 256 stays together, all of
 * IPv6, and for anything else the same always. Points into A. */
struct slice balance_ip_key(const struct addr *a);
/* The points of `hash ... consistent`: 160 for each unit of weight of each server that is no backup, as
 * Cache::Memcached::Fast and nginx have them. In the arena; NULL: over BALANCE_RING_WEIGHT_MAX. */
struct balance_ring *balance_ring_new(struct arena *a, const struct balance_server_conf *servers,
				      uint32_t n_servers);

enum { BALANCE_RING_WEIGHT_MAX = 10000 }; /* of all servers together: 13 MB */

#endif
