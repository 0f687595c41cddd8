/* SPDX-License-Identifier: BSD-2-Clause */
/* A table of networks, each with a value: the longest one that an address is in decides. Built in the
 * configuration's arena; then an address is found in the time of a binary search. */
#ifndef SL_POLICY_NETS_H
#define SL_POLICY_NETS_H

#include "core/arena.h"
#include "net/addr.h"

struct nets_edge;

struct nets {
	struct arena *arena;
	struct nets_item *items; /* as put in, until nets_build() */
	uint32_t n_items, room;
	/* Told, by nets_build(), of each value that is inside of another, and of the nearest around it. May
	 * be NULL. */
	void (*on_nest)(void *value, const void *outer);
	struct {
		struct nets_edge *v;
		uint32_t n;
	} family[2]; /* IPv4, IPv6 */
};

void nets_init(struct nets *t, struct arena *a);
/* Of two of the same network the last one stays; VALUE NULL takes it out. */
void nets_put(struct nets *t, const struct cidr *net, const void *value);
void nets_build(struct nets *t);
/* NULL: ADDRESS (4 bytes or 16) is in none. */
const void *nets_find(const struct nets *t, const uint8_t *address, size_t n_bytes);

#endif
