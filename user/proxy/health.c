/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns health checks under way: one connection for each. An answer's head decides; a short body is read, so
 * that the server sees an end in order. What a result means is policy's. */
#include "proxy/health.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/err.h"
#include "core/hash.h"
#include "core/inbuf.h"
#include "net/proxy_line.h"
#include "policy/upstream_conf.h"
#include "proxy/fields.h"
#include "proxy/health_conf.h"
#include "proxy/proxy_conf.h"
#include "proxy/proxy_tls.h"
#include "proxy/upreq.h"
#include "tls/tls_conn.h"

enum {
	LOOK_MS = 1000, /* how soon a new address is found */
	HEAD_MAX_BYTES = 32 * 1024,
	FIELDS_MAX = 1000,
	INTERIM_MAX = 10,
	BODY_MAX_BYTES = 64 * 1024, /* a longer one is cut */
};

enum state {
	H_WAIT, /* until the next check is due */
	H_CONNECT,
	H_HANDSHAKE,
	H_ANSWER,
	H_BODY, /* the verdict is known; as H_WAIT, but for what still comes */
};

/* One peer of one check. */
struct probe {
	struct conn conn; /* first */
	struct checker *checker;
	enum state state;
	uint32_t peer, serial;
	struct timer timer;	   /* when it is due, or times out */
	int64_t n_fails, n_passes; /* in a row */
	size_t sent;
	struct inbuf in;
	struct head_scan scan;
	unsigned n_interim;
	uint64_t left; /* of the body, as far as it is read */
};

/* One check. */
struct checker {
	struct checker *next;
	struct env *env;
	const struct health_check *conf;
	const struct proxy_scope *proxy;
	struct balance_group *group;
	struct slice head;     /* the request */
	struct timer timer;    /* looks for peers */
	struct probe **probes; /* by slot of the group */
};

struct health {
	struct checker *checkers;
	struct arena arena;
};

static struct loop *loop_of(const struct probe *p)
{
	return &p->checker->env->loop;
}

/* ---- the request ---- */

static bool is_sent(const struct proxy_header *h)
{
	return h->value->constant && h->value->source.n && h->id != HDR_CONNECTION &&
	       h->id != HDR_CONTENT_LENGTH && h->id != HDR_TRANSFER_ENCODING &&
	       h->id != HDR_USER_AGENT;
}

/* There is no client: fields with variables are left out, and Host is the proxy_pass's then. */
static struct slice request_of(struct arena *a, const struct health_check *conf,
			       const struct proxy_scope *proxy)
{
	const struct proxy_headers *set = proxy->set_headers;
	struct slice out = arena_printf(a, "GET %.*s HTTP/1.%d\r\n", SLICE_FMT(conf->uri),
					proxy->http_version == 10 ? 0 : 1);
	bool has_host = false;

	for (int i = 0; set && i < set->n; i++) {
		const struct proxy_header *h = &set->v[i];

		if (!is_sent(h))
			continue;
		has_host |= h->id == HDR_HOST;
		out = arena_printf(a, "%.*s%.*s: %.*s\r\n", SLICE_FMT(out), SLICE_FMT(h->name),
				   SLICE_FMT(h->value->source));
	}
	if (!has_host)
		out = arena_printf(a, "%.*sHost: %.*s\r\n", SLICE_FMT(out),
				   SLICE_FMT(proxy->pass->host_text));
	return arena_printf(a, "%.*sUser-Agent: sluice (health check)\r\nConnection: close\r\n\r\n",
			    SLICE_FMT(out));
}

/* ---- the end of one ---- */

static uint64_t interval_ms(const struct checker *c)
{
	uint64_t jitter = (uint64_t)c->conf->jitter_ms;

	return (uint64_t)c->conf->interval_ms + (jitter ? hash_random_seed() % (jitter + 1) : 0);
}

static void close_conn(struct probe *p)
{
	if (p->state == H_WAIT)
		return;
	p->state = H_WAIT;
	inbuf_clear(&p->in);
	conn_close(&p->conn);
	p->checker->env->n_conns--;
}

static enum balance_verdict count(struct probe *p, bool passed)
{
	const struct health_check *conf = p->checker->conf;

	p->n_fails = passed ? 0 : p->n_fails + 1;
	p->n_passes = passed ? p->n_passes + 1 : 0;
	if (p->n_fails >= conf->n_fails)
		return BALANCE_SICK;
	return p->n_passes >= conf->n_passes ? BALANCE_HEALTHY : BALANCE_NO_VERDICT;
}

/* The result of this check; ERROR NULL: it passed. */
static void tell(struct probe *p, const char *error)
{
	struct checker *c = p->checker;
	const struct clock *clock = &c->env->loop.clock;
	enum balance_verdict verdict = count(p, !error);
	struct balance_peer peer;

	timer_set(&c->env->loop, &p->timer, interval_ms(c));
	if (!balance_checked(c->group, p->peer, p->serial, c->conf->index, error, verdict,
			     clock->mono_ms, clock->wall_ms) ||
	    !balance_get_peer(c->group, p->peer, &peer))
		return;
	if (error)
		log_write(c->env->log, LOG_LVL_WARN, 0,
			  "upstream \"%s\": %s is unhealthy: health check \"%.*s\": %s",
			  c->group->name, peer.text, SLICE_FMT(c->conf->uri), error);
	else
		log_write(c->env->log, LOG_LVL_NOTICE, 0, "upstream \"%s\": %s is healthy",
			  c->group->name, peer.text);
}

static void failed(struct probe *p, const char *what, const char *why)
{
	char text[BALANCE_CHECK_ERROR_MAX];

	snprintf(text, sizeof text, "%s%s%s", what, why[0] ? ": " : "", why);
	close_conn(p);
	tell(p, text);
}

/* ---- its steps ---- */

static const char *phase_of(const struct probe *p)
{
	switch (p->state) {
	case H_CONNECT:
		return "timed out while connecting";
	case H_HANDSHAKE:
		return "timed out while SSL handshaking";
	default:
		return "timed out while reading the response header";
	}
}

static bool connected(struct probe *p)
{
	const struct fields_scope *fields = p->checker->conf->block->mod[MOD_FIELDS];
	struct addr nobody = {.sa.sa_family = AF_UNIX, .len = sizeof(sa_family_t)};
	char line[PROXY_LINE_MAX];
	int r = conn_connected(&p->conn);
	size_t n = 0;

	if (r == -SL_EAGAIN)
		return false;
	if (r < 0) {
		failed(p, "connect() failed", strerror(errno));
		return false;
	}
	if (fields->proxy_protocol != FIELDS_PROXY_OFF)
		n = fields->proxy_protocol == FIELDS_PROXY_V2
			    ? proxy_line_v2(line, &nobody, &nobody)
			    : proxy_line_v1(line, &nobody, &nobody);
	if (n && conn_raw_write(&p->conn, line, n) != (ssize_t)n) {
		failed(p, "the PROXY protocol header was not sent", "");
		return false;
	}
	p->state = p->checker->proxy->pass->https ? H_HANDSHAKE : H_ANSWER;
	return true;
}

static bool shook_hands(struct probe *p)
{
	int r = tls_handshake(&p->conn);

	if (r == -SL_EAGAIN)
		return false;
	if (r < 0) {
		failed(p, "SSL", tls_error_text(&p->conn));
		return false;
	}
	p->state = H_ANSWER;
	return true;
}

static bool sent(struct probe *p)
{
	struct slice head = p->checker->head;

	while (p->sent < head.n) {
		ssize_t n = conn_write(&p->conn, head.p + p->sent, head.n - p->sent);

		if (n == -SL_EAGAIN)
			return true;
		if (n < 0) {
			failed(p, "the request could not be sent", "");
			return false;
		}
		p->sent += (size_t)n;
		/* From here on no drip of bytes makes it longer. */
		timer_set(loop_of(p), &p->timer, (uint64_t)p->checker->proxy->read_timeout_ms);
	}
	return true;
}

/* N bytes came behind the head, or behind those before. */
static void spend(struct probe *p, uint64_t n)
{
	p->left -= n < p->left ? n : p->left;
	if (p->left == 0)
		close_conn(p);
}

static void judge(struct probe *p, const struct resp_head *head, uint32_t n)
{
	uint64_t rest = inbuf_len(&p->in) - n;
	char text[32];

	snprintf(text, sizeof text, "status %u", head->status);
	p->state = H_BODY;
	p->left = head->body == BODY_LENGTH && head->content_length < BODY_MAX_BYTES
			  ? head->content_length
			  : BODY_MAX_BYTES;
	if (head->body == BODY_NONE || head->status == 101 || head->status == 204 ||
	    head->status == 304)
		p->left = 0;
	inbuf_clear(&p->in);
	spend(p, rest);
	tell(p, head->status >= 200 && head->status < 400 ? NULL : text);
}

/* True: it has ended. */
static bool parsed(struct probe *p)
{
	struct head_limits lim = {HEAD_MAX_BYTES, HEAD_MAX_BYTES, FIELDS_MAX};
	enum head_error why = HEAD_OK;
	struct resp_head head = {0};
	struct arena a;
	int n = 1;

	while (n > 0 && inbuf_len(&p->in)) {
		arena_init(&a, 1024);
		n = head_parse_response(&p->scan, inbuf_slice(&p->in), &lim, &a, &head, &why);
		arena_fini(&a);
		if (n == 0)
			return false;
		if (n < 0)
			failed(p, "invalid header", head_error_text(why));
		else if (head.status >= 200 || head.status == 101)
			judge(p, &head, (uint32_t)n);
		else if (++p->n_interim > INTERIM_MAX)
			failed(p, "too many 1xx responses", "");
		if (p->state != H_ANSWER)
			return true;
		p->scan = (struct head_scan){0};
		inbuf_consume(&p->in, (uint32_t)n);
	}
	return false;
}

static void read_answer(struct probe *p)
{
	while (conn_may_read(&p->conn)) {
		uint32_t room = inbuf_reserve(&p->in, HEAD_MAX_BYTES + 1);
		ssize_t n = conn_read(&p->conn, p->in.p + p->in.end, room);

		if (n == -SL_EAGAIN)
			return;
		if (n <= 0) {
			failed(p, "the connection was closed before the answer", "");
			return;
		}
		p->in.end += (uint32_t)n;
		if (parsed(p))
			return;
	}
}

static void read_body(struct probe *p)
{
	char sink[4096];

	while (p->state == H_BODY && conn_may_read(&p->conn)) {
		ssize_t n = conn_read(&p->conn, sink, sizeof sink);

		if (n == -SL_EAGAIN)
			return;
		spend(p, n > 0 ? (uint64_t)n : p->left);
	}
}

static void on_event(struct conn *conn)
{
	struct probe *p = (struct probe *)conn;

	if (p->state == H_CONNECT && !connected(p))
		return;
	if (p->state == H_HANDSHAKE && !shook_hands(p))
		return;
	if (p->state == H_ANSWER && sent(p))
		read_answer(p);
	if (p->state == H_BODY)
		read_body(p);
}

/* ---- the beginning of one ---- */

static int start_tls(struct probe *p, const struct balance_peer *peer)
{
	const struct proxy_scope *proxy = p->checker->proxy;
	const struct upstream_conf *g = p->checker->conf->group;
	struct slice own = proxy->pass->host_text, also[3] = {{0}}, name;

	if (!g->implicit)
		own = slice_cstr(p->checker->group->server[peer->server].host);
	if (proxy->tls->name && proxy->tls->name->constant)
		name = proxy->tls->name->source;
	else
		name = upreq_tls_names(proxy->set_headers, own, proxy->pass->host_text, also);
	if (tls_connect_start(&p->conn, proxy->tls->client, name, proxy->tls->server_name,
			      &peer->addr))
		return -SL_EINVAL;
	for (int i = 0; i < 3; i++)
		if (also[i].n && !slice_eq(also[i], name))
			tls_accept_name(&p->conn, also[i]);
	return 0;
}

static void start(struct probe *p, const struct balance_peer *peer)
{
	struct checker *c = p->checker;
	const struct fields_scope *fields = c->conf->block->mod[MOD_FIELDS];
	const struct fields_bind *bind = fields->bind;
	struct addr to = peer->addr;

	p->sent = 0;
	p->n_interim = 0;
	p->scan = (struct head_scan){0};
	if (c->conf->port && to.sa.sa_family != AF_UNIX)
		addr_set_port(&to, c->conf->port);
	if (conn_connect(&p->conn, &c->env->loop, &to, bind && bind->is_fixed ? &bind->addr : NULL,
			 on_event)) {
		failed(p, "connect() failed", strerror(errno));
		return;
	}
	c->env->n_conns++;
	p->state = H_CONNECT;
	timer_set(&c->env->loop, &p->timer, (uint64_t)c->proxy->connect_timeout_ms);
	if (c->proxy->pass->https && start_tls(p, peer)) {
		failed(p, "no name for TLS", "");
		return;
	}
	on_event(&p->conn);
}

/* False: nobody is there who would get requests. */
static bool find(const struct checker *c, uint32_t i, struct balance_peer *peer)
{
	struct balance_server s;

	return balance_get_peer(c->group, i, peer) && !peer->gone &&
	       balance_get_server(c->group, peer->server, &s) && !s.down;
}

static void on_timer(struct timer *t)
{
	struct probe *p = (struct probe *)((char *)t - offsetof(struct probe, timer));
	struct balance_peer peer;

	if (p->state == H_BODY)
		close_conn(p);
	if (p->state != H_WAIT)
		failed(p, phase_of(p), "");
	else if (find(p->checker, p->peer, &peer) && peer.serial == p->serial)
		start(p, &peer);
	else
		p->serial = 0; /* on_look() knows whether another came */
}

static struct probe *probe_new(struct checker *c, uint32_t i)
{
	struct probe *p = calloc(1, sizeof *p);

	if (!p)
		abort();
	p->checker = c;
	p->peer = i;
	timer_init(&p->timer, on_timer);
	return p;
}

static void look(struct checker *c)
{
	uint64_t jitter = (uint64_t)c->conf->jitter_ms;

	for (uint32_t i = 0; i < c->group->n_peers && i < c->group->peers_room; i++) {
		struct balance_peer peer;
		struct probe *p;

		if (!find(c, i, &peer))
			continue;
		p = c->probes[i] = c->probes[i] ? c->probes[i] : probe_new(c, i);
		if (p->serial == peer.serial)
			continue;
		close_conn(p);
		p->serial = peer.serial;
		p->n_fails = p->n_passes = 0;
		timer_set(&c->env->loop, &p->timer,
			  jitter ? 1 + hash_random_seed() % (jitter + 1) : 1);
	}
}

static void on_look(struct timer *t)
{
	struct checker *c = (struct checker *)((char *)t - offsetof(struct checker, timer));

	look(c);
	timer_set(&c->env->loop, &c->timer, LOOK_MS);
}

/* ---- all ---- */

static void add_checker(struct env *env, const struct health_check *conf)
{
	struct health *h = env->health;
	struct checker *c = calloc(1, sizeof *c);

	if (c)
		c->probes = calloc(conf->group->group->peers_room, sizeof *c->probes);
	if (!c || !c->probes)
		abort();
	c->env = env;
	c->conf = conf;
	c->proxy = conf->block->mod[MOD_PROXY];
	c->group = conf->group->group;
	c->head = request_of(&h->arena, conf, c->proxy);
	timer_init(&c->timer, on_look);
	c->next = h->checkers;
	h->checkers = c;
	timer_set(&env->loop, &c->timer, 1);
}

void health_setup(struct env *env)
{
	struct upstream_main *m = upstream_conf_main(env->conf);

	for (struct upstream_conf *u = m ? m->groups : NULL; u; u = u->next)
		balance_checks_begin(u->group, &u->checks, env->stats->generation);
	if (!health_conf_checks(env->conf))
		return;
	env->health = calloc(1, sizeof *env->health);
	if (!env->health)
		abort();
	arena_init(&env->health->arena, 1024);
	for (const struct health_check *h = health_conf_checks(env->conf); h; h = h->next)
		add_checker(env, h);
}

void health_stop(struct env *env)
{
	struct health *h = env->health;

	if (!h)
		return;
	for (struct checker *c = h->checkers, *next; c; c = next) {
		next = c->next;
		timer_cancel(&env->loop, &c->timer);
		for (uint32_t i = 0; i < c->group->peers_room; i++) {
			if (!c->probes[i])
				continue;
			close_conn(c->probes[i]);
			timer_cancel(&env->loop, &c->probes[i]->timer);
			loop_free(&env->loop, c->probes[i]);
		}
		free(c->probes);
		free(c);
	}
	arena_fini(&h->arena);
	free(h);
	env->health = NULL;
}
