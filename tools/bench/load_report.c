/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sl-load's report and verdict. It must not leave out an error.
 */
#include "load.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *const load_mode_names[] = {"requests", "handshake", "download", "streams"};
const char *const load_fault_names[FAULT_COUNT] = {"",	   "connect",	  "tls",       "send",
						   "recv", "early_close", "malformed", "status",
						   "body", "timeout",	  "no_done"};

static uint64_t fault_sum(const struct load *l)
{
	uint64_t sum = 0;
	size_t i;

	for (i = 0; i < FAULT_COUNT; i++)
		sum += l->faults[i];
	return sum;
}

static void json_times(const char *name, const struct hist *h)
{
	printf(", \"%s\": {\"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, \"max\": %.1f}", name,
	       (double)load_hist_quantile(h, 500) / 1e3, (double)load_hist_quantile(h, 900) / 1e3,
	       (double)load_hist_quantile(h, 990) / 1e3, (double)h->max / 1e3);
}

void load_report_json(const struct load *l, double elapsed_s)
{
	const char *comma = "";
	size_t i;

	printf("{\"mode\": \"%s\", \"connections\": %" PRIu64 ", \"count\": %" PRIu64
	       ", \"errors\": %" PRIu64 ", \"errors_by_kind\": {",
	       load_mode_names[l->opt.mode], l->opt.connections, l->ok, fault_sum(l));
	for (i = 1; i < FAULT_COUNT; i++) {
		if (l->faults[i] == 0)
			continue;
		printf("%s\"%s\": %" PRIu64, comma, load_fault_names[i], l->faults[i]);
		comma = ", ";
	}
	printf("}, \"status\": {");
	for (i = 0, comma = ""; i < 600; i++) {
		if (l->status[i] == 0)
			continue;
		printf("%s\"%zu\": %" PRIu64, comma, i, l->status[i]);
		comma = ", ";
	}
	printf("}, \"elapsed_s\": %.6f, \"body_bytes\": %" PRIu64
	       ", \"request_bytes\": %zu, \"reconnects\": %" PRIu64 ", \"resumed\": %" PRIu64
	       ", \"tls\": \"%s\", \"cipher\": \"%s\"",
	       elapsed_s, l->body_bytes, l->request.len, l->reconnects, l->resumed, l->tls_version,
	       l->tls_cipher);
	json_times("latency_us", &l->latency);
	if (l->opt.mode == MODE_STREAMS) {
		printf(", \"streams\": {\"started\": %" PRIu64 ", \"completed\": %" PRIu64
		       ", \"cut\": %" PRIu64 ", \"without_done\": %" PRIu64
		       ", \"unopened\": %" PRIu64 ", \"events_expected\": %" PRIu64
		       ", \"events_received\": %" PRIu64 ", \"events_lost\": %" PRIu64
		       ", \"events_unstamped\": %" PRIu64,
		       l->started, l->completed, l->cut, l->faults[FAULT_NO_DONE], l->unopened,
		       l->opt.events * l->opt.connections, l->events, l->lost, l->other_events);
		json_times("lateness_us", &l->late);
		printf("}");
	}
	if (l->opt.n_watch > 0 && l->to.at_ns != 0)
		printf(", \"watch\": {\"items\": %" PRIu64 ", \"cpu_ns\": %" PRIu64
		       ", \"window_s\": %.6f, "
		       "\"pss_before_kb\": %" PRIu64 ", \"pss_kb\": %" PRIu64 "}",
		       l->to.items - l->from.items, l->to.cpu_ns - l->from.cpu_ns,
		       (double)(l->to.at_ns - l->from.at_ns) / 1e9, l->idle.pss_kb, l->to.pss_kb);
	printf("}\n");
}

void load_report_text(const struct load *l, double elapsed_s)
{
	const struct hist *h = l->opt.mode == MODE_STREAMS ? &l->late : &l->latency;
	size_t i;

	printf("%s: %" PRIu64 " right, %" PRIu64 " errors in %.3f s (%.0f/s), %" PRIu64
	       " body bytes %s %s\n",
	       load_mode_names[l->opt.mode], l->ok, fault_sum(l), elapsed_s,
	       elapsed_s > 0 ? (double)l->ok / elapsed_s : 0, l->body_bytes, l->tls_version,
	       l->tls_cipher);
	for (i = 1; i < FAULT_COUNT; i++)
		if (l->faults[i] > 0)
			printf("  error %s: %" PRIu64 "\n", load_fault_names[i], l->faults[i]);
	for (i = 0; i < 600; i++)
		if (l->status[i] > 0)
			printf("  status %zu: %" PRIu64 "\n", i, l->status[i]);
	printf("  %s ms: p50 %.3f p90 %.3f p99 %.3f max %.3f\n",
	       l->opt.mode == MODE_STREAMS ? "lateness" : "latency",
	       (double)load_hist_quantile(h, 500) / 1e6, (double)load_hist_quantile(h, 900) / 1e6,
	       (double)load_hist_quantile(h, 990) / 1e6, (double)h->max / 1e6);
	if (l->opt.mode == MODE_STREAMS)
		printf("  streams: %" PRIu64 " whole, %" PRIu64 " cut, %" PRIu64
		       " without [DONE]; events: %" PRIu64 " expected, %" PRIu64
		       " received, %" PRIu64 " lost\n",
		       l->completed, l->cut, l->faults[FAULT_NO_DONE],
		       l->opt.events * l->opt.connections, l->events, l->lost);
	if (l->opt.n_watch > 0 && l->to.items > l->from.items)
		printf("  watched: %.2f us of CPU each\n",
		       (double)(l->to.cpu_ns - l->from.cpu_ns) / 1e3 /
			       (double)(l->to.items - l->from.items));
}

int load_report_verdict(const struct load *l)
{
	int rc = fault_sum(l) > 0;

	if (l->stop) {
		fprintf(stderr, "sl-load: stopped by a signal\n");
		rc = 1;
	}
	if (l->opt.mode != MODE_STREAMS)
		return l->ok == 0 ? 1 : rc;
	if (l->lost > l->opt.max_lost) {
		fprintf(stderr, "sl-load: %" PRIu64 " events lost, %" PRIu64 " allowed\n", l->lost,
			l->opt.max_lost);
		rc = 1;
	}
	if (l->opt.max_p99_ms > 0 &&
	    load_hist_quantile(&l->late, 990) > l->opt.max_p99_ms * NS_PER_MS) {
		fprintf(stderr, "sl-load: p99 lateness %.1f ms, %" PRIu64 " ms allowed\n",
			(double)load_hist_quantile(&l->late, 990) / 1e6, l->opt.max_p99_ms);
		rc = 1;
	}
	return rc;
}
