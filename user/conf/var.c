/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns "$name" and "${name}" in texts: compiling, looking up, evaluating. Knows no variable and no
 * request. */
#include "conf/var.h"

#include "conf/load.h"
#include "core/err.h"

static bool is_prefix_of(const struct var_def *v, struct slice name)
{
	size_t n = strlen(v->name);

	return v->prefix && name.n > n && strncasecmp(v->name, name.p, n) == 0;
}

static const struct var_def *longer(const struct var_def *a, const struct var_def *b)
{
	return !a || (b && strlen(b->name) > strlen(a->name)) ? b : a;
}

const struct var_def *var_find(const struct var_def *const *tables, const struct var_def *user,
			       int n_user, struct slice name, struct slice *arg)
{
	const struct var_def *best = NULL;

	*arg = slice_make("", 0);
	for (int i = 0; i < n_user; i++) {
		if (!user[i].prefix && slice_ieq(name, slice_cstr(user[i].name)))
			return &user[i];
		if (is_prefix_of(&user[i], name))
			best = longer(best, &user[i]);
	}
	for (; tables && *tables; tables++) {
		for (const struct var_def *v = *tables; v->name; v++) {
			if (!v->prefix && slice_ieq(name, slice_cstr(v->name)))
				return v;
			if (is_prefix_of(v, name))
				best = longer(best, v);
		}
	}
	if (best)
		*arg = slice_skip(name, strlen(best->name));
	return best;
}

static struct slice lower(struct arena *a, struct slice s)
{
	char *p = arena_cstr(a, s);

	for (size_t i = 0; i < s.n; i++)
		if (p[i] >= 'A' && p[i] <= 'Z')
			p[i] = (char)(p[i] | 0x20);
	return slice_make(p, s.n);
}

struct var_def *conf_var_add(struct conf *c, struct slice name)
{
	struct var_def *v;

	for (int i = 0; i < c->n_user_vars; i++)
		if (slice_ieq(name, slice_cstr(c->user_vars[i].name)))
			return &c->user_vars[i];
	if (c->n_user_vars == c->user_vars_room) {
		int room = c->user_vars_room ? 2 * c->user_vars_room : 16;

		v = arena_zalloc(&c->arena, (size_t)room * sizeof *v);
		if (c->n_user_vars)
			memcpy(v, c->user_vars, (size_t)c->n_user_vars * sizeof *v);
		c->user_vars = v;
		c->user_vars_room = room;
	}
	v = &c->user_vars[c->n_user_vars++];
	*v = (struct var_def){.name = lower(&c->arena, name).p};
	return v;
}

static int resolve(struct conf *c, const struct conf_node *n, struct tmpl_part *part)
{
	struct slice name = part->text;

	part->var = var_find(c->var_tables, c->user_vars, c->n_user_vars, name, &part->arg);
	if (part->var)
		return 0;
	name = conf_clip(name);
	return conf_error(c, n, "unknown \"%.*s\" variable", SLICE_FMT(name));
}

int conf_resolve_pending(struct conf *c)
{
	for (struct conf_pending *p = c->loading->pending; p; p = p->next) {
		int r = resolve(c, p->node, p->part);

		if (r < 0)
			return r;
	}
	c->loading->pending = NULL;
	c->loading->pending_tail = &c->loading->pending;
	return 0;
}

static bool is_name_char(char ch)
{
	return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') ||
	       ch == '_';
}

/* The name behind a '$'; its length with brackets, or negative after conf_error(). A capture has
 * one digit: "$12" is $1 and a "2". */
static int scan_name(struct conf *c, const struct conf_node *n, struct slice s, struct slice *name)
{
	bool bracket = s.n && s.p[0] == '{';
	struct slice at = slice_skip(s, bracket), shown;
	size_t len = 0;

	if (!bracket && at.n && at.p[0] >= '1' && at.p[0] <= '9')
		len = 1;
	else
		while (len < at.n && is_name_char(at.p[len]))
			len++;
	*name = slice_make(at.p, len);
	if (bracket && (len == at.n || at.p[len] != '}')) {
		shown = conf_clip(*name);
		return conf_error(c, n, "the closing bracket in \"%.*s\" variable is missing",
				  SLICE_FMT(shown));
	}
	if (len == 0)
		return conf_error(c, n, "invalid variable name");
	return (int)(len + 2 * (size_t)bracket);
}

static int add_variable(struct conf *c, const struct conf_node *n, struct tmpl_part *part,
			struct slice name)
{
	struct conf_pending *p;

	part->text = lower(&c->arena, name);
	if (!c->loading || !c->loading->reading)
		return resolve(c, n, part);
	p = arena_zalloc(&c->arena, sizeof *p);
	p->part = part;
	p->node = n;
	*c->loading->pending_tail = p;
	c->loading->pending_tail = &p->next;
	return 0;
}

/* Each '$' makes at most one part and one literal before it. */
static int parts_max(struct slice text)
{
	int n = 1;

	for (size_t i = 0; i < text.n; i++)
		if (text.p[i] == '$')
			n += 2;
	return n;
}

int conf_tmpl(struct conf *c, const struct conf_node *n, struct slice text, struct tmpl **out)
{
	struct tmpl *t = arena_zalloc(&c->arena, sizeof *t);
	struct slice rest, name;
	int r;

	t->source = rest = arena_dup(&c->arena, text);
	t->constant = true;
	t->parts = arena_zalloc(&c->arena, (size_t)parts_max(text) * sizeof *t->parts);
	while (rest.n) {
		ptrdiff_t dollar = slice_find(rest, '$');

		if (dollar != 0) {
			size_t len = dollar < 0 ? rest.n : (size_t)dollar;

			t->parts[t->n_parts++].text = slice_make(rest.p, len);
			rest = slice_skip(rest, len);
			continue;
		}
		t->constant = false;
		rest = slice_skip(rest, 1);
		r = scan_name(c, n, rest, &name);
		if (r < 0)
			return r;
		rest = slice_skip(rest, (size_t)r);
		r = add_variable(c, n, &t->parts[t->n_parts++], name);
		if (r < 0)
			return r;
	}
	*out = t;
	return 0;
}

static struct slice part_eval(const struct tmpl_part *part, void *request, struct arena *a)
{
	struct slice s = {"", 0};

	if (!part->var)
		return part->text;
	if (!part->var->get(request, part->arg, part->var->data, a, &s))
		return slice_make("", 0);
	return s;
}

struct slice tmpl_eval(const struct tmpl *t, void *request, struct arena *a)
{
	struct slice few[16], *values = few;
	size_t n = 0;
	char *at, *start;

	if (t->constant)
		return t->source;
	if (t->n_parts == 1)
		return part_eval(&t->parts[0], request, a);
	if (t->n_parts > 16)
		values = arena_alloc(a, (size_t)t->n_parts * sizeof *values);
	for (int i = 0; i < t->n_parts; i++) {
		values[i] = part_eval(&t->parts[i], request, a);
		n += values[i].n;
	}
	at = start = arena_bytes(a, n + 1);
	for (int i = 0; i < t->n_parts; i++) {
		if (values[i].n)
			memcpy(at, values[i].p, values[i].n);
		at += values[i].n;
	}
	*at = 0;
	return slice_make(start, n);
}
