/* SPDX-License-Identifier: BSD-2-Clause */
/* Holds what may not go out yet, and lets it out when a timer says so. What is held keeps the answer's maker
 * from sending more, so it is bounded by that maker's buffers; the front sees nothing of it, so that its
 * send_timeout counts the client's time alone. */
#include "proxy/throttle.h"

#include "conf/conf.h"
#include "proxy/filters_conf.h"
#include "proxy/out.h"
#include "proxy/request.h"

struct throttle {
	struct filter f;
	struct request *r;
	struct timer timer;
	struct bufq q;
	uint64_t rate_per_s, after, sent;
	bool finished_in, finished_out;
};

static const struct filter_ops ops;

/* 256 GB; times a year of seconds it stays below 2^64. */
static const int64_t SIZE_HIGHEST = (int64_t)1 << 38;

uint64_t throttle_allowance(uint64_t rate_per_s, uint64_t after, uint64_t elapsed_ms, uint64_t sent)
{
	uint64_t may = after + rate_per_s + rate_per_s * (elapsed_ms / 1000);

	may += rate_per_s * (elapsed_ms % 1000) / 1000;
	return may > sent ? may - sent : 0;
}

static uint64_t size_of(struct request *r, const struct tmpl *t)
{
	int64_t bytes;

	if (!t || conf_parse_size(tmpl_eval(t, r, &r->arena), &bytes))
		return 0;
	return bytes < SIZE_HIGHEST ? (uint64_t)bytes : SIZE_HIGHEST;
}

/* The first N bytes of the queue, copied where a buffer has to be cut. */
static struct buf *take_at_most(struct throttle *t, uint64_t n)
{
	struct buf *b;

	if (n >= buf_len(t->q.first))
		return bufq_take(&t->q);
	b = buf_new();
	memcpy(buf_head(b), buf_head(t->q.first), (size_t)n);
	b->end += (uint32_t)n;
	bufq_consume(&t->q, (size_t)n);
	return b;
}

/* Lets out what may go now; sets the timer when something stays. */
static void let_out(struct throttle *t)
{
	struct request *r = t->r;
	uint64_t now = r->env->loop.clock.mono_ms, just_sent = 0, n, wait_ms;

	while (t->q.first) {
		n = throttle_allowance(t->rate_per_s, t->after, now - r->start_mono_ms, t->sent);
		if (!n)
			break;
		if (n > buf_len(t->q.first))
			n = buf_len(t->q.first);
		filter_body(&t->f, r, take_at_most(t, n));
		t->sent += n;
		just_sent += n;
	}
	if (!t->q.first) {
		if (t->finished_in && !t->finished_out) {
			t->finished_out = true;
			filter_finish(&t->f, r);
		}
		return;
	}
	/* As long as what went out takes, so that a slow rate does not wake us for each byte. */
	wait_ms = just_sent * 1000 / t->rate_per_s;
	if (wait_ms > 1000)
		wait_ms = 1000;
	if (t->rate_per_s <= 1000 && wait_ms < 1000 / t->rate_per_s)
		wait_ms = 1000 / t->rate_per_s;
	if (!timer_is_set(&t->timer))
		timer_set(&r->env->loop, &t->timer, wait_ms < 10 ? 10 : wait_ms);
}

static void on_timer(struct timer *timer)
{
	struct throttle *t = (struct throttle *)((char *)timer - offsetof(struct throttle, timer));
	struct request *r = t->r;

	let_out(t);
	r->ops->flush(r);
	request_drained(r);
}

static void take(struct filter *f, struct request *r, struct buf *b)
{
	struct throttle *t = (struct throttle *)f;

	if (!buf_len(b)) {
		buf_free(b);
		return;
	}
	bufq_join(&t->q, b);
	if (!timer_is_set(&t->timer))
		let_out(t);
}

static void finish(struct filter *f, struct request *r)
{
	struct throttle *t = (struct throttle *)f;

	t->finished_in = true;
	if (!timer_is_set(&t->timer))
		let_out(t);
}

static uint64_t held(const struct filter *f)
{
	return ((const struct throttle *)f)->q.bytes;
}

static void fini(struct filter *f, struct request *r)
{
	struct throttle *t = (struct throttle *)f;

	timer_cancel(&r->env->loop, &t->timer);
	bufq_clear(&t->q);
}

static const struct filter_ops ops = {
	.name = "limit_rate",
	.body = take,
	.finish = finish,
	.held = held,
	.fini = fini,
};

void throttle_step(struct request *r)
{
	const struct filters_scope *s = filters_scope_of(r->block);
	struct throttle *t;

	if (!r->limit_rate_set) {
		if (!s->limit_rate)
			return;
		r->limit_rate = size_of(r, s->limit_rate);
		r->limit_rate_set = true;
	}
	if (!r->limit_rate || r->resp.no_body)
		return;
	t = arena_zalloc(&r->arena, sizeof *t);
	t->f.ops = &ops;
	t->r = r;
	timer_init(&t->timer, on_timer);
	bufq_init(&t->q);
	t->rate_per_s = r->limit_rate;
	t->after = size_of(r, s->limit_rate_after);
	out_add_filter(r, &t->f);
}
