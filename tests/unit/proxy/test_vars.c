/* SPDX-License-Identifier: BSD-2-Clause */
/* Every variable of a request by hand: its value, an empty value, and none, as nginx tells them apart. */
#include "fixture.h"

#define GET(fields) "GET /a%20b?x=1&Y=&z HTTP/1.1\r\nHost: Api.Example.com:8443\r\n" fields "\r\n"

static void request_line(void **state)
{
	struct fx *f = fx_new(GET(""));

	fx_is(f, "host", "api.example.com");
	fx_is(f, "http_host", "Api.Example.com:8443");
	fx_is(f, "uri", "/a b");
	fx_is(f, "document_uri", "/a b");
	fx_is(f, "request_uri", "/a%20b?x=1&Y=&z");
	fx_is(f, "args", "x=1&Y=&z");
	fx_is(f, "query_string", "x=1&Y=&z");
	fx_is(f, "is_args", "?");
	fx_is(f, "arg_x", "1");
	fx_is(f, "arg_y", "");
	fx_none(f, "arg_z");
	fx_none(f, "arg_q");
	fx_is(f, "request", "GET /a%20b?x=1&Y=&z HTTP/1.1");
	fx_is(f, "request_method", "GET");
	fx_is(f, "server_protocol", "HTTP/1.1");
	fx_is(f, "request_id", "00112233445566778899aabbccddeeff");
	fx_free(f);

	f = fx_new("OPTIONS http://h.example:81/p HTTP/1.1\r\nHost: other\r\n\r\n");
	fx_is(f, "host", "h.example");
	fx_is(f, "request_uri", "/p");
	fx_is(f, "request", "OPTIONS http://h.example:81/p HTTP/1.1");
	fx_none(f, "args");
	fx_is(f, "is_args", "");
	fx_free(f);

	f = fx_new("GET /? HTTP/1.0\r\n\r\n");
	fx_is(f, "host", "default.example");
	fx_none(f, "args");
	fx_is(f, "is_args", "");
	fx_is(f, "server_protocol", "HTTP/1.0");
	fx_none(f, "http_host");
	fx_free(f);
}

static void refused_head(void **state)
{
	struct fx *f = fx_new(NULL);

	fx_is(f, "request", "");
	fx_is(f, "host", "default.example");
	fx_is(f, "status", "000");
	fx_is(f, "remote_addr", "192.0.2.7");
	fx_is(f, "request_length", "0");
	fx_none(f, "request_method");
	fx_none(f, "request_uri");
	fx_none(f, "uri");
	fx_none(f, "server_protocol");
	fx_none(f, "http_user_agent");
	fx_none(f, "remote_user");
	fx_free(f);
}

static void fields(void **state)
{
	FILE *file;
	struct fx *f = fx_new(GET("X-Two: a\r\nX-Empty:\r\nx-two: b\r\nCookie: s=1; T=2\r\n"
				  "X-Forwarded-For: 10.0.0.1\r\nContent-Type: a/b\r\n"
				  "Content-Length: 5\r\n"));

	fx_is(f, "http_x_two", "a, b");
	fx_is(f, "http_x_empty", "");
	fx_none(f, "http_x_three");
	fx_is(f, "http_cookie", "s=1; T=2");
	fx_is(f, "cookie_s", "1");
	fx_is(f, "cookie_t", "2");
	fx_none(f, "cookie_u");
	fx_is(f, "proxy_add_x_forwarded_for", "10.0.0.1, 192.0.2.7");
	fx_is(f, "content_type", "a/b");
	fx_is(f, "content_length", "5");
	fx_none(f, "request_body");
	f->r.body.mem = (char *)"hello";
	f->r.body.len = 5;
	fx_is(f, "request_body", "hello");
	file = tmpfile();
	assert_non_null(file);
	fx_none(f, "request_body_file");
	f->r.body.mem = NULL;
	f->r.body.fd = fileno(file); /* in a file now */
	assert_int_equal(write(f->r.body.fd, "HELLO", 5), 5);
	fx_is(f, "request_body", "HELLO");
	f->r.body.len = 6; /* which is shorter than it was */
	fx_none(f, "request_body");
	f->r.body.len = (1 << 20) + 1;
	fx_none(f, "request_body");
	f->r.body.file = SLICE("/tmp/1");
	fx_is(f, "request_body_file", "/tmp/1");
	fclose(file);
	f->r.body.fd = -1;
	fx_free(f);

	f = fx_new("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
	fx_is(f, "proxy_add_x_forwarded_for", "192.0.2.7");
	fx_none(f, "content_type");
	fx_none(f, "content_length");
	f->r.body.len = 77;
	f->r.body.whole = true;
	fx_is(f, "content_length", "77");
	fx_free(f);
}

static void check_user(const char *authorization, const char *user)
{
	char head[256];
	struct fx *f;

	snprintf(head, sizeof head, "GET / HTTP/1.1\r\nHost: h\r\nAuthorization: %s\r\n\r\n",
		 authorization);
	f = fx_new(head);
	if (user)
		fx_is(f, "remote_user", user);
	else
		fx_none(f, "remote_user");
	fx_free(f);
}

static void remote_user(void **state)
{
	check_user("Basic YWxpY2U6c2VjcmV0", "alice"); /* alice:secret */
	check_user("basic  YWxpY2U6c2VjcmV0", "alice");
	check_user("Basic YTpi", "a");		  /* a:b */
	check_user("Basic YTo=", "a");		  /* a: */
	check_user("Basic YTo", "a");		  /* the padding may be left out */
	check_user("Basic OnB3", NULL);		  /* :pw */
	check_user("Basic YTpiOmM=", "a");	  /* a:b:c */
	check_user("Basic w6k6eA==", "\xc3\xa9"); /* not only ASCII */
	check_user("Basic YWxpY2U=", NULL);	  /* alice */
	check_user("Basic YWxpY2U6c2VjcmV0!", NULL);
	check_user("Basic YWxpY2U6c2VjcmV0A", NULL); /* one digit too many */
	check_user("Basic YQ0KOng=", NULL);	     /* a\r\n:x would forge a field */
	check_user("Basic", NULL);
	check_user("Bearer YWxpY2U6c2VjcmV0", NULL);
}

static void connection(void **state)
{
	struct fx *f = fx_new(GET(""));
	const char *binary;

	fx_is(f, "scheme", "http");
	fx_is(f, "https", "");
	fx_is(f, "server_name", "default.example");
	fx_is(f, "server_port", "8443");
	fx_is(f, "server_addr", "198.51.100.1");
	fx_is(f, "remote_addr", "192.0.2.7");
	fx_is(f, "remote_port", "40001");
	fx_is(f, "connection", "42");
	fx_is(f, "connection_requests", "3");
	fx_is(f, "pipe", ".");
	f->client.pipelined = true;
	fx_is(f, "pipe", "p");
	binary = fx_var(f, "binary_remote_addr");
	assert_memory_equal(binary, "\xc0\x00\x02\x07\x00", 5);
	addr_from_ip(SLICE("2001:db8::1"), 1, &f->client.remote.addr);
	binary = fx_var(f, "binary_remote_addr");
	assert_memory_equal(binary, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01", 16);
	addr_from_unix(SLICE("/run/x.sock"), &f->client.remote.addr);
	fx_is(f, "binary_remote_addr", "");
	fx_is(f, "remote_port", "");
	addr_from_unix(SLICE("/run/x.sock"), &f->listener.addr);
	fx_is(f, "server_addr", "unix:/run/x.sock");
	fx_is(f, "server_port", "");
	fx_free(f);
}

/* A listener for all addresses says which one it was. */
static void wildcard_listener(void **state)
{
	struct fx *f = fx_new(GET(""));
	struct addr local;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	addr_from_ip(SLICE("0.0.0.0"), 80, &f->listener.addr);
	f->listener.wildcard = true;
	f->conn.io.fd = -1;
	fx_is(f, "server_addr", "0.0.0.0");
	addr_from_ip(SLICE("127.0.0.3"), 0, &local);
	assert_int_equal(bind(fd, &local.sa, local.len), 0);
	f->conn.io.fd = fd;
	fx_is(f, "server_addr", "127.0.0.3");
	close(fd); /* asked once */
	fx_is(f, "server_addr", "127.0.0.3");
	fx_free(f);
}

static void tls(void **state)
{
	static const char *const all[] = {"protocol",	   "cipher",	    "curve",
					  "server_name",   "alpn_protocol", "session_reused",
					  "ciphers",	   "session_id",    "early_data",
					  "client_verify", "client_s_dn",   "client_raw_cert"};
	struct fx *f = fx_new(GET(""));
	char name[64];

	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
		snprintf(name, sizeof name, "ssl_%s", all[i]);
		fx_none(f, name);
	}
	f->client.tls = true;
	fx_is(f, "scheme", "https");
	fx_is(f, "https", "on");
	fx_is(f, "ssl_protocol", "TLSv1.3");
	fx_is(f, "ssl_cipher", "TLS_AES_256_GCM_SHA384");
	fx_none(f, "ssl_curve");
	fx_is(f, "ssl_server_name", "api.example.com");
	fx_none(f, "ssl_alpn_protocol");
	fx_is(f, "ssl_session_reused", "r");
	fx_is(f, "ssl_session_id", "0a1b");
	fx_is(f, "ssl_early_data", "1");
	fx_is(f, "ssl_ciphers", "A:B");
	fx_none(f, "ssl_curves");
	fx_is(f, "ssl_client_verify", "SUCCESS");
	fx_is(f, "ssl_client_raw_cert", "field 0");
	fx_none(f, "ssl_client_cert");
	fx_is(f, "ssl_client_v_remain", "field 11");
	fx_free(f);
}

static void answer(void **state)
{
	struct fx *f = fx_new(GET(""));
	struct request *r = &f->r;

	fx_is(f, "status", "000");
	fx_is(f, "request_completion", "");
	fx_none(f, "limit_req_status");
	fx_none(f, "sent_http_content_type");
	fx_none(f, "sent_http_content_length");
	fx_none(f, "sent_http_transfer_encoding");
	r->resp.status = 200;
	r->resp.content_type = SLICE("text/plain");
	r->resp.location = SLICE("/x");
	r->resp.last_modified = SLICE("Sun, 22 Nov 2026 23:10:00 GMT");
	hdrs_add(&r->resp.fields, &r->arena, SLICE("X-Cost"), SLICE("3"));
	hdrs_add(&r->resp.fields, &r->arena, SLICE("X-Cost"), SLICE("4"));
	r->head_sent = r->finished = true;
	r->sent_head_bytes = 150;
	r->sent_body_bytes = 1000;
	r->body_bytes = 10;
	r->limit_status = "PASSED";
	fx_is(f, "status", "200");
	fx_is(f, "request_completion", "OK");
	fx_is(f, "limit_req_status", "PASSED");
	fx_is(f, "bytes_sent", "1150");
	fx_is(f, "body_bytes_sent", "1000");
	fx_is(f, "sent_http_content_type", "text/plain");
	fx_is(f, "sent_http_location", "/x");
	fx_is(f, "sent_http_last_modified", "Sun, 22 Nov 2026 23:10:00 GMT");
	fx_is(f, "sent_http_x_cost", "3, 4");
	fx_none(f, "sent_http_x_other");
	fx_none(f, "sent_http_server");
	fx_is(f, "sent_http_connection", "keep-alive");
	fx_none(f, "sent_http_keep_alive");
	f->scope.keepalive_header_s = 20;
	fx_is(f, "sent_http_keep_alive", "timeout=20");
	fx_is(f, "sent_http_transfer_encoding", "chunked");
	r->resp.content_length = 0;
	fx_is(f, "sent_http_content_length", "0");
	fx_none(f, "sent_http_transfer_encoding");
	r->keep_alive = false;
	fx_is(f, "sent_http_connection", "close");
	fx_none(f, "sent_http_keep_alive");
	r->client_gone = true;
	fx_is(f, "request_completion", "");
	assert_int_equal(atoi(fx_var(f, "request_length")), r->head_bytes + 10);
	fx_free(f);
}

static void times(void **state)
{
	struct fx *f = fx_new(GET(""));
	struct clock *c = &f->env.loop.clock;
	const char *kept;
	char pid[16];

	c->mono_ms = 5000;
	c->wall_ms = 1764000000007;
	snprintf(c->time_local, sizeof c->time_local, "22/Nov/2026:23:10:00 +0000");
	snprintf(c->time_iso8601, sizeof c->time_iso8601, "2026-11-22T23:10:00+00:00");
	f->r.start_mono_ms = 5000;
	fx_is(f, "request_time", "0.000");
	f->r.start_mono_ms = 4877;
	fx_is(f, "request_time", "0.123");
	c->mono_ms = 65000 + 4877;
	fx_is(f, "request_time", "65.000");
	f->r.start_mono_ms = c->mono_ms + 1;
	fx_is(f, "request_time", "0.000");
	fx_is(f, "msec", "1764000000.007");
	fx_is(f, "time_iso8601", "2026-11-22T23:10:00+00:00");
	kept = fx_var(f, "time_local");
	memset(c->time_local, 0, sizeof c->time_local);
	assert_string_equal(kept, "22/Nov/2026:23:10:00 +0000");
	snprintf(pid, sizeof pid, "%d", (int)getpid());
	fx_is(f, "pid", pid);
	assert_true(strlen(fx_var(f, "hostname")) > 0);
	fx_free(f);
}

static void upstream_lists(void **state)
{
	static const char *const all[] = {"addr",	 "status",	  "connect_time",
					  "header_time", "response_time", "bytes_received",
					  "bytes_sent"};
	struct try first = {.addr = SLICE("10.0.0.1:80"),
			    .connect_ms = -1,
			    .header_ms = -1,
			    .response_ms = 2,
			    .status = 502};
	struct try second = {.addr = SLICE("[::1]:8080"),
			     .connect_ms = 0,
			     .header_ms = 1234,
			     .response_ms = -1,
			     .bytes_received = 900,
			     .bytes_sent = 80};
	struct fx *f = fx_new(GET(""));
	char name[64];

	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
		snprintf(name, sizeof name, "upstream_%s", all[i]);
		fx_none(f, name);
	}
	f->r.tries = &first;
	fx_is(f, "upstream_addr", "10.0.0.1:80");
	fx_is(f, "upstream_status", "502");
	fx_is(f, "upstream_connect_time", "-");
	fx_is(f, "upstream_response_time", "0.002");
	first.next = &second;
	fx_is(f, "upstream_addr", "10.0.0.1:80, [::1]:8080");
	fx_is(f, "upstream_status", "502, -");
	fx_is(f, "upstream_connect_time", "-, 0.000");
	fx_is(f, "upstream_header_time", "-, 1.234");
	fx_is(f, "upstream_response_time", "0.002, -");
	fx_is(f, "upstream_bytes_received", "0, 900");
	fx_is(f, "upstream_bytes_sent", "0, 80");
	fx_free(f);
}

static void upstream_and_proxy(void **state)
{
	struct fx *f = fx_new(GET(""));

	fx_none(f, "proxy_host");
	fx_none(f, "proxy_port");
	fx_none(f, "upstream_http_x_a");
	f->r.up = &f->up;
	f->up.host_text = SLICE("models");
	hdrs_add(&f->up.fields, &f->r.arena, SLICE("X-A"), SLICE("v"));
	fx_is(f, "proxy_host", "models");
	fx_is(f, "proxy_port", "80");
	fx_is(f, "upstream_http_x_a", "v");
	fx_none(f, "upstream_http_x_b");
	f->up.https = true;
	fx_is(f, "proxy_port", "443");
	f->up.host_text = SLICE("models:9443");
	fx_is(f, "proxy_port", "9443");
	f->up.host_text = SLICE("[2001:db8::7]");
	fx_is(f, "proxy_port", "443");
	f->up.host_text = SLICE("[2001:db8::7]:81");
	fx_is(f, "proxy_port", "81");
	f->up.host_text = SLICE("10.0.0.1");
	fx_is(f, "proxy_port", "443");
	f->up.host_text = SLICE("unix:/run/m:80");
	fx_is(f, "proxy_port", "");
	fx_free(f);
}

/* An exact row must not be hidden by another of the same name, nor a table end early. */
static void tables(void **state)
{
	struct slice arg;

	for (const struct var_def *const *t = fx_tables; *t; t++)
		for (const struct var_def *v = *t; v->name; v++) {
			assert_non_null(v->get);
			if (!v->prefix)
				assert_ptr_equal(
					v, var_find(fx_tables, NULL, 0, slice_cstr(v->name), &arg));
		}
	assert_non_null(var_find(fx_tables, NULL, 0, SLICE("proxy_port"), &arg));
	assert_null(var_find(fx_tables, NULL, 0, SLICE("http_"), &arg));
	assert_null(var_find(fx_tables, NULL, 0, SLICE("nginx_version"), &arg));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(request_line),
		cmocka_unit_test(refused_head),
		cmocka_unit_test(fields),
		cmocka_unit_test(remote_user),
		cmocka_unit_test(connection),
		cmocka_unit_test(wildcard_listener),
		cmocka_unit_test(tls),
		cmocka_unit_test(answer),
		cmocka_unit_test(times),
		cmocka_unit_test(upstream_lists),
		cmocka_unit_test(upstream_and_proxy),
		cmocka_unit_test(tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
