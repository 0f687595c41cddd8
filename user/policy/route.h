/* SPDX-License-Identifier: BSD-2-Clause */
/* Which server a name means, and which location a path: nginx's rules, without descriptors. Built in the
 * configuration's arena, immutable afterwards. */
#ifndef SL_POLICY_ROUTE_H
#define SL_POLICY_ROUTE_H

#include "core/arena.h"
#include "core/slice.h"

/* Server names: exact, then the longest "*.example.com" (".example.com" means both), then the longest
 * "www.example.*". */
struct route_name {
	struct slice
		name; /* lower case; wildcards without the asterisk: ".example.com", "www.example." */
	uint64_t hash;
	void *target;
};

struct route_names {
	struct route_name *exact; /* open addressing, n_exact_slots a power of two, or 0 */
	uint32_t n_exact_slots;
	struct route_name *head, *tail; /* wildcards, longest first */
	uint32_t n_head, n_tail;
	uint64_t seed;
};

/* Collects names before the table is built. */
struct route_names_builder {
	struct arena *arena;
	struct route_name *v;
	uint32_t n, room;
};

/* NAME as written in server_name, any case. -SL_EINVAL: a bad wildcard; -SL_EEXIST: it is there already
 * (the first stays). */
int route_names_add(struct route_names_builder *b, struct slice name, void *target);
void route_names_build(struct route_names_builder *b, struct route_names *out);
/* HOST in lower case without port. NULL: none. */
void *route_names_find(const struct route_names *n, struct slice host);

enum route_loc_kind {
	ROUTE_PREFIX,
	ROUTE_EXACT,	   /* = */
	ROUTE_PREFIX_STOP, /* ^~ */
};

struct route_loc {
	struct slice path;
	enum route_loc_kind kind;
	bool redirect_slash; /* "/a/" answers "/a" with a redirect */
	void *target;
};

struct route_locs {
	struct route_loc *exact, *prefix; /* sorted: exact by path, prefix longest first */
	uint32_t n_exact, n_prefix;
};

/* LOCS is copied and sorted. -SL_EEXIST: *dup is a path that stands twice (in the same class). */
int route_locs_build(struct arena *a, const struct route_loc *locs, uint32_t n,
		     struct route_locs *out, uint32_t *dup);
/* NULL: none matches. *slash: PATH is a redirecting location's path without its slash. */
const struct route_loc *route_locs_find(const struct route_locs *l, struct slice path, bool *slash);

#endif
