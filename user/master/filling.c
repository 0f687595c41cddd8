/* SPDX-License-Identifier: BSD-2-Clause */
/* What the xdp block says, into the maps of a guard: the one that guards, and the one of a rehearsal. Bans
 * are not its business. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "master/master.h"

int filling_settings(const struct guard_maps *m, const struct xdp_conf *x)
{
	struct guard_rates rates;

	xdp_conf_rates(x, &rates);
	if (guard_maps_set_flags(m, x->dry_run, true) ||
	    guard_maps_set_fail(m, (uint64_t)x->fail_after_ms * 1000000u, x->fail_open) ||
	    guard_rates_set(m, &rates))
		return -SL_ESYS;
	return 0;
}

int filling_allow(const struct guard_maps *m, const struct lists *l,
		  const struct ban_exempt *exempt, uint32_t n_exempt, char *err, size_t room)
{
	uint32_t n = l->n_allow;
	struct guard_cidr *all = calloc((size_t)n + n_exempt + 1, sizeof *all);
	int r;

	if (!all) {
		snprintf(err, room, "no memory");
		return -SL_ENOMEM;
	}
	if (n)
		memcpy(all, l->allow, n * sizeof *all);
	for (uint32_t i = 0; i < n_exempt && n < GUARD_ALLOW_MAX; i++, n++) {
		all[n].addr.family = exempt[i].net.family;
		memcpy(all[n].addr.bytes, exempt[i].net.bytes, sizeof all[n].addr.bytes);
		all[n].prefix_len = exempt[i].net.prefix_len;
	}
	r = guard_nets_set_allow(m, all, n, err, room);
	free(all);
	return r;
}

int filling_deny(const struct guard_maps *m, const struct lists *l, struct filling_denied *out,
		 char *err, size_t room)
{
	struct guard_net_want *want = calloc((size_t)l->n_deny + 1, sizeof *want);
	uint64_t wall_ms = clock_wall_ms(), now_ns = clock_mono_ns();
	int r;

	*out = (struct filling_denied){0};
	if (!want) {
		snprintf(err, room, "no memory");
		return -SL_ENOMEM;
	}
	for (uint32_t i = 0; i < l->n_deny; i++) {
		const struct list_entry *e = &l->deny[i];
		uint64_t until = e->until_wall_ms;

		if (until && until <= wall_ms)
			continue;
		want[out->n].net = e->net;
		want[out->n].rule_id = e->source->id;
		if (until)
			want[out->n].expires_ns = now_ns + (until - wall_ms) * 1000000u;
		if (until && (!out->ends_wall_ms || until < out->ends_wall_ms))
			out->ends_wall_ms = until;
		out->n++;
	}
	r = guard_nets_set_denied(m, want, out->n, &out->change, err, room);
	free(want);
	return r;
}

int filling_put(const struct guard_maps *m, const struct conf *c, uint32_t *n_auto, char *err,
		size_t room)
{
	struct ban_exempt *exempt = calloc(BAN_EXEMPT_MAX, sizeof *exempt);
	const struct lists *l = lists_get(c);
	struct filling_denied denied;
	int r;

	if (!exempt) {
		snprintf(err, room, "no memory");
		return -SL_ENOMEM;
	}
	*n_auto = listing_of_conf(c, exempt);
	r = filling_allow(m, l, exempt, *n_auto, err, room);
	free(exempt);
	if (!r)
		r = filling_deny(m, l, &denied, err, room);
	if (!r && filling_settings(m, xdp_conf_get(c))) {
		snprintf(err, room, "the settings cannot be written: %s", strerror(errno));
		r = -SL_ESYS;
	}
	return r;
}

const char *filling_rule_text(const struct conf *c, uint32_t rule_id)
{
	const struct xdp_conf *x = xdp_conf_get(c);

	for (const struct list_source *s = lists_get(c)->sources; s; s = s->next)
		if (s->id == rule_id)
			return s->text;
	for (int i = 0; i < XDP_N_RATES; i++)
		if (x->rates[i].text && x->rates[i].rule_id == rule_id)
			return x->rates[i].text;
	return NULL;
}
