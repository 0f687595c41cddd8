/* SPDX-License-Identifier: BSD-2-Clause */
/* Fuzzes what a client asks of an answer: Range (user/http/range.c), Accept-Encoding (coding.c), dates (date.c). Ranges
 * lie within the body and add up to no more than it; a date that is read is the one that is written. The first
 * two bytes are the body's length and how many ranges may be asked for. */
#include "http/coding.h"
#include "http/date.h"
#include "http/range.h"
#include "tests/fuzz/fuzz.h"

static void check_ranges(struct slice value, uint64_t length, uint32_t n_max)
{
	struct ranges out;
	struct arena arena;
	uint64_t total = 0;

	arena_init(&arena, 1024);
	if (range_parse(value, length, n_max, &arena, &out) == RANGE_OK) {
		FUZZ_CHECK(out.n > 0 && out.n <= n_max);
		for (uint32_t i = 0; i < out.n; i++) {
			FUZZ_CHECK(out.v[i].start < out.v[i].end && out.v[i].end <= length);
			total += out.v[i].end - out.v[i].start;
		}
		FUZZ_CHECK(total <= length);
	}
	arena_fini(&arena);
}

static void check_date(struct slice text)
{
	int64_t t = date_parse(text);
	char at[DATE_BYTES];
	struct slice s;

	if (t == -1)
		return;
	FUZZ_CHECK(t >= 0);
	s = date_put(at, t);
	FUZZ_CHECK(s.n == DATE_BYTES && date_parse(s) == t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text;
	char *in;

	if (size < 2)
		return 0;
	in = fuzz_copy(data + 2, size - 2);
	text = slice_make(in, size - 2);
	check_ranges(text, data[0] == 255 ? INT64_MAX : data[0], data[1]);
	check_date(text);
	if (coding_takes_gzip(text)) {
		bool is_there = false;

		for (size_t i = 0; i < text.n; i++)
			is_there |= slice_istarts(slice_skip(text, i), SLICE("gzip"));
		FUZZ_CHECK(is_there);
	}
	free(in);
	return 0;
}
