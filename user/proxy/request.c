/* SPDX-License-Identifier: BSD-2-Clause */
/* A request's life between front and pipeline: its memory and its end. */
#include "proxy/request.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/hash.h"
#include "kernel/guard.h"
#include "policy/ban_conf.h"
#include "proxy/access_conf.h"
#include "proxy/access_log.h"
#include "proxy/flow.h"
#include "proxy/files_send.h"
#include "proxy/limits.h"
#include "proxy/out.h"
#include "proxy/pipeline.h"
#include "proxy/realip.h"
#include "proxy/reply.h"
#include "proxy/subrequest.h"
#include "proxy/upstream.h"
#include "proxy/vars_user.h"

static void on_timer(struct timer *t)
{
	pipeline_resume((struct request *)((char *)t - offsetof(struct request, timer)));
}

static struct request *make(struct env *env, struct client *client, const struct front_ops *ops,
			    void *front)
{
	struct arena a;
	struct request *r;

	arena_init(&a, ARENA_SMALL_BYTES);
	r = arena_zalloc(&a, sizeof *r);
	r->arena = a;
	arena_init(&r->sending, ARENA_SMALL_BYTES);
	r->env = env;
	r->client = client;
	r->nth = client->n_requests;
	r->remote = &client->remote;
	r->ops = ops;
	r->front = front;
	r->start_ms = env->loop.clock.wall_ms;
	r->start_mono_ms = env->loop.clock.mono_ms;
	r->server = client->listener->default_server;
	r->block = r->server->block;
	r->scope = r->server->scope;
	r->body.fd = -1;
	r->resp.content_length = -1;
	r->tries_tail = &r->tries;
	timer_init(&r->timer, on_timer);
	return r;
}

struct request *request_new(struct env *env, struct client *client, const struct front_ops *ops,
			    void *front)
{
	env->stats->requests++;
	env->stats->requests_active++;
	return make(env, client, ops, front);
}

/* What is said of a body is not said of this request. */
static void copy_fields(struct request *r, const struct hdrs *from)
{
	r->head.fields = (struct hdrs){0};
	hdrs_reserve(&r->head.fields, &r->arena, from->n);
	for (uint32_t i = 0; i < from->n; i++)
		if (from->v[i].id != HDR_CONTENT_LENGTH && from->v[i].id != HDR_TRANSFER_ENCODING)
			r->head.fields.v[r->head.fields.n++] = from->v[i];
}

struct request *request_new_inner(struct request *parent, const struct front_ops *ops, void *front)
{
	struct request *r = make(parent->env, parent->client, ops, front);

	request_id(parent);
	memcpy(r->id, parent->id, sizeof r->id);
	r->parent = parent;
	r->remote = parent->remote;
	r->head = parent->head;
	copy_fields(r, &parent->head.fields);
	r->server = parent->server;
	r->limit_status = parent->limit_status;
	r->limit_conn_status = parent->limit_conn_status;
	flow_get(r)->sent_method = flow_sent_method(parent);
	r->flow->changed_method = true;
	r->head.method = METHOD_GET;
	r->head.method_text = SLICE("GET");
	request_body_forget(r);
	vars_user_lend(r);
	return r;
}

static void rebase(struct slice *s, const char *from, size_t n, const char *to)
{
	if (s->p >= from && s->p <= from + n)
		s->p = to + (s->p - from);
}

void request_set_head(struct request *r, const struct req_head *head, struct slice raw)
{
	const char *copy = arena_dup(&r->arena, raw).p;
	struct slice *texts[] = {&r->head.method_text, &r->head.target, &r->head.path,
				 &r->head.authority,   &r->head.scheme, &r->head.host,
				 &r->head.host_field};

	r->head = *head;
	r->head_bytes = raw.n;
	r->keep_alive = head->keep_alive;
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
		rebase(texts[i], raw.p, raw.n, copy);
	for (uint32_t i = 0; i < r->head.fields.n; i++) {
		rebase(&r->head.fields.v[i].name, raw.p, raw.n, copy);
		rebase(&r->head.fields.v[i].value, raw.p, raw.n, copy);
	}
}

/* What is wrong lies behind the first line. */
static bool has_good_line(enum head_error why)
{
	return why != HEAD_BAD_LINE && why != HEAD_BAD_METHOD && why != HEAD_BAD_TARGET &&
	       why != HEAD_BAD_VERSION && why != HEAD_VERSION_UNSUPPORTED &&
	       why != HEAD_LINE_TOO_LONG;
}

void request_set_bad_line(struct request *r, struct slice raw, enum head_error why)
{
	size_t n = 0;

	/* As in nginx a named location may answer then; the path itself stays unread. */
	if (has_good_line(why))
		r->uri.path = SLICE("/");

	while (raw.n && (raw.p[0] == '\r' || raw.p[0] == '\n'))
		raw = slice_skip(raw, 1);
	while (n < raw.n && raw.p[n] != '\r' && raw.p[n] != '\n')
		n++;
	r->bad_line = arena_dup(&r->arena, slice_make(raw.p, n));
}

void request_start(struct request *r)
{
	pipeline_run(r);
}

/* Letters, digits, hyphen: other names are invalid to nginx, and '_' may be taken for '-': by a CGI, and by $http_NAME. */
static bool has_plain_name(const struct http_scope *s, struct slice name)
{
	for (size_t i = 0; i < name.n; i++) {
		char c = name.p[i];

		if (c == '_' ? s->underscores_in_headers : !s->ignore_invalid_headers)
			continue;
		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		    c == '-')
			continue;
		return false;
	}
	return true;
}

void request_drop_names(struct request *r)
{
	struct hdrs *fields = &r->head.fields;
	uint32_t n = 0;

	for (uint32_t i = 0; i < fields->n; i++) {
		const struct hdr *f = &fields->v[i];

		if (f->id == HDR_OTHER && !has_plain_name(r->scope, f->name)) {
			if (n == i) /* one line tells enough */
				request_log(r, LOG_LVL_INFO,
					    "client sent invalid header name: \"%.*s\"",
					    (int)(f->name.n < 100 ? f->name.n : 100), f->name.p);
			continue;
		}
		if (i != n)
			fields->v[n] = *f;
		n++;
	}
	fields->n = n;
}

void request_refuse(struct request *r, unsigned status, const char *why)
{
	r->keep_alive = false;
	r->env->stats->bad_requests++;
	request_log(r, LOG_LVL_INFO, "client sent invalid request: %s", why);
	request_offence(r, BAN_ON_BAD_REQUEST, status);
	reply_error(r, status, why);
}

void request_sent(struct request *r)
{
	if (r->env->keeps_bodies)
		return;
	r->body.mem = NULL;
	r->body.room = 0;
	r->up->head = (struct slice){0};
	arena_fini(&r->sending);
}

void request_drained(struct request *r)
{
	out_drained(r);
	if (r->up)
		upstream_resume(r);
	if (r->file)
		files_send_resume(r);
}

/* What is left when the answer is out, or nobody waits for it any more. */
static bool is_logged(const struct request *inner)
{
	const struct entry_scope *s = inner->block->mod[MOD_ACCESS];

	return s->log_subrequest;
}

static struct arena end(struct request *r)
{
	timer_cancel(&r->env->loop, &r->timer);
	upstream_cancel(r);
	limits_release(r);
	files_send_cancel(r);
	if (!r->parent || is_logged(r))
		access_log_write(r);
	out_fini(r);
	request_body_fini(r);
	arena_fini(&r->sending);
	return r->arena;
}

/* Who got an answer has finished a handshake: his address is not forged, and the guard lets his SYNs
 * through when strangers' are too many. The peer itself is meant, not whom it speaks for. */
static void mark_good(const struct request *r, unsigned class)
{
	struct guard_addr a;

	if (r->env->good && r->head_sent && r->finished && (class == 2 || class == 3) &&
	    guard_addr_from_sockaddr(&a, &r->client->remote.addr.sa))
		guard_good_mark(r->env->good, &a);
}

static void release(struct request *r)
{
	struct env *env = r->env;
	struct arena a;
	unsigned class = r->resp.status / 100;

	env->stats->requests_active--;
	env->stats->responses[r->head_sent && class < 6 ? class : 0]++;
	mark_good(r, class);
	subrequest_fini(r);
	a = end(r);
	arena_fini(&a);
}

struct arena request_end_inner(struct request *r)
{
	return end(r);
}

void request_client_gone(struct request *r)
{
	bool whole = r->finished || r->aborted;

	r->client_gone = true;
	if (!whole && r->head.method_text.n)
		request_log(r, LOG_LVL_INFO, "client prematurely closed connection%s",
			    r->up ? ", so upstream connection is closed too" : "");
	/* As nginx logs it: 499 where no answer had begun. */
	if (!r->head_sent && !r->resp.status)
		r->resp.status = r->head.method_text.n ? 499 : 400;
	release(r);
}

void request_done(struct request *r)
{
	release(r);
}

void request_end_tries(struct request *r)
{
	for (struct try *t = r->tries; t; t = t->next)
		t->redirected |= !t->next;
}

const struct log *request_log_of(const struct request *r)
{
	return r->scope->error_log ? r->scope->error_log : r->env->log;
}

static struct slice without_query(struct slice target)
{
	ptrdiff_t query = slice_find(target, '?');

	return query >= 0 ? slice_make(target.p, (size_t)query) : target;
}

void request_log(const struct request *r, enum log_level level, const char *fmt, ...)
{
	const struct log *l = request_log_of(r);
	struct slice path = without_query(r->head.path), method = flow_sent_method(r);
	char text[2048];
	va_list ap;
	int n, room = sizeof text;

	if (!log_wants(l, level))
		return;
	va_start(ap, fmt);
	n = vsnprintf(text, sizeof text / 2, fmt, ap);
	va_end(ap);
	if (n > (int)sizeof text / 2 - 1)
		n = sizeof text / 2 - 1;
	n += snprintf(text + n, (size_t)(room - n), ", client: %s, server: %.*s", r->remote->ip,
		      SLICE_FMT(r->server->name));
	if (r->head.target.n && n < room)
		/* The query may hold keys: only the path is logged here. */
		n += snprintf(text + n, (size_t)(room - n), ", request: \"%.*s %.*s %.*s\"",
			      SLICE_FMT(method), SLICE_FMT(path),
			      SLICE_FMT(head_version_of(&r->head)));
	else if (r->bad_line.n && n < room)
		n += snprintf(text + n, (size_t)(room - n), ", request: \"%.*s\"",
			      SLICE_FMT(without_query(r->bad_line)));
	if (r->parent && n < room)
		n += snprintf(text + n, (size_t)(room - n), ", subrequest: \"%.*s\"",
			      SLICE_FMT(r->uri.path));
	if (r->up && n < room)
		n += upstream_log_suffix(r, text + n, (size_t)(room - n));
	if (r->head.host_field.n && n < room)
		n += snprintf(text + n, (size_t)(room - n), ", host: \"%.*s\"",
			      SLICE_FMT(r->head.host_field));
	log_write(l, level, r->client->serial, "%s", text);
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
	if (!c->local)
		return &c->listener->addr;
	*c->local = a;
	return c->local;
}

struct slice request_id(struct request *r)
{
	struct {
		uint64_t count, start_ns;
	} in;
	struct hash128 h;

	if (!r->id[0]) {
		in.count = ++r->env->id_count;
		in.start_ns = clock_mono_ns();
		h = hash128(slice_make((char *)&in, sizeof in), r->env->id_seed);
		snprintf(r->id, sizeof r->id, "%016llx%016llx", (unsigned long long)h.hi,
			 (unsigned long long)h.lo);
	}
	return slice_make(r->id, 32);
}

static void ask_ban(struct env *env, const struct ban_net *net, bool indirect,
		    const struct ban_rule *rule)
{
	struct msg m = {.type = MSG_BAN};

	m.ban.family = net->family;
	m.ban.prefix_len = net->prefix_len;
	memcpy(m.ban.bytes, net->bytes, sizeof m.ban.bytes);
	m.ban.indirect = indirect;
	m.ban.dry_run = rule->dry_run;
	m.ban.rule_id = rule->id;
	m.ban.for_ms = rule->for_ms;
	m.ban.max_ms = rule->max_ms;
	snprintf(m.ban.reason, sizeof m.ban.reason, "%s", rule->text);
	env->stats->bans_requested++;
	env->ask_ban(env, &m);
}

/* Who is banned with the offender A: a network that a trusted proxy is in is none. False: nobody. */
static bool source_of(const struct env *env, const struct ban_rule *rule, const struct addr *a,
		      bool indirect, struct ban_net *out)
{
	if (!ban_net_of(out, a, 0) || (!indirect && realip_is_proxy(env->conf, out)))
		return false;
	if (out->family == 4 ? rule->prefix_v4 : rule->prefix_v6) {
		struct ban_net wide;

		if (ban_net_of(&wide, a, out->family == 4 ? rule->prefix_v4 : rule->prefix_v6) &&
		    !realip_is_proxy(env->conf, &wide))
			*out = wide;
	}
	return true;
}

static bool is_enough(struct env *env, const struct ban_rule *rule, const struct ban_net *net)
{
	struct ban_counts *c = ban_counts_of(env->evidence, rule->id);

	if (c)
		__atomic_fetch_add(&c->evidence, 1, __ATOMIC_RELAXED);
	return ban_offence(env->evidence, rule->id, net, rule->after, rule->within_ms,
			   env->loop.clock.mono_ms);
}

bool request_has_rule(const struct conf_block *block, enum ban_on on)
{
	const struct ban_scope *s = block->mod[MOD_BAN];

	return s && (s->on & 1u << on);
}

const struct ban_rule *request_offence_of(struct env *env, const struct conf_block *block,
					  const struct addr *who, bool indirect, enum ban_on on,
					  unsigned status)
{
	const struct ban_scope *s = block->mod[MOD_BAN];
	const struct ban_rule *asked = NULL;
	struct ban_net net;

	if (!request_has_rule(block, on) || !env->evidence || realip_trusts(block, who))
		return NULL;
	for (const struct ban_rule *rule = s->rules; rule; rule = rule->next) {
		if (rule->on != on || (on == BAN_ON_STATUS && !ban_rule_has_status(rule, status)))
			continue;
		if (!source_of(env, rule, who, indirect, &net) || !is_enough(env, rule, &net))
			continue;
		ask_ban(env, &net, indirect, rule);
		asked = rule;
	}
	return asked;
}

void request_offence(struct request *r, enum ban_on on, unsigned status)
{
	bool is_indirect = r->remote != &r->client->remote;
	const struct ban_rule *rule;

	if (!request_has_rule(r->block, on))
		return;
	/* Who comes through a proxy that says nothing which is believed is not known. */
	if (!is_indirect && r->client->listener->proxy_protocol)
		return;
	rule = request_offence_of(r->env, r->block, &r->remote->addr, is_indirect, on, status);
	if (rule)
		request_log(r, LOG_LVL_WARN, "ban of %s asked for: %s in %s", r->remote->ip,
			    rule->text, rule->scope);
}

/* Where keys and passwords are sent. */
bool request_has_credentials(const struct request *r)
{
	return hdrs_find(&r->head.fields, HDR_AUTHORIZATION) ||
	       hdrs_find_name(&r->head.fields, SLICE("x-api-key")) ||
	       hdrs_find_name(&r->head.fields, SLICE("api-key"));
}
