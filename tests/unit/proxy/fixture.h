/* SPDX-License-Identifier: BSD-2-Clause */
/* A request made by hand, and in place of the TLS layer and of request.c what variables ask of them. */
#ifndef SL_TESTS_PROXY_FIXTURE_H
#define SL_TESTS_PROXY_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "conf/log_conf.h"
#include "core/err.h"
#include "proxy/access_log.h"
#include "proxy/request.h"
#include "proxy/upstream.h"
#include "proxy/vars.h"
#include "tls/tls_peer.h"

const char *tls_protocol_cstr(const struct conn *c)
{
	return "TLSv1.3";
}

const char *tls_cipher_cstr(const struct conn *c)
{
	return "TLS_AES_256_GCM_SHA384";
}

const char *tls_curve_cstr(const struct conn *c)
{
	return NULL;
}

struct slice tls_sni(const struct conn *c)
{
	return SLICE("api.example.com");
}

struct slice tls_alpn(const struct conn *c)
{
	return SLICE("");
}

bool tls_session_reused(const struct conn *c)
{
	return true;
}

bool tls_is_early(const struct conn *c)
{
	return true;
}

size_t tls_session_id_text(const struct conn *c, char to[65])
{
	memcpy(to, "0a1b", 5);
	return 4;
}

size_t tls_client_ciphers_text(const struct conn *c, char *to, size_t room)
{
	return (size_t)snprintf(to, room, "A:B");
}

size_t tls_client_curves_text(const struct conn *c, char *to, size_t room)
{
	return 0;
}

struct slice tls_peer_verify_text(const struct conn *c, struct arena *a)
{
	return SLICE("SUCCESS");
}

bool tls_peer_text(const struct conn *c, enum tls_peer_field field, struct arena *a,
		   struct slice *out)
{
	*out = arena_printf(a, "field %d", (int)field);
	return field != TLS_PEER_CERT;
}

struct slice request_id(struct request *r)
{
	return SLICE("00112233445566778899aabbccddeeff");
}

const struct addr *request_local_addr(const struct request *r)
{
	struct client *c = r->client;
	struct addr a = {.len = sizeof a.un};

	if (c->local)
		return c->local;
	if (!c->listener->wildcard || getsockname(c->conn->io.fd, &a.sa, &a.len) < 0)
		return &c->listener->addr;
	c->local = malloc(sizeof a);
	assert_non_null(c->local);
	*c->local = a;
	return c->local;
}

int request_body_read(const struct request *r, void *to, size_t n, uint64_t at)
{
	ssize_t got = pread(r->body.fd, to, n, (off_t)at);

	return got > 0 ? (int)got : -SL_ESYS;
}

struct fx {
	struct env env;
	struct listener listener;
	struct client client;
	struct conn conn;
	struct server server;
	struct conf_block block;
	struct http_scope scope;
	struct upstream up;
	struct request r;
};

/* The request that HEAD (with its empty line) makes; a refused one when HEAD is NULL. */
static inline struct fx *fx_new(const char *head)
{
	struct head_limits lim = {8192, 32768, 100};
	struct fx *f = calloc(1, sizeof *f);
	struct head_scan scan = {0};
	enum head_error why;

	hdr_setup();
	assert_int_equal(loop_init(&f->env.loop, 16), 0);
	assert_int_equal(addr_from_ip(SLICE("192.0.2.7"), 40001, &f->client.remote.addr), 0);
	assert_int_equal(addr_from_ip(SLICE("198.51.100.1"), 8443, &f->listener.addr), 0);
	f->client.remote.ip_len =
		(uint32_t)addr_ip_text(&f->client.remote.addr, f->client.remote.ip);
	f->client.serial = 42;
	f->client.n_requests = 3;
	f->r.nth = 3;
	f->client.conn = &f->conn;
	f->client.listener = &f->listener;
	f->server.name = SLICE("default.example");
	f->server.block = &f->block;
	f->server.scope = &f->scope;
	f->scope.chunked = 1;
	f->r.env = &f->env;
	f->r.client = &f->client;
	f->r.remote = &f->client.remote;
	f->r.server = &f->server;
	f->r.block = &f->block;
	f->r.scope = &f->scope;
	f->r.body.fd = -1;
	f->r.resp.content_length = -1;
	f->r.tries_tail = &f->r.tries;
	arena_init(&f->r.arena, 4096);
	if (head) {
		int n = head_parse_request(&scan, slice_cstr(head), &lim, &f->r.arena, &f->r.head,
					   &why);

		assert_int_equal(n, strlen(head));
		assert_int_equal(uri_parse(f->r.head.path, true, &f->r.arena, &f->r.uri), 0);
		f->r.head_bytes = (uint64_t)n;
		f->r.keep_alive = f->r.head.keep_alive;
	}
	return f;
}

static inline void fx_free(struct fx *f)
{
	free(f->client.local);
	arena_fini(&f->r.arena);
	loop_fini(&f->env.loop);
	free(f);
}

static const struct var_def *const fx_tables[] = {vars_request, vars_body, vars_upstream, vars_tls,
						  NULL};

/* The value of $NAME, NUL-terminated in the request's memory; NULL: it has none. */
static inline const char *fx_var(struct fx *f, const char *name)
{
	struct slice arg, out;
	const struct var_def *v = var_find(fx_tables, NULL, 0, slice_cstr(name), &arg);

	assert_non_null(v);
	if (!v->get(&f->r, arg, v->data, &f->r.arena, &out))
		return NULL;
	return arena_cstr(&f->r.arena, out);
}

#define fx_is(f, name, value) assert_string_equal(fx_var(f, name), value)
#define fx_none(f, name) assert_null(fx_var(f, name))

#endif
