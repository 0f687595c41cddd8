/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the life of ticket keys: made, rotated, forgotten. Encrypts nothing itself. */
#include "tls/tls_tickets.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "core/err.h"

void tls_tickets_init(struct tls_tickets *t)
{
	shm_lock_init(&t->lock);
}

/* A holder that died may have left half a key: both go. */
static void lock(struct tls_tickets *t)
{
	if (shm_lock_get(&t->lock)) {
		OPENSSL_cleanse(&t->now, sizeof t->now);
		OPENSSL_cleanse(&t->before, sizeof t->before);
	}
}

static bool too_old(const struct tls_ticket_key *k, uint64_t now_s, uint64_t rotate_s)
{
	return k->made_s == 0 || now_s >= k->made_s + rotate_s;
}

int tls_tickets_seal(struct tls_tickets *t, uint64_t now_s, uint64_t rotate_s,
		     struct tls_ticket_key *out)
{
	struct tls_ticket_key fresh = {.made_s = now_s ? now_s : 1};
	bool stale;

	lock(t);
	*out = t->now;
	shm_lock_put(&t->lock);
	if (!too_old(out, now_s, rotate_s))
		return 0;
	/* Made outside the lock; another worker may have been faster. */
	if (RAND_bytes(fresh.name, sizeof fresh.name) != 1 ||
	    RAND_priv_bytes(fresh.aes, sizeof fresh.aes) != 1 ||
	    RAND_priv_bytes(fresh.hmac, sizeof fresh.hmac) != 1)
		return -SL_ESYS;
	lock(t);
	stale = too_old(&t->now, now_s, rotate_s);
	if (stale) {
		t->before = t->now;
		t->now = fresh;
	}
	*out = t->now;
	shm_lock_put(&t->lock);
	OPENSSL_cleanse(&fresh, sizeof fresh);
	return 0;
}

/* Public names, so no constant time is due. */
static bool is(const struct tls_ticket_key *k, const uint8_t name[16])
{
	return k->made_s && memcmp(k->name, name, sizeof k->name) == 0;
}

int tls_tickets_open(struct tls_tickets *t, const uint8_t name[16], uint64_t now_s,
		     uint64_t rotate_s, struct tls_ticket_key *out)
{
	int rc = -SL_ENOTFOUND;

	lock(t);
	if (is(&t->now, name)) {
		*out = t->now;
		rc = too_old(out, now_s, rotate_s) ? 1 : 0;
	} else if (is(&t->before, name)) {
		*out = t->before;
		rc = 1;
	}
	if (rc >= 0 && now_s >= out->made_s + 2 * rotate_s) {
		OPENSSL_cleanse(out, sizeof *out);
		rc = -SL_ENOTFOUND;
	}
	shm_lock_put(&t->lock);
	return rc;
}
