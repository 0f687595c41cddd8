/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the layout of a shared session cache. Knows bytes and times, nothing of TLS. */
#include "tls/tls_cache.h"

#include "core/err.h"
#include "core/hash.h"
#include "core/shm.h"

enum {
	WAYS = 8,     /* slots in a bucket */
	STRIPES = 16, /* locks; a bucket belongs to one */
	SLOT_HEAD = 44,
	DER_MAX = TLS_CACHE_SLOT_BYTES - SLOT_HEAD,
};

struct slot {
	uint32_t expires_s; /* 0: free */
	uint32_t used_s;
	uint16_t der_n;
	uint8_t id_n;
	uint8_t pad;
	uint8_t id[TLS_CACHE_ID_MAX];
	uint8_t der[DER_MAX];
};

_Static_assert(sizeof(struct slot) == TLS_CACHE_SLOT_BYTES, "a slot has its size");

struct tls_cache {
	uint64_t seed;
	uint32_t n_buckets, pad;
	struct shm_lock locks[STRIPES];
	_Alignas(64) struct slot slots[];
};

struct tls_cache *tls_cache_at(void *mem, size_t bytes, bool fresh)
{
	struct tls_cache *c = mem;

	if (!fresh)
		return c;
	c->seed = hash_random_seed();
	c->n_buckets = (uint32_t)((bytes - sizeof *c) / (WAYS * sizeof(struct slot)));
	for (int i = 0; i < STRIPES; i++)
		shm_lock_init(&c->locks[i]);
	return c;
}

uint32_t tls_cache_n_slots(const struct tls_cache *c)
{
	return c->n_buckets * WAYS;
}

static void wipe(struct slot *s)
{
	explicit_bzero(s, sizeof *s);
}

/* The bucket of ID with its lock held; *stripe is to be put back. A stripe whose holder died may
 * hold a half-written slot: all of it goes. */
static struct slot *bucket_get(struct tls_cache *c, struct slice id, uint32_t *stripe)
{
	uint32_t at = (uint32_t)(hash64(id, c->seed) % c->n_buckets);

	*stripe = at % STRIPES;
	if (shm_lock_get(&c->locks[*stripe]))
		for (uint32_t b = *stripe; b < c->n_buckets; b += STRIPES)
			for (int i = 0; i < WAYS; i++)
				wipe(&c->slots[(size_t)b * WAYS + (size_t)i]);
	return &c->slots[(size_t)at * WAYS];
}

static void bucket_put(struct tls_cache *c, uint32_t stripe)
{
	shm_lock_put(&c->locks[stripe]);
}

static struct slot *find(struct slot *bucket, struct slice id)
{
	for (int i = 0; i < WAYS; i++)
		if (bucket[i].expires_s && bucket[i].id_n == id.n &&
		    memcmp(bucket[i].id, id.p, id.n) == 0)
			return &bucket[i];
	return NULL;
}

static struct slot *victim(struct slot *bucket, uint32_t now_s)
{
	struct slot *oldest = &bucket[0];

	for (int i = 0; i < WAYS; i++) {
		if (bucket[i].expires_s <= now_s)
			return &bucket[i];
		if (bucket[i].used_s < oldest->used_s)
			oldest = &bucket[i];
	}
	return oldest;
}

int tls_cache_put(struct tls_cache *c, struct slice id, struct slice der, uint32_t now_s,
		  uint32_t expires_s)
{
	struct slot *bucket, *s;
	uint32_t stripe;

	if (der.n > DER_MAX || id.n > TLS_CACHE_ID_MAX || id.n == 0 || expires_s == 0)
		return -SL_ELIMIT;
	bucket = bucket_get(c, id, &stripe);
	s = find(bucket, id);
	if (!s)
		s = victim(bucket, now_s);
	wipe(s);
	s->expires_s = expires_s;
	s->used_s = now_s;
	s->der_n = (uint16_t)der.n;
	s->id_n = (uint8_t)id.n;
	memcpy(s->id, id.p, id.n);
	memcpy(s->der, der.p, der.n);
	bucket_put(c, stripe);
	return 0;
}

size_t tls_cache_get(struct tls_cache *c, struct slice id, uint32_t now_s, void *to, size_t room)
{
	struct slot *s;
	uint32_t stripe;
	size_t n = 0;

	if (id.n == 0 || id.n > TLS_CACHE_ID_MAX)
		return 0;
	s = find(bucket_get(c, id, &stripe), id);
	if (s && s->expires_s <= now_s) {
		wipe(s);
	} else if (s && s->der_n <= room) {
		n = s->der_n;
		memcpy(to, s->der, n);
		s->used_s = now_s;
	}
	bucket_put(c, stripe);
	return n;
}

void tls_cache_remove(struct tls_cache *c, struct slice id)
{
	struct slot *s;
	uint32_t stripe;

	if (id.n == 0 || id.n > TLS_CACHE_ID_MAX)
		return;
	s = find(bucket_get(c, id, &stripe), id);
	if (s)
		wipe(s);
	bucket_put(c, stripe);
}
