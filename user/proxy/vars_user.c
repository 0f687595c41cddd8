/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the values that a request has for the configuration's own variables, and the captures of its last
 * match. Knows no directive. */
#include "proxy/vars_user.h"

#include "conf/regex.h"
#include "core/err.h"
#include "proxy/rewrite.h"
#include "proxy/vars_impl.h"

enum { N_CAPTURES = 10 }; /* $0, that is the whole, and $1 to $9 */

struct user_var {
	uint32_t slot; /* of struct vars_user */
	const char *name;
	bool (*compute)(struct request *r, const void *data, struct slice *out);
	const void *data;
	bool is_volatile, is_assigned, is_capture;
	/* "$http_x" that a configuration assigns is the field until then. */
	const struct var_def *fallback;
	struct slice fallback_arg;
	/* A variable of sluice that may be assigned, such as $args. */
	const struct var_def *builtin;
};

struct vars_regex {
	struct regex *re;
	int n_names;
	struct {
		const struct user_var *var;
		int group;
	} * names;
};

enum state { UNSET, SET, COMPUTING };

struct vars_user {
	struct slice subject;
	uint32_t n;	/* groups of it that can be asked for */
	bool is_quoted; /* captures are escaped when they are read */
	size_t at[2 * N_CAPTURES];
	struct {
		struct slice value;
		enum state state;
	} slot[];
};

static struct vars_user *values_of(struct request *r)
{
	size_t n = (size_t)r->env->conf->n_user_vars;

	if (!r->user)
		r->user = arena_zalloc(&r->arena, sizeof *r->user + n * sizeof r->user->slot[0]);
	return r->user;
}

static bool compute(struct request *r, const struct user_var *v, struct slice *out)
{
	struct vars_user *u = values_of(r);
	bool has, was_quoted = u->is_quoted;

	if (u->slot[v->slot].state == COMPUTING) {
		request_log(r, LOG_LVL_ERROR, "cycle while evaluating variable \"%s\"", v->name);
		return false;
	}
	u->slot[v->slot].state = COMPUTING;
	u->is_quoted = false;
	has = v->compute(r, v->data, out);
	u->is_quoted = was_quoted;
	u->slot[v->slot].state = UNSET;
	if (has && !v->is_volatile)
		vars_user_set(r, v, *out);
	return has;
}

VARS_GETTER(get_user)
{
	struct request *r = request;
	const struct user_var *v = data;

	if (r->user && r->user->slot[v->slot].state == SET) {
		*out = r->user->slot[v->slot].value;
		return true;
	}
	if (v->compute)
		return compute(r, v, out);
	if (v->fallback)
		return v->fallback->get(r, v->fallback_arg, v->fallback->data, a, out);
	if (!v->is_assigned || v->is_capture)
		return false;
	if (rewrite_warns_of_unset(r))
		request_log(r, LOG_LVL_WARN, "using uninitialized \"%s\" variable", v->name);
	/* From here on it is empty, so that there is one line. */
	*out = SLICE("");
	vars_user_set(r, v, *out);
	return true;
}

static void set_user(void *request, void *data, struct slice value)
{
	vars_user_set(request, data, value);
}

static struct user_var *make(struct conf *c, struct slice name)
{
	struct var_def *row = conf_var_add(c, name);
	struct user_var *v = row->data;

	if (v)
		return v;
	v = arena_zalloc(&c->arena, sizeof *v);
	v->slot = (uint32_t)(row - c->user_vars);
	v->name = row->name;
	row->get = get_user;
	row->set = set_user;
	row->data = v;
	return v;
}

static bool is_name(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!strchr("abcdefghijklmnopqrstuvwxyz0123456789_", slice_lower(s.p[i])))
			return false;
	return s.n > 0;
}

static struct user_var *add(struct conf *c, const struct conf_node *n, struct slice name)
{
	struct slice arg;
	const struct var_def *own = var_find(c->var_tables, NULL, 0, name, &arg);
	struct user_var *v;

	if (own && !own->prefix && !own->set) {
		conf_error(c, n, "the duplicate \"%.*s\" variable", SLICE_FMT(name));
		return NULL;
	}
	v = make(c, name);
	if (own && own->prefix) {
		v->fallback = own;
		v->fallback_arg = slice_cstr(v->name + strlen(own->name));
	} else if (own) {
		v->builtin = v->fallback = own;
	}
	return v;
}

struct user_var *vars_user_add(struct conf *c, const struct conf_node *n, struct slice name)
{
	if (name.n < 2 || name.p[0] != '$' || !is_name(slice_skip(name, 1))) {
		conf_error(c, n, "invalid variable name \"%.*s\"", SLICE_FMT(name));
		return NULL;
	}
	return add(c, n, slice_skip(name, 1));
}

void vars_user_compute(struct user_var *v,
		       bool (*compute_it)(struct request *r, const void *data, struct slice *out),
		       const void *data, bool is_volatile)
{
	v->compute = compute_it;
	v->data = data;
	v->is_volatile = is_volatile;
}

void vars_user_assigned(struct user_var *v)
{
	v->is_assigned = true;
}

void vars_user_set(struct request *r, const struct user_var *v, struct slice value)
{
	struct vars_user *u;

	if (v->builtin) {
		v->builtin->set(r, v->builtin->data, value);
		return;
	}
	u = values_of(r);
	u->slot[v->slot].value = value;
	u->slot[v->slot].state = SET;
}

struct vars_regex *vars_user_regex(struct conf *c, const struct conf_node *n, struct slice pattern,
				   bool caseless)
{
	struct vars_regex *re = arena_zalloc(&c->arena, sizeof *re);
	struct slice name;
	int group;

	if (regex_new(c, n, pattern, caseless, &re->re))
		return NULL;
	while (regex_name(re->re, re->n_names, &name, &group))
		re->n_names++;
	re->names = arena_zalloc(&c->arena, (size_t)(re->n_names + 1) * sizeof *re->names);
	for (int i = 0; regex_name(re->re, i, &name, &group); i++) {
		struct user_var *v = add(c, n, name);

		if (!v)
			return NULL;
		v->is_capture = true;
		re->names[i].var = v;
		re->names[i].group = group;
	}
	return re;
}

static void keep(struct request *r, const struct vars_regex *re, struct slice subject,
		 const size_t *at, int n)
{
	struct vars_user *u = values_of(r);

	for (int i = 0; i < re->n_names; i++) {
		int g = re->names[i].group;
		struct slice s = {"", 0};

		if (g < n && at[2 * g] != SIZE_MAX)
			s = slice_make(subject.p + at[2 * g], at[2 * g + 1] - at[2 * g]);
		vars_user_set(r, re->names[i].var, s);
	}
	u->subject = subject;
	u->n = n < N_CAPTURES ? (uint32_t)n : N_CAPTURES;
	memcpy(u->at, at, 2 * u->n * sizeof *at);
}

/* For a message. */
static struct slice clip(struct slice s)
{
	return slice_make(s.p, s.n < 200 ? s.n : 200);
}

int vars_user_match(struct request *r, const struct vars_regex *re, struct slice subject)
{
	struct slice pattern = regex_pattern(re->re);
	const size_t *at;
	int n = regex_match(re->re, subject, &at);

	if (n < 0) {
		request_log(r, LOG_LVL_ALERT, "pcre2_match() failed: %d on \"%.*s\" using \"%.*s\"",
			    n, SLICE_FMT(clip(subject)), SLICE_FMT(clip(pattern)));
		return -SL_ELIMIT;
	}
	if (n == 0)
		return 0;
	/* What has no group leaves nothing behind but that there is none. */
	if (regex_n_groups(re->re) || r->user)
		keep(r, re, subject, at, n);
	return 1;
}

bool vars_user_test(const struct vars_regex *re, struct slice subject)
{
	const size_t *at;

	return regex_match(re->re, subject, &at) > 0;
}

struct slice vars_user_pattern(const struct vars_regex *re)
{
	return regex_pattern(re->re);
}

void vars_user_quote_captures(struct request *r, bool on)
{
	if (r->user)
		r->user->is_quoted = on;
}

void vars_user_clear_captures(struct request *r)
{
	if (r->user)
		r->user->n = 0;
}

VARS_GETTER(get_capture)
{
	const struct vars_user *u = ((const struct request *)request)->user;
	size_t i = (size_t)(uintptr_t)data;

	if (!u || i >= u->n || u->at[2 * i] == SIZE_MAX)
		return false;
	*out = slice_make(u->subject.p + u->at[2 * i], u->at[2 * i + 1] - u->at[2 * i]);
	if (u->is_quoted)
		*out = uri_escape_args(*out, a);
	return true;
}

#define CAPTURE(n) \
	{ \
		.name = #n, .get = get_capture, .data = (void *)n \
	}

const struct var_def vars_user_captures[] = {
	CAPTURE(1), CAPTURE(2), CAPTURE(3), CAPTURE(4), CAPTURE(5),
	CAPTURE(6), CAPTURE(7), CAPTURE(8), CAPTURE(9), {.name = NULL},
};

void vars_user_lend(struct request *r)
{
	const struct vars_user *from = r->parent->user;

	if (!from)
		return;
	memcpy(values_of(r)->slot, from->slot,
	       (size_t)r->env->conf->n_user_vars * sizeof from->slot[0]);
}

void vars_user_give_back(struct request *r)
{
	if (r->user)
		memcpy(values_of(r->parent)->slot, r->user->slot,
		       (size_t)r->env->conf->n_user_vars * sizeof r->user->slot[0]);
}
