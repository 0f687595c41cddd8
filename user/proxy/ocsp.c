/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the conversations with OCSP responders: name, connection, request, answer (HTTP/1.0), and when the
 * next is due. What is asked and which answer is taken is tls/tls_staple.c's. */
#include "proxy/ocsp.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/err.h"
#include "http/head.h"
#include "net/conn.h"
#include "net/resolve.h"
#include "policy/upstream_conf.h"
#include "proxy/http_conf.h"
#include "proxy/names.h"
#include "tls/tls_server.h"

enum {
	EXCHANGE_MS = 60000, /* as nginx: name, connection, answer, all together */
	RETRY_MIN_MS = 2000,
	RETRY_MAX_MS = 300000,
	CHECK_MAX_MS = 60000, /* the wall clock may be set */
	ADDRS_MAX = 8,
	HEAD_MAX_BYTES = 4096,
	ANSWER_MAX_BYTES = HEAD_MAX_BYTES + TLS_STAPLE_DER_MAX,
};

enum phase { IDLE, RESOLVING, CONNECTING, READING };

struct fetch {
	struct conn conn; /* first: conn's callback gets it */
	struct fetch *next;
	struct env *env;
	const struct server *server;
	struct tls_staple *staple;
	enum phase phase;
	struct resolve_query query;
	struct timer timer;
	unsigned n_failures;
	struct addr addrs[ADDRS_MAX];
	int n_addrs, at_addr;
	char *out; /* the request, heap */
	size_t out_n, sent;
	char *in; /* ANSWER_MAX_BYTES, heap */
	size_t in_n;
};

struct ocsp {
	struct fetch *list;
};

static void start(struct fetch *f);
static void connect_next(struct fetch *f, const char *why);

static void stop_io(struct fetch *f)
{
	resolve_cancel(&f->query);
	conn_close(&f->conn);
	free(f->out);
	free(f->in);
	f->out = f->in = NULL;
	f->phase = IDLE;
}

static void say(struct fetch *f, enum log_level level, const char *text)
{
	const struct tls_responder *to = tls_staple_responder(f->staple);
	const struct log *log = f->server->scope->error_log;

	log_write(log ? log : f->env->log, level, 0,
		  "%s while requesting certificate status, responder: %.*s, certificate: \"%s\"",
		  text, SLICE_FMT(to->url), tls_staple_cert_cstr(f->staple));
}

/* 2 s, 4 s, 8 s ... 5 minutes. */
static void fail(struct fetch *f, const char *why)
{
	uint64_t wait_ms = RETRY_MIN_MS;

	stop_io(f);
	say(f, LOG_LVL_ERROR, why);
	for (unsigned i = 0; i < f->n_failures && wait_ms < RETRY_MAX_MS; i++)
		wait_ms *= 2;
	f->n_failures++;
	timer_set(&f->env->loop, &f->timer, wait_ms < RETRY_MAX_MS ? wait_ms : RETRY_MAX_MS);
}

static void wait_until_due(struct fetch *f)
{
	time_t left = tls_staple_due_s(f->staple) - time(NULL);
	uint64_t ms = left > 0 ? (uint64_t)left * 1000 : 0;

	timer_set(&f->env->loop, &f->timer, ms < CHECK_MAX_MS ? ms : CHECK_MAX_MS);
}

static void take(struct fetch *f, struct slice der)
{
	char err[TLS_TEXT_MAX];

	if (tls_staple_take(f->staple, der, time(NULL), err)) {
		fail(f, err);
		return;
	}
	stop_io(f);
	f->n_failures = 0;
	wait_until_due(f);
}

/* The connection has ended in order, or what was announced is here: head and body. */
static void read_answer(struct fetch *f, bool ended)
{
	struct head_limits lim = {HEAD_MAX_BYTES, HEAD_MAX_BYTES, 100};
	struct head_scan scan = {0};
	struct resp_head head;
	enum head_error why = HEAD_OK;
	struct arena arena;
	struct hdr *type;
	struct slice body;
	const char *wrong = NULL;
	int n;

	arena_init(&arena, 4096);
	n = head_parse_response(&scan, slice_make(f->in, f->in_n), &lim, &arena, &head, &why);
	body = slice_make(f->in + (n > 0 ? n : 0), f->in_n - (n > 0 ? (size_t)n : 0));
	type = n > 0 ? hdrs_find(&head.fields, HDR_CONTENT_TYPE) : NULL;
	if (n < 0)
		wrong = "OCSP responder sent an invalid response";
	else if (n == 0)
		wrong = ended ? "OCSP responder prematurely closed connection" : NULL;
	else if (head.status != 200)
		wrong = "OCSP responder sent an unexpected status";
	else if (!type || !slice_istarts(type->value, SLICE("application/ocsp-response")))
		wrong = "OCSP responder sent invalid \"Content-Type\" header";
	else if (head.body == BODY_CHUNKED)
		wrong = "OCSP responder sent a chunked response to HTTP/1.0";
	else if (head.body == BODY_LENGTH && body.n > head.content_length)
		body.n = head.content_length;
	else if (head.body == BODY_LENGTH && body.n < head.content_length)
		wrong = ended ? "OCSP responder prematurely closed connection" : NULL;
	if (wrong)
		fail(f, wrong);
	else if (n > 0 && (ended || (head.body == BODY_LENGTH && body.n == head.content_length)))
		take(f, body);
	arena_fini(&arena);
}

static void receive(struct fetch *f)
{
	ssize_t n;

	while (f->phase == READING) {
		if (f->in_n == ANSWER_MAX_BYTES) {
			fail(f, "OCSP responder sent too large a response");
			return;
		}
		n = conn_read(&f->conn, f->in + f->in_n, ANSWER_MAX_BYTES - f->in_n);
		if (n == -SL_EAGAIN)
			return;
		if (n < 0) {
			fail(f, "OCSP responder reset the connection");
			return;
		}
		f->in_n += (size_t)n;
		read_answer(f, n == 0);
	}
}

static void transmit(struct fetch *f)
{
	ssize_t n;

	while (f->sent < f->out_n) {
		n = conn_write(&f->conn, f->out + f->sent, f->out_n - f->sent);
		if (n == -SL_EAGAIN)
			return;
		if (n < 0) {
			fail(f, "OCSP responder reset the connection");
			return;
		}
		f->sent += (size_t)n;
	}
}

static void on_event(struct conn *c)
{
	struct fetch *f = (struct fetch *)c;
	char text[128];
	int r;

	if (f->phase == CONNECTING) {
		r = conn_connected(c);
		if (r == -SL_EAGAIN)
			return;
		if (r < 0) {
			snprintf(text, sizeof text, "connect() to OCSP responder failed (%s)",
				 strerror(errno));
			conn_close(c);
			connect_next(f, text);
			return;
		}
		f->phase = READING;
	}
	if (f->phase == READING)
		transmit(f);
	if (f->phase == READING)
		receive(f);
}

static void connect_next(struct fetch *f, const char *why)
{
	char text[128];

	while (f->at_addr < f->n_addrs) {
		f->phase = CONNECTING;
		f->sent = 0;
		if (conn_connect(&f->conn, &f->env->loop, &f->addrs[f->at_addr++], NULL,
				 on_event) == 0)
			return;
		snprintf(text, sizeof text, "connect() to OCSP responder failed (%s)",
			 strerror(errno));
		why = text;
	}
	fail(f, why);
}

static void on_resolved(struct resolve_query *q, const struct resolve_answer *a)
{
	struct fetch *f = (struct fetch *)((char *)q - offsetof(struct fetch, query));
	char text[128];

	if (a->status) {
		snprintf(text, sizeof text, "OCSP responder could not be resolved (%s)", a->text);
		fail(f, text);
		return;
	}
	f->n_addrs = a->n_addrs < ADDRS_MAX ? a->n_addrs : ADDRS_MAX;
	for (int i = 0; i < f->n_addrs; i++) /* one that hangs is the first only once */
		f->addrs[i] = a->addrs[(i + f->n_failures) % (unsigned)f->n_addrs];
	f->at_addr = 0;
	connect_next(f, "OCSP responder has no address");
}

static void make_request(struct fetch *f)
{
	const struct tls_responder *to = tls_staple_responder(f->staple);
	size_t room = to->target.n + to->host.n + 64;

	f->out = malloc(room);
	f->in = malloc(ANSWER_MAX_BYTES);
	if (!f->out || !f->in)
		return;
	f->out_n = (size_t)snprintf(f->out, room, "GET %.*s HTTP/1.0\r\nHost: %.*s\r\n\r\n",
				    SLICE_FMT(to->target), SLICE_FMT(to->host));
	f->in_n = f->sent = 0;
}

/* The block's own `resolver`, or http's. */
static struct resolver *resolver_of(const struct fetch *f)
{
	const struct upstream_scope *own = f->server->block->mod[MOD_UPSTREAM];
	const struct upstream_scope *http = f->env->http->block->mod[MOD_UPSTREAM];

	return names_resolver(f->env, own->resolver_addrs == http->resolver_addrs ? http : own);
}

static void start(struct fetch *f)
{
	const struct tls_responder *to = tls_staple_responder(f->staple);
	struct resolver *resolver = resolver_of(f);

	make_request(f);
	if (!resolver || !f->out || !f->in) {
		fail(f, "no resolver, or no memory");
		return;
	}
	f->phase = RESOLVING;
	timer_set(&f->env->loop, &f->timer, EXCHANGE_MS);
	resolve_start(resolver, &f->query, to->name, to->port, on_resolved);
}

static void on_timer(struct timer *t)
{
	struct fetch *f = (struct fetch *)((char *)t - offsetof(struct fetch, timer));

	if (f->phase != IDLE)
		fail(f, "OCSP responder timed out");
	else if (tls_staple_due_s(f->staple) <= time(NULL))
		start(f);
	else
		wait_until_due(f);
}

static bool is_known(const struct ocsp *o, const struct tls_staple *s)
{
	for (const struct fetch *f = o->list; f; f = f->next)
		if (tls_staple_same(f->staple, s))
			return true;
	return false;
}

static int add(struct env *env, const struct server *server, struct tls_staple *s)
{
	struct fetch *f = calloc(1, sizeof *f);

	if (!f)
		return -SL_ENOMEM;
	f->env = env;
	f->server = server;
	f->staple = s;
	timer_init(&f->timer, on_timer);
	f->next = env->ocsp->list;
	env->ocsp->list = f;
	if (tls_staple_due_s(s) <= time(NULL))
		start(f);
	else
		wait_until_due(f);
	return 0;
}

int ocsp_setup(struct env *env, bool fetches)
{
	struct tls_staple *s;

	if (!fetches || !env->http)
		return 0;
	env->ocsp = calloc(1, sizeof *env->ocsp);
	if (!env->ocsp)
		return -SL_ENOMEM;
	for (const struct server *v = env->http->servers; v; v = v->next) {
		for (int i = 0; v->tls && i < TLS_PAIRS_MAX; i++) {
			s = tls_server_staple(v->tls, i);
			if (s && tls_staple_is_fetched(s) && !is_known(env->ocsp, s) &&
			    add(env, v, s))
				return -SL_ENOMEM;
		}
	}
	return 0;
}

void ocsp_fini(struct env *env)
{
	if (!env->ocsp)
		return;
	for (struct fetch *f = env->ocsp->list, *next; f; f = next) {
		next = f->next;
		stop_io(f);
		timer_cancel(&env->loop, &f->timer);
		loop_free(&env->loop, f);
	}
	free(env->ocsp);
	env->ocsp = NULL;
}
