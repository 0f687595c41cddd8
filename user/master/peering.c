/* SPDX-License-Identifier: BSD-2-Clause */
/* Tells of upstream peers that go and come back, by looking at what workers write into the groups: they
 * have nobody to tell. Looks without the groups' locks, which a worker that was stopped may hold. */
#include <stdio.h>
#include <stdlib.h>

#include "master/master.h"
#include "policy/upstream_conf.h"

struct seen {
	uint32_t serial;
	bool is_down;
};

struct peering {
	struct peering *next;
	const struct balance_group *group;
	uint32_t room;
	struct seen seen[];
};

static void look(struct master *m, struct peering *g, uint32_t i)
{
	struct seen *s = &g->seen[i];
	struct balance_glimpse now;
	struct event e = {.wall_ms = m->loop.clock.wall_ms};

	if (!balance_glimpse(g->group, i, &now)) {
		*s = (struct seen){0};
		return;
	}
	/* Another address has the slot: peers begin as up. */
	if (s->serial != now.serial)
		*s = (struct seen){.serial = now.serial};
	if (s->is_down == now.is_down)
		return;
	s->is_down = now.is_down;
	e.kind = now.is_down ? EVENT_PEER_DOWN : EVENT_PEER_UP;
	snprintf(e.text, sizeof e.text, "%.32s %.40s%s%.36s", g->group->name, now.text,
		 now.why[0] ? ": " : "", now.why);
	event_ring_put(m->eventing.ring, &e);
}

/* What was known of the groups that outlived a reload goes on. */
static void rebuild(struct master *m)
{
	struct upstream_main *up = upstream_conf_main(&m->cycle->conf);
	struct peering *old = m->peering, *o;

	m->peering = NULL;
	m->peering_cycle = m->cycle;
	for (const struct upstream_conf *u = up ? up->groups : NULL; u; u = u->next) {
		uint32_t room = u->group ? u->group->peers_room : 0;
		struct peering *g = room ? calloc(1, sizeof *g + room * sizeof *g->seen) : NULL;

		if (!g)
			continue;
		g->next = m->peering;
		g->group = u->group;
		g->room = room;
		m->peering = g;
		for (o = old; o && (o->group != g->group || o->room != room);)
			o = o->next;
		if (o)
			memcpy(g->seen, o->seen, room * sizeof *g->seen);
	}
	while (old) {
		o = old->next;
		free(old);
		old = o;
	}
}

void peering_tick(struct master *m)
{
	if (m->peering_cycle != m->cycle)
		rebuild(m);
	for (struct peering *g = m->peering; g; g = g->next)
		for (uint32_t i = 0; i < g->room; i++)
			look(m, g, i);
}

void peering_stale(struct master *m)
{
	m->peering_cycle = NULL;
}
