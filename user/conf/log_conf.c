/* SPDX-License-Identifier: BSD-2-Clause */
/* error_log, and one open file for all logs of the same path. */
#include "conf/log_conf.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <syslog.h>

#include "core/err.h"

static const struct conf_value facilities[] = {
	{"kern", LOG_KERN},	{"user", LOG_USER},
	{"mail", LOG_MAIL},	{"daemon", LOG_DAEMON},
	{"auth", LOG_AUTH},	{"intern", LOG_SYSLOG},
	{"lpr", LOG_LPR},	{"news", LOG_NEWS},
	{"uucp", LOG_UUCP},	{"clock", LOG_CRON},
	{"cron", LOG_CRON},	{"authpriv", LOG_AUTHPRIV},
	{"ftp", LOG_FTP},	{"local0", LOG_LOCAL0},
	{"local1", LOG_LOCAL1}, {"local2", LOG_LOCAL2},
	{"local3", LOG_LOCAL3}, {"local4", LOG_LOCAL4},
	{"local5", LOG_LOCAL5}, {"local6", LOG_LOCAL6},
	{"local7", LOG_LOCAL7}, {NULL, 0},
};

static bool is_tag(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!isalnum((unsigned char)s.p[i]) && s.p[i] != '_')
			return false;
	return true;
}

static int syslog_param(struct conf *c, const struct conf_node *n, struct slice p,
			struct log_sink *s)
{
	struct slice v;

	if (conf_param(p, "server", &v) && v.n && v.n < sizeof s->syslog_addr) {
		snprintf(s->syslog_addr, sizeof s->syslog_addr, "%.*s", SLICE_FMT(v));
		return 0;
	}
	if (slice_eq(p, SLICE("nohostname"))) {
		s->no_hostname = true;
		return 0;
	}
	if (conf_param(p, "severity", &v) && log_level_from_name(v) >= 0) {
		s->severity = (enum log_level)log_level_from_name(v);
		return 0;
	}
	if (conf_param(p, "tag", &v) && v.n && v.n < sizeof s->tag && is_tag(v)) {
		snprintf(s->tag, sizeof s->tag, "%.*s", SLICE_FMT(v));
		return 0;
	}
	if (conf_param(p, "facility", &v))
		for (const struct conf_value *f = facilities; f->name; f++)
			if (slice_eq(v, slice_cstr(f->name))) {
				s->facility = (int)f->value;
				return 0;
			}
	return conf_error_hint(c, n,
			       "server=ADDRESS, facility=NAME, severity=LEVEL, tag=TEXT or "
			       "nohostname",
			       "invalid syslog parameter \"%.*s\"", SLICE_FMT(p));
}

static struct log_sink *new_syslog(struct conf *c, const struct conf_node *n, struct slice where)
{
	struct log_sink *s = arena_zalloc(&c->arena, sizeof *s);
	struct slice rest = slice_skip(where, 7);

	*s = (struct log_sink){.fd = -1,
			       .is_syslog = true,
			       .facility = LOG_LOCAL7,
			       .tag = "sluice",
			       .severity = LOG_LVL_INFO};
	while (rest.n) {
		ptrdiff_t comma = slice_find(rest, ',');
		struct slice p = comma < 0 ? rest : slice_make(rest.p, (size_t)comma);

		if (syslog_param(c, n, p, s))
			return NULL;
		rest = comma < 0 ? slice_skip(rest, rest.n) : slice_skip(rest, (size_t)comma + 1);
	}
	if (!s->syslog_addr[0]) {
		conf_error_hint(c, n, "syslog:server=ADDRESS[,...]", "no syslog server specified");
		return NULL;
	}
	return s;
}

struct log_sink *log_conf_sink(struct conf *c, const struct conf_node *n, struct slice where)
{
	struct log_sink *s;
	char *path = NULL;

	if (slice_starts(where, SLICE("syslog:"))) {
		s = new_syslog(c, n, where);
		if (!s)
			return NULL;
	} else {
		if (!slice_eq(where, SLICE("stderr")))
			path = conf_prefix_path(c, where);
		for (s = c->sinks; s; s = s->next)
			if (!s->is_syslog && (path ? s->path && !strcmp(path, s->path) : !s->path))
				return s;
		s = arena_zalloc(&c->arena, sizeof *s);
		s->path = path;
		s->fd = -1;
	}
	if (log_sink_open(s)) {
		conf_error(c, n, "open() \"%s\" failed (%d: %s)", path, errno, strerror(errno));
		return NULL;
	}
	s->next = c->sinks;
	c->sinks = s;
	return s;
}

int log_conf_reopen(struct conf *c, const struct log *log)
{
	int n = 0;

	for (struct log_sink *s = c->sinks; s; s = s->next) {
		if (!s->path || log_sink_open(s) == 0)
			continue;
		log_write(log, LOG_LVL_EMERG, 0,
			  "open() \"%s\" failed (%d: %s), the old file goes on", s->path, errno,
			  strerror(errno));
		n++;
	}
	return n;
}

void log_conf_close(struct conf *c)
{
	for (struct log_sink *s = c->sinks; s; s = s->next)
		log_sink_close(s);
}

static int set_error_log(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
			 const struct conf_row *row)
{
	struct log_scope *s = mod;
	int level = LOG_LVL_ERROR;
	struct log_sink *sink;

	if (n->n_args == 2)
		level = log_level_from_name(n->args[1]);
	if (level < 0)
		return conf_error_hint(c, n,
				       "debug, info, notice, warn, error, crit, alert or emerg",
				       "invalid log level \"%.*s\"", SLICE_FMT(n->args[1]));
	sink = log_conf_sink(c, n, n->args[0]);
	if (!sink)
		return -SL_EINVAL;
	if (!s->log)
		s->log = arena_zalloc(&c->arena, sizeof *s->log);
	if (s->log->n_to == 4)
		return conf_error(c, n, "more than 4 \"error_log\" in one block");
	s->log->to[s->log->n_to].sink = sink;
	s->log->to[s->log->n_to++].level = (enum log_level)level;
	return 0;
}

static const struct conf_row rows[] = {
	{.name = "error_log",
	 .contexts = CTX_MAIN | CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 2,
	 .type = CONF_CUSTOM,
	 .offset = offsetof(struct log_scope, log),
	 .flags = CONF_MULTI | CONF_INHERIT,
	 .set = set_error_log,
	 .help = "FILE | stderr | syslog:server=ADDRESS[,facility=F][,tag=T][,nohostname] [LEVEL] -- where errors go, "
		 "from LEVEL (error) up"},
};

const struct conf_module log_module = {
	.name = "log",
	.rows = rows,
	.n_rows = 1,
	.contexts = CTX_MAIN | CTX_SCOPE,
	.bytes = sizeof(struct log_scope),
};
