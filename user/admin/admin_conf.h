/* SPDX-License-Identifier: BSD-2-Clause */
/* The main-level block `admin { listen ...; token_file FILE; }` (module MOD_ADMIN). */
#ifndef SL_ADMIN_ADMIN_CONF_H
#define SL_ADMIN_ADMIN_CONF_H

#include <sys/types.h>

#include "conf/conf.h"
#include "net/addr.h"

extern const struct conf_module admin_module;

enum {
	ADMIN_LISTENS_MAX = 16,
	ADMIN_TOKEN_MAX = 512,
	ADMIN_UNIX_MODE = 0600,
};

/* A listen line. */
struct admin_listen {
	struct admin_listen *next;
	struct addr addr;
	bool is_unix;
	mode_t mode;	   /* of a unix socket; ADMIN_UNIX_MODE unless mode= says otherwise */
	struct slice text; /* as written */
	const struct conf_node *node;
};

struct admin_conf {		      /* MOD_ADMIN's struct in admin { } */
	struct admin_listen *listens; /* in the order of the file, at least one once loaded */
	int n_listens;
	struct slice token_file;
	const struct conf_node *token_node;
	int64_t watchers; /* of events, at most */
	char *token;	  /* ADMIN_TOKEN_MAX bytes, zeros behind the token; NULL: none */
	size_t token_len;
};

/* The block of a loaded configuration; NULL when it has none. */
struct admin_conf *admin_conf_get(const struct conf *c);
/* Overwrites the token. Due before conf_free(), and after the fork in other processes. */
void admin_conf_wipe(struct conf *c);

#endif
