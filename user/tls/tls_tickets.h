/* SPDX-License-Identifier: BSD-2-Clause */
/* The keys of session tickets, in memory that all workers share and that a reload keeps. The
 * current key seals for ROTATE_S seconds and opens for as long again; then it is gone (RFC
 * 5077 5.5). Whoever first meets a key that is too old makes the next one. */
#ifndef SL_TLS_TLS_TICKETS_H
#define SL_TLS_TLS_TICKETS_H

#include <stdint.h>

#include "core/shm.h"
#include "tls/tls_ctx.h"

struct tls_ticket_key {
	uint8_t name[16];
	uint8_t aes[32];  /* AES-256-CBC; AES-128-CBC: the first half */
	uint8_t hmac[32]; /* HMAC-SHA-256 */
	bool is_128;	  /* half as many bytes of both keys count */
	uint64_t made_s;  /* 0: not made yet */
};

/* Lives in a zone of its own. */
struct tls_tickets {
	struct shm_lock lock;
	struct tls_ticket_key now, before;
};

/* Keys of ssl_session_ticket_key: the first one seals, all open. They change with the files only. */
struct tls_ticket_files {
	int n;
	struct tls_ticket_key key[16];
};

/* Adds the key of a file (48 bytes: name, AES-128, HMAC; 80 bytes: name, HMAC, AES-256). 0, or -SL_ETLS
 * with ERR filled. */
int tls_tickets_load(struct tls_ticket_files *f, const char *path_cstr, char err[TLS_TEXT_MAX]);
/* As tls_tickets_open(), from files. */
int tls_tickets_open_file(const struct tls_ticket_files *f, const uint8_t name[16],
			  struct tls_ticket_key *out);
/* Once, on fresh (zeroed) memory. */
void tls_tickets_init(struct tls_tickets *t);
/* The key to seal with at NOW_S (any clock that all processes share); the caller wipes *OUT. 0, or
 * -SL_ESYS when there is no randomness. */
int tls_tickets_seal(struct tls_tickets *t, uint64_t now_s, uint64_t rotate_s,
		     struct tls_ticket_key *out);
/* The key called NAME. 0; 1: it opens, but the ticket should be renewed; -SL_ENOTFOUND. */
int tls_tickets_open(struct tls_tickets *t, const uint8_t name[16], uint64_t now_s,
		     uint64_t rotate_s, struct tls_ticket_key *out);

#endif
