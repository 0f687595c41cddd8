/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns how a rehearsal is told: as text for people, or as one JSON object. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/err.h"
#include "core/log.h"
#include "kernel/xdp_conf.h"
#include "master/master.h"
#include "master/rehearse_impl.h"
#include "policy/ban_conf.h"

/* What the configuration calls a rule. */
static const char *rule_text(const struct rehearsal *r, const struct tally_rule *rule)
{
	const char *text = filling_rule_text(r->conf, rule->id);
	const struct ban_rule *ban;

	if (text)
		return text;
	ban = ban_conf_rule(r->conf, rule->id);
	if (ban)
		return ban->text;
	return rule->id ? "of no line in this file" : "banned by hand";
}

static void put_time(char *out, size_t room, uint64_t ns)
{
	time_t s = (time_t)(ns / 1000000000u);
	char text[32] = "?";
	struct tm tm;

	if (gmtime_r(&s, &tm))
		strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out, room, "%s.%03uZ", text, (unsigned)(ns / 1000000u % 1000));
}

static double seconds(const struct capture_counts *n)
{
	return (double)(n->end_ns - n->begin_ns) / 1e9;
}

/* ---- text ---- */

static void print_capture(const struct rehearsal *r)
{
	const struct capture_counts *n = capture_counts(r->capture);
	char begin[48], end[48];

	printf("capture %s, %s: %" PRIu64 " packets, %" PRIu64 " bytes\n", r->options->pcap,
	       capture_link_name(r->capture), n->n_packets, r->bytes);
	if (n->n_packets) {
		put_time(begin, sizeof begin, n->begin_ns);
		put_time(end, sizeof end, n->end_ns);
		printf("  from %s to %s, %.3f s\n", begin, end, seconds(n));
	}
	if (n->n_cut)
		printf("  %" PRIu64 " were cut short by the capture: their ends count as zeros, so "
		       "TLS hellos may be missed\n",
		       n->n_cut);
	if (n->n_sent)
		printf("  %" PRIu64 " that the host itself sent are passed over\n", n->n_sent);
	if (n->n_odd)
		printf("  %" PRIu64 " without a whole link header, or too long, are passed over\n",
		       n->n_odd);
	if (n->n_back)
		printf("  %" PRIu64
		       " were captured out of order, and have the time of the one before\n",
		       n->n_back);
	if (r->n_auto)
		printf("  %" PRIu32 " addresses are let through by allow_auto: this machine's own, "
		       "and upstream servers given by address\n",
		       r->n_auto);
	if (r->options->bans)
		printf("  %" PRIu64 " bans of %s are in force\n", r->n_bans, r->options->bans);
}

static void print_rule(const struct rehearsal *r, const struct tally_rule *rule,
		       const struct tally_source *sources)
{
	char name[GUARD_CIDR_TEXT_MAX];
	uint64_t n = rule->n_sources < r->options->top ? rule->n_sources : r->options->top;

	printf("\n%s %08" PRIx32 "%s: %s\n", guard_stats_total_name(rule->verdict), rule->id,
	       rule->is_dry_run ? " (dry run)" : "", rule_text(r, rule));
	printf("  %" PRIu64 " packets, %" PRIu64 " bytes", rule->packets, rule->bytes);
	if (rule->n_sources)
		printf(" of %" PRIu64 "%s sources", rule->n_sources,
		       rule->n_unlisted ? " and more" : "");
	putchar('\n');
	for (uint64_t i = 0; i < n; i++) {
		guard_addr_cidr_to_text(&sources[i].net, name);
		printf("    %-39s %12" PRIu64 " packets %14" PRIu64 " bytes\n", name,
		       sources[i].packets, sources[i].bytes);
	}
	if (n < rule->n_sources)
		printf("    and %" PRIu64 " more\n", rule->n_sources - n);
}

static void print_text(const struct rehearsal *r)
{
	const struct tally_source *at = r->tally.sources;

	print_capture(r);
	for (unsigned i = 0; i < r->tally.n_rules; i++) {
		print_rule(r, &r->tally.rules[i], at);
		at += r->tally.rules[i].n_sources;
	}
	printf("\nverdicts\n");
	for (int i = 0; i < GUARD_N_VERDICTS; i++)
		if (r->totals[i].packets)
			printf("  %-17s %12" PRIu64 " packets %14" PRIu64 " bytes\n",
			       guard_stats_total_name((enum guard_total_index)i),
			       (uint64_t)r->totals[i].packets, (uint64_t)r->totals[i].bytes);
	printf("dropped %" PRIu64 " packets, %" PRIu64 " bytes\n", r->n_dropped, r->dropped_bytes);
}

/* ---- JSON ---- */

static json_t *sum(uint64_t packets, uint64_t bytes)
{
	return json_pack("{s:I, s:I}", "packets", (json_int_t)packets, "bytes", (json_int_t)bytes);
}

static json_t *rule_json(const struct rehearsal *r, const struct tally_rule *rule,
			 const struct tally_source *sources)
{
	uint64_t n = rule->n_sources < r->options->top ? rule->n_sources : r->options->top;
	char name[GUARD_CIDR_TEXT_MAX], id[9];
	json_t *list = json_array(), *one;

	for (uint64_t i = 0; i < n; i++) {
		guard_addr_cidr_to_text(&sources[i].net, name);
		one = sum(sources[i].packets, sources[i].bytes);
		json_object_set_new(one, "address", json_string(name));
		json_array_append_new(list, one);
	}
	snprintf(id, sizeof id, "%08" PRIx32, rule->id);
	return json_pack("{s:s, s:s, s:s, s:b, s:I, s:I, s:I, s:I, s:o}", "rule", id, "text",
			 rule_text(r, rule), "verdict", guard_stats_total_name(rule->verdict),
			 "dry_run", (int)rule->is_dry_run, "packets", (json_int_t)rule->packets,
			 "bytes", (json_int_t)rule->bytes, "n_sources", (json_int_t)rule->n_sources,
			 "packets_unlisted", (json_int_t)rule->n_unlisted, "sources", list);
}

static json_t *capture_json(const struct rehearsal *r)
{
	const struct capture_counts *n = capture_counts(r->capture);
	json_t *j = sum(n->n_packets, r->bytes);
	char begin[48], end[48];

	put_time(begin, sizeof begin, n->begin_ns);
	put_time(end, sizeof end, n->end_ns);
	json_object_set_new(j, "link", json_string(capture_link_name(r->capture)));
	json_object_set_new(j, "begin", n->n_packets ? json_string(begin) : json_null());
	json_object_set_new(j, "end", n->n_packets ? json_string(end) : json_null());
	json_object_set_new(j, "cut", json_integer((json_int_t)n->n_cut));
	json_object_set_new(j, "sent", json_integer((json_int_t)n->n_sent));
	json_object_set_new(j, "odd", json_integer((json_int_t)n->n_odd));
	json_object_set_new(j, "out_of_order", json_integer((json_int_t)n->n_back));
	json_object_set_new(j, "bans", json_integer((json_int_t)r->n_bans));
	json_object_set_new(j, "allow_auto", json_integer((json_int_t)r->n_auto));
	return j;
}

static int print_json(const struct rehearsal *r)
{
	const struct tally_source *at = r->tally.sources;
	json_t *rules = json_array(), *verdicts = json_object(), *j;
	int rc;

	for (unsigned i = 0; i < r->tally.n_rules; i++) {
		json_array_append_new(rules, rule_json(r, &r->tally.rules[i], at));
		at += r->tally.rules[i].n_sources;
	}
	for (int i = 0; i < GUARD_N_VERDICTS; i++)
		json_object_set_new(verdicts, guard_stats_total_name((enum guard_total_index)i),
				    sum(r->totals[i].packets, r->totals[i].bytes));
	j = json_pack("{s:o, s:o, s:o, s:o}", "capture", capture_json(r), "rules", rules,
		      "verdicts", verdicts, "dropped", sum(r->n_dropped, r->dropped_bytes));
	rc = j ? json_dumpf(j, stdout, JSON_COMPACT) : -1;
	json_decref(j);
	putchar('\n');
	return rc ? -SL_ENOMEM : 0;
}

int rehearse_print(const struct rehearsal *r)
{
	int rc = 0;

	if (r->options->is_json)
		rc = print_json(r);
	else
		print_text(r);
	if (rc || fflush(stdout) || ferror(stdout)) {
		log_stderr(LOG_LVL_EMERG, "the rehearsal cannot be written");
		return -SL_ESYS;
	}
	return 0;
}
