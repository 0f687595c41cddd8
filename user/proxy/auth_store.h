/* SPDX-License-Identifier: BSD-2-Clause */
/* What a worker keeps for auth_basic: password files, and which passwords it has found right. All of it is
 * bounded, and none of it is a password. */
#ifndef SL_PROXY_AUTH_STORE_H
#define SL_PROXY_AUTH_STORE_H

#include "policy/auth.h"
#include "proxy/env.h"

struct auth_store;

/* Made when it is asked for first; NULL: no memory. */
struct auth_store *auth_store_get(struct env *env);
void auth_store_free(struct auth_store *s);

/* The text of a file, borrowed until the next call. It is looked at again after a second. 0, or -SL_ESYS with
 * errno. */
int auth_store_file(struct auth_store *s, uint64_t now_ms, const char *path, struct slice *text);

/* As auth_verify(), without the cost where the same was right shortly before. *wait_ms not 0: nothing was
 * checked, since the last ones took long; ask again after that time. */
enum auth_result auth_store_verify(struct auth_store *s, uint64_t now_ms, struct slice stored,
				   struct slice user, struct slice password, uint64_t *wait_ms);

#endif
