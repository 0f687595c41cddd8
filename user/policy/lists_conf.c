/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the directives of the lists, and how they become one: each network once, by the line that holds
 * longest. */
#include <errno.h>
#include <stdlib.h>

#include "core/err.h"
#include "core/hash.h"
#include "policy/lists.h"

static int set_allow(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		     const struct conf_row *row)
{
	struct lists *l = mod;

	for (int i = 0; i < n->n_args; i++) {
		const char *text = arena_cstr(&c->arena, n->args[i]);
		struct guard_cidr net;

		if (strlen(text) != n->args[i].n || guard_addr_cidr_from_text(&net, text) < 0)
			return conf_error(c, n, "invalid address or network \"%.*s\"",
					  SLICE_FMT(n->args[i]));
		if (l->n_allow == GUARD_ALLOW_MAX)
			return conf_error(c, n, "more than %d networks", GUARD_ALLOW_MAX);
		if (l->n_allow == l->allow_room) {
			uint32_t room = l->allow_room ? 2 * l->allow_room : 8;
			struct guard_cidr *more = arena_alloc(&c->arena, room * sizeof *more);

			if (l->n_allow)
				memcpy(more, l->allow, l->n_allow * sizeof *more);
			l->allow = more;
			l->allow_room = room;
		}
		l->allow[l->n_allow++] = net;
	}
	return 0;
}

static bool is_id_taken(const struct lists *l, uint32_t id)
{
	for (const struct list_source *s = l->sources; s; s = s->next)
		if (s->id == id)
			return true;
	return false;
}

/* until=TIME and reason=TEXT; true: ARG was one of them, *rc says whether it was right. */
static bool take_param(struct conf *c, const struct conf_node *n, struct slice arg,
		       struct list_source *s, int *rc)
{
	struct slice v;

	*rc = 0;
	if (conf_param(arg, "until", &v)) {
		if (s->until_wall_ms || lists_parse_time(v, &s->until_wall_ms))
			*rc = conf_error(c, n, "invalid parameter \"%.*s\"", SLICE_FMT(arg));
		return true;
	}
	if (!conf_param(arg, "reason", &v))
		return false;
	if (s->reason[0] || !v.n || v.n >= LISTS_REASON_MAX)
		*rc = conf_error(c, n, "invalid parameter \"%.*s\"", SLICE_FMT(arg));
	s->reason = arena_cstr(&c->arena, v);
	for (const char *p = s->reason; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*rc = conf_error(c, n, "\"reason\" has control characters");
	return true;
}

/* Reads the parameters; N_PLAIN gets how many arguments are none. NULL after an error. */
static struct list_source *source_new(struct conf *c, struct lists *l, const struct conf_node *n,
				      int *n_plain)
{
	struct list_source *s = arena_zalloc(&c->arena, sizeof *s), **at;
	struct slice text = n->name;
	unsigned nth = 0;
	int rc;

	s->node = n;
	s->reason = "";
	*n_plain = 0;
	for (int i = 0; i < n->n_args; i++) {
		if (take_param(c, n, n->args[i], s, &rc)) {
			if (rc)
				return NULL;
			continue;
		}
		++*n_plain;
		text = arena_printf(&c->arena, "%.*s %.*s", SLICE_FMT(text), SLICE_FMT(n->args[i]));
	}
	s->text = arena_cstr(&c->arena, text);
	do
		s->id = hash_rule_id(SLICE("xdp"), text, nth++);
	while (is_id_taken(l, s->id));
	for (at = &l->sources; *at; at = &(*at)->next)
		;
	*at = s;
	l->n_sources++;
	return s;
}

static bool is_param(struct slice arg)
{
	struct slice v;

	return conf_param(arg, "until", &v) || conf_param(arg, "reason", &v);
}

static int set_deny(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		    const struct conf_row *row)
{
	struct lists *l = mod;
	int n_plain, rc;
	struct list_source *s = source_new(c, l, n, &n_plain);

	if (!s)
		return -SL_EINVAL;
	if (!n_plain)
		return conf_error(c, n, "no address in \"deny\"");
	for (int i = 0; i < n->n_args; i++) {
		if (is_param(n->args[i]))
			continue;
		rc = lists_add(c, l, s, n->args[i], s->until_wall_ms, 0);
		if (rc == -SL_ELIMIT)
			return conf_error(c, n, "more than %d networks", 2 * GUARD_DENY_NET_MAX);
		if (rc)
			return conf_error(c, n, "invalid address or network \"%.*s\"",
					  SLICE_FMT(n->args[i]));
	}
	return 0;
}

static int set_deny_file(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
			 const struct conf_row *row)
{
	struct lists *l = mod;
	char text[160] = "";
	const char *path = NULL;
	unsigned line;
	int n_plain, rc;
	struct list_source *s = source_new(c, l, n, &n_plain);

	if (!s)
		return -SL_EINVAL;
	if (n_plain != 1)
		return conf_error(c, n, "\"deny_file\" takes one file");
	for (int i = 0; i < n->n_args; i++)
		if (!is_param(n->args[i]))
			path = conf_path(c, n->args[i]);
	rc = lists_read_file(c, l, s, path, &line, text, sizeof text);
	if (rc == -SL_ESYS)
		return conf_error(c, n, "cannot read \"%s\" (%d: %s)", path, errno,
				  strerror(errno));
	if (rc)
		return conf_error(c, NULL, "%s in %s:%u", text, path, line);
	return 0;
}

static int by_place(const void *x, const void *y)
{
	const struct list_entry *a = x, *b = y;
	int r = memcmp(&a->net, &b->net, sizeof a->net);

	if (r || a->until_wall_ms == b->until_wall_ms)
		return r;
	/* The one that holds longer first. */
	if (!a->until_wall_ms || !b->until_wall_ms)
		return a->until_wall_ms ? 1 : -1;
	return a->until_wall_ms > b->until_wall_ms ? -1 : 1;
}

static struct cidr plain(const struct guard_cidr *net)
{
	struct cidr c = {.family = net->addr.family, .prefix_len = net->prefix_len};

	memcpy(c.bytes, net->addr.bytes, sizeof c.bytes);
	return c;
}

static void nest(void *inner, const void *outer)
{
	((struct list_entry *)inner)->outer = outer;
}

static int build(struct conf *c, struct conf_block *b, void *mod)
{
	struct lists *l = mod;
	uint32_t n = 0, n_v4 = 0;
	struct cidr net;

	if (l->n_deny)
		qsort(l->deny, l->n_deny, sizeof *l->deny, by_place);
	nets_init(&l->allow_nets, &c->arena);
	nets_init(&l->deny_nets, &c->arena);
	for (uint32_t i = 0; i < l->n_deny; i++) {
		if (n && memcmp(&l->deny[i].net, &l->deny[n - 1].net, sizeof l->deny[i].net) == 0)
			continue;
		l->deny[n++] = l->deny[i];
		n_v4 += l->deny[i].net.addr.family == 4;
	}
	l->n_deny = n;
	if (n_v4 > GUARD_DENY_NET_MAX || n - n_v4 > GUARD_DENY_NET_MAX)
		return conf_error(c, b->node, "more than %d denied networks of one family",
				  GUARD_DENY_NET_MAX);
	for (uint32_t i = 0; i < n; i++) {
		net = plain(&l->deny[i].net);
		((struct list_source *)l->deny[i].source)->n++;
		nets_put(&l->deny_nets, &net, &l->deny[i]);
	}
	for (uint32_t i = 0; i < l->n_allow; i++) {
		net = plain(&l->allow[i]);
		nets_put(&l->allow_nets, &net, &l->allow[i]);
	}
	l->deny_nets.on_nest = nest;
	nets_build(&l->deny_nets);
	nets_build(&l->allow_nets);
	return 0;
}

static const struct conf_row rows[] = {
	{
		.name = "allow",
		.contexts = CTX_XDP,
		.args_min = 1,
		.args_max = -1,
		.type = CONF_CUSTOM,
		.flags = CONF_MULTI,
		.set = set_allow,
		.help = "ADDRESS[/LENGTH]... -- never banned, never dropped",
	},
	{
		.name = "allow_auto",
		.contexts = CTX_XDP,
		.args_min = 1,
		.args_max = 1,
		.type = CONF_FLAG,
		.offset = offsetof(struct lists, allow_auto),
		.deflt = "on",
		.help = "allow this host's own addresses, those of upstream servers, and who used the "
			"admin API",
	},
	{
		.name = "deny",
		.contexts = CTX_XDP,
		.args_min = 1,
		.args_max = -1,
		.type = CONF_CUSTOM,
		.flags = CONF_MULTI,
		.set = set_deny,
		.help = "ADDRESS[/LENGTH]... [until=TIME] [reason=TEXT] -- dropped for as long as the "
			"configuration says so; TIME as 2026-12-01 or 2026-12-01T12:30:00Z",
	},
	{
		.name = "deny_file",
		.contexts = CTX_XDP,
		.args_min = 1,
		.args_max = 3,
		.type = CONF_CUSTOM,
		.flags = CONF_MULTI,
		.set = set_deny_file,
		.help = "FILE [until=TIME] [reason=TEXT] -- the same of each line: ADDRESS[/LENGTH] "
			"[until=TIME], with comments behind # or ;",
	},
};

const struct conf_module lists_module = {
	.name = "lists",
	.rows = rows,
	.n_rows = sizeof rows / sizeof rows[0],
	.contexts = CTX_XDP,
	.bytes = sizeof(struct lists),
	.finish = build,
};
