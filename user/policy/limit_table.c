/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the buckets, the free list and the repair of a zone's nodes. What a node counts is its owner's. */
#include "policy/limit_table.h"

#include <assert.h>

static uint32_t *buckets(struct limit_table *t)
{
	return (uint32_t *)((char *)t + t->buckets_at);
}

static uint32_t *bucket_of(struct limit_table *t, const struct hash128 *key)
{
	return &buckets(t)[key->lo & t->mask];
}

/* As many as the largest power of two that leaves at least as much room for nodes. */
static uint32_t buckets_for(size_t bytes, size_t node_bytes)
{
	size_t n = 16;

	while (n < 1u << 30 && n * 2 * (sizeof(uint32_t) + node_bytes) <= bytes)
		n *= 2;
	return (uint32_t)n;
}

static void clear_buckets(struct limit_table *t)
{
	memset(buckets(t), 0, t->nodes_at - t->buckets_at);
}

void limit_table_init(struct limit_table *t, size_t own_bytes, size_t node_bytes, size_t bytes)
{
	size_t room, n_buckets;

	assert(bytes >= LIMIT_TABLE_MIN_BYTES);
	memset(t, 0, own_bytes);
	shm_lock_init(&t->lock);
	t->seed = hash_random_seed();
	t->node_bytes = (uint32_t)node_bytes;
	t->buckets_at = (own_bytes + 15) & ~(size_t)15;
	n_buckets = buckets_for(bytes - t->buckets_at, node_bytes);
	t->mask = (uint32_t)n_buckets - 1;
	t->nodes_at = t->buckets_at + n_buckets * sizeof(uint32_t);
	clear_buckets(t);
	room = (bytes - t->nodes_at) / node_bytes;
	t->room = room < UINT32_MAX / 2 ? (uint32_t)room : UINT32_MAX / 2;
}

static void bucket_add(struct limit_table *t, struct limit_node *n, uint32_t link)
{
	uint32_t *head = bucket_of(t, &n->key);

	n->next = *head;
	*head = link;
}

static void free_add(struct limit_table *t, struct limit_node *n, uint32_t link)
{
	n->next = t->free;
	t->free = link;
}

static void repair(struct limit_table *t)
{
	t->free = t->n_used = 0;
	clear_buckets(t);
	if (t->n_touched > t->room)
		t->n_touched = t->room;
	for (uint32_t link = 1; link <= t->n_touched; link++) {
		struct limit_node *n = limit_table_node(t, link);

		if (n->used) {
			bucket_add(t, n, link);
			t->n_used++;
		} else {
			free_add(t, n, link);
		}
	}
}

bool limit_table_lock(struct limit_table *t)
{
	bool is_broken = shm_lock_get(&t->lock);

	if (is_broken)
		repair(t);
	return is_broken;
}

void limit_table_unlock(struct limit_table *t)
{
	shm_lock_put(&t->lock);
}

uint32_t limit_table_first(struct limit_table *t, const struct hash128 *key)
{
	return *bucket_of(t, key);
}

uint32_t limit_table_take(struct limit_table *t)
{
	uint32_t link = t->free;

	if (link)
		t->free = ((struct limit_node *)limit_table_node(t, link))->next;
	else if (t->n_touched < t->room)
		link = ++t->n_touched;
	return link;
}

void limit_table_add(struct limit_table *t, uint32_t link, const struct hash128 *key, uint32_t used)
{
	struct limit_node *n = limit_table_node(t, link);

	n->key = *key;
	__atomic_signal_fence(__ATOMIC_SEQ_CST); /* in use only once it is whole: see repair() */
	n->used = used;
	bucket_add(t, n, link);
	t->n_used++;
}

void limit_table_drop(struct limit_table *t, uint32_t link)
{
	struct limit_node *n = limit_table_node(t, link);
	uint32_t *at = bucket_of(t, &n->key);

	while (*at != link)
		at = &((struct limit_node *)limit_table_node(t, *at))->next;
	*at = n->next;
	n->used = 0;
	free_add(t, n, link);
	t->n_used--;
}
