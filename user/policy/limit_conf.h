/* SPDX-License-Identifier: BSD-2-Clause */
/* limit_req_zone, limit_req and their settings (module MOD_LIMIT). */
#ifndef SL_POLICY_LIMIT_CONF_H
#define SL_POLICY_LIMIT_CONF_H

#include "conf/conf.h"
#include "policy/limit.h"

extern const struct conf_module limit_module;

/* One limit_req_zone. Its memory is kept over a reload while name, key and size stay; the rate
 * is not part of it. */
struct limit_zone_conf {
	struct limit_zone_conf *next;
	struct slice name;
	struct tmpl *key;
	int64_t bytes;
	uint64_t rate_milli_per_s;
	struct shm_zone *shm;
	struct limit_zone *zone; /* shared memory, set by finish() */
	const struct conf_node *node;
};

struct limit_lines { /* the limit_req lines of one scope, in order */
	int n;
	struct limit_zone_conf *zone[LIMIT_USES_MAX]; /* set by finish(): a zone may stand below */
	struct slice zone_name[LIMIT_USES_MAX];
	const struct conf_node *node[LIMIT_USES_MAX];
	struct limit_use use[LIMIT_USES_MAX]; /* for limit_check(), as it is */
};

struct limit_scope {		   /* MOD_LIMIT's struct in http, server, location */
	struct limit_lines *lines; /* NULL: none; inherited when none is set here, as in nginx */
	int64_t status;		   /* 503 */
	int64_t log_level;	   /* enum log_level; delays are logged one level lower */
	int64_t dry_run;
	struct limit_zone_conf *zones; /* http only: see limit_conf_zones() */
};

/* "NAME:SIZE", V, of ARG, as limit_req_zone and limit_conn_zone have it. -SL_EINVAL after conf_error(). */
int limit_conf_zone_param(struct conf *c, const struct conf_node *n, struct slice arg,
			  struct slice v, struct slice *name, int64_t *bytes);
/* The first zone of a configuration, in the order of the file; NULL: none. */
const struct limit_zone_conf *limit_conf_zones(const struct conf *c);
/* Unrefs the zones of a configuration that is going away, loaded or refused. */
void limit_conf_release(struct conf *c);

#endif
