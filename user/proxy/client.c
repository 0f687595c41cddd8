/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the list of client connections and each one's descriptor, queues and end. Knows no protocol but
 * the one of saying goodbye. */
#include "proxy/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/err.h"
#include "policy/gate.h"
#include "proxy/arrive.h"
#include "proxy/h1.h"
#include "proxy/h2.h"
#include "proxy/realip.h"

enum {
	PART_MS = 1000, /* for the last words to one who is not listened to any more */
};

static const struct client_proto lingering, parting;

const struct http_scope *client_scope(const struct client_conn *c)
{
	return c->client.listener->default_server->scope;
}

void client_log(const struct client_conn *c, const struct http_scope *s, enum log_level level,
		const char *text)
{
	log_write(s->error_log ? s->error_log : c->env->log, level, c->client.serial,
		  "%s, client: %.*s", text, (int)c->client.remote.ip_len, c->client.remote.ip);
}

void client_offence(const struct client_conn *c, enum ban_on on)
{
	const struct conf_block *b = c->client.listener->default_server->block;
	char text[256], ip[ADDR_TEXT_MAX];
	const struct ban_rule *rule;
	struct request *r = c->proto->awaited ? c->proto->awaited(c) : NULL;
	bool is_indirect;
	struct addr a;

	if (r) {
		request_offence(r, on, 0);
		return;
	}
	if (!request_has_rule(b, on) || !realip_of_connection(&c->client, b, &a, &is_indirect))
		return;
	rule = request_offence_of(c->env, b, &a, is_indirect, on, 0);
	if (!rule)
		return;
	addr_ip_text(&a, ip);
	snprintf(text, sizeof text, "ban of %.47s asked for: %s in %s", ip, rule->text,
		 rule->scope);
	client_log(c, client_scope(c), LOG_LVL_WARN, text);
}

void client_wake(struct client_conn *c)
{
	task_post(&c->env->loop, &c->task);
}

void client_kill(struct client_conn *c, bool reset)
{
	c->dead = true;
	c->reset |= reset;
	client_wake(c);
}

static void join_idle(struct client_conn *c)
{
	struct env *env = c->env;

	c->idle_next = NULL;
	c->idle_prev = env->idle_last;
	*(c->idle_prev ? &c->idle_prev->idle_next : &env->idle_first) = c;
	env->idle_last = c;
}

static void leave_idle(struct client_conn *c)
{
	struct env *env = c->env;

	*(c->idle_prev ? &c->idle_prev->idle_next : &env->idle_first) = c->idle_next;
	*(c->idle_next ? &c->idle_next->idle_prev : &env->idle_last) = c->idle_prev;
}

void client_set_idle(struct client_conn *c, bool idle)
{
	if (idle == c->idle)
		return;
	c->idle = idle;
	if (idle)
		join_idle(c);
	else
		leave_idle(c);
	c->env->stats->conns_idle += idle ? 1 : (uint64_t)-1;
}

void client_idle_anew(struct client_conn *c)
{
	if (!c->idle)
		return;
	leave_idle(c);
	join_idle(c);
}

void client_set_timer(struct client_conn *c, int64_t ms)
{
	timer_set(&c->env->loop, &c->timer, (uint64_t)ms);
}

void client_become(struct client_conn *c, const struct client_proto *proto)
{
	c->proto = proto;
	proto->begin(c);
}

static void unlink_conn(struct client_conn *c)
{
	if (c->prev)
		c->prev->next = c->next;
	else
		c->env->clients = c->next;
	if (c->next)
		c->next->prev = c->prev;
	c->env->n_conns--;
	c->env->stats->conns_active--;
}

void client_destroy(struct client_conn *c)
{
	struct loop *l = &c->env->loop;

	if (c->gone)
		return;
	c->gone = true;
	client_set_idle(c, false);
	if (c->proto->end)
		c->proto->end(c);
	timer_cancel(l, &c->timer);
	task_cancel(l, &c->task);
	bufq_clear(&c->out);
	inbuf_clear(&c->in);
	free(c->client.proxied);
	free(c->client.local);
	if (c->reset)
		conn_reset(&c->conn);
	else
		conn_close(&c->conn);
	unlink_conn(c);
	loop_free(l, c);
	if (!c->env->clients && c->env->on_no_clients)
		c->env->on_no_clients(c->env);
}

void client_write(struct client_conn *c)
{
	struct iovec iov[16];
	struct buf *b;
	ssize_t put;
	int n;

	while (c->out.first && !c->dead) {
		for (n = 0, b = c->out.first; b && n < 16; b = b->next, n++)
			iov[n] = (struct iovec){buf_head(b), buf_len(b)};
		put = conn_writev(&c->conn, iov, n);
		if (put == -SL_EAGAIN)
			return;
		if (put < 0) {
			client_kill(c, false);
			return;
		}
		c->env->stats->bytes_out += (uint64_t)put;
		bufq_consume(&c->out, (size_t)put);
	}
}

/* What is dropped has an end: lingering_time. */
bool client_discards_too_long(const struct client_conn *c, const struct http_scope *s)
{
	return c->env->loop.clock.mono_ms - c->discard_ms > (uint64_t)s->lingering_time_ms;
}

void client_linger(struct client_conn *c)
{
	client_become(c, &lingering);
}

void client_linger_begin(struct client_conn *c)
{
	c->discard_ms = c->env->loop.clock.mono_ms;
	conn_shutdown(&c->conn);
	client_set_timer(c, client_scope(c)->lingering_timeout_ms);
	client_wake(c);
}

int64_t client_linger_event(struct client_conn *c)
{
	const struct http_scope *s = client_scope(c);
	int64_t dropped = 0;
	char sink[4096];
	ssize_t n = 1;

	if (client_discards_too_long(c, s)) {
		client_destroy(c);
		return -1;
	}
	for (int i = 0; i < CLIENT_READS_PER_TURN && conn_may_read(&c->conn); i++) {
		n = conn_raw_read(&c->conn, sink, sizeof sink);
		if (n <= 0)
			break;
		dropped += n;
		client_set_timer(c, s->lingering_timeout_ms);
	}
	if (n == 0 || (n < 0 && n != -SL_EAGAIN)) {
		client_destroy(c);
		return -1;
	}
	if (n > 0 && conn_may_read(&c->conn))
		client_wake(c);
	return dropped;
}

static void linger_event(struct client_conn *c)
{
	client_linger_event(c);
}

static void linger_drain(struct client_conn *c, bool quit)
{
}

static const struct client_proto lingering = {
	.begin = client_linger_begin,
	.event = linger_event,
	.turn = linger_event,
	.timeout = client_destroy,
	.drain = linger_drain,
};

void client_part(struct client_conn *c)
{
	client_become(c, &parting);
}

static void part_event(struct client_conn *c)
{
	client_write(c);
	if (c->conn.failed)
		client_kill(c, false);
	else if (!c->out.bytes)
		conn_shutdown(&c->conn);
}

static void part_begin(struct client_conn *c)
{
	client_set_timer(c, PART_MS);
	part_event(c);
}

static const struct client_proto parting = {
	.begin = part_begin,
	.event = part_event,
	.turn = part_event,
	.timeout = client_destroy,
	.drain = linger_drain,
};

static void on_event(struct conn *conn)
{
	struct client_conn *c = (struct client_conn *)conn;

	if (!c->dead)
		c->proto->event(c);
}

static void on_timer(struct timer *t)
{
	struct client_conn *c =
		(struct client_conn *)((char *)t - offsetof(struct client_conn, timer));

	if (!c->dead)
		c->proto->timeout(c);
}

static void on_turn(struct task *t)
{
	struct client_conn *c =
		(struct client_conn *)((char *)t - offsetof(struct client_conn, task));

	if (c->dead)
		client_destroy(c);
	else
		c->proto->turn(c);
}

static void set_client(struct client_conn *c, const struct listener *l, const struct addr *peer)
{
	struct client *k = &c->client;
	char text[ADDR_TEXT_MAX];

	k->remote.addr = *peer;
	addr_ip_text(peer, text);
	k->remote.ip_len = (uint32_t)snprintf(k->remote.ip, sizeof k->remote.ip, "%.47s", text);
	k->serial = ++c->env->n_serial;
	k->conn = &c->conn;
	k->listener = l;
	if (l->has_specific) {
		struct addr local = {.len = sizeof local.un};

		if (getsockname(c->conn.io.fd, &local.sa, &local.len) == 0)
			k->listener = http_conf_listener(c->env->http, l, &local);
	}
	k->tls = k->listener->ssl;
}

void client_start(struct env *env, const struct listener *l, int fd, const struct addr *peer)
{
	/* Room for what it will turn out to be: epoll points here, so it cannot move. */
	struct client_conn *c = calloc(1, h1_bytes > h2_bytes ? h1_bytes : h2_bytes);

	if (!c) {
		close(fd);
		return;
	}
	if (conn_start(&c->conn, &env->loop, fd, on_event)) {
		free(c);
		return;
	}
	c->env = env;
	c->client.made_ms = env->loop.clock.mono_ms;
	c->task.fn = on_turn;
	timer_init(&c->timer, on_timer);
	bufq_init(&c->out);
	c->next = env->clients;
	if (c->next)
		c->next->prev = c;
	env->clients = c;
	env->n_conns++;
	env->stats->conns_active++;
	env->stats->conns_accepted++;
	set_client(c, l, peer);
	client_become(c, &arrive_proto);
}

void client_drain(struct env *env, bool quit)
{
	struct client_conn *c, *next;

	for (c = env->clients; c; c = next) {
		next = c->next;
		if (!c->dead)
			c->proto->drain(c, quit);
	}
}

bool client_close_idlest(struct env *env)
{
	struct client_conn *c = env->idle_first;

	while (c && c->dead)
		c = c->idle_next;
	if (c)
		client_destroy(c);
	return c != NULL;
}

unsigned client_reset_banned(struct env *env, const struct ban_net *net)
{
	unsigned n = 0;

	for (struct client_conn *c = env->clients; c; c = c->next) {
		const struct conf_block *b = c->client.listener->default_server->block;
		bool is_indirect;
		struct addr a;

		if (c->dead || !realip_of_connection(&c->client, b, &a, &is_indirect))
			continue;
		if ((net && !ban_net_has(net, &a)) ||
		    !gate_refuses(env->conf, env->bans, &a, &env->loop.clock))
			continue;
		client_kill(c, true);
		n++;
	}
	return n;
}

void client_close_all(struct env *env)
{
	while (env->clients)
		client_destroy(env->clients);
}
