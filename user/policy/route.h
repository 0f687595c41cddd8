/* SPDX-License-Identifier: BSD-2-Clause */
/* Which location a path means, as far as that is decided without regular expressions: nginx's rules.
 * Built in the configuration's arena, immutable afterwards. Names of servers are in route_names.h. */
#ifndef SL_POLICY_ROUTE_H
#define SL_POLICY_ROUTE_H

#include "core/arena.h"
#include "core/slice.h"

enum route_loc_kind {
	ROUTE_PREFIX,
	ROUTE_EXACT,	   /* = */
	ROUTE_PREFIX_STOP, /* ^~ */
	ROUTE_REGEX,	   /* ~ and ~*; not in these tables */
	ROUTE_NAMED,	   /* @name; not in these tables */
};

struct route_loc {
	struct slice path;
	enum route_loc_kind kind;
	bool redirect_slash; /* "/a/" answers "/a" with a redirect */
	void *target;
};

struct route_locs {
	struct route_loc *exact, *prefix; /* sorted: exact by path, prefix longest first */
	struct route_loc *slash;	  /* those that redirect, by path without the slash */
	uint32_t n_exact, n_prefix, n_slash;
};

enum route_hit {
	ROUTE_NONE,
	ROUTE_HIT_EXACT,  /* nothing else is looked at */
	ROUTE_HIT_PREFIX, /* the longest */
	ROUTE_HIT_SLASH, /* the path is a redirecting location's without its slash, as hit->path is */
};

/* LOCS is copied and sorted. -SL_EEXIST: *dup is a path that stands twice (in the same class). */
int route_locs_build(struct arena *a, const struct route_loc *locs, uint32_t n,
		     struct route_locs *out, uint32_t *dup);
enum route_hit route_locs_find(const struct route_locs *l, struct slice path,
			       const struct route_loc **hit);

#endif
