/* SPDX-License-Identifier: BSD-2-Clause */
/* Passwords of auth_basic: the user's line of a file, and whether a password is the one that it holds. */
#ifndef SL_POLICY_AUTH_H
#define SL_POLICY_AUTH_H

#include "core/slice.h"

struct auth_scratch; /* memory for crypt(); wiped after each use */

enum auth_result {
	AUTH_OK,
	AUTH_MISMATCH,
	AUTH_UNSUPPORTED, /* what is stored is in no form that is known here */
	AUTH_TOO_DEAR,	  /* ... or would cost more than a worker may spend on one request */
	AUTH_FAILED,	  /* out of memory, or the digest is not available */
};

enum {
	AUTH_BCRYPT_COST_MAX = 12, /* about a quarter of a second */
	AUTH_SHA_ROUNDS_MAX = 200000,
	AUTH_PASSWORD_MAX = 4096,
};

struct auth_scratch *auth_scratch_new(void);
void auth_scratch_free(struct auth_scratch *s);

/* What "USER:STORED[:...]" in TEXT holds, the first line of that user; false: there is none. Lines that
 * begin with '#' are comments. */
bool auth_find(struct slice text, struct slice user, struct slice *stored);
/* "user:password" out of "Basic BASE64". ROOM has BASE64_DECODED_MAX(field.n) bytes; both slices point into
 * it. False: it is something else, or has no user. */
bool auth_parse_basic(struct slice field, char *room, struct slice *user, struct slice *password);
/* {PLAIN}, {SHA}, {SSHA}, $apr1$, and what crypt(3) has: DES, $1$, $5$, $6$, $2a$, $2b$, $2y$, $y$. */
enum auth_result auth_verify(struct slice stored, struct slice password, struct auth_scratch *s);
/* Does it take so long that its result is worth keeping? */
bool auth_is_dear(struct slice stored);

#endif
