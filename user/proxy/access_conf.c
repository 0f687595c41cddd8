/* SPDX-License-Identifier: BSD-2-Clause */
/* The rows of module MOD_ACCESS. Lets nobody in and keeps nobody out: access.c does. */
#include "proxy/access_conf.h"

#include "core/err.h"
#include "proxy/vars_user.h"

/* The rows `allow` and `deny`. */
static int set_rule(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		    const struct conf_row *row)
{
	struct entry_scope *s = mod;
	struct access_rule *rule = arena_zalloc(&c->arena, sizeof *rule), **at = &s->rules;

	if (access_parse(n->args[0], rule))
		return conf_error(c, n, "invalid parameter \"%.*s\"", SLICE_FMT(n->args[0]));
	if (cidr_has_host_bits(n->args[0]))
		conf_warn(c, n, "low address bits of %.*s are meaningless", SLICE_FMT(n->args[0]));
	rule->deny = slice_eq(n->name, SLICE("deny"));
	while (*at)
		at = &(*at)->next;
	*at = rule;
	return 0;
}

/* A path that does not begin with a variable is made absolute here. */
static int set_user_file(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
			 const struct conf_row *row)
{
	struct entry_scope *s = mod;
	struct slice path = n->args[0];

	if (s->user_file)
		return conf_error(c, n, "\"%.*s\" directive is duplicate", SLICE_FMT(n->name));
	if (path.n && path.p[0] != '$')
		path = slice_cstr(conf_path(c, path));
	return conf_tmpl(c, n, path, &s->user_file);
}

static int set_request(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		       const struct conf_row *row)
{
	struct entry_scope *s = mod;

	/* Empty, but set: `off` is not replaced by what is outside. */
	if (slice_eq(s->request, SLICE("off")))
		s->request = SLICE("");
	return 0;
}

static int set_set(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		   const struct conf_row *row)
{
	struct entry_scope *s = mod;
	struct access_set *set = arena_zalloc(&c->arena, sizeof *set), **at = &s->sets;
	struct user_var *v = vars_user_add(c, n, n->args[0]);

	if (!v)
		return -SL_EINVAL;
	vars_user_assigned(v);
	set->var = v;
	while (*at)
		at = &(*at)->next;
	*at = set;
	return conf_tmpl(c, n, n->args[1], &set->value);
}

static const struct conf_value satisfy_values[] = {
	{"all", SATISFY_ALL}, {"any", SATISFY_ANY}, {NULL, 0}};

#define AT(field) offsetof(struct entry_scope, field)
#define ROW(dname, ctx, n, ...) \
	{ \
		.name = dname, .contexts = ctx, .args_min = n, .args_max = n, __VA_ARGS__ \
	}

static const struct conf_row rows[] = {
	ROW("allow", CTX_SCOPE | CTX_LIMIT_EXCEPT, 1, .type = CONF_CUSTOM, .offset = AT(rules),
	    .flags = CONF_MULTI | CONF_INHERIT, .set = set_rule,
	    .help = "ADDRESS | CIDR | unix: | all -- these clients may; the first rule that names a "
		    "client decides"),
	ROW("deny", CTX_SCOPE | CTX_LIMIT_EXCEPT, 1, .type = CONF_CUSTOM, .offset = AT(rules),
	    .flags = CONF_MULTI | CONF_INHERIT, .set = set_rule,
	    .help = "ADDRESS | CIDR | unix: | all -- these clients get 403"),
	ROW("satisfy", CTX_SCOPE, 1, .type = CONF_ENUM, .offset = AT(satisfy),
	    .values = satisfy_values, .deflt = "all",
	    .help = "any: one of allow, auth_basic and auth_request is enough"),
	ROW("auth_delay", CTX_SCOPE, 1, .type = CONF_MSEC, .offset = AT(delay_ms), .deflt = "0",
	    .help = "a 401 waits this long"),
	ROW("auth_basic", CTX_SCOPE | CTX_LIMIT_EXCEPT, 1, .type = CONF_TMPL, .offset = AT(realm),
	    .help = "REALM | off -- asks for a user and a password"),
	ROW("auth_basic_user_file", CTX_SCOPE | CTX_LIMIT_EXCEPT, 1, .type = CONF_CUSTOM,
	    .offset = AT(user_file), .flags = CONF_INHERIT, .set = set_user_file,
	    .help = "FILE -- lines of USER:PASSWORD: crypt(), $apr1$, {SHA}, {SSHA} or {PLAIN}"),
	ROW("auth_request", CTX_SCOPE, 1, .type = CONF_STR, .offset = AT(request),
	    .set = set_request,
	    .help = "PATH | off -- a request of its own to PATH decides: 2xx lets in, 401 and 403 "
		    "are passed on"),
	ROW("auth_request_set", CTX_SCOPE, 2, .type = CONF_CUSTOM, .offset = AT(sets),
	    .flags = CONF_MULTI | CONF_INHERIT, .set = set_set,
	    .help = "$VARIABLE VALUE -- a variable from what auth_request answered"),
	ROW("log_subrequest", CTX_SCOPE, 1, .type = CONF_FLAG, .offset = AT(log_subrequest),
	    .deflt = "off", .help = "requests of auth_request have lines in the access log, too"),
};

const struct conf_module access_module = {
	.name = "access",
	.rows = rows,
	.n_rows = sizeof rows / sizeof rows[0],
	.contexts = CTX_SCOPE,
	.bytes = sizeof(struct entry_scope),
};
