/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the connection: dialing, HTTP/1.1 as far as this API needs it (one request, an answer with a
 * length, read to the end; or HTTP/1.0 for one that goes on, in lines), and saying what to do when nobody answers. */
#define _GNU_SOURCE
#include "client.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { ANSWER_MAX = 64 << 20, WAIT_S = 90, SILENCE_S = 30, LINE_MAX_BYTES = 16384 };

int client_fail(const char *fmt, ...)
{
	va_list ap;

	fputs("sluicectl: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return EXIT_REFUSED;
}

static int fail_connect(const char *path)
{
	int e = errno;

	client_fail("cannot connect to %s: %s", path, strerror(e));
	if (e == EACCES || e == EPERM)
		fputs("Only root and the user that sluice runs as may use the socket: try sudo.\n",
		      stderr);
	else
		fprintf(stderr,
			"Is sluice running, with \"admin { listen unix:%s; }\" in its "
			"configuration?\n"
			"Another socket is given with -s.\n",
			path);
	return EXIT_CONNECT;
}

static int dial(const char *path, bool is_quiet, int wait_s, int *out)
{
	struct timeval wait = {.tv_sec = wait_s};
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(path) >= sizeof sa.sun_path) {
		errno = ENAMETOOLONG;
		return fail_connect(path);
	}
	memcpy(sa.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof sa)) {
		int r = is_quiet ? EXIT_CONNECT : fail_connect(path);

		if (fd >= 0)
			close(fd);
		return r;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
	*out = fd;
	return 0;
}

static bool send_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t r = send(fd, p, n, MSG_NOSIGNAL);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return false;
		p += r;
		n -= (size_t)r;
	}
	return true;
}

/* To the end of the stream; NULL with errno. */
static char *read_all(int fd, size_t *n)
{
	size_t room = 65536;
	char *text = malloc(room + 1);

	*n = 0;
	while (text) {
		ssize_t r = recv(fd, text + *n, room - *n, 0);
		char *bigger;

		if (r < 0 && errno == EINTR)
			continue;
		if (r == 0) {
			text[*n] = 0;
			return text;
		}
		if (r > 0)
			*n += (size_t)r;
		if (r > 0 && *n < room)
			continue;
		if (r > 0 && room >= ANSWER_MAX)
			errno = EMSGSIZE;
		bigger = r > 0 && room < ANSWER_MAX ? realloc(text, 2 * room + 1) : NULL;
		if (!bigger)
			break;
		text = bigger;
		room *= 2;
	}
	free(text);
	return NULL;
}

/* Status line, Content-Length, body. False for what is no answer, or one that was cut short. */
static bool parse_answer(struct answer *a, size_t n)
{
	char *end = strstr(a->raw, "\r\n\r\n");
	const char *length;
	unsigned long long want = 0;

	if (!end || strncmp(a->raw, "HTTP/1.", 7) || sscanf(a->raw + 7, "%*d %3d", &a->status) != 1)
		return false;
	*end = 0;
	a->body = end + 4;
	a->body_len = n - (size_t)(a->body - a->raw);
	length = strcasestr(a->raw, "\r\nContent-Length:");
	if (length)
		want = strtoull(length + 17, NULL, 10);
	return want == a->body_len;
}

int client_request(const char *socket_path, const char *method, const char *path, const char *body,
		   struct answer *out)
{
	char *head = NULL;
	size_t n;
	int fd = -1, r;

	*out = (struct answer){0};
	r = dial(socket_path, false, WAIT_S, &fd);
	if (r)
		return r;
	if (asprintf(&head,
		     "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: "
		     "%zu\r\n"
		     "Content-Type: application/json\r\n\r\n%s",
		     method, path, body ? strlen(body) : 0, body ? body : "") < 0) {
		head = NULL;
		r = client_fail("out of memory");
		goto out;
	}
	if (!send_all(fd, head, strlen(head))) {
		r = client_fail("cannot send to %s: %s", socket_path, strerror(errno));
		goto out;
	}
	out->raw = read_all(fd, &n);
	if (!out->raw)
		r = client_fail("no answer from %s: %s", socket_path,
				errno == EAGAIN ? "it took too long" : strerror(errno));
	else if (!parse_answer(out, n))
		r = client_fail("what came from %s is not a whole HTTP answer", socket_path);
out:
	free(head);
	close(fd);
	return r;
}

/* Lines of what FD sends; the answer's head, which is lines too, ends with an empty one. */
struct lines {
	int fd;
	size_t n, at; /* filled, and given out */
	char text[LINE_MAX_BYTES];
};

/* NULL: the end, or nothing for too long. */
static char *next_line(struct lines *l)
{
	for (;;) {
		char *start = l->text + l->at, *end = memchr(start, '\n', l->n - l->at);
		ssize_t r;

		if (end) {
			l->at += (size_t)(end - start) + 1;
			*end = 0;
			if (end > start && end[-1] == '\r')
				end[-1] = 0;
			return start;
		}
		memmove(l->text, start, l->n - l->at);
		l->n -= l->at;
		l->at = 0;
		if (l->n == sizeof l->text)
			return NULL;
		r = recv(l->fd, l->text + l->n, sizeof l->text - l->n, 0);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return NULL;
		l->n += (size_t)r;
	}
}

/* The status; 0 for what is no answer. */
static int read_head(struct lines *l)
{
	char *line = next_line(l);
	int status = 0;

	if (!line || strncmp(line, "HTTP/1.", 7) || sscanf(line + 7, "%*d %3d", &status) != 1)
		return 0;
	while (line && line[0])
		line = next_line(l);
	return line ? status : 0;
}

/* What is left of an answer that is not the one asked for; L has a part of it. */
static int read_refusal(struct lines *l, struct answer *out)
{
	size_t had = l->n - l->at, n;
	char *rest = read_all(l->fd, &n);

	out->raw = rest ? malloc(had + n + 1) : NULL;
	if (out->raw) {
		memcpy(out->raw, l->text + l->at, had);
		memcpy(out->raw + had, rest, n + 1);
		out->body = out->raw;
		out->body_len = had + n;
	}
	free(rest);
	return out->raw ? 0 : client_fail("no whole answer: %s", strerror(errno));
}

int client_stream(const char *socket_path, const char *path, const char *extra, bool is_quiet,
		  int (*line)(void *arg, char *text), void *arg, struct answer *out)
{
	struct lines l = {.fd = -1};
	char *head = NULL, *text;
	int r;

	*out = (struct answer){0};
	r = dial(socket_path, is_quiet, SILENCE_S, &l.fd);
	if (r)
		return r;
	/* HTTP/1.0: the answer comes without chunks. */
	if (asprintf(&head, "GET %s HTTP/1.0\r\nHost: localhost\r\n%s\r\n", path, extra) < 0) {
		head = NULL;
		r = client_fail("out of memory");
		goto out;
	}
	if (!send_all(l.fd, head, strlen(head)))
		goto out;
	out->status = read_head(&l);
	if (out->status == 200)
		while (!r && (text = next_line(&l)))
			r = line(arg, text);
	else if (out->status)
		r = read_refusal(&l, out);
out:
	free(head);
	close(l.fd);
	return r;
}
