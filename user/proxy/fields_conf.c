/* SPDX-License-Identifier: BSD-2-Clause */
/* The rows of the fields module, and proxy_redirect's default, which nginx makes of proxy_pass. Rewrites
 * nothing. */
#include "core/err.h"
#include "proxy/fields.h"
#include "proxy/http_conf.h"
#include "proxy/proxy_conf.h"
#include "proxy/vars_user.h"

static struct fields_rules **rules_at(void *mod, const struct conf_row *row)
{
	return (struct fields_rules **)((char *)mod + row->offset);
}

static struct fields_rules *rules_of(struct conf *c, void *mod, const struct conf_row *row)
{
	struct fields_rules **at = rules_at(mod, row);

	if (!*at) {
		*at = arena_zalloc(&c->arena, sizeof **at);
		(*at)->tail = &(*at)->first;
	}
	return *at;
}

static struct fields_rule *add_rule(struct conf *c, void *mod, const struct conf_row *row)
{
	struct fields_rules *rules = rules_of(c, mod, row);
	struct fields_rule *l = arena_zalloc(&c->arena, sizeof *l);

	*rules->tail = l;
	rules->tail = &l->next;
	return l;
}

/* `off` stands alone, as in nginx. */
static int set_off(struct conf *c, void *mod, const struct conf_node *n, const struct conf_row *row)
{
	if (*rules_at(mod, row))
		return conf_error(c, n, "\"%s\" directive is duplicate", row->name);
	rules_of(c, mod, row)->off = true;
	return 0;
}

static bool is_off(void *mod, const struct conf_row *row)
{
	return *rules_at(mod, row) && (*rules_at(mod, row))->off;
}

/* "~PATTERN" or "~*PATTERN" (where ALWAYS_CASELESS does not say so of all), or text with variables. */
static int set_pattern(struct conf *c, const struct conf_node *n, struct slice text,
		       bool always_caseless, struct fields_rule *l)
{
	bool caseless = always_caseless;

	if (!slice_starts(text, SLICE("~")))
		return conf_tmpl(c, n, text, &l->pattern);
	text = slice_skip(text, 1);
	if (!always_caseless && slice_starts(text, SLICE("*"))) {
		caseless = true;
		text = slice_skip(text, 1);
	}
	l->re = vars_user_regex(c, n, text, caseless);
	return l->re ? 0 : -SL_EINVAL;
}

static struct tmpl *literal(struct conf *c, struct slice text)
{
	struct tmpl *t = arena_zalloc(&c->arena, sizeof *t);

	t->source = text;
	t->constant = true;
	return t;
}

/* What proxy_pass makes of a path, turned round: without a URI host and path are the client's own. */
static void default_redirect(struct conf *c, const struct conf_block *b, const struct proxy_pass *p,
			     struct fields_rule *l)
{
	struct slice url = p->node->args[0];
	const struct http_scope *h = b->mod[MOD_HTTP];

	l->pattern =
		literal(c, p->has_uri ? url : arena_printf(&c->arena, "%.*s/", SLICE_FMT(url)));
	l->replacement = literal(c, p->has_uri ? h->loc_path : SLICE("/"));
}

static int set_default(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		       const struct conf_row *row)
{
	const struct proxy_scope *p = b->mod[MOD_PROXY];

	if (!p || !p->pass)
		return conf_error(c, n,
				  "\"proxy_redirect default\" should be placed after the "
				  "\"proxy_pass\" directive");
	if (p->pass->url)
		return conf_error(c, n,
				  "\"proxy_redirect default\" cannot be used with "
				  "\"proxy_pass\" directive with variables");
	default_redirect(c, b, p->pass, add_rule(c, mod, row));
	return 0;
}

static int set_redirect(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
			const struct conf_row *row)
{
	struct fields_rule *l;
	int r;

	if (is_off(mod, row))
		return conf_error(c, n, "\"proxy_redirect\" directive is duplicate");
	if (n->n_args == 1 && slice_eq(n->args[0], SLICE("off")))
		return set_off(c, mod, n, row);
	if (n->n_args == 1 && slice_eq(n->args[0], SLICE("default")))
		return set_default(c, b, mod, n, row);
	if (n->n_args == 1)
		return conf_error(c, n, "invalid parameter \"%.*s\"", SLICE_FMT(n->args[0]));
	l = add_rule(c, mod, row);
	r = set_pattern(c, n, n->args[0], false, l);
	return r ? r : conf_tmpl(c, n, n->args[1], &l->replacement);
}

/* proxy_cookie_domain and proxy_cookie_path. */
static int set_cookie(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		      const struct conf_row *row)
{
	bool is_domain = row->offset == offsetof(struct fields_scope, cookie_domain);
	struct slice pattern = n->args[0], to = n->n_args > 1 ? n->args[1] : SLICE("");
	struct fields_rule *l;
	int r;

	if (is_off(mod, row))
		return conf_error(c, n, "\"%s\" directive is duplicate", row->name);
	if (n->n_args == 1 && slice_eq(pattern, SLICE("off")))
		return set_off(c, mod, n, row);
	if (n->n_args == 1)
		return conf_error(c, n, "invalid parameter \"%.*s\"", SLICE_FMT(pattern));
	if (is_domain && slice_starts(pattern, SLICE(".")))
		pattern = slice_skip(pattern, 1);
	if (is_domain && !slice_starts(pattern, SLICE("~")) && slice_starts(to, SLICE(".")))
		to = slice_skip(to, 1);
	l = add_rule(c, mod, row);
	r = set_pattern(c, n, pattern, is_domain, l);
	return r ? r : conf_tmpl(c, n, to, &l->replacement);
}

static int set_flags(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		     const struct conf_row *row)
{
	struct fields_rule *l;
	int r;

	if (is_off(mod, row))
		return conf_error(c, n, "\"%s\" directive is duplicate", row->name);
	if (n->n_args == 1 && slice_eq(n->args[0], SLICE("off")))
		return set_off(c, mod, n, row);
	if (n->n_args == 1)
		return conf_error_hint(c, n, "\"off\", or a cookie and its flags",
				       "invalid parameter \"%.*s\"", SLICE_FMT(n->args[0]));
	l = add_rule(c, mod, row);
	r = set_pattern(c, n, n->args[0], true, l);
	for (int i = 1; r == 0 && i < n->n_args; i++) {
		r = conf_tmpl(c, n, n->args[i], &l->flags[l->n_flags]);
		if (r == 0 && l->flags[l->n_flags++]->constant && !fields_cookie_flag(n->args[i]))
			return conf_error(c, n, "invalid parameter \"%.*s\"",
					  SLICE_FMT(n->args[i]));
	}
	return r;
}

static int set_bind(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		    const struct conf_row *row)
{
	struct fields_scope *s = mod;
	struct fields_bind *bind;

	if (s->bind)
		return conf_error(c, n, "\"proxy_bind\" directive is duplicate");
	bind = s->bind = arena_zalloc(&c->arena, sizeof *bind);
	if (n->n_args == 2)
		return conf_error(c, n,
				  slice_eq(n->args[1], SLICE("transparent"))
					  ? "parameter \"transparent\" is not supported: workers "
					    "have no capabilities"
					  : "invalid parameter \"%.*s\"",
				  SLICE_FMT(n->args[1]));
	bind->off = slice_eq(n->args[0], SLICE("off"));
	if (bind->off)
		return 0;
	if (slice_find(n->args[0], '$') >= 0)
		return conf_tmpl(c, n, n->args[0], &bind->text);
	bind->is_fixed = true;
	if (addr_parse(n->args[0], 0, &bind->addr))
		return conf_error(c, n, "invalid address \"%.*s\"", SLICE_FMT(n->args[0]));
	return 0;
}

static int inherit(struct conf *c, struct conf_block *b, void *mod, const void *parent)
{
	struct fields_scope *s = mod;

	if (s->ignore == CONF_UNSET)
		s->ignore = 0;
	return 0;
}

/* Where nothing is said or inherited, and proxy_pass is a plain URL. */
static int finish(struct conf *c, struct conf_block *b, void *mod)
{
	const struct proxy_scope *p = b->mod[MOD_PROXY];
	struct fields_scope *s = mod;
	struct fields_rule *l;

	if (s->redirect || !p || !p->pass || p->pass->url)
		return 0;
	s->redirect = arena_zalloc(&c->arena, sizeof *s->redirect);
	l = s->redirect->first = arena_zalloc(&c->arena, sizeof *l);
	default_redirect(c, b, p->pass, l);
	return 0;
}

static const struct conf_value ignorable[] = {
	{"X-Accel-Redirect", IGNORE_REDIRECT},
	{"X-Accel-Buffering", IGNORE_BUFFERING},
	{"X-Accel-Limit-Rate", IGNORE_LIMIT_RATE},
	{"X-Accel-Expires", IGNORE_OF_CACHES},
	{"X-Accel-Charset", IGNORE_OF_CACHES},
	{"Expires", IGNORE_OF_CACHES},
	{"Cache-Control", IGNORE_OF_CACHES},
	{"Set-Cookie", IGNORE_OF_CACHES},
	{"Vary", IGNORE_OF_CACHES},
	{NULL, 0},
};

static const struct conf_value proxy_protocols[] = {
	{"off", FIELDS_PROXY_OFF},
	{"on", FIELDS_PROXY_V1},
	{"v1", FIELDS_PROXY_V1},
	{"v2", FIELDS_PROXY_V2},
	{NULL, 0},
};

#define AT(field) offsetof(struct fields_scope, field)
#define RULES(dname, field, max, fn, text) \
	{ \
		.name = dname, .contexts = CTX_SCOPE, .args_min = 1, .args_max = max, \
		.type = CONF_CUSTOM, .offset = AT(field), .flags = CONF_MULTI | CONF_INHERIT, \
		.set = fn, .help = text \
	}
#define TYPED(dname, t, field, dflt, text) \
	{ \
		.name = dname, .contexts = CTX_SCOPE, .args_min = 1, .args_max = 1, .type = t, \
		.offset = AT(field), .deflt = dflt, .help = text \
	}

static const struct conf_row rows[] = {
	RULES("proxy_redirect", redirect, 2, set_redirect,
	      "default | off | [~|~*]TEXT REPLACEMENT -- what a Location or Refresh of an upstream "
	      "begins with, and what takes its place; default: the URL of proxy_pass, by the location"),
	RULES("proxy_cookie_domain", cookie_domain, 2, set_cookie,
	      "off | [~]DOMAIN REPLACEMENT -- changes the domain attribute in Set-Cookie"),
	RULES("proxy_cookie_path", cookie_path, 2, set_cookie,
	      "off | [~|~*]PATH REPLACEMENT -- changes what the path attribute in Set-Cookie begins with"),
	RULES("proxy_cookie_flags", cookie_flags, 1 + FIELDS_COOKIE_FLAGS_MAX, set_flags,
	      "off | [~]COOKIE [secure|nosecure|httponly|nohttponly|samesite=strict|lax|none|"
	      "nosamesite]... -- sets or takes away flags of a cookie"),
	TYPED("proxy_method", CONF_TMPL, method, NULL,
	      "the method of requests to the upstream, instead of the client's"),
	TYPED("proxy_set_body", CONF_TMPL, body, NULL,
	      "the body of requests to the upstream, instead of the client's"),
	{.name = "proxy_bind",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 2,
	 .type = CONF_CUSTOM,
	 .offset = AT(bind),
	 .flags = CONF_INHERIT,
	 .set = set_bind,
	 .help = "off | ADDRESS[:PORT] -- where connections to upstreams come from; variables are "
		 "allowed"},
	{.name = "proxy_ignore_headers",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = -1,
	 .type = CONF_BITS,
	 .offset = AT(ignore),
	 .values = ignorable,
	 .help = "fields of an upstream's answer that sluice does not act upon"},
	TYPED("proxy_intercept_errors", CONF_FLAG, intercept_errors, "off",
	      "statuses of an upstream for which there is an error_page are answered by it"),
	TYPED("proxy_socket_keepalive", CONF_FLAG, socket_keepalive, "off",
	      "TCP keepalive on connections to upstreams"),
	{.name = "proxy_protocol",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_ENUM,
	 .offset = AT(proxy_protocol),
	 .values = proxy_protocols,
	 .deflt = "off",
	 .help = "on (or v1), v2: connections to upstreams begin with a PROXY protocol header that "
		 "names the client, and serve one request each"},
};

const struct conf_module fields_module = {
	.name = "fields",
	.rows = rows,
	.n_rows = sizeof rows / sizeof rows[0],
	.contexts = CTX_SCOPE,
	.bytes = sizeof(struct fields_scope),
	.inherit = inherit,
	.finish = finish,
};
