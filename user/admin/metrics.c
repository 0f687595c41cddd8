/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the names and the text form of the metrics (Prometheus text format 0.0.4): one family after
 * the other, HELP and TYPE once, base units, counters with _total. docs/admin.md lists them. */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "admin/admin_impl.h"
#include "core/clock.h"
#include "policy/ban_conf.h"

enum kind { COUNTER, GAUGE };

/* ---- the format ---- */

static void family(FILE *f, const char *name, enum kind kind, const char *help)
{
	fprintf(f, "# HELP %s %s\n# TYPE %s %s\n", name, help, name,
		kind == COUNTER ? "counter" : "gauge");
}

/* A label's value, without the quotes. Callers have it as valid UTF-8. */
static void put_label(FILE *f, const char *text)
{
	for (; *text; text++) {
		if (*text == '\\' || *text == '"')
			fputc('\\', f);
		fputc(*text, f);
	}
}

static void one(FILE *f, const char *name, enum kind kind, const char *help, double value)
{
	family(f, name, kind, help);
	fprintf(f, "%s %.15g\n", name, value);
}

/* Whole numbers, exactly. */
static void one_u64(FILE *f, const char *name, enum kind kind, const char *help, uint64_t value)
{
	family(f, name, kind, help);
	fprintf(f, "%s %" PRIu64 "\n", name, value);
}

/* ---- what workers count ---- */

/* Rows of one name stand together; the first has the help. */
static const struct row {
	const char *name, *labels, *help;
	enum kind kind;
	size_t offset;
} rows[] = {
#define AT(field) offsetof(struct stats_worker, field)
	{"sluice_connections_active", "", "Client connections.", GAUGE, AT(conns_active)},
	{"sluice_connections_idle", "", "Client connections between two requests.", GAUGE,
	 AT(conns_idle)},
	{"sluice_connections_accepted_total", "", "Client connections accepted.", COUNTER,
	 AT(conns_accepted)},
	{"sluice_connections_refused_total", "{reason=\"banned\"}",
	 "Client connections closed at once: by a ban in userspace, or for want of room.", COUNTER,
	 AT(conns_refused_banned)},
	{"sluice_connections_refused_total", "{reason=\"full\"}", NULL, COUNTER,
	 AT(conns_refused_full)},
	{"sluice_requests_active", "", "Requests that are under way.", GAUGE, AT(requests_active)},
	{"sluice_requests_total", "", "Requests read.", COUNTER, AT(requests)},
	{"sluice_responses_total", "{class=\"1xx\"}", "Responses to clients by status class.",
	 COUNTER, AT(responses[1])},
	{"sluice_responses_total", "{class=\"2xx\"}", NULL, COUNTER, AT(responses[2])},
	{"sluice_responses_total", "{class=\"3xx\"}", NULL, COUNTER, AT(responses[3])},
	{"sluice_responses_total", "{class=\"4xx\"}", NULL, COUNTER, AT(responses[4])},
	{"sluice_responses_total", "{class=\"5xx\"}", NULL, COUNTER, AT(responses[5])},
	{"sluice_requests_unanswered_total", "", "Requests that ended without a response.", COUNTER,
	 AT(responses[0])},
	{"sluice_requests_cancelled_total", "", "Requests whose client left before the end.",
	 COUNTER, AT(client_cancelled)},
	{"sluice_connections_slow_total", "", "Connections that client_min_rate ended.", COUNTER,
	 AT(client_slow)},
	{"sluice_requests_malformed_total", "", "Requests that the parser refused.", COUNTER,
	 AT(bad_requests)},
	{"sluice_received_bytes_total", "", "Bytes from clients.", COUNTER, AT(bytes_in)},
	{"sluice_sent_bytes_total", "", "Bytes to clients.", COUNTER, AT(bytes_out)},
	{"sluice_tls_handshakes_total", "", "TLS handshakes with clients that ended well.", COUNTER,
	 AT(tls_handshakes)},
	{"sluice_tls_resumed_total", "", "TLS handshakes that resumed a session.", COUNTER,
	 AT(tls_resumed)},
	{"sluice_tls_failures_total", "", "TLS handshakes with clients that failed.", COUNTER,
	 AT(tls_failed)},
	{"sluice_limit_req_total", "{verdict=\"delayed\"}",
	 "Requests over a limit_req rate by what was done.", COUNTER, AT(limit_req_delayed)},
	{"sluice_limit_req_total", "{verdict=\"rejected\"}", NULL, COUNTER, AT(limit_req_rejected)},
	{"sluice_limit_req_total", "{verdict=\"dry_run\"}", NULL, COUNTER, AT(limit_req_dry_run)},
	{"sluice_limit_conn_total", "{verdict=\"rejected\"}",
	 "Requests over a limit_conn by what was done.", COUNTER, AT(limit_conn_rejected)},
	{"sluice_limit_conn_total", "{verdict=\"dry_run\"}", NULL, COUNTER, AT(limit_conn_dry_run)},
	{"sluice_upstream_tries_total", "", "Requests sent to upstream peers, retries included.",
	 COUNTER, AT(upstream_tries)},
	{"sluice_upstream_retries_total", "", "Tries after the first of a request.", COUNTER,
	 AT(upstream_retries)},
	{"sluice_upstream_connects_total", "", "New connections to upstream peers.", COUNTER,
	 AT(upstream_connects)},
	{"sluice_upstream_failures_total", "", "Tries that failed.", COUNTER,
	 AT(upstream_failures)},
	{"sluice_upstream_cut_total", "",
	 "Answers that ended too early, after their head was sent.", COUNTER, AT(upstream_cut)},
	{"sluice_upstream_connections_idle", "", "Upstream connections kept for reuse.", GAUGE,
	 AT(upstream_conns_idle)},
	{"sluice_bans_requested_total", "", "Bans that workers asked for.", COUNTER,
	 AT(bans_requested)},
	{"sluice_http2_connections_total", "", "Client connections that spoke HTTP/2.", COUNTER,
	 AT(h2_conns)},
	{"sluice_http2_abuse_total", "{kind=\"resets\"}", "HTTP/2 connections ended for abuse.",
	 COUNTER, AT(h2_abuse[0])},
	{"sluice_http2_abuse_total", "{kind=\"broken\"}", NULL, COUNTER, AT(h2_abuse[1])},
	{"sluice_http2_abuse_total", "{kind=\"control\"}", NULL, COUNTER, AT(h2_abuse[2])},
	{"sluice_http2_abuse_total", "{kind=\"empty\"}", NULL, COUNTER, AT(h2_abuse[3])},
	{"sluice_http2_abuse_total", "{kind=\"headers\"}", NULL, COUNTER, AT(h2_abuse[4])},
	{"sluice_http2_abuse_total", "{kind=\"overhead\"}", NULL, COUNTER, AT(h2_abuse[5])},
	{"sluice_http2_abuse_total", "{kind=\"unread\"}", NULL, COUNTER, AT(h2_abuse[6])},
#undef AT
};

static void put_workers(FILE *f, const struct stats *s)
{
	unsigned n = 0;

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		const struct row *r = &rows[i];

		if (r->help)
			family(f, r->name, r->kind, r->help);
		fprintf(f, "%s%s %" PRIu64 "\n", r->name, r->labels,
			view_sum(s, r->offset, r->kind == GAUGE));
	}
	for (int i = 0; i < STATS_WORKERS_MAX; i++)
		n += view_worker_runs(&s->worker[i]);
	one_u64(f, "sluice_workers", GAUGE, "Worker processes, those that drain included.", n);
	one_u64(f, "sluice_worker_deaths_total", COUNTER,
		"Workers that ended without being asked to.", s->n_worker_deaths);
}

static void put_build(FILE *f, const struct admin *a)
{
	const struct stats *s = a->env->stats;
	char version[64];

	family(f, "sluice_build_info", GAUGE, "Always 1; the version is in the label.");
	fputs("sluice_build_info{version=\"", f);
	put_label(f, view_utf8(a->env->version, version, sizeof version));
	fputs("\"} 1\n", f);
	one(f, "sluice_start_time_seconds", GAUGE, "When the master started, since the epoch.",
	    (double)s->started_wall_ms / 1e3);
	one_u64(f, "sluice_config_generation", GAUGE, "Number of the configuration that runs.",
		s->generation);
	one_u64(f, "sluice_config_reloads_total", COUNTER, "Reloads that took effect.",
		s->n_reloads);
	one_u64(f, "sluice_config_reload_failures_total", COUNTER,
		"Reloads that were refused; the old configuration runs on.", s->n_reload_failures);
	one(f, "sluice_config_reload_timestamp_seconds", GAUGE,
	    "When the configuration that runs took effect, since the epoch.",
	    (double)s->reloaded_wall_ms / 1e3);
}

/* ---- upstreams ---- */

/* An address may have several slots in a group: one sample stands for all of them. */
static bool merge_peer(const struct view_group *v, uint32_t i, struct balance_peer *sum,
		       bool *is_up)
{
	*sum = (struct balance_peer){0};
	*is_up = false;
	for (uint32_t j = 0; j < v->n_peers; j++) {
		const struct balance_peer *p = &v->peers[j].peer;

		if (strcmp(p->text, v->peers[i].peer.text))
			continue;
		if (j < i)
			return false;
		*is_up |= strcmp(v->peers[j].state, "up") == 0 ||
			  strcmp(v->peers[j].state, "starting") == 0;
		sum->weight += p->weight;
		sum->conns += p->conns;
		sum->n_requests += p->n_requests;
		sum->n_failures += p->n_failures;
		sum->n_checks += p->n_checks;
		sum->n_check_failures += p->n_check_failures;
		sum->response_ms_total += p->response_ms_total;
		for (int k = 0; k < 6; k++)
			sum->n_status[k] += p->n_status[k];
	}
	return true;
}

static void put_sample(FILE *f, const char *name, const struct view_group *v, uint32_t peer,
		       const char *more, double value)
{
	char text[ADDR_TEXT_MAX];

	fprintf(f, "%s{upstream=\"", name);
	put_label(f, v->name);
	fputs("\",peer=\"", f);
	put_label(f, view_utf8(v->peers[peer].peer.text, text, sizeof text));
	fprintf(f, "\"%s} %.15g\n", more, value);
}

static void sample_up(FILE *f, const char *name, const struct view_group *v, uint32_t i,
		      const struct balance_peer *p, bool is_up)
{
	put_sample(f, name, v, i, "", is_up);
}

static void sample_weight(FILE *f, const char *name, const struct view_group *v, uint32_t i,
			  const struct balance_peer *p, bool is_up)
{
	put_sample(f, name, v, i, "", p->weight);
}

static void sample_conns(FILE *f, const char *name, const struct view_group *v, uint32_t i,
			 const struct balance_peer *p, bool is_up)
{
	put_sample(f, name, v, i, "", p->conns);
}

static void sample_requests(FILE *f, const char *name, const struct view_group *v, uint32_t i,
			    const struct balance_peer *p, bool is_up)
{
	put_sample(f, name, v, i, "", (double)p->n_requests);
}

static void sample_failures(FILE *f, const char *name, const struct view_group *v, uint32_t i,
			    const struct balance_peer *p, bool is_up)
{
	put_sample(f, name, v, i, "", (double)p->n_failures);
}

static void sample_checks(FILE *f, const char *name, const struct view_group *v, uint32_t i,
			  const struct balance_peer *p, bool is_up)
{
	put_sample(f, name, v, i, "", (double)p->n_checks);
}

static void sample_check_failures(FILE *f, const char *name, const struct view_group *v, uint32_t i,
				  const struct balance_peer *p, bool is_up)
{
	put_sample(f, name, v, i, "", (double)p->n_check_failures);
}

static void sample_responses(FILE *f, const char *name, const struct view_group *v, uint32_t i,
			     const struct balance_peer *p, bool is_up)
{
	char more[24];

	for (int k = 1; k < 6; k++) {
		snprintf(more, sizeof more, ",class=\"%dxx\"", k);
		put_sample(f, name, v, i, more, (double)p->n_status[k]);
	}
}

static void sample_time(FILE *f, const char *name, const struct view_group *v, uint32_t i,
			const struct balance_peer *p, bool is_up)
{
	put_sample(f, name, v, i, "", (double)p->response_ms_total / 1e3);
}

static const struct peer_row {
	const char *name, *help;
	enum kind kind;
	void (*sample)(FILE *f, const char *name, const struct view_group *v, uint32_t i,
		       const struct balance_peer *p, bool is_up);
} peer_rows[] = {
	{"sluice_upstream_peer_up",
	 "1 when the peer gets requests, 0 when it is down, failed, unhealthy or full.", GAUGE,
	 sample_up},
	{"sluice_upstream_peer_weight", "Weight of the peer as configured.", GAUGE, sample_weight},
	{"sluice_upstream_peer_requests_active", "Requests on the peer now.", GAUGE, sample_conns},
	{"sluice_upstream_peer_requests_total", "Requests sent to the peer.", COUNTER,
	 sample_requests},
	{"sluice_upstream_peer_failures_total", "Requests to the peer that failed.", COUNTER,
	 sample_failures},
	{"sluice_upstream_peer_health_checks_total", "Health checks of the peer.", COUNTER,
	 sample_checks},
	{"sluice_upstream_peer_health_check_failures_total", "Health checks that failed.", COUNTER,
	 sample_check_failures},
	{"sluice_upstream_peer_responses_total", "Responses of the peer by status class.", COUNTER,
	 sample_responses},
	{"sluice_upstream_peer_response_seconds_total",
	 "Time that the peer's responses took, summed up.", COUNTER, sample_time},
};

/* `sockmap on`: one sample a group in which it is in force. */
static const struct relay_row {
	const char *name, *help, *label;
	size_t offset; /* in struct relay_counts */
} relay_rows[] = {
	{"sluice_upstream_sockmap_connections_total",
	 "Connections to the upstream that go around TCP.", "",
	 offsetof(struct relay_counts, n_pairs)},
	{"sluice_upstream_sockmap_bytes_total", "Bytes that went around TCP.",
	 ",direction=\"request\"", offsetof(struct relay_counts, n_request_bytes)},
	{NULL, NULL, ",direction=\"answer\"", offsetof(struct relay_counts, n_answer_bytes)},
	{"sluice_upstream_sockmap_latched_total",
	 "Connections that went over to TCP for good in one direction.", ",direction=\"request\"",
	 offsetof(struct relay_counts, n_requests_latched)},
	{NULL, NULL, ",direction=\"answer\"", offsetof(struct relay_counts, n_answers_latched)},
};

static void put_relay(FILE *f, const struct admin *a, const struct view_group *groups, size_t n)
{
	const char *name = NULL;

	for (size_t r = 0; a->env->relay && r < sizeof relay_rows / sizeof relay_rows[0]; r++) {
		const struct relay_row *row = &relay_rows[r];

		if (row->name)
			family(f, name = row->name, COUNTER, row->help);
		for (size_t g = 0; g < n; g++) {
			const struct upstream_conf *u = groups[g].conf;
			struct relay_counts c;

			if (u->relay_group < 0)
				continue;
			relay_counts(a->env->relay, u->relay_group, &c);
			fprintf(f, "%s{upstream=\"", name);
			put_label(f, groups[g].name);
			fprintf(f, "\"%s} %llu\n", row->label,
				(unsigned long long)*(const uint64_t *)((const char *)&c +
									row->offset));
		}
	}
}

static void put_upstreams(FILE *f, const struct admin *a)
{
	size_t n_groups;
	struct view_group *groups = view_groups_new(a, &n_groups);
	struct balance_peer sum;
	bool is_up;

	for (size_t r = 0; n_groups && r < sizeof peer_rows / sizeof peer_rows[0]; r++) {
		const struct peer_row *row = &peer_rows[r];

		family(f, row->name, row->kind, row->help);
		for (size_t g = 0; g < n_groups; g++)
			for (uint32_t i = 0; i < groups[g].n_peers; i++)
				if (merge_peer(&groups[g], i, &sum, &is_up))
					row->sample(f, row->name, &groups[g], i, &sum, is_up);
	}
	put_relay(f, a, groups, n_groups);
	view_groups_free(groups, n_groups);
}

/* ---- limits, guard, bans ---- */

static void put_zone_label(FILE *f, const char *name, const struct limit_zone_conf *z)
{
	char raw[128], text[128];

	snprintf(raw, sizeof raw, "%.*s", SLICE_FMT(z->name));
	fprintf(f, "%s{zone=\"", name);
	put_label(f, view_utf8(raw, text, sizeof text));
	fputs("\"} ", f);
}

static void put_zones(FILE *f, const struct admin *a)
{
	uint32_t used, room;

	if (!a->env->limit_zones)
		return;
	for (int pass = 0; pass < 2; pass++) {
		const char *name = pass ? "sluice_limit_req_zone_entries_max"
					: "sluice_limit_req_zone_entries";

		family(f, name, GAUGE,
		       pass ? "Keys that a limit_req zone has room for."
			    : "Keys in a limit_req zone.");
		for (const struct limit_zone_conf *z = a->env->limit_zones; z; z = z->next) {
			if (!z->zone)
				continue;
			limit_zone_usage(z->zone, &used, &room);
			put_zone_label(f, name, z);
			fprintf(f, "%" PRIu32 "\n", pass ? room : used);
		}
	}
}

static void put_guard(FILE *f, const struct admin *a)
{
	struct guard_total totals[GUARD_N_TOTALS];

	one_u64(f, "sluice_guard_attached", GAUGE,
		"1 when the XDP guard is attached to every interface of the configuration.",
		a->env->stats->guard_on &&
			a->env->stats->guard_on == a->env->stats->guard_interfaces);
	if (!a->env->guard || guard_stats_totals(a->env->guard, totals))
		return;
	for (int pass = 0; pass < 2; pass++) {
		const char *name = pass ? "sluice_guard_bytes_total" : "sluice_guard_packets_total";

		family(f, name, COUNTER,
		       pass ? "Bytes that the XDP guard saw, by verdict."
			    : "Packets that the XDP guard saw, by verdict.");
		for (int i = 0; i < GUARD_N_VERDICTS; i++)
			fprintf(f, "%s{verdict=\"%s\"} %" PRIu64 "\n", name,
				guard_stats_total_name((enum guard_total_index)i),
				(uint64_t)(pass ? totals[i].bytes : totals[i].packets));
	}
	one_u64(f, "sluice_guard_not_counted_packets_total", COUNTER,
		"Packets whose source found no place among the counted ones.",
		totals[GUARD_NOT_COUNTED].packets);
}

static void put_events(FILE *f, const struct admin *a)
{
	const struct event_ring *ring = a->env->events;
	struct guard_total totals[GUARD_N_TOTALS];

	if (!ring)
		return;
	one_u64(f, "sluice_events_total", COUNTER, "Events told to whoever watches.",
		event_ring_newest(ring));
	family(f, "sluice_events_lost_total", COUNTER,
	       "Events not told: the ring buffer was full, the guard had too many, a watcher was "
	       "slow.");
	if (a->env->guard && guard_stats_totals(a->env->guard, totals) == 0)
		fprintf(f, "sluice_events_lost_total{where=\"kernel\"} %" PRIu64 "\n",
			(uint64_t)totals[GUARD_EVENTS_LOST].packets);
	fprintf(f, "sluice_events_lost_total{where=\"master\"} %" PRIu64 "\n",
		event_ring_left_out(ring));
	fprintf(f, "sluice_events_lost_total{where=\"watchers\"} %" PRIu64 "\n", a->n_events_lost);
	one_u64(f, "sluice_event_watchers", GAUGE, "Connections that watch the events.",
		a->n_watchers);
}

static void put_bans(FILE *f, const struct admin *a)
{
	struct view_bans v;
	size_t n;

	free(view_bans_new(a->env->bans, &n, &v));
	one_u64(f, "sluice_bans", GAUGE, "Addresses and networks banned now.", v.n_active);
	one_u64(f, "sluice_bans_networks", GAUGE, "Networks banned now.", v.n_networks);
	one_u64(f, "sluice_bans_in_kernel", GAUGE,
		"Addresses and networks banned now whose packets the guard drops.", v.n_in_kernel);
	one_u64(f, "sluice_bans_indirect", GAUGE,
		"Bans of who is behind a trusted proxy: in userspace only.", v.n_indirect);
	one_u64(f, "sluice_bans_dry_run", GAUGE, "Bans that there would be by rules on trial.",
		v.n_dry_run);
	one_u64(f, "sluice_bans_userspace_only_total", COUNTER,
		"Bans that found no room in the kernel when they were made.",
		a->env->stats->n_bans_userspace_only);
	one_u64(f, "sluice_bans_max", GAUGE, "Bans that there is room for.", BAN_TABLE_ROOM);
}

static uint64_t evidence_of(const struct ban_counts *c)
{
	return c->evidence;
}

static uint64_t bans_of(const struct ban_counts *c)
{
	return c->bans;
}

static uint64_t would_bans_of(const struct ban_counts *c)
{
	return c->would_bans;
}

static void put_rules(FILE *f, const struct admin *a)
{
	static const struct {
		const char *name, *help;
		uint64_t (*get)(const struct ban_counts *c);
	} kinds[] = {
		{"sluice_ban_rule_evidence_total", "Offences counted by a ban rule.", evidence_of},
		{"sluice_ban_rule_bans_total", "Bans by a ban rule.", bans_of},
		{"sluice_ban_rule_would_bans_total",
		 "Bans that a ban rule on trial would have made.", would_bans_of},
	};
	const struct ban_rule *rules = ban_conf_rules(a->env->config);

	for (size_t i = 0; rules && i < sizeof kinds / sizeof kinds[0]; i++) {
		family(f, kinds[i].name, COUNTER, kinds[i].help);
		for (const struct ban_rule *r = rules; r; r = r->next_all) {
			const struct ban_counts *c = ban_counts_of(a->env->evidence, r->id);

			if (c)
				fprintf(f, "%s{rule=\"%08x\",on=\"%s\"} %" PRIu64 "\n",
					kinds[i].name, r->id, ban_conf_on_name(r->on),
					kinds[i].get(c));
		}
	}
}

/* ---- processes ---- */

struct process_row {
	char name[24];
	struct view_process process;
};

static size_t list_processes(const struct admin *a, struct process_row *out)
{
	const struct stats *s = a->env->stats;
	size_t n = 0;

	snprintf(out[n].name, sizeof out[n].name, "master");
	n += view_process(s->master_pid, &out[n].process);
	snprintf(out[n].name, sizeof out[n].name, "admin");
	n += view_process((int)getpid(), &out[n].process);
	for (int i = 0; i < STATS_WORKERS_MAX; i++) {
		snprintf(out[n].name, sizeof out[n].name, "worker-%d", i);
		n += view_process(s->worker[i].pid, &out[n].process);
	}
	return n;
}

static void put_processes(FILE *f, const struct admin *a)
{
	struct process_row list[STATS_WORKERS_MAX + 2];
	size_t n = list_processes(a, list);

	family(f, "sluice_process_cpu_seconds_total", COUNTER,
	       "User and system time of a process; a slot's next worker starts at 0.");
	for (size_t i = 0; i < n; i++)
		fprintf(f, "sluice_process_cpu_seconds_total{process=\"%s\"} %.15g\n", list[i].name,
			list[i].process.cpu_s);
	family(f, "sluice_process_resident_memory_bytes", GAUGE, "Resident memory of a process.");
	for (size_t i = 0; i < n; i++)
		fprintf(f, "sluice_process_resident_memory_bytes{process=\"%s\"} %" PRIu64 "\n",
			list[i].name, list[i].process.rss_bytes);
}

static void put_admin(FILE *f, const struct admin *a)
{
	family(f, "sluice_admin_responses_total", COUNTER,
	       "Responses of this admin process by status class.");
	for (int i = 2; i < 6; i++)
		fprintf(f, "sluice_admin_responses_total{class=\"%dxx\"} %" PRIu64 "\n", i,
			a->n_answers[i]);
	family(f, "sluice_admin_refused_total", COUNTER,
	       "Requests that this admin process refused: a missing or wrong token, a foreign "
	       "Host.");
	fprintf(f, "sluice_admin_refused_total{reason=\"token\"} %" PRIu64 "\n",
		a->n_auth_failures);
	fprintf(f, "sluice_admin_refused_total{reason=\"host\"} %" PRIu64 "\n", a->n_host_failures);
}

enum MHD_Result metrics_get(struct request *rq)
{
	const struct admin *a = rq->admin;
	char *text = NULL;
	size_t n = 0;
	bool failed;
	FILE *f = open_memstream(&text, &n);

	if (!f)
		return serve_text(rq, 200, NULL, NULL, 0);
	put_build(f, a);
	put_workers(f, a->env->stats);
	put_upstreams(f, a);
	put_zones(f, a);
	put_guard(f, a);
	put_events(f, a);
	put_bans(f, a);
	put_rules(f, a);
	put_processes(f, a);
	put_admin(f, a);
	failed = ferror(f) != 0;
	if (fclose(f) || failed) {
		free(text);
		text = NULL;
	}
	return serve_text(rq, 200, "text/plain; version=0.0.4; charset=utf-8", text, n);
}
