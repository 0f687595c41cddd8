/* SPDX-License-Identifier: BSD-2-Clause */
/* The error log, in nginx's line format and levels: "TIME [level] PID#0: *CONNECTION text". One
 * write(2) a line. The text is made by who decides; secrets never go in. */
#ifndef SL_CORE_LOG_H
#define SL_CORE_LOG_H

#include <stdarg.h>
#include <stdint.h>

#include "core/clock.h"
#include "core/slice.h"

enum log_level {
	LOG_LVL_EMERG,
	LOG_LVL_ALERT,
	LOG_LVL_CRIT,
	LOG_LVL_ERROR,
	LOG_LVL_WARN,
	LOG_LVL_NOTICE,
	LOG_LVL_INFO,
	LOG_LVL_DEBUG,
};

/* A destination; several struct log may share one. */
struct log_sink {
	struct log_sink *next;
	char *path; /* NULL for stderr and syslog */
	int fd;	    /* -1 when it is not open */
	bool is_syslog;
	int facility; /* syslog(3) LOG_ facility, shifted as there */
	char tag[33];
	bool no_hostname;
	enum log_level severity;  /* of access log lines */
	uint64_t syslog_retry_ms; /* not before this */
	char syslog_addr[108];	  /* "unix:/path" or "host:port"; empty for /dev/log */
};

/* What a scope logs to: up to four (sink, level) pairs, as several error_log lines make. */
struct log {
	struct {
		struct log_sink *sink;
		enum log_level level;
	} to[4];
	int n_to;
};

/* -1 for an unknown name. */
int log_level_from_name(struct slice name);
const char *log_level_name(enum log_level level);

/* Opens, or opens again (USR1); -SL_ESYS with errno. */
int log_sink_open(struct log_sink *s);
void log_sink_close(struct log_sink *s);

static inline bool log_wants(const struct log *l, enum log_level level)
{
	for (int i = 0; i < l->n_to; i++)
		if (level <= l->to[i].level)
			return true;
	return false;
}

/* One message to a sink that is_syslog. Never blocks; what cannot be sent is lost. */
void log_syslog(struct log_sink *s, enum log_level severity, struct slice text, uint64_t now_ms);
/* CONNECTION 0 leaves "*N" out. Control bytes in the text are written as \xNN. */
void log_write(const struct log *l, enum log_level level, uint64_t connection, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void log_vwrite(const struct log *l, enum log_level level, uint64_t connection, const char *fmt,
		va_list ap) __attribute__((format(printf, 4, 0)));
/* "sluice: [emerg] text" to stderr, for what happens before a log is open. */
void log_stderr(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
