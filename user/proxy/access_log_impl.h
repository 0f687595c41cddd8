/* SPDX-License-Identifier: BSD-2-Clause */
/* What access_log_conf.c (reading the directives) and access_log.c (writing lines) share. */
#ifndef SL_PROXY_ACCESS_LOG_IMPL_H
#define SL_PROXY_ACCESS_LOG_IMPL_H

#include "net/loop.h"
#include "proxy/access_log.h"
#include "proxy/env.h"

enum {
	ACCESS_LINE_MAX = 64 * 1024, /* with its line feed; longer values are cut */
	ACCESS_SCRATCH_BYTES = 8 * 1024,
};

enum access_escape {
	ACCESS_ESCAPE_DEFAULT, /* \xXX */
	ACCESS_ESCAPE_JSON,
	ACCESS_ESCAPE_NONE,
};

struct access_format {
	struct access_format *next;
	struct slice name;
	enum access_escape escape;
	struct tmpl **texts;
	int n_texts;
	size_t literal_bytes; /* of all texts; set by finish() */
	const struct conf_node *node;
};

/* One destination, however many access_log lines name it. The part below `room` changes while a worker
 * runs; each process has its own. */
struct access_file {
	struct access_file *next;
	struct log_sink *sink;
	int64_t flush_ms; /* 0: no timer */
	int gzip_level;	  /* 0: as text; else each write is a gzip member of its own */
	size_t room;	  /* of the buffer; 0: lines are written at once */
	char *mem;
	size_t n;
	struct timer timer;
	struct env *env; /* NULL before access_log_setup() */
	bool cut;	 /* the last write ended within a line */
};

/* One access_log line. */
struct access_target {
	struct access_target *next;
	struct access_format *format;
	struct access_file *file;
	struct tmpl *condition; /* NULL: always */
};

/* The http block's: what all scopes share. */
struct access_state {
	struct access_format *formats;
	struct access_file *files;
	uint64_t complained_ms; /* monotonic; 0: never */
	char line[ACCESS_LINE_MAX];
	char scratch[ACCESS_SCRATCH_BYTES];
};

struct access_logs {
	bool off;
	struct access_target *first, **tail;
	struct access_state *state;
};

struct access_scope {		    /* MOD_ACCESS_LOG's struct in http, server, location */
	struct access_logs *logs;   /* inherited when nothing is said here; NULL: nowhere said */
	struct access_state *state; /* in http only; NULL when nothing was said at all */
};

/* NULL when there is no http block, or nothing about access logs in it. */
struct access_state *access_log_conf_state(const struct conf *c);

#endif
