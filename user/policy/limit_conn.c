/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns what limit_conn keeps of a key: a node for each worker that serves it.
 * What being over a limit means for a request is the caller's. */
#include "policy/limit_conn.h"

#include "policy/limit_table.h"

struct node {
	struct limit_node base; /* .used: requests */
	uint32_t slot;
	uint32_t pad;
};

_Static_assert(sizeof(struct node) == 32, "a zone's room is documented");

struct limit_conn_zone {
	struct limit_table table;
};

static struct node *node_at(struct limit_conn_zone *z, uint32_t link)
{
	return limit_table_node(&z->table, link);
}

size_t limit_conn_min_bytes(void)
{
	return LIMIT_TABLE_MIN_BYTES;
}

void limit_conn_init(struct limit_conn_zone *z, size_t bytes)
{
	limit_table_init(&z->table, sizeof *z, sizeof(struct node), bytes);
}

/* How many there are of KEY; *mine is the node of SLOT among them, or 0. */
static uint32_t count(struct limit_conn_zone *z, const struct hash128 *key, unsigned slot,
		      uint32_t *mine)
{
	uint32_t total = 0, link = limit_table_first(&z->table, key);
	const struct node *n;

	*mine = 0;
	for (; link; link = n->base.next) {
		n = node_at(z, link);
		if (!limit_table_is(&n->base, key))
			continue;
		total += n->base.used;
		if (n->slot == slot)
			*mine = link;
	}
	return total;
}

static uint32_t add_node(struct limit_conn_zone *z, const struct hash128 *key, unsigned slot)
{
	uint32_t link = limit_table_take(&z->table);

	if (link) {
		node_at(z, link)->slot = slot;
		limit_table_add(&z->table, link, key, 1);
	}
	return link;
}

uint32_t limit_conn_enter(struct limit_conn_zone *z, struct slice key, unsigned slot, uint32_t max)
{
	struct hash128 hash = hash128(key, z->table.seed);
	uint32_t link, total;

	limit_table_lock(&z->table);
	total = count(z, &hash, slot, &link);
	if (total >= max)
		link = 0;
	else if (link)
		node_at(z, link)->base.used++;
	else
		link = add_node(z, &hash, slot);
	limit_table_unlock(&z->table);
	return link;
}

void limit_conn_leave(struct limit_conn_zone *z, uint32_t number)
{
	struct node *n = node_at(z, number);

	limit_table_lock(&z->table);
	if (n->base.used == 1)
		limit_table_drop(&z->table, number);
	else if (n->base.used)
		n->base.used--;
	limit_table_unlock(&z->table);
}

void limit_conn_worker_gone(struct limit_conn_zone *z, unsigned slot)
{
	limit_table_lock(&z->table);
	for (uint32_t link = 1; link <= z->table.n_touched; link++) {
		const struct node *n = node_at(z, link);

		if (n->base.used && n->slot == slot)
			limit_table_drop(&z->table, link);
	}
	limit_table_unlock(&z->table);
}

void limit_conn_usage(struct limit_conn_zone *z, uint32_t *used, uint32_t *room)
{
	limit_table_lock(&z->table);
	*used = z->table.n_used;
	*room = z->table.room;
	limit_table_unlock(&z->table);
}
