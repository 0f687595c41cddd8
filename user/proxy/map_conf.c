/* SPDX-License-Identifier: BSD-2-Clause */
/* `map`: its lines as a table of names and a list of patterns, and the variable that looks there when it
 * is asked for. Keeps nothing between requests. */
#include "proxy/map_conf.h"

#include "core/err.h"
#include "policy/route_names.h"
#include "proxy/request.h"
#include "proxy/vars_user.h"

struct map_regex {
	struct map_regex *next;
	const struct vars_regex *re;
	const struct tmpl *value;
};

/* MOD_MAP's struct in a map block. */
struct map {
	struct user_var *var; /* NULL: the block is another module's */
	struct tmpl *source;
	struct route_names names; /* target: struct tmpl */
	struct map_regex *regexes, **regexes_tail;
	const struct tmpl *deflt;
	bool hostnames, is_volatile;
};

/* SOURCE in lower case; names of usual length cost no memory of the request. */
static const struct tmpl *find_name(struct request *r, const struct map *m, struct slice source)
{
	char few[256], *low = source.n <= sizeof few ? few : arena_bytes(&r->arena, source.n);

	for (size_t i = 0; i < source.n; i++)
		low[i] = (char)slice_lower(source.p[i]);
	return route_names_find(&m->names, slice_make(low, source.n));
}

static const struct tmpl *find_regex(struct request *r, const struct map *m, struct slice source)
{
	for (const struct map_regex *x = m->regexes; x; x = x->next) {
		int found = vars_user_match(r, x->re, source);

		if (found > 0)
			return x->value;
		if (found < 0)
			break;
	}
	return NULL;
}

static bool look_up(struct request *r, const void *data, struct slice *out)
{
	const struct map *m = data;
	struct slice source = tmpl_eval(m->source, r, &r->arena);
	const struct tmpl *value;

	if (m->hostnames && source.n && source.p[source.n - 1] == '.')
		source.n--;
	value = find_name(r, m, source);
	if (!value && source.n)
		value = find_regex(r, m, source);
	if (!value)
		value = m->deflt;
	*out = value ? tmpl_eval(value, r, &r->arena) : SLICE("");
	return true;
}

static int set_map(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		   const struct conf_row *row)
{
	struct map *m = mod;

	m->var = vars_user_add(c, n, n->args[1]);
	if (!m->var)
		return -SL_EINVAL;
	m->regexes_tail = &m->regexes;
	route_names_init(&m->names, &c->arena);
	return conf_tmpl(c, n, n->args[0], &m->source);
}

static int add_regex(struct conf *c, struct map *m, const struct conf_node *n,
		     const struct tmpl *value)
{
	bool caseless = slice_starts(n->name, SLICE("~*"));
	struct map_regex *x = arena_zalloc(&c->arena, sizeof *x);

	x->value = value;
	x->re = vars_user_regex(c, n, slice_skip(n->name, caseless ? 2 : 1), caseless);
	if (!x->re)
		return -SL_EINVAL;
	*m->regexes_tail = x;
	m->regexes_tail = &x->next;
	return 0;
}

static int add_line(struct conf *c, struct map *m, const struct conf_node *n, struct tmpl *value)
{
	struct slice key = n->name;

	if (slice_eq(key, SLICE("default"))) {
		if (m->deflt)
			return conf_error(c, n, "duplicate default map parameter");
		m->deflt = value;
		return 0;
	}
	if (slice_starts(key, SLICE("~")))
		return add_regex(c, m, n, value);
	if (slice_starts(key, SLICE("\\")))
		key = slice_skip(key, 1);
	switch (route_names_add(&m->names, key, m->hostnames, value)) {
	case 0:
		return 0;
	case -SL_EEXIST:
		return conf_error(c, n, "conflicting parameter \"%.*s\"", SLICE_FMT(key));
	default:
		return conf_error(c, n, "invalid hostname or wildcard \"%.*s\"", SLICE_FMT(key));
	}
}

static int free_line(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n)
{
	struct map *m = mod;
	struct tmpl *value;

	if (n->n_args == 0 && slice_eq(n->name, SLICE("hostnames"))) {
		m->hostnames = true;
		return 0;
	}
	if (n->n_args == 0 && slice_eq(n->name, SLICE("volatile"))) {
		m->is_volatile = true;
		return 0;
	}
	if (n->n_args != 1)
		return conf_error(c, n, "invalid number of the map parameters");
	if (conf_tmpl(c, n, n->args[0], &value))
		return -SL_EINVAL;
	return add_line(c, m, n, value);
}

static int finish(struct conf *c, struct conf_block *b, void *mod)
{
	struct map *m = mod;

	if (m->var)
		vars_user_compute(m->var, look_up, m, m->is_volatile);
	return 0;
}

static const struct conf_row rows[] = {
	{.name = "map",
	 .contexts = CTX_HTTP,
	 .args_min = 2,
	 .args_max = 2,
	 .type = CONF_BLOCK,
	 .block_ctx = CTX_MAP,
	 .flags = CONF_MULTI,
	 .set = set_map,
	 .help = "TEXT $NAME -- $NAME is the value behind the line that TEXT matches: `KEY VALUE` (in any case), "
		 "`~PATTERN VALUE`, `~*PATTERN VALUE` (in any case), `default VALUE`; \"\\\" before a KEY takes "
		 "its meaning away; `hostnames`: keys may be *.wildcards, .both, wild.cards.*; `volatile`: found "
		 "anew each time; `include FILE`"},
};

const struct conf_module map_module = {
	.name = "map",
	.rows = rows,
	.n_rows = sizeof rows / sizeof rows[0],
	.contexts = CTX_MAP,
	.bytes = sizeof(struct map),
	.free_line = free_line,
	.finish = finish,
};
