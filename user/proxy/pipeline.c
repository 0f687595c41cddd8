/* SPDX-License-Identifier: BSD-2-Clause */
/* THE table of steps: what happens to a request, in this order. Each step decides one thing. */
#include "proxy/pipeline.h"

#include <stdio.h>

#include "core/err.h"
#include "proxy/fields.h"
#include "proxy/access.h"
#include "proxy/files.h"
#include "proxy/flow.h"
#include "proxy/flow_conf.h"
#include "proxy/io_conf.h"
#include "proxy/limits.h"
#include "proxy/location.h"
#include "proxy/proxy_conf.h"
#include "proxy/realip.h"
#include "proxy/reply.h"
#include "proxy/request.h"
#include "proxy/rewrite.h"
#include "proxy/status.h"
#include "proxy/tls_gate.h"
#include "proxy/upstream.h"

static enum step_result answer(struct request *r, unsigned status, const char *why)
{
	reply_error(r, status, why);
	return STEP_DONE;
}

/* Which server, and what the path is. */
static enum step_result step_identify(struct request *r)
{
	const struct listener *l = r->client->listener;

	bool is_bad = r->head.method != METHOD_CONNECT &&
		      uri_parse(r->head.path, r->scope->merge_slashes, &r->arena, &r->uri);

	/* As nginx: what a path means is decided before the name is looked at; one that means nothing is none, for a
	 * named location of error_page too. */
	if (is_bad) {
		r->uri = (struct uri){.path = SLICE(""), .args = SLICE("")};
	} else {
		r->server = http_conf_server(l, r->head.host, r);
		r->block = r->server->block;
		r->scope = r->server->scope;
		request_drop_names(r);
	}
	if (r->head.method == METHOD_CONNECT || r->head.method == METHOD_TRACE) {
		r->keep_alive = false;
		return answer(r, 405,
			      r->head.method == METHOD_TRACE ? "TRACE is not supported"
							     : "CONNECT is not supported");
	}
	if (is_bad) {
		request_log(r, LOG_LVL_INFO, "client sent invalid request: bad path");
		r->env->stats->bad_requests++;
		request_offence(r, BAN_ON_BAD_REQUEST, 400);
		return answer(r, 400, "the path is malformed");
	}
	return STEP_NEXT;
}

/* Which location. */
static enum step_result step_route(struct request *r)
{
	struct slice to;
	struct conf_block *b;
	enum location_found found = location_find(r, &b);
	const struct flow_scope *f;

	f = b->mod[MOD_FLOW];
	r->block = f->internal && !r->internal ? b : flow_conf_limited(b, r->head.method);
	r->scope = http_scope_of(r->block);
	if (found == LOCATION_FAILED)
		return answer(r, 500, NULL);
	if (f->internal && !r->internal)
		return answer(r, 404, NULL);
	if (found == LOCATION_SLASH) {
		to = uri_escape_path(r->scope->loc_path, &r->arena);
		if (r->uri.args.n)
			to = arena_printf(&r->arena, "%.*s?%.*s", SLICE_FMT(to),
					  SLICE_FMT(r->uri.args));
		reply_redirect(r, 301, to);
		return STEP_DONE;
	}
	r->body.max_bytes = (uint64_t)r->scope->client_max_body_bytes;
	if (r->body.max_bytes && r->head.body == BODY_LENGTH &&
	    r->head.content_length > r->body.max_bytes) {
		request_log(r, LOG_LVL_ERROR, "client intended to send too large body: %llu bytes",
			    (unsigned long long)r->head.content_length);
		return answer(r, 413, "the request body is larger than client_max_body_size");
	}
	return STEP_NEXT;
}

/* Is there anybody who answers? */
static enum step_result step_content(struct request *r)
{
	const struct proxy_scope *p = r->block->mod[MOD_PROXY];

	if (!p->pass)
		return files_step_serve(r);
	return r->no_upstream ? answer(r, flow_status(r, 400), NULL) : STEP_NEXT;
}

/* False: it was the last one, and R is answered. */
static bool may_redirect(struct request *r, struct slice to, const char *how)
{
	if (r->n_redirects++ < PIPELINE_REDIRECTS_MAX)
		return true;
	request_log(r, LOG_LVL_ERROR, "rewrite or internal redirection cycle while %s \"%.*s\"",
		    how, SLICE_FMT(to));
	reply_error(r, 500, NULL);
	return false;
}

static enum step_result step_server_rewrite(struct request *r)
{
	return rewrite_run(r) == REWRITE_DONE ? STEP_DONE : STEP_NEXT;
}

static enum step_result step_rewrite(struct request *r)
{
	/* Where no location matched, the server's part has run already. */
	if (r->block == r->server->block)
		return STEP_NEXT;
	switch (rewrite_run(r)) {
	case REWRITE_DONE:
		return STEP_DONE;
	case REWRITE_AGAIN:
		if (!may_redirect(r, r->uri.path, "processing"))
			return STEP_DONE;
		r->step = pipeline_step_of(step_route);
		return STEP_JUMP;
	default:
		return STEP_NEXT;
	}
}

/* May the body go on while it comes in? HTTP/1.0 has no chunks: there it is collected, as in nginx. */
static bool may_stream(const struct request *r)
{
	const struct proxy_scope *p = r->block->mod[MOD_PROXY];
	const struct fields_scope *fields = r->block->mod[MOD_FIELDS];
	const struct io_scope *io = r->block->mod[MOD_IO];

	return p->pass && p->pass_request_body && !fields->body && !io->request_buffering &&
	       (r->head.body == BODY_LENGTH || p->http_version == 11);
}

/* The whole body, in memory or on disk, so that a peer that fails costs the client nothing; unless it
 * streams. */
static enum step_result step_body(struct request *r)
{
	if (!r->body_started) {
		r->body_started = true;
		if (r->head.body == BODY_NONE)
			r->body.whole = true;
		else
			request_body_start(r, may_stream(r));
	}
	if (r->body.status)
		return answer(r, (unsigned)r->body.status,
			      r->body.status == 413
				      ? "the request body is larger than client_max_body_size"
				      : NULL);
	if (r->body.whole || r->body.stream)
		return STEP_NEXT;
	r->body.waiting = true;
	return STEP_WAIT;
}

static const struct step steps[] = {
	{"identify", step_identify},
	{"tls", tls_gate_step},
	{"real_ip", realip_step_server},
	{"server rewrite", step_server_rewrite},
	{"route", step_route},
	{"rewrite", step_rewrite},
	{"real_ip of the location", realip_step_location},
	{"limit_req", limits_step_req},
	{"limit_conn", limits_step_conn},
	{"allow, deny", access_step_rules},
	{"auth_basic", access_step_basic},
	{"auth_request", access_step_request},
	{"satisfy", access_step_end},
	{"try_files", files_step_try},
	{"stub_status", status_step},
	{"content", step_content},
	{"body", step_body},
	{"balance", upstream_step_balance},
	{"upstream", upstream_step_connect},
};

uint32_t pipeline_step_of(enum step_result (*run)(struct request *))
{
	uint32_t i = 0;

	while (steps[i].run != run)
		i++;
	return i;
}

void pipeline_run(struct request *r)
{
	while (r->step < sizeof steps / sizeof steps[0]) {
		switch (steps[r->step].run(r)) {
		case STEP_NEXT:
			r->step++;
			continue;
		case STEP_JUMP:
			continue;
		case STEP_WAIT:
		case STEP_DONE:
			return;
		}
	}
}

/* R starts anew: at STEP, in BLOCK. An answer that was being made is forgotten. */
static void restart(struct request *r, enum step_result (*step)(struct request *),
		    const struct conf_block *block)
{
	upstream_cancel(r);
	r->up = NULL;
	request_end_tries(r);
	flow_restart(r);
	request_body_rewind(r);
	r->resp = (struct response){.content_length = -1};
	r->internal = true;
	r->step = pipeline_step_of(step);
	r->block = block;
	r->scope = http_scope_of(block);
	r->body.max_bytes = (uint64_t)r->scope->client_max_body_bytes;
	pipeline_run(r);
}

void pipeline_redirect(struct request *r, struct slice path, struct slice args)
{
	if (!may_redirect(r, path, "internally redirecting to"))
		return;
	r->uri = (struct uri){.path = path, .args = args, .has_args = args.n > 0};
	r->uri_changed = true;
	r->whole_uri = false;
	restart(r, step_server_rewrite, r->server->block);
}

void pipeline_start_at(struct request *r, struct slice path)
{
	r->uri = (struct uri){.path = path};
	r->uri_changed = true;
	restart(r, step_server_rewrite, r->server->block);
}

void pipeline_named(struct request *r, struct slice name)
{
	const struct conf_block *b = http_conf_named(r->server, name);

	if (!may_redirect(r, name, "redirect to named location"))
		return;
	if (!b || !r->uri.path.n) {
		request_log(r, LOG_LVL_ERROR,
			    b ? "empty URI in redirect to named location \"%.*s\""
			      : "could not find named location \"%.*s\"",
			    SLICE_FMT(name));
		reply_error(r, 500, NULL);
		return;
	}
	if (r->bad_line.p) {
		flow_set_get(r);
		request_body_forget(r);
		r->uri_changed = true;
		r->no_upstream = true;
	}
	restart(r, step_rewrite, flow_conf_limited(b, r->head.method));
}

void pipeline_resume(struct request *r)
{
	if (!r->finished && !r->aborted)
		pipeline_run(r);
}
