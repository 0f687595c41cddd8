/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the layout of the memory of early data. Knows bytes and times, nothing of TLS. */
#include "tls/tls_replays.h"

#include "core/hash.h"
#include "core/shm.h"

enum { WAYS = 8 };

struct slot {
	uint64_t print;
	uint64_t until_s; /* 0: free */
};

struct tls_replays {
	struct shm_lock lock;
	uint64_t seed, made_s;
	uint32_t n_buckets, pad;
	_Alignas(64) struct slot slots[];
};

struct tls_replays *tls_replays_at(void *mem, bool fresh, uint64_t now_s)
{
	struct tls_replays *r = mem;

	if (!fresh)
		return r;
	shm_lock_init(&r->lock);
	r->seed = hash_random_seed();
	r->made_s = now_s;
	r->n_buckets = (uint32_t)((TLS_REPLAYS_BYTES - sizeof *r) / (WAYS * sizeof(struct slot)));
	return r;
}

static bool remember(struct slot *bucket, uint64_t print, uint64_t now_s)
{
	struct slot *room = NULL;

	for (int i = 0; i < WAYS; i++) {
		if (bucket[i].until_s <= now_s)
			room = &bucket[i];
		else if (bucket[i].print == print)
			return false;
	}
	if (room)
		*room = (struct slot){print, now_s + TLS_REPLAYS_KEEP_S};
	return room != NULL;
}

bool tls_replays_first(struct tls_replays *r, struct slice random, uint64_t now_s, bool old_tickets)
{
	struct hash128 h = hash128(random, r->seed);
	struct slot *bucket = &r->slots[h.hi % r->n_buckets * WAYS];
	bool first;

	if (old_tickets && now_s < r->made_s + TLS_REPLAYS_KEEP_S)
		return false;
	/* A holder that died left a slot whole or half written: half a slot only refuses. */
	shm_lock_get(&r->lock);
	first = remember(bucket, h.lo, now_s);
	shm_lock_put(&r->lock);
	return first;
}
