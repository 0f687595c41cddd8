/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads a Range field into offsets. Decides nothing about whether ranges are served. */
#include "http/range.h"

#include "core/err.h"

enum { ROOM_FIRST = 4 };

static void skip_spaces(struct slice *s)
{
	while (s->n && s->p[0] == ' ')
		*s = slice_skip(*s, 1);
}

static int take_number(struct slice *s, uint64_t *out)
{
	static const uint64_t max = INT64_MAX;
	uint64_t v = 0;

	if (!s->n || s->p[0] < '0' || s->p[0] > '9')
		return -SL_EINVAL;
	for (; s->n && s->p[0] >= '0' && s->p[0] <= '9'; *s = slice_skip(*s, 1)) {
		unsigned digit = (unsigned)(s->p[0] - '0');

		if (v > (max - digit) / 10)
			return -SL_ELIMIT;
		v = v * 10 + digit;
	}
	*out = v;
	return 0;
}

/* One range, up to a comma or the end: "1-2", "1-", "-2". It may be empty (start >= end). */
static int take_range(struct slice *s, uint64_t length, struct range *r)
{
	bool suffix;
	uint64_t last;

	skip_spaces(s);
	suffix = s->n && s->p[0] == '-';
	r->start = 0;
	if (!suffix) {
		if (take_number(s, &r->start))
			return -SL_EINVAL;
		skip_spaces(s);
	}
	if (!s->n || s->p[0] != '-')
		return -SL_EINVAL;
	*s = slice_skip(*s, 1);
	if (!suffix)
		skip_spaces(s);
	r->end = length;
	if (!suffix && (!s->n || s->p[0] == ','))
		return 0;
	if (take_number(s, &last))
		return -SL_EINVAL;
	skip_spaces(s);
	if (s->n && s->p[0] != ',')
		return -SL_EINVAL;
	if (suffix)
		r->start = last < length ? length - last : 0;
	else if (last < length)
		r->end = last + 1;
	return 0;
}

static void add(struct ranges *out, uint32_t *room, struct arena *a, struct range r)
{
	struct range *v;

	if (out->n == *room) {
		*room = *room ? 2 * *room : ROOM_FIRST;
		v = arena_alloc(a, *room * sizeof *v);
		if (out->n)
			memcpy(v, out->v, out->n * sizeof *v);
		out->v = v;
	}
	out->v[out->n++] = r;
}

enum range_result range_parse(struct slice value, uint64_t length, uint32_t n_max, struct arena *a,
			      struct ranges *out)
{
	struct slice s = value;
	uint64_t total = 0;
	uint32_t room = 0;
	struct range r;

	*out = (struct ranges){0};
	if (!n_max || value.n < 7 || !slice_istarts(value, SLICE("bytes=")))
		return RANGE_NONE;
	s = slice_skip(s, 6);
	for (;;) {
		if (take_range(&s, length, &r))
			return RANGE_BAD;
		if (r.start < r.end) {
			if (out->n == n_max)
				return RANGE_NONE;
			add(out, &room, a, r);
			total += r.end - r.start;
			if (total > INT64_MAX)
				return RANGE_BAD;
		} else if (r.start == 0) {
			return RANGE_NONE; /* an empty body */
		}
		if (!s.n)
			break;
		s = slice_skip(s, 1);
	}
	if (!out->n)
		return RANGE_BAD;
	/* What overlaps so much is asked for in order to load us. */
	return total > length ? RANGE_NONE : RANGE_OK;
}
