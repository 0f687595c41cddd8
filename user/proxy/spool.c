/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the part of an answer that waits between the upstream and its client: bytes leave in the order in which
 * they came, those in the file before those in memory. */
#include "proxy/spool.h"

#include <errno.h>
#include <unistd.h>

#include "proxy/out.h"
#include "proxy/request.h"
#include "proxy/temp_file.h"
#include "proxy/upstream.h"

enum {
	PIECES_PER_TURN = 64, /* a fast client of a long file lets others have their turn */
};

struct spool {
	struct filter f; /* first */
	struct request *r;
	const struct io_scope *io;
	struct bufq mem;	/* behind what is in the file */
	uint64_t written, read; /* of the file; it is used again from its start when all is read */
	uint64_t busy_max, mem_max; /* bytes behind us; those and MEM together */
	struct task task;
	int fd;
	bool file_failed, broken;
	bool whole, handed_on; /* all came; all went on */
};

static uint64_t behind(const struct spool *s)
{
	return out_queued(s->r) - s->mem.bytes;
}

static void fail(struct spool *s)
{
	request_log(s->r, LOG_LVL_CRIT, "reading a kept answer failed: %s", strerror(errno));
	s->broken = true;
	bufq_clear(&s->mem);
	s->r->ops->abort(s->r);
}

/* NULL: nothing is there. */
static struct buf *next_piece(struct spool *s)
{
	uint64_t left = s->written - s->read;
	struct buf *b;
	int n;

	if (!left)
		return bufq_take(&s->mem);
	b = buf_new();
	if (left > buf_room(b))
		left = buf_room(b);
	n = temp_file_read(s->fd, buf_head(b), left, s->read);
	if (n <= 0) {
		buf_free(b);
		fail(s);
		return NULL;
	}
	b->end += (uint32_t)n;
	s->read += (uint64_t)n;
	if (s->read == s->written)
		s->read = s->written = 0;
	return b;
}

/* Hands on as much as may be behind us; false: there is more, but its turn is over. */
static bool hand_on(struct spool *s)
{
	struct request *r = s->r;
	bool flushed = false;

	for (int i = 0; !s->broken && (s->written || s->mem.first); i++) {
		struct buf *b;

		if (i == PIECES_PER_TURN) {
			task_post(&r->env->loop, &s->task);
			return false;
		}
		b = behind(s) < s->busy_max ? next_piece(s) : NULL;
		if (b) {
			filter_body(&s->f, r, b);
			flushed = false;
			continue;
		}
		if (flushed || s->broken)
			break;
		r->ops->flush(r);
		flushed = true;
	}
	if (s->whole && !s->handed_on && !s->broken && !s->written && !s->mem.first) {
		s->handed_on = true;
		filter_finish(&s->f, r);
	}
	return true;
}

static bool open_file(struct spool *s)
{
	if (s->fd >= 0)
		return true;
	s->fd = temp_file_open(s->io->proxy_temp);
	if (s->fd < 0)
		return false;
	request_log(s->r, LOG_LVL_WARN,
		    "an upstream response is buffered to a temporary file while reading upstream");
	return true;
}

/* Memory to file, while the file may grow: one write's worth at most. */
static void spill(struct spool *s)
{
	uint64_t put = 0;
	struct buf *b;

	while ((b = s->mem.first) && put < (uint64_t)s->io->temp_write_bytes) {
		uint32_t n = buf_len(b);

		if (s->written + n > (uint64_t)s->io->temp_max_bytes)
			return;
		if (!open_file(s) || temp_file_write(s->fd, buf_head(b), n, s->written)) {
			request_log(s->r, LOG_LVL_CRIT,
				    "an upstream response cannot be kept in \"%s\": %s",
				    s->io->proxy_temp->dir, strerror(errno));
			s->file_failed = true;
			return;
		}
		s->written += n;
		put += n;
		buf_free(bufq_take(&s->mem));
	}
}

static bool is_low(const struct spool *s)
{
	return behind(s) + s->mem.bytes + BUF_PAYLOAD > s->mem_max;
}

bool spool_is_full(const struct spool *s)
{
	return behind(s) + s->mem.bytes >= s->mem_max && s->mem.first;
}

static void take(struct filter *f, struct request *r, struct buf *b)
{
	struct spool *s = (struct spool *)f;

	if (s->broken || !buf_len(b)) {
		buf_free(b);
		return;
	}
	bufq_join(&s->mem, b);
	if (!s->task.queued && hand_on(s) && is_low(s) && !s->file_failed)
		spill(s);
}

static void on_task(struct task *t)
{
	struct spool *s = (struct spool *)((char *)t - offsetof(struct spool, task));
	struct request *r = s->r;

	hand_on(s);
	r->ops->flush(r);
	upstream_resume(r);
}

static void drained(struct filter *f, struct request *r)
{
	struct spool *s = (struct spool *)f;

	if (!s->task.queued)
		hand_on(s);
}

static void finish(struct filter *f, struct request *r)
{
	struct spool *s = (struct spool *)f;

	s->whole = true;
	if (!s->task.queued)
		hand_on(s);
}

static uint64_t held(const struct filter *f)
{
	return ((const struct spool *)f)->mem.bytes;
}

static void fini(struct filter *f, struct request *r)
{
	struct spool *s = (struct spool *)f;

	task_cancel(&r->env->loop, &s->task);
	bufq_clear(&s->mem);
	if (s->fd >= 0)
		close(s->fd);
}

static const struct filter_ops ops = {
	.name = "temporary file",
	.body = take,
	.finish = finish,
	.drained = drained,
	.held = held,
	.fini = fini,
};

static uint64_t at_least_one(int64_t bytes)
{
	return bytes < BUF_PAYLOAD ? BUF_PAYLOAD : (uint64_t)bytes;
}

void spool_step(struct request *r)
{
	struct upstream *u = r->up;
	struct spool *s;

	/* Only an upstream's own answer has one, not what sluice says instead. */
	if (!u || !u->x || !u->buffering || !u->io->temp_max_bytes || r->resp.streaming ||
	    r->resp.no_body)
		return;
	s = u->spool = arena_zalloc(&r->arena, sizeof *s);
	s->f.ops = &ops;
	s->r = r;
	s->io = u->io;
	s->fd = -1;
	s->task.fn = on_task;
	bufq_init(&s->mem);
	s->busy_max = at_least_one(u->io->busy_bytes);
	s->mem_max = at_least_one(u->io->buffers_bytes);
	out_add_filter(r, &s->f);
}
