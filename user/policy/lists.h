/* SPDX-License-Identifier: BSD-2-Clause */
/* Whom the configuration always lets through and whom it keeps out: `allow`, `deny`, `deny_file` and
 * `allow_auto` of the xdp block (module MOD_LISTS). Immutable once loaded; the guard's maps are filled from
 * it, and workers ask it where packets are not dropped. */
#ifndef SL_POLICY_LISTS_H
#define SL_POLICY_LISTS_H

#include "conf/conf.h"
#include "kernel/guard.h"
#include "policy/nets.h"

extern const struct conf_module lists_module;

enum { LISTS_REASON_MAX = 96, LISTS_FILE_MAX = 256 << 20 };

/* A `deny` or `deny_file` line. */
struct list_source {
	struct list_source *next;
	uint32_t id;		/* of hash_rule_id() */
	const char *text;	/* "deny 192.0.2.0/24", "deny_file bad.txt" */
	const char *reason;	/* "" without one */
	uint64_t until_wall_ms; /* of all in it; 0: as long as it stands there */
	uint32_t n;		/* networks in force by it */
	const struct conf_node *node;
};

struct list_entry {
	struct guard_cidr net;
	const struct list_source *source;
	uint64_t until_wall_ms;		/* 0: as long as it stands there */
	const struct list_entry *outer; /* the next network around this one that is denied, too */
};

struct lists {
	struct guard_cidr *allow;
	uint32_t n_allow, allow_room;
	struct list_entry *deny; /* once loaded: by family, address and length, each network once */
	uint32_t n_deny, deny_room;
	struct list_source *sources;
	uint32_t n_sources;
	struct nets allow_nets, deny_nets;
	int64_t allow_auto;
};

/* NULL: there is no xdp block. All others take NULL. */
const struct lists *lists_get(const struct conf *c);
bool lists_allow(const struct lists *l, const struct guard_addr *a);
/* All of NET is allowed. */
bool lists_allow_net(const struct lists *l, const struct guard_cidr *net);
/* The entry in force by which A is denied, whatever is allowed; NULL: none. */
const struct list_entry *lists_deny(const struct lists *l, const struct guard_addr *a,
				    uint64_t now_wall_ms);
/* The entry of exactly that network. */
const struct list_entry *lists_find(const struct lists *l, const struct guard_cidr *net);

/* For lists_conf.c. Adds the networks of a file; LINE and TEXT say where it went wrong. -SL_ESYS with errno;
 * -SL_EINVAL, -SL_ELIMIT. */
int lists_read_file(struct conf *c, struct lists *l, struct list_source *from, const char *path,
		    unsigned *line, char *text, size_t room);
/* -SL_EINVAL: no network, or no time; those that are over are passed over. */
int lists_add(struct conf *c, struct lists *l, const struct list_source *from, struct slice net,
	      uint64_t until_wall_ms, uint32_t room_hint);
/* "2026-12-01" or "2026-12-01T12:30:00Z", in UTC. */
int lists_parse_time(struct slice s, uint64_t *wall_ms);

#endif
