/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns where a request's body is kept: in memory up to client_body_buffer_size, in an unlinked file
 * beyond. Reads no socket. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/err.h"
#include "proxy/pipeline.h"
#include "proxy/request.h"

/* The body's temporary file: no name, so that nothing stays when the process dies. */
static int open_temp(struct request *r)
{
	const char *dir = r->scope->client_body_temp_path.p;
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	char path[4096];

	if (fd >= 0 || errno != EOPNOTSUPP)
		return fd;
	if (snprintf(path, sizeof path, "%s/body.XXXXXX", dir) >= (int)sizeof path)
		return -1;
	fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0)
		unlink(path);
	return fd;
}

static int write_all(int fd, const char *p, size_t n, size_t at)
{
	while (n) {
		ssize_t k = pwrite(fd, p, n, (off_t)at);

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return -SL_ESYS;
		p += k;
		n -= (size_t)k;
		at += (size_t)k;
	}
	return 0;
}

static int put_file(struct request *r, const char *p, size_t n)
{
	struct request_body *b = &r->body;

	if (b->fd < 0) {
		b->fd = open_temp(r);
		if (b->fd < 0 || write_all(b->fd, b->mem, b->len, 0))
			goto fail;
		b->mem = NULL;
		b->room = 0;
	}
	if (write_all(b->fd, p, n, b->len))
		goto fail;
	b->len += n;
	return 0;
fail:
	request_log(r, LOG_LVL_CRIT, "request body of %zu bytes cannot be kept in \"%s\": %s",
		    b->len + n, r->scope->client_body_temp_path.p, strerror(errno));
	return 500;
}

int request_body_put(struct request *r, const char *p, size_t n)
{
	struct request_body *b = &r->body;
	size_t limit = (size_t)r->scope->client_body_buffer_bytes, room;
	char *mem;

	r->body_bytes += n;
	if (b->max_bytes && b->len + n > b->max_bytes) {
		request_log(r, LOG_LVL_ERROR, "client intended to send too large chunked body");
		return 413;
	}
	if (b->fd >= 0 || b->len + n > limit)
		return put_file(r, p, n);
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
	return 0;
}

void request_body_end(struct request *r, int status)
{
	r->body.whole = status == 0;
	r->body.status = status;
	if (r->body.waiting) {
		r->body.waiting = false;
		pipeline_resume(r);
	}
}
