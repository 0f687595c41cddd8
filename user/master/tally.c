/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the counting of refusals: a short list of rules, and a hash of (rule, source) that grows up to a
 * bound; beyond it a rule's packets are still counted, but not whose they were. */
#include "master/tally.h"

#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "core/hash.h"

enum { FIRST_ROOM = 4096 };

static struct tally_rule *rule_of(struct tally *t, const struct guard_event *e)
{
	struct tally_rule *r;

	for (unsigned i = 0; i < t->n_rules; i++) {
		r = &t->rules[i];
		if (r->id == e->rule_id && r->verdict == e->verdict &&
		    r->is_dry_run == (e->is_dry_run != 0))
			return r;
	}
	if (t->n_rules == TALLY_RULES_MAX)
		return NULL;
	r = &t->rules[t->n_rules++];
	*r = (struct tally_rule){
		.id = e->rule_id, .verdict = e->verdict, .is_dry_run = e->is_dry_run != 0};
	return r;
}

static bool is_same(const struct tally_source *a, const struct tally_source *b)
{
	return a->rule == b->rule && a->net.prefix_len == b->net.prefix_len &&
	       a->net.addr.family == b->net.addr.family &&
	       memcmp(a->net.addr.bytes, b->net.addr.bytes, sizeof a->net.addr.bytes) == 0;
}

/* The place of S in a table that has a free one. */
static struct tally_source *place_of(struct tally_source *table, size_t room,
				     const struct tally_source *s)
{
	uint64_t h = hash64(slice_make((const char *)s->net.addr.bytes, sizeof s->net.addr.bytes),
			    (uint64_t)s->rule << 8 | s->net.prefix_len);

	while (table[h & (room - 1)].net.addr.family && !is_same(&table[h & (room - 1)], s))
		h++;
	return &table[h & (room - 1)];
}

static int grow(struct tally *t)
{
	size_t room = t->room ? 2 * t->room : FIRST_ROOM;
	struct tally_source *bigger = calloc(room, sizeof *bigger);

	if (!bigger)
		return -SL_ENOMEM;
	for (size_t i = 0; i < t->room; i++)
		if (t->sources[i].net.addr.family)
			*place_of(bigger, room, &t->sources[i]) = t->sources[i];
	free(t->sources);
	t->sources = bigger;
	t->room = room;
	return 0;
}

/* The source; where a rate holds a network together, that. */
static struct guard_cidr net_of(const struct guard_event *e)
{
	struct guard_cidr c = {.addr.family = e->family, .prefix_len = e->prefix_len};

	memcpy(c.addr.bytes, e->addr, e->family == 4 ? 4 : sizeof c.addr.bytes);
	if (e->verdict == GUARD_DROP_DENY || e->verdict == GUARD_DROP_NET)
		c.prefix_len = e->family == 4 ? 32 : 128;
	guard_addr_clear_host_bits(&c);
	return c;
}

int tally_add(struct tally *t, const struct guard_event *e, size_t bytes)
{
	struct tally_source s = {0};
	struct tally_rule *r = rule_of(t, e);
	struct tally_source *at;

	if (!r)
		return -SL_ELIMIT;
	r->packets++;
	r->bytes += bytes;
	if (!e->family)
		return 0;
	s.net = net_of(e);
	s.rule = (uint16_t)(r - t->rules);
	if (4 * t->n_sources >= 3 * t->room && t->n_sources < TALLY_SOURCES_MAX && grow(t))
		return -SL_ENOMEM;
	at = place_of(t->sources, t->room, &s);
	if (!at->net.addr.family && t->n_sources >= TALLY_SOURCES_MAX) {
		r->n_unlisted++;
		return 0;
	}
	if (!at->net.addr.family) {
		*at = s;
		t->n_sources++;
		r->n_sources++;
	}
	at->packets++;
	at->bytes += bytes;
	return 0;
}

static int by_rule_then_most(const void *x, const void *y)
{
	const struct tally_source *a = x, *b = y;

	if (!a->net.addr.family || !b->net.addr.family)
		return !a->net.addr.family - !b->net.addr.family;
	if (a->rule != b->rule)
		return a->rule < b->rule ? -1 : 1;
	if (a->packets != b->packets)
		return a->packets > b->packets ? -1 : 1;
	if (a->net.addr.family != b->net.addr.family)
		return a->net.addr.family < b->net.addr.family ? -1 : 1;
	return memcmp(a->net.addr.bytes, b->net.addr.bytes, sizeof a->net.addr.bytes);
}

void tally_sort(struct tally *t)
{
	if (t->room)
		qsort(t->sources, t->room, sizeof *t->sources, by_rule_then_most);
}

void tally_fini(struct tally *t)
{
	free(t->sources);
}
