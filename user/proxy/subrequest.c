/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns requests that have no client: it is their front. What one leaves behind stays until its parent ends,
 * since the parent's variables may point into it. */
#include "proxy/subrequest.h"

#include "proxy/access_conf.h"
#include "proxy/flow.h"
#include "proxy/upstream.h"
#include "proxy/vars_user.h"

struct subrequest {
	struct subrequest *next; /* of the same parent */
	struct request *r, *parent;
	struct task task;   /* ends it: nobody below on the stack has to know */
	struct arena arena; /* of R, when that has ended */
	unsigned status;
	bool is_done;
};

static void wake(struct request *r)
{
	struct subrequest *s = r->front;

	task_post(&r->env->loop, &s->task);
}

static void read_body(struct request *r)
{
	request_body_end(r, 0);
}

/* The status is all that is asked for: what follows is waited for no longer than this turn, so that a
 * short body leaves the upstream's connection in order. */
static void send_head(struct request *r)
{
	r->head_sent = true;
	wake(r);
}

static void send_body(struct request *r, struct buf *b)
{
	buf_free(b);
}

static void finish(struct request *r)
{
	r->finished = true;
	wake(r);
}

static void abort_answer(struct request *r)
{
	r->aborted = true;
	wake(r);
}

static void flush(struct request *r)
{
}

static uint64_t queued(const struct request *r)
{
	return 0;
}

static const struct front_ops ops = {
	.read_body = read_body,
	.send_head = send_head,
	.send_body = send_body,
	.finish = finish,
	.abort = abort_answer,
	.drop = abort_answer,
	.flush = flush,
	.queued = queued,
};

static void keep_challenges(struct request *parent, const struct hdrs *fields)
{
	const struct hdr *h = hdrs_find(fields, HDR_WWW_AUTHENTICATE);

	for (; h; h = hdrs_next(fields, h))
		hdrs_add(&flow_get(parent)->challenges, &parent->arena, h->name, h->value);
}

static void take_answer(struct subrequest *s)
{
	const struct entry_scope *scope = s->parent->block->mod[MOD_ACCESS];
	struct request *r = s->r;

	s->status = r->resp.status;
	if (s->status == 401) {
		keep_challenges(s->parent, &r->resp.fields);
		if (!s->parent->flow->challenges.n && r->up)
			keep_challenges(s->parent, &r->up->fields);
	}
	for (const struct access_set *set = scope->sets; set; set = set->next)
		vars_user_set(r, set->var, tmpl_eval(set->value, r, &r->arena));
	vars_user_give_back(r);
}

static void end(struct subrequest *s)
{
	task_cancel(&s->parent->env->loop, &s->task);
	s->arena = request_end_inner(s->r);
	s->r = NULL;
	s->is_done = true;
}

static void on_task(struct task *t)
{
	struct subrequest *s = (struct subrequest *)((char *)t - offsetof(struct subrequest, task));

	take_answer(s);
	end(s);
	pipeline_resume(s->parent);
}

enum step_result subrequest_ask(struct request *r, struct slice path, unsigned *status)
{
	struct flow *f = flow_get(r);
	struct subrequest *s = f->asked;

	if (s && !s->is_done)
		return STEP_WAIT;
	if (s) {
		*status = s->status;
		return STEP_NEXT;
	}
	s = arena_zalloc(&r->arena, sizeof *s);
	s->parent = r;
	s->task.fn = on_task;
	s->next = f->subrequests;
	f->subrequests = f->asked = s;
	s->r = request_new_inner(r, &ops, s);
	pipeline_start_at(s->r, path);
	return STEP_WAIT;
}

void subrequest_fini(struct request *r)
{
	for (struct subrequest *s = r->flow ? r->flow->subrequests : NULL; s; s = s->next) {
		if (!s->is_done)
			end(s);
		arena_fini(&s->arena);
	}
}
