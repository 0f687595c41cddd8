/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files that read upstream blocks share. */
#ifndef SL_POLICY_UPSTREAM_CONF_IMPL_H
#define SL_POLICY_UPSTREAM_CONF_IMPL_H

#include "policy/upstream_conf.h"

/* MOD_UPSTREAM's struct in all its contexts. */
struct upstream_block {
	struct upstream_scope scope; /* first: conf_get() gives a struct upstream_scope */
	struct upstream_main main;   /* http */
	struct upstream_conf *group; /* upstream */
	int64_t keepalive, keepalive_requests, keepalive_timeout_ms, keepalive_time_ms;
};

/* A further server of the group, with the defaults. */
struct balance_server_conf *upstream_server_new(struct conf *c, struct upstream_conf *u);
/* "host", "host:port", "[v6]:port", "unix:/path" into S; NULL or what is wrong. */
const char *upstream_server_address(struct slice a, struct balance_server_conf *s);

/* Rows. */
int upstream_server_set(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
			const struct conf_row *row);
int upstream_method_set(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
			const struct conf_row *row);
int upstream_zone_set(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		      const struct conf_row *row);
int upstream_sockmap_set(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
			 const struct conf_row *row);
int upstream_resolver_set(struct conf *c, struct conf_block *b, void *mod,
			  const struct conf_node *n, const struct conf_row *row);

/* When all of the block is read. */
int upstream_method_finish(struct conf *c, const struct conf_node *n, struct upstream_conf *u);
int upstream_zone_finish(struct conf *c, struct upstream_conf *u);
int upstream_sockmap_finish(struct conf *c, const struct upstream_conf *u);
/* A resolver line is taken over as a whole; resolver_timeout is typed and comes by itself. */
int upstream_resolver_inherit(struct conf *c, struct conf_block *b, void *mod, const void *parent);

#endif
