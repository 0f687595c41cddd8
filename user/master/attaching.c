/* SPDX-License-Identifier: BSD-2-Clause */
/* Which interfaces the guard is on. It is put there at start and reload, and looked after since: an interface
 * that goes is said to be unguarded, and one that comes under a configured name is guarded at once. What
 * somebody took the guard off, or another program has, is left alone until the next reload. */
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "master/master.h"

static const struct log *log_of(const struct master *m)
{
	return &m->cycle->log;
}

/* For status: what is guarded and what is not, or why nothing is. */
static void set_state(struct master *m)
{
	char *to = m->stats->guard_mode;
	size_t room = sizeof m->stats->guard_mode, at = 0;
	uint32_t n_on = 0;

	for (uint32_t i = 0; i < m->n_guarded && at < room; i++) {
		const struct guarded *w = &m->guarded[i];

		n_on += w->is_on;
		at += (size_t)snprintf(to + at, room - at, "%s%s %s", i ? ", " : "", w->ifname,
				       w->is_on ? guard_attach_mode_name(w->mode) : "off");
	}
	if (!n_on)
		snprintf(to, room, "%s", m->guard_off_why);
	m->stats->guard_on = n_on;
	m->stats->guard_interfaces = m->n_guarded;
}

static void say_off(struct master *m, struct guarded *w, const char *why)
{
	w->is_on = false;
	log_write(log_of(m), LOG_LVL_WARN, 0, "the guard is not on %s: %s", w->ifname, why);
	log_stderr(LOG_LVL_WARN, "the guard is not on %s: %s", w->ifname, why);
	snprintf(m->guard_off_why, sizeof m->guard_off_why, "%s", why);
	eventing_guard(m, EVENT_GUARD_OFF, w->ifname, "%s", why);
}

static int attach(struct master *m, const struct xdp_conf *x, const char *name,
		  struct guard_attachment *at, char err[GUARD_ERR_MAX])
{
	enum guard_mode mode = (enum guard_mode)x->mode;

	if (x->is_libxdp)
		return guard_attach_share(m->guard, name, mode, x->priority, at, err,
					  GUARD_ERR_MAX);
	return guard_attach(m->guard, name, mode, at, err, GUARD_ERR_MAX);
}

static void put_on(struct master *m, const struct xdp_conf *x, struct guarded *w)
{
	struct guard_attachment at;
	char err[GUARD_ERR_MAX];

	w->ifindex = if_nametoindex(w->ifname);
	if (attach(m, x, w->ifname, &at, err)) {
		say_off(m, w, err);
		return;
	}
	w->ifindex = at.ifindex;
	w->mode = at.mode;
	w->is_on = true;
	if (!at.is_takeover || !m->stats->guard_on)
		eventing_guard(m, EVENT_GUARD_ON, w->ifname, "%s mode%s%s",
			       guard_attach_mode_name(at.mode), at.reason[0] ? ": " : "",
			       at.reason);
	log_write(log_of(m), at.reason[0] ? LOG_LVL_WARN : LOG_LVL_NOTICE, 0,
		  "the guard is on %s, %s mode%s%s", w->ifname, guard_attach_mode_name(at.mode),
		  at.reason[0] ? ": " : "", at.reason);
	if (at.is_libxdp && !at.is_shared)
		log_write(
			log_of(m), LOG_LVL_WARN, 0,
			"libxdp has no dispatcher on this kernel (it needs freplace): the guard is "
			"alone on %s, nothing else can be attached beside it",
			w->ifname);
}

void attaching_apply(struct master *m, const struct xdp_conf *x)
{
	const char *names[GUARD_INTERFACES_MAX];
	uint32_t n =
		x->n_interfaces < GUARD_INTERFACES_MAX ? x->n_interfaces : GUARD_INTERFACES_MAX;

	for (uint32_t i = 0; i < n; i++) {
		struct guarded *w = &m->guarded[i];

		memset(w, 0, sizeof *w);
		names[i] = x->interfaces[i].name;
		snprintf(w->ifname, sizeof w->ifname, "%s", names[i]);
		put_on(m, x, w);
	}
	m->n_guarded = n;
	guard_attach_only(m->guard, names, n);
	set_state(m);
}

void attaching_none(struct master *m)
{
	m->n_guarded = 0;
	set_state(m);
}

/* The interface of W's name is another one than before, or there is none any more. */
static void say_left(struct master *m, struct guarded *w)
{
	char why[GUARD_ERR_MAX], name[IF_NAMESIZE];

	if (guard_attach_holds(m->guard, w->ifindex) && if_indextoname(w->ifindex, name))
		snprintf(why, sizeof why,
			 "the interface is called %s now, and guarded there until the next reload",
			 name);
	else
		snprintf(why, sizeof why,
			 "the interface is gone; it is guarded again when it comes back");
	say_off(m, w, why);
}

/* Whether there was something to say. */
static bool look(struct master *m, const struct xdp_conf *x, struct guarded *w)
{
	unsigned now = if_nametoindex(w->ifname);

	if (now == w->ifindex) {
		if (!w->is_on || guard_attach_holds(m->guard, now))
			return false;
		say_off(m, w, "somebody took it off; a reload puts it on again");
		return true;
	}
	if (w->is_on)
		say_left(m, w);
	w->ifindex = now;
	if (now)
		put_on(m, x, w);
	return true;
}

void attaching_sweep(struct master *m)
{
	const struct xdp_conf *x = xdp_conf_get(&m->cycle->conf);
	bool is_changed = false;

	/* Beside a new binary interfaces are its to guard: what both put there would be nobody's. */
	for (uint32_t i = 0; x && !m->new_binary && i < m->n_guarded; i++)
		is_changed |= look(m, x, &m->guarded[i]);
	if (is_changed)
		set_state(m);
}
