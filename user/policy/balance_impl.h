/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of balance share, and what a method is. Everything here but balance_enter() is called
 * with the group's lock held. */
#ifndef SL_POLICY_BALANCE_IMPL_H
#define SL_POLICY_BALANCE_IMPL_H

#include "policy/balance_policy.h"

/* One pick. */
struct balance_turn {
	struct balance_group *g;
	struct balance_ask *ask;
	uint64_t now_ms;
	bool backup;  /* among backups now, no primary could be taken */
	bool ramping; /* somebody's weight still grows; set by those who ask */
};

enum { BALANCE_DRAWS_MAX = 20 }; /* then a method that maps or draws gives way to round robin */

/* Takes the lock, and mends what a holder left who died inside. */
void balance_enter(struct balance_group *g);
void balance_leave(struct balance_group *g);

/* How many requests WORKER has on each peer: what makes up for a worker that died. */
uint32_t *balance_row(struct balance_group *g, unsigned worker);
/* The peers that may get requests, by server line, then by address: whatever order the answers of the
 * resolver came in, a hash maps alike in all gateways. g->n_order indices. */
uint16_t *balance_order(struct balance_group *g);
/* Frees the slot of a peer that has no address any more, as soon as nobody is on it. */
void balance_drop_if_idle(struct balance_peer *p);

/* max_fails is reached. */
bool balance_has_failed(const struct balance_server *s, const struct balance_peer *p);
/* Its failures are forgotten; one that was out begins slowly, where that is configured. */
void balance_come_back(const struct balance_group *g, struct balance_peer *p, uint64_t now_ms);
/* Can peer I get this request now? */
bool balance_may_take(const struct balance_turn *t, uint32_t i);
/* A weight for this moment, in 1/BALANCE_SCALE: of WEIGHT the part that the peer counts for. */
int64_t balance_scaled(const struct balance_turn *t, const struct balance_peer *p, int32_t weight);

/* The checksum of what CRC is of (0: nothing), followed by S. */
uint32_t balance_crc(uint32_t crc, struct slice s);
/* Of all servers that are no backup, those that are down too. */
uint32_t balance_total_weight(struct balance_group *g);
/* Whose share of that weight W (less than it) is: an index of g->peer. */
uint32_t balance_at_weight(struct balance_group *g, uint32_t w);

/* How loaded a peer is: N / WEIGHT. */
struct balance_load {
	uint64_t n, weight;
};

typedef struct balance_load balance_load_fn(const struct balance_turn *t,
					    const struct balance_peer *p);
/* By requests under way; by them and the average time to an answer's head, or to its end. */
balance_load_fn balance_load_conns, balance_load_header, balance_load_last_byte;
/* <0: A has less to do than B. */
int balance_load_compare(const struct balance_load *a, const struct balance_load *b);

/* MS is one more time. Readers and writers need no lock: of two at once one is lost. */
void balance_average_feed(struct balance_average *a, uint64_t ms, uint64_t now_ms);

/* Round robin among peers for which ALSO (NULL: nobody is asked) says yes. */
struct balance_peer *balance_rr_choose(struct balance_turn *t,
				       bool (*also)(const struct balance_turn *t,
						    const struct balance_peer *p, const void *data),
				       const void *data);

#endif
