/* SPDX-License-Identifier: BSD-2-Clause */
/* Look-up of servers by name and locations by path; owns nothing, decides only. */
#include "policy/route.h"

#include <stdlib.h>

#include "core/err.h"
#include "core/hash.h"

static struct slice lower(struct arena *a, struct slice s)
{
	char *p = arena_cstr(a, s);

	for (size_t i = 0; i < s.n; i++)
		if (p[i] >= 'A' && p[i] <= 'Z')
			p[i] |= 0x20;
	return slice_make(p, s.n);
}

static void append(struct route_names_builder *b, struct slice name, void *target)
{
	if (b->n == b->room) {
		uint32_t room = b->room ? b->room * 2 : 16;
		struct route_name *v = arena_alloc(b->arena, room * sizeof *v);

		if (b->n)
			memcpy(v, b->v, b->n * sizeof *v);
		b->v = v;
		b->room = room;
	}
	b->v[b->n++] = (struct route_name){.name = name, .target = target};
}

int route_names_add(struct route_names_builder *b, struct slice name, void *target)
{
	struct slice s = lower(b->arena, name);
	bool head = slice_starts(s, SLICE("*.")), tail = slice_ends(s, SLICE(".*"));
	struct slice middle = s;

	if (head)
		s = middle = slice_skip(s, 1);
	if (tail) {
		s.n--;
		middle = s;
	}
	if ((head && tail) || slice_find(middle, '*') >= 0 || ((head || tail) && s.n < 2))
		return -SL_EINVAL;
	for (uint32_t i = 0; i < b->n; i++)
		if (slice_eq(b->v[i].name, s))
			return -SL_EEXIST;
	append(b, s, target);
	/* ".a.test" is "*.a.test" and "a.test"; build() leaves the second out where it is somebody's already. */
	if (!head && !tail && s.n > 1 && s.p[0] == '.')
		append(b, slice_skip(s, 1), target);
	return 0;
}

static bool is_head(struct slice s)
{
	return s.n && s.p[0] == '.';
}

static bool is_tail(struct slice s)
{
	return s.n && s.p[s.n - 1] == '.';
}

static int longest_first(const void *x, const void *y)
{
	const struct route_name *a = x, *b = y;

	return (a->name.n < b->name.n) - (a->name.n > b->name.n);
}

static void put_exact(struct route_names *t, struct slice name, void *target)
{
	uint64_t h = hash64(name, t->seed);
	uint32_t i = (uint32_t)h & (t->n_exact_slots - 1);

	while (t->exact[i].name.p) {
		if (slice_eq(t->exact[i].name, name))
			return;
		i = (i + 1) & (t->n_exact_slots - 1);
	}
	t->exact[i] = (struct route_name){name, h, target};
}

void route_names_build(struct route_names_builder *b, struct route_names *out)
{
	*out = (struct route_names){.seed = hash_random_seed()};
	out->n_exact_slots = 16;
	while (out->n_exact_slots < 4 * b->n)
		out->n_exact_slots *= 2;
	out->exact = arena_zalloc(b->arena, out->n_exact_slots * sizeof *out->exact);
	out->head = arena_zalloc(b->arena, (b->n + 1) * sizeof *out->head);
	out->tail = arena_zalloc(b->arena, (b->n + 1) * sizeof *out->tail);
	for (uint32_t i = 0; i < b->n; i++) {
		struct route_name *n = &b->v[i];

		if (is_head(n->name))
			out->head[out->n_head++] = *n;
		else if (is_tail(n->name) && n->name.n > 1)
			out->tail[out->n_tail++] = *n;
		else
			put_exact(out, n->name, n->target);
	}
	qsort(out->head, out->n_head, sizeof *out->head, longest_first);
	qsort(out->tail, out->n_tail, sizeof *out->tail, longest_first);
}

void *route_names_find(const struct route_names *t, struct slice host)
{
	if (t->n_exact_slots) {
		uint64_t h = hash64(host, t->seed);
		uint32_t i = (uint32_t)h & (t->n_exact_slots - 1);

		for (; t->exact[i].name.p; i = (i + 1) & (t->n_exact_slots - 1))
			if (t->exact[i].hash == h && slice_eq(t->exact[i].name, host))
				return t->exact[i].target;
	}
	for (uint32_t i = 0; i < t->n_head; i++)
		if (slice_ends(host, t->head[i].name) && host.n > t->head[i].name.n)
			return t->head[i].target;
	for (uint32_t i = 0; i < t->n_tail; i++)
		if (slice_starts(host, t->tail[i].name) && host.n > t->tail[i].name.n)
			return t->tail[i].target;
	return NULL;
}

static int by_path(const void *x, const void *y)
{
	const struct route_loc *a = x, *b = y;

	return slice_cmp(a->path, b->path);
}

static int by_length(const void *x, const void *y)
{
	const struct route_loc *a = x, *b = y;

	if (a->path.n != b->path.n)
		return a->path.n < b->path.n ? 1 : -1;
	return slice_cmp(a->path, b->path);
}

int route_locs_build(struct arena *a, const struct route_loc *locs, uint32_t n,
		     struct route_locs *out, uint32_t *dup)
{
	*out = (struct route_locs){0};
	for (uint32_t i = 0; i < n; i++) {
		for (uint32_t k = 0; k < i; k++) {
			bool both = (locs[i].kind == ROUTE_EXACT) == (locs[k].kind == ROUTE_EXACT);

			if (both && slice_eq(locs[i].path, locs[k].path)) {
				*dup = i;
				return -SL_EEXIST;
			}
		}
	}
	out->exact = arena_zalloc(a, (n + 1) * sizeof *out->exact);
	out->prefix = arena_zalloc(a, (n + 1) * sizeof *out->prefix);
	for (uint32_t i = 0; i < n; i++) {
		if (locs[i].kind == ROUTE_EXACT)
			out->exact[out->n_exact++] = locs[i];
		else
			out->prefix[out->n_prefix++] = locs[i];
	}
	qsort(out->exact, out->n_exact, sizeof *out->exact, by_path);
	qsort(out->prefix, out->n_prefix, sizeof *out->prefix, by_length);
	return 0;
}

const struct route_loc *route_locs_find(const struct route_locs *l, struct slice path, bool *slash)
{
	struct route_loc key = {.path = path};
	const struct route_loc *hit;

	*slash = false;
	hit = l->n_exact ? bsearch(&key, l->exact, l->n_exact, sizeof key, by_path) : NULL;
	if (hit)
		return hit;
	for (uint32_t i = 0; i < l->n_prefix; i++) {
		hit = &l->prefix[i];
		if (slice_starts(path, hit->path))
			return hit;
		if (hit->redirect_slash && path.n + 1 == hit->path.n &&
		    memcmp(path.p, hit->path.p, path.n) == 0) {
			*slash = true;
			return hit;
		}
	}
	return NULL;
}
