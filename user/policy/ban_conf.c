/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the reading of `ban` lines, their inheritance and their ids. Bans nobody. */
#include "policy/ban_conf.h"

#include <stdio.h>

#include "core/err.h"
#include "core/hash.h"
#include "core/num.h"

static const struct conf_block *http_of(const struct conf *c)
{
	for (const struct conf_block *b = c && c->main ? c->main->first_child : NULL; b;
	     b = b->next)
		if (b->ctx == CTX_HTTP)
			return b;
	return NULL;
}

static struct ban_scope *http_scope(const struct conf *c)
{
	const struct conf_block *b = http_of(c);

	return b ? b->mod[MOD_BAN] : NULL;
}

static int bad_param(struct conf *c, const struct conf_node *n, struct slice arg)
{
	return conf_error(c, n, "invalid parameter \"%.*s\"", SLICE_FMT(arg));
}

static int parse_statuses(struct slice s, struct ban_rule *r)
{
	r->on = BAN_ON_STATUS;
	for (;;) {
		ptrdiff_t comma = slice_find(s, ',');
		struct slice one = comma < 0 ? s : slice_make(s.p, (size_t)comma);
		uint64_t v;

		if (num_u63(one, &v) || v < 400 || v > 599)
			return -SL_EINVAL;
		if (ban_rule_has_status(r, (unsigned)v))
			return -SL_EINVAL;
		if (r->n_status == BAN_STATUS_MAX)
			return -SL_ELIMIT;
		r->status[r->n_status++] = (uint16_t)v;
		if (comma < 0)
			return 0;
		s = slice_skip(s, (size_t)comma + 1);
	}
}

static const char *const kinds[] = {
	[BAN_ON_LIMIT_REQ] = "limit_req",     [BAN_ON_BAD_REQUEST] = "bad_request",
	[BAN_ON_LIMIT_CONN] = "limit_conn",   [BAN_ON_STATUS] = "status",
	[BAN_ON_H2_ABUSE] = "h2_abuse",	      [BAN_ON_TLS_HANDSHAKE] = "tls_handshake",
	[BAN_ON_SLOW_CLIENT] = "slow_client", [BAN_ON_AUTH] = "auth",
};
enum { N_KINDS = sizeof kinds / sizeof kinds[0] };

const char *ban_conf_on_name(enum ban_on on)
{
	return kinds[on];
}

static int parse_on(struct slice v, struct ban_rule *r)
{
	if (r->on)
		return -SL_EINVAL;
	if (slice_starts(v, SLICE("status:")))
		return parse_statuses(slice_skip(v, 7), r);
	for (int i = BAN_ON_LIMIT_REQ; i < N_KINDS; i++)
		if (i != BAN_ON_STATUS && slice_eq(v, slice_cstr(kinds[i])))
			r->on = (enum ban_on)i;
	return r->on ? 0 : -SL_EINVAL;
}

/* "24", "64" or both: up to 32 it is of IPv4, above of IPv6. */
static int parse_prefix(struct slice s, struct ban_rule *r)
{
	for (;;) {
		ptrdiff_t comma = slice_find(s, ',');
		struct slice one = comma < 0 ? s : slice_make(s.p, (size_t)comma);
		uint64_t v;

		if (num_u63(one, &v) || v < BAN_PREFIX_V4_MIN || v > 128)
			return -SL_EINVAL;
		if (v <= 32 ? r->prefix_v4 : r->prefix_v6)
			return -SL_EINVAL;
		if (v <= 32)
			r->prefix_v4 = (uint8_t)v;
		else
			r->prefix_v6 = (uint8_t)v;
		if (comma < 0)
			return 0;
		s = slice_skip(s, (size_t)comma + 1);
	}
}

static int parse_time(struct slice v, uint64_t *out, int64_t max_ms)
{
	int64_t ms;

	if (*out || conf_parse_msec(v, &ms) < 0 || ms <= 0 || (max_ms && ms > max_ms))
		return -SL_EINVAL;
	*out = (uint64_t)ms;
	return 0;
}

static int parse_param(struct slice arg, struct ban_rule *r)
{
	struct slice v;
	uint64_t n;

	if (slice_eq(arg, SLICE("dry_run")) && !r->dry_run) {
		r->dry_run = true;
		return 0;
	}
	if (conf_param(arg, "on", &v))
		return parse_on(v, r);
	if (conf_param(arg, "prefix", &v))
		return parse_prefix(v, r);
	if (conf_param(arg, "max", &v))
		return parse_time(v, &r->max_ms, 0);
	if (conf_param(arg, "within", &v))
		return parse_time(v, &r->within_ms, BAN_WITHIN_MAX_MS);
	if (conf_param(arg, "for", &v))
		return parse_time(v, &r->for_ms, 0);
	if (!conf_param(arg, "after", &v) || r->after || num_u63(v, &n) || n == 0 ||
	    n > BAN_AFTER_MAX)
		return -SL_EINVAL;
	r->after = (uint32_t)n;
	return 0;
}

static const char *missing_of(const struct ban_rule *r)
{
	if (!r->on)
		return "on";
	if (!r->after)
		return "after";
	if (!r->within_ms)
		return "within";
	return r->for_ms ? NULL : "for";
}

/* In one order and with one way to write numbers, whatever the file's: what stays the same rule
 * keeps its id. */
static void write_text(struct conf *c, struct ban_rule *r, const struct conf_node *n)
{
	static const char *const order[] = {"on", "after", "within", "for", "max", "prefix"};
	struct slice text = SLICE(""), v;

	for (size_t i = 0; i < sizeof order / sizeof order[0]; i++)
		for (int k = 0; k < n->n_args; k++)
			if (conf_param(n->args[k], order[i], &v))
				text = arena_printf(&c->arena, "%.*s%s%s=%.*s", SLICE_FMT(text),
						    text.n ? " " : "", order[i], SLICE_FMT(v));
	r->text = text.p;
}

static void write_scope(struct conf *c, struct ban_rule *r, const struct conf_block *b)
{
	const struct conf_node *n = b->node;
	struct slice s;

	if (b->ctx == CTX_HTTP) {
		r->scope = "http";
		return;
	}
	s = arena_dup(&c->arena, n->name);
	for (int i = 0; i < n->n_args; i++)
		s = arena_printf(&c->arena, "%.*s %.*s", SLICE_FMT(s), SLICE_FMT(n->args[i]));
	r->scope = arena_printf(&c->arena, "%.*s in %s:%u", SLICE_FMT(s), n->file, n->line).p;
}

static int set_ban(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		   const struct conf_row *row)
{
	struct ban_scope *scope = mod, *http = http_scope(c);
	struct ban_rule **at, *r;
	const char *missing;

	if (n->n_args == 1 && slice_eq(n->args[0], SLICE("off"))) {
		if (scope->rules || scope->off)
			return conf_error(c, n, "\"ban off\" stands beside another \"ban\"");
		scope->off = true;
		return 0;
	}
	if (scope->off)
		return conf_error(c, n, "\"ban off\" stands beside another \"ban\"");
	r = arena_zalloc(&c->arena, sizeof *r);
	for (int i = 0; i < n->n_args; i++)
		if (parse_param(n->args[i], r) < 0)
			return bad_param(c, n, n->args[i]);
	missing = missing_of(r);
	if (missing)
		return conf_error(c, n, "\"ban\" must have \"%s\" parameter", missing);
	if (r->max_ms && r->max_ms < r->for_ms)
		return conf_error(c, n, "\"max\" of \"ban\" is less than its \"for\"");
	if (http->n_all == BAN_RULES_MAX)
		return conf_error(c, n, "more than %d \"ban\" directives", BAN_RULES_MAX);
	r->node = n;
	r->block = b;
	write_text(c, r, n);
	write_scope(c, r, b);
	for (at = &scope->rules; *at; at = &(*at)->next)
		;
	*at = r;
	scope->on |= 1u << r->on;
	for (at = &http->all; *at; at = &(*at)->next_all)
		;
	*at = r;
	http->n_all++;
	return 0;
}

static int inherit_ban(struct conf *c, struct conf_block *b, void *mod, const void *parent)
{
	const struct ban_scope *outer = parent;
	struct ban_scope *scope = mod;

	if (outer && !scope->rules && !scope->off) {
		scope->rules = outer->rules;
		scope->on = outer->on;
	}
	return 0;
}

/* Where a rule stands, in words that stay the same when lines are added above: the number of the
 * server within http, and the locations' texts. */
static struct slice place_of(struct conf *c, const struct conf_block *b)
{
	struct slice outer, own = SLICE("");
	unsigned number = 0;

	if (b->ctx == CTX_HTTP)
		return SLICE("http");
	outer = place_of(c, b->parent);
	for (const struct conf_block *s = b->parent->first_child; s != b; s = s->next)
		number += s->ctx == CTX_SERVER;
	if (b->ctx == CTX_SERVER)
		return arena_printf(&c->arena, "%.*s/server%u", SLICE_FMT(outer), number);
	for (int i = 0; i < b->node->n_args; i++)
		own = arena_printf(&c->arena, "%.*s %.*s", SLICE_FMT(own),
				   SLICE_FMT(b->node->args[i]));
	return arena_printf(&c->arena, "%.*s/location%.*s", SLICE_FMT(outer), SLICE_FMT(own));
}

static bool is_taken(const struct ban_scope *http, const struct ban_rule *r, uint32_t id)
{
	for (const struct ban_rule *o = http->all; o != r; o = o->next_all)
		if (o->id == id)
			return true;
	return false;
}

/* Two rules of one id (by chance, or the same line twice): the later one hashes again, in the
 * order of the file. A rule that is no longer on trial keeps its id. */
static int finish_ban(struct conf *c, struct conf_block *b, void *mod)
{
	struct ban_scope *http = mod;

	if (b->ctx != CTX_HTTP)
		return 0;
	for (struct ban_rule *r = http->all; r; r = r->next_all) {
		struct slice place = place_of(c, r->block);
		unsigned nth = 0;

		do
			r->id = hash_rule_id(place, slice_cstr(r->text), nth++);
		while (is_taken(http, r, r->id));
		if (r->dry_run)
			r->text = arena_printf(&c->arena, "%s dry_run", r->text).p;
	}
	return 0;
}

const struct ban_rule *ban_conf_rules(const struct conf *c)
{
	const struct ban_scope *http = http_scope(c);

	return http ? http->all : NULL;
}

const struct ban_rule *ban_conf_rule(const struct conf *c, uint32_t id)
{
	for (const struct ban_rule *r = ban_conf_rules(c); r; r = r->next_all)
		if (r->id == id)
			return r;
	return NULL;
}

static const struct conf_row rows[] = {
	{
		.name = "ban",
		.contexts = CTX_SCOPE,
		.args_min = 1,
		.args_max = 7,
		.type = CONF_CUSTOM,
		.flags = CONF_MULTI,
		.set = set_ban,
		.help = "on=limit_req|limit_conn|status:CODE[,CODE...]|bad_request|h2_abuse|tls_handshake|"
			"slow_client|auth after=N within=TIME for=TIME [max=TIME] [prefix=BITS[,BITS]] "
			"[dry_run] | off -- bans a source that offends so often; see security.md",
	},
};

const struct conf_module ban_module = {
	.name = "ban",
	.rows = rows,
	.n_rows = sizeof rows / sizeof rows[0],
	.contexts = CTX_SCOPE,
	.bytes = sizeof(struct ban_scope),
	.inherit = inherit_ban,
	.finish = finish_ban,
};
