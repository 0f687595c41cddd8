/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns how each answer looks. Members that are missing show as empty or 0: a newer or older sluice
 * still shows what it has. */
#include "show.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "table.h"

static json_int_t num(const json_t *j, const char *key)
{
	return json_integer_value(json_object_get(j, key));
}

const char *show_text(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s ? s : "";
}

static void put_num(char *out, json_int_t n)
{
	snprintf(out, CELL_MAX, "%" JSON_INTEGER_FORMAT, n);
}

static void put_bytes(char *out, json_int_t n)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	double v = (double)n;
	int i = 0;

	for (; v >= 1024 && i < 4; i++)
		v /= 1024;
	snprintf(out, CELL_MAX, i && v < 100 ? "%.1f %s" : "%.0f %s", v, units[i]);
}

static void put_span(char *out, json_int_t s)
{
	if (s >= 86400)
		snprintf(out, CELL_MAX, "%dd %dh", (int)(s / 86400), (int)(s % 86400 / 3600));
	else if (s >= 3600)
		snprintf(out, CELL_MAX, "%dh %dm", (int)(s / 3600), (int)(s % 3600 / 60));
	else if (s >= 60)
		snprintf(out, CELL_MAX, "%dm %ds", (int)(s / 60), (int)(s % 60));
	else
		snprintf(out, CELL_MAX, "%ds", (int)s);
}

/* "2026-11-22T23:10:00.250Z" as "2026-11-22 23:10:00"; "-" for null. */
static void put_time(char *out, const json_t *j, const char *key)
{
	const char *s = show_text(j, key);

	table_clean(out, CELL_MAX, s[0] ? s : "-");
	if (strlen(out) > 19 && out[10] == 'T') {
		out[10] = ' ';
		out[19] = 0;
	}
}

static void put_left(char *out, const json_t *ban)
{
	if (json_is_integer(json_object_get(ban, "left_s")))
		put_span(out, num(ban, "left_s"));
	else
		table_clean(out, CELL_MAX, "for ever");
}

static void print_guard(json_t *guard)
{
	json_t *totals = json_object_get(guard, "totals");

	if (!json_is_true(json_object_get(guard, "on"))) {
		printf("guard        off: %s\n", show_text(guard, totals ? "mode" : "reason"));
	} else {
		printf("guard        on: %s%s\n", show_text(guard, "mode"),
		       json_is_true(json_object_get(guard, "dry_run")) ? ", dry run" : "");
	}
	for (void *at = json_object_iter(totals); at; at = json_object_iter_next(totals, at)) {
		const json_t *value = json_object_iter_value(at);

		if (num(value, "packets"))
			printf("  %-14s %" JSON_INTEGER_FORMAT " packets, %" JSON_INTEGER_FORMAT
			       " bytes\n",
			       json_object_iter_key(at), num(value, "packets"),
			       num(value, "bytes"));
	}
}

/* Every number of an object: "12 active, 3 idle". */
static void print_numbers(const char *title, json_t *j)
{
	const char *comma = "";

	printf("%-12s ", title);
	for (void *at = json_object_iter(j); at; at = json_object_iter_next(j, at)) {
		const json_t *value = json_object_iter_value(at);
		char name[64];

		if (!json_is_integer(value))
			continue;
		table_clean(name, sizeof name, json_object_iter_key(at));
		for (char *p = name; *p; p++)
			if (*p == '_')
				*p = ' ';
		printf("%s%" JSON_INTEGER_FORMAT " %s", comma, json_integer_value(value), name);
		comma = ", ";
	}
	putchar('\n');
}

static void print_workers(json_t *list)
{
	static const char *const heads[] = {">SLOT",	 ">PID",    ">CONFIG", ">CONNS", ">IDLE",
					    ">REQUESTS", ">ACTIVE", ">MEMORY", ">CPU",	 NULL};
	struct table t;

	if (!json_array_size(list))
		return;
	putchar('\n');
	table_init(&t, heads);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *w = json_array_get(list, i);
		char(*row)[CELL_MAX] = table_row(&t);

		put_num(row[0], num(w, "slot"));
		put_num(row[1], num(w, "pid"));
		put_num(row[2], num(w, "generation"));
		put_num(row[3], num(w, "connections_active"));
		put_num(row[4], num(w, "connections_idle"));
		put_num(row[5], num(w, "requests"));
		put_num(row[6], num(w, "requests_active"));
		put_bytes(row[7], num(w, "memory_bytes"));
		snprintf(row[8], CELL_MAX, "%.1fs", json_real_value(json_object_get(w, "cpu_s")));
	}
	table_print(&t);
}

void show_status(const json_t *j)
{
	const json_t *zones = json_object_get(j, "limit_zones");
	const json_t *bytes = json_object_get(j, "bytes"), *reloads = json_object_get(j, "reloads");
	static const char *const groups[] = {"connections", "requests", "responses", "tls",
					     "limit_req",   "upstream", "bans"};
	char up[CELL_MAX], in[CELL_MAX], out[CELL_MAX], last[CELL_MAX];
	size_t i;

	put_span(up, num(j, "uptime_s"));
	put_bytes(in, num(bytes, "in"));
	put_bytes(out, num(bytes, "out"));
	put_time(last, reloads, "last");
	printf("sluice %s, up %s, configuration %" JSON_INTEGER_FORMAT
	       ", master %" JSON_INTEGER_FORMAT "\n",
	       show_text(j, "version"), up, num(j, "generation"), num(j, "master_pid"));
	printf("reloads      %" JSON_INTEGER_FORMAT " done, %" JSON_INTEGER_FORMAT
	       " failed, last %s\n",
	       num(reloads, "done"), num(reloads, "failed"), last);
	for (i = 0; i < sizeof groups / sizeof groups[0]; i++)
		print_numbers(groups[i], json_object_get(j, groups[i]));
	printf("traffic      %s in, %s out\n", in, out);
	printf("workers      %zu, %" JSON_INTEGER_FORMAT " died\n",
	       json_array_size(json_object_get(j, "workers")), num(j, "worker_deaths"));
	for (i = 0; i < json_array_size(zones); i++) {
		const json_t *zone = json_array_get(zones, i);

		printf("limit zone   %s: %" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT
		       " keys\n",
		       show_text(zone, "name"), num(zone, "entries"), num(zone, "entries_max"));
	}
	print_guard(json_object_get(j, "guard"));
	print_workers(json_object_get(j, "workers"));
}

/* HOST:PORT, or unix:/path. */
static void put_server(char *out, const json_t *server)
{
	char host[CELL_MAX - 32];
	bool is_unix;

	table_clean(host, sizeof host, show_text(server, "host"));
	is_unix = strncmp(host, "unix:", 5) == 0;
	if (is_unix)
		snprintf(out, CELL_MAX, "%s", host);
	else
		snprintf(out, CELL_MAX, "%s:%d", host, (int)num(server, "port"));
	if (json_is_true(json_object_get(server, "backup")))
		strcat(out, " backup");
}

/* NAME, and the method where it is another than nginx's default. */
static void put_group(char *out, const json_t *group)
{
	char name[CELL_MAX / 2], method[CELL_MAX / 4];

	table_clean(name, sizeof name, show_text(group, "name"));
	table_clean(method, sizeof method, show_text(group, "method"));
	if (method[0] == 0 || strcmp(method, "round_robin") == 0)
		snprintf(out, CELL_MAX, "%s", name);
	else
		snprintf(out, CELL_MAX, "%s (%s)", name, method);
}

static void add_peer(struct table *t, const json_t *group, const json_t *server, const json_t *peer)
{
	const json_t *codes = json_object_get(peer, "responses");
	char(*row)[CELL_MAX] = table_row(t);

	put_group(row[0], group);
	put_server(row[1], server);
	if (!peer) {
		const char *why = show_text(server, "resolve_error");

		table_clean(row[2], CELL_MAX, "-");
		table_clean(row[3], CELL_MAX, why[0] ? why : show_text(server, "resolve"));
		return;
	}
	table_clean(row[2], CELL_MAX, show_text(peer, "address"));
	table_clean(row[3], CELL_MAX, show_text(peer, "state"));
	put_num(row[4], num(peer, "requests_active"));
	put_num(row[5], num(peer, "requests"));
	put_num(row[6], num(peer, "failures"));
	put_num(row[7], num(codes, "2xx"));
	put_num(row[8], num(codes, "4xx"));
	put_num(row[9], num(codes, "5xx"));
	if (json_is_real(json_object_get(peer, "response_ms_mean")))
		snprintf(row[10], CELL_MAX, "%.0f ms",
			 json_real_value(json_object_get(peer, "response_ms_mean")));
}

static void add_server(struct table *t, const json_t *group, const json_t *server)
{
	const json_t *peers = json_object_get(server, "peers");

	if (!json_array_size(peers))
		add_peer(t, group, server, NULL);
	for (size_t i = 0; i < json_array_size(peers); i++)
		add_peer(t, group, server, json_array_get(peers, i));
}

/* What the group sends around TCP, below the table. */
static void show_sockmap(const json_t *group)
{
	const json_t *s = json_object_get(group, "sockmap");
	char name[CELL_MAX], why[CELL_MAX], to[CELL_MAX], from[CELL_MAX];

	if (!json_is_object(s))
		return;
	table_clean(name, sizeof name, show_text(group, "name"));
	if (!json_is_true(json_object_get(s, "on"))) {
		table_clean(why, sizeof why, show_text(s, "why"));
		printf("%s: sockmap is not in force: %s\n", name, why);
		return;
	}
	put_bytes(to, num(s, "request_bytes"));
	put_bytes(from, num(s, "answer_bytes"));
	printf("%s: sockmap on, %" JSON_INTEGER_FORMAT
	       " connections, %s to it and %s from it around TCP, latched to TCP: %" JSON_INTEGER_FORMAT
	       " for requests, %" JSON_INTEGER_FORMAT " for answers\n",
	       name, num(s, "connections"), to, from, num(s, "requests_latched"),
	       num(s, "answers_latched"));
}

void show_upstreams(const json_t *j)
{
	const json_t *groups = json_object_get(j, "upstreams");
	static const char *const heads[] = {"GROUP",   "SERVER",    "PEER",	 "STATE",
					    ">ACTIVE", ">REQUESTS", ">FAILURES", ">2XX",
					    ">4XX",    ">5XX",	    ">MEAN",	 NULL};
	struct table t;

	table_init(&t, heads);
	for (size_t g = 0; g < json_array_size(groups); g++) {
		const json_t *group = json_array_get(groups, g);
		const json_t *servers = json_object_get(group, "servers");

		for (size_t k = 0; k < json_array_size(servers); k++)
			add_server(&t, group, json_array_get(servers, k));
	}
	table_print(&t);
	for (size_t g = 0; g < json_array_size(groups); g++)
		show_sockmap(json_array_get(groups, g));
}

void show_bans(const json_t *j)
{
	const json_t *list = json_object_get(j, "bans");
	static const char *const heads[] = {"ADDRESS",	"LEFT", "SINCE (UTC)", "WHERE",
					    ">DROPPED", "BY",	"REASON",      NULL};
	struct table t;
	size_t i;

	table_init(&t, heads);
	for (i = 0; i < json_array_size(list); i++) {
		const json_t *ban = json_array_get(list, i);
		const json_t *dropped = json_object_get(ban, "dropped");
		char(*row)[CELL_MAX] = table_row(&t);

		table_clean(row[0], CELL_MAX, show_text(ban, "address"));
		put_left(row[1], ban);
		put_time(row[2], ban, "since");
		table_clean(row[3], CELL_MAX,
			    json_is_true(json_object_get(ban, "dry_run"))     ? "dry run"
			    : json_is_true(json_object_get(ban, "in_kernel")) ? "kernel"
			    : json_is_true(json_object_get(ban, "indirect"))  ? "behind proxy"
									      : "userspace");
		if (dropped)
			put_num(row[4], num(dropped, "packets"));
		table_clean(row[5], CELL_MAX,
			    json_is_true(json_object_get(ban, "manual"))
				    ? "hand"
				    : show_text(ban, "rule_id"));
		table_clean(row[6], CELL_MAX, show_text(ban, "reason"));
	}
	table_print(&t);
	if (num(j, "total") > (json_int_t)i)
		printf("the newest %zu of %" JSON_INTEGER_FORMAT "\n", i, num(j, "total"));
}

void show_rules(const json_t *j)
{
	const json_t *list = json_object_get(j, "rules");
	static const char *const heads[] = {"RULE",	  "",	   ">EVIDENCE", ">BANS",
					    ">WOULD BAN", ">NOW",  ">DROPPED",	">WOULD DROP",
					    "TEXT",	  "WHERE", NULL};
	struct table t;

	table_init(&t, heads);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *rule = json_array_get(list, i);
		char(*row)[CELL_MAX] = table_row(&t);

		table_clean(row[0], CELL_MAX, show_text(rule, "rule_id"));
		if (json_is_true(json_object_get(rule, "dry_run")))
			table_clean(row[1], CELL_MAX, "dry run");
		if (json_object_get(rule, "networks")) {
			put_num(row[5], num(rule, "networks"));
		} else if (json_object_get(rule, "evidence")) {
			put_num(row[2], num(rule, "evidence"));
			put_num(row[3], num(rule, "bans"));
			put_num(row[4], num(rule, "would_bans"));
			put_num(row[5], num(rule, "active"));
		}
		if (json_object_get(rule, "dropped"))
			put_num(row[6], num(json_object_get(rule, "dropped"), "packets"));
		if (json_object_get(rule, "would_drop"))
			put_num(row[7], num(rule, "would_drop"));
		table_clean(row[8], CELL_MAX, show_text(rule, "text"));
		table_clean(row[9], CELL_MAX, show_text(rule, "scope"));
	}
	table_print(&t);
}

void show_denied(const json_t *j)
{
	const json_t *list = json_object_get(j, "denied"), *allowed = json_object_get(j, "allowed");
	static const char *const heads[] = {"DENIED", ">DROPPED", "UNTIL (UTC)",
					    "RULE",   "REASON",	  NULL};
	static const char *const allow_heads[] = {"ALLOWED", "WHY", NULL};
	struct table t;
	size_t i;

	table_init(&t, heads);
	for (i = 0; i < json_array_size(list); i++) {
		const json_t *net = json_array_get(list, i);
		char(*row)[CELL_MAX] = table_row(&t);

		table_clean(row[0], CELL_MAX, show_text(net, "address"));
		put_num(row[1], num(json_object_get(net, "dropped"), "packets"));
		put_time(row[2], net, "until");
		table_clean(row[3], CELL_MAX, show_text(net, "rule_id"));
		table_clean(row[4], CELL_MAX, show_text(net, "reason"));
	}
	table_print(&t);
	if (num(j, "total") > (json_int_t)i)
		printf("the %zu of %" JSON_INTEGER_FORMAT " that were dropped most\n", i,
		       num(j, "total"));
	putchar('\n');
	table_init(&t, allow_heads);
	for (i = 0; i < json_array_size(allowed); i++) {
		const json_t *net = json_array_get(allowed, i);
		char(*row)[CELL_MAX] = table_row(&t);

		table_clean(row[0], CELL_MAX, show_text(net, "address"));
		table_clean(row[1], CELL_MAX, show_text(net, "why"));
	}
	table_print(&t);
}

void show_sources(const json_t *j)
{
	const json_t *list = json_object_get(j, "sources");
	static const char *const heads[] = {"ADDRESS",	       ">PACKETS", ">BYTES",
					    ">SYNS",	       ">DROPPED", "FIRST SEEN (UTC)",
					    "LAST SEEN (UTC)", "",	   NULL};
	struct table t;

	if (strcmp(show_text(j, "guard"), "on")) {
		printf("guard %s; sources are counted by it only\n", show_text(j, "guard"));
		return;
	}
	table_init(&t, heads);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *source = json_array_get(list, i);
		char(*row)[CELL_MAX] = table_row(&t);

		table_clean(row[0], CELL_MAX, show_text(source, "address"));
		put_num(row[1], num(source, "packets"));
		put_bytes(row[2], num(source, "bytes"));
		put_num(row[3], num(source, "syns"));
		put_num(row[4], num(source, "drops"));
		put_time(row[5], source, "first_seen");
		put_time(row[6], source, "last_seen");
		if (json_is_true(json_object_get(source, "banned")))
			table_clean(row[7], CELL_MAX, "banned");
		else if (json_is_true(json_object_get(source, "estimated")))
			table_clean(row[7], CELL_MAX, "or more");
	}
	table_print(&t);
}

void show_ban(const json_t *ban)
{
	char left[CELL_MAX];

	put_left(left, ban);
	printf("%s is banned%s%s%s\n", show_text(ban, "address"),
	       json_is_integer(json_object_get(ban, "left_s")) ? " for " : " ", left,
	       json_object_get(ban, "in_kernel") ? json_is_true(json_object_get(ban, "in_kernel"))
							   ? ", in the kernel"
							   : ", in userspace"
						 : "");
}

void show_reload(const json_t *j)
{
	const char *message = show_text(j, "message");

	printf("reloaded%s%s\n", message[0] ? ": " : "", message);
}
