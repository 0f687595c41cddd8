/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns where a request's body is: collected in memory up to client_body_buffer_size and in a file beyond,
 * or on its way to the upstream while it comes in. Reads no socket. */
#include <errno.h>
#include <unistd.h>

#include "core/err.h"
#include "proxy/io_conf.h"
#include "proxy/out.h"
#include "proxy/pipeline.h"
#include "proxy/reply.h"
#include "proxy/request.h"
#include "proxy/temp_file.h"
#include "proxy/upstream.h"

static const struct io_scope *io_of(const struct request *r)
{
	return r->block->mod[MOD_IO];
}

static int open_named(struct request *r, const struct io_temp *t)
{
	uint64_t seed = r->env->id_seed ^ (r->client->serial << 16) ^ r->start_ms;
	char path[4096];
	int fd = temp_file_open_named(t, seed % 10000000000, path, sizeof path);

	if (fd < 0)
		return -1;
	r->body.file = arena_dup(&r->arena, slice_cstr(path));
	r->body.removes_file = io_of(r)->in_file_only == IN_FILE_CLEAN;
	return fd;
}

static int put_file(struct request *r, const char *p, size_t n)
{
	const struct io_scope *io = io_of(r);
	struct request_body *b = &r->body;

	if (b->fd < 0) {
		b->fd = io->in_file_only ? open_named(r, io->client_temp)
					 : temp_file_open(io->client_temp);
		if (b->fd < 0 || temp_file_write(b->fd, b->mem, b->len, 0))
			goto fail;
		b->mem = NULL;
		b->room = 0;
	}
	if (temp_file_write(b->fd, p, n, b->len))
		goto fail;
	b->len += n;
	return 0;
fail:
	request_log(r, LOG_LVL_CRIT, "request body of %zu bytes cannot be kept in \"%s\": %s",
		    b->len + n, io->client_temp->dir, strerror(errno));
	return 500;
}

static void put_memory(struct request *r, const char *p, size_t n, size_t limit)
{
	struct request_body *b = &r->body;
	size_t room;
	char *mem;

	if (b->len + n > b->room) {
		room = r->head.body == BODY_LENGTH ? (size_t)r->head.content_length
						   : 2 * (b->len + n);
		mem = arena_bytes(&r->sending, room < limit ? room : limit);
		if (b->len)
			memcpy(mem, b->mem, b->len);
		b->mem = mem;
		b->room = room < limit ? room : limit;
	}
	memcpy(b->mem + b->len, p, n);
	b->len += n;
}

/* Is there still somebody for whom a streamed body comes in? */
static bool is_wanted(const struct request *r)
{
	return !r->finished && !r->aborted && (!r->head_sent || (r->up && r->up->x));
}

static void put_stream(struct request *r, const char *p, size_t n)
{
	struct body_stream *s = r->body.stream;

	if (!is_wanted(r)) {
		request_body_drop(r);
		return;
	}
	bufq_put(&s->q, p, n);
	upstream_body_came(r);
}

int request_body_put(struct request *r, const char *p, size_t n, uint64_t announced)
{
	struct request_body *b = &r->body;
	size_t limit = (size_t)r->scope->client_body_buffer_bytes;

	if (b->stream && b->stream->tunnel) {
		put_stream(r, p, n);
		return 0;
	}
	r->body_bytes += n;
	if (b->forgotten)
		return 0;
	if (b->max_bytes && r->body_bytes + announced > b->max_bytes) {
		request_log(r, LOG_LVL_ERROR, "client intended to send too large chunked body");
		return 413;
	}
	if (n == 0)
		return 0;
	if (b->stream) {
		put_stream(r, p, n);
		return 0;
	}
	if (b->fd >= 0 || b->len + n > limit || io_of(r)->in_file_only)
		return put_file(r, p, n);
	put_memory(r, p, n, limit);
	return 0;
}

bool request_body_is_full(struct request *r)
{
	struct body_stream *s = r->body.stream;

	if (!s || s->q.bytes < s->room_bytes)
		return false;
	s->paused = true;
	return true;
}

static struct body_stream *stream_new(struct request *r, int64_t room_bytes)
{
	struct body_stream *s = arena_zalloc(&r->arena, sizeof *s);

	bufq_init(&s->q);
	s->room_bytes = (uint64_t)room_bytes;
	return s;
}

void request_body_start(struct request *r, bool stream)
{
	if (stream)
		r->body.stream = stream_new(r, r->scope->client_body_buffer_bytes);
	r->ops->read_body(r);
}

void request_body_tunnel(struct request *r)
{
	r->body.stream = stream_new(r, r->up->io->buffer_bytes);
	r->body.stream->tunnel = true;
}

/* What the client sends is no body: the upstream must not take what it got for one. */
static void fail_stream(struct request *r)
{
	if (!r->up || r->finished || r->aborted)
		return; /* step_body sees to it, or it does not matter any more */
	timer_cancel(&r->env->loop, &r->timer);
	upstream_cancel(r);
	if (r->head_sent) {
		out_abort(r);
		out_flush(r);
	} else {
		reply_error(r, (unsigned)r->body.status, NULL);
	}
}

void request_body_forget(struct request *r)
{
	request_body_fini(r);
	r->body = (struct request_body){.fd = -1, .whole = true, .forgotten = true};
	r->body_started = true;
	r->head.body = BODY_NONE;
}

void request_body_rewind(struct request *r)
{
	if (r->body.stream && r->body.stream->n_taken)
		request_body_forget(r);
}

void request_body_end(struct request *r, int status)
{
	if (r->body.forgotten)
		return;
	if (r->body.stream && status == 0) {
		r->body.stream->whole = true;
		upstream_body_came(r);
		return;
	}
	/* As nginx: an empty body has its file, too. */
	if (status == 0 && r->body.fd < 0 && io_of(r)->in_file_only)
		status = put_file(r, NULL, 0);
	r->body.whole = status == 0;
	r->body.status = status;
	if (r->body.stream) {
		fail_stream(r);
	} else if (r->body.waiting) {
		r->body.waiting = false;
		pipeline_resume(r);
	}
}

static void go_on(struct request *r)
{
	struct body_stream *s = r->body.stream;

	if (s->paused && s->q.bytes < s->room_bytes) {
		s->paused = false;
		r->ops->read_body(r);
	}
}

struct buf *request_body_take(struct request *r)
{
	struct body_stream *s = r->body.stream;
	struct buf *b = bufq_take(&s->q);

	if (b) {
		s->n_taken += buf_len(b);
		go_on(r);
	}
	return b;
}

void request_body_drop(struct request *r)
{
	if (!r->body.stream)
		return;
	bufq_clear(&r->body.stream->q);
	go_on(r);
}

int request_body_read(const struct request *r, void *to, size_t n, uint64_t at)
{
	int got = temp_file_read(r->body.fd, to, n, at);

	if (got > 0)
		return got;
	request_log(r, LOG_LVL_CRIT, "reading a kept request body failed: %s",
		    got ? strerror(errno) : "it is shorter than it was");
	return -SL_ESYS;
}

void request_body_fini(struct request *r)
{
	struct request_body *b = &r->body;

	if (b->stream)
		bufq_clear(&b->stream->q);
	if (b->fd < 0)
		return;
	close(b->fd);
	if (b->removes_file)
		unlink(arena_cstr(&r->arena, b->file));
}
