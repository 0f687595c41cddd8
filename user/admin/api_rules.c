/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the resource that says what each rule of the configuration has done. Changes nothing. */
#include <stdlib.h>

#include "admin/admin_impl.h"
#include "admin/api_json.h"
#include "admin/api_lists.h"
#include "kernel/xdp_conf.h"
#include "policy/ban_conf.h"

static json_int_t count_of(const struct ban_entry *bans, size_t n, uint32_t rule_id)
{
	json_int_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += bans[i].rule_id == rule_id;
	return sum;
}

static json_t *ban_rule_json(const struct admin *a, const struct ban_rule *r,
			     const struct ban_entry *bans, size_t n_bans)
{
	const struct ban_counts *c = ban_counts_of(a->env->evidence, r->id);
	struct ban_counts none = {0};

	if (!c)
		c = &none;
	return json_pack("{s:s, s:o, s:s, s:o, s:o, s:b, s:I, s:I, s:I, s:I}", "kind", "ban",
			 "rule_id", api_json_rule_id(r->id), "on", ban_conf_on_name(r->on), "text",
			 api_json_text(r->text), "scope", api_json_text(r->scope), "dry_run",
			 (int)r->dry_run, "evidence", (json_int_t)c->evidence, "bans",
			 (json_int_t)c->bans, "would_bans", (json_int_t)c->would_bans, "active",
			 count_of(bans, n_bans, r->id));
}

/* The rates of the configuration; what they did is in the guard's totals. */
static void put_rates(const struct admin *a, json_t *list)
{
	static const struct {
		enum guard_total_index dropped, would;
	} at[XDP_N_RATES] = {
		[XDP_RATE_SYN] = {GUARD_DROP_SYN_RATE, GUARD_WOULD_SYN_RATE},
		[XDP_RATE_PACKETS] = {GUARD_DROP_PACKET_RATE, GUARD_WOULD_PACKET_RATE},
		[XDP_RATE_NEW_TLS] = {GUARD_DROP_TLS_RATE, GUARD_WOULD_TLS_RATE},
		[XDP_RATE_UNKNOWN_SYN] = {GUARD_DROP_UNKNOWN_SYN, GUARD_WOULD_UNKNOWN_SYN},
	};
	const struct xdp_conf *x = xdp_conf_get(a->env->config);
	struct guard_total totals[GUARD_N_TOTALS];
	bool has_totals = a->env->guard && !guard_stats_totals(a->env->guard, totals);

	for (int i = 0; x && i < XDP_N_RATES; i++) {
		const struct xdp_rate *r = &x->rates[i];
		json_t *j;

		if (!r->text)
			continue;
		j = json_pack("{s:s, s:o, s:o, s:b}", "kind", "rate", "rule_id",
			      api_json_rule_id(r->rule_id), "text", api_json_text(r->text),
			      "dry_run", (int)r->is_dry_run);
		if (has_totals) {
			const struct guard_total *d = &totals[at[i].dropped];

			json_object_set_new(j, "dropped",
					    json_pack("{s:I, s:I}", "packets",
						      (json_int_t)d->packets, "bytes",
						      (json_int_t)d->bytes));
			json_object_set_new(j, "would_drop",
					    json_integer((json_int_t)totals[at[i].would].packets));
		}
		json_array_append_new(list, j);
	}
}

enum MHD_Result api_rules(struct request *rq)
{
	const struct admin *a = rq->admin;
	json_t *list = json_array();
	struct ban_entry *bans;
	struct view_bans v;
	size_t n;

	bans = view_bans_new(a->env->bans, &n, &v);
	for (const struct ban_rule *r = ban_conf_rules(a->env->config); r; r = r->next_all)
		json_array_append_new(list, ban_rule_json(a, r, bans, n));
	free(bans);
	api_lists_rules(a, list);
	put_rates(a, list);
	return serve_json(rq, 200, json_pack("{s:o}", "rules", list));
}
