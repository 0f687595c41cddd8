/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the reading of rates in the xdp block, their defaults and their ids. */
#include "kernel/xdp_rate_conf.h"

#include "core/err.h"
#include "core/hash.h"
#include "core/num.h"
#include "kernel/xdp_conf.h"

/* More new connections of strangers than one host's handshakes can keep up with. */
enum { UNKNOWN_SYN_PER_S = 20000, UNKNOWN_SYN_BURST = 40000 };
/* Of 65,536 entries: who is silent for half a minute keeps his on two CPUs under any flood. */
enum { NEW_SOURCES_PER_S = 1000, NEW_SOURCES_BURST = 8000 };

const char *xdp_rate_conf_name(enum xdp_rate_kind kind)
{
	static const char *const names[XDP_N_RATES] = {
		[XDP_RATE_SYN] = "syn",
		[XDP_RATE_PACKETS] = "packets",
		[XDP_RATE_NEW_TLS] = "new_tls",
		[XDP_RATE_UNKNOWN_SYN] = "unknown_syn",
	};

	return names[kind];
}

/* "N/s" or "N/m", with or without nginx's "r" before the slash; "off". */
static int parse_rate(struct conf *c, const struct conf_node *n, struct slice v, struct xdp_rate *r)
{
	struct slice text = v;
	uint64_t rate;
	bool a_minute;

	if (slice_eq(v, SLICE("off")))
		return 0;
	a_minute = slice_ends(v, SLICE("/m"));
	if (!a_minute && !slice_ends(v, SLICE("/s")))
		return conf_error(c, n, "invalid rate \"%.*s\": N/s or N/m", SLICE_FMT(text));
	v.n -= 2;
	if (slice_ends(v, SLICE("r")))
		v.n--;
	if (num_u63(v, &rate) < 0 || rate == 0 || rate > GUARD_RATE_MAX)
		return conf_error(c, n, "invalid rate \"%.*s\"", SLICE_FMT(text));
	r->milli_per_s = rate * 1000 / (a_minute ? 60 : 1);
	/* A second's worth, when the line does not say. */
	r->burst = a_minute ? rate / 60 : rate;
	return 0;
}

static int parse_rest(struct conf *c, const struct conf_node *n, bool may_dry_run,
		      struct xdp_rate *r)
{
	bool has_burst = false;
	struct slice v;
	uint64_t burst;

	for (int i = 1; i < n->n_args; i++) {
		if (conf_param(n->args[i], "burst", &v) && !has_burst && r->milli_per_s) {
			if (num_u63(v, &burst) < 0 || burst > GUARD_BURST_MAX)
				return conf_error(c, n, "invalid burst value \"%.*s\"",
						  SLICE_FMT(n->args[i]));
			r->burst = burst;
			has_burst = true;
		} else if (may_dry_run && slice_eq(n->args[i], SLICE("dry_run")) &&
			   !r->is_dry_run && r->milli_per_s) {
			r->is_dry_run = true;
		} else {
			return conf_error(c, n, "invalid parameter \"%.*s\"",
					  SLICE_FMT(n->args[i]));
		}
	}
	return 0;
}

/* The id is that of what is held, and not of how it is tried: a dry run has the same. */
static void name_rule(struct conf *c, struct xdp_rate *r, const char *name)
{
	struct slice text;

	if (!r->milli_per_s)
		return;
	if (r->milli_per_s % 1000 == 0)
		text = arena_printf(&c->arena, "rate %s=%llu/s burst=%llu", name,
				    (unsigned long long)(r->milli_per_s / 1000),
				    (unsigned long long)r->burst);
	else
		text = arena_printf(&c->arena, "rate %s=%llu/m burst=%llu", name,
				    (unsigned long long)((r->milli_per_s * 60 + 999) / 1000),
				    (unsigned long long)r->burst);
	r->text = text.p;
	r->rule_id = hash_rule_id(SLICE("xdp"), text, 0);
}

int xdp_rate_conf_set(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		      const struct conf_row *row)
{
	struct xdp_conf *x = mod;
	struct slice v;
	int rc;

	for (int i = 0; i < XDP_N_RATES; i++) {
		struct xdp_rate *r = &x->rates[i];

		if (!conf_param(n->args[0], xdp_rate_conf_name((enum xdp_rate_kind)i), &v))
			continue;
		if (r->is_set)
			return conf_error(c, n, "duplicate rate of \"%s\"",
					  xdp_rate_conf_name((enum xdp_rate_kind)i));
		r->is_set = true;
		rc = parse_rate(c, n, v, r);
		if (rc == 0)
			rc = parse_rest(c, n, true, r);
		name_rule(c, r, xdp_rate_conf_name((enum xdp_rate_kind)i));
		return rc;
	}
	return conf_error(c, n, "invalid parameter \"%.*s\": syn, packets, new_tls or unknown_syn",
			  SLICE_FMT(n->args[0]));
}

int xdp_rate_conf_set_new(struct conf *c, struct conf_block *b, void *mod,
			  const struct conf_node *n, const struct conf_row *row)
{
	struct xdp_rate *r = &((struct xdp_conf *)mod)->new_sources;
	int rc;

	r->is_set = true;
	rc = parse_rate(c, n, n->args[0], r);
	return rc ? rc : parse_rest(c, n, false, r);
}

void xdp_rate_conf_defaults(struct conf *c, struct xdp_rate rates[XDP_N_RATES],
			    struct xdp_rate *new_sources)
{
	struct xdp_rate *unknown = &rates[XDP_RATE_UNKNOWN_SYN];

	if (!unknown->is_set) {
		unknown->milli_per_s = UNKNOWN_SYN_PER_S * 1000;
		unknown->burst = UNKNOWN_SYN_BURST;
		name_rule(c, unknown, xdp_rate_conf_name(XDP_RATE_UNKNOWN_SYN));
	}
	if (!new_sources->is_set) {
		new_sources->milli_per_s = NEW_SOURCES_PER_S * 1000;
		new_sources->burst = NEW_SOURCES_BURST;
	}
}
