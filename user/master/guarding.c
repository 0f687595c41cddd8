/* SPDX-License-Identifier: BSD-2-Clause */
/* The guard's life in the master, and what the configuration wants of it. Bans are banning.c's, interfaces
 * attaching.c's. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "master/master.h"
#include "policy/ban_conf.h"

enum { KNOWN_TURN_MS = 60000 };

static const struct log *log_of(const struct master *m)
{
	return &m->cycle->log;
}

/* Filters forget by generations: who has an entry each minute, who is good as configured. */
static void turn_filters(struct master *m)
{
	const struct xdp_conf *x = xdp_conf_get(&m->cycle->conf);
	uint64_t now_ms = m->loop.clock.mono_ms;

	if (now_ms - m->known_turned_ms >= KNOWN_TURN_MS) {
		m->known_turned_ms = now_ms;
		if (guard_good_turn_known(m->guard))
			log_write(log_of(m), LOG_LVL_ERROR, 0, "the guard's settings: %s",
				  strerror(errno));
	}
	if (x && now_ms - m->good_turned_ms >= (uint64_t)x->good_for_ms) {
		m->good_turned_ms = now_ms;
		guard_good_turn(m->guard);
	}
}

void guarding_sweep(struct master *m)
{
	if (m->guard) {
		guard_maps_beat(guard_maps(m->guard), clock_mono_ns());
		turn_filters(m);
		attaching_sweep(m);
	}
	listing_sweep(m);
	banning_sweep(m);
}

static void turn_off(struct master *m, const char *why, enum guard_close_how how)
{
	if (m->guard) {
		eventing_guard_gone(m);
		eventing_guard(m, EVENT_GUARD_OFF, "", "%s", why);
		guard_close(m->guard, how);
		guard_maps_close(&m->reader);
		banning_leave_kernel(m);
	}
	m->guard = NULL;
	snprintf(m->guard_off_why, sizeof m->guard_off_why, "%s", why);
}

static void say_carried(struct master *m)
{
	const struct guard_status *s = guard_status(m->guard);

	if (s->n_maps_replaced || s->n_entries_carried)
		log_write(log_of(m), LOG_LVL_NOTICE, 0,
			  "the guard's maps of an earlier layout: %u entries were carried over",
			  s->n_entries_carried);
}

static void turn_on(struct master *m, const struct xdp_conf *x)
{
	struct guard_options o = {.pin_dir = x->pin_dir.p, .lock_fd = m->inherited.guard_lock_fd};
	char err[GUARD_ERR_MAX] = "";

	m->inherited.guard_lock_fd = -1;
	if (guard_open(&m->guard, &o, err, sizeof err)) {
		m->guard = NULL;
	} else if (guard_maps_open_reader(m->guard, &m->reader, err, sizeof err)) {
		guard_close(m->guard, GUARD_CLOSE_REMOVE);
		m->guard = NULL;
	}
	if (!m->guard) {
		snprintf(m->guard_off_why, sizeof m->guard_off_why, "%s", err);
		log_write(log_of(m), LOG_LVL_WARN, 0,
			  "there is no guard in the kernel, bans hold in userspace: %s", err);
		log_stderr(LOG_LVL_WARN,
			   "there is no guard in the kernel, bans hold in userspace: %s", err);
		eventing_guard(m, EVENT_GUARD_OFF, "", "%s", err);
		return;
	}
	say_carried(m);
	banning_adopt(m);
	banning_push(m);
	eventing_guard_come(m);
}

/* Once a run: a reload changes nothing about it. */
static void say_userspace(struct master *m)
{
	static const char text[] =
		"there is no xdp block: bans hold in userspace, where connections are closed at accept";

	if (m->said_userspace || !ban_conf_rules(&m->cycle->conf))
		return;
	m->said_userspace = true;
	log_write(log_of(m), LOG_LVL_WARN, 0, "%s", text);
	log_stderr(LOG_LVL_WARN, "%s", text);
}

void guarding_apply(struct master *m)
{
	const struct xdp_conf *x = xdp_conf_get(&m->cycle->conf);

	if (!x) {
		turn_off(m, "off: the configuration has no xdp block", GUARD_CLOSE_REMOVE);
		say_userspace(m);
	} else if (!m->guard) {
		turn_on(m, x);
	}
	ban_counts_keep(m->evidence, ban_conf_rules(&m->cycle->conf));
	listing_find(m);
	banning_lift_allowed(m);
	if (x && m->guard) {
		listing_apply(m);
		if (filling_settings(guard_maps(m->guard), x) ||
		    guard_maps_beat(guard_maps(m->guard), clock_mono_ns()) ||
		    guard_filter_rebuild(guard_maps(m->guard)))
			log_write(log_of(m), LOG_LVL_ERROR, 0, "the guard's settings: %s",
				  strerror(errno));
		attaching_apply(m, x);
	} else {
		attaching_none(m);
	}
}

void guarding_start(struct master *m)
{
	banning_load(m);
	guarding_apply(m);
}

void guarding_stop(struct master *m, bool keep)
{
	banning_stop(m);
	turn_off(m, "off", keep ? GUARD_CLOSE_KEEP : GUARD_CLOSE_REMOVE);
}

void guarding_take_back(struct master *m)
{
	banning_load(m);
	turn_off(m, "off", GUARD_CLOSE_KEEP);
	guarding_apply(m);
}
