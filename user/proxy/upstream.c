/* SPDX-License-Identifier: BSD-2-Clause */
/* The one owner of retries: picks peers, counts tries and time, decides whether another peer is asked. */
#include "proxy/upstream.h"

#include <stdio.h>

#include "core/err.h"
#include "proxy/error_page.h"
#include "proxy/exchange.h"
#include "proxy/fields.h"
#include "proxy/names.h"
#include "proxy/out.h"
#include "proxy/reply.h"
#include "proxy/upreq.h"

enum { NAME_POLL_MS = 10 };

static uint64_t now_ms(const struct request *r)
{
	return r->env->loop.clock.mono_ms;
}

static bool is_idempotent(enum http_method m)
{
	/* As nginx: POST, LOCK and PATCH are not. */
	return m != METHOD_POST && m != METHOD_LOCK && m != METHOD_PATCH;
}

/* The paths of LLM APIs whose POST only computes: sending it again is what the user means. */
static bool is_llm_path(struct slice path)
{
	static const char *const ends[] = {"/chat/completions", "/completions", "/embeddings",
					   "/messages",		"/responses",	"/rerank",
					   "/moderations"};

	for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
		if (slice_ends(path, slice_cstr(ends[i])))
			return true;
	return slice_ends(path, SLICE("/chat/completions/stream"));
}

bool upstream_may_resend(const struct request *r)
{
	const struct upstream *u = r->up;

	if (r->body.stream && r->body.stream->n_taken)
		return false;
	if (is_idempotent(r->head.method) || (u->conf->next_upstream & NEXT_NON_IDEMPOTENT))
		return true;
	if (r->head.method != METHOD_POST || u->conf->llm == LLM_OFF)
		return false;
	return u->conf->llm == LLM_ON || is_llm_path(r->uri.path);
}

static struct upstream *make(struct request *r)
{
	struct upstream *u = arena_zalloc(&r->arena, sizeof *u);

	u->r = r;
	u->conf = r->block->mod[MOD_PROXY];
	u->fields_conf = r->block->mod[MOD_FIELDS];
	u->io = r->block->mod[MOD_IO];
	u->https = u->conf->pass->https;
	u->start_ms = now_ms(r);
	r->up = u;
	return u;
}

static enum step_result refuse(struct request *r, unsigned status, const char *log, const char *why)
{
	request_log(r, LOG_LVL_ERROR, "%s", log);
	reply_error(r, status, why);
	return STEP_DONE;
}

static enum step_result wait_for_name(struct request *r)
{
	struct upstream *u = r->up;
	const struct upstream_scope *s = r->block->mod[MOD_UPSTREAM];

	if (!u->wait_until_ms)
		u->wait_until_ms = now_ms(r) + (uint64_t)(s ? s->resolver_timeout_ms : 30000);
	if (now_ms(r) >= u->wait_until_ms)
		return refuse(r, 502,
			      "upstream name is still being resolved, resolver_timeout is over",
			      "the upstream's name does not resolve");
	timer_set(&r->env->loop, &r->timer, NAME_POLL_MS);
	return STEP_WAIT;
}

static void add_try(struct request *r, struct slice addr)
{
	struct try *t = arena_zalloc(&r->arena, sizeof *t);

	t->addr = arena_dup(&r->arena, addr);
	t->connect_ms = t->header_ms = t->response_ms = -1;
	*r->tries_tail = t;
	r->tries_tail = &t->next;
	r->up->try = t;
}

static void set_policy(struct request *r)
{
	struct upstream *u = r->up;
	const struct balance_policy *p = u->group_conf ? u->group_conf->policy : NULL;

	u->ask.policy = p;
	if (p && p->key == BALANCE_KEY_ADDR)
		u->ask.key = balance_ip_key(&r->remote->addr);
	else if (p && p->key == BALANCE_KEY_TEXT)
		u->ask.key = tmpl_eval(p->key_text, r, &r->arena);
}

enum step_result upstream_step_balance(struct request *r)
{
	struct upstream *u = r->up ? r->up : make(r);
	char text[BALANCE_NAME_MAX + 160];

	if (r->body.stream && (r->body.stream->n_taken || r->body.status))
		return refuse(r, 502,
			      "the request body was passed on already, it cannot be sent again",
			      "the request body went to another upstream already");
	if (!u->group) {
		int status = upreq_target(r);

		if (status)
			return refuse(r, (unsigned)status, "proxy_pass has no usable address",
				      "the upstream's address is not usable");
		set_policy(r);
	}
	switch (balance_pick(u->group, r->env->slot, now_ms(r), &u->ask, &u->peer)) {
	case BALANCE_OK:
		u->picked = true;
		return STEP_NEXT;
	case BALANCE_WAIT:
		return wait_for_name(r);
	case BALANCE_UNRESOLVED:
		snprintf(text, sizeof text, "%s could not be resolved (%s)", u->group->name,
			 names_error(u->group));
		return refuse(r, 502, text, "the upstream's name does not resolve");
	case BALANCE_NONE_LIVE:
		break;
	}
	/* Nobody was asked, and the lists of $upstream_... say so with the group's name. */
	add_try(r, slice_cstr(u->group->name));
	u->try->status = 502;
	u->try->response_ms = 0;
	return refuse(r, 502, "no live upstreams while connecting to upstream",
		      "no upstream is able to answer now");
}

static void start_try(struct request *r, bool fresh)
{
	struct upstream *u = r->up;
	struct balance_peer *p = &u->group->peer[u->peer];
	struct addr addr = p->addr;

	if (!fresh) {
		add_try(r, slice_cstr(p->text));
		u->n_tries++;
		r->env->stats->upstream_tries++;
		r->env->stats->upstream_retries += u->n_tries > 1;
	}
	upreq_build(r);
	exchange_start(r, &addr, fresh);
}

enum step_result upstream_step_connect(struct request *r)
{
	start_try(r, false);
	return STEP_DONE;
}

/* The peer gets its request taken off, once. */
static void settle(struct request *r, enum balance_outcome outcome, unsigned status)
{
	struct upstream *u = r->up;
	uint64_t took = u->try && u->try->response_ms > 0 ? (uint64_t)u->try->response_ms : 0;

	if (!u->picked)
		return;
	u->picked = false;
	if (outcome == BALANCE_FAILURE)
		r->env->stats->upstream_failures++;
	if (balance_done(u->group, r->env->slot, u->peer, outcome, status, took, now_ms(r),
			 r->env->loop.clock.wall_ms))
		request_log(r, LOG_LVL_WARN, "upstream server temporarily disabled");
}

/* May another peer be asked, after a failure of this kind? */
static bool may_try_next(struct request *r, unsigned why)
{
	struct upstream *u = r->up;
	const struct proxy_scope *c = u->conf;

	if ((c->next_upstream & NEXT_OFF) || !(c->next_upstream & why))
		return false;
	if (u->x && exchange_sent_any(u->x) && !upstream_may_resend(r))
		return false;
	if (c->next_tries && u->n_tries >= (uint64_t)c->next_tries)
		return false;
	if (c->next_timeout_ms && now_ms(r) - u->start_ms >= (uint64_t)c->next_timeout_ms)
		return false;
	return balance_n_untried(u->group, &u->ask) > 0;
}

static void drop_exchange(struct request *r)
{
	if (r->up->x)
		exchange_cancel(r->up->x);
}

static void ask_next(struct request *r)
{
	r->step = pipeline_step_of(upstream_step_balance);
	pipeline_run(r);
}

void upstream_failed(struct request *r, unsigned why, unsigned status)
{
	bool next = may_try_next(r, why);

	drop_exchange(r);
	r->up->try->status = (uint16_t)status;
	settle(r, BALANCE_FAILURE, 0);
	if (next)
		ask_next(r);
	else
		reply_error(r, status,
			    status == 504 ? "the upstream did not answer in time"
					  : "the upstream failed before it answered");
}

static unsigned condition_of(unsigned status)
{
	switch (status) {
	case 500:
		return NEXT_HTTP_500;
	case 502:
		return NEXT_HTTP_502;
	case 503:
		return NEXT_HTTP_503;
	case 504:
		return NEXT_HTTP_504;
	case 403:
		return NEXT_HTTP_403;
	case 404:
		return NEXT_HTTP_404;
	case 429:
		return NEXT_HTTP_429;
	default:
		return 0;
	}
}

bool upstream_retries_status(struct request *r, unsigned status)
{
	unsigned why = condition_of(status);

	if (!why || !may_try_next(r, why))
		return false;
	request_log(r, LOG_LVL_WARN, "upstream answered %u, the next one is asked", status);
	drop_exchange(r);
	settle(r, status == 403 || status == 404 ? BALANCE_NEUTRAL : BALANCE_FAILURE, status);
	ask_next(r);
	return true;
}

void upstream_stale(struct request *r)
{
	drop_exchange(r);
	start_try(r, true);
}

static bool is_intercepted(const struct request *r)
{
	unsigned status = r->up->try->status;

	return fields_of(r)->intercept_errors && status >= 300 && error_page_is_set(r, status);
}

bool upstream_is_diverted(const struct request *r)
{
	return is_intercepted(r) || (hdrs_find(&r->up->fields, HDR_X_ACCEL_REDIRECT) &&
				     !fields_ignores(r, IGNORE_REDIRECT));
}

void upstream_divert(struct request *r)
{
	const struct upstream *u = r->up;
	const struct hdrs fields = u->fields;
	unsigned status = u->try->status;

	settle(r, BALANCE_SUCCESS, status);
	if (is_intercepted(r))
		error_page_intercept(r, status, &fields);
	else
		error_page_accel(r, hdrs_find(&fields, HDR_X_ACCEL_REDIRECT)->value, &fields);
}

void upstream_alive(struct request *r)
{
	struct upstream *u = r->up;

	balance_alive(u->group, u->peer, (uint64_t)u->try->header_ms, now_ms(r));
}

void upstream_no_room(struct request *r)
{
	drop_exchange(r);
	settle(r, BALANCE_NEUTRAL, 0);
	reply_error(r, 500, "the gateway has too many connections now");
}

void upstream_finished(struct request *r, bool whole)
{
	/* As in nginx: what was passed on counts for the peer, a 503 and an answer that was cut too. */
	settle(r, BALANCE_SUCCESS, r->up->try->status);
	request_body_drop(r);
	if (whole) {
		out_finish(r);
	} else {
		r->env->stats->upstream_cut++;
		out_abort(r);
	}
	out_flush(r);
}

void upstream_resume(struct request *r)
{
	if (r->up->x)
		exchange_resume(r->up->x);
}

bool upstream_ignores_abort(const struct request *r)
{
	return r->up && r->up->io->ignore_client_abort;
}

void upstream_body_came(struct request *r)
{
	if (r->up && r->up->x)
		exchange_body_came(r->up->x);
}

void upstream_cancel(struct request *r)
{
	if (!r->up)
		return;
	drop_exchange(r);
	settle(r, BALANCE_NEUTRAL, r->head_sent && r->up->try ? r->up->try->status : 0);
	if (r->up->group && !r->up->group_conf)
		names_release(r->up->group);
	r->up->group = NULL;
}

int upstream_log_suffix(const struct request *r, char *to, size_t room)
{
	const struct upstream *u = r->up;
	struct slice path = u->target;
	ptrdiff_t query = slice_find(path, '?');
	int n;

	if (!u->try)
		return 0;
	if (query >= 0)
		path.n = (size_t)query;
	n = snprintf(to, room, ", upstream: \"%s://%.*s%.*s\"", u->https ? "https" : "http",
		     SLICE_FMT(u->try->addr), SLICE_FMT(path));
	return n < (int)room ? n : (int)room - 1;
}
