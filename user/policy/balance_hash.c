/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the methods that map a key onto the weights of all servers, also of those that are down, so that
 * a server's absence moves only its own keys: hash and ip_hash, with nginx's numbers. */
#include <zlib.h>

#include "core/num.h"
#include "policy/balance_impl.h"

enum {
	IP_START = 89,
	IP_FACTOR = 113,
	IP_MODULUS = 6271,
};

/* zlib takes an empty text without an address for a wish to start anew. */
uint32_t balance_crc(uint32_t crc, struct slice s)
{
	return s.n ? (uint32_t)crc32(crc, (const Bytef *)s.p, (uInt)s.n) : crc;
}

/* The next peer that the key maps to; after BALANCE_DRAWS_MAX that cannot be taken, round robin. */
static struct balance_peer *draw(struct balance_turn *t, uint32_t (*next)(struct balance_ask *ask))
{
	uint32_t total = t->backup ? 0 : balance_total_weight(t->g);
	struct balance_ask *ask = t->ask;

	while (total && ask->n_draws <= BALANCE_DRAWS_MAX) {
		uint32_t i = balance_at_weight(t->g, next(ask) % total);

		if (balance_may_take(t, i))
			return &t->g->peer[i];
		ask->n_draws++;
	}
	return balance_rr.choose(t);
}

/* As Cache::Memcached: ((crc32([REHASH] KEY) >> 16) & 0x7fff), added to the one before; REHASH is left out
 * at first. */
static uint32_t next_hash(struct balance_ask *ask)
{
	uint32_t crc = 0;
	char n[20];

	if (ask->rehash)
		crc = balance_crc(crc, slice_make(n, num_put_u64(n, ask->rehash)));
	crc = balance_crc(crc, ask->key);
	ask->rehash++;
	ask->hash += crc >> 16 & 0x7fff;
	return ask->hash;
}

static struct balance_peer *choose_hash(struct balance_turn *t)
{
	return t->ask->key.n ? draw(t, next_hash) : balance_rr.choose(t);
}

static uint32_t next_ip(struct balance_ask *ask)
{
	if (!ask->begun)
		ask->hash = IP_START;
	ask->begun = true;
	for (size_t i = 0; i < ask->key.n; i++)
		ask->hash = (ask->hash * IP_FACTOR + (unsigned char)ask->key.p[i]) % IP_MODULUS;
	return ask->hash;
}

static struct balance_peer *choose_ip(struct balance_turn *t)
{
	return draw(t, next_ip);
}

struct slice balance_ip_key(const struct addr *a)
{
	const uint8_t *bytes;
	size_t n = addr_bytes(a, &bytes);

	return n ? slice_make((const char *)bytes, n == 4 ? 3 : n) : slice_make("\0\0", 3);
}

const struct balance_method balance_hash = {
	.name = "hash", .choose = choose_hash, .no_backup = true, .no_slow_start = true};
const struct balance_method balance_ip_hash = {
	.name = "ip_hash", .choose = choose_ip, .no_backup = true, .no_slow_start = true};
