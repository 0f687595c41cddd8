/* SPDX-License-Identifier: BSD-2-Clause */
/* Fuzzes the way of a request's head from a client to an upstream: parsed, put through proxy_pass and
 * proxy_set_header with variables of the client's making, serialised. What is sent must be one message,
 * to whoever reads it by RFC 9112, with exactly our body. The first byte chooses the location. */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <unistd.h>

#include "core/err.h"
#include "modules.h"
#include "policy/upstream_conf.h"
#include "proxy/location.h"
#include "proxy/request.h"
#include "proxy/rewrite.h"
#include "proxy/upreq.h"
#include "tests/fuzz/fuzz.h"

static const char config[] =
	"events {} http { log_format l $request_id; access_log off;"
	"upstream u { server 127.0.0.1:9; }"
	"server { listen 127.0.0.1:9; underscores_in_headers on; merge_slashes off;"
	"location / { proxy_pass http://u; }"
	"location /a { proxy_pass http://u/b/; proxy_set_header X-A \"$http_a$arg_a$cookie_a\";"
	"  proxy_set_header Host $host; proxy_set_header Connection $http_b; }"
	"location /v { proxy_pass http://u$uri$is_args$args; proxy_set_header Host $http_host;"
	"  proxy_set_header Content-Length $http_x; proxy_set_header Transfer-Encoding $arg_x; }"
	"location /old { proxy_pass http://u/$arg_a/x; proxy_http_version 1.0; }"
	"location ~ ^/r/(.*)$ { rewrite ^/r/(.*)$ /x$1?y=$1&z=$http_a break; proxy_pass http://u; }"
	"location /s { set $args $http_a$cookie_b; if ($arg_c) { rewrite ^/s(.*)$ $1 break; }"
	"  proxy_pass http://u/q/; }"
	"location /t { rewrite ^ $arg_a? break; proxy_pass http://u; }"
	"location ~ ^/m(?<m>.*)$ { set $n \"$map$1\"; proxy_pass http://u/$m$n?$1; }"
	"} map $arg_a $map { default \"$1 $http_a\"; ~(.)(.*) $2$1; } }";

static struct conf conf;
static struct shm_registry shm;
static struct stats_worker stats;
static struct log no_log;
static struct env env;
static struct client client;

static void nothing(struct request *r)
{
}

static void drop_buf(struct request *r, struct buf *b)
{
	buf_free(b);
}

static uint64_t no_queue(const struct request *r)
{
	return 0;
}

static const struct front_ops no_front = {
	.read_body = nothing,
	.send_head = nothing,
	.send_body = drop_buf,
	.finish = nothing,
	.abort = nothing,
	.drop = nothing,
	.flush = nothing,
	.queued = no_queue,
};

static void setup(void)
{
	int fd = memfd_create("conf", 0);
	char path[64];

	hdr_setup();
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	FUZZ_CHECK(fd >= 0 && write(fd, config, sizeof config - 1) == (ssize_t)sizeof config - 1);
	arena_init(&conf.arena, 64 * 1024);
	conf.modules = modules_all;
	conf.var_tables = modules_vars;
	conf.prefix = conf.dir = (char *)"/tmp/";
	conf.path = path;
	conf.shm = &shm;
	conf.test = true;
	FUZZ_CHECK(conf_load(&conf, SLICE("")) == 0 && upstream_conf_share(&conf) == 0);
	close(fd);
	FUZZ_CHECK(loop_init(&env.loop, 16) == 0);
	env.conf = &conf;
	env.http = conf.http;
	env.stats = &stats;
	env.log = &no_log;
	client.listener = &conf.http->listeners[0];
	FUZZ_CHECK(addr_from_ip(SLICE("192.0.2.1"), 1, &client.remote.addr) == 0);
}

/* As the front and the pipeline would do it; false: refused. */
static bool begin(struct request *r, struct slice in)
{
	struct head_limits lim = {8192, 32768, 100};
	struct head_scan scan = {0};
	struct req_head head = {0};
	enum head_error why = HEAD_OK;
	struct conf_block *block;
	enum location_found found;
	int n = head_parse_request(&scan, in, &lim, &r->arena, &head, &why);

	if (n <= 0 || head.method == METHOD_CONNECT)
		return false;
	request_set_head(r, &head, slice_make(in.p, (size_t)n));
	r->server = conf.http->servers;
	if (uri_parse(r->head.path, false, &r->arena, &r->uri))
		return false;
	found = location_find(r, &block);
	r->block = block;
	r->scope = http_scope_of(r->block);
	request_drop_names(r);
	return found == LOCATION_FOUND && rewrite_run(r) == REWRITE_ON && r->block->mod[MOD_PROXY];
}

/* The head as an upstream of our own strictness reads it. */
static void check_sent(const struct request *r, struct slice sent)
{
	struct head_limits lim = {1 << 20, 1 << 20, 1000};
	struct head_scan scan = {0};
	struct req_head head = {0};
	enum head_error why = HEAD_OK;
	struct arena a;
	unsigned n_lengths = 0, n_hosts = 0;
	int n;

	arena_init(&a, 4096);
	n = head_parse_request(&scan, sent, &lim, &a, &head, &why);
	/* As nginx: with an empty value in proxy_set_header no Host is sent. */
	if (n < 0 && why == HEAD_BAD_HOST && !r->head.host_field.n)
		goto out;
	FUZZ_CHECK(n == (int)sent.n);
	for (uint32_t i = 0; i < head.fields.n; i++) {
		enum hdr_id id = head.fields.v[i].id;

		n_lengths += id == HDR_CONTENT_LENGTH;
		n_hosts += id == HDR_HOST;
		FUZZ_CHECK(id != HDR_TRANSFER_ENCODING && id != HDR_TE && id != HDR_UPGRADE &&
			   id != HDR_EXPECT);
	}
	FUZZ_CHECK(n_lengths <= 1 && n_hosts <= 1);
	FUZZ_CHECK(head.body == (r->body.len ? BODY_LENGTH : head.body));
	FUZZ_CHECK(head.body != BODY_LENGTH || head.content_length == r->body.len);
out:
	arena_fini(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const targets[] = {"", "/a", "/v", "/old", "/r/", "/s", "/t", "/m"};
	struct request *r;
	char *in;
	int n;

	if (!env.conf)
		setup();
	if (size < 1 || size > 20000)
		return 0;
	/* The input is what follows the method and the location: path, version and fields. */
	n = asprintf(&in, "%s %s%.*s", data[0] & 8 ? "POST" : "GET", targets[data[0] & 7],
		     (int)size - 1, (const char *)data + 1);
	FUZZ_CHECK(n > 0);
	r = request_new(&env, &client, &no_front, NULL);
	if (begin(r, slice_make(in, (size_t)n))) {
		r->up = arena_zalloc(&r->arena, sizeof *r->up);
		r->up->r = r;
		r->up->conf = r->block->mod[MOD_PROXY];
		r->up->fields_conf = r->block->mod[MOD_FIELDS];
		r->up->https = r->up->conf->pass && r->up->conf->pass->https;
		if (r->head.body == BODY_LENGTH)
			r->body.len = (size_t)r->head.content_length;
		if (r->up->conf->pass && upreq_target(r) == 0) {
			upreq_build(r);
			check_sent(r, r->up->head);
		}
		r->up = NULL;
	}
	request_done(r);
	free(in);
	return 0;
}
