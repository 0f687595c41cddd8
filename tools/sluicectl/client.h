/* SPDX-License-Identifier: BSD-2-Clause */
/* One request to the admin API over its unix socket, with an answer that ends, or lines that do not. */
#ifndef SL_SLUICECTL_CLIENT_H
#define SL_SLUICECTL_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

enum { EXIT_REFUSED = 1, EXIT_USAGE = 2, EXIT_CONNECT = 3 };

struct answer {
	int status;
	char *raw;	  /* the whole of it; heap, the caller frees it also after a failure */
	const char *body; /* within raw, NUL-terminated */
	size_t body_len;
};

/* "sluicectl: TEXT" to stderr; returns EXIT_REFUSED. */
int client_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* BODY may be NULL. 0, or the exit code after a message. */
int client_request(const char *socket_path, const char *method, const char *path, const char *body,
		   struct answer *out);

/* GET PATH, whose answer is lines that go on. EXTRA: further fields, each with CRLF; may be empty. LINE
 * gets each without its end, until it returns other than 0, which is returned, or the stream ends or
 * says nothing for half a minute, which is 0. IS_QUIET: that nobody is there is not said, and returned as
 * EXIT_CONNECT. Another status than 200 fills OUT, as client_request() does; else it is empty. */
int client_stream(const char *socket_path, const char *path, const char *extra, bool is_quiet,
		  int (*line)(void *arg, char *text), void *arg, struct answer *out);

#endif
