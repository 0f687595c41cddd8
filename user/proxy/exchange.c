/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns one try's life: connection, time-outs, end. Everything that ends the try goes through exchange_end(),
 * after which the exchange is never touched again. */
#include "proxy/exchange_impl.h"

#include <errno.h>
#include <stdio.h>

#include "core/err.h"
#include "core/hash.h"
#include "net/proxy_line.h"
#include "proxy/proxy_tls.h"
#include "tls/tls_conn.h"

#define KEY_RELAYED 0x72656c6179u /* pool_get()'s key, of connections that go around TCP */

static void on_event(struct conn *c);
static void step(struct exchange *x);

static const char *phase_text(const struct exchange *x)
{
	switch (x->state) {
	case X_CONNECT:
		return "connecting to upstream";
	case X_HANDSHAKE:
		return "SSL handshaking to upstream";
	case X_HEAD:
		return x->sent_all ? "reading response header from upstream"
				   : "sending request to upstream";
	default:
		return x->tunnel ? "proxying upgraded connection" : "reading upstream";
	}
}

static void set_times(struct exchange *x)
{
	struct try *t = x->u->try;

	t->response_ms = (int64_t)(x->r->env->loop.clock.mono_ms - x->started_ms);
	t->bytes_received = x->uc ? x->uc->conn.n_received : 0;
	t->bytes_sent = x->uc ? x->uc->conn.n_sent : 0;
}

/* The connection is the pool's or gone when the log is written. */
static void keep_tcp(struct exchange *x)
{
	struct try *t = x->u->try;

	if (!x->r->env->keeps_tcp || !x->uc || x->state == X_CONNECT)
		return;
	if (!t->tcp)
		t->tcp = arena_alloc(&x->r->arena, sizeof *t->tcp);
	tcp_view_read(x->uc->conn.io.fd, t->tcp);
}

void exchange_end(struct exchange *x, bool reuse)
{
	struct loop *l = &x->r->env->loop;

	set_times(x);
	keep_tcp(x);
	timer_cancel(l, &x->timer);
	task_cancel(l, &x->task);
	inbuf_clear(&x->in);
	buf_free(x->rbuf);
	buf_free(x->file_buf);
	bufq_clear(&x->framed);
	x->rbuf = x->file_buf = NULL;
	if (x->uc) {
		x->uc->x = NULL;
		if (reuse && !x->u->fields_conf->proxy_protocol)
			pool_put(x->uc);
		else
			pool_close(x->uc);
		x->uc = NULL;
	}
	if (x->u->x == x)
		x->u->x = NULL;
}

void exchange_cancel(struct exchange *x)
{
	exchange_end(x, false);
}

bool exchange_sent_any(const struct exchange *x)
{
	return x->sent_head > 0;
}

void exchange_fail(struct exchange *x, unsigned why, unsigned status)
{
	struct request *r = x->r;

	if (x->state == X_BODY) {
		exchange_end(x, false);
		upstream_finished(r, false);
		return;
	}
	upstream_failed(r, why, status);
}

void exchange_fail_io(struct exchange *x, ssize_t how)
{
	struct request *r = x->r;

	/* A connection that was kept and had been closed meanwhile is nobody's fault. */
	if (x->reused && !x->got_any && x->state == X_HEAD &&
	    (!exchange_sent_any(x) || upstream_may_resend(r))) {
		upstream_stale(r);
		return;
	}
	if (how == -SL_ETLS || how == -SL_ETRUNCATED)
		request_log(r, LOG_LVL_ERROR, "%s while %s",
			    how == -SL_ETLS
				    ? tls_error_text(&x->uc->conn)
				    : "upstream closed the connection without close_notify: the "
				      "answer may be truncated",
			    phase_text(x));
	else
		request_log(r, LOG_LVL_ERROR,
			    how == 0 ? "upstream prematurely closed connection while %s"
				     : "upstream reset the connection while %s",
			    phase_text(x));
	exchange_fail(x, NEXT_ERROR, 502);
}

static void on_timer(struct timer *t)
{
	struct exchange *x = (struct exchange *)((char *)t - offsetof(struct exchange, timer));

	if (x->paced) {
		x->paced = false;
		step(x);
		return;
	}
	request_log(x->r, LOG_LVL_ERROR, "upstream timed out (110: Connection timed out) while %s",
		    phase_text(x));
	if (x->tunnel)
		exchange_read_finish(x, false); /* nobody takes its end for more than it is */
	else
		exchange_fail(x, NEXT_TIMEOUT, 504);
}

void exchange_wait(struct exchange *x, int64_t ms)
{
	x->paced = false;
	timer_set(&x->r->env->loop, &x->timer, (uint64_t)ms);
}

/* Connecting. */

/* The first bytes on a new connection always fit into the socket. */
static bool send_proxy_line(struct exchange *x)
{
	const struct request *r = x->r;
	char line[PROXY_LINE_MAX];
	const struct addr *to = request_local_addr(r);
	size_t n = x->u->fields_conf->proxy_protocol == FIELDS_PROXY_V2
			   ? proxy_line_v2(line, &r->remote->addr, to)
			   : proxy_line_v1(line, &r->remote->addr, to);

	if (conn_raw_write(&x->uc->conn, line, n) == (ssize_t)n)
		return true;
	request_log(r, LOG_LVL_ERROR, "PROXY protocol header was not sent to upstream");
	exchange_fail(x, NEXT_ERROR, 502);
	return false;
}

static bool do_connect(struct exchange *x)
{
	int r = conn_connected(&x->uc->conn);

	if (r == -SL_EAGAIN)
		return false;
	if (r < 0) {
		request_log(x->r, LOG_LVL_ERROR,
			    "connect() failed (%d: %s) while connecting to upstream", errno,
			    strerror(errno));
		exchange_fail(x, NEXT_ERROR, 502);
		return false;
	}
	if (x->u->fields_conf->proxy_protocol && !send_proxy_line(x))
		return false;
	if (x->u->https) {
		x->state = X_HANDSHAKE;
		return true;
	}
	x->u->try->connect_ms = (int64_t)(x->r->env->loop.clock.mono_ms - x->started_ms);
	x->state = X_HEAD;
	return true;
}

static bool do_handshake(struct exchange *x)
{
	int r = tls_handshake(&x->uc->conn);

	if (r == -SL_EAGAIN)
		return false;
	if (r < 0) {
		request_log(x->r, LOG_LVL_ERROR, "%s while SSL handshaking to upstream",
			    tls_error_text(&x->uc->conn));
		exchange_fail(x, NEXT_ERROR, 502);
		return false;
	}
	x->u->try->connect_ms = (int64_t)(x->r->env->loop.clock.mono_ms - x->started_ms);
	x->state = X_HEAD;
	return true;
}

/* Every step may end the exchange, and says so by returning false. */
static void step(struct exchange *x)
{
	if (x->state == X_CONNECT && !do_connect(x))
		return;
	if (x->state == X_HANDSHAKE && !do_handshake(x))
		return;
	if (!x->sent_all && !exchange_send(x))
		return;
	if (x->state == X_HEAD)
		exchange_read_head(x);
	else if (x->state == X_BODY && !x->blocked && !x->half_ended)
		exchange_read_body(x);
}

static void on_event(struct conn *c)
{
	struct exchange *x = ((struct upconn *)c)->x;

	if (x)
		step(x);
}

static void on_task(struct task *t)
{
	step((struct exchange *)((char *)t - offsetof(struct exchange, task)));
}

void exchange_resume(struct exchange *x)
{
	if (!x->blocked)
		return;
	x->blocked = false;
	task_post(&x->r->env->loop, &x->task);
}

void exchange_body_came(struct exchange *x)
{
	task_post(&x->r->env->loop, &x->task);
}

/* Did a connection fail for what this machine or the configuration lacks? As in nginx no peer is at fault then, and
 * none would do better. */
static bool is_our_own(int e, const struct addr *local)
{
	return e == EMFILE || e == ENFILE || e == ENOMEM || e == ENOBUFS ||
	       (local && e == EADDRNOTAVAIL);
}

/* A connection of our own, to ADDR; KEY is what another request must have in common with this one. */
static bool open_new(struct exchange *x, const struct addr *addr, const struct addr *local,
		     uint64_t key, bool relayed)
{
	struct upstream *u = x->u;
	struct tls_client *tls = u->https ? u->conf->tls->client : NULL;
	int one = 1;

	if (!pool_make_room(x->r->env)) {
		request_log(x->r, LOG_LVL_ALERT,
			    "%u worker_connections are not enough while connecting to upstream",
			    x->r->env->conns_max);
		x->no_room = true;
		return false;
	}
	x->uc = pool_connect(x->r->env, u->group_conf, addr, local, relayed, on_event);
	if (!x->uc) {
		x->no_room = is_our_own(errno, local);
		request_log(x->r,
			    !x->no_room		     ? LOG_LVL_ERROR
			    : errno == EADDRNOTAVAIL ? LOG_LVL_CRIT
						     : LOG_LVL_ALERT,
			    "%s failed (%d: %s) while connecting to upstream",
			    local ? "bind() or connect()" : "connect()", errno, strerror(errno));
		return false;
	}
	if (tls &&
	    tls_connect_start(&x->uc->conn, tls, u->tls_name, u->conf->tls->server_name, addr)) {
		request_log(x->r, LOG_LVL_ERROR, "\"%.*s\" is no name for a TLS upstream",
			    SLICE_FMT(u->tls_name));
		return false;
	}
	for (int i = 0; tls && i < 3; i++)
		if (u->tls_also[i].n && !slice_eq(u->tls_also[i], u->tls_name))
			tls_accept_name(&x->uc->conn, u->tls_also[i]);
	x->uc->tls = tls;
	x->uc->key = key;
	if (u->fields_conf->socket_keepalive)
		setsockopt(x->uc->conn.io.fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
	return true;
}

/* May it go around TCP (`sockmap on`)? An upstream has nobody to tell how far it has read: no more of a request may
 * lie unread than it has itself, and that must be known. And whoever reads while he is written to may be told EAGAIN
 * where he waits: so no tunnel, either. What may not has connections of its own. */
static bool is_relayed(const struct exchange *x)
{
	enum { PER_PIECE = 1024, FOR_HEAD = 4096 };
	const struct upstream_conf *g = x->u->group_conf;
	const struct request_body *b = &x->r->body;
	uint64_t n = x->u->head.n + (x->u->sends_body ? b->len : 0);

	return g && g->sockmap && g->relay_group >= 0 && x->r->env->relay && !x->u->https &&
	       !b->stream && !x->u->asks_upgrade &&
	       n + n / BUF_PAYLOAD * PER_PIECE + FOR_HEAD <= (uint64_t)g->sockmap_limit_bytes;
}

/* A connection that begins with a client's address (PROXY protocol) is for nobody else. */
static bool attach(struct exchange *x, const struct addr *addr, bool fresh)
{
	struct upstream *u = x->u;
	struct tls_client *tls = u->https ? u->conf->tls->client : NULL;
	bool alone = u->fields_conf->proxy_protocol != FIELDS_PROXY_OFF, bound;
	bool relayed = is_relayed(x);
	uint64_t key = u->https ? hash64_lower(u->tls_name, 0) : 0;
	struct addr local;

	bound = fields_local_addr(x->r, &local);
	if (bound)
		key ^= hash64(slice_make((const char *)&local.sa, local.len), 1);
	if (relayed)
		key ^= KEY_RELAYED;
	x->uc = fresh || alone ? NULL : pool_get(x->r->env, u->group_conf, addr, tls, key);
	/* What may not be sent twice is not sent into a connection that is closed already, and what lies in one
	 * already is not the answer to this request. */
	while (x->uc && !conn_is_alive(&x->uc->conn)) {
		pool_close(x->uc);
		x->uc = pool_get(x->r->env, u->group_conf, addr, tls, key);
	}
	if (x->uc) {
		x->reused = true;
		x->state = X_HEAD;
		u->try->connect_ms = 0;
		x->uc->conn.on_event = on_event;
	} else if (!open_new(x, addr, bound ? &local : NULL, key, relayed)) {
		return false;
	}
	x->uc->x = x;
	x->uc->n_requests++;
	x->uc->conn.n_received = x->uc->conn.n_sent = 0;
	return true;
}

void exchange_start(struct request *r, const struct addr *addr, bool fresh)
{
	struct exchange *x = arena_zalloc(&r->arena, sizeof *x);

	x->r = r;
	x->u = r->up;
	x->u->x = x;
	x->started_ms = r->env->loop.clock.mono_ms;
	x->task.fn = on_task;
	bufq_init(&x->framed);
	timer_init(&x->timer, on_timer);
	if (!attach(x, addr, fresh)) {
		if (x->no_room)
			upstream_no_room(r);
		else
			exchange_fail(x, NEXT_ERROR, 502);
		return;
	}
	if (x->state == X_CONNECT)
		exchange_wait(x, x->u->conf->connect_timeout_ms);
	step(x);
}
