/* SPDX-License-Identifier: BSD-2-Clause */
/* Unit tests of user/h2/h2_frames.c and h2_past.c: frames are found however their bytes come in; which streams are
 * remembered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "h2/h2_frames.h"
#include "h2/h2_past.h"

static const uint8_t stream[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
				"\0\0\0\4\0\0\0\0\0"			 /* SETTINGS */
				"\0\0\5\2\0\x80\0\0\7\x80\0\0\7\x10"	 /* PRIORITY on itself */
				"\0\0\4\2\0\0\0\0\7\0\0\0\7"		 /* a short one */
				"\0\0\x0a\7\0\0\0\0\0\0\0\0\3\0\0\0\1xy" /* GOAWAY */
				"\0\0\3\x99\x42\0\1\2\3abc"		 /* of no known type */
				"\0\0\0\0\1\0\0\0\1"			 /* DATA */
				"\0\1";					 /* half a head */

static const struct h2_frame_head expected[] = {
	{.type = 4},
	{.type = 2, .payload_n = 5, .stream = 7, .word = 7},
	{.type = 2, .payload_n = 4, .stream = 7},
	{.type = 7, .payload_n = 10, .word = 3},
	{.type = 0x99, .flags = 0x42, .payload_n = 3, .stream = 0x10203},
	{.type = 0, .flags = 1, .stream = 1},
};

enum { N_EXPECTED = sizeof expected / sizeof expected[0] };

static void check_head(const struct h2_frame_head *got, const struct h2_frame_head *wanted)
{
	assert_int_equal(got->type, wanted->type);
	assert_int_equal(got->flags, wanted->flags);
	assert_int_equal(got->payload_n, wanted->payload_n);
	assert_int_equal(got->stream, wanted->stream);
	assert_int_equal(got->word, wanted->word);
}

static void check_in_pieces(size_t first, size_t rest)
{
	uint8_t gone_on[sizeof stream];
	size_t n_on = 0, n_heads = 0, total = sizeof stream - 1, out_n;
	struct h2_frame_head head;
	const uint8_t *out;
	struct h2_frames f;
	bool is_head;

	h2_frames_init(&f);
	for (size_t at = 0, end = first; at < total; end = at + rest) {
		if (end > total)
			end = total;
		while (at < end) {
			at += h2_frames_take(&f, stream + at, end - at, &out, &out_n, &head,
					     &is_head);
			memcpy(gone_on + n_on, out, out_n);
			n_on += out_n;
			if (!is_head)
				continue;
			assert_in_range(n_heads, 0, N_EXPECTED - 1);
			check_head(&head, &expected[n_heads++]);
		}
	}
	assert_int_equal(n_heads, N_EXPECTED);
	/* All that came is handed on, in order, but the half head. */
	assert_int_equal(n_on, total - 2);
	assert_memory_equal(gone_on, stream, n_on);
}

static void test_pieces(void **state)
{
	for (size_t first = 1; first < sizeof stream; first++)
		for (size_t rest = 1; rest < sizeof stream; rest++)
			check_in_pieces(first, rest);
}

static void test_a_head_may_be_changed(void **state)
{
	struct h2_frame_head head;
	struct h2_frames f = {0};
	const uint8_t *out;
	size_t out_n;
	bool is_head;

	assert_int_equal(h2_frames_take(&f, (const uint8_t *)"\0\0\x08\7\0\0\0\0\0\0\0\0\3\0\0\0\1",
					17, &out, &out_n, &head, &is_head),
			 13);
	assert_true(is_head);
	memset(f.head + H2_FRAME_HEAD_BYTES, 0, 4);
	assert_int_equal(out_n, 13);
	assert_memory_equal(out, "\0\0\x08\7\0\0\0\0\0\0\0\0\0", 13);
}

static void test_past(void **state)
{
	struct h2_past p = {0};

	h2_past_opened(&p, 1);
	h2_past_opened(&p, 3);
	assert_false(h2_past_has_skipped(&p, 1));
	h2_past_opened(&p, 9);
	assert_true(h2_past_has_skipped(&p, 5));
	assert_true(h2_past_has_skipped(&p, 7));
	assert_false(h2_past_has_skipped(&p, 9));
	h2_past_done(&p, 3);
	assert_true(h2_past_has_done(&p, 3));
	assert_false(h2_past_has_done(&p, 1));
	for (int i = 0; i < H2_PAST_DONE; i++)
		h2_past_done(&p, 101 + 2 * i);
	assert_false(h2_past_has_done(&p, 3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_a_head_may_be_changed),
		cmocka_unit_test(test_past),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
