/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of names: one hash for exact names and wildcards. Decides which target a name means. */
#include "policy/route_names.h"

#include "core/err.h"
#include "core/hash.h"

void route_names_init(struct route_names *t, struct arena *a)
{
	*t = (struct route_names){.arena = a, .seed = hash_random_seed()};
}

/* Where NAME is, or the empty slot for it. */
static struct route_name *slot_of(const struct route_names *t, struct slice name, uint64_t hash,
				  enum route_name_kind kind)
{
	uint32_t i = (uint32_t)hash & (t->n_slots - 1);

	for (; t->v[i].name.p; i = (i + 1) & (t->n_slots - 1))
		if (t->v[i].hash == hash && t->v[i].kind == kind && slice_eq(t->v[i].name, name))
			break;
	return &t->v[i];
}

static const struct route_name *find(const struct route_names *t, struct slice name,
				     enum route_name_kind kind)
{
	const struct route_name *s;

	if (!t->has[kind])
		return NULL;
	s = slot_of(t, name, hash64(name, t->seed), kind);
	return s->name.p ? s : NULL;
}

static void grow(struct route_names *t)
{
	struct route_name *old = t->v;
	uint32_t n_old = t->n_slots;

	t->n_slots = n_old ? 2 * n_old : 16;
	t->v = arena_zalloc(t->arena, t->n_slots * sizeof *t->v);
	for (uint32_t i = 0; i < n_old; i++)
		if (old[i].name.p)
			*slot_of(t, old[i].name, old[i].hash, old[i].kind) = old[i];
}

static void put(struct route_names *t, struct slice name, enum route_name_kind kind, void *target)
{
	uint64_t hash = hash64(name, t->seed);

	if (4 * t->n >= t->n_slots)
		grow(t);
	*slot_of(t, name, hash, kind) = (struct route_name){name, hash, kind, target};
	t->has[kind] = true;
	t->n++;
}

/* A name without an asterisk but in one of the known places, and without empty labels. */
static bool is_well_formed(struct slice s, bool *head, bool *tail)
{
	*head = s.n > 2 && slice_starts(s, SLICE("*."));
	*tail = !*head && s.n > 2 && slice_ends(s, SLICE(".*"));
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '.' && i + 1 < s.n && s.p[i + 1] == '.')
			return false;
		if (s.p[i] == '*' && !(*head && i == 0) && !(*tail && i == s.n - 1))
			return false;
	}
	return true;
}

int route_names_add(struct route_names *t, struct slice name, bool wildcards, void *target)
{
	char *p = arena_cstr(t->arena, name);
	struct slice s = slice_make(p, name.n), bare = s;
	bool head = false, tail = false, both;

	for (size_t i = 0; i < s.n; i++)
		p[i] = (char)slice_lower(p[i]);
	if (wildcards && !is_well_formed(s, &head, &tail))
		return -SL_EINVAL;
	both = wildcards && s.n > 1 && s.p[0] == '.';
	if (both)
		bare = slice_skip(s, 1);
	if (head)
		s = slice_skip(s, 1);
	if (tail)
		s.n--;
	if ((head || both) && find(t, s, ROUTE_NAME_HEAD))
		return -SL_EEXIST;
	if (tail && find(t, s, ROUTE_NAME_TAIL))
		return -SL_EEXIST;
	if (!head && !tail && find(t, bare, ROUTE_NAME_EXACT))
		return -SL_EEXIST;
	if (head || both)
		put(t, s, ROUTE_NAME_HEAD, target);
	if (tail)
		put(t, s, ROUTE_NAME_TAIL, target);
	if (!head && !tail)
		put(t, bare, ROUTE_NAME_EXACT, target);
	return 0;
}

void *route_names_find(const struct route_names *t, struct slice name)
{
	const struct route_name *hit = find(t, name, ROUTE_NAME_EXACT);

	for (size_t i = 1; !hit && t->has[ROUTE_NAME_HEAD] && i + 1 < name.n; i++)
		if (name.p[i] == '.')
			hit = find(t, slice_skip(name, i), ROUTE_NAME_HEAD);
	for (size_t i = name.n; !hit && t->has[ROUTE_NAME_TAIL] && i > 1; i--)
		if (i < name.n && name.p[i - 1] == '.')
			hit = find(t, slice_make(name.p, i), ROUTE_NAME_TAIL);
	return hit ? hit->target : NULL;
}
