/* SPDX-License-Identifier: BSD-2-Clause */
/* The relay of `sockmap on`, in the only process that may load it. Where it cannot be, upstreams are reached by
 * TCP as without it, and that is said loudly. */
#include <stdio.h>

#include "core/err.h"
#include "master/master.h"
#include "policy/upstream_conf.h"

static void say_off(struct master *m, const char *why)
{
	snprintf(m->relay_off_why, sizeof m->relay_off_why, "%s", why);
	log_write(&m->cycle->log, LOG_LVL_WARN, 0,
		  "\"sockmap on\" is not in force, upstreams are reached by TCP: %s", why);
	log_stderr(LOG_LVL_WARN, "\"sockmap on\" is not in force, upstreams are reached by TCP: %s",
		   why);
}

static void number_groups(struct master *m, struct upstream_conf *first)
{
	for (struct upstream_conf *u = first; u; u = u->next) {
		if (!u->sockmap)
			continue;
		u->relay_group = relay_group(m->relay, u->name.p, u->name.n);
		if (u->relay_group < 0)
			log_write(
				&m->cycle->log, LOG_LVL_WARN, 0,
				"too many upstreams had \"sockmap on\" since the start: \"%.*s\" is "
				"reached by TCP",
				SLICE_FMT(u->name));
	}
}

void relaying_apply(struct master *m)
{
	struct upstream_main *up = upstream_conf_main(&m->cycle->conf);
	struct upstream_conf *u = up ? up->groups : NULL;
	char err[RELAY_ERR_MAX];

	while (u && !u->sockmap)
		u = u->next;
	if (!u) {
		relaying_stop(m);
		return;
	}
	if (!m->relay && relay_open(&m->relay, err, sizeof err)) {
		say_off(m, err);
		return;
	}
	number_groups(m, u);
}

void relaying_stop(struct master *m)
{
	relay_close(m->relay);
	m->relay = NULL;
}
