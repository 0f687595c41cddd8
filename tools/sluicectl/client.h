/* SPDX-License-Identifier: BSD-2-Clause */
/* One request to the admin API over its unix socket. */
#ifndef SL_SLUICECTL_CLIENT_H
#define SL_SLUICECTL_CLIENT_H

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

#endif
