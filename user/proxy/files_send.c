/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads a file piece by piece while the client's queue has room, or has the front copy it in the kernel. */
#include "proxy/files_send.h"

#include <errno.h>
#include <unistd.h>

#include "core/err.h"
#include "proxy/files_conf.h"
#include "proxy/out.h"
#include "proxy/ranges.h"
#include "proxy/request.h"

enum {
	QUEUE_MAX = 64 * 1024, /* read ahead of the client */
	PIECES_PER_TURN = 32,  /* others have their turn */
};

struct files_send {
	struct request *r;
	struct task task;
	int fd;
	const struct ranges_parts *parts; /* NULL: all, which is part 0 */
	uint32_t part, n_parts;
	uint64_t at, end; /* what is left of this part */
	bool copies;	  /* the front copies it by itself */
	bool waits;	  /* for the client */
};

static void put_text(struct request *r, struct slice s)
{
	while (s.n) {
		struct buf *b = buf_new();
		size_t n = s.n < buf_room(b) ? s.n : buf_room(b);

		memcpy(buf_head(b), s.p, n);
		b->end += (uint32_t)n;
		out_body(r, b);
		s = slice_skip(s, n);
	}
}

static void begin_part(struct files_send *s)
{
	char line[RANGES_LINE_MAX];

	if (!s->parts)
		return;
	s->at = s->parts->list.v[s->part].start;
	s->end = s->parts->list.v[s->part].end;
	if (s->n_parts > 1) {
		put_text(s->r, s->parts->first);
		put_text(s->r, slice_make(line, ranges_line(s->parts, s->part, line)));
	}
}

static void end(struct files_send *s)
{
	task_cancel(&s->r->env->loop, &s->task);
	close(s->fd);
	s->r->file = NULL;
}

static void finish(struct files_send *s)
{
	struct request *r = s->r;

	if (s->n_parts > 1)
		put_text(r, s->parts->tail);
	end(s);
	out_finish(r);
	out_flush(r);
}

/* It became shorter than its head says. */
static void cut(struct files_send *s, const char *why)
{
	struct request *r = s->r;

	request_log(r, LOG_LVL_ALERT,
		    "reading the file failed: %s while sending response to client", why);
	end(s);
	out_abort(r);
	out_flush(r);
}

/* One buffer; false: it is over. */
static bool send_piece(struct files_send *s)
{
	struct buf *b = buf_new();
	size_t want = s->end - s->at < buf_room(b) ? (size_t)(s->end - s->at) : buf_room(b);
	ssize_t n = pread(s->fd, buf_head(b), want, (off_t)s->at);

	if (n <= 0) {
		buf_free(b);
		cut(s, n ? strerror(errno) : "it is shorter than it was");
		return false;
	}
	b->end += (uint32_t)n;
	s->at += (uint64_t)n;
	out_body(s->r, b);
	return true;
}

/* 1: the part is out, 0: it goes on later, -1: it is over. */
static int copy(struct files_send *s)
{
	uint64_t left = s->end - s->at;
	int n = s->r->ops->send_file(s->r, s->fd, &s->at, left);

	if (n == -SL_EINVAL) {
		s->copies = false;
		return 0;
	}
	if (n == -SL_ETRUNCATED) {
		cut(s, "it is shorter than it was");
		return -1;
	}
	if (n < 0)
		return -1; /* the connection is lost, and the request goes with it */
	if (s->at == s->end)
		return 1;
	s->waits = n == 0;
	if (n > 0)
		task_post(&s->r->env->loop, &s->task);
	return 0;
}

/* Goes on until the queue is full, all is read, or others are to have their turn. */
static void run(struct files_send *s)
{
	struct request *r = s->r;
	int pieces = 0;

	s->waits = false;
	while (s->part < s->n_parts) {
		if (s->at == s->end) {
			if (++s->part < s->n_parts)
				begin_part(s);
			continue;
		}
		if (s->copies) {
			int n = copy(s);

			if (n < 0 || (n == 0 && s->copies))
				return;
			continue;
		}
		if (out_queued(r) >= QUEUE_MAX) {
			out_flush(r);
			s->waits = out_queued(r) >= QUEUE_MAX;
			if (s->waits)
				return;
		}
		if (pieces++ == PIECES_PER_TURN) {
			out_flush(r);
			task_post(&r->env->loop, &s->task);
			return;
		}
		if (!send_piece(s))
			return;
	}
	finish(s);
}

static void on_task(struct task *t)
{
	run((struct files_send *)((char *)t - offsetof(struct files_send, task)));
}

void files_send_start(struct request *r, int fd, uint64_t size)
{
	const struct files_scope *conf = files_scope_of(r->block);
	struct files_send *s = arena_zalloc(&r->arena, sizeof *s);

	s->r = r;
	s->fd = fd;
	s->task.fn = on_task;
	s->parts = r->resp.parts;
	s->n_parts = s->parts ? s->parts->list.n : 1;
	s->end = size;
	/* A short file goes out with its head in one write. */
	s->copies = conf->sendfile && !r->filters && s->n_parts == 1 && size > BUF_PAYLOAD &&
		    r->ops->send_file;
	r->file = s;
	begin_part(s);
	run(s);
}

void files_send_resume(struct request *r)
{
	if (r->file->waits)
		run(r->file);
}

void files_send_cancel(struct request *r)
{
	if (r->file)
		end(r->file);
}
