/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns what the settings say of rates, the gate and IPv6 networks, and how a rate becomes times. In force
 * with the next packet; the program stays loaded. */
#include <string.h>
#include <unistd.h>

#include "core/err.h"
#include "kernel/guard.h"
#include "kernel/guard_impl.h"

struct guard_rate_limit guard_rates_limit(uint64_t milli_per_s, uint64_t burst, uint32_t rule_id,
					  bool is_dry_run)
{
	struct guard_rate_limit l = {0};

	if (!milli_per_s)
		return l;
	if (milli_per_s > GUARD_RATE_MAX * 1000)
		milli_per_s = GUARD_RATE_MAX * 1000;
	if (burst > GUARD_BURST_MAX)
		burst = GUARD_BURST_MAX;
	l.interval_ns = 1000000000000ull / milli_per_s;
	/* Twelve digits hold it: 60 s a packet, 10 million of them. */
	l.burst_ns = l.interval_ns * burst;
	l.rule_id = rule_id;
	l.flags = is_dry_run ? GUARD_DENY_DRY_RUN : 0;
	return l;
}

/* As the program has an address in two words. */
static void prefix_mask(__u64 out[2], uint32_t bits)
{
	uint8_t mask[16];

	for (uint32_t i = 0; i < 16; i++) {
		uint32_t here = bits > i * 8 ? bits - i * 8 : 0;

		mask[i] = here >= 8 ? 0xff : (uint8_t)(0xff00u >> here);
	}
	memcpy(out, mask, sizeof mask);
}

/* Each CPU has a gate of its own. */
static struct guard_rate_limit shared_out(const struct guard_rate_limit *all)
{
	long n_cpus = sysconf(_SC_NPROCESSORS_ONLN);
	struct guard_rate_limit l = *all;

	if (l.interval_ns && n_cpus > 1) {
		uint64_t burst = l.burst_ns / l.interval_ns / (uint64_t)n_cpus;

		l.interval_ns *= (uint64_t)n_cpus;
		l.burst_ns = burst * l.interval_ns;
	}
	return l;
}

int guard_rates_set(const struct guard_maps *m, const struct guard_rates *r)
{
	struct guard_settings set;
	int rc;

	if (r->v6_prefix < 1 || r->v6_prefix > 128)
		return -SL_EINVAL;
	rc = guard_maps_get_settings(m, &set);
	if (rc)
		return rc;
	memcpy(set.rates, r->rates, sizeof set.rates);
	set.has_rates = 0;
	for (int i = 0; i < GUARD_N_RATES; i++)
		set.has_rates |= set.rates[i].interval_ns != 0;
	set.unknown_syn = r->unknown_syn;
	set.new_sources = shared_out(&r->new_sources);
	set.v6_prefix = r->v6_prefix;
	prefix_mask(set.v6_mask, r->v6_prefix);
	return guard_maps_set_settings(m, &set);
}
