/* SPDX-License-Identifier: BSD-2-Clause */
/* Networks, which nest, as a list of the addresses where another value begins. */
#include "policy/nets.h"

#include <stdlib.h>
#include <string.h>

struct nets_item {
	struct cidr net;
	uint32_t order;
	const void *value;
};

/* From START to the next edge VALUE holds. */
struct nets_edge {
	uint8_t start[16];
	const void *value;
};

void nets_init(struct nets *t, struct arena *a)
{
	*t = (struct nets){.arena = a};
}

void nets_put(struct nets *t, const struct cidr *net, const void *value)
{
	if (t->n_items == t->room) {
		uint32_t room = t->room ? 2 * t->room : 16;
		struct nets_item *v = arena_alloc(t->arena, room * sizeof *v);

		if (t->n_items)
			memcpy(v, t->items, t->n_items * sizeof *v);
		t->items = v;
		t->room = room;
	}
	t->items[t->n_items] = (struct nets_item){*net, t->n_items, value};
	t->n_items++;
}

static int same_net(const struct cidr *a, const struct cidr *b)
{
	if (a->family != b->family)
		return a->family < b->family ? -1 : 1;
	if (memcmp(a->bytes, b->bytes, sizeof a->bytes))
		return memcmp(a->bytes, b->bytes, sizeof a->bytes);
	return (a->prefix_len > b->prefix_len) - (a->prefix_len < b->prefix_len);
}

/* A network before what is inside it. */
static int by_place(const void *x, const void *y)
{
	const struct nets_item *a = x, *b = y;
	int r = same_net(&a->net, &b->net);

	return r ? r : (a->order > b->order) - (a->order < b->order);
}

/* The first address behind NET; false when there is none. */
static bool behind(const struct cidr *net, uint8_t out[16])
{
	int bit = net->prefix_len;

	memcpy(out, net->bytes, 16);
	while (bit-- > 0) {
		uint8_t mask = (uint8_t)(0x80 >> bit % 8);

		out[bit / 8] ^= mask;
		if (out[bit / 8] & mask)
			return true;
	}
	return false;
}

static void edge(struct nets *t, int family, const uint8_t start[16], const void *value)
{
	struct nets_edge *v = t->family[family].v;
	uint32_t *n = &t->family[family].n;

	if (!*n || memcmp(v[*n - 1].start, start, 16))
		++*n;
	memcpy(v[*n - 1].start, start, 16);
	v[*n - 1].value = value;
}

struct open {
	const struct nets_item *v[129]; /* those around the place where the sweep is */
	int n;
};

/* Ends the open networks that do not reach to NEXT (NULL: all). */
static void close_until(struct nets *t, int family, struct open *open, const struct cidr *next)
{
	uint8_t end[16];

	for (; open->n; open->n--) {
		if (behind(&open->v[open->n - 1]->net, end)) {
			if (next && memcmp(end, next->bytes, 16) > 0)
				return;
			edge(t, family, end, open->n > 1 ? open->v[open->n - 2]->value : NULL);
		} else if (next) {
			return;
		}
	}
}

static void sweep(struct nets *t, int family)
{
	struct open open = {.n = 0};

	t->family[family].v =
		arena_zalloc(t->arena, (2 * t->n_items + 1) * sizeof(struct nets_edge));
	for (uint32_t i = 0; i < t->n_items; i++) {
		const struct nets_item *item = &t->items[i];
		bool again = i + 1 < t->n_items && !same_net(&item->net, &item[1].net);

		if ((item->net.family == 4) != (family == 0) || again || !item->value)
			continue;
		close_until(t, family, &open, &item->net);
		edge(t, family, item->net.bytes, item->value);
		if (t->on_nest && open.n)
			t->on_nest((void *)item->value, open.v[open.n - 1]->value);
		open.v[open.n++] = item;
	}
	close_until(t, family, &open, NULL);
}

void nets_build(struct nets *t)
{
	if (t->n_items)
		qsort(t->items, t->n_items, sizeof *t->items, by_place);
	sweep(t, 0);
	sweep(t, 1);
}

const void *nets_find(const struct nets *t, const uint8_t *address, size_t n_bytes)
{
	int family = n_bytes == 4 ? 0 : 1;
	const struct nets_edge *v = t->family[family].v;
	uint32_t low = 0, high = t->family[family].n;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (memcmp(v[middle].start, address, n_bytes) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low ? v[low - 1].value : NULL;
}
