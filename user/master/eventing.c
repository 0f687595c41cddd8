/* SPDX-License-Identifier: BSD-2-Clause */
/* What happened, told: the guard's ring buffer is read here, and with the master's own events goes
 * into the ring that the admin process reads; the guard's also go into the log. Bounded at each step,
 * and nothing waits for any of it: what drops packets and keeps bans does not look in here. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>

#include "core/err.h"
#include "master/master.h"

enum {
	READ_MAX = 256, /* of the guard's events in one turn of the loop */
	/* The guard tells of each source and rule once a second: a flood of sources is a flood of
	 * events, which must not push out all others. */
	TOLD_PER_S = 500,
	TOLD_BURST = 500,
	LOGGED_PER_S = 5,
	LOGGED_BURST = 20,
};

static const struct log *log_of(const struct master *m)
{
	return &m->cycle->log;
}

/* A bucket of BURST that PER_S fill again; counted in thousandths. */
static bool allowance_take(struct allowance *a, uint64_t now_ms, uint32_t per_s, uint32_t burst)
{
	uint64_t gone_ms = now_ms - a->since_ms;
	uint64_t full = (uint64_t)burst * 1000;

	if (!a->since_ms || gone_ms > full / per_s)
		a->left = full;
	else
		a->left += gone_ms * per_s;
	if (a->left > full)
		a->left = full;
	a->since_ms = now_ms;
	if (a->left < 1000)
		return false;
	a->left -= 1000;
	return true;
}

void eventing_init(struct master *m, struct event_ring *ring)
{
	m->eventing.ring = ring;
	event_ring_init(ring, clock_wall_ms());
}

/* ---- the guard's ---- */

static void say(struct master *m, const struct event *e)
{
	char name[GUARD_ADDR_TEXT_MAX] = "many sources", net[GUARD_CIDR_TEXT_MAX];
	struct guard_cidr c = {.addr.family = e->family, .prefix_len = e->prefix_len};
	bool is_single = !e->family || e->prefix_len == (e->family == 4 ? 32 : 128);

	if (!allowance_take(&m->eventing.logged, m->loop.clock.mono_ms, LOGGED_PER_S,
			    LOGGED_BURST)) {
		m->eventing.n_unlogged++;
		return;
	}
	memcpy(c.addr.bytes, e->addr, sizeof c.addr.bytes);
	if (e->family)
		guard_addr_to_text(&c.addr, name);
	guard_addr_cidr_to_text(&c, net);
	log_write(log_of(m), LOG_LVL_NOTICE, 0,
		  "the guard %s %s%s%s: %s, rule %08x, %llu packets so far, interface %s",
		  e->is_dry_run ? "would drop (dry run)" : "drops", name, is_single ? "" : " of ",
		  is_single ? "" : net, guard_stats_total_name(e->verdict), e->rule_id,
		  (unsigned long long)e->packets, e->ifname[0] ? e->ifname : "unknown");
}

/* "eth0" for an index of an interface that the guard is on. */
static void put_ifname(const struct master *m, uint32_t ifindex, char out[static 16])
{
	const struct guard_attachment *list;
	size_t n = guard_attach_list(m->guard, &list);

	for (size_t i = 0; i < n; i++)
		if (list[i].ifindex == ifindex)
			snprintf(out, 16, "%.15s", list[i].ifname);
}

static void on_guard_event(void *arg, const struct guard_event *g)
{
	struct master *m = arg;
	uint64_t now_ns = m->loop.clock.mono_ms * 1000000u;
	uint64_t ago_ms = now_ns > g->time_ns ? (now_ns - g->time_ns) / 1000000u : 0;
	struct event e = {
		.wall_ms = m->loop.clock.wall_ms - ago_ms,
		.packets = g->packets,
		.rule_id = g->rule_id,
		.kind = EVENT_DROP,
		.verdict = g->verdict < GUARD_N_VERDICTS ? g->verdict : GUARD_PASS,
		.is_dry_run = g->is_dry_run,
		.family = g->family == 4 || g->family == 6 ? g->family : 0,
		.prefix_len = g->prefix_len,
	};

	memcpy(e.addr, g->addr, e.family == 4 ? 4 : sizeof e.addr);
	put_ifname(m, g->ifindex, e.ifname);
	if (allowance_take(&m->eventing.told, m->loop.clock.mono_ms, TOLD_PER_S, TOLD_BURST))
		event_ring_put(m->eventing.ring, &e);
	else
		event_ring_leave_out(m->eventing.ring, 1);
	say(m, &e);
}

/* Level-triggered: what is left over is the next turn's. */
static void on_readable(struct io *io, uint32_t events)
{
	struct master *m = (struct master *)((char *)io - offsetof(struct master, eventing.io));

	if (guard_events_read(m->eventing.guard, READ_MAX) < 0) {
		log_write(log_of(m), LOG_LVL_ERROR, 0, "the guard's events cannot be read: %s",
			  strerror(errno));
		eventing_guard_gone(m);
	}
}

void eventing_guard_come(struct master *m)
{
	char err[GUARD_ERR_MAX];

	eventing_guard_gone(m);
	m->eventing.io = (struct io){.fn = on_readable};
	if (guard_events_open(&m->eventing.guard, guard_maps(m->guard), on_guard_event, m, err,
			      sizeof err)) {
		log_write(log_of(m), LOG_LVL_ERROR, 0, "%s: what it drops is not told", err);
		return;
	}
	if (io_add(&m->loop, &m->eventing.io, guard_events_fd(m->eventing.guard), EPOLLIN)) {
		log_write(log_of(m), LOG_LVL_ERROR, 0,
			  "the guard's events cannot be waited for: %s", strerror(errno));
		eventing_close_in_child(m);
	}
}

void eventing_guard_gone(struct master *m)
{
	if (m->eventing.guard)
		io_del(&m->loop, &m->eventing.io);
	eventing_close_in_child(m);
}

void eventing_close_in_child(struct master *m)
{
	guard_events_close(m->eventing.guard);
	m->eventing.guard = NULL;
}

void eventing_tick(struct master *m)
{
	uint64_t n = m->eventing.n_unlogged;

	if (!n ||
	    !allowance_take(&m->eventing.logged, m->loop.clock.mono_ms, LOGGED_PER_S, LOGGED_BURST))
		return;
	m->eventing.n_unlogged = 0;
	log_write(log_of(m), LOG_LVL_NOTICE, 0, "the guard: %llu more events are not logged",
		  (unsigned long long)n);
}

/* ---- the master's own ---- */

void eventing_ban(struct master *m, enum event_kind kind, const struct ban_entry *ban,
		  bool is_dry_run)
{
	uint64_t now_ms = m->loop.clock.wall_ms;
	struct event e = {
		.wall_ms = now_ms,
		.kind = (uint8_t)kind,
		.rule_id = ban->rule_id,
		.is_dry_run = is_dry_run,
		.is_manual = ban->manual,
		.in_kernel = ban->in_kernel,
		.family = ban->net.family,
		.prefix_len = ban->net.prefix_len,
		.for_ms = ban->until_wall_ms > now_ms ? ban->until_wall_ms - now_ms : 0,
	};

	memcpy(e.addr, ban->net.bytes, ban->net.family == 4 ? 4 : sizeof e.addr);
	snprintf(e.text, sizeof e.text, "%s", ban->reason);
	event_ring_put(m->eventing.ring, &e);
}

void eventing_guard(struct master *m, enum event_kind kind, const char *ifname, const char *fmt,
		    ...)
{
	struct event e = {.wall_ms = m->loop.clock.wall_ms, .kind = (uint8_t)kind};
	va_list ap;

	snprintf(e.ifname, sizeof e.ifname, "%s", ifname);
	va_start(ap, fmt);
	vsnprintf(e.text, sizeof e.text, fmt, ap);
	va_end(ap);
	event_ring_put(m->eventing.ring, &e);
}
