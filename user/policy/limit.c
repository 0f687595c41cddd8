/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns what limit_req keeps of a key: buckets that leak, in the order of last use.
 * Opens nothing and reads no clock; what a verdict means for a request is the caller's. */
#include "policy/limit.h"

#include <assert.h>

#include "policy/limit_table.h"

enum {
	IDLE_MS = 60000, /* an empty bucket that old may go before the zone is full */
	IDLE_MAX = 2,	 /* so many at each new key */
};

struct node {
	struct limit_node base;
	uint64_t last_ms;
	uint64_t excess_milli;
	uint32_t newer, older;
};

_Static_assert(sizeof(struct node) == 48, "a zone's room is documented");

struct limit_zone {
	struct limit_table table;
	uint32_t newest, oldest;
};

static struct node *node_at(struct limit_zone *z, uint32_t link)
{
	return limit_table_node(&z->table, link);
}

size_t limit_zone_min_bytes(void)
{
	return LIMIT_TABLE_MIN_BYTES;
}

void limit_zone_init(struct limit_zone *z, size_t bytes)
{
	limit_table_init(&z->table, sizeof *z, sizeof(struct node), bytes);
}

static void lru_remove(struct limit_zone *z, struct node *n)
{
	*(n->newer ? &node_at(z, n->newer)->older : &z->newest) = n->older;
	*(n->older ? &node_at(z, n->older)->newer : &z->oldest) = n->newer;
}

static void lru_add(struct limit_zone *z, struct node *n, uint32_t link)
{
	n->newer = 0;
	n->older = z->newest;
	*(z->newest ? &node_at(z, z->newest)->newer : &z->oldest) = link;
	z->newest = link;
}

/* Where the last holder died, the order of use is lost: for a while the choice of whom to forget is worse. */
static void enter(struct limit_zone *z)
{
	if (!limit_table_lock(&z->table))
		return;
	z->newest = z->oldest = 0;
	for (uint32_t link = 1; link <= z->table.n_touched; link++)
		if (node_at(z, link)->base.used)
			lru_add(z, node_at(z, link), link);
}

static struct node *find(struct limit_zone *z, const struct hash128 *key)
{
	uint32_t link = limit_table_first(&z->table, key);
	struct node *n;

	for (; link; link = n->base.next) {
		n = node_at(z, link);
		if (!limit_table_is(&n->base, key))
			continue;
		if (z->newest != link) {
			lru_remove(z, n);
			lru_add(z, n, link);
		}
		return n;
	}
	return NULL;
}

static void forget(struct limit_zone *z, uint32_t link)
{
	lru_remove(z, node_at(z, link));
	limit_table_drop(&z->table, link);
}

/* What is left of EXCESS after ELAPSED_MS of leaking, one more request poured in: nginx's
 * formula, in 1/1000 request, without its overflow. */
static uint64_t pour(uint64_t excess, uint64_t elapsed_ms, uint64_t rate)
{
	uint64_t full = excess + 1000, leaked;

	if (elapsed_ms > full * 1000 / rate)
		return 0;
	leaked = rate * elapsed_ms / 1000;
	return full > leaked ? full - leaked : 0;
}

static uint64_t elapsed(const struct node *n, uint64_t now_ms)
{
	return now_ms > n->last_ms ? now_ms - n->last_ms : 0;
}

static void forget_idle(struct limit_zone *z, uint64_t rate, uint64_t now_ms)
{
	for (int i = 0; i < IDLE_MAX && z->oldest; i++) {
		const struct node *n = node_at(z, z->oldest);
		uint64_t ms = elapsed(n, now_ms);

		if (ms < IDLE_MS || pour(n->excess_milli, ms, rate) > 1000)
			return;
		forget(z, z->oldest);
	}
}

/* The first request of a key leaves its bucket empty, as in nginx: a burst of 0 lets it pass. */
static void add_node(struct limit_zone *z, const struct hash128 *key, uint64_t rate,
		     uint64_t now_ms)
{
	struct node *n;
	uint32_t link;

	forget_idle(z, rate, now_ms);
	link = limit_table_take(&z->table);
	if (!link) {
		forget(z, z->oldest);
		link = limit_table_take(&z->table);
	}
	n = node_at(z, link);
	n->last_ms = now_ms;
	n->excess_milli = 0;
	limit_table_add(&z->table, link, key, 1);
	lru_add(z, n, link);
}

/* The excess that the request would make. */
static uint64_t look(const struct limit_use *u, const struct hash128 *key, uint64_t now_ms)
{
	const struct node *n = find(u->zone, key);

	return n ? pour(n->excess_milli, elapsed(n, now_ms), u->rate_milli_per_s) : 0;
}

static uint64_t charge(const struct limit_use *u, const struct hash128 *key, uint64_t now_ms)
{
	struct node *n = find(u->zone, key);

	if (!n) {
		add_node(u->zone, key, u->rate_milli_per_s, now_ms);
		return 0;
	}
	n->excess_milli = pour(n->excess_milli, elapsed(n, now_ms), u->rate_milli_per_s);
	if (now_ms > n->last_ms)
		n->last_ms = now_ms;
	return n->excess_milli;
}

/* The distinct zones of the lines that apply, by address: everybody locks in this order, so that
 * nobody waits for who waits for him. */
static int zones_in_order(const struct limit_use *uses, const struct slice *keys, int n,
			  struct limit_zone **zones)
{
	int n_zones = 0, at;

	for (int i = 0; i < n; i++) {
		struct limit_zone *z = uses[i].zone;

		if (keys[i].n == 0)
			continue;
		for (at = n_zones; at > 0 && zones[at - 1] > z; at--)
			;
		if (at > 0 && zones[at - 1] == z)
			continue;
		memmove(&zones[at + 1], &zones[at], (size_t)(n_zones - at) * sizeof *zones);
		zones[at] = z;
		n_zones++;
	}
	return n_zones;
}

static uint64_t delay_of(const struct limit_use *u, uint64_t excess)
{
	return excess <= u->delay_milli ? 0
					: (excess - u->delay_milli) * 1000 / u->rate_milli_per_s;
}

enum limit_verdict limit_check(const struct limit_use *uses, const struct slice *keys, int n,
			       uint64_t now_ms, uint64_t *delay_ms, int *which,
			       uint64_t *excess_milli)
{
	struct limit_zone *zones[LIMIT_USES_MAX + 1];
	struct hash128 hash[LIMIT_USES_MAX];
	enum limit_verdict verdict = LIMIT_PASS;
	int n_zones;

	assert(n <= LIMIT_USES_MAX);
	*delay_ms = *excess_milli = 0;
	*which = -1;
	n_zones = zones_in_order(uses, keys, n, zones);
	for (int i = 0; i < n; i++)
		if (keys[i].n)
			hash[i] = hash128(keys[i], uses[i].zone->table.seed);
	for (int i = 0; i < n_zones; i++)
		enter(zones[i]);
	for (int i = 0; i < n && verdict == LIMIT_PASS; i++) {
		if (keys[i].n == 0)
			continue;
		*which = i;
		*excess_milli = look(&uses[i], &hash[i], now_ms);
		if (*excess_milli > uses[i].burst_milli)
			verdict = LIMIT_REJECT;
	}
	for (int i = n - 1; i >= 0 && verdict != LIMIT_REJECT; i--) {
		uint64_t excess, delay;

		if (keys[i].n == 0)
			continue;
		excess = charge(&uses[i], &hash[i], now_ms);
		delay = delay_of(&uses[i], excess);
		if (delay > *delay_ms || *which == i) {
			*delay_ms = delay;
			*which = i;
			*excess_milli = excess;
		}
	}
	for (int i = 0; i < n_zones; i++)
		limit_table_unlock(&zones[i]->table);
	if (verdict == LIMIT_PASS && *delay_ms)
		verdict = LIMIT_DELAY;
	return verdict;
}

void limit_zone_usage(struct limit_zone *z, uint32_t *used, uint32_t *room)
{
	enter(z);
	*used = z->table.n_used;
	*room = z->table.room;
	limit_table_unlock(&z->table);
}
