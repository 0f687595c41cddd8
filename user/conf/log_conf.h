/* SPDX-License-Identifier: BSD-2-Clause */
/* error_log (module MOD_LOG), and the files that logs share. */
#ifndef SL_CONF_LOG_CONF_H
#define SL_CONF_LOG_CONF_H

#include "conf/conf.h"

extern const struct conf_module log_module;

struct log_scope {	 /* MOD_LOG's struct in main, http, server, location */
	struct log *log; /* inherited when none is set here */
};

/* The sink for a file (made absolute by the prefix), "stderr", or "syslog:..."; opened unless it already
 * is. NULL after conf_error. */
struct log_sink *log_conf_sink(struct conf *c, const struct conf_node *n, struct slice where);
/* Opens all files again; how many failed (each is told to LOG). */
int log_conf_reopen(struct conf *c, const struct log *log);
void log_conf_close(struct conf *c);

#endif
