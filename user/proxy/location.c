/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads `location` and finds the one of a request. Decides nothing about what happens there. */
#include "proxy/location.h"

#include "core/err.h"
#include "proxy/http_listen.h"
#include "proxy/request.h"
#include "proxy/vars_user.h"

/* A regular expression's location; a list in the order of the file. */
struct location_regex {
	struct location_regex *next;
	const struct vars_regex *re;
	struct conf_block *block;
};

/* "=", "^~", "~", "~*" before the path, or glued to it. False: no modifier. */
static bool take_kind(const struct conf_node *n, struct http_scope *s, bool *caseless)
{
	struct slice kind = n->args[0], path = n->args[n->n_args - 1];
	bool glued = n->n_args == 1;
	size_t len = 0;

	*caseless = false;
	s->loc_kind = ROUTE_PREFIX;
	if (glued ? slice_starts(kind, SLICE("~*")) : slice_eq(kind, SLICE("~*"))) {
		s->loc_kind = ROUTE_REGEX;
		*caseless = true;
		len = 2;
	} else if (glued ? slice_starts(kind, SLICE("~")) : slice_eq(kind, SLICE("~"))) {
		s->loc_kind = ROUTE_REGEX;
		len = 1;
	} else if (glued ? slice_starts(kind, SLICE("^~")) : slice_eq(kind, SLICE("^~"))) {
		s->loc_kind = ROUTE_PREFIX_STOP;
		len = 2;
	} else if (glued ? slice_starts(kind, SLICE("=")) : slice_eq(kind, SLICE("="))) {
		s->loc_kind = ROUTE_EXACT;
		len = 1;
	} else if (glued && path.n && path.p[0] == '@') {
		s->loc_kind = ROUTE_NAMED;
	} else if (!glued) {
		return false;
	}
	s->loc_path = glued ? slice_skip(path, len) : path;
	return true;
}

/* Whether S may stand inside OUTER. */
static int check_nesting(struct conf *c, const struct conf_node *n, const struct http_scope *s,
			 const struct http_scope *outer)
{
	struct slice path = s->loc_path, around = outer->loc_path;

	if (outer->loc_kind == ROUTE_EXACT)
		return conf_error(c, n,
				  "location \"%.*s\" cannot be inside the exact location \"%.*s\"",
				  SLICE_FMT(path), SLICE_FMT(around));
	if (outer->loc_kind == ROUTE_NAMED)
		return conf_error(c, n,
				  "location \"%.*s\" cannot be inside the named location \"%.*s\"",
				  SLICE_FMT(path), SLICE_FMT(around));
	if (s->loc_kind == ROUTE_NAMED)
		return conf_error(c, n, "named location \"%.*s\" can be on the server level only",
				  SLICE_FMT(path));
	if (s->loc_kind != ROUTE_REGEX && !slice_starts(path, around))
		return conf_error(c, n, "location \"%.*s\" is outside location \"%.*s\"",
				  SLICE_FMT(path), SLICE_FMT(around));
	return 0;
}

int location_set(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		 const struct conf_row *row)
{
	struct http_scope *s = mod, *outer = b->parent->mod[MOD_HTTP];
	bool caseless;

	if (!take_kind(n, s, &caseless))
		return conf_error(c, n, "invalid location modifier \"%.*s\"",
				  SLICE_FMT(n->args[0]));
	if (s->loc_kind == ROUTE_REGEX) {
		s->loc_regex = vars_user_regex(c, n, s->loc_path, caseless);
		if (!s->loc_regex)
			return -SL_EINVAL;
	}
	return b->parent->ctx == CTX_LOCATION ? check_nesting(c, n, s, outer) : 0;
}

/* The block of a named or regular expression's location joins the list of those of its kind. */
static int add_special(struct conf *c, struct http_scope *s, struct conf_block *b)
{
	const struct http_scope *in = b->mod[MOD_HTTP];
	struct location_regex *l, **at = in->loc_kind == ROUTE_REGEX ? &s->regexes : &s->named;

	for (; *at; at = &(*at)->next)
		if (in->loc_kind == ROUTE_NAMED &&
		    slice_eq(http_scope_of((*at)->block)->loc_path, in->loc_path))
			return conf_error(c, b->node, "duplicate location \"%.*s\"",
					  SLICE_FMT(in->loc_path));
	l = arena_zalloc(&c->arena, sizeof *l);
	l->re = in->loc_regex;
	l->block = b;
	*at = l;
	return 0;
}

int location_build(struct conf *c, struct conf_block *b)
{
	struct http_scope *s = b->mod[MOD_HTTP];
	struct route_loc *locs;
	uint32_t n = 0, dup = 0;

	for (struct conf_block *k = b->first_child; k; k = k->next)
		n += k->ctx == CTX_LOCATION;
	s->has_locs = n > 0;
	locs = arena_zalloc(&c->arena, (n + 1) * sizeof *locs);
	n = 0;
	for (struct conf_block *k = b->first_child; k; k = k->next) {
		struct http_scope *in = k->mod[MOD_HTTP];

		if (k->ctx != CTX_LOCATION)
			continue;
		if (in->loc_kind == ROUTE_REGEX || in->loc_kind == ROUTE_NAMED) {
			if (add_special(c, s, k))
				return -SL_EINVAL;
			continue;
		}
		locs[n++] = (struct route_loc){
			.path = in->loc_path,
			.kind = in->loc_kind,
			.redirect_slash =
				http_listen_is_proxied(k) && slice_ends(in->loc_path, SLICE("/")),
			.target = k,
		};
	}
	if (route_locs_build(&c->arena, locs, n, &s->locs, &dup) == 0)
		return 0;
	return conf_error(c, ((struct conf_block *)locs[dup].target)->node,
			  "duplicate location \"%.*s\"", SLICE_FMT(locs[dup].path));
}

enum found { NONE, INSIDE, FOUND, SLASH, FAILED };

static enum found find_in(struct request *r, struct conf_block *b, struct conf_block **out);

static enum found find_regex(struct request *r, const struct http_scope *s, struct conf_block **out)
{
	for (const struct location_regex *l = s->regexes; l; l = l->next) {
		int m = vars_user_match(r, l->re, r->uri.path);

		if (m < 0)
			return FAILED;
		if (m == 0)
			continue;
		*out = l->block;
		return find_in(r, l->block, out) == FAILED ? FAILED : FOUND;
	}
	return NONE;
}

/* Among the locations inside B. INSIDE: a prefix of B's matched, and nothing that ends the search. */
static enum found find_in(struct request *r, struct conf_block *b, struct conf_block **out)
{
	const struct http_scope *s = b->mod[MOD_HTTP];
	const struct route_loc *hit;
	enum found f = NONE, inner;
	bool stop = false;

	if (!s->has_locs)
		return NONE;
	switch (route_locs_find(&s->locs, r->uri.path, &hit)) {
	case ROUTE_HIT_EXACT:
		*out = hit->target;
		return FOUND;
	case ROUTE_HIT_SLASH:
		*out = hit->target;
		return SLASH;
	case ROUTE_HIT_PREFIX:
		*out = hit->target;
		stop = hit->kind == ROUTE_PREFIX_STOP;
		f = INSIDE;
		inner = find_in(r, hit->target, out);
		if (inner > INSIDE)
			return inner;
		break;
	case ROUTE_NONE:
		break;
	}
	inner = stop ? NONE : find_regex(r, s, out);
	return inner == NONE ? f : inner;
}

enum location_found location_find(struct request *r, struct conf_block **block)
{
	*block = r->server->block;
	switch (find_in(r, r->server->block, block)) {
	case SLASH:
		return LOCATION_SLASH;
	case FAILED:
		return LOCATION_FAILED;
	default:
		return LOCATION_FOUND;
	}
}

struct conf_block *location_named(const struct server *srv, struct slice name)
{
	for (const struct location_regex *l = srv->scope->named; l; l = l->next)
		if (slice_eq(http_scope_of(l->block)->loc_path, name))
			return l->block;
	return NULL;
}
