/* SPDX-License-Identifier: BSD-2-Clause */
/* Fuzzes user/net/proxy_intro.c: the answer does not depend on how the bytes come, and what is accepted can
 * be written again and read alike. */
#include "core/err.h"
#include "net/proxy_intro.h"
#include "net/proxy_line.h"
#include "tests/fuzz/fuzz.h"

static int parse(const uint8_t *data, size_t n, struct proxy_intro *out)
{
	char *copy = fuzz_copy(data, n);
	int rc = proxy_intro_parse(slice_make(copy, n), out);

	free(copy);
	FUZZ_CHECK(rc <= (int)n && (rc >= 0 || rc == -SL_EINVAL));
	return rc;
}

/* A mapped IPv4 address may come back as IPv4. */
static bool same(const struct addr *a, const struct addr *b)
{
	char one[ADDR_TEXT_MAX], two[ADDR_TEXT_MAX];

	addr_ip_text(a, one);
	addr_ip_text(b, two);
	return strcmp(one, two) == 0 && addr_port(a) == addr_port(b);
}

static void check(const struct proxy_intro *h)
{
	struct proxy_intro again;
	char text[PROXY_LINE_MAX];
	size_t n;

	FUZZ_CHECK((h->src.len > 0) == (h->dst.len > 0));
	if (!h->src.len)
		return;
	FUZZ_CHECK(h->src.sa.sa_family == h->dst.sa.sa_family);
	n = proxy_line_v2(text, &h->src, &h->dst);
	FUZZ_CHECK(proxy_intro_parse(slice_make(text, n), &again) == (int)n);
	FUZZ_CHECK(same(&again.src, &h->src) && same(&again.dst, &h->dst));
	n = proxy_line_v1(text, &h->src, &h->dst);
	FUZZ_CHECK(proxy_intro_parse(slice_make(text, n), &again) == (int)n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct proxy_intro whole, cut;
	int rc = parse(data, size, &whole), part = 0;
	size_t step = 1 + size / 64;

	FUZZ_CHECK(rc != 0 || size < PROXY_INTRO_MAX);
	if (rc > 0)
		check(&whole);
	for (size_t n = 0; n < size && part == 0; n += step)
		part = parse(data, n, &cut);
	FUZZ_CHECK(part == 0 || part == rc);
	return 0;
}
