/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns struct flow: what outlives an internal redirect. Decides nothing by itself. */
#include "proxy/flow.h"

struct flow *flow_get(struct request *r)
{
	if (!r->flow)
		r->flow = arena_zalloc(&r->arena, sizeof *r->flow);
	return r->flow;
}

void flow_set_get(struct request *r)
{
	struct flow *f;

	if (r->head.method == METHOD_HEAD || r->head.method == METHOD_GET)
		return;
	f = flow_get(r);
	if (!f->changed_method)
		f->sent_method = r->head.method_text;
	f->changed_method = true;
	r->head.method = METHOD_GET;
	r->head.method_text = SLICE("GET");
}

struct slice flow_sent_method(const struct request *r)
{
	return r->flow && r->flow->changed_method ? r->flow->sent_method : r->head.method_text;
}

unsigned flow_status(const struct request *r, unsigned status)
{
	return r->flow && r->flow->err_status ? r->flow->err_status : status;
}

void flow_restart(struct request *r)
{
	struct flow *f = r->flow;

	if (!f)
		return;
	f->access_code = 0;
	f->is_let_in = f->was_delayed = false;
	f->check_until_ms = 0;
	f->challenges = (struct hdrs){0};
	f->asked = NULL;
}

static bool has_no_body(unsigned status)
{
	return status < 200 || status == 204 || status == 304;
}

static void set_status(struct request *r, unsigned status)
{
	struct response *resp = &r->resp;
	bool had_none = has_no_body(resp->status);

	resp->status = (uint16_t)status;
	resp->reason = (struct slice){0};
	if (has_no_body(status)) {
		resp->no_body = true;
		resp->content_length = -1;
		resp->content_type = (struct slice){0};
	} else if (had_none && r->head.method != METHOD_HEAD) {
		/* An answer that had no body has an empty one now: somebody waits for its end. */
		resp->no_body = false;
		resp->content_length = -1;
	}
}

void flow_out(struct request *r)
{
	const struct flow *f = r->flow;

	if (!f)
		return;
	if (f->err_status && f->err_status != r->resp.status)
		set_status(r, f->err_status);
	if (f->content_type.n && !r->up && !has_no_body(r->resp.status))
		r->resp.content_type = f->content_type;
	if (!r->resp.location.n)
		r->resp.location = f->location;
	for (uint32_t i = 0; i < f->kept.n; i++)
		hdrs_add(&r->resp.fields, &r->arena, f->kept.v[i].name, f->kept.v[i].value);
}
