/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the life of ticket keys: made, rotated, forgotten. Encrypts nothing itself. */
#include "tls/tls_tickets.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <unistd.h>

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

/* Keys of files. */

static ssize_t read_file(const char *path, uint8_t *to, size_t room)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = read(fd, to, room);
	close(fd);
	return n;
}

int tls_tickets_load(struct tls_ticket_files *f, const char *path_cstr, char err[TLS_TEXT_MAX])
{
	struct tls_ticket_key *k = &f->key[f->n];
	uint8_t raw[81]; /* one more than there may be */
	ssize_t n = read_file(path_cstr, raw, sizeof raw);
	int rc = 0;

	if (f->n == (int)(sizeof f->key / sizeof f->key[0])) {
		snprintf(err, TLS_TEXT_MAX, "more than %d session ticket keys", f->n);
		rc = -SL_ETLS;
	} else if (n < 0) {
		snprintf(err, TLS_TEXT_MAX, "cannot read session ticket key \"%.300s\": %s",
			 path_cstr, strerror(errno));
		rc = -SL_ETLS;
	} else if (n == 48) {
		*k = (struct tls_ticket_key){.is_128 = true};
		memcpy(k->aes, raw + 16, 16);
		memcpy(k->hmac, raw + 32, 16);
	} else if (n == 80) {
		*k = (struct tls_ticket_key){0};
		memcpy(k->hmac, raw + 16, 32);
		memcpy(k->aes, raw + 48, 32);
	} else {
		snprintf(err, TLS_TEXT_MAX, "session ticket key \"%.300s\" must be 48 or 80 bytes",
			 path_cstr);
		rc = -SL_ETLS;
	}
	if (rc == 0) {
		memcpy(k->name, raw, sizeof k->name);
		f->n++;
	}
	OPENSSL_cleanse(raw, sizeof raw);
	return rc;
}

int tls_tickets_open_file(const struct tls_ticket_files *f, const uint8_t name[16],
			  struct tls_ticket_key *out)
{
	for (int i = 0; i < f->n; i++) {
		if (memcmp(f->key[i].name, name, sizeof f->key[i].name) == 0) {
			*out = f->key[i];
			return i == 0 ? 0 : 1;
		}
	}
	return -SL_ENOTFOUND;
}
