/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the making of access log lines and their way to files and syslog. A line that cannot be written
 * is lost and told of, at most once a minute; no request ever fails or waits for it. */
#include "proxy/access_log.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/uio.h>

#include "proxy/access_log_impl.h"
#include "proxy/deflate.h"
#include "proxy/request.h"

enum { COMPLAIN_EVERY_MS = 60 * 1000 };

/* A line in the making. Literals always fit: ROOM is what is left for values. */
struct line {
	char *at;
	size_t room;
};

static void put_literal(struct line *l, struct slice s)
{
	if (s.n)
		memcpy(l->at, s.p, s.n);
	l->at += s.n;
}

/* False: it did not fit whole. A cut never splits a character of UTF-8. */
static bool put_plain(struct line *l, const char *p, size_t n)
{
	size_t k = n < l->room ? n : l->room;

	while (k && k < n && ((unsigned char)p[k] & 0xc0) == 0x80)
		k--;
	memcpy(l->at, p, k);
	l->at += k;
	l->room -= k;
	return k == n;
}

static bool needs_escape(unsigned char c, enum access_escape how)
{
	return c < 0x20 || c == '"' || c == '\\' || (how == ACCESS_ESCAPE_DEFAULT && c > 0x7e);
}

/* At most 6 bytes; the length. */
static size_t escape_byte(char *to, unsigned char c, enum access_escape how)
{
	static const char hex[] = "0123456789ABCDEF", shorts[] = "\bb\tt\nn\ff\rr\"\"\\\\";

	if (how == ACCESS_ESCAPE_DEFAULT) {
		memcpy(to, "\\x", 2);
		to[2] = hex[c >> 4];
		to[3] = hex[c & 15];
		return 4;
	}
	for (const char *s = shorts; *s; s += 2) {
		if ((unsigned char)*s != c)
			continue;
		to[0] = '\\';
		to[1] = s[1];
		return 2;
	}
	memcpy(to, "\\u00", 4);
	to[4] = hex[c >> 4];
	to[5] = hex[c & 15];
	return 6;
}

static void put_value(struct line *l, struct slice v, enum access_escape how)
{
	char escaped[6];
	size_t n;

	while (v.n) {
		for (n = 0; n < v.n; n++)
			if (how != ACCESS_ESCAPE_NONE && needs_escape((unsigned char)v.p[n], how))
				break;
		if (n && !put_plain(l, v.p, n)) {
			l->room = 0;
			return;
		}
		if (n == v.n)
			return;
		v = slice_skip(v, n);
		n = escape_byte(escaped, (unsigned char)*v.p, how);
		if (n > l->room) {
			l->room = 0;
			return;
		}
		put_plain(l, escaped, n);
		v = slice_skip(v, 1);
	}
}

static void put_part(struct line *l, const struct tmpl_part *part, enum access_escape how,
		     struct request *r, struct arena *a)
{
	struct slice v = {"", 0};

	if (!part->var) {
		put_literal(l, part->text);
		return;
	}
	if (!part->var->get(r, part->arg, part->var->data, a, &v))
		v = how == ACCESS_ESCAPE_DEFAULT ? SLICE("-") : SLICE("");
	put_value(l, v, how);
}

/* Without a line feed, for which there is room; the length. */
static size_t make_line(char *to, const struct access_format *f, struct request *r, struct arena *a)
{
	struct line l = {to, ACCESS_LINE_MAX - 1 - f->literal_bytes};

	for (int i = 0; i < f->n_texts; i++)
		for (int k = 0; k < f->texts[i]->n_parts; k++)
			put_part(&l, &f->texts[i]->parts[k], f->escape, r, a);
	return (size_t)(l.at - to);
}

static void complain(struct env *env, struct access_state *st, const struct log_sink *sink,
		     ssize_t put, size_t n)
{
	uint64_t now = env->loop.clock.mono_ms;
	const char *path = sink->path ? sink->path : "stderr";
	int err = errno;

	if (!env->log || (st->complained_ms && now - st->complained_ms < COMPLAIN_EVERY_MS))
		return;
	st->complained_ms = now;
	if (put < 0)
		log_write(env->log, LOG_LVL_ALERT, 0, "write() to \"%s\" failed (%d: %s)", path,
			  err, strerror(err));
	else
		log_write(env->log, LOG_LVL_ALERT, 0,
			  "write() to \"%s\" was incomplete: %zd of %zu", path, put, n);
}

/* Whole lines, in one call. What follows a line that was cut begins on a line of its own. */
static void write_out(struct env *env, struct access_state *st, struct access_file *f, char *p,
		      size_t n)
{
	char lf[] = "\n";
	struct iovec iov[2] = {{lf, 1}, {p, n}};
	size_t before = f->cut ? 1 : 0;
	ssize_t put;

	if (f->sink->fd < 0 || n == 0)
		return;
	do
		put = writev(f->sink->fd, iov + 1 - before, (int)(1 + before));
	while (put < 0 && errno == EINTR);
	if (put == (ssize_t)(n + before)) {
		f->cut = false;
		return;
	}
	complain(env, st, f->sink, put, n + before);
	if (put > 0)
		f->cut = (size_t)put > before && p[(size_t)put - before - 1] != '\n';
}

/* Grows little where the text does not compress. In one piece, so that workers' members do not mix. */
static void write_gzip(struct env *env, struct access_state *st, struct access_file *f,
		       const char *p, size_t n)
{
	struct deflate_state *s = deflate_get(f->gzip_level, (int64_t)n, false);
	size_t room = n + n / 512 + BUF_PAYLOAD, len = 0;
	char *out = malloc(room);
	struct buf *b = buf_new();
	bool more = out != NULL;

	while (more) {
		more = deflate_run(s, &p, &n, b, DEFLATE_END);
		if (len + buf_len(b) > room)
			break;
		memcpy(out + len, buf_head(b), buf_len(b));
		len += buf_len(b);
		buf_free(b);
		b = buf_new();
	}
	buf_free(b);
	deflate_put(s);
	write_out(env, st, f, out, len);
	f->cut = false;
	free(out);
}

static void write_lines(struct env *env, struct access_state *st, struct access_file *f, char *p,
			size_t n)
{
	if (f->gzip_level && n)
		write_gzip(env, st, f, p, n);
	else
		write_out(env, st, f, p, n);
}

static void flush_file(struct env *env, struct access_state *st, struct access_file *f)
{
	write_lines(env, st, f, f->mem, f->n);
	f->n = 0;
	timer_cancel(&env->loop, &f->timer);
}

static void put_file(struct env *env, struct access_state *st, struct access_file *f, char *p,
		     size_t n)
{
	if (n > f->room - f->n)
		flush_file(env, st, f);
	if (n > f->room) {
		write_lines(env, st, f, p, n);
		return;
	}
	memcpy(f->mem + f->n, p, n);
	f->n += n;
	if (f->flush_ms && f->env && !timer_is_set(&f->timer))
		timer_set(&env->loop, &f->timer, (uint64_t)f->flush_ms);
}

static bool is_wanted(const struct access_target *t, struct request *r, struct arena *a)
{
	struct slice v;

	if (!t->condition)
		return true;
	v = tmpl_eval(t->condition, r, a);
	return v.n > 0 && !slice_eq(v, SLICE("0"));
}

static void write_target(struct request *r, struct access_state *st, const struct access_target *t)
{
	/* Values go into memory that is there already; the heap is asked only beyond that. */
	struct arena a = {
		.at = st->scratch, .end = st->scratch + sizeof st->scratch, .block_bytes = 4096};
	size_t n;

	if (!is_wanted(t, r, &a))
		goto out;
	n = make_line(st->line, t->format, r, &a);
	if (t->file->sink->is_syslog) {
		log_syslog(t->file->sink, t->file->sink->severity, slice_make(st->line, n),
			   r->env->loop.clock.mono_ms);
		goto out;
	}
	st->line[n++] = '\n';
	put_file(r->env, st, t->file, st->line, n);
out:
	arena_fini(&a);
}

void access_log_write(struct request *r)
{
	const struct access_scope *s = r->block->mod[MOD_ACCESS_LOG];

	if (!s || !s->logs || s->logs->off)
		return;
	/* A connection that ended before anything was asked or answered. */
	if (!r->head.method_text.n && !r->resp.status)
		return;
	for (const struct access_target *t = s->logs->first; t; t = t->next)
		write_target(r, s->logs->state, t);
}

void access_log_flush(struct env *env)
{
	struct access_state *st = access_log_conf_state(env->conf);

	for (struct access_file *f = st ? st->files : NULL; f; f = f->next)
		flush_file(env, st, f);
}

static void on_timer(struct timer *t)
{
	struct access_file *f =
		(struct access_file *)((char *)t - offsetof(struct access_file, timer));

	flush_file(f->env, access_log_conf_state(f->env->conf), f);
}

void access_log_setup(struct env *env)
{
	struct access_state *st = access_log_conf_state(env->conf);

	for (struct access_file *f = st ? st->files : NULL; f; f = f->next) {
		f->env = env;
		timer_init(&f->timer, on_timer);
	}
}
