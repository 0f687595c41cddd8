/* SPDX-License-Identifier: BSD-2-Clause */
/* Decompresses an answer for a client that does not take gzip. A few bytes may become megabytes, so output
 * is made only while the client's queue has room; the input that waits for that is kept, and keeps its maker
 * from sending more. What is broken or ends early is never shown as whole. */
#include <zlib.h>

#include "proxy/gzip.h"
#include "proxy/gzip_conf.h"
#include "proxy/out.h"
#include "proxy/request.h"

struct gunzip {
	struct filter f;
	struct request *r;
	struct task task; /* goes on in the next turn of the loop */
	struct bufq in;	  /* not inflated yet */
	z_stream z;
	uint64_t waiting_max; /* gunzip_buffers */
	bool active;	      /* Z has memory */
	bool at_end;	      /* a gzip member is over; another may follow */
	bool broken, finished_in, finished_out;
};

enum { PIECES_PER_TURN = 16 }; /* of 16 KB each: others have their turn */

static const struct filter_ops ops;

static void on_task(struct task *t);

void gunzip_step(struct request *r)
{
	const struct gzip_scope *s = r->block->mod[MOD_GZIP];
	const struct hdr *coding;
	struct gunzip *g;

	if (!s || !s->gunzip)
		return;
	coding = hdrs_find(&r->resp.fields, HDR_CONTENT_ENCODING);
	if (!coding || !slice_ieq(coding->value, SLICE("gzip")))
		return;
	gzip_add_vary(r);
	if (gzip_is_wanted(r))
		return;
	hdrs_remove(&r->resp.fields, HDR_CONTENT_ENCODING, NULL);
	gzip_forget_identity(r);
	if (r->resp.no_body)
		return;
	g = arena_zalloc(&r->arena, sizeof *g);
	g->f.ops = &ops;
	g->r = r;
	g->task.fn = on_task;
	g->waiting_max = s->gunzip_buffers->bytes;
	bufq_init(&g->in);
	out_add_filter(r, &g->f);
}

static void fail(struct gunzip *g, const char *why)
{
	request_log(g->r, LOG_LVL_ERROR, "inflate() failed: %s while sending to client", why);
	g->broken = true;
	bufq_clear(&g->in);
	out_abort(g->r);
}

static int begin_member(struct gunzip *g)
{
	int r = Z_OK;

	if (!g->active)
		r = inflateInit2(&g->z, MAX_WBITS + 16);
	else if (g->at_end)
		r = inflateReset(&g->z);
	g->active |= r == Z_OK;
	g->at_end = false;
	return r;
}

/* Output that zlib still holds counts too. */
static bool has_more(const struct gunzip *g)
{
	return g->in.first || (g->active && !g->at_end && g->z.avail_out == 0);
}

/* Makes one buffer of output, out of the first one of the input. */
static void inflate_some(struct gunzip *g)
{
	struct buf *in = g->in.first, *out = buf_new();
	int r = begin_member(g);

	g->z.next_in = in ? (Bytef *)buf_head(in) : NULL;
	g->z.avail_in = in ? buf_len(in) : 0;
	g->z.next_out = (Bytef *)buf_head(out);
	g->z.avail_out = buf_room(out);
	if (r == Z_OK)
		r = inflate(&g->z, Z_SYNC_FLUSH);
	out->end += buf_room(out) - g->z.avail_out;
	if (in)
		bufq_consume(&g->in, buf_len(in) - g->z.avail_in);
	if (buf_len(out))
		filter_body(&g->f, g->r, out);
	else
		buf_free(out);
	g->at_end = r == Z_STREAM_END;
	if (r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR)
		fail(g, g->z.msg ? g->z.msg : "out of memory");
}

static void end_output(struct gunzip *g)
{
	if (g->active && !g->at_end) {
		fail(g, "the compressed answer is cut off");
		return;
	}
	g->finished_out = true;
	filter_finish(&g->f, g->r);
}

/* Inflates until the client's queue is full, all is done, or others are to have their turn. */
static void pump(struct gunzip *g)
{
	int pieces = 0;

	while (!g->broken && has_more(g)) {
		if (g->r->ops->queued(g->r) >= g->waiting_max) {
			g->r->ops->flush(g->r);
			if (g->r->ops->queued(g->r) >= g->waiting_max)
				return; /* drained() goes on */
		}
		if (pieces++ == PIECES_PER_TURN) {
			task_post(&g->r->env->loop, &g->task);
			return;
		}
		inflate_some(g);
	}
	if (!g->broken && g->finished_in && !g->finished_out)
		end_output(g);
}

/* From the loop: what made the queue shorter may let the maker go on. */
static void on_task(struct task *t)
{
	struct gunzip *g = (struct gunzip *)((char *)t - offsetof(struct gunzip, task));
	struct request *r = g->r;

	pump(g);
	r->ops->flush(r);
	if (!g->broken && !g->in.first)
		request_drained(r);
}

static void take(struct filter *f, struct request *r, struct buf *b)
{
	struct gunzip *g = (struct gunzip *)f;

	if (g->broken || !buf_len(b)) {
		buf_free(b);
		return;
	}
	bufq_join(&g->in, b);
	if (!g->task.queued)
		pump(g);
}

static void finish(struct filter *f, struct request *r)
{
	struct gunzip *g = (struct gunzip *)f;

	g->finished_in = true;
	if (!g->task.queued)
		pump(g);
}

static void drained(struct filter *f, struct request *r)
{
	struct gunzip *g = (struct gunzip *)f;

	if (!g->task.queued && has_more(g))
		pump(g);
}

/* With input that waits, nothing more is to come. */
static uint64_t held(const struct filter *f)
{
	const struct gunzip *g = (const struct gunzip *)f;

	return g->in.first ? UINT32_MAX : 0;
}

static void fini(struct filter *f, struct request *r)
{
	struct gunzip *g = (struct gunzip *)f;

	task_cancel(&r->env->loop, &g->task);
	bufq_clear(&g->in);
	if (g->active)
		inflateEnd(&g->z);
	g->active = false;
}

static const struct filter_ops ops = {
	.name = "gunzip",
	.body = take,
	.finish = finish,
	.drained = drained,
	.held = held,
	.fini = fini,
};
