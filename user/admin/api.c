/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the JSON resources under /api/v1 that only read: status, upstreams, sources. docs/admin.md
 * is the reference. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "admin/admin_impl.h"
#include "admin/api_json.h"
#include "core/clock.h"
#include "kernel/xdp_rate_conf.h"
#include "net/addr.h"

/* ---- status ---- */

#define AT(field) offsetof(struct stats_worker, field)

/* What workers count, as members of members. */
static const struct counter {
	const char *group, *key;
	size_t offset;
	bool is_gauge;
} counters[] = {
	{"connections", "active", AT(conns_active), true},
	{"connections", "idle", AT(conns_idle), true},
	{"connections", "accepted", AT(conns_accepted), false},
	{"connections", "refused_banned", AT(conns_refused_banned), false},
	{"connections", "refused_full", AT(conns_refused_full), false},
	{"connections", "slow", AT(client_slow), false},
	{"requests", "active", AT(requests_active), true},
	{"requests", "total", AT(requests), false},
	{"requests", "malformed", AT(bad_requests), false},
	{"requests", "cancelled", AT(client_cancelled), false},
	{"requests", "unanswered", AT(responses[0]), false},
	{"responses", "1xx", AT(responses[1]), false},
	{"responses", "2xx", AT(responses[2]), false},
	{"responses", "3xx", AT(responses[3]), false},
	{"responses", "4xx", AT(responses[4]), false},
	{"responses", "5xx", AT(responses[5]), false},
	{"bytes", "in", AT(bytes_in), false},
	{"bytes", "out", AT(bytes_out), false},
	{"tls", "handshakes", AT(tls_handshakes), false},
	{"tls", "resumed", AT(tls_resumed), false},
	{"tls", "failed", AT(tls_failed), false},
	{"limit_req", "delayed", AT(limit_req_delayed), false},
	{"limit_req", "rejected", AT(limit_req_rejected), false},
	{"limit_req", "dry_run", AT(limit_req_dry_run), false},
	{"limit_conn", "rejected", AT(limit_conn_rejected), false},
	{"limit_conn", "dry_run", AT(limit_conn_dry_run), false},
	{"upstream", "tries", AT(upstream_tries), false},
	{"upstream", "retries", AT(upstream_retries), false},
	{"upstream", "connects", AT(upstream_connects), false},
	{"upstream", "failures", AT(upstream_failures), false},
	{"upstream", "cut", AT(upstream_cut), false},
	{"upstream", "connections_idle", AT(upstream_conns_idle), true},
	{"bans", "requested", AT(bans_requested), false},
	{"http2", "connections", AT(h2_conns), false},
	{"http2", "abuse_resets", AT(h2_abuse[0]), false},
	{"http2", "abuse_broken", AT(h2_abuse[1]), false},
	{"http2", "abuse_control", AT(h2_abuse[2]), false},
	{"http2", "abuse_empty", AT(h2_abuse[3]), false},
	{"http2", "abuse_headers", AT(h2_abuse[4]), false},
	{"http2", "abuse_overhead", AT(h2_abuse[5]), false},
	{"http2", "abuse_unread", AT(h2_abuse[6]), false},
};

#undef AT

static void put_counters(json_t *j, const struct stats *s)
{
	for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++) {
		const struct counter *c = &counters[i];
		json_t *group = json_object_get(j, c->group);

		if (!group) {
			group = json_object();
			json_object_set_new(j, c->group, group);
		}
		json_object_set_new(group, c->key,
				    json_integer((json_int_t)view_sum(s, c->offset, c->is_gauge)));
	}
}

static json_t *workers_json(const struct stats *s)
{
	json_t *list = json_array();

	for (int i = 0; i < STATS_WORKERS_MAX; i++) {
		const struct stats_worker *w = &s->worker[i];
		struct view_process p = {0};

		if (!view_worker_runs(w))
			continue;
		view_process(w->pid, &p);
		json_array_append_new(
			list, json_pack("{s:i, s:i, s:i, s:I, s:I, s:I, s:I, s:I, s:f}", "slot", i,
					"pid", (int)w->pid, "generation", (int)w->generation,
					"connections_active", (json_int_t)w->conns_active,
					"connections_idle", (json_int_t)w->conns_idle,
					"requests_active", (json_int_t)w->requests_active,
					"requests", (json_int_t)w->requests, "memory_bytes",
					(json_int_t)p.rss_bytes, "cpu_s", p.cpu_s));
	}
	return list;
}

static json_t *zones_json(const struct admin *a)
{
	json_t *list = json_array();

	for (const struct limit_zone_conf *z = a->env->limit_zones; z; z = z->next) {
		uint32_t used, room;

		if (!z->zone)
			continue;
		limit_zone_usage(z->zone, &used, &room);
		json_array_append_new(list,
				      json_pack("{s:o, s:I, s:I}", "name", api_json_slice(z->name),
						"entries", (json_int_t)used, "entries_max",
						(json_int_t)room));
	}
	return list;
}

/* One rate that is set, as the guard has it now, and what it did. */
static void put_rate(json_t *list, const char *name, const struct guard_rate_limit *l,
		     const struct guard_total *dropped, const struct guard_total *would)
{
	char id[16];

	if (!l->interval_ns)
		return;
	snprintf(id, sizeof id, "%08x", l->rule_id);
	json_array_append_new(list, json_pack("{s:s, s:s, s:f, s:I, s:b, s:I, s:I}", "name", name,
					      "rule", id, "per_s", 1e9 / (double)l->interval_ns,
					      "burst", (json_int_t)(l->burst_ns / l->interval_ns),
					      "dry_run", (int)(l->flags & GUARD_DENY_DRY_RUN),
					      "dropped", (json_int_t)dropped->packets, "would_drop",
					      (json_int_t)would->packets));
}

static json_t *rates_json(const struct guard_settings *set, const struct guard_total *totals)
{
	json_t *list = json_array();

	for (int i = 0; i < GUARD_N_RATES; i++)
		put_rate(list, xdp_rate_conf_name((enum xdp_rate_kind)i), &set->rates[i],
			 &totals[GUARD_DROP_SYN_RATE + i], &totals[GUARD_WOULD_SYN_RATE + i]);
	put_rate(list, xdp_rate_conf_name(XDP_RATE_UNKNOWN_SYN), &set->unknown_syn,
		 &totals[GUARD_DROP_UNKNOWN_SYN], &totals[GUARD_WOULD_UNKNOWN_SYN]);
	return list;
}

static json_t *guard_json(const struct admin *a)
{
	struct guard_total totals[GUARD_N_TOTALS];
	struct guard_settings set;
	char text[sizeof a->env->stats->guard_mode];
	const char *off = view_guard_off(a, text, sizeof text);
	json_t *j, *verdicts;

	if (off)
		return json_pack("{s:b, s:s}", "on", 0, "reason", off);
	memcpy(text, a->env->stats->guard_mode, sizeof text);
	text[sizeof text - 1] = 0;
	j = json_pack("{s:b, s:o}", "on", a->env->stats->guard_on != 0, "mode",
		      api_json_text(text));
	if (guard_maps_get_settings(a->env->guard, &set) ||
	    guard_stats_totals(a->env->guard, totals))
		return j;
	json_object_set_new(j, "dry_run", json_boolean(set.dry_run));
	json_object_set_new(j, "rates", rates_json(&set, totals));
	verdicts = json_object();
	for (int i = 0; i < GUARD_N_TOTALS; i++)
		json_object_set_new(verdicts, guard_stats_total_name((enum guard_total_index)i),
				    json_pack("{s:I, s:I}", "packets",
					      (json_int_t)totals[i].packets, "bytes",
					      (json_int_t)totals[i].bytes));
	json_object_set_new(j, "totals", verdicts);
	return j;
}

static json_t *bans_json(const struct admin *a)
{
	bool has_guard = a->env->guard != NULL;
	struct view_bans v;
	size_t n;

	free(view_bans_new(a->env->bans, &n, &v));
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "active",
			 (json_int_t)v.n_active, "networks", (json_int_t)v.n_networks, "in_kernel",
			 (json_int_t)v.n_in_kernel, "indirect", (json_int_t)v.n_indirect,
			 "userspace_only",
			 (json_int_t)(has_guard ? v.n_active - v.n_in_kernel - v.n_indirect : 0),
			 "userspace_only_total", (json_int_t)a->env->stats->n_bans_userspace_only,
			 "dry_run", (json_int_t)v.n_dry_run, "max", (json_int_t)BAN_TABLE_ROOM);
}

static json_t *events_json(const struct admin *a)
{
	const struct event_ring *ring = a->env->events;
	struct guard_total totals[GUARD_N_TOTALS];
	json_t *j;

	if (!ring)
		return json_null();
	j = json_pack("{s:I, s:I, s:I, s:I}", "total", (json_int_t)event_ring_newest(ring),
		      "left_out", (json_int_t)event_ring_left_out(ring), "lost_by_watchers",
		      (json_int_t)a->n_events_lost, "watchers", (json_int_t)a->n_watchers);
	if (a->env->guard && guard_stats_totals(a->env->guard, totals) == 0)
		json_object_set_new(j, "lost_in_kernel",
				    json_integer((json_int_t)totals[GUARD_EVENTS_LOST].packets));
	return j;
}

enum MHD_Result api_status(struct request *rq)
{
	const struct admin *a = rq->admin;
	const struct stats *s = a->env->stats;
	uint64_t now_ms = clock_wall_ms(), started_ms = s->started_wall_ms;
	uint64_t up_s = now_ms > started_ms ? (now_ms - started_ms) / 1000 : 0;
	json_t *j =
		json_pack("{s:o, s:i, s:i, s:o, s:I, s:I}", "version",
			  api_json_text(a->env->version), "master_pid", (int)s->master_pid,
			  "admin_pid", (int)getpid(), "started", api_json_time(started_ms),
			  "uptime_s", (json_int_t)up_s, "generation", (json_int_t)s->generation);

	json_object_set_new(j, "reloads",
			    json_pack("{s:I, s:I, s:o}", "done", (json_int_t)s->n_reloads, "failed",
				      (json_int_t)s->n_reload_failures, "last",
				      api_json_time(s->reloaded_wall_ms)));
	json_object_set_new(j, "worker_deaths", json_integer(s->n_worker_deaths));
	json_object_set_new(j, "workers", workers_json(s));
	json_object_set_new(j, "bans", bans_json(a));
	put_counters(j, s);
	json_object_set_new(j, "limit_zones", zones_json(a));
	json_object_set_new(j, "guard", guard_json(a));
	json_object_set_new(j, "events", events_json(a));
	return serve_json(rq, 200, j);
}

/* ---- upstreams ---- */

/* What health checks found; a peer that none has asked yet has nothing. */
static json_t *checks_json(const struct balance_peer *p)
{
	json_t *j;

	if (!p->n_checks)
		return json_null();
	j = json_pack("{s:I, s:I, s:o}", "total", (json_int_t)p->n_checks, "failures",
		      (json_int_t)p->n_check_failures, "last", api_json_time(p->checked_wall_ms));
	if (p->check_error[0])
		json_object_set_new(j, "last_error", api_json_text(p->check_error));
	return j;
}

static json_t *peer_json(const struct view_peer *v)
{
	const struct balance_peer *p = &v->peer;
	uint64_t n_answers = 0;
	json_t *j;

	for (int i = 1; i < 6; i++)
		n_answers += p->n_status[i];
	j = json_pack("{s:o, s:s, s:o, s:I, s:I, s:I, s:I}", "address", api_json_text(p->text),
		      "state", v->state, "unavailable_since",
		      api_json_time(p->unavailable_since_ms), "requests_active",
		      (json_int_t)p->conns, "requests", (json_int_t)p->n_requests, "failures",
		      (json_int_t)p->n_failures, "recent_failures", (json_int_t)p->fails);
	json_object_set_new(
		j, "responses",
		json_pack("{s:I, s:I, s:I, s:I, s:I}", "1xx", (json_int_t)p->n_status[1], "2xx",
			  (json_int_t)p->n_status[2], "3xx", (json_int_t)p->n_status[3], "4xx",
			  (json_int_t)p->n_status[4], "5xx", (json_int_t)p->n_status[5]));
	json_object_set_new(j, "health_checks", checks_json(p));
	json_object_set_new(j, "response_ms_mean",
			    n_answers ? json_real((double)p->response_ms_total / (double)n_answers)
				      : json_null());
	return j;
}

static json_t *server_json(const struct view_group *v, uint32_t i)
{
	static const char *const resolve[] = {
		[BALANCE_FIXED] = "fixed",
		[BALANCE_PENDING] = "pending",
		[BALANCE_RESOLVED] = "resolved",
		[BALANCE_FAILED] = "failed",
	};
	const struct balance_server *s = &v->servers[i];
	json_t *peers = json_array(), *j;

	for (uint32_t k = 0; k < v->n_peers; k++)
		if (v->peers[k].peer.server == i)
			json_array_append_new(peers, peer_json(&v->peers[k]));
	j = json_pack("{s:o, s:i, s:I, s:I, s:I, s:I, s:I, s:b, s:b, s:b, s:s, s:o}", "host",
		      api_json_text(s->host), "port", (int)s->port, "weight", (json_int_t)s->weight,
		      "max_fails", (json_int_t)s->max_fails, "fail_timeout_s",
		      (json_int_t)s->fail_timeout_s, "max_conns", (json_int_t)s->max_conns,
		      "slow_start_ms", (json_int_t)s->slow_start_ms, "backup", (int)s->backup,
		      "down", (int)s->down, "drain", (int)s->drain, "resolve",
		      s->resolve <= BALANCE_FAILED ? resolve[s->resolve] : "unknown", "peers",
		      peers);
	if (s->resolve != BALANCE_FIXED)
		json_object_set_new(j, "resolved", api_json_time(s->resolved_wall_ms));
	if (s->resolve_error[0])
		json_object_set_new(j, "resolve_error", api_json_text(s->resolve_error));
	return j;
}

/* Null where nobody asked for it; counters only where it is in force. */
static json_t *sockmap_json(const struct admin_env *env, const struct upstream_conf *u)
{
	struct relay_counts c;

	if (!u->sockmap)
		return json_null();
	if (!env->relay || u->relay_group < 0)
		return json_pack("{s:b, s:s}", "on", 0, "why",
				 env->relay ? "too many groups had it" : env->relay_off_why);
	relay_counts(env->relay, u->relay_group, &c);
	return json_pack("{s:b, s:I, s:I, s:I, s:I, s:I}", "on", 1, "connections",
			 (json_int_t)c.n_pairs, "request_bytes", (json_int_t)c.n_request_bytes,
			 "answer_bytes", (json_int_t)c.n_answer_bytes, "requests_latched",
			 (json_int_t)c.n_requests_latched, "answers_latched",
			 (json_int_t)c.n_answers_latched);
}

static const char *method_of(const struct upstream_conf *u)
{
	return u->policy ? u->policy->method->name : balance_rr.name;
}

enum MHD_Result api_upstreams(struct request *rq)
{
	size_t n;
	struct view_group *groups = view_groups_new(rq->admin, &n);
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++) {
		json_t *servers = json_array();

		for (uint32_t k = 0; k < groups[i].n_servers; k++)
			json_array_append_new(servers, server_json(&groups[i], k));
		json_array_append_new(list,
				      json_pack("{s:s, s:b, s:s, s:o, s:o}", "name", groups[i].name,
						"implicit", (int)groups[i].conf->implicit, "method",
						method_of(groups[i].conf), "sockmap",
						sockmap_json(rq->admin->env, groups[i].conf),
						"servers", servers));
	}
	view_groups_free(groups, n);
	return serve_json(rq, 200, json_pack("{s:o}", "upstreams", list));
}

/* ---- sources ---- */

/* The guard's clock is the monotonic one. */
static json_t *seen_json(uint64_t seen_ns)
{
	uint64_t now_ns = clock_mono_ns(), wall_ms = clock_wall_ms();
	uint64_t ago_ms = now_ns > seen_ns ? (now_ns - seen_ns) / 1000000 : 0;

	return api_json_time(seen_ns && wall_ms > ago_ms ? wall_ms - ago_ms : 0);
}

static json_t *source_json(const struct admin *a, const struct guard_source_entry *e)
{
	const struct guard_source *c = &e->counts;
	char text[GUARD_ADDR_TEXT_MAX];
	struct addr addr;
	bool is_banned;

	guard_addr_to_text(&e->addr, text);
	/* With a network, too. */
	is_banned = addr_from_ip(slice_cstr(text), 0, &addr) == 0 &&
		    ban_check(a->env->bans, &addr, clock_mono_ms());
	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:b, s:o, s:o, s:b}", "address", text,
			 "packets", (json_int_t)c->packets, "bytes", (json_int_t)c->bytes, "syns",
			 (json_int_t)c->syns, "new_tls", (json_int_t)c->new_tls, "drops",
			 (json_int_t)c->drops, "estimated",
			 (int)((c->flags & GUARD_SOURCE_ESTIMATE) != 0), "first_seen",
			 seen_json(c->first_seen_ns), "last_seen", seen_json(c->last_seen_ns),
			 "banned", (int)is_banned);
}

enum MHD_Result api_sources(struct request *rq)
{
	const struct admin *a = rq->admin;
	struct guard_source_entry *top;
	char why[160], text[176];
	const char *off = view_guard_off(a, why, sizeof why);
	json_t *list;
	uint64_t n;
	int got;

	if (serve_query_num(rq, "top", 20, ADMIN_TOP_MAX, &n))
		return serve_error(rq, 400, "bad_request", "\"top\" must be a number from 1 to %d",
				   ADMIN_TOP_MAX);
	if (off) {
		snprintf(text, sizeof text, "off: %s", off);
		return serve_json(rq, 200, json_pack("{s:s, s:[]}", "guard", text, "sources"));
	}
	top = calloc(n, sizeof *top);
	got = top ? guard_stats_top(a->env->guard, top, n) : -1;
	if (got < 0) {
		free(top);
		return serve_error(rq, 500, "internal", "the maps of the guard cannot be read");
	}
	list = json_array();
	for (int i = 0; i < got; i++)
		json_array_append_new(list, source_json(a, &top[i]));
	free(top);
	return serve_json(rq, 200, json_pack("{s:s, s:o}", "guard", "on", "sources", list));
}
