/* SPDX-License-Identifier: BSD-2-Clause */
/* Unit tests of user/http/chunk.c. Every input goes in whole, cut in two at each byte, and byte by
 * byte, and must be answered alike. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/err.h"
#include "http/chunk.h"

#define N_OF(a) (sizeof(a) / sizeof((a)[0]))

struct result {
	int rc;
	size_t used, n;
	char *data;
};

/* Decodes IN in pieces: up to CUT, then STEP bytes a call, each in memory of exactly its size. */
static struct result decode(struct slice in, size_t cut, size_t step)
{
	struct result r = {.data = malloc(in.n + 1)};
	struct chunk_dec d;

	assert_non_null(r.data);
	chunk_dec_init(&d);
	while (r.used < in.n && r.rc == 0) {
		size_t n = r.used < cut ? cut - r.used : step, out_n, used;
		char *piece;

		if (n > in.n - r.used)
			n = in.n - r.used;
		piece = malloc(n);
		assert_non_null(piece);
		memcpy(piece, in.p + r.used, n);
		r.rc = chunk_decode(&d, piece, n, &out_n, &used);
		assert_true(used <= n && out_n <= used);
		if (r.rc == 0)
			assert_int_equal(used, n);
		memcpy(r.data + r.n, piece, out_n);
		r.n += out_n;
		r.used += used;
		free(piece);
	}
	return r;
}

static void check_same(struct result *whole, struct result r, struct slice in, size_t cut)
{
	if (r.rc != whole->rc || r.used != whole->used || r.n != whole->n ||
	    memcmp(r.data, whole->data, r.n) != 0)
		fail_msg("\"%.*s\" cut at %zu: %d, %zu, %zu instead of %d, %zu, %zu", SLICE_FMT(in),
			 cut, r.rc, r.used, r.n, whole->rc, whole->used, whole->n);
	free(r.data);
}

/* The caller frees .data. */
static struct result decode_all_ways(struct slice in)
{
	struct result whole = decode(in, in.n, 1);

	for (size_t cut = 0; cut < in.n; cut++)
		check_same(&whole, decode(in, cut, in.n), in, cut);
	check_same(&whole, decode(in, 0, 1), in, 1);
	check_same(&whole, decode(in, 0, 3), in, 3);
	return whole;
}

static void test_good(void **state)
{
	static const struct {
		struct slice in;
		const char *data;
		size_t behind; /* bytes that are not the body's */
	} cases[] = {
		{SLICE_INIT("0\r\n\r\n"), "", 0},
		{SLICE_INIT("000\r\n\r\nGET / HTTP/1.1\r\n"), "", 16},
		{SLICE_INIT("5\r\nhello\r\n0\r\n\r\n"), "hello", 0},
		{SLICE_INIT("5\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\n\r\n0"), "hello world", 1},
		{SLICE_INIT("a\r\n0123456789\r\n0\r\n\r\n"), "0123456789", 0},
		{SLICE_INIT("000000000000002\r\nab\r\n0\r\n\r\n"), "ab", 0},
		{SLICE_INIT("2;a\r\nab\r\n0;b\r\n\r\n"), "ab", 0},
		{SLICE_INIT("2;a=b;c;d=\"e;\\\"\\\\ \t\xff\";f=\"\"\r\nab\r\n0\r\n\r\n"), "ab", 0},
		{SLICE_INIT("1\r\na\r\n0\r\nX: y\r\nz:\r\nA:\tb c \xff\r\n\r\n"), "a", 0},
	};

	for (size_t i = 0; i < N_OF(cases); i++) {
		struct result r = decode_all_ways(cases[i].in);

		if (r.rc != 1 || r.used != cases[i].in.n - cases[i].behind)
			fail_msg("case %zu: %d after %zu", i, r.rc, r.used);
		assert_true(slice_eq(slice_make(r.data, r.n), slice_cstr(cases[i].data)));
		free(r.data);
	}
}

static void test_data_that_looks_like_framing(void **state)
{
	struct result r = decode_all_ways(SLICE("A\r\n\r\n0\r\n\r\n1\r\n\r\n0\r\n\r\n"));

	assert_int_equal(r.rc, 1);
	assert_true(slice_eq(slice_make(r.data, r.n), SLICE("\r\n0\r\n\r\n1\r\n")));
	free(r.data);
}

static void test_refused(void **state)
{
	static const struct slice cases[] = {
		SLICE_INIT("\r\n"),
		SLICE_INIT(" 5\r\n"),
		SLICE_INIT("5 \r\n"),
		SLICE_INIT("5 5\r\n"),
		SLICE_INIT("\t5\r\n"),
		SLICE_INIT("0x5\r\n"),
		SLICE_INIT("x\r\n"),
		SLICE_INIT("g\r\n"),
		SLICE_INIT("-1\r\n"),
		SLICE_INIT("+1\r\n"),
		SLICE_INIT("5,\r\n"),
		SLICE_INIT("5\n"),
		SLICE_INIT("5\r5"),
		SLICE_INIT("5\r\r\n"),
		SLICE_INIT("5\0\r\n"),
		SLICE_INIT("1000000000000000\r\n"),
		SLICE_INIT("0000000000000001\r\n"),
		SLICE_INIT("fffffffffffffffff\r\n"),
		SLICE_INIT("1\r\nab"),
		SLICE_INIT("1\r\na\n"),
		SLICE_INIT("1\r\na\r\r"),
		SLICE_INIT("1\r\na0\r\n"),
		SLICE_INIT("1\r\na\r\n\r\n"),
		SLICE_INIT("1\r\na\r\n 1"),
		SLICE_INIT(";a\r\n"),
		SLICE_INIT("5;\r\n"),
		SLICE_INIT("5;;a\r\n"),
		SLICE_INIT("5;a;\r\n"),
		SLICE_INIT("5; a\r\n"),
		SLICE_INIT("5 ;a\r\n"),
		SLICE_INIT("5;a =b\r\n"),
		SLICE_INIT("5;a= b\r\n"),
		SLICE_INIT("5;a=\r\n"),
		SLICE_INIT("5;=b\r\n"),
		SLICE_INIT("5;a=b=c\r\n"),
		SLICE_INIT("5;a=b\n"),
		SLICE_INIT("5;a\n"),
		SLICE_INIT("5;a\rb"),
		SLICE_INIT("5;a=\"\n"),
		SLICE_INIT("5;a=\"\r\n"),
		SLICE_INIT("5;a=\"\\\r\n"),
		SLICE_INIT("5;a=\"\x7f\""),
		SLICE_INIT("5;a=\"\0\""),
		SLICE_INIT("5;a=\"b\"c\r\n"),
		SLICE_INIT("5;a\"b\"\r\n"),
		SLICE_INIT("5;\"a\"\r\n"),
		SLICE_INIT("5;a=\"b\"=c\r\n"),
		SLICE_INIT("5;a\xff\r\n"),
		SLICE_INIT("0\n\n"),
		SLICE_INIT("0\r\n\n"),
		SLICE_INIT("0\r\n\r\r"),
		SLICE_INIT("0\r\n\r0"),
		SLICE_INIT("0\r\n X: y\r\n\r\n"),
		SLICE_INIT("0\r\n: y\r\n\r\n"),
		SLICE_INIT("0\r\nX : y\r\n\r\n"),
		SLICE_INIT("0\r\nX\r\n\r\n"),
		SLICE_INIT("0\r\nX: y\n\r\n"),
		SLICE_INIT("0\r\nX: y\r\n z\r\n\r\n"),
		SLICE_INIT("0\r\nX: \0\r\n\r\n"),
		SLICE_INIT("0\r\nX: y\rz\r\n\r\n"),
		SLICE_INIT("0\r\nX: y\r\n\n"),
		SLICE_INIT("0\r\nGET / HTTP/1.1\r\n\r\n"),
	};

	for (size_t i = 0; i < N_OF(cases); i++) {
		struct result r = decode_all_ways(cases[i]);

		if (r.rc != -SL_EINVAL)
			fail_msg("case %zu \"%.*s\": %d", i, SLICE_FMT(cases[i]), r.rc);
		free(r.data);
	}
}

static int decode_with_bws(struct slice in, size_t step, struct slice *data, char *to)
{
	size_t at = 0, out_n, used, n = 0;
	struct chunk_dec d;
	int rc = 0;

	chunk_dec_init(&d);
	chunk_allow_bws(&d);
	while (rc == 0 && at < in.n) {
		size_t k = in.n - at < step ? in.n - at : step;

		memcpy(to + n, in.p + at, k);
		rc = chunk_decode(&d, to + n, k, &out_n, &used);
		n += out_n;
		at += used;
	}
	*data = slice_make(to, n);
	return rc;
}

/* RFC 9112 7.1.1 has BWS, which a sender must not send and a recipient must take. */
static void test_bad_white_space(void **state)
{
	static const struct {
		struct slice in;
		int rc;
	} cases[] = {
		{SLICE_INIT("5 \r\nhello\r\n0  \t\r\n\r\n"), 1},
		{SLICE_INIT("5 ;a\r\nhello\r\n0\r\n\r\n"), 1},
		{SLICE_INIT("5;\ta\r\nhello\r\n0\r\n\r\n"), 1},
		{SLICE_INIT("5; a = b ; c =\"d\" ;e\t;f \r\nhello\r\n0 \r\n\r\n"), 1},
		{SLICE_INIT("5 5\r\n"), -SL_EINVAL},
		{SLICE_INIT(" 5\r\n"), -SL_EINVAL},
		{SLICE_INIT("5 a\r\n"), -SL_EINVAL},
		{SLICE_INIT("5;a b\r\n"), -SL_EINVAL},
		{SLICE_INIT("5;a =\r\n"), -SL_EINVAL},
		{SLICE_INIT("5;a=b c\r\n"), -SL_EINVAL},
		{SLICE_INIT("5;a=b =c\r\n"), -SL_EINVAL},
		{SLICE_INIT("5;a=\"b\" c\r\n"), -SL_EINVAL},
		{SLICE_INIT("5 ; \r\n"), -SL_EINVAL},
		{SLICE_INIT("5 \n"), -SL_EINVAL},
		{SLICE_INIT("5\r \n"), -SL_EINVAL},
		{SLICE_INIT("5\r\nhello \r\n"), -SL_EINVAL},
		{SLICE_INIT("0\r\nX : y\r\n\r\n"), -SL_EINVAL},
	};
	char to[128];

	for (size_t i = 0; i < N_OF(cases); i++)
		for (size_t step = 1; step <= cases[i].in.n; step++) {
			struct slice data;
			int rc = decode_with_bws(cases[i].in, step, &data, to);

			if (rc != cases[i].rc)
				fail_msg("case %zu by %zu: %d", i, step, rc);
			if (rc == 1)
				assert_true(slice_eq(data, SLICE("hello")));
		}
}

static void test_incomplete(void **state)
{
	static const struct slice cases[] = {
		SLICE_INIT("5"),
		SLICE_INIT("5\r"),
		SLICE_INIT("5\r\nhell"),
		SLICE_INIT("5\r\nhello"),
		SLICE_INIT("5\r\nhello\r\n"),
		SLICE_INIT("fffffffffffffff\r\nhello"),
		SLICE_INIT("5;a=\""),
		SLICE_INIT("0\r\n"),
		SLICE_INIT("0\r\n\r"),
		SLICE_INIT("0\r\nX: y\r\n"),
		SLICE_INIT("0\r\nX"),
	};

	for (size_t i = 0; i < N_OF(cases); i++) {
		struct result r = decode_all_ways(cases[i]);

		assert_int_equal(r.rc, 0);
		assert_int_equal(r.used, cases[i].n);
		free(r.data);
	}
}

static void test_trailers_that_are_kept(void **state)
{
	char in[] = "3\r\nabc\r\n0;x\r\nA: 1\r\nlong-name:  v\r\n\r\nrest";
	char none[] = "0\r\n\r\n", kept[CHUNK_OVERHEAD_MAX + 2], many[2 * CHUNK_OVERHEAD_MAX];
	struct chunk_dec d;
	size_t out_n, used;

	for (size_t step = 1; step < sizeof in; step++) {
		size_t at = 0;
		int rc = 0;
		char copy[sizeof in];

		memcpy(copy, in, sizeof in);
		chunk_dec_init(&d);
		chunk_keep_trailers(&d, kept);
		while (rc == 0) {
			size_t n = sizeof in - 1 - at < step ? sizeof in - 1 - at : step;

			rc = chunk_decode(&d, copy + at, n, &out_n, &used);
			at += used;
		}
		assert_int_equal(rc, 1);
		assert_int_equal(at, sizeof in - 1 - 4);
		assert_true(slice_eq(chunk_trailers(&d), SLICE("A: 1\r\nlong-name:  v\r\n\r\n")));
	}
	chunk_dec_init(&d);
	chunk_keep_trailers(&d, kept);
	assert_int_equal(chunk_decode(&d, none, 5, &out_n, &used), 1);
	assert_int_equal(chunk_trailers(&d).n, 0);
	/* Many short lines: the line ends count here, too. */
	memcpy(many, "0\r\n", 3);
	for (size_t i = 3; i + 4 <= sizeof many; i += 4)
		memcpy(many + i, "a:\r\n", 4);
	chunk_dec_init(&d);
	chunk_keep_trailers(&d, kept);
	assert_int_equal(chunk_decode(&d, many, sizeof many, &out_n, &used), -SL_ELIMIT);
}

static void test_errors_and_the_end_are_final(void **state)
{
	char bad[] = "zz", good[] = "0\r\n\r\n", more[] = "5\r\n";
	struct chunk_dec d;
	size_t out_n, used;

	chunk_dec_init(&d);
	assert_int_equal(chunk_decode(&d, bad, 2, &out_n, &used), -SL_EINVAL);
	assert_int_equal(chunk_decode(&d, good, 5, &out_n, &used), -SL_EINVAL);
	assert_int_equal(used, 0);
	chunk_dec_init(&d);
	assert_false(d.in_trailers);
	assert_int_equal(chunk_decode(&d, good, 3, &out_n, &used), 0);
	assert_true(d.in_trailers);
	assert_int_equal(chunk_decode(&d, good + 3, 2, &out_n, &used), 1);
	assert_int_equal(chunk_decode(&d, more, 3, &out_n, &used), 1);
	assert_int_equal(used, 0);
	assert_int_equal(out_n, 0);
	chunk_dec_init(&d);
	assert_int_equal(chunk_decode(&d, more, 0, &out_n, &used), 0);
}

/* What came before an error is there. */
static void test_data_before_an_error(void **state)
{
	struct result r = decode_all_ways(SLICE("3\r\nabc\r\n2\r\nde\nx"));

	assert_int_equal(r.rc, -SL_EINVAL);
	assert_true(slice_eq(slice_make(r.data, r.n), SLICE("abcde")));
	assert_int_equal(r.used, 14);
	free(r.data);
}

/* START, then N bytes of FILL, then TAIL. */
static struct result decode_filled(const char *start, char fill, size_t n, const char *tail)
{
	size_t a = strlen(start), b = strlen(tail);
	char *in = malloc(a + n + b);
	struct result r;

	assert_non_null(in);
	memcpy(in, start, a);
	memset(in + a, fill, n);
	memcpy(in + a + n, tail, b);
	r = decode_all_ways(slice_make(in, a + n + b));
	free(in);
	return r;
}

static void test_limits(void **state)
{
	struct result r;
	char *in = malloc(65536);
	size_t n = 0;

	assert_non_null(in);
	/* The ";" counts, and of a trailer all but the LF. */
	r = decode_filled("1;", 'x', CHUNK_EXT_MAX - 1, "\r\na\r\n0\r\n\r\n");
	assert_int_equal(r.rc, 1);
	free(r.data);
	r = decode_filled("1;", 'x', CHUNK_EXT_MAX, "\r\na\r\n0\r\n\r\n");
	assert_int_equal(r.rc, -SL_ELIMIT);
	free(r.data);
	r = decode_filled("0\r\nX:", 'x', CHUNK_OVERHEAD_MAX - 3, "\r\n\r\n");
	assert_int_equal(r.rc, 1);
	free(r.data);
	r = decode_filled("0\r\nX:", 'x', CHUNK_OVERHEAD_MAX - 2, "\r\n\r\n");
	assert_int_equal(r.rc, -SL_ELIMIT);
	free(r.data);
	/* A long body may have as many small ones as it has chunks ... */
	for (int i = 0; i < 4097; i++) {
		memcpy(in + n, "1;xyz\r\nd\r\n", 10);
		n += 10;
	}
	r = decode(slice_make(in, n), n, 1);
	assert_int_equal(r.rc, 0);
	assert_int_equal(r.n, 4097);
	free(r.data);
	/* ... but what is longer than the data adds up: 100 bytes, of which 18 are free. */
	for (n = 0; n + 106 <= 65536; n += 106) {
		memset(in + n, 'x', 106);
		memcpy(in + n, "1;", 2);
		memcpy(in + n + 101, "\r\nd\r\n", 5);
	}
	r = decode(slice_make(in, n), n, 1);
	assert_int_equal(r.rc, -SL_ELIMIT);
	assert_int_equal(r.n, (CHUNK_OVERHEAD_MAX - 100) / 82 + 1);
	free(r.data);
	free(in);
}

static void test_large_chunks(void **state)
{
	enum { N = 100000 };
	char *in = malloc(2 * N + 64);
	struct chunk_dec d;
	size_t n = 0, out_n, used;

	assert_non_null(in);
	for (int i = 0; i < 2; i++) {
		memcpy(in + n, "186a0\r\n", 7);
		memset(in + n + 7, 'a' + i, N);
		memcpy(in + n + 7 + N, "\r\n", 2);
		n += N + 9;
	}
	memcpy(in + n, "0\r\n\r\n", 5);
	chunk_dec_init(&d);
	assert_int_equal(chunk_decode(&d, in, n + 5, &out_n, &used), 1);
	assert_int_equal(out_n, 2 * N);
	for (size_t i = 0; i < 2 * N; i++)
		assert_int_equal(in[i], i < N ? 'a' : 'b');

	/* In the middle of a chunk, data stays where it is. */
	chunk_dec_init(&d);
	memcpy(in, "186a0\r\n", 7);
	assert_int_equal(chunk_decode(&d, in, 7, &out_n, &used), 0);
	assert_int_equal(out_n, 0);
	memset(in, 'x', N);
	assert_int_equal(chunk_decode(&d, in, N, &out_n, &used), 0);
	assert_int_equal(out_n, N);
	assert_int_equal(in[0], 'x');
	free(in);
}

static void test_put_size(void **state)
{
	static const struct {
		uint64_t size;
		const char *line;
	} cases[] = {
		{0, "0\r\n"},	{1, "1\r\n"},	     {15, "f\r\n"},
		{16, "10\r\n"}, {16384, "4000\r\n"}, {UINT64_MAX, "ffffffffffffffff\r\n"},
	};
	char room[20];

	for (size_t i = 0; i < N_OF(cases); i++) {
		size_t n;

		memset(room, '#', sizeof room);
		n = chunk_put_size_before(room + sizeof room, cases[i].size);
		assert_true(
			slice_eq(slice_make(room + sizeof room - n, n), slice_cstr(cases[i].line)));
		assert_int_equal(room[sizeof room - n - 1], '#');
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_data_that_looks_like_framing),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_bad_white_space),
		cmocka_unit_test(test_incomplete),
		cmocka_unit_test(test_trailers_that_are_kept),
		cmocka_unit_test(test_errors_and_the_end_are_final),
		cmocka_unit_test(test_data_before_an_error),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_large_chunks),
		cmocka_unit_test(test_put_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
