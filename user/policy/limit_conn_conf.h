/* SPDX-License-Identifier: BSD-2-Clause */
/* limit_conn_zone, limit_conn and their settings (module MOD_LIMIT_CONN). */
#ifndef SL_POLICY_LIMIT_CONN_CONF_H
#define SL_POLICY_LIMIT_CONN_CONF_H

#include "conf/conf.h"
#include "policy/limit_conn.h"

extern const struct conf_module limit_conn_module;

enum { LIMIT_CONN_USES_MAX = 16 };

/* One limit_conn_zone. Its memory is kept over a reload while name, key and size stay. */
struct limit_conn_conf {
	struct limit_conn_conf *next;
	struct slice name;
	struct tmpl *key;
	int64_t bytes;
	struct shm_zone *shm;
	struct limit_conn_zone *zone; /* shared memory, set by finish() */
	const struct conf_node *node;
};

struct limit_conn_lines { /* the limit_conn lines of one scope, in order */
	int n;
	struct {
		struct slice name;
		struct limit_conn_conf *zone; /* set by finish(): it may stand below */
		uint32_t max;
		const struct conf_node *node;
	} line[LIMIT_CONN_USES_MAX];
};

struct limit_conn_scope {		/* MOD_LIMIT_CONN's struct in http, server, location */
	struct limit_conn_lines *lines; /* NULL: none; inherited when none is set here */
	int64_t status;			/* 503 */
	int64_t log_level;		/* enum log_level */
	int64_t dry_run;
	struct limit_conn_conf *zones; /* http only */
};

/* Unrefs the zones of a configuration that is going away, loaded or refused. */
void limit_conn_conf_release(struct conf *c);
/* The worker SLOT is dead: nothing is held by it any more. */
void limit_conn_conf_worker_gone(struct conf *c, unsigned slot);

#endif
