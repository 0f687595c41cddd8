/* SPDX-License-Identifier: BSD-2-Clause */
/* Fuzzes user/http/head_h2.c: what it accepts is written as an HTTP/1.1 head, which the strict parser must
 * then read as exactly one head that says the same. Input: a byte of flags, then fields, each with a byte
 * for the length of its name and one for its value. */
#include "core/arena.h"
#include "http/head_h2.h"
#include "http/uri.h"
#include "tests/fuzz/fuzz.h"

static const struct head_limits limits[] = {
	{8192, 32768, 100},
	{64, 160, 4},
};
/* An HTTP/1 head has a version and an empty line besides. */
static const struct head_limits roomy = {70000, 200000, 1000};

struct text {
	char p[200000];
	size_t n;
};

static void put(struct text *t, struct slice s)
{
	FUZZ_CHECK(t->n + s.n <= sizeof t->p);
	if (s.n)
		memcpy(t->p + t->n, s.p, s.n);
	t->n += s.n;
}

static void put_field(struct text *t, struct slice name, struct slice value)
{
	put(t, name);
	put(t, SLICE(": "));
	put(t, value);
	put(t, SLICE("\r\n"));
}

static void write_h1(struct text *t, const struct req_head *h)
{
	bool has_length = false;

	put(t, h->method_text);
	put(t, SLICE(" "));
	put(t, h->target);
	put(t, SLICE(" HTTP/1.1\r\n"));
	for (uint32_t i = 0; i < h->fields.n; i++) {
		put_field(t, h->fields.v[i].name, h->fields.v[i].value);
		has_length |= h->fields.v[i].id == HDR_CONTENT_LENGTH;
	}
	FUZZ_CHECK(has_length == (h->body == BODY_LENGTH));
	if (h->body == BODY_CHUNKED)
		put_field(t, SLICE("Transfer-Encoding"), SLICE("chunked"));
	put(t, SLICE("\r\n"));
}

static void check(const struct req_head *h, struct arena *a)
{
	static struct text t;
	struct head_scan scan = {0};
	enum head_error why;
	struct req_head same;
	unsigned n_cookies = 0;

	t.n = 0;
	write_h1(&t, h);
	FUZZ_CHECK(head_parse_request(&scan, slice_make(t.p, t.n), &roomy, a, &same, &why) ==
		   (int)t.n);
	FUZZ_CHECK(same.method == h->method && slice_eq(same.method_text, h->method_text));
	FUZZ_CHECK(slice_eq(same.target, h->target) && slice_eq(same.path, h->path));
	FUZZ_CHECK(slice_eq(same.host, h->host));
	FUZZ_CHECK(same.body == h->body && same.content_length == h->content_length);
	FUZZ_CHECK(same.expect_continue == h->expect_continue && same.keep_alive);
	FUZZ_CHECK(same.fields.n == h->fields.n + (h->body == BODY_CHUNKED));
	FUZZ_CHECK(h->http2 && h->minor == 1 && !h->connection_upgrade);
	for (uint32_t i = 0; i < h->fields.n; i++) {
		FUZZ_CHECK(slice_eq(same.fields.v[i].name, h->fields.v[i].name));
		FUZZ_CHECK(slice_eq(same.fields.v[i].value, h->fields.v[i].value));
		n_cookies += h->fields.v[i].id == HDR_COOKIE;
	}
	FUZZ_CHECK(n_cookies <= 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct head_limits *lim;
	struct head_h2 s = {0};
	struct req_head head = {0};
	struct arena a;
	bool end_stream;
	size_t at = 1;

	hdr_setup();
	if (size < 1)
		return 0;
	end_stream = data[0] & 1;
	lim = &limits[data[0] >> 1 & 1];
	arena_init(&a, 2048);
	while (at + 2 <= size && at + 2 + data[at] + data[at + 1] <= size) {
		size_t n = data[at], v = data[at + 1];
		char *name = fuzz_copy(data + at + 2, n), *value = fuzz_copy(data + at + 2 + n, v);

		head_h2_field(&s, slice_make(name, n), slice_make(value, v), lim, &a, &head);
		if (head_h2_trailer(slice_make(name, n), slice_make(value, v)) == HEAD_OK)
			FUZZ_CHECK(n > 0 && name[0] != ':');
		free(name);
		free(value);
		at += 2 + n + v;
	}
	if (head_h2_finish(&s, end_stream, &a, &head) == HEAD_OK) {
		FUZZ_CHECK(s.bytes <= lim->head_max_bytes);
		check(&head, &a);
	}
	arena_fini(&a);
	return 0;
}
