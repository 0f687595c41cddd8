/* SPDX-License-Identifier: BSD-2-Clause */
/* Fuzzes user/http/chunk.c. The first byte says how the input is cut; the answer must not depend on
 * it, and what is accepted must read the same by the plainest of decoders. */
#include "core/err.h"
#include "http/chunk.h"
#include "http/head.h"
#include "tests/fuzz/fuzz.h"

struct decoded {
	int rc;
	size_t used, n;
	char *data;
	char kept[CHUNK_OVERHEAD_MAX + 2];
	struct slice trailers;
};

static struct decoded *decode(const char *in, size_t n, size_t step)
{
	struct decoded *r = calloc(1, sizeof *r);
	struct chunk_dec d;

	FUZZ_CHECK(r != NULL);
	r->data = fuzz_copy(in, n);
	chunk_dec_init(&d);
	chunk_keep_trailers(&d, r->kept);
	while (r->rc == 0 && r->used < n) {
		size_t k = step < n - r->used ? step : n - r->used, out_n, used;
		char *piece = fuzz_copy(in + r->used, k);

		r->rc = chunk_decode(&d, piece, k, &out_n, &used);
		FUZZ_CHECK(used <= k && out_n <= used);
		FUZZ_CHECK(r->rc != 0 || used == k);
		memcpy(r->data + r->n, piece, out_n);
		r->used += used;
		r->n += out_n;
		free(piece);
	}
	if (r->rc == 1)
		r->trailers = chunk_trailers(&d);
	return r;
}

/* What was kept is what stood there, and reads as fields do. */
static void check_trailers(struct slice there, const struct decoded *r)
{
	struct arena a;
	struct hdrs fields = {0};

	if (there.n == 2) {
		FUZZ_CHECK(r->trailers.n == 0);
		return;
	}
	FUZZ_CHECK(slice_eq(r->trailers, there));
	hdr_setup();
	arena_init(&a, 4096);
	FUZZ_CHECK(head_parse_trailers(r->trailers, &a, &fields) == 0 && fields.n > 0);
	arena_fini(&a);
}

/* Trusts that the input was accepted: its lines end in CRLF and each size is digits. */
static void check_accepted(const char *in, const struct decoded *r)
{
	size_t at = 0, n = 0;

	for (;;) {
		char *rest;
		size_t size = strtoul(in + at, &rest, 16);
		const char *lf;

		FUZZ_CHECK(rest > in + at && (*rest == '\r' || *rest == ';'));
		lf = memchr(rest, '\n', r->used - (size_t)(rest - in));
		FUZZ_CHECK(lf && lf[-1] == '\r');
		at = (size_t)(lf - in) + 1;
		if (size == 0)
			break;
		FUZZ_CHECK(size + 2 <= r->used - at && n + size <= r->n);
		FUZZ_CHECK(memcmp(in + at, r->data + n, size) == 0);
		FUZZ_CHECK(memcmp(in + at + size, "\r\n", 2) == 0);
		n += size;
		at += size + 2;
	}
	FUZZ_CHECK(n == r->n);
	FUZZ_CHECK(memcmp(in + r->used - 4, "\r\n\r\n", 4) == 0);
	FUZZ_CHECK(fuzz_find(in + at - 2, r->used - at + 2, "\r\n\r\n") == in + r->used - 4);
	FUZZ_CHECK(r->used - at <= CHUNK_OVERHEAD_MAX * 2);
	check_trailers(slice_make(in + at, r->used - at), r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct decoded *whole, *cut;
	char *in;

	if (size < 1)
		return 0;
	in = fuzz_copy(data + 1, size - 1);
	whole = decode(in, size - 1, size);
	cut = decode(in, size - 1, 1 + data[0] % 64 + size / 64);
	FUZZ_CHECK(whole->rc == cut->rc && whole->used == cut->used && whole->n == cut->n);
	FUZZ_CHECK(memcmp(whole->data, cut->data, whole->n) == 0);
	FUZZ_CHECK(whole->rc == 0 || whole->rc == 1 || whole->rc == -SL_EINVAL ||
		   whole->rc == -SL_ELIMIT);
	if (whole->rc == 1)
		check_accepted(in, whole);
	FUZZ_CHECK(slice_eq(whole->trailers, cut->trailers));
	free(whole->data);
	free(cut->data);
	free(whole);
	free(cut);
	free(in);
	return 0;
}
