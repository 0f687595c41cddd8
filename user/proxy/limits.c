/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns what the verdict of a limit means for a request: an answer, a wait, a line in the log. As in nginx
 * each kind is looked at once a request, whatever locations it is sent through. */
#include "proxy/limits.h"

#include "policy/limit_conf.h"
#include "policy/limit_conn_conf.h"
#include "proxy/reply.h"
#include "proxy/request.h"

/* What a request holds in zones of limit_conn; in its arena. */
struct limit_holds {
	int n;
	struct {
		struct limit_conn_zone *zone;
		uint32_t number;
	} hold[];
};

static enum step_result answer(struct request *r, int64_t status, const char *why)
{
	reply_error(r, (unsigned)status, why);
	return STEP_DONE;
}

static void log_req(struct request *r, const struct limit_scope *s, int which, uint64_t excess,
		    bool delay)
{
	int level = (int)s->log_level;

	if (delay && level < LOG_LVL_INFO)
		level++;
	request_log(r, (enum log_level)level, "%s%s, excess: %llu.%03llu%s by zone \"%.*s\"",
		    delay ? "delaying request" : "limiting requests", s->dry_run ? ", dry run" : "",
		    (unsigned long long)excess / 1000, (unsigned long long)excess % 1000,
		    delay ? "," : "", SLICE_FMT(s->lines->zone_name[which]));
}

static enum step_result reject_req(struct request *r, const struct limit_scope *s, int which,
				   uint64_t excess)
{
	log_req(r, s, which, excess, false);
	if (s->dry_run) {
		r->limit_status = "REJECTED_DRY_RUN";
		r->env->stats->limit_req_dry_run++;
		return STEP_NEXT;
	}
	r->limit_status = "REJECTED";
	r->env->stats->limit_req_rejected++;
	request_offence(r, BAN_ON_LIMIT_REQ, (unsigned)s->status);
	return answer(r, s->status, "too many requests: the rate limit is reached");
}

enum step_result limits_step_req(struct request *r)
{
	const struct limit_scope *s = r->block->mod[MOD_LIMIT];
	struct slice keys[LIMIT_USES_MAX];
	uint64_t delay_ms = 0, excess = 0;
	enum limit_verdict verdict;
	int which = -1;

	if (r->limit_status || !s || !s->lines)
		return STEP_NEXT;
	for (int i = 0; i < s->lines->n; i++)
		keys[i] = tmpl_eval(s->lines->zone[i]->key, r, &r->arena);
	verdict = limit_check(s->lines->use, keys, s->lines->n, r->env->loop.clock.mono_ms,
			      &delay_ms, &which, &excess);
	if (which < 0)
		return STEP_NEXT;
	r->limit_status = "PASSED";
	if (verdict == LIMIT_PASS)
		return STEP_NEXT;
	if (verdict == LIMIT_REJECT)
		return reject_req(r, s, which, excess);
	log_req(r, s, which, excess, true);
	if (s->dry_run) {
		r->limit_status = "DELAYED_DRY_RUN";
		return STEP_NEXT;
	}
	r->limit_status = "DELAYED";
	r->env->stats->limit_req_delayed++;
	timer_set(&r->env->loop, &r->timer, delay_ms);
	return STEP_WAIT;
}

void limits_release(struct request *r)
{
	struct limit_holds *h = r->holds;

	for (int i = 0; h && i < h->n; i++)
		limit_conn_leave(h->hold[i].zone, h->hold[i].number);
	r->holds = NULL;
}

static enum step_result reject_conn(struct request *r, const struct limit_conn_scope *s, int which)
{
	limits_release(r);
	request_log(r, (enum log_level)s->log_level, "limiting connections%s by zone \"%.*s\"",
		    s->dry_run ? ", dry run," : "", SLICE_FMT(s->lines->line[which].name));
	if (s->dry_run) {
		r->limit_conn_status = "REJECTED_DRY_RUN";
		r->env->stats->limit_conn_dry_run++;
		return STEP_NEXT;
	}
	r->limit_conn_status = "REJECTED";
	r->env->stats->limit_conn_rejected++;
	request_offence(r, BAN_ON_LIMIT_CONN, (unsigned)s->status);
	return answer(r, s->status, "too many requests at the same time");
}

enum step_result limits_step_conn(struct request *r)
{
	const struct limit_conn_scope *s = r->block->mod[MOD_LIMIT_CONN];
	const struct limit_conn_lines *l = s ? s->lines : NULL;

	if (r->limit_conn_status || !l)
		return STEP_NEXT;
	for (int i = 0; i < l->n; i++) {
		struct limit_conn_zone *zone = l->line[i].zone->zone;
		struct slice key = tmpl_eval(l->line[i].zone->key, r, &r->arena);
		uint32_t number;

		if (!key.n)
			continue;
		r->limit_conn_status = "PASSED";
		number = limit_conn_enter(zone, key, r->env->slot, l->line[i].max);
		if (!number)
			return reject_conn(r, s, i);
		if (!r->holds)
			r->holds = arena_zalloc(&r->arena,
						sizeof *r->holds +
							(size_t)l->n * sizeof r->holds->hold[0]);
		r->holds->hold[r->holds->n].zone = zone;
		r->holds->hold[r->holds->n++].number = number;
	}
	return STEP_NEXT;
}
