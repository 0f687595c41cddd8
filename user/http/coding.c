/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads Accept-Encoding. Decides nothing about the answer. */
#include "http/coding.h"

static const struct slice gzip = SLICE_INIT("gzip");

/* What stands behind the first "gzip" that is a word's beginning; p NULL: none. */
static struct slice find_gzip(struct slice s)
{
	const char *start = s.p;

	for (; s.n >= gzip.n; s = slice_skip(s, 1)) {
		if (!slice_istarts(s, gzip))
			continue;
		if (s.p == start || s.p[-1] == ',' || s.p[-1] == ' ')
			return slice_skip(s, gzip.n);
		s = slice_skip(s, gzip.n - 1);
	}
	return (struct slice){0};
}

/* "0", "1", "0.5" ... up to a comma or a space: over 0? */
static bool is_weight_over_0(struct slice s)
{
	int thousandths, digits = 0;

	if (s.n == 0 || (s.p[0] != '0' && s.p[0] != '1'))
		return false;
	thousandths = (s.p[0] - '0') * 100;
	s = slice_skip(s, 1);
	if (s.n == 0 || s.p[0] == ',' || s.p[0] == ' ')
		return thousandths > 0;
	if (s.p[0] != '.')
		return false;
	/* As nginx: a sum of digits is enough to tell 0 from more, and 1 from more than 1. */
	for (s = slice_skip(s, 1); s.n && s.p[0] != ',' && s.p[0] != ' '; s = slice_skip(s, 1)) {
		if (s.p[0] < '0' || s.p[0] > '9' || ++digits > 3)
			return false;
		thousandths += s.p[0] - '0';
	}
	return thousandths > 0 && thousandths <= 100;
}

bool coding_takes_gzip(struct slice accept_encoding)
{
	struct slice s = find_gzip(accept_encoding);

	if (!s.p)
		return false;
	while (s.n && s.p[0] == ' ')
		s = slice_skip(s, 1);
	if (s.n == 0 || s.p[0] == ',')
		return true;
	if (s.p[0] != ';')
		return false;
	s = slice_skip(s, 1);
	while (s.n && s.p[0] == ' ')
		s = slice_skip(s, 1);
	if (s.n == 0)
		return true;
	if (s.n < 3 || (s.p[0] | 0x20) != 'q' || s.p[1] != '=')
		return false;
	return is_weight_over_0(slice_skip(s, 2));
}
