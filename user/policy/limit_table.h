/* SPDX-License-Identifier: BSD-2-Clause */
/* What limit_req and limit_conn have in common: a zone of shared memory with nodes of one size, which are found
 * by a key's seeded 128-bit hash, so that a node's size does not depend on the peer. It survives a holder of its
 * lock that died. No descriptors, no clock. */
#ifndef SL_POLICY_LIMIT_TABLE_H
#define SL_POLICY_LIMIT_TABLE_H

#include "core/hash.h"
#include "core/shm.h"

enum { LIMIT_TABLE_MIN_BYTES = 32768 }; /* the least that nginx takes for a zone */

/* A node begins with it. Links are numbers of nodes, from 1; 0 is none. */
struct limit_node {
	struct hash128 key;
	uint32_t next; /* in the bucket, or on the free list */
	uint32_t used; /* 0: free; else what the owner of the table likes */
};

/* A zone begins with it; buckets and nodes lie behind the zone's own struct. */
struct limit_table {
	struct shm_lock lock;
	uint64_t seed;
	uint32_t room, n_touched, n_used; /* nodes; touched: ever taken from the end */
	uint32_t mask;			  /* of buckets */
	uint32_t free;
	uint32_t node_bytes;
	size_t buckets_at, nodes_at; /* offsets from the table */
};

/* Fills T, in fresh memory of BYTES, at least LIMIT_TABLE_MIN_BYTES: OWN_BYTES are the zone's struct, which is zeroed. */
void limit_table_init(struct limit_table *t, size_t own_bytes, size_t node_bytes, size_t bytes);

/* True when the last holder died inside: what was made of nodes is made anew from their `used`, and the caller
 * must make anew what it links them by itself. */
bool limit_table_lock(struct limit_table *t);
void limit_table_unlock(struct limit_table *t);

/* The rest is for who has the lock. */

static inline void *limit_table_node(struct limit_table *t, uint32_t link)
{
	return (char *)t + t->nodes_at + (size_t)(link - 1) * t->node_bytes;
}

/* The first node that may have KEY; others follow by `next`. Which have it limit_table_is() says. */
uint32_t limit_table_first(struct limit_table *t, const struct hash128 *key);

static inline bool limit_table_is(const struct limit_node *n, const struct hash128 *key)
{
	return n->key.lo == key->lo && n->key.hi == key->hi;
}

/* A free node, for limit_table_add(); 0 when there is none. */
uint32_t limit_table_take(struct limit_table *t);
/* Puts a node that was taken, and is filled but for what limit_node has, where it is found, with USED (not 0). */
void limit_table_add(struct limit_table *t, uint32_t link, const struct hash128 *key,
		     uint32_t used);
/* Frees it. */
void limit_table_drop(struct limit_table *t, uint32_t link);

#endif
