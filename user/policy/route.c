/* SPDX-License-Identifier: BSD-2-Clause */
/* Look-up of locations by path; owns nothing, decides only. */
#include "policy/route.h"

#include <stdlib.h>

#include "core/err.h"

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

static bool is_exact(const struct route_loc *l)
{
	return l->kind == ROUTE_EXACT;
}

/* By path, exact ones first, so that what stands twice is side by side. */
static int by_class(const void *x, const void *y)
{
	const struct route_loc *a = *(const struct route_loc *const *)x;
	const struct route_loc *b = *(const struct route_loc *const *)y;

	if (is_exact(a) != is_exact(b))
		return is_exact(a) ? -1 : 1;
	return by_path(a, b) ? by_path(a, b) : (a > b) - (a < b);
}

static int check_duplicates(struct arena *a, const struct route_loc *locs, uint32_t n,
			    uint32_t *dup)
{
	const struct route_loc **v = arena_alloc(a, (n + 1) * sizeof *v);

	for (uint32_t i = 0; i < n; i++)
		v[i] = &locs[i];
	qsort(v, n, sizeof *v, by_class);
	for (uint32_t i = 1; i < n; i++) {
		if (is_exact(v[i]) != is_exact(v[i - 1]) || by_path(v[i], v[i - 1]))
			continue;
		*dup = (uint32_t)(v[i] - locs);
		return -SL_EEXIST;
	}
	return 0;
}

static void add_slash(struct route_locs *l, struct route_loc loc)
{
	loc.path.n--;
	for (uint32_t i = 0; i < l->n_slash; i++)
		if (slice_eq(l->slash[i].path, loc.path))
			return;
	l->slash[l->n_slash++] = loc;
}

int route_locs_build(struct arena *a, const struct route_loc *locs, uint32_t n,
		     struct route_locs *out, uint32_t *dup)
{
	*out = (struct route_locs){0};
	if (check_duplicates(a, locs, n, dup))
		return -SL_EEXIST;
	out->exact = arena_zalloc(a, (n + 1) * sizeof *out->exact);
	out->prefix = arena_zalloc(a, (n + 1) * sizeof *out->prefix);
	out->slash = arena_zalloc(a, (n + 1) * sizeof *out->slash);
	for (uint32_t i = 0; i < n; i++) {
		if (is_exact(&locs[i]))
			out->exact[out->n_exact++] = locs[i];
		else
			out->prefix[out->n_prefix++] = locs[i];
	}
	for (uint32_t i = 0; i < out->n_exact; i++)
		if (out->exact[i].redirect_slash)
			add_slash(out, out->exact[i]);
	for (uint32_t i = 0; i < out->n_prefix; i++)
		if (out->prefix[i].redirect_slash)
			add_slash(out, out->prefix[i]);
	qsort(out->exact, out->n_exact, sizeof *out->exact, by_path);
	qsort(out->prefix, out->n_prefix, sizeof *out->prefix, by_length);
	qsort(out->slash, out->n_slash, sizeof *out->slash, by_path);
	return 0;
}

static const struct route_loc *search(const struct route_loc *v, uint32_t n, struct slice path)
{
	struct route_loc key = {.path = path};

	return n ? bsearch(&key, v, n, sizeof key, by_path) : NULL;
}

enum route_hit route_locs_find(const struct route_locs *l, struct slice path,
			       const struct route_loc **hit)
{
	const struct route_loc *slash;

	*hit = search(l->exact, l->n_exact, path);
	if (*hit)
		return ROUTE_HIT_EXACT;
	for (uint32_t i = 0; i < l->n_prefix && !*hit; i++)
		if (slice_starts(path, l->prefix[i].path))
			*hit = &l->prefix[i];
	if (*hit && (*hit)->path.n == path.n)
		return ROUTE_HIT_PREFIX;
	slash = search(l->slash, l->n_slash, path);
	if (slash) {
		*hit = slash;
		return ROUTE_HIT_SLASH;
	}
	return *hit ? ROUTE_HIT_PREFIX : ROUTE_NONE;
}
