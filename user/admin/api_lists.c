/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the resource that shows the lists: who is denied, by which line, and how much of it was dropped; who
 * is always let through, and why. Changes nothing. */
#include "admin/api_lists.h"

#include <stdlib.h>

#include "core/clock.h"

/* What the kernel has of one denied network. */
struct row {
	const struct list_entry *entry;
	uint64_t packets, bytes;
};

struct rows {
	const struct lists *lists;
	struct row *v; /* by the entry's place in the list */
};

static int add_kernel(void *arg, const struct guard_cidr *net, const struct guard_net *value)
{
	struct rows *r = arg;
	const struct list_entry *e = lists_find(r->lists, net);

	if (!e)
		return 0;
	r->v[e - r->lists->deny].packets = value->packets;
	r->v[e - r->lists->deny].bytes = value->bytes;
	return 0;
}

/* NULL: memory is short. */
static struct row *rows_new(const struct admin *a, const struct lists *l)
{
	struct rows r = {.lists = l, .v = calloc((size_t)l->n_deny + 1, sizeof *r.v)};

	for (uint32_t i = 0; r.v && i < l->n_deny; i++)
		r.v[i].entry = &l->deny[i];
	if (r.v && a->env->guard)
		guard_nets_each_denied(a->env->guard, add_kernel, &r);
	return r.v;
}

static int most_first(const void *x, const void *y)
{
	const struct row *a = x, *b = y;

	if (a->packets != b->packets)
		return a->packets > b->packets ? -1 : 1;
	return (a->entry > b->entry) - (a->entry < b->entry);
}

static struct ban_net net_of(const struct guard_cidr *c)
{
	struct ban_net n = {.family = c->addr.family, .prefix_len = c->prefix_len};

	memcpy(n.bytes, c->addr.bytes, sizeof n.bytes);
	return n;
}

static json_t *row_json(const struct admin *a, const struct row *r)
{
	struct ban_net net = net_of(&r->entry->net);
	char text[API_NET_MAX];
	json_t *j = json_pack("{s:s, s:o, s:o, s:o}", "address", api_json_net(&net, text), "reason",
			      api_json_text(r->entry->source->reason), "rule_id",
			      api_json_rule_id(r->entry->source->id), "until",
			      api_json_time(r->entry->until_wall_ms));

	if (a->env->guard)
		json_object_set_new(j, "dropped",
				    json_pack("{s:I, s:I}", "packets", (json_int_t)r->packets,
					      "bytes", (json_int_t)r->bytes));
	return j;
}

static bool is_in_force(const struct list_entry *e)
{
	return !e->until_wall_ms || e->until_wall_ms > clock_wall_ms();
}

static json_t *allowed_json(const struct admin *a, const struct lists *l)
{
	static const char *const why[] = {
		[BAN_EXEMPT_OWN] = "own",
		[BAN_EXEMPT_UPSTREAM] = "upstream",
		[BAN_EXEMPT_ADMIN] = "admin",
	};
	struct ban_exempt *exempt = calloc(BAN_EXEMPT_MAX, sizeof *exempt);
	uint32_t n = exempt ? ban_exempt_list(a->env->bans, exempt) : 0;
	json_t *list = json_array();
	char text[API_NET_MAX];

	for (uint32_t i = 0; l && i < l->n_allow && i < ADMIN_BANS_MAX; i++) {
		struct ban_net net = net_of(&l->allow[i]);

		json_array_append_new(list,
				      json_pack("{s:s, s:s}", "address", api_json_net(&net, text),
						"why", "configured"));
	}
	for (uint32_t i = 0; i < n; i++)
		json_array_append_new(list, json_pack("{s:s, s:s}", "address",
						      api_json_net(&exempt[i].net, text), "why",
						      why[exempt[i].why]));
	free(exempt);
	return list;
}

enum MHD_Result api_denied(struct request *rq)
{
	const struct admin *a = rq->admin;
	const struct lists *l = lists_get(a->env->config);
	struct row *rows = l ? rows_new(a, l) : NULL;
	json_t *list;
	uint64_t limit, n = 0;

	if (serve_query_num(rq, "limit", 1000, ADMIN_BANS_MAX, &limit)) {
		free(rows);
		return serve_error(rq, 400, "bad_request",
				   "\"limit\" must be a number from 1 to %d", ADMIN_BANS_MAX);
	}
	list = json_array();
	if (rows)
		qsort(rows, l->n_deny, sizeof *rows, most_first);
	for (uint32_t i = 0; rows && i < l->n_deny && n < limit; i++) {
		if (!is_in_force(rows[i].entry))
			continue;
		json_array_append_new(list, row_json(a, &rows[i]));
		n++;
	}
	free(rows);
	return serve_json(rq, 200,
			  json_pack("{s:I, s:o, s:o}", "total", (json_int_t)(l ? l->n_deny : 0),
				    "denied", list, "allowed", allowed_json(a, l)));
}

void api_lists_rules(const struct admin *a, json_t *list)
{
	const struct lists *l = lists_get(a->env->config);
	struct row *rows = l && l->sources ? rows_new(a, l) : NULL;

	for (const struct list_source *s = l ? l->sources : NULL; s; s = s->next) {
		uint64_t packets = 0, bytes = 0;

		for (uint32_t i = 0; rows && i < l->n_deny; i++) {
			if (rows[i].entry->source != s)
				continue;
			packets += rows[i].packets;
			bytes += rows[i].bytes;
		}
		json_array_append_new(
			list, json_pack("{s:s, s:o, s:o, s:o, s:o, s:b, s:I, s:{s:I, s:I}}", "kind",
					"deny", "rule_id", api_json_rule_id(s->id), "text",
					api_json_text(s->text), "reason", api_json_text(s->reason),
					"until", api_json_time(s->until_wall_ms), "dry_run", 0,
					"networks", (json_int_t)s->n, "dropped", "packets",
					(json_int_t)packets, "bytes", (json_int_t)bytes));
	}
	free(rows);
}
