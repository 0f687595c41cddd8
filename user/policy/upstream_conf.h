/* SPDX-License-Identifier: BSD-2-Clause */
/* Directives of upstream blocks and of name resolution (module MOD_UPSTREAM), and the groups
 * that they make: those of `upstream NAME {}` and those that a proxy_pass with a plain host
 * makes by itself. */
#ifndef SL_POLICY_UPSTREAM_CONF_H
#define SL_POLICY_UPSTREAM_CONF_H

#include "conf/conf.h"
#include "policy/balance_policy.h"

extern const struct conf_module upstream_module;

/* How names are resolved: MOD_UPSTREAM's struct in http, server, location and upstream. */
struct upstream_scope {
	struct slice *resolver_addrs; /* "ip[:port]"; NULL: resolv.conf */
	int n_resolver_addrs;
	int64_t resolver_valid_ms;	      /* 0: by TTL */
	int64_t resolver_ipv4, resolver_ipv6; /* 1 or 0 */
	int64_t resolver_timeout_ms;	      /* 30s */
};

/* A group as configured. Lives in the arena of the configuration. */
struct upstream_conf {
	struct upstream_conf *next;
	struct slice name;	/* of an implicit group: "host:port", or "unix:/path" */
	uint16_t default_port;	/* of an implicit group: its port; 0 in a named one */
	bool implicit;		/* made by a proxy_pass, not by a block */
	bool used_80, used_443; /* schemes of the proxy_pass lines that use it, by default port */
	const struct conf_node *node; /* the block, or the proxy_pass */
	struct balance_server_conf *servers;
	uint32_t n_servers, servers_room;
	struct balance_policy *policy;	   /* NULL: round robin */
	struct balance_checks checks;	   /* counted by finish() of health_check's module */
	const struct conf_node *zone_node; /* NULL: no `zone` line */
	int64_t zone_bytes;		   /* 0: the line has no size */
	int64_t keepalive;	    /* idle connections kept by each worker; default 32; 0: none */
	int64_t keepalive_requests; /* 1000 */
	int64_t keepalive_timeout_ms;	 /* 60s */
	int64_t keepalive_time_ms;	 /* 1h */
	const struct conf_node *sockmap; /* the line `sockmap on`; NULL: off */
	int64_t sockmap_limit_bytes;
	int relay_group; /* of user/kernel/relay.h, set by the master before it forks; -1: none */
	const struct upstream_scope *scope; /* resolver: the block's; of an implicit group http's */
	struct shm_zone *zone;
	struct balance_group *group; /* in shared memory, set by upstream_conf_share() */
	uint32_t index;		     /* 0.. over all groups of the configuration */
};

struct upstream_main {		      /* see upstream_conf_main() */
	struct upstream_conf *groups; /* in order of appearance */
	uint32_t n_groups;
};

/* The group that `proxy_pass http://HOST[:PORT]` means: the block of that name, wherever it
 * stands in the file (so call it from finish() of a later module), or an implicit group made
 * now. HOST may be "unix:/path" or an address, IPv6 in brackets; DEFAULT_PORT is the scheme's.
 * NULL after conf_error.
 *
 * A server of a block that has no port gets the default port of the schemes that the group is
 * used with: 443 when every proxy_pass to it says https, else 80. nginx takes 80 always, so that
 * its `server api.example.com;` behind `proxy_pass https://group` speaks TLS to port 80: never
 * what was meant. */
struct upstream_conf *upstream_conf_get(struct conf *c, const struct conf_node *n,
					struct slice host, uint16_t port, bool has_port,
					uint16_t default_port);
/* The block of that name (case is ignored, as in nginx), for a proxy_pass with variables; NULL:
 * none. */
struct upstream_conf *upstream_conf_find(const struct conf *c, struct slice name);
/* Says that the proxy_pass at N, with this scheme, may use the group, when only a request will show which.
 * -SL_EINVAL after conf_error. */
int upstream_conf_use(struct conf *c, const struct conf_node *n, struct upstream_conf *u,
		      uint16_t default_port);
/* Makes or finds the shared memory of all groups; called once all groups are known. */
int upstream_conf_share(struct conf *c);
/* NULL when there is no http block. */
struct upstream_main *upstream_conf_main(const struct conf *c);
/* Unrefs the zones of a configuration that is going away, loaded or refused; before conf_free(). */
void upstream_conf_release(struct conf *c);

#endif
