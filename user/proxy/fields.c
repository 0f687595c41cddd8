/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the rewriting of an upstream's Location, Refresh and Set-Cookie, as nginx does it. Decides nothing
 * about which fields reach the client. */
#include "proxy/fields.h"

#include "proxy/proxy_conf.h"
#include "proxy/upstream.h"
#include "proxy/vars_user.h"

enum { ATTRS_MAX = 64 }; /* of a cookie; one with more goes on as it is */

struct attr { /* of a cookie; the first is its name and value */
	struct slice key, value;
	bool has_value, is_gone;
};

struct cookie {
	struct attr attr[ATTRS_MAX + 3];
	int n;
};

const struct fields_scope *fields_of(const struct request *r)
{
	return r->up ? r->up->fields_conf : NULL;
}

bool fields_ignores(const struct request *r, enum fields_ignored which)
{
	const struct fields_scope *s = fields_of(r);

	return s && (s->ignore & which);
}

/* VALUE with the N bytes at FROM replaced. A line break that came in through a variable would be a field
 * of somebody else's making: nothing is changed then. */
static bool replace(struct request *r, struct slice *value, size_t from, size_t n, struct slice by)
{
	struct slice tail = slice_skip(*value, from + n);

	for (size_t i = 0; i < by.n; i++)
		if (by.p[i] == '\r' || by.p[i] == '\n' || by.p[i] == 0)
			return false;
	*value = arena_printf(&r->arena, "%.*s%.*s%.*s", (int)from, value->p, SLICE_FMT(by),
			      SLICE_FMT(tail));
	return true;
}

static bool by_prefix(struct request *r, const struct fields_rules *rules, struct slice *value,
		      size_t offset)
{
	struct slice rest = slice_skip(*value, offset);

	for (const struct fields_rule *l = rules ? rules->first : NULL; l; l = l->next) {
		struct slice pattern = rest;

		if (!l->re)
			pattern = tmpl_eval(l->pattern, r, &r->arena);
		if (l->re ? vars_user_match(r, l->re, rest) > 0 : slice_starts(rest, pattern))
			return replace(r, value, offset, pattern.n,
				       tmpl_eval(l->replacement, r, &r->arena));
	}
	return false;
}

bool fields_redirect(struct request *r, struct slice *value, size_t offset)
{
	const struct fields_scope *s = fields_of(r);

	return s && by_prefix(r, s->redirect, value, offset);
}

static void split(struct slice value, struct cookie *c)
{
	for (;;) {
		ptrdiff_t semicolon = slice_find(value, ';');
		struct slice one = semicolon < 0 ? value : slice_make(value.p, (size_t)semicolon);
		ptrdiff_t equals = slice_find(one, '=');
		struct attr *a = &c->attr[c->n++];

		*a = (struct attr){.key = slice_trim(one)};
		if (equals >= 0) {
			a->key = slice_trim(slice_make(one.p, (size_t)equals));
			a->value = slice_trim(slice_skip(one, (size_t)equals + 1));
			a->has_value = true;
		}
		if (semicolon < 0)
			return;
		value = slice_skip(value, (size_t)semicolon + 1);
	}
}

static bool change_domain(struct request *r, const struct fields_rules *rules, struct attr *a)
{
	size_t dot = a->value.n && a->value.p[0] == '.';
	struct slice domain = slice_skip(a->value, dot);

	for (const struct fields_rule *l = rules ? rules->first : NULL; l; l = l->next) {
		if (l->re && vars_user_match(r, l->re, a->value) > 0)
			return replace(r, &a->value, 0, a->value.n,
				       tmpl_eval(l->replacement, r, &r->arena));
		if (!l->re && slice_ieq(tmpl_eval(l->pattern, r, &r->arena), domain))
			return replace(r, &a->value, dot, domain.n,
				       tmpl_eval(l->replacement, r, &r->arena));
	}
	return false;
}

unsigned fields_cookie_flag(struct slice s)
{
	static const struct {
		struct slice name;
		unsigned flag;
	} names[] = {
		{SLICE_INIT("secure"), COOKIE_SECURE},
		{SLICE_INIT("nosecure"), COOKIE_NO_SECURE},
		{SLICE_INIT("httponly"), COOKIE_HTTPONLY},
		{SLICE_INIT("nohttponly"), COOKIE_NO_HTTPONLY},
		{SLICE_INIT("samesite=strict"), COOKIE_STRICT},
		{SLICE_INIT("samesite=lax"), COOKIE_LAX},
		{SLICE_INIT("samesite=none"), COOKIE_NONE},
		{SLICE_INIT("nosamesite"), COOKIE_NO_SAMESITE},
	};

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (slice_ieq(s, names[i].name))
			return names[i].flag;
	return 0;
}

static unsigned wanted_flags(struct request *r, const struct fields_rules *rules, struct slice name)
{
	unsigned flags = 0;

	for (const struct fields_rule *l = rules ? rules->first : NULL; l; l = l->next) {
		if (l->re ? vars_user_match(r, l->re, name) <= 0
			  : !slice_ieq(tmpl_eval(l->pattern, r, &r->arena), name))
			continue;
		for (int i = 0; i < l->n_flags; i++)
			flags |= fields_cookie_flag(tmpl_eval(l->flags[i], r, &r->arena));
		return flags;
	}
	return 0;
}

static struct slice samesite_of(unsigned flags)
{
	if (flags & COOKIE_STRICT)
		return SLICE("Strict");
	return flags & COOKIE_LAX ? SLICE("Lax") : SLICE("None");
}

/* One flag that is there already: what is left to be added. */
static unsigned change_flag(struct attr *a, unsigned flags)
{
	const unsigned same = COOKIE_STRICT | COOKIE_LAX | COOKIE_NONE;

	if (slice_ieq(a->key, SLICE("secure"))) {
		a->is_gone = !(flags & COOKIE_SECURE) && (flags & COOKIE_NO_SECURE);
		return flags & ~(unsigned)COOKIE_SECURE;
	}
	if (slice_ieq(a->key, SLICE("httponly"))) {
		a->is_gone = !(flags & COOKIE_HTTPONLY) && (flags & COOKIE_NO_HTTPONLY);
		return flags & ~(unsigned)COOKIE_HTTPONLY;
	}
	if (!slice_ieq(a->key, SLICE("samesite")))
		return flags;
	if (!(flags & same)) {
		a->is_gone = flags & COOKIE_NO_SAMESITE;
	} else if (!slice_ieq(a->value, samesite_of(flags))) {
		a->key = SLICE("SameSite");
		a->value = samesite_of(flags);
		a->has_value = true;
	}
	/* As nginx: the strictest is the one that is done. */
	return flags & COOKIE_STRICT ? flags & ~(unsigned)COOKIE_STRICT
	       : flags & COOKIE_LAX  ? flags & ~(unsigned)COOKIE_LAX
				     : flags & ~(unsigned)COOKIE_NONE;
}

static void change_flags(struct cookie *c, unsigned flags)
{
	int n = c->n;

	for (int i = 1; i < n; i++)
		flags = change_flag(&c->attr[i], flags);
	if (flags & COOKIE_SECURE)
		c->attr[c->n++] = (struct attr){.key = SLICE("Secure")};
	if (flags & COOKIE_HTTPONLY)
		c->attr[c->n++] = (struct attr){.key = SLICE("HttpOnly")};
	if (flags & (COOKIE_STRICT | COOKIE_LAX | COOKIE_NONE))
		c->attr[c->n++] = (struct attr){
			.key = SLICE("SameSite"), .value = samesite_of(flags), .has_value = true};
}

static struct slice join(struct request *r, const struct cookie *c)
{
	char *out, *at;
	size_t n = 0;

	for (int i = 0; i < c->n; i++)
		n += c->attr[i].key.n + c->attr[i].value.n + 3;
	out = at = arena_bytes(&r->arena, n);
	for (int i = 0; i < c->n; i++) {
		const struct attr *a = &c->attr[i];

		if (a->is_gone)
			continue;
		if (i > 0) {
			*at++ = ';';
			*at++ = ' ';
		}
		if (a->key.n)
			memcpy(at, a->key.p, a->key.n);
		at += a->key.n;
		if (!a->has_value)
			continue;
		*at++ = '=';
		if (a->value.n)
			memcpy(at, a->value.p, a->value.n);
		at += a->value.n;
	}
	return slice_make(out, (size_t)(at - out));
}

static int n_attrs(struct slice value)
{
	int n = 1;

	for (size_t i = 0; i < value.n; i++)
		n += value.p[i] == ';';
	return n;
}

static bool change_cookie(struct request *r, const struct fields_scope *s, struct slice *value)
{
	struct cookie c = {.n = 0};
	bool changed = false;
	unsigned flags;

	split(*value, &c);
	if (!c.attr[0].has_value)
		return false;
	for (int i = 1; i < c.n; i++) {
		struct attr *a = &c.attr[i];

		if (a->has_value && slice_ieq(a->key, SLICE("domain")))
			changed |= change_domain(r, s->cookie_domain, a);
		else if (a->has_value && slice_ieq(a->key, SLICE("path")))
			changed |= by_prefix(r, s->cookie_path, &a->value, 0);
	}
	flags = wanted_flags(r, s->cookie_flags, c.attr[0].key);
	if (flags)
		change_flags(&c, flags);
	if (changed || flags)
		*value = join(r, &c);
	return changed || flags;
}

bool fields_cookie(struct request *r, struct slice *value)
{
	const struct fields_scope *s = fields_of(r);

	if (!s || !(s->cookie_domain || s->cookie_path || s->cookie_flags))
		return false;
	return n_attrs(*value) <= ATTRS_MAX && change_cookie(r, s, value);
}

bool fields_local_addr(struct request *r, struct addr *out)
{
	const struct fields_scope *s = fields_of(r);
	const struct fields_bind *b = s ? s->bind : NULL;
	struct slice text;

	if (!b || b->off)
		return false;
	*out = b->addr;
	if (b->is_fixed)
		return true;
	text = tmpl_eval(b->text, r, &r->arena);
	if (text.n == 0)
		return false;
	if (addr_parse(text, 0, out) == 0)
		return true;
	request_log(r, LOG_LVL_ERROR, "invalid local address \"%.*s\"", SLICE_FMT(text));
	return false;
}
