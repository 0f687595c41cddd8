/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the reading of log_format and access_log. Writes no line. */
#include "core/err.h"
#include "conf/log_conf.h"
#include "core/num.h"
#include "proxy/access_log_impl.h"

enum {
	BUFFER_BYTES_MAX = 64 * 1024 * 1024,
	GZIP_BUFFER_BYTES = 64 * 1024,
};

static const struct slice combined = SLICE_INIT(
	"$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent "
	"\"$http_referer\" \"$http_user_agent\"");

static struct access_state *state_of(struct conf *c, struct conf_block *b)
{
	struct access_scope *http;

	while (b->ctx != CTX_HTTP)
		b = b->parent;
	http = b->mod[MOD_ACCESS_LOG];
	if (!http->state)
		http->state = arena_zalloc(&c->arena, sizeof *http->state);
	return http->state;
}

struct access_state *access_log_conf_state(const struct conf *c)
{
	const struct access_scope *http = c ? conf_top_get(c, CTX_HTTP, MOD_ACCESS_LOG) : NULL;

	return http ? http->state : NULL;
}

static struct access_format *find_format(const struct access_state *st, struct slice name)
{
	struct access_format *f = st->formats;

	while (f && !slice_eq(f->name, name))
		f = f->next;
	return f;
}

static int add_format(struct conf *c, struct access_state *st, const struct conf_node *n,
		      struct slice name, enum access_escape escape, const struct slice *texts,
		      int n_texts)
{
	struct access_format *f = arena_zalloc(&c->arena, sizeof *f);

	f->name = name;
	f->escape = escape;
	f->node = n;
	f->n_texts = n_texts;
	f->texts = arena_zalloc(&c->arena, (size_t)(n_texts + 1) * sizeof *f->texts);
	for (int i = 0; i < n_texts; i++) {
		int r = conf_tmpl(c, n, texts[i], &f->texts[i]);

		if (r < 0)
			return r;
	}
	f->next = st->formats;
	st->formats = f;
	return 0;
}

static int parse_escape(struct conf *c, const struct conf_node *n, struct slice v,
			enum access_escape *escape)
{
	if (slice_eq(v, SLICE("default")))
		*escape = ACCESS_ESCAPE_DEFAULT;
	else if (slice_eq(v, SLICE("json")))
		*escape = ACCESS_ESCAPE_JSON;
	else if (slice_eq(v, SLICE("none")))
		*escape = ACCESS_ESCAPE_NONE;
	else
		return conf_error_hint(c, n, "default, json or none",
				       "unknown log format escaping \"%.*s\"", SLICE_FMT(v));
	return 0;
}

static int set_format(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		      const struct conf_row *row)
{
	struct access_state *st = state_of(c, b);
	enum access_escape escape = ACCESS_ESCAPE_DEFAULT;
	struct slice v;
	int first = 1;

	if (find_format(st, n->args[0]) || slice_eq(n->args[0], SLICE("combined")))
		return conf_error(c, n, "duplicate \"log_format\" name \"%.*s\"",
				  SLICE_FMT(n->args[0]));
	if (conf_param(n->args[1], "escape", &v)) {
		if (parse_escape(c, n, v, &escape) < 0)
			return -SL_EINVAL;
		first = 2;
	}
	return add_format(c, st, n, n->args[0], escape, n->args + first, n->n_args - first);
}

/* "combined" is made when it is first asked for, so that it costs nothing where nobody uses it. */
static struct access_format *format_named(struct conf *c, struct access_state *st,
					  const struct conf_node *n, struct slice name)
{
	struct access_format *f = find_format(st, name);

	if (f)
		return f;
	if (!slice_eq(name, SLICE("combined"))) {
		conf_error(c, n, "unknown log format \"%.*s\"", SLICE_FMT(name));
		return NULL;
	}
	return add_format(c, st, n, name, ACCESS_ESCAPE_DEFAULT, &combined, 1) ? NULL : st->formats;
}

struct params {
	int64_t buffer_bytes, flush_ms; /* 0: not given */
	int gzip_level;
	struct tmpl *condition;
};

static int parse_param(struct conf *c, const struct conf_node *n, struct slice arg,
		       struct params *p)
{
	struct slice v;
	uint64_t level;

	if (conf_param(arg, "buffer", &v)) {
		if (conf_parse_size(v, &p->buffer_bytes) < 0 || p->buffer_bytes <= 0 ||
		    p->buffer_bytes > BUFFER_BYTES_MAX)
			return conf_error(c, n, "invalid buffer size \"%.*s\"", SLICE_FMT(v));
		return 0;
	}
	if (conf_param(arg, "flush", &v)) {
		if (conf_parse_msec(v, &p->flush_ms) < 0 || p->flush_ms <= 0)
			return conf_error(c, n, "invalid flush time \"%.*s\"", SLICE_FMT(v));
		return 0;
	}
	if (conf_param(arg, "if", &v))
		return conf_tmpl(c, n, v, &p->condition);
	if (slice_eq(arg, SLICE("gzip"))) {
		p->gzip_level = 1;
		return 0;
	}
	if (conf_param(arg, "gzip", &v)) {
		if (num_u63(v, &level) || level < 1 || level > 9)
			return conf_error(c, n, "invalid compression level \"%.*s\"", SLICE_FMT(v));
		p->gzip_level = (int)level;
		return 0;
	}
	return conf_error(c, n, "invalid parameter \"%.*s\"", SLICE_FMT(arg));
}

/* The file behind a sink; a syslog sink is new each time. */
static struct access_file *file_of(struct conf *c, struct access_state *st, struct log_sink *sink)
{
	struct access_file *f = st->files;

	while (f && f->sink != sink)
		f = f->next;
	if (f)
		return f;
	f = arena_zalloc(&c->arena, sizeof *f);
	f->sink = sink;
	f->next = st->files;
	st->files = f;
	return f;
}

/* A file has one buffer, whoever writes to it: lines of it that say nothing use it too. */
static int set_buffer(struct conf *c, const struct conf_node *n, struct access_file *f,
		      const struct params *p)
{
	if (p->flush_ms && !p->buffer_bytes)
		return conf_error(c, n, "no buffer is defined for access_log \"%.*s\"",
				  SLICE_FMT(n->args[0]));
	if (!p->buffer_bytes)
		return 0;
	if (f->sink->is_syslog)
		return conf_error(c, n, "logs to syslog cannot be buffered");
	if (f->room && (f->room != (size_t)p->buffer_bytes || f->flush_ms != p->flush_ms ||
			f->gzip_level != p->gzip_level))
		return conf_error(c, n,
				  "access_log \"%.*s\" already defined with conflicting parameters",
				  SLICE_FMT(n->args[0]));
	if (!f->room)
		f->mem = arena_bytes(&c->arena, (size_t)p->buffer_bytes);
	f->room = (size_t)p->buffer_bytes;
	f->flush_ms = p->flush_ms;
	f->gzip_level = p->gzip_level;
	return 0;
}

static int add_target(struct conf *c, struct access_logs *logs, const struct conf_node *n)
{
	struct access_target *t = arena_zalloc(&c->arena, sizeof *t);
	struct params p = {0};
	struct log_sink *sink;
	int r = 0;

	if (!slice_starts(n->args[0], SLICE("syslog:")) && slice_find(n->args[0], '$') >= 0)
		return conf_error(c, n,
				  "variables in the path of \"access_log\" are not supported");
	t->format = format_named(c, logs->state, n, n->n_args > 1 ? n->args[1] : SLICE("combined"));
	if (!t->format)
		return -SL_EINVAL;
	for (int i = 2; r == 0 && i < n->n_args; i++)
		r = parse_param(c, n, n->args[i], &p);
	if (r < 0)
		return r;
	sink = log_conf_sink(c, n, n->args[0]);
	if (!sink)
		return -SL_EINVAL;
	t->condition = p.condition;
	t->file = file_of(c, logs->state, sink);
	*logs->tail = t;
	logs->tail = &t->next;
	if (p.gzip_level && !p.buffer_bytes)
		p.buffer_bytes = GZIP_BUFFER_BYTES;
	return set_buffer(c, n, t->file, &p);
}

static int set_access_log(struct conf *c, struct conf_block *b, void *mod,
			  const struct conf_node *n, const struct conf_row *row)
{
	struct access_scope *scope = mod;

	if (!scope->logs) {
		scope->logs = arena_zalloc(&c->arena, sizeof *scope->logs);
		scope->logs->tail = &scope->logs->first;
		scope->logs->state = state_of(c, b);
	}
	if (!slice_eq(n->args[0], SLICE("off")))
		return add_target(c, scope->logs, n);
	if (n->n_args > 1)
		return conf_error(c, n, "invalid parameter \"%.*s\"", SLICE_FMT(n->args[1]));
	scope->logs->off = true;
	return 0;
}

/* Which parts are literal is known only now that all variables are looked up. */
static int finish(struct conf *c, struct conf_block *b, void *mod)
{
	const struct access_scope *scope = mod;

	if (b->ctx != CTX_HTTP || !scope->state)
		return 0;
	for (struct access_format *f = scope->state->formats; f; f = f->next) {
		f->literal_bytes = 0;
		for (int i = 0; i < f->n_texts; i++)
			for (int k = 0; k < f->texts[i]->n_parts; k++)
				if (!f->texts[i]->parts[k].var)
					f->literal_bytes += f->texts[i]->parts[k].text.n;
		if (f->literal_bytes >= ACCESS_LINE_MAX)
			return conf_error(c, f->node, "log format \"%.*s\" is too long",
					  SLICE_FMT(f->name));
	}
	return 0;
}

static const struct conf_row rows[] = {
	{
		.name = "log_format",
		.contexts = CTX_HTTP,
		.args_min = 2,
		.args_max = -1,
		.type = CONF_CUSTOM,
		.flags = CONF_MULTI,
		.set = set_format,
		.help = "NAME [escape=default|json|none] TEXT... -- a format for access_log; \"combined\" "
			"is there already; a line has at most 64 KB, longer values are cut",
	},
	{
		.name = "access_log",
		.contexts = CTX_SCOPE | CTX_PART,
		.args_min = 1,
		.args_max = -1,
		.type = CONF_CUSTOM,
		.offset = offsetof(struct access_scope, logs),
		.flags = CONF_MULTI | CONF_INHERIT,
		.set = set_access_log,
		.help = "FILE | stderr | syslog:... [FORMAT [buffer=SIZE] [gzip[=LEVEL]] [flush=TIME] [if=CONDITION]] | off "
			"-- a line for each request (FORMAT: combined); unlike nginx, no file is written "
			"where nothing is said",
	},
};

const struct conf_module access_log_module = {
	.name = "access_log",
	.rows = rows,
	.n_rows = sizeof rows / sizeof rows[0],
	.contexts = CTX_SCOPE,
	.bytes = sizeof(struct access_scope),
	.finish = finish,
};
