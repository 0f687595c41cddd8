/* SPDX-License-Identifier: BSD-2-Clause */
/* Fuzzes user/http/uri.c: what is accepted is normal, and escaping it and parsing again changes
 * nothing. The first byte says whether slashes are merged. */
#include "core/arena.h"
#include "core/err.h"
#include "http/uri.h"
#include "tests/fuzz/fuzz.h"

static bool has(struct slice s, const char *text)
{
	return fuzz_find(s.p, s.n, text) != NULL;
}

static void check_path(const struct uri *u, struct slice raw, bool merge, struct arena *a)
{
	struct slice path = u->path, escaped;
	struct uri again;

	if (slice_eq(raw, SLICE("*")))
		return;
	FUZZ_CHECK(path.n > 0 && path.p[0] == '/' && path.n <= raw.n);
	FUZZ_CHECK(!has(path, "/./") && !has(path, "/../"));
	FUZZ_CHECK(!slice_ends(path, SLICE("/.")) && !slice_ends(path, SLICE("/..")));
	FUZZ_CHECK(!merge || !has(path, "//"));
	for (size_t i = 0; i < path.n; i++)
		FUZZ_CHECK((unsigned char)path.p[i] >= 0x20 && path.p[i] != 0x7f);
	FUZZ_CHECK(!u->plain || slice_starts(raw, path));

	escaped = uri_escape_path(path, a);
	for (size_t i = 0; i < escaped.n; i++)
		FUZZ_CHECK(escaped.p[i] > 0x20 && escaped.p[i] < 0x7f && escaped.p[i] != '?');
	FUZZ_CHECK(uri_parse(escaped, merge, a, &again) == 0);
	FUZZ_CHECK(slice_eq(again.path, path) && !again.has_args);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice raw, value;
	struct arena arena;
	struct uri u;
	char *in;

	if (size < 1)
		return 0;
	in = fuzz_copy(data + 1, size - 1);
	raw = slice_make(in, size - 1);
	arena_init(&arena, 1024);
	if (uri_parse(raw, data[0] & 1, &arena, &u) == 0) {
		ptrdiff_t question = slice_find(raw, '?');

		check_path(&u, raw, data[0] & 1, &arena);
		FUZZ_CHECK(u.has_args == (question >= 0));
		FUZZ_CHECK(!u.has_args || slice_eq(u.args, slice_skip(raw, (size_t)question + 1)));
		if (uri_arg(u.args, SLICE("a"), &value))
			FUZZ_CHECK(value.p > u.args.p && value.p + value.n <= u.args.p + u.args.n &&
				   !has(value, "&"));
	}
	if (uri_cookie(raw, SLICE("a"), &value))
		FUZZ_CHECK(value.p > raw.p && value.p + value.n <= raw.p + raw.n &&
			   !has(value, ";"));
	arena_fini(&arena);
	free(in);
	return 0;
}
