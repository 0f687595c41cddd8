/* SPDX-License-Identifier: BSD-2-Clause */
/* Unit tests of user/http/head*.c. Every input goes in whole, cut in two at each byte, and byte by
 * byte, each time in memory of exactly its size, and must be answered alike. One file, though long:
 * requests and responses share that harness and the table of refused fields. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/err.h"
#include "http/head.h"

#define N_OF(a) (sizeof(a) / sizeof((a)[0]))
/* A request that is good but for what comes behind its first line. */
#define GET "GET / HTTP/1.1\r\nHost: a\r\n"
#define END "\r\n\r\n"
#define OK200 "HTTP/1.1 200 OK\r\n"

static const struct head_limits usual = {8192, 32768, 100};

struct parse {
	bool response;
	const struct head_limits *lim;
	struct head_scan scan;
	struct arena arena;
	char *copy; /* what the slices of the heads point into */
	struct req_head req;
	struct resp_head resp;
	enum head_error why;
	int rc;
	size_t at; /* bytes given when the answer came */
};

static void parse_start(struct parse *p, bool response, const struct head_limits *lim)
{
	*p = (struct parse){.response = response, .lim = lim};
	arena_init(&p->arena, 2048);
}

static void parse_end(struct parse *p)
{
	arena_fini(&p->arena);
	free(p->copy);
}

/* Gives the first N bytes. */
static int parse_more(struct parse *p, struct slice in, size_t n)
{
	struct slice buf;

	free(p->copy);
	p->copy = malloc(n ? n : 1);
	assert_non_null(p->copy);
	memcpy(p->copy, in.p, n);
	buf = slice_make(p->copy, n);
	p->at = n;
	if (p->response)
		p->rc = head_parse_response(&p->scan, buf, p->lim, &p->arena, &p->resp, &p->why);
	else
		p->rc = head_parse_request(&p->scan, buf, p->lim, &p->arena, &p->req, &p->why);
	assert_true((p->rc < 0) == (p->why != HEAD_OK));
	return p->rc;
}

static void check_alike(const struct parse *whole, const struct parse *p, struct slice in,
			const char *how, size_t cut)
{
	if (p->rc != whole->rc || p->why != whole->why)
		fail_msg("\"%.*s\": %d (%s) whole, but %d (%s) %s %zu", SLICE_FMT(in), whole->rc,
			 head_error_text(whole->why), p->rc, head_error_text(p->why), how, cut);
}

/* The caller looks at WHOLE and ends it. */
static void parse_all_ways(struct parse *whole, bool response, struct slice in,
			   const struct head_limits *lim)
{
	struct parse p;
	size_t n;

	parse_start(whole, response, lim);
	parse_more(whole, in, in.n);
	for (size_t cut = 0; cut < in.n; cut++) {
		parse_start(&p, response, lim);
		if (parse_more(&p, in, cut) == 0)
			parse_more(&p, in, in.n);
		check_alike(whole, &p, in, "cut at", cut);
		parse_end(&p);
	}
	parse_start(&p, response, lim);
	for (n = 0; n < in.n && p.rc == 0;)
		parse_more(&p, in, ++n);
	check_alike(whole, &p, in, "by bytes", n);
	if (p.rc > 0) {
		assert_int_equal(p.at, p.rc);
		assert_int_equal(p.req.fields.n, whole->req.fields.n);
		assert_int_equal(p.resp.fields.n, whole->resp.fields.n);
		assert_true(slice_eq(p.req.host, whole->req.host));
		assert_true(slice_eq(p.req.path, whole->req.path));
		assert_true(slice_eq(p.resp.reason, whole->resp.reason));
	}
	parse_end(&p);
}

struct refused {
	enum head_error why;
	struct slice in;
};

static void check_refused(bool response, const struct refused *cases, size_t n)
{
	struct parse p;

	for (size_t i = 0; i < n; i++) {
		parse_all_ways(&p, response, cases[i].in, &usual);
		if (p.rc != -SL_EINVAL || p.why != cases[i].why)
			fail_msg("case %zu \"%.*s\": %d (%s) instead of (%s)", i,
				 SLICE_FMT(cases[i].in), p.rc, head_error_text(p.why),
				 head_error_text(cases[i].why));
		parse_end(&p);
	}
}

static void assert_slice(struct slice s, const char *text)
{
	if (!slice_eq(s, slice_cstr(text)))
		fail_msg("\"%.*s\" instead of \"%s\"", SLICE_FMT(s), text);
}

static void test_request_typical(void **state)
{
	static const char in[] = "POST /v1/chat?x=1 HTTP/1.1\r\nHost: API.Example.com:8443\r\n"
				 "content-length:\t12 \r\nX-Empty:\r\nX-Tab: a\tb \xc3\xa9\t\r\n"
				 "x_under: 1\r\nExpect: 100-Continue\r\n"
				 "Connection: foo, Upgrade\r\n\r\n{\"body\"}\n\n";
	struct parse p;

	parse_all_ways(&p, false, slice_make(in, sizeof in - 1), &usual);
	assert_int_equal(p.rc, sizeof in - 1 - 10);
	assert_int_equal(p.req.method, METHOD_POST);
	assert_slice(p.req.method_text, "POST");
	assert_slice(p.req.target, "/v1/chat?x=1");
	assert_slice(p.req.path, "/v1/chat?x=1");
	assert_int_equal(p.req.authority.n, 0);
	assert_int_equal(p.req.scheme.n, 0);
	assert_int_equal(p.req.minor, 1);
	assert_true(p.req.keep_alive);
	assert_true(p.req.expect_continue);
	assert_true(p.req.connection_upgrade);
	assert_int_equal(p.req.body, BODY_LENGTH);
	assert_int_equal(p.req.content_length, 12);
	assert_slice(p.req.host, "api.example.com");
	assert_slice(p.req.host_field, "API.Example.com:8443");
	assert_int_equal(p.req.fields.n, 7);
	assert_slice(p.req.fields.v[1].name, "content-length");
	assert_int_equal(p.req.fields.v[1].id, HDR_CONTENT_LENGTH);
	assert_slice(p.req.fields.v[1].value, "12");
	assert_slice(p.req.fields.v[2].value, "");
	assert_slice(p.req.fields.v[3].value, "a\tb \xc3\xa9");
	assert_slice(p.req.fields.v[4].name, "x_under");
	assert_ptr_equal(p.req.target.p, p.copy + 5);
	parse_end(&p);
}

static void test_request_pipelined(void **state)
{
	static const char in[] = "\r\n\r\nGET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\n\n";
	struct parse p;

	parse_all_ways(&p, false, slice_make(in, sizeof in - 1), &usual);
	assert_int_equal(p.rc, 4 + 28);
	assert_slice(p.req.path, "/1");
	assert_int_equal(p.req.body, BODY_NONE);
	parse_end(&p);
}

static void test_request_targets(void **state)
{
	static const struct {
		const char *line, *path, *host, *host_field, *scheme;
	} good[] = {
		{"GET / HTTP/1.1", "/", "a", "a", ""},
		{"GET //x/../y?a?b/../c HTTP/1.1", "//x/../y?a?b/../c", "a", "a", ""},
		{"GET /\xff\"<>[]\\^`{|} HTTP/1.1", "/\xff\"<>[]\\^`{|}", "a", "a", ""},
		{"GET http://B.c/d?e HTTP/1.1", "/d?e", "b.c", "B.c", "http"},
		{"GET hTTps://b:8443 HTTP/1.1", "/", "b", "b:8443", "hTTps"},
		{"GET http://[::1]:80?q=/ HTTP/1.1", "/?q=/", "[::1]", "[::1]:80", "http"},
		{"GET http://b./ HTTP/1.0", "/", "b", "b.", "http"},
		{"OPTIONS * HTTP/1.1", "*", "a", "a", ""},
		{"OPTIONS http://b HTTP/1.1", "*", "b", "b", "http"},
		{"OPTIONS http://b/ HTTP/1.1", "/", "b", "b", "http"},
		{"CONNECT b:443 HTTP/1.1", "", "b", "b:443", ""},
		{"CONNECT [::1]:443 HTTP/1.1", "", "[::1]", "[::1]:443", ""},
	};
	struct parse p;

	for (size_t i = 0; i < N_OF(good); i++) {
		struct arena a;
		struct slice in;

		arena_init(&a, 1024);
		in = arena_printf(&a, "%s\r\nHost: a\r\n\r\n", good[i].line);
		parse_all_ways(&p, false, in, &usual);
		if (p.rc != (int)in.n)
			fail_msg("%s: %s", good[i].line, head_error_text(p.why));
		assert_slice(p.req.path, good[i].path);
		assert_slice(p.req.host, good[i].host);
		assert_slice(p.req.host_field, good[i].host_field);
		assert_slice(p.req.fields.v[0].value,
			     good[i].host_field); /* nobody sees the other */
		assert_slice(p.req.scheme, good[i].scheme);
		parse_end(&p);
		arena_fini(&a);
	}
}

static void test_request_methods(void **state)
{
	static const struct {
		const char *text;
		enum http_method method;
	} methods[] = {
		{"GET", METHOD_GET},	       {"HEAD", METHOD_HEAD},
		{"POST", METHOD_POST},	       {"PUT", METHOD_PUT},
		{"DELETE", METHOD_DELETE},     {"OPTIONS", METHOD_OPTIONS},
		{"PATCH", METHOD_PATCH},       {"TRACE", METHOD_TRACE},
		{"PROPFIND", METHOD_PROPFIND}, {"PROPPATCH", METHOD_PROPPATCH},
		{"MKCOL", METHOD_MKCOL},       {"COPY", METHOD_COPY},
		{"MOVE", METHOD_MOVE},	       {"LOCK", METHOD_LOCK},
		{"UNLOCK", METHOD_UNLOCK},     {"GETS", METHOD_OTHER},
		{"M-SEARCH", METHOD_OTHER},    {"_X", METHOD_OTHER},
	};
	struct parse p;

	for (size_t i = 0; i < N_OF(methods); i++) {
		struct arena a;

		arena_init(&a, 1024);
		parse_all_ways(&p, false,
			       arena_printf(&a, "%s / HTTP/1.1\r\nHost: a" END, methods[i].text),
			       &usual);
		assert_true(p.rc > 0);
		assert_int_equal(p.req.method, methods[i].method);
		assert_slice(p.req.method_text, methods[i].text);
		parse_end(&p);
		arena_fini(&a);
	}
}

static void test_request_connection(void **state)
{
	static const struct {
		struct slice in;
		bool keep_alive, expect, upgrade;
		int minor;
	} cases[] = {
		{SLICE_INIT(GET "\r\n"), true, false, false, 1},
		{SLICE_INIT(GET "Connection: close" END), false, false, false, 1},
		{SLICE_INIT(GET "Connection: x\r\nConnection: y,CLOSE" END), false, false, false,
		 1},
		{SLICE_INIT(GET "Connection: keep-alive, close" END), false, false, false, 1},
		{SLICE_INIT(GET "Connection: closed,\tupGrade" END), true, false, true, 1},
		{SLICE_INIT(GET "Expect: 100-CONTINUE" END), true, true, false, 1},
		{SLICE_INIT(GET "Expect: 100-continue, x" END), true, false, false, 1},
		{SLICE_INIT("GET / HTTP/1.9\r\nHost: a" END), true, false, false, 1},
		{SLICE_INIT("GET / HTTP/1.0\r\nExpect: 100-continue" END), false, false, false, 0},
		{SLICE_INIT("GET / HTTP/1.0\r\nConnection: Keep-Alive" END), true, false, false, 0},
		{SLICE_INIT("GET / HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close" END),
		 false, false, false, 0},
	};
	struct parse p;

	for (size_t i = 0; i < N_OF(cases); i++) {
		parse_all_ways(&p, false, cases[i].in, &usual);
		assert_int_equal(p.rc, cases[i].in.n);
		assert_int_equal(p.req.keep_alive, cases[i].keep_alive);
		assert_int_equal(p.req.expect_continue, cases[i].expect);
		assert_int_equal(p.req.connection_upgrade, cases[i].upgrade);
		assert_int_equal(p.req.minor, cases[i].minor);
		parse_end(&p);
	}
}

static void test_request_bodies(void **state)
{
	static const struct {
		struct slice in;
		enum body_kind body;
		uint64_t length;
	} cases[] = {
		{SLICE_INIT(GET "\r\n"), BODY_NONE, 0},
		{SLICE_INIT(GET "Content-Length: 0" END), BODY_LENGTH, 0},
		{SLICE_INIT(GET "Content-Length: 007" END), BODY_LENGTH, 7},
		{SLICE_INIT(GET "CONTENT-LENGTH:9223372036854775807" END), BODY_LENGTH, INT64_MAX},
		{SLICE_INIT(GET "Transfer-Encoding: chunked" END), BODY_CHUNKED, 0},
		{SLICE_INIT(GET "transfer-encoding:\tChunKED\t" END), BODY_CHUNKED, 0},
	};
	struct parse p;

	for (size_t i = 0; i < N_OF(cases); i++) {
		parse_all_ways(&p, false, cases[i].in, &usual);
		assert_int_equal(p.rc, cases[i].in.n);
		assert_int_equal(p.req.body, cases[i].body);
		assert_true(p.req.content_length == cases[i].length);
		parse_end(&p);
	}
}

static void test_request_refused_lines(void **state)
{
#define L(line) SLICE_INIT(line "\r\nHost: a\r\n\r\n")
	static const struct refused cases[] = {
		{HEAD_BAD_METHOD, L("get / HTTP/1.1")},
		{HEAD_BAD_METHOD, L("Get / HTTP/1.1")},
		{HEAD_BAD_METHOD, L("GE(T / HTTP/1.1")},
		{HEAD_BAD_METHOD, L("G3T / HTTP/1.1")},
		{HEAD_BAD_METHOD, L("GET\t/ HTTP/1.1")},
		{HEAD_BAD_METHOD, L(" GET / HTTP/1.1")},
		{HEAD_BAD_METHOD, L("GET")},
		{HEAD_BAD_METHOD, L("/ HTTP/1.1")},
		{HEAD_BAD_METHOD, SLICE_INIT("\x16\x03\x01\x02")},
		{HEAD_BAD_METHOD, SLICE_INIT("\0GET / HTTP/1.1" END)},
		{HEAD_BAD_LINE, L("GET  / HTTP/1.1")},
		{HEAD_BAD_LINE, L("GET /  HTTP/1.1")},
		{HEAD_BAD_LINE, L("GET / HTTP/1.1 ")},
		{HEAD_BAD_LINE, L("GET / x HTTP/1.1")},
		{HEAD_BAD_LINE, L("GET ")},
		{HEAD_BAD_LINE, SLICE_INIT("\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a" END)},
		{HEAD_BAD_VERSION, L("GET /")},
		{HEAD_BAD_VERSION, L("GET / ")},
		{HEAD_BAD_VERSION, L("GET / HTTP/1.1x")},
		{HEAD_BAD_VERSION, L("GET / HTTP/1.10")},
		{HEAD_BAD_VERSION, L("GET / HTTP/01.1")},
		{HEAD_BAD_VERSION, L("GET / HTTP/0.9")},
		{HEAD_BAD_VERSION, L("GET / HTTP/1")},
		{HEAD_BAD_VERSION, L("GET / HTTP/1,1")},
		{HEAD_BAD_VERSION, L("GET / HTTP/1.")},
		{HEAD_BAD_VERSION, L("GET / HTTP/.1")},
		{HEAD_BAD_VERSION, L("GET / http/1.1")},
		{HEAD_BAD_VERSION, L("GET / HTTPS/1.1")},
		{HEAD_BAD_VERSION, L("GET / HTTP/1.1\t")},
		{HEAD_BAD_VERSION, L("GET / HTTP/10.1")},
		{HEAD_BAD_VERSION, L("GET / HTTP/x.1")},
		{HEAD_BAD_VERSION, L("GET / HTTP/1.:")},
		{HEAD_VERSION_UNSUPPORTED, L("GET / HTTP/2.0")},
		{HEAD_VERSION_UNSUPPORTED, L("GET / HTTP/9.9")},
		{HEAD_VERSION_UNSUPPORTED, SLICE_INIT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")},
		{HEAD_BAD_TARGET, L("GET /a\tb HTTP/1.1")},
		{HEAD_BAD_TARGET, L("GET \t/ HTTP/1.1")},
		{HEAD_BAD_TARGET, L("GET #a HTTP/1.1")},
		{HEAD_BAD_TARGET, L("GET /a\0b HTTP/1.1")},
		{HEAD_BAD_TARGET, L("GET /a\x01 HTTP/1.1")},
		{HEAD_BAD_TARGET, L("GET /a\x7f HTTP/1.1")},
		{HEAD_BAD_TARGET, L("GET /a#b HTTP/1.1")},
		{HEAD_BAD_TARGET, L("GET a HTTP/1.1")},
		{HEAD_BAD_TARGET, L("GET * HTTP/1.1")},
		{HEAD_BAD_TARGET, L("GET ** HTTP/1.1")},
		{HEAD_BAD_TARGET, L("OPTIONS ** HTTP/1.1")},
		{HEAD_BAD_TARGET, L("GET a:80 HTTP/1.1")},
		{HEAD_BAD_TARGET, L("GET ftp://a/ HTTP/1.1")},
		{HEAD_BAD_TARGET, L("GET http:/a HTTP/1.1")},
		{HEAD_BAD_TARGET, L("GET http:// HTTP/1.1")},
		{HEAD_BAD_TARGET, L("GET http:///x HTTP/1.1")},
		{HEAD_BAD_TARGET, L("GET http://?x HTTP/1.1")},
		{HEAD_BAD_TARGET, L("GET http://u@a/ HTTP/1.1")},
		{HEAD_BAD_TARGET, L("GET http://a:b/ HTTP/1.1")},
		{HEAD_BAD_TARGET, L("GET http://a\\b/ HTTP/1.1")},
		{HEAD_BAD_TARGET, L("GET http://[::1/ HTTP/1.1")},
		{HEAD_BAD_TARGET, L("CONNECT / HTTP/1.1")},
		{HEAD_BAD_TARGET, L("CONNECT * HTTP/1.1")},
		{HEAD_BAD_TARGET, L("CONNECT a HTTP/1.1")},
		{HEAD_BAD_TARGET, L("CONNECT [::1] HTTP/1.1")},
		{HEAD_BAD_TARGET, L("CONNECT a:80/x HTTP/1.1")},
		{HEAD_BAD_TARGET, L("CONNECT u@a:80 HTTP/1.1")},
		{HEAD_BAD_TARGET, L("CONNECT http://a/ HTTP/1.1")},
	};
#undef L

	check_refused(false, cases, N_OF(cases));
}

static void test_request_refused_eols(void **state)
{
	static const struct refused cases[] = {
		{HEAD_BAD_EOL, SLICE_INIT("\nGET / HTTP/1.1\r\nHost: a" END)},
		{HEAD_BAD_EOL, SLICE_INIT("\rGET / HTTP/1.1\r\nHost: a" END)},
		{HEAD_BAD_EOL, SLICE_INIT("\r\n\nGET / HTTP/1.1\r\nHost: a" END)},
		{HEAD_BAD_EOL, SLICE_INIT("GET / HTTP/1.1\nHost: a" END)},
		{HEAD_BAD_EOL, SLICE_INIT("GET / HTTP/1.1\n\n")},
		{HEAD_BAD_EOL, SLICE_INIT("GET\n/ HTTP/1.1\r\nHost: a" END)},
		{HEAD_BAD_EOL, SLICE_INIT("GET / HTTP/1.1\r\r\nHost: a" END)},
		{HEAD_BAD_EOL, SLICE_INIT("G\rET / HTTP/1.1\r\nHost: a" END)},
		{HEAD_BAD_EOL, SLICE_INIT("GET /\r HTTP/1.1\r\nHost: a" END)},
		{HEAD_BAD_EOL, SLICE_INIT("GET / HTTP\r/1.1\r\nHost: a" END)},
		{HEAD_BAD_EOL, SLICE_INIT(GET "\nX: 1" END)},
		{HEAD_BAD_EOL, SLICE_INIT(GET "A: 1\nB: 2" END)},
		{HEAD_BAD_EOL, SLICE_INIT(GET "A: 1\n\r\n")},
		{HEAD_BAD_EOL, SLICE_INIT(GET "A: 1\r\n\n")},
		{HEAD_BAD_EOL, SLICE_INIT(GET "A: 1\rB: 2" END)},
		{HEAD_BAD_EOL, SLICE_INIT(GET "A: 1\r" END)},
		{HEAD_BAD_EOL, SLICE_INIT(GET "A:\r 1" END)},
		{HEAD_BAD_EOL, SLICE_INIT(GET "A\r: 1" END)},
		{HEAD_BAD_EOL, SLICE_INIT(GET "\rA: 1" END)},
		{HEAD_BAD_EOL, SLICE_INIT(GET "A: 1\r\n\rB: 2" END)},
		{HEAD_BAD_EOL, SLICE_INIT(GET "A: \r\rb" END)},
	};

	check_refused(false, cases, N_OF(cases));
}

/* The same field lines are refused in both directions. */
#define FIELD_CASES(start) \
	{HEAD_BAD_NAME, SLICE_INIT(start "A : 1" END)}, \
		{HEAD_BAD_NAME, SLICE_INIT(start "A\t: 1" END)}, \
		{HEAD_BAD_NAME, SLICE_INIT(start ": 1" END)}, \
		{HEAD_BAD_NAME, SLICE_INIT(start "A" END)}, \
		{HEAD_BAD_NAME, SLICE_INIT(start "A B: 1" END)}, \
		{HEAD_BAD_NAME, SLICE_INIT(start "A\0: 1" END)}, \
		{HEAD_BAD_NAME, SLICE_INIT(start "A(: 1" END)}, \
		{HEAD_BAD_NAME, SLICE_INIT(start "\"A\": 1" END)}, \
		{HEAD_BAD_NAME, SLICE_INIT(start "A\xc3\xa9: 1" END)}, \
		{HEAD_BAD_NAME, SLICE_INIT(start "A\x7f: 1" END)}, \
		{HEAD_BAD_NAME, SLICE_INIT(start "A\x0b: 1" END)}, \
		{HEAD_BAD_NAME, SLICE_INIT(start "Content-Length : 1" END)}, \
		{HEAD_BAD_VALUE, SLICE_INIT(start "A: b\0c" END)}, \
		{HEAD_BAD_VALUE, SLICE_INIT(start "A: \x01" END)}, \
		{HEAD_BAD_VALUE, SLICE_INIT(start "A: b\x0b" END)}, \
		{HEAD_BAD_VALUE, SLICE_INIT(start "A: a long value before the \x1f byte" END)}, \
		{HEAD_BAD_VALUE, SLICE_INIT(start "A: b\x7f" END)}, \
		{HEAD_OBS_FOLD, SLICE_INIT(start "A: b\r\n c" END)}, \
		{HEAD_OBS_FOLD, SLICE_INIT(start "A: b\r\n\tc" END)}, \
		{HEAD_OBS_FOLD, SLICE_INIT(start "A: b\r\n " END)}, \
		{HEAD_OBS_FOLD, SLICE_INIT(start "A: b\r\n Content-Length: 5" END)}, \
		{HEAD_BAD_LENGTH, SLICE_INIT(start "Content-Length:" END)}, \
		{HEAD_BAD_LENGTH, SLICE_INIT(start "Content-Length: +5" END)}, \
		{HEAD_BAD_LENGTH, SLICE_INIT(start "Content-Length: -5" END)}, \
		{HEAD_BAD_LENGTH, SLICE_INIT(start "Content-Length: 5 5" END)}, \
		{HEAD_BAD_LENGTH, SLICE_INIT(start "Content-Length: 0x5" END)}, \
		{HEAD_BAD_LENGTH, SLICE_INIT(start "Content-Length: 5a" END)}, \
		{HEAD_BAD_LENGTH, SLICE_INIT(start "Content-Length: 5.0" END)}, \
		{HEAD_BAD_LENGTH, SLICE_INIT(start "Content-Length: \"5\"" END)}, \
		{HEAD_BAD_LENGTH, SLICE_INIT(start "Content-Length: 5, 5" END)}, \
		{HEAD_BAD_LENGTH, SLICE_INIT(start "Content-Length: 5," END)}, \
		{HEAD_BAD_LENGTH, SLICE_INIT(start "Content-Length: 9223372036854775808" END)}, \
		{HEAD_BAD_LENGTH, SLICE_INIT(start "Content-Length: 18446744073709551621" END)}, \
		{HEAD_BAD_LENGTH, SLICE_INIT(start "Content-Length: 5\r\nContent-Length: 5" END)}, \
		{HEAD_BAD_LENGTH, SLICE_INIT(start "Content-Length: 5\r\ncontent-length: 6" END)}, \
		{HEAD_BOTH_LENGTHS, \
		 SLICE_INIT(start "Content-Length: 5\r\nTransfer-Encoding: chunked" END)}, \
		{HEAD_BOTH_LENGTHS, \
		 SLICE_INIT(start "Transfer-Encoding: x\r\nA: b\r\nContent-Length: z" END)}, \
		{HEAD_BAD_CODING, SLICE_INIT(start "Transfer-Encoding:" END)}, \
		{HEAD_BAD_CODING, SLICE_INIT(start "Transfer-Encoding: identity" END)}, \
		{HEAD_BAD_CODING, SLICE_INIT(start "Transfer-Encoding: gzip" END)}, \
		{HEAD_BAD_CODING, SLICE_INIT(start "Transfer-Encoding: xchunked" END)}, \
		{HEAD_BAD_CODING, SLICE_INIT(start "Transfer-Encoding: chunkedx" END)}, \
		{HEAD_BAD_CODING, SLICE_INIT(start "Transfer-Encoding: \"chunked\"" END)}, \
		{HEAD_BAD_CODING, SLICE_INIT(start "Transfer-Encoding: chunked," END)}, \
		{HEAD_BAD_CODING, SLICE_INIT(start "Transfer-Encoding: ,chunked" END)}, \
		{HEAD_BAD_CODING, SLICE_INIT(start "Transfer-Encoding: gzip,,chunked" END)}, \
		{HEAD_BAD_CODING, SLICE_INIT(start "Transfer-Encoding: chunked, chunked" END)}, \
		{HEAD_BAD_CODING, SLICE_INIT(start "Transfer-Encoding: chunked, gzip" END)}, \
		{HEAD_BAD_CODING, SLICE_INIT(start "Transfer-Encoding: chunked chunked" END)}, \
		{HEAD_BAD_CODING, SLICE_INIT(start "Transfer-Encoding: gzip chunked" END)}, \
		{HEAD_BAD_CODING, SLICE_INIT(start "Transfer-Encoding: chunked;q=1" END)}, \
		{HEAD_BAD_CODING, \
		 SLICE_INIT(start "Transfer-Encoding: chunked;q=1, chunked" END)}, \
		{HEAD_BAD_CODING, SLICE_INIT(start "Transfer-Encoding: gzip; q=1, chunked" END)}, \
		{HEAD_BAD_CODING, SLICE_INIT(start "Transfer-Encoding: gzip;q, chunked" END)}, \
		{HEAD_BAD_CODING, SLICE_INIT(start "Transfer-Encoding: gzip;=x, chunked" END)}, \
		{HEAD_BAD_CODING, SLICE_INIT(start "Transfer-Encoding: gzip;q=, chunked" END)}, \
		{HEAD_BAD_CODING, \
		 SLICE_INIT(start \
			    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked" END)}, \
		{HEAD_BAD_CODING, \
		 SLICE_INIT(start "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked" END)}, \
		{HEAD_CODING_UNSUPPORTED, \
		 SLICE_INIT(start "Transfer-Encoding: gzip, chunked" END)}, \
	{ \
		HEAD_CODING_UNSUPPORTED, \
			SLICE_INIT(start "Transfer-Encoding: a;b=c;d=e ,\tchunKed" END) \
	}

static void test_request_refused_fields(void **state)
{
	static const struct refused cases[] = {
		FIELD_CASES(GET),
		{HEAD_BAD_NAME, SLICE_INIT("GET / HTTP/1.1\r\n Host: a" END)},
		{HEAD_BAD_NAME, SLICE_INIT("GET / HTTP/1.1\r\n\tHost: a" END)},
		{HEAD_BAD_CODING, SLICE_INIT("GET / HTTP/1.0\r\nTransfer-Encoding: chunked" END)},
		{HEAD_BAD_HOST, SLICE_INIT("GET / HTTP/1.1" END)},
		{HEAD_BAD_HOST, SLICE_INIT("GET / HTTP/1.2" END)},
		{HEAD_BAD_HOST, SLICE_INIT("GET http://a/ HTTP/1.1" END)},
		{HEAD_BAD_HOST, SLICE_INIT("CONNECT a:80 HTTP/1.1" END)},
		{HEAD_BAD_HOST, SLICE_INIT("GET http://a/ HTTP/1.1\r\nHost: a b" END)},
		{HEAD_BAD_HOST, SLICE_INIT("GET http://a/ HTTP/1.1\r\nHost:" END)},
		{HEAD_BAD_HOST, SLICE_INIT(GET "Host: a" END)},
		{HEAD_BAD_HOST, SLICE_INIT("GET / HTTP/1.0\r\nHost: a\r\nHost: a" END)},
		{HEAD_BAD_HOST, SLICE_INIT("GET / HTTP/1.0\r\nHost: u@a" END)},
		{HEAD_BAD_HOST, SLICE_INIT("GET / HTTP/1.1\r\nHost:" END)},
		{HEAD_BAD_HOST, SLICE_INIT("GET / HTTP/1.1\r\nHost: a, b" END)},
		{HEAD_BAD_HOST, SLICE_INIT("GET / HTTP/1.1\r\nHost: a/b" END)},
		{HEAD_BAD_HOST, SLICE_INIT("GET / HTTP/1.1\r\nHost: a:b" END)},
		{HEAD_BAD_HOST, SLICE_INIT("GET / HTTP/1.1\r\nHost: [::1" END)},
		{HEAD_BAD_HOST, SLICE_INIT("GET / HTTP/1.1\r\nHost: http://a" END)},
	};

	check_refused(false, cases, N_OF(cases));
}

static void test_request_1_0_without_host(void **state)
{
	struct parse p;

	parse_all_ways(&p, false, SLICE("GET / HTTP/1.0" END), &usual);
	assert_true(p.rc > 0);
	assert_int_equal(p.req.host.n, 0);
	assert_int_equal(p.req.host_field.n, 0);
	parse_end(&p);
}

static void test_incomplete(void **state)
{
	static const struct slice requests[] = {
		SLICE_INIT(""),
		SLICE_INIT("\r"),
		SLICE_INIT("\r\n\r\n"),
		SLICE_INIT("G"),
		SLICE_INIT("GET / HTTP/1.1\r"),
		SLICE_INIT("GET / HTTP/1.1\r\n"),
		SLICE_INIT(GET),
		SLICE_INIT(GET "\r"),
		SLICE_INIT(GET "X: \x01"),
	};
	static const struct slice responses[] = {
		SLICE_INIT(""),
		SLICE_INIT("H"),
		SLICE_INIT("HTTP/1.1 200"),
		SLICE_INIT(OK200),
		SLICE_INIT(OK200 "A: b\r\n\r"),
	};
	struct parse p;

	for (size_t i = 0; i < N_OF(requests); i++) {
		parse_all_ways(&p, false, requests[i], &usual);
		assert_int_equal(p.rc, 0);
		parse_end(&p);
	}
	for (size_t i = 0; i < N_OF(responses); i++) {
		parse_all_ways(&p, true, responses[i], &usual);
		assert_int_equal(p.rc, 0);
		parse_end(&p);
	}
}

static void test_response_typical(void **state)
{
	static const struct {
		struct slice in;
		int status;
		const char *reason;
		int minor;
		bool keep_alive;
		enum body_kind body;
	} cases[] = {
		{SLICE_INIT(OK200 "Content-Length: 3" END), 200, "OK", 1, true, BODY_LENGTH},
		{SLICE_INIT(OK200 "\r\n"), 200, "OK", 1, true, BODY_UNTIL_CLOSE},
		{SLICE_INIT("HTTP/1.1 200" END), 200, "", 1, true, BODY_UNTIL_CLOSE},
		{SLICE_INIT("HTTP/1.2 200" END), 200, "", 1, true, BODY_UNTIL_CLOSE},
		{SLICE_INIT("HTTP/1.1 204 " END), 204, "", 1, true, BODY_UNTIL_CLOSE},
		{SLICE_INIT("HTTP/1.0 404 Not  \xc3\xa9\tFound " END), 404, "Not  \xc3\xa9\tFound ",
		 0, false, BODY_UNTIL_CLOSE},
		{SLICE_INIT("HTTP/1.0 100 C\r\nConnection: keep-alive" END), 100, "C", 0, true,
		 BODY_UNTIL_CLOSE},
		{SLICE_INIT("HTTP/1.1 599 X\r\nConnection: close\r\n"
			    "transfer-encoding: CHUNKED" END),
		 599, "X", 1, false, BODY_CHUNKED},
		{SLICE_INIT("HTTP/1.1 302 Found\r\nHost: not a request's\r\nHost: 2" END), 302,
		 "Found", 1, true, BODY_UNTIL_CLOSE},
	};
	struct parse p;

	for (size_t i = 0; i < N_OF(cases); i++) {
		parse_all_ways(&p, true, cases[i].in, &usual);
		if (p.rc != (int)cases[i].in.n)
			fail_msg("case %zu: %s", i, head_error_text(p.why));
		assert_int_equal(p.resp.status, cases[i].status);
		assert_slice(p.resp.reason, cases[i].reason);
		assert_int_equal(p.resp.minor, cases[i].minor);
		assert_int_equal(p.resp.keep_alive, cases[i].keep_alive);
		assert_int_equal(p.resp.body, cases[i].body);
		parse_end(&p);
	}
	parse_all_ways(&p, true,
		       SLICE("HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: x" END "\0\n"),
		       &usual);
	assert_int_equal(p.rc, 51);
	assert_true(p.resp.connection_upgrade);
	assert_int_equal(p.resp.fields.n, 2);
	assert_int_equal(p.resp.fields.v[1].id, HDR_UPGRADE);
	parse_end(&p);
}

static void test_response_refused(void **state)
{
	static const struct refused cases[] = {
		FIELD_CASES(OK200),
		{HEAD_BAD_NAME, SLICE_INIT(OK200 " A: b" END)},
		{HEAD_BAD_LINE, SLICE_INIT("\r\n" OK200 "\r\n")},
		{HEAD_BAD_LINE, SLICE_INIT("SSH-2.0-x\r\n")},
		{HEAD_BAD_LINE, SLICE_INIT("HTTP/1.1" END)},
		{HEAD_BAD_LINE, SLICE_INIT("HTTP/1.1 " END)},
		{HEAD_BAD_LINE, SLICE_INIT("HTTP/1.1 20" END)},
		{HEAD_BAD_LINE, SLICE_INIT("HTTP/1.1 2000 OK" END)},
		{HEAD_BAD_LINE, SLICE_INIT("HTTP/1.1 200OK" END)},
		{HEAD_BAD_LINE, SLICE_INIT("HTTP/1.1 200\tOK" END)},
		{HEAD_BAD_LINE, SLICE_INIT("HTTP/1.1  200 OK" END)},
		{HEAD_BAD_LINE, SLICE_INIT("HTTP/1.1 2:0 OK" END)},
		{HEAD_BAD_LINE, SLICE_INIT("HTTP/1.1 20: OK" END)},
		{HEAD_BAD_LINE, SLICE_INIT("HTTP/1.1 099 OK" END)},
		{HEAD_BAD_LINE, SLICE_INIT("HTTP/1.1 600 OK" END)},
		{HEAD_BAD_LINE, SLICE_INIT("HTTP/1.1 999 OK" END)},
		{HEAD_BAD_LINE, SLICE_INIT("HTTP/1.1 +20 OK" END)},
		{HEAD_BAD_LINE, SLICE_INIT("HTTP/1.1 200 O\0K" END)},
		{HEAD_BAD_LINE, SLICE_INIT("HTTP/1.1 200 \x7f" END)},
		{HEAD_BAD_VERSION, SLICE_INIT("HTTP/0.9 200 OK" END)},
		{HEAD_BAD_VERSION, SLICE_INIT("HTTP/1.1x200 OK" END)},
		{HEAD_BAD_VERSION, SLICE_INIT("HTTP/1.11 200 OK" END)},
		{HEAD_BAD_VERSION, SLICE_INIT("HTTP/1 200 OK" END)},
		{HEAD_BAD_VERSION, SLICE_INIT("Http/1.1 200 OK" END)},
		{HEAD_VERSION_UNSUPPORTED, SLICE_INIT("HTTP/2.0 200 OK" END)},
		{HEAD_BAD_EOL, SLICE_INIT("HTTP/1.1 200 OK\n\n")},
		{HEAD_BAD_EOL, SLICE_INIT("HTTP/1.1 200 O\rK" END)},
		{HEAD_BAD_EOL, SLICE_INIT("HTTP/1.1 200\r" END)},
		{HEAD_BAD_EOL, SLICE_INIT(OK200 "A: b\nB: c" END)},
		{HEAD_BAD_EOL, SLICE_INIT(OK200 "A: b\n\n")},
		{HEAD_BAD_EOL, SLICE_INIT(OK200 "A: b\rc" END)},
		{HEAD_BAD_CODING, SLICE_INIT("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked" END)},
	};

	check_refused(true, cases, N_OF(cases));
}

/* Just within a limit it is good; a byte, or a field, over it is refused. */
static void test_limits(void **state)
{
	/* first line 16, fields 9 and 12, end 2: 39 */
	static const char in[] = "GET / HTTP/1.1\r\nHost: a\r\nABC: 67890\r\n\r\n";
	static const struct {
		struct head_limits lim;
		enum head_error why;
	} cases[] = {
		{{16, 39, 2}, HEAD_OK},
		{{15, 39, 2}, HEAD_LINE_TOO_LONG},
		{{16, 38, 2}, HEAD_FIELD_TOO_LONG},
		{{16, 37, 2}, HEAD_FIELD_TOO_LONG},
		{{16, 16, 2}, HEAD_FIELD_TOO_LONG},
		{{16, 15, 2}, HEAD_LINE_TOO_LONG},
		{{16, 39, 1}, HEAD_FIELD_TOO_LONG},
		{{16, 39, 0}, HEAD_FIELD_TOO_LONG},
		{{UINT32_MAX, UINT32_MAX, UINT32_MAX}, HEAD_OK},
	};
	static const char long_field[] = "GET / HTTP/1.1\r\nHost: a\r\nABC: 67890123456\r\n\r\n";
	struct parse p;

	for (size_t i = 0; i < N_OF(cases); i++) {
		parse_all_ways(&p, false, slice_make(in, sizeof in - 1), &cases[i].lim);
		assert_int_equal(p.why, cases[i].why);
		assert_int_equal(p.rc, cases[i].why == HEAD_OK ? 39 : -SL_ELIMIT);
		parse_end(&p);
	}
	parse_all_ways(&p, false, slice_make(long_field, sizeof long_field - 1),
		       &(struct head_limits){17, 1000, 10});
	assert_int_equal(p.why, HEAD_FIELD_TOO_LONG);
	parse_end(&p);
	/* Empty lines count towards the head. */
	parse_all_ways(&p, false, SLICE("\r\n\r\nGET / HTTP/1.1\r\nHost: a" END),
		       &(struct head_limits){16, 30, 2});
	assert_int_equal(p.why, HEAD_FIELD_TOO_LONG);
	parse_end(&p);
	parse_all_ways(&p, false, SLICE("\r\n\r\nGET / HTTP/1.1\r\nHost: a" END),
		       &(struct head_limits){16, 31, 2});
	assert_int_equal(p.rc, 31);
	parse_end(&p);
	parse_all_ways(&p, true, SLICE("HTTP/1.1 200 a long reason" END),
		       &(struct head_limits){20, 1000, 10});
	assert_int_equal(p.why, HEAD_LINE_TOO_LONG);
	parse_end(&p);
}

/* What never ends is refused at the limit, not at the end. */
static void test_limits_of_endless_input(void **state)
{
	static const struct {
		const char *start, *repeat;
		enum head_error why;
		size_t most; /* bytes until the refusal */
	} cases[] = {
		{"", "A", HEAD_LINE_TOO_LONG, 100},
		{"GET /", "x", HEAD_LINE_TOO_LONG, 100},
		{"GET / HTTP/1.1\r\nA: ", "x", HEAD_FIELD_TOO_LONG, 116},
		{"GET / HTTP/1.1\r\n", "A: b\r\n", HEAD_FIELD_TOO_LONG, 300},
		{"GET / HTTP/1.1\r\n", "\xff", HEAD_FIELD_TOO_LONG, 116},
	};
	const struct head_limits lim = {100, 300, 1000};
	struct parse p;
	char in[1000];

	for (size_t i = 0; i < N_OF(cases); i++) {
		size_t n = strlen(cases[i].start), step = strlen(cases[i].repeat);

		memcpy(in, cases[i].start, n);
		for (; n + step <= sizeof in; n += step)
			memcpy(in + n, cases[i].repeat, step);
		parse_all_ways(&p, false, slice_make(in, n), &lim);
		assert_int_equal(p.rc, -SL_ELIMIT);
		assert_int_equal(p.why, cases[i].why);
		parse_end(&p);
		parse_start(&p, false, &lim);
		for (n = 1; parse_more(&p, slice_make(in, sizeof in), n) == 0; n++)
			assert_true(n < sizeof in);
		assert_int_equal(p.at, cases[i].most);
		parse_end(&p);
	}
}

/* Dripped bytes are searched once each: the state says how far the search came. */
static void test_search_is_linear(void **state)
{
	struct parse p;
	struct slice in = SLICE("\r\n" GET "A: b\r\nC: d");

	parse_start(&p, false, &usual);
	for (size_t n = 3; n <= in.n; n++) {
		assert_int_equal(parse_more(&p, in, n), 0);
		assert_int_equal(p.scan.seen, n - 2);
	}
	assert_int_equal(p.scan.skip, 1);
	assert_int_equal(p.scan.n_fields, 2);
	parse_end(&p);
}

static void test_texts(void **state)
{
	for (int e = HEAD_OK; e <= HEAD_HOP_FIELD; e++)
		for (int other = HEAD_OK; other < e; other++)
			assert_string_not_equal(head_error_text(e), head_error_text(other));
	assert_string_equal(head_error_text(HEAD_HOP_FIELD + 1), "unknown error");
	assert_slice(head_reason_of(200), "OK");
	assert_slice(head_reason_of(100), "Continue");
	assert_slice(head_reason_of(511), "Network Authentication Required");
	assert_slice(head_reason_of(418), "");
	assert_slice(head_reason_of(599), "");
	assert_slice(head_reason_of(600), "");
	assert_slice(head_reason_of(99), "");
	assert_slice(head_reason_of(0), "");
}

static int setup(void **state)
{
	hdr_setup();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_request_typical),
		cmocka_unit_test(test_request_pipelined),
		cmocka_unit_test(test_request_targets),
		cmocka_unit_test(test_request_methods),
		cmocka_unit_test(test_request_connection),
		cmocka_unit_test(test_request_bodies),
		cmocka_unit_test(test_request_refused_lines),
		cmocka_unit_test(test_request_refused_eols),
		cmocka_unit_test(test_request_refused_fields),
		cmocka_unit_test(test_request_1_0_without_host),
		cmocka_unit_test(test_incomplete),
		cmocka_unit_test(test_response_typical),
		cmocka_unit_test(test_response_refused),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_limits_of_endless_input),
		cmocka_unit_test(test_search_is_linear),
		cmocka_unit_test(test_texts),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
