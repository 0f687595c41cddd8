/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the rehearsal: a guard of its own that nothing is attached to, filled from the configuration as
 * the real one is, and a capture that runs through it by its own timestamps. What each rule refused is
 * taken from the events, of which such a guard sends one for each refusal. Prints by rehearse_print.c. */
#define _GNU_SOURCE
#include "master/rehearse.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/err.h"
#include "core/log.h"
#include "kernel/capture.h"
#include "kernel/guard.h"
#include "kernel/xdp_conf.h"
#include "master/master.h"
#include "master/rehearse_impl.h"
#include "policy/ban.h"

enum { EVENTS_A_PACKET_MAX = 64 };

static int fail(const char *what, const char *text)
{
	log_stderr(LOG_LVL_EMERG, "%s: %s", what, text);
	return -SL_EINVAL;
}

/* Per-CPU values and clocks are those of one CPU then, and each run gives the same. */
static void stay_on_this_cpu(void)
{
	cpu_set_t set;
	int cpu = sched_getcpu();

	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof set, &set);
}

static void on_event(void *arg, const struct guard_event *e)
{
	struct rehearsal *r = arg;
	int rc = tally_add(&r->tally, e, r->packet.n);

	if (rc && !r->failure)
		r->failure = rc;
}

static int open_guard(struct rehearsal *r)
{
	const struct guard_options o = {.is_rehearsal = true};
	char err[GUARD_ERR_MAX] = "";

	if (!xdp_conf_get(r->conf))
		return fail("rehearsal", "the configuration has no xdp block");
	if (guard_open(&r->guard, &o, err, sizeof err) ||
	    guard_events_open(&r->events, guard_maps(r->guard), on_event, r, err, sizeof err) ||
	    filling_put(guard_maps(r->guard), r->conf, &r->n_auto, err, sizeof err))
		return fail("rehearsal", err);
	/* What the file has on trial is marked as such; the whole of it is not. */
	if (guard_maps_set_flags(guard_maps(r->guard), false, true) ||
	    guard_maps_set_fail(guard_maps(r->guard), 0, false))
		return fail("the guard's settings", strerror(errno));
	return 0;
}

/* The capture's clock is the wall's, and so is that of the file. */
static int put_bans(struct rehearsal *r)
{
	struct ban_table *bans = calloc(1, ban_table_bytes());
	uint64_t now_ns = r->packet.time_ns;
	struct ban_entry e;
	uint32_t at = 0, n_bad = 0;
	int rc = 0;

	if (!bans)
		return fail(r->options->bans, "no memory");
	ban_table_init(bans, 1);
	if (ban_load(bans, r->options->bans, 1, now_ns / 1000000u, &n_bad))
		rc = fail(r->options->bans, strerror(errno));
	if (n_bad)
		log_stderr(LOG_LVL_WARN, "\"%s\" has %u lines that are no bans", r->options->bans,
			   n_bad);
	while (!rc && ban_next(bans, &at, &e)) {
		struct guard_ban ban = {.expires_ns = e.until_wall_ms * 1000000u,
					.rule_id = e.rule_id,
					.flags = e.net.is_trial ? GUARD_DENY_DRY_RUN : 0};
		struct guard_cidr c = {.addr.family = e.net.family, .prefix_len = e.net.prefix_len};

		if (e.indirect || e.is_past)
			continue;
		memcpy(c.addr.bytes, e.net.bytes, sizeof c.addr.bytes);
		rc = guard_deny_add_net(guard_maps(r->guard), &c, false, &ban, now_ns);
		if (rc)
			fail(r->options->bans, "more bans than the kernel's map takes");
		r->n_bans += !rc;
	}
	free(bans);
	return rc;
}

static int one_packet(struct rehearsal *r)
{
	int dropped = guard_rehearse(r->guard, r->packet.bytes, r->packet.n, r->packet.time_ns);

	if (dropped < 0)
		return fail("the kernel does not run the guard", strerror(errno));
	r->bytes += r->packet.n;
	r->n_dropped += (uint64_t)dropped;
	r->dropped_bytes += dropped ? r->packet.n : 0;
	if (guard_events_read(r->events, EVENTS_A_PACKET_MAX) < 0)
		return fail("the guard's events", strerror(errno));
	if (r->failure)
		return fail("rehearsal", r->failure == -SL_ENOMEM ? "no memory" : "too many rules");
	return 0;
}

static int all_packets(struct rehearsal *r)
{
	char err[GUARD_ERR_MAX];
	bool is_first = true;
	int got, rc = 0;

	while ((got = capture_next(r->capture, &r->packet, err, sizeof err)) > 0) {
		if (is_first && r->options->bans)
			rc = put_bans(r);
		is_first = false;
		if (!rc)
			rc = one_packet(r);
		if (rc)
			return rc;
	}
	/* What a capture that was cut off holds is worth showing. */
	r->is_broken = got < 0;
	if (r->is_broken)
		fail(r->options->pcap, err);
	return 0;
}

int rehearse_run(const struct conf *c, const struct rehearse_options *o)
{
	struct rehearsal *r = calloc(1, sizeof *r);
	char err[GUARD_ERR_MAX];
	int rc;

	if (!r)
		return 1;
	r->conf = c;
	r->options = o;
	stay_on_this_cpu();
	rc = capture_open(&r->capture, o->pcap, o->filter, err, sizeof err);
	if (rc)
		fail(o->pcap, err);
	if (!rc)
		rc = open_guard(r);
	if (!rc)
		rc = all_packets(r);
	if (!rc && guard_stats_totals(guard_maps(r->guard), r->totals))
		rc = fail("the guard's totals", strerror(errno));
	if (!rc) {
		tally_sort(&r->tally);
		rc = rehearse_print(r);
	}
	guard_events_close(r->events);
	guard_close(r->guard, GUARD_CLOSE_REMOVE);
	capture_close(r->capture);
	tally_fini(&r->tally);
	rc = rc || r->is_broken;
	free(r);
	return rc;
}
