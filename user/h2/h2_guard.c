/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the numbers of what is abuse. Decides nothing about what follows. */
#include "h2/h2_guard.h"

enum {
	OVERHEAD_TIMES = 8, /* nginx's rule against floods of small frames */
	OVERHEAD_SLACK_BYTES = 1 << 20,
};

static const struct {
	uint32_t burst, per_s; /* events */
} limits[H2_ABUSE_EMPTY + 1] = {
	[H2_ABUSE_RESETS] = {200, 20},
	[H2_ABUSE_BROKEN] = {50, 5},
	[H2_ABUSE_CONTROL] = {2000, 200},
	[H2_ABUSE_EMPTY] = {100, 10},
};

static const struct {
	const char *name, *text;
} words[H2_ABUSE_N] = {
	[H2_ABUSE_RESETS] = {"resets", "cancels too many requests"},
	[H2_ABUSE_BROKEN] = {"broken", "sends too many frames that break streams"},
	[H2_ABUSE_CONTROL] = {"control", "sends too many control frames"},
	[H2_ABUSE_EMPTY] = {"empty", "sends too many empty frames"},
	[H2_ABUSE_HEADERS] = {"headers", "sends header blocks without end"},
	[H2_ABUSE_OVERHEAD] = {"overhead", "sends almost nothing but framing"},
	[H2_ABUSE_UNREAD] = {"unread", "does not read the answers to its control frames"},
};

void h2_guard_init(struct h2_guard *g, uint64_t now_ms)
{
	*g = (struct h2_guard){.at_ms = now_ms};
}

static void take(uint32_t *level, uint64_t n)
{
	*level = n < *level ? *level - (uint32_t)n : 0;
}

static void leak(struct h2_guard *g, uint64_t now_ms)
{
	uint64_t ms = now_ms - g->at_ms;

	if (!ms)
		return;
	g->at_ms = now_ms;
	for (int i = 0; i <= H2_ABUSE_EMPTY; i++)
		take(&g->level[i], ms * limits[i].per_s);
}

bool h2_guard_hit(struct h2_guard *g, enum h2_abuse kind, uint32_t cost, uint64_t now_ms)
{
	leak(g, now_ms);
	g->level[kind] += cost * 1000;
	return g->level[kind] <= limits[kind].burst * 1000;
}

void h2_guard_credit(struct h2_guard *g, enum h2_abuse kind, uint32_t n)
{
	take(&g->level[kind], (uint64_t)n * 1000);
}

bool h2_guard_traffic(struct h2_guard *g, uint64_t total, uint64_t payload)
{
	g->total_bytes += total;
	g->payload_bytes += payload;
	return g->total_bytes / OVERHEAD_TIMES <= g->payload_bytes + OVERHEAD_SLACK_BYTES;
}

const char *h2_guard_text(enum h2_abuse kind)
{
	return words[kind].text;
}

const char *h2_guard_name(enum h2_abuse kind)
{
	return words[kind].name;
}
