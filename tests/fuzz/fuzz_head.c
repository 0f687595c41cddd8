/* SPDX-License-Identifier: BSD-2-Clause */
/* Fuzzes user/http/head*.c. The first byte chooses request or response, limits, and where the input
 * is cut; the answer must not depend on the cut, and an accepted head must hold what the parsers
 * promise. */
#include "core/arena.h"
#include "core/err.h"
#include "http/head.h"
#include "tests/fuzz/fuzz.h"

struct parsed {
	int rc;
	enum head_error why;
	struct req_head req;
	struct resp_head resp;
};

static const struct head_limits limits[] = {
	{8192, 32768, 100},
	{64, 160, 4},
};

static void parse(struct parsed *p, struct head_scan *s, bool response, struct slice in,
		  const struct head_limits *lim, struct arena *a)
{
	*p = (struct parsed){0};
	if (response)
		p->rc = head_parse_response(s, in, lim, a, &p->resp, &p->why);
	else
		p->rc = head_parse_request(s, in, lim, a, &p->req, &p->why);
	FUZZ_CHECK((p->rc < 0) == (p->why != HEAD_OK));
	FUZZ_CHECK(p->rc >= 0 || p->rc == -SL_EINVAL || p->rc == -SL_ELIMIT);
	FUZZ_CHECK(p->rc != 0 || in.n < lim->head_max_bytes);
}

static bool has_ctl(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (((unsigned char)s.p[i] < 0x20 && s.p[i] != '\t') || s.p[i] == 0x7f)
			return true;
	return false;
}

static void check_fields(const struct hdrs *h, struct slice head, const struct head_limits *lim,
			 enum body_kind body)
{
	unsigned n_lengths = 0, n_codings = 0;

	FUZZ_CHECK(h->n <= lim->fields_max && h->n <= h->room);
	for (uint32_t i = 0; i < h->n; i++) {
		const struct hdr *f = &h->v[i];

		FUZZ_CHECK(f->name.n > 0 && !has_ctl(f->name) && !has_ctl(f->value));
		FUZZ_CHECK(f->name.p >= head.p && f->name.p[f->name.n] == ':');
		FUZZ_CHECK(f->value.p + f->value.n < head.p + head.n);
		FUZZ_CHECK(slice_eq(slice_trim(f->value), f->value));
		FUZZ_CHECK(f->hash == hdr_hash(f->name) && f->id == hdr_id_of(f->name, f->hash));
		n_lengths += slice_ieq(f->name, SLICE("content-length"));
		n_codings += slice_ieq(f->name, SLICE("transfer-encoding"));
	}
	FUZZ_CHECK(n_lengths + n_codings <= 1);
	FUZZ_CHECK((n_lengths == 1) == (body == BODY_LENGTH));
	FUZZ_CHECK((n_codings == 1) == (body == BODY_CHUNKED));
}

/* No byte that another recipient could take for a line's end, or drop. */
static void check_head_bytes(struct slice head)
{
	for (size_t i = 0; i < head.n; i++) {
		FUZZ_CHECK(head.p[i] != 0);
		FUZZ_CHECK(head.p[i] != '\n' || (i > 0 && head.p[i - 1] == '\r'));
		FUZZ_CHECK(head.p[i] != '\r' || (i + 1 < head.n && head.p[i + 1] == '\n'));
	}
	FUZZ_CHECK(head.n > 4 && memcmp(head.p + head.n - 4, "\r\n\r\n", 4) == 0);
}

static void check_accepted(const struct parsed *p, bool response, struct slice in,
			   const struct head_limits *lim)
{
	struct slice head = slice_make(in.p, (size_t)p->rc);

	FUZZ_CHECK((size_t)p->rc <= in.n && (size_t)p->rc <= lim->head_max_bytes);
	check_head_bytes(head);
	if (response) {
		FUZZ_CHECK(p->resp.status >= 100 && p->resp.status <= 599);
		FUZZ_CHECK(!has_ctl(p->resp.reason));
		check_fields(&p->resp.fields, head, lim, p->resp.body);
		return;
	}
	FUZZ_CHECK(p->req.target.n > 0 && !has_ctl(p->req.target));
	FUZZ_CHECK(p->req.method == METHOD_CONNECT || p->req.path.n > 0);
	FUZZ_CHECK(p->req.host.n > 0 || (p->req.minor == 0 && p->req.authority.n == 0));
	FUZZ_CHECK(p->req.host.n <= p->req.host_field.n);
	FUZZ_CHECK(p->req.body != BODY_UNTIL_CLOSE);
	check_fields(&p->req.fields, head, lim, p->req.body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct parsed whole, cut;
	struct head_scan scan = {0};
	struct arena arena;
	const struct head_limits *lim;
	bool response;
	char *in, *part;
	size_t n, step;

	hdr_setup();
	if (size < 1)
		return 0;
	response = data[0] & 1;
	lim = &limits[data[0] >> 1 & 1];
	n = size - 1;
	step = 1 + (data[0] >> 2) + n / 64; /* few enough for long inputs to be quick */
	in = fuzz_copy(data + 1, n);
	arena_init(&arena, 2048);
	parse(&whole, &scan, response, slice_make(in, n), lim, &arena);
	if (whole.rc > 0)
		check_accepted(&whole, response, slice_make(in, n), lim);

	scan = (struct head_scan){0};
	cut = (struct parsed){0};
	for (size_t at = 0; cut.rc == 0 && at < n;) {
		at = step < n - at ? at + step : n;
		part = fuzz_copy(in, at);
		parse(&cut, &scan, response, slice_make(part, at), lim, &arena);
		free(part);
	}
	FUZZ_CHECK(cut.rc == whole.rc && cut.why == whole.why);
	FUZZ_CHECK(cut.req.fields.n == whole.req.fields.n);
	FUZZ_CHECK(cut.resp.fields.n == whole.resp.fields.n);
	FUZZ_CHECK(cut.req.content_length == whole.req.content_length);
	arena_fini(&arena);
	free(in);
	return 0;
}
