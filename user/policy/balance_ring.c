/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns hash ... consistent: points on a ring, made from the server lines as they are written, so that all
 * gateways with the same lines map alike, and another server moves only its share of the keys. */
#include <stdlib.h>

#include "core/num.h"
#include "policy/balance_impl.h"

enum { POINTS_PER_WEIGHT = 160 };

struct point {
	uint32_t hash;
	uint32_t server; /* the first with this line */
};

struct balance_ring {
	uint32_t n;
	struct point *points;
	uint8_t first_alike
		[BALANCE_SERVERS_MAX]; /* by server: the first line of the same address */
};

static bool is_alike(const struct balance_server_conf *a, const struct balance_server_conf *b)
{
	return slice_eq(a->host, b->host) && a->has_port == b->has_port && a->port == b->port;
}

/* The checksum of HOST \0 PORT: of a path, or of a line without a port, PORT is empty. */
static uint32_t base_of(const struct balance_server_conf *s)
{
	struct slice host = s->host;
	char port[20];
	uint32_t crc;

	if (slice_starts(host, SLICE("unix:")))
		host = slice_skip(host, 5);
	crc = balance_crc(balance_crc(0, host), slice_make("", 1));
	if (s->has_port)
		crc = balance_crc(crc, slice_make(port, num_put_u64(port, s->port)));
	return crc;
}

/* By hash; equal ones by server, of which the first stays. */
static int compare(const void *one, const void *two)
{
	const struct point *a = one, *b = two;

	if (a->hash != b->hash)
		return a->hash < b->hash ? -1 : 1;
	return a->server < b->server ? -1 : a->server > b->server;
}

static void add_points(struct balance_ring *r, uint32_t server, const struct balance_server_conf *s)
{
	uint32_t base = base_of(s), hash = 0;

	for (uint32_t i = 0; i < s->weight * POINTS_PER_WEIGHT; i++) {
		char before[4] = {(char)hash, (char)(hash >> 8), (char)(hash >> 16),
				  (char)(hash >> 24)};

		hash = balance_crc(base, slice_make(before, sizeof before));
		r->points[r->n++] = (struct point){.hash = hash, .server = server};
	}
}

static void drop_doubles(struct balance_ring *r)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < r->n; i++)
		if (n == 0 || r->points[i].hash != r->points[n - 1].hash)
			r->points[n++] = r->points[i];
	r->n = n;
}

struct balance_ring *balance_ring_new(struct arena *a, const struct balance_server_conf *servers,
				      uint32_t n_servers)
{
	struct balance_ring *r = arena_zalloc(a, sizeof *r);
	uint64_t weight = 0;

	for (uint32_t i = 0; i < n_servers; i++)
		weight += servers[i].backup ? 0 : servers[i].weight;
	if (weight > BALANCE_RING_WEIGHT_MAX)
		return NULL;
	r->points = arena_alloc(a, (size_t)weight * POINTS_PER_WEIGHT * sizeof *r->points);
	for (uint32_t i = 0; i < n_servers; i++) {
		uint32_t first = 0;

		while (!is_alike(&servers[first], &servers[i]))
			first++;
		r->first_alike[i] = (uint8_t)first;
		if (!servers[i].backup)
			add_points(r, first, &servers[i]);
	}
	qsort(r->points, r->n, sizeof *r->points, compare);
	drop_doubles(r);
	return r;
}

/* The first point at or behind HASH; N when there is none, which is the ring's first. */
static uint32_t find(const struct balance_ring *r, uint32_t hash)
{
	uint32_t low = 0, high = r->n;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (r->points[mid].hash < hash)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct wanted {
	const struct balance_ring *ring;
	uint32_t server;
};

static bool is_of_server(const struct balance_turn *t, const struct balance_peer *p,
			 const void *data)
{
	const struct wanted *w = data;

	return w->ring->first_alike[p->server] == w->server;
}

/* Addresses of one server take turns. Whoever cannot be asked leaves his keys to the next on the ring. */
static struct balance_peer *choose(struct balance_turn *t)
{
	const struct balance_ring *r = t->ask->policy->ring;
	struct balance_ask *ask = t->ask;

	if (!ask->begun)
		ask->hash = find(r, balance_crc(0, ask->key));
	ask->begun = true;
	while (!t->backup && r->n && ask->key.n && ask->n_draws <= BALANCE_DRAWS_MAX) {
		struct wanted w = {.ring = r, .server = r->points[ask->hash % r->n].server};
		struct balance_peer *p = balance_rr_choose(t, is_of_server, &w);

		if (p)
			return p;
		ask->hash++;
		ask->n_draws++;
	}
	return balance_rr.choose(t);
}

const struct balance_method balance_ring = {
	.name = "hash consistent", .choose = choose, .no_backup = true, .no_slow_start = true};
