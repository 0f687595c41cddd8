/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the format of an error log line and the descriptors of the sinks. Syslog (RFC 3164, as nginx
 * sends it) goes over a datagram socket that never blocks: a dead syslog loses lines, not requests. */
#include "core/log.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/err.h"

enum { LINE_MAX_BYTES = 4096, SYSLOG_RETRY_MS = 1000 };

static const char *const names[] = {"emerg", "alert",  "crit", "error",
				    "warn",  "notice", "info", "debug"};

int log_level_from_name(struct slice name)
{
	for (int i = 0; i < 8; i++)
		if (slice_eq(name, slice_cstr(names[i])))
			return i;
	return -1;
}

const char *log_level_name(enum log_level level)
{
	return names[level];
}

static int syslog_open_unix(const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -1;
	if (strlen(path) < sizeof sa.sun_path)
		memcpy(sa.sun_path, path, strlen(path) + 1);
	if (connect(fd, (struct sockaddr *)&sa, sizeof sa) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Numeric addresses only: nothing here may wait for DNS. */
static int syslog_open_inet(const char *addr)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
				 .ai_socktype = SOCK_DGRAM};
	struct addrinfo *ai = NULL;
	const char *colon = strrchr(addr, ':');
	char host[108], port[8] = "514";
	size_t n = strlen(addr);
	int fd = -1;

	if (colon && colon[1] && strlen(colon + 1) < sizeof port && addr[n - 1] != ']') {
		memcpy(port, colon + 1, strlen(colon + 1) + 1);
		n = (size_t)(colon - addr);
	}
	if (n > 1 && addr[0] == '[' && addr[n - 1] == ']') {
		addr++;
		n -= 2;
	}
	if (n >= sizeof host)
		return -1;
	memcpy(host, addr, n);
	host[n] = 0;
	if (getaddrinfo(strcmp(host, "localhost") ? host : "127.0.0.1", port, &hints, &ai))
		return -1;
	fd = socket(ai->ai_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && connect(fd, ai->ai_addr, ai->ai_addrlen) < 0) {
		close(fd);
		fd = -1;
	}
	freeaddrinfo(ai);
	return fd;
}

static int sink_fd(const struct log_sink *s)
{
	if (s->is_syslog && strncmp(s->syslog_addr, "unix:", 5) == 0)
		return syslog_open_unix(s->syslog_addr + 5);
	if (s->is_syslog)
		return s->syslog_addr[0] ? syslog_open_inet(s->syslog_addr)
					 : syslog_open_unix("/dev/log");
	if (!s->path)
		return STDERR_FILENO;
	return open(s->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
}

int log_sink_open(struct log_sink *s)
{
	int fd = sink_fd(s);

	if (fd < 0)
		return s->is_syslog ? 0 : -SL_ESYS;
	log_sink_close(s);
	s->fd = fd;
	return 0;
}

void log_sink_close(struct log_sink *s)
{
	if (s->fd > STDERR_FILENO)
		close(s->fd);
	s->fd = -1;
}

void log_syslog(struct log_sink *s, enum log_level severity, struct slice text, uint64_t now_ms)
{
	char head[192], when[32], host[65] = "";
	struct iovec iov[2] = {{head, 0}, {(void *)text.p, text.n}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
	time_t now = time(NULL);
	struct tm tm;

	localtime_r(&now, &tm);
	strftime(when, sizeof when, "%b %e %H:%M:%S", &tm);
	if (!s->no_hostname && gethostname(host, sizeof host - 1) == 0)
		host[strlen(host)] = ' ';
	iov[0].iov_len =
		(size_t)snprintf(head, sizeof head, "<%d>%s %.65s%s: ", s->facility | (int)severity,
				 when, host, s->tag);
	if (s->fd < 0 && now_ms >= s->syslog_retry_ms) {
		s->syslog_retry_ms = now_ms + SYSLOG_RETRY_MS;
		log_sink_open(s);
	}
	if (s->fd >= 0 && sendmsg(s->fd, &msg, MSG_NOSIGNAL) < 0 && errno != EAGAIN &&
	    errno != EMSGSIZE)
		log_sink_close(s);
}

/* What a peer sent must not forge a line: control bytes come out escaped. Returns the new length. */
static size_t escape(char *line, size_t start, size_t n, size_t room)
{
	char tmp[LINE_MAX_BYTES];
	size_t o = 0;

	for (size_t i = start; i < n && o + 5 < room - start && o + 5 < sizeof tmp; i++) {
		unsigned char c = (unsigned char)line[i];

		if (c >= 0x20 && c != 0x7f) {
			tmp[o++] = (char)c;
			continue;
		}
		o += (size_t)snprintf(tmp + o, sizeof tmp - o, "\\x%02X", c);
	}
	if (o)
		memcpy(line + start, tmp, o);
	return start + o;
}

static bool has_control(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)p[i] < 0x20 || p[i] == 0x7f)
			return true;
	return false;
}

void log_vwrite(const struct log *l, enum log_level level, uint64_t connection, const char *fmt,
		va_list ap)
{
	char line[LINE_MAX_BYTES];
	struct clock now = {0};
	size_t n, text;
	int r;

	clock_update(&now);
	n = (size_t)snprintf(line, sizeof line, "%s [%s] %d#0: ", now.log_time, names[level],
			     (int)getpid());
	text = n;
	if (connection)
		n += (size_t)snprintf(line + n, sizeof line - n, "*%llu ",
				      (unsigned long long)connection);
	r = vsnprintf(line + n, sizeof line - n - 1, fmt, ap);
	if (r > 0)
		n += (size_t)r < sizeof line - n - 1 ? (size_t)r : sizeof line - n - 2;
	if (has_control(line + text, n - text))
		n = escape(line, text, n, sizeof line - 1);
	line[n] = '\n';
	for (int i = 0; i < l->n_to; i++) {
		struct log_sink *s = l->to[i].sink;

		if (level > l->to[i].level)
			continue;
		if (s->is_syslog)
			log_syslog(s, level, slice_make(line, n), now.mono_ms);
		else if (s->fd >= 0 && write(s->fd, line, n + 1) < 0)
			continue; /* a full disk loses the line; nothing else may fail for it */
	}
}

void log_write(const struct log *l, enum log_level level, uint64_t connection, const char *fmt, ...)
{
	va_list ap;

	if (!log_wants(l, level))
		return;
	va_start(ap, fmt);
	log_vwrite(l, level, connection, fmt, ap);
	va_end(ap);
}

void log_stderr(enum log_level level, const char *fmt, ...)
{
	char line[LINE_MAX_BYTES];
	va_list ap;
	int n, r;

	n = snprintf(line, sizeof line, "sluice: [%s] ", names[level]);
	va_start(ap, fmt);
	r = vsnprintf(line + n, sizeof line - (size_t)n - 1, fmt, ap);
	va_end(ap);
	n += r < (int)sizeof line - n - 1 ? r : (int)sizeof line - n - 2;
	line[n] = '\n';
	if (write(STDERR_FILENO, line, (size_t)n + 1) < 0)
		return;
}
