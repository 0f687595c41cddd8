/* SPDX-License-Identifier: BSD-2-Clause */
/* Names with nginx's wildcards: "www.example.com", "*.example.com", ".example.com" (which means both),
 * "www.example.*". An exact name goes before all, then the longest of "*.", then the longest of ".*". Built in
 * the configuration's arena. */
#ifndef SL_POLICY_ROUTE_NAMES_H
#define SL_POLICY_ROUTE_NAMES_H

#include "core/arena.h"
#include "core/slice.h"

enum route_name_kind {
	ROUTE_NAME_EXACT,
	ROUTE_NAME_HEAD, /* "*.example.com", kept as ".example.com" */
	ROUTE_NAME_TAIL, /* "www.example.*", kept as "www.example." */
};

struct route_name {
	struct slice name; /* lower case; p NULL: an empty slot */
	uint64_t hash;
	enum route_name_kind kind;
	void *target;
};

struct route_names {
	struct arena *arena;
	struct route_name *v; /* open addressing, n_slots a power of two, or 0 */
	uint32_t n_slots, n;
	bool has[ROUTE_NAME_TAIL + 1];
	uint64_t seed;
};

void route_names_init(struct route_names *t, struct arena *a);
/* NAME as written, any case. Without WILDCARDS each name is exact. -SL_EINVAL: a bad wildcard;
 * -SL_EEXIST: it is there already, also as a part of ".name" (nothing is changed). */
int route_names_add(struct route_names *t, struct slice name, bool wildcards, void *target);
/* NAME in lower case. NULL: none. */
void *route_names_find(const struct route_names *t, struct slice name);

#endif
