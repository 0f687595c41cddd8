/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads `set`, `if`, `rewrite`, `break` and `return` into the program of their block. Runs nothing. */
#include "core/err.h"
#include "core/num.h"
#include "proxy/rewrite_impl.h"

static struct rewrite_op *append(struct conf *c, struct rewrite_scope *s, enum rewrite_kind kind)
{
	struct rewrite_op *op = arena_zalloc(&c->arena, sizeof *op);

	op->kind = kind;
	if (!s->tail)
		s->tail = &s->first;
	*s->tail = op;
	s->tail = &op->next;
	return op;
}

static int set_set(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		   const struct conf_row *row)
{
	struct user_var *v = vars_user_add(c, n, n->args[0]);
	struct rewrite_op *op;

	if (!v)
		return -SL_EINVAL;
	vars_user_assigned(v);
	op = append(c, mod, REWRITE_SET);
	op->set.var = v;
	return conf_tmpl(c, n, n->args[1], &op->set.value);
}

static int set_break(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		     const struct conf_row *row)
{
	append(c, mod, REWRITE_BREAK);
	return 0;
}

static bool is_url(struct slice s)
{
	return slice_starts(s, SLICE("http://")) || slice_starts(s, SLICE("https://")) ||
	       slice_starts(s, SLICE("$scheme"));
}

static int set_return(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		      const struct conf_row *row)
{
	struct rewrite_return *ret = &append(c, mod, REWRITE_RETURN)->ret;
	struct slice first = n->args[0];
	uint64_t status;

	if (num_u63(first, &status) == 0 && status <= 999) {
		ret->status = (unsigned)status;
		if (n->n_args == 1)
			return 0;
	} else if (n->n_args == 1 && is_url(first)) {
		ret->status = 302;
	} else {
		return conf_error(c, n, "invalid return code \"%.*s\"", SLICE_FMT(first));
	}
	return conf_tmpl(c, n, n->args[n->n_args - 1], &ret->text);
}

static int rewrite_flag(struct conf *c, const struct conf_node *n, struct rewrite_uri *u)
{
	struct slice flag = n->args[2];

	if (slice_eq(flag, SLICE("last")))
		u->is_last = true;
	else if (slice_eq(flag, SLICE("break")))
		u->is_break = true;
	else if (slice_eq(flag, SLICE("redirect")))
		u->status = 302;
	else if (slice_eq(flag, SLICE("permanent")))
		u->status = 301;
	else
		return conf_error(c, n, "invalid parameter \"%.*s\"", SLICE_FMT(flag));
	return 0;
}

static int set_rewrite(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		       const struct conf_row *row)
{
	struct rewrite_uri *u = &append(c, mod, REWRITE_URI)->uri;
	struct slice to = n->args[1];
	ptrdiff_t question;

	if (!to.n)
		return conf_error(c, n, "empty replacement");
	u->re = vars_user_regex(c, n, n->args[0], false);
	if (!u->re)
		return -SL_EINVAL;
	u->keeps_args = to.p[to.n - 1] != '?';
	to.n -= !u->keeps_args;
	if (is_url(to))
		u->status = 302;
	if (n->n_args == 3 && rewrite_flag(c, n, u))
		return -SL_EINVAL;
	question = slice_find(to, '?');
	u->has_args = question >= 0;
	if (u->status || question < 0)
		return conf_tmpl(c, n, to, &u->path);
	if (conf_tmpl(c, n, slice_make(to.p, (size_t)question), &u->path))
		return -SL_EINVAL;
	return conf_tmpl(c, n, slice_skip(to, (size_t)question + 1), &u->args);
}

/* "$name" and nothing else. */
static int one_variable(struct conf *c, const struct conf_node *n, struct slice s,
			struct tmpl **out)
{
	for (size_t i = 1; i < s.n; i++)
		if (!strchr("abcdefghijklmnopqrstuvwxyz0123456789_", slice_lower(s.p[i])))
			return conf_error(c, n, "unknown \"%.*s\" variable",
					  SLICE_FMT(slice_skip(s, 1)));
	return conf_tmpl(c, n, s, out);
}

/* "$x = text", "$x !~* pattern"; ARGS are three. */
static int comparison(struct conf *c, const struct conf_node *n, const struct slice *args,
		      struct rewrite_if *t)
{
	struct slice op = args[1];
	bool caseless = slice_ends(op, SLICE("*"));

	if (slice_eq(op, SLICE("=")) || slice_eq(op, SLICE("!="))) {
		t->test = TEST_EQUAL;
		t->negated = op.n == 2;
		return conf_tmpl(c, n, args[2], &t->right);
	}
	if (!slice_eq(op, SLICE("~")) && !slice_eq(op, SLICE("~*")) && !slice_eq(op, SLICE("!~")) &&
	    !slice_eq(op, SLICE("!~*")))
		return conf_error(c, n, "unexpected \"%.*s\" in condition", SLICE_FMT(op));
	t->test = TEST_REGEX;
	t->negated = op.p[0] == '!';
	t->re = vars_user_regex(c, n, args[2], caseless);
	return t->re ? 0 : -SL_EINVAL;
}

static int invalid(struct conf *c, const struct conf_node *n, struct slice what)
{
	return conf_error(c, n, "invalid condition \"%.*s\"", SLICE_FMT(what));
}

static int condition(struct conf *c, const struct conf_node *n, const struct slice *args,
		     int n_args, struct rewrite_if *t)
{
	struct slice first = args[0];
	bool negated = first.n == 3 && first.p[0] == '!';

	if (first.n > 1 && first.p[0] == '$') {
		if (n_args != 1 && n_args != 3)
			return invalid(c, n, first);
		if (one_variable(c, n, first, &t->left))
			return -SL_EINVAL;
		return n_args == 3 ? comparison(c, n, args, t) : 0;
	}
	if (first.n != 2U + negated || first.p[negated] != '-' || n_args != 2 ||
	    !strchr("fdex", first.p[1 + negated]))
		return invalid(c, n, first);
	t->test = TEST_FILE;
	t->negated = negated;
	t->file = first.p[1 + negated];
	return conf_tmpl(c, n, args[1], &t->left);
}

/* The parentheses may stand alone or be glued to what they hold. */
static int set_if(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		  const struct conf_row *row)
{
	struct rewrite_if *t = &append(c, b->parent->mod[MOD_REWRITE], REWRITE_IF)->test;
	struct slice *args = arena_alloc(&c->arena, (size_t)n->n_args * sizeof *args);
	int first = 0, n_args = n->n_args;

	memcpy(args, n->args, (size_t)n_args * sizeof *args);
	t->block = b;
	if (!slice_starts(args[0], SLICE("(")))
		return invalid(c, n, args[0]);
	args[0] = slice_skip(args[0], 1);
	first = !args[0].n;
	if (first == n_args || !slice_ends(args[n_args - 1], SLICE(")")))
		return invalid(c, n, args[n_args - 1]);
	args[n_args - 1].n--;
	n_args -= !args[n_args - 1].n;
	if (first >= n_args)
		return invalid(c, n, n->args[0]);
	return condition(c, n, args + first, n_args - first, t);
}

#define AT(field) offsetof(struct rewrite_scope, field)
#define CTX_CODE (CTX_SERVER | CTX_SERVER_IF | CTX_LOCATION | CTX_IF)
#define IF_ROW(ctx, inner) \
	{ \
		.name = "if", .contexts = ctx, .args_min = 1, .args_max = -1, .type = CONF_BLOCK, \
		.block_ctx = inner, .flags = CONF_MULTI, .set = set_if, \
		.help = "(CONDITION) -- what holds where the condition does: `$x` (not empty, not 0), " \
			"`$x = TEXT`, `!=`, `$x ~ PATTERN`, `~*`, `!~`, `!~*`, `-f FILE` (a file), `-d` (a " \
			"folder), `-e` (either), `-x` (can be executed), `!-f` ..." \
	}

static const struct conf_row rows[] = {
	{.name = "set",
	 .contexts = CTX_CODE,
	 .args_min = 2,
	 .args_max = 2,
	 .type = CONF_CUSTOM,
	 .flags = CONF_MULTI,
	 .set = set_set,
	 .help = "$NAME TEXT -- gives the variable a value"},
	IF_ROW(CTX_SERVER, CTX_SERVER_IF),
	IF_ROW(CTX_LOCATION, CTX_IF),
	{.name = "rewrite",
	 .contexts = CTX_CODE,
	 .args_min = 2,
	 .args_max = 3,
	 .type = CONF_CUSTOM,
	 .flags = CONF_MULTI,
	 .set = set_rewrite,
	 .help = "PATTERN TEXT [last | break | redirect | permanent] -- a path that matches becomes TEXT; a \"?\" at "
		 "its end drops the arguments; last: looks for the location again, break: stays"},
	{.name = "break",
	 .contexts = CTX_CODE,
	 .type = CONF_CUSTOM,
	 .flags = CONF_MULTI,
	 .set = set_break,
	 .help = "ends what `set`, `if`, `rewrite` and `return` do in this block"},
	{.name = "return",
	 .contexts = CTX_CODE,
	 .args_min = 1,
	 .args_max = 2,
	 .type = CONF_CUSTOM,
	 .flags = CONF_MULTI,
	 .set = set_return,
	 .help = "CODE [TEXT] | CODE URL | URL -- answers by itself; 444 closes without an answer"},
	{.name = "rewrite_log",
	 .contexts = CTX_HTTP | CTX_CODE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_FLAG,
	 .offset = AT(log),
	 .deflt = "off",
	 .help = "the error log (notice) says what `rewrite` and `if` do"},
	{.name = "uninitialized_variable_warn",
	 .contexts = CTX_HTTP | CTX_CODE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_FLAG,
	 .offset = AT(warns_of_unset),
	 .deflt = "on",
	 .help = "the error log (warn) says when a variable is read that nothing has set"},
};

const struct conf_module rewrite_module = {
	.name = "rewrite",
	.rows = rows,
	.n_rows = sizeof rows / sizeof rows[0],
	.contexts = CTX_SCOPE | CTX_SERVER_IF,
	.bytes = sizeof(struct rewrite_scope),
};
