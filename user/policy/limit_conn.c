/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the memory of limit_conn zones: a hash table with a node for each key and worker that serves it.
 * What being over a limit means for a request is the caller's. */
#include "policy/limit_conn.h"

#include <assert.h>

#include "core/hash.h"

enum { ZONE_MIN_BYTES = 32768 };

/* Links are indices into node[] plus one; 0 is none, so that zeroed memory is an empty zone. */
struct node {
	struct hash128 key;
	uint32_t next; /* in the bucket, or on the free list */
	uint32_t n;    /* requests; 0: free */
	uint32_t slot;
	uint32_t pad;
};

_Static_assert(sizeof(struct node) == 32, "a zone's room is documented");

struct limit_conn_zone {
	struct shm_lock lock;
	uint64_t seed;
	uint32_t room, n_touched, n_used; /* nodes; touched: ever taken from the end */
	uint32_t mask;			  /* of buckets */
	uint32_t free;
	_Alignas(16) uint32_t bucket[]; /* then the nodes */
};

static struct node *node_at(struct limit_conn_zone *z, uint32_t link)
{
	return (struct node *)&z->bucket[z->mask + 1] + (link - 1);
}

size_t limit_conn_min_bytes(void)
{
	return ZONE_MIN_BYTES;
}

static uint32_t buckets_for(size_t bytes)
{
	size_t n = 16;

	while (n < 1u << 30 && n * 2 * (sizeof(uint32_t) + sizeof(struct node)) <= bytes)
		n *= 2;
	return (uint32_t)n;
}

void limit_conn_init(struct limit_conn_zone *z, size_t bytes)
{
	size_t room;

	assert(bytes >= ZONE_MIN_BYTES);
	memset(z, 0, sizeof *z);
	shm_lock_init(&z->lock);
	z->seed = hash_random_seed();
	bytes -= sizeof *z;
	z->mask = buckets_for(bytes) - 1;
	memset(z->bucket, 0, (z->mask + 1) * sizeof z->bucket[0]);
	room = (bytes - (z->mask + 1) * sizeof z->bucket[0]) / sizeof(struct node);
	z->room = room < UINT32_MAX / 2 ? (uint32_t)room : UINT32_MAX / 2;
}

static uint32_t *bucket_of(struct limit_conn_zone *z, const struct hash128 *key)
{
	return &z->bucket[key->lo & z->mask];
}

static void bucket_add(struct limit_conn_zone *z, struct node *n, uint32_t link)
{
	uint32_t *head = bucket_of(z, &n->key);

	n->next = *head;
	*head = link;
}

/* The last holder died at any place: all links are made anew from the nodes. */
static void repair(struct limit_conn_zone *z)
{
	z->free = z->n_used = 0;
	memset(z->bucket, 0, (z->mask + 1) * sizeof z->bucket[0]);
	if (z->n_touched > z->room)
		z->n_touched = z->room;
	for (uint32_t link = 1; link <= z->n_touched; link++) {
		struct node *n = node_at(z, link);

		if (n->n) {
			bucket_add(z, n, link);
			z->n_used++;
		} else {
			n->next = z->free;
			z->free = link;
		}
	}
}

static void lock(struct limit_conn_zone *z)
{
	if (shm_lock_get(&z->lock))
		repair(z);
}

/* How many there are of KEY; *mine is the node of SLOT among them, or 0. */
static uint32_t count(struct limit_conn_zone *z, const struct hash128 *key, unsigned slot,
		      uint32_t *mine)
{
	uint32_t total = 0;

	*mine = 0;
	for (uint32_t link = *bucket_of(z, key); link; link = node_at(z, link)->next) {
		const struct node *n = node_at(z, link);

		if (n->key.lo != key->lo || n->key.hi != key->hi)
			continue;
		total += n->n;
		if (n->slot == slot)
			*mine = link;
	}
	return total;
}

static uint32_t take_node(struct limit_conn_zone *z, const struct hash128 *key, unsigned slot)
{
	uint32_t link = z->free;
	struct node *n;

	if (link)
		z->free = node_at(z, link)->next;
	else if (z->n_touched < z->room)
		link = ++z->n_touched;
	else
		return 0;
	n = node_at(z, link);
	n->key = *key;
	n->slot = slot;
	__atomic_signal_fence(__ATOMIC_SEQ_CST); /* in use only once it is whole: see repair() */
	n->n = 1;
	bucket_add(z, n, link);
	z->n_used++;
	return link;
}

static void free_node(struct limit_conn_zone *z, uint32_t link)
{
	struct node *n = node_at(z, link);
	uint32_t *at = bucket_of(z, &n->key);

	while (*at != link)
		at = &node_at(z, *at)->next;
	*at = n->next;
	n->n = 0;
	n->next = z->free;
	z->free = link;
	z->n_used--;
}

uint32_t limit_conn_enter(struct limit_conn_zone *z, struct slice key, unsigned slot, uint32_t max)
{
	struct hash128 hash = hash128(key, z->seed);
	uint32_t link, total;

	lock(z);
	total = count(z, &hash, slot, &link);
	if (total >= max)
		link = 0;
	else if (link)
		node_at(z, link)->n++;
	else
		link = take_node(z, &hash, slot);
	shm_lock_put(&z->lock);
	return link;
}

void limit_conn_leave(struct limit_conn_zone *z, uint32_t number)
{
	struct node *n = node_at(z, number);

	lock(z);
	if (n->n == 1)
		free_node(z, number);
	else if (n->n)
		n->n--;
	shm_lock_put(&z->lock);
}

void limit_conn_worker_gone(struct limit_conn_zone *z, unsigned slot)
{
	lock(z);
	for (uint32_t link = 1; link <= z->n_touched; link++) {
		const struct node *n = node_at(z, link);

		if (n->n && n->slot == slot)
			free_node(z, link);
	}
	shm_lock_put(&z->lock);
}

void limit_conn_usage(struct limit_conn_zone *z, uint32_t *used, uint32_t *room)
{
	lock(z);
	*used = z->n_used;
	*room = z->room;
	shm_lock_put(&z->lock);
}
