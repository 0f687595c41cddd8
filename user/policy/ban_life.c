/* SPDX-License-Identifier: BSD-2-Clause */
/* Decides how long a ban is, and what becomes of the one before. Changes no table. */
#include "policy/ban.h"

/* DOUBLED N times, up to MAX. */
static uint64_t doubled(uint64_t for_ms, uint64_t max_ms, uint32_t n)
{
	for (; n && for_ms < max_ms; n--)
		for_ms *= 2;
	return max_ms && for_ms > max_ms ? max_ms : for_ms;
}

static bool ends_no_sooner(const struct ban_entry *a, uint64_t until_mono_ms)
{
	return !a->until_mono_ms || (until_mono_ms && a->until_mono_ms >= until_mono_ms);
}

bool ban_renew(struct ban_entry *e, const struct ban_entry *known, uint64_t for_ms, uint64_t max_ms,
	       uint64_t now_mono_ms, uint64_t now_wall_ms)
{
	bool in_force = known && !ban_is_over(known, now_mono_ms);

	e->n_times = 1;
	if (known && known->rule_id == e->rule_id && e->rule_id && max_ms)
		e->n_times = known->n_times + !in_force;
	if (e->n_times == 0)
		e->n_times = 1;
	for_ms = doubled(for_ms, max_ms, e->n_times - 1);
	e->since_wall_ms = now_wall_ms;
	e->until_mono_ms = for_ms ? now_mono_ms + for_ms : 0;
	e->until_wall_ms = for_ms ? now_wall_ms + for_ms : 0;
	e->forget_mono_ms = for_ms && max_ms ? e->until_mono_ms + max_ms : 0;
	e->forget_wall_ms = for_ms && max_ms ? e->until_wall_ms + max_ms : 0;
	if (!in_force)
		return true;
	/* Who was banned for what it sent itself stays so in the kernel, too. */
	if (!known->indirect)
		e->indirect = 0;
	if (!ends_no_sooner(known, e->until_mono_ms))
		return true;
	if (e->indirect == known->indirect)
		return false;
	/* Only now it sent something itself: the same ban, in the kernel, too. */
	*e = *known;
	e->indirect = 0;
	return true;
}
