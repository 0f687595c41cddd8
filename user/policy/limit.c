/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the memory of limit zones: a hash table of buckets that leak, in the order of last use.
 * Opens nothing and reads no clock; what a verdict means for a request is the caller's. */
#include "policy/limit.h"

#include <assert.h>

#include "core/hash.h"

enum {
	ZONE_MIN_BYTES = 32768,
	IDLE_MS = 60000, /* an empty bucket that old may go before the zone is full */
	IDLE_MAX = 2,	 /* so many at each new key */
};

/* Links are indices into node[] plus one; 0 is none, so that zeroed memory is an empty zone. */
struct node {
	struct hash128 key;
	uint64_t last_ms;
	uint64_t excess_milli;
	uint32_t next; /* in the bucket, or on the free list */
	uint32_t newer, older;
	uint32_t used;
};

_Static_assert(sizeof(struct node) == 48, "a zone's room is documented");

struct limit_zone {
	struct shm_lock lock;
	uint64_t seed;
	uint32_t room, n_touched, n_used; /* nodes; touched: ever taken from the end */
	uint32_t mask;			  /* of buckets */
	uint32_t free, newest, oldest;
	uint32_t pad;
	_Alignas(16) uint32_t bucket[]; /* then the nodes */
};

static struct node *node_at(struct limit_zone *z, uint32_t link)
{
	return (struct node *)&z->bucket[z->mask + 1] + (link - 1);
}

size_t limit_zone_min_bytes(void)
{
	return ZONE_MIN_BYTES;
}

/* As many buckets as the largest power of two that leaves at least as much room for nodes. */
static uint32_t buckets_for(size_t bytes)
{
	size_t n = 16;

	while (n < 1u << 30 && n * 2 * (sizeof(uint32_t) + sizeof(struct node)) <= bytes)
		n *= 2;
	return (uint32_t)n;
}

void limit_zone_init(struct limit_zone *z, size_t bytes)
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

static uint32_t *bucket_of(struct limit_zone *z, const struct hash128 *key)
{
	return &z->bucket[key->lo & z->mask];
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

static void bucket_add(struct limit_zone *z, struct node *n, uint32_t link)
{
	uint32_t *head = bucket_of(z, &n->key);

	n->next = *head;
	*head = link;
}

/* The last holder died at any place: all links are made anew from the nodes. The order of use is
 * lost, which only makes a choice of whom to forget worse for a while. */
static void repair(struct limit_zone *z)
{
	z->free = z->newest = z->oldest = 0;
	z->n_used = 0;
	memset(z->bucket, 0, (z->mask + 1) * sizeof z->bucket[0]);
	if (z->n_touched > z->room)
		z->n_touched = z->room;
	for (uint32_t link = 1; link <= z->n_touched; link++) {
		struct node *n = node_at(z, link);

		if (n->used) {
			bucket_add(z, n, link);
			lru_add(z, n, link);
			z->n_used++;
		} else {
			n->next = z->free;
			z->free = link;
		}
	}
}

static void enter(struct limit_zone *z)
{
	if (shm_lock_get(&z->lock))
		repair(z);
}

static struct node *find(struct limit_zone *z, const struct hash128 *key)
{
	for (uint32_t link = *bucket_of(z, key); link;) {
		struct node *n = node_at(z, link);

		if (n->key.lo == key->lo && n->key.hi == key->hi) {
			if (z->newest != link) {
				lru_remove(z, n);
				lru_add(z, n, link);
			}
			return n;
		}
		link = n->next;
	}
	return NULL;
}

static void forget(struct limit_zone *z, uint32_t link)
{
	struct node *n = node_at(z, link);
	uint32_t *at = bucket_of(z, &n->key);

	while (*at != link)
		at = &node_at(z, *at)->next;
	*at = n->next;
	lru_remove(z, n);
	n->used = 0;
	n->next = z->free;
	z->free = link;
	z->n_used--;
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

static uint32_t take_node(struct limit_zone *z)
{
	uint32_t link = z->free;

	if (!link && z->n_touched < z->room)
		return ++z->n_touched;
	if (!link) {
		forget(z, z->oldest);
		link = z->free;
	}
	z->free = node_at(z, link)->next;
	return link;
}

/* The first request of a key leaves its bucket empty, as in nginx: a burst of 0 lets it pass. */
static void add_node(struct limit_zone *z, const struct hash128 *key, uint64_t rate,
		     uint64_t now_ms)
{
	struct node *n;
	uint32_t link;

	forget_idle(z, rate, now_ms);
	link = take_node(z);
	n = node_at(z, link);
	n->key = *key;
	n->last_ms = now_ms;
	n->excess_milli = 0;
	__atomic_signal_fence(__ATOMIC_SEQ_CST); /* in use only once it is whole: see repair() */
	n->used = 1;
	bucket_add(z, n, link);
	lru_add(z, n, link);
	z->n_used++;
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
			hash[i] = hash128(keys[i], uses[i].zone->seed);
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
		shm_lock_put(&zones[i]->lock);
	if (verdict == LIMIT_PASS && *delay_ms)
		verdict = LIMIT_DELAY;
	return verdict;
}

void limit_zone_usage(struct limit_zone *z, uint32_t *used, uint32_t *room)
{
	enter(z);
	*used = z->n_used;
	*room = z->room;
	shm_lock_put(&z->lock);
}
