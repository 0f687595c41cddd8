/* SPDX-License-Identifier: BSD-2-Clause */
/* How bodies are kept and passed on (module MOD_IO): client_body_in_*, temporary files, proxy_buffering and
 * proxy_request_buffering with what belongs to them. */
#ifndef SL_PROXY_IO_CONF_H
#define SL_PROXY_IO_CONF_H

#include "conf/conf.h"

extern const struct conf_module io_module;

enum { IO_LEVELS_MAX = 3 };

/* A folder for temporary files. */
struct io_temp {
	const char *dir;
	uint8_t level[IO_LEVELS_MAX]; /* digits in the names of subfolders, for files with a name */
	int n_levels;
};

enum { IN_FILE_OFF, IN_FILE_ON, IN_FILE_CLEAN };

struct io_hints { /* early_hints */
	struct tmpl **v;
	int n;
};

struct io_buffers {
	int64_t n, bytes;
};

struct io_scope { /* MOD_IO's struct in http, server, location */
	/* bodies of requests */
	int64_t in_file_only;	  /* IN_FILE_… */
	int64_t in_single_buffer; /* a body in memory always is in one piece */
	struct io_temp *client_temp;
	int64_t request_buffering;
	/* answers of upstreams */
	int64_t buffering;
	int64_t buffer_bytes; /* proxy_buffer_size: the answer's head must fit */
	struct io_buffers *buffers;
	int64_t buffers_bytes;		    /* all of proxy_buffers together */
	int64_t busy_conf, temp_write_conf; /* as written, or not set */
	int64_t busy_bytes, temp_write_bytes;
	int64_t temp_max_bytes; /* proxy_max_temp_file_size; 0: nothing goes to disk */
	struct io_temp *proxy_temp;
	int64_t pass_trailers;
	int64_t ignore_client_abort;
	struct io_hints *early_hints;
	int64_t limit_rate; /* bytes a second; 0: no limit */
};

#endif
