/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns how the answers of allow, auth_basic and auth_request to "may it come in?" make one. */
#include "proxy/access.h"

#include <errno.h>
#include <openssl/crypto.h>

#include "core/base64.h"
#include "core/err.h"
#include "proxy/access_conf.h"
#include "proxy/auth_store.h"
#include "proxy/flow.h"
#include "proxy/reply.h"
#include "proxy/subrequest.h"

enum {
	FIELD_MAX = 8192,	       /* of Authorization; longer ones hold no credentials */
	CHECK_WAIT_MAX_MS = 10 * 1000, /* for a turn at checking a password */
};

static const struct entry_scope *scope_of(const struct request *r)
{
	return r->block->mod[MOD_ACCESS];
}

/* Nothing is left to decide: requests of sluice itself, and who was let in by another step. */
static bool is_over(const struct request *r)
{
	return r->parent || (r->flow && r->flow->is_let_in);
}

static enum step_result refuse(struct request *r, unsigned status)
{
	struct flow *f = r->flow;

	if (f && f->refused == 1 && (status == 401 || status == 403)) {
		request_offence(r, BAN_ON_AUTH, status);
		f->refused = 2;
	}
	for (uint32_t i = 0; f && i < f->challenges.n; i++)
		hdrs_add(&f->kept, &r->arena, f->challenges.v[i].name, f->challenges.v[i].value);
	reply_error(r, status, NULL);
	return STEP_DONE;
}

/* A 401 may have to wait: the step runs again then. */
static enum step_result refuse_late(struct request *r, unsigned status)
{
	int64_t delay_ms = scope_of(r)->delay_ms;

	if (status != 401 || !delay_ms || flow_get(r)->was_delayed)
		return refuse(r, status);
	request_log(r, LOG_LVL_INFO, "delaying unauthorized request");
	r->flow->was_delayed = true;
	timer_set(&r->env->loop, &r->timer, (uint64_t)delay_ms);
	return STEP_WAIT;
}

/* One step's answer. STATUS 0: it lets R in. */
static enum step_result decide(struct request *r, unsigned status)
{
	if (scope_of(r)->satisfy == SATISFY_ALL)
		return status ? refuse_late(r, status) : STEP_NEXT;
	if (!status) {
		flow_get(r)->is_let_in = true;
		return STEP_NEXT;
	}
	if (status != 401 && status != 403)
		return refuse(r, status);
	if (flow_get(r)->access_code != 401)
		r->flow->access_code = (uint16_t)status;
	return STEP_NEXT;
}

static bool was_delayed(const struct request *r)
{
	return r->flow && r->flow->was_delayed;
}

enum step_result access_step_rules(struct request *r)
{
	const struct entry_scope *s = scope_of(r);

	if (!s->rules || is_over(r))
		return STEP_NEXT;
	switch (access_check(s->rules, &r->remote->addr)) {
	case ACCESS_UNNAMED:
		return STEP_NEXT;
	case ACCESS_ALLOWED:
		return decide(r, 0);
	default:
		break;
	}
	if (s->satisfy == SATISFY_ALL)
		request_log(r, LOG_LVL_ERROR, "access forbidden by rule");
	return decide(r, 403);
}

/* 401 with a challenge. The realm goes into a header: no control bytes. */
static enum step_result ask_for_password(struct request *r, struct slice realm)
{
	for (size_t i = 0; i < realm.n; i++)
		if ((unsigned char)realm.p[i] < ' ')
			return decide(r, 500);
	hdrs_add(&flow_get(r)->challenges, &r->arena, SLICE("WWW-Authenticate"),
		 arena_printf(&r->arena, "Basic realm=\"%.*s\"", SLICE_FMT(realm)));
	return decide(r, 401);
}

static const char *user_file_cstr(struct request *r)
{
	struct slice path = tmpl_eval(scope_of(r)->user_file, r, &r->arena);

	if (path.n && path.p[0] == '/')
		return arena_cstr(&r->arena, path);
	return arena_printf(&r->arena, "%s%.*s", r->env->conf->dir, SLICE_FMT(path)).p;
}

/* What is wrong with a password that is not right: 401 or 500. */
static unsigned status_of(struct request *r, enum auth_result result, struct slice user)
{
	switch (result) {
	case AUTH_OK:
		return 0;
	case AUTH_MISMATCH:
		request_log(r, LOG_LVL_ERROR, "user \"%.*s\": password mismatch", SLICE_FMT(user));
		return 401;
	case AUTH_UNSUPPORTED:
		request_log(r, LOG_LVL_ERROR,
			    "user \"%.*s\": password mismatch (the form in which it "
			    "is stored is not known)",
			    SLICE_FMT(user));
		return 401;
	case AUTH_TOO_DEAR:
		request_log(r, LOG_LVL_CRIT,
			    "user \"%.*s\": the stored password has more rounds than "
			    "are allowed",
			    SLICE_FMT(user));
		return 500;
	default:
		request_log(r, LOG_LVL_CRIT, "user \"%.*s\": the password could not be checked",
			    SLICE_FMT(user));
		return 500;
	}
}

/* A check that has to wait for its turn, since others took long: STEP_WAIT. */
static enum step_result wait_for_turn(struct request *r, uint64_t wait_ms)
{
	struct flow *f = flow_get(r);
	uint64_t now_ms = r->env->loop.clock.mono_ms;

	if (!f->check_until_ms)
		f->check_until_ms = now_ms + CHECK_WAIT_MAX_MS;
	if (now_ms >= f->check_until_ms) {
		request_log(r, LOG_LVL_ERROR, "too many passwords to check");
		return refuse(r, 503);
	}
	timer_set(&r->env->loop, &r->timer, wait_ms + 1);
	return STEP_WAIT;
}

static enum step_result check_password(struct request *r, struct slice realm, struct slice user,
				       struct slice password)
{
	uint64_t now_ms = r->env->loop.clock.mono_ms, wait_ms;
	struct auth_store *store = auth_store_get(r->env);
	const char *path = user_file_cstr(r);
	struct slice text, stored;
	enum auth_result result;
	unsigned status;

	if (!store)
		return decide(r, 500);
	if (auth_store_file(store, now_ms, path, &text)) {
		request_log(r, errno == ENOENT ? LOG_LVL_ERROR : LOG_LVL_CRIT,
			    "open() \"%s\" failed (%d: %s)", path, errno, strerror(errno));
		return decide(r, errno == ENOENT ? 403 : 500);
	}
	if (!auth_find(text, user, &stored)) {
		request_log(r, LOG_LVL_ERROR, "user \"%.*s\" was not found in \"%s\"",
			    SLICE_FMT(user), path);
		flow_get(r)->refused |= 1;
		return ask_for_password(r, realm);
	}
	result = auth_store_verify(store, now_ms, stored, user, password, &wait_ms);
	if (wait_ms)
		return wait_for_turn(r, wait_ms);
	status = status_of(r, result, user);
	if (status == 401)
		flow_get(r)->refused |= 1;
	return status == 401 ? ask_for_password(r, realm) : decide(r, status);
}

enum step_result access_step_basic(struct request *r)
{
	const struct entry_scope *s = scope_of(r);
	const struct hdr *h = hdrs_find(&r->head.fields, HDR_AUTHORIZATION);
	char room[BASE64_DECODED_MAX(FIELD_MAX)];
	struct slice realm, user, password;
	enum step_result result;

	if (!s->realm || !s->user_file || is_over(r))
		return STEP_NEXT;
	if (was_delayed(r))
		return refuse(r, 401);
	realm = tmpl_eval(s->realm, r, &r->arena);
	if (slice_eq(realm, SLICE("off")))
		return STEP_NEXT;
	if (!h || h->value.n > FIELD_MAX || !auth_parse_basic(h->value, room, &user, &password)) {
		request_log(r, LOG_LVL_INFO,
			    "no user/password was provided for basic authentication");
		return ask_for_password(r, realm);
	}
	result = check_password(r, realm, user, password);
	OPENSSL_cleanse(room, sizeof room);
	return result;
}

enum step_result access_step_request(struct request *r)
{
	const struct entry_scope *s = scope_of(r);
	enum step_result result;
	unsigned status;

	if (!s->request.n || is_over(r))
		return STEP_NEXT;
	if (was_delayed(r))
		return refuse(r, 401);
	result = subrequest_ask(r, s->request, &status);
	if (result != STEP_NEXT)
		return result;
	/* Without a key a 401 is how one is asked for. */
	if (status == 403 || (status == 401 && request_has_credentials(r)))
		flow_get(r)->refused |= 1;
	if (status == 401 || status == 403)
		return decide(r, status);
	if (status >= 200 && status < 300)
		return decide(r, 0);
	request_log(r, LOG_LVL_ERROR, "auth request unexpected status: %u", status);
	return decide(r, 500);
}

enum step_result access_step_end(struct request *r)
{
	unsigned status = r->flow ? r->flow->access_code : 0;

	if (!status || is_over(r))
		return STEP_NEXT;
	if (was_delayed(r))
		return refuse(r, 401);
	if (status == 403)
		request_log(r, LOG_LVL_ERROR, "access forbidden by rule");
	return refuse_late(r, status);
}
