/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the text of configuration messages: place, hint, where they go. Decides nothing. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>

#include "conf/load.h"
#include "core/err.h"

enum { TEXT_MAX = 1600, PLACE_MAX = 1400, NAME_MAX_BYTES = 63 };

/* What stands in a file must not forge a line or move the cursor. */
static void escape_controls(const char *in, char *out, size_t room)
{
	size_t o = 0;

	for (; *in && o + 5 < room; in++) {
		unsigned char ch = (unsigned char)*in;

		if (ch >= 0x20 && ch != 0x7f)
			out[o++] = (char)ch;
		else
			o += (size_t)snprintf(out + o, room - o, "\\x%02X", ch);
	}
	out[o] = 0;
}

/* The boot log may lead to stderr as well: the line is written there once. */
static void emit(struct conf *c, enum log_level level, const char *text)
{
	struct log rest = {0};

	log_stderr(level, "%s", text);
	if (!c->boot_log)
		return;
	for (int i = 0; i < c->boot_log->n_to; i++) {
		const struct log_sink *s = c->boot_log->to[i].sink;

		if (s->path || s->is_syslog)
			rest.to[rest.n_to++] = c->boot_log->to[i];
	}
	log_write(&rest, level, 0, "%s", text);
}

static void report(struct conf *c, enum log_level level, const char *file, unsigned line,
		   const char *hint, const char *fmt, va_list ap)
{
	char text[TEXT_MAX], place[PLACE_MAX] = "", all[TEXT_MAX + PLACE_MAX], out[4000];
	int n;

	n = vsnprintf(text, sizeof text, fmt, ap);
	if (n >= (int)sizeof text)
		memcpy(text + sizeof text - 4, "...", 4);
	if (file && line)
		snprintf(place, sizeof place, " in %.1200s:%u", file, line);
	else if (file)
		snprintf(place, sizeof place, " in %.1200s", file);
	snprintf(all, sizeof all, "%s%s", text, place);
	n = (int)strlen(all);
	if (hint && hint[0])
		snprintf(all + n, sizeof all - (size_t)n, " (%s)", hint);
	escape_controls(all, out, sizeof out);
	if (level == LOG_LVL_EMERG && c->first_error && !c->first_error[0])
		snprintf(c->first_error, c->first_error_room, "%s", out);
	emit(c, level, out);
}

int conf_error(struct conf *c, const struct conf_node *n, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	report(c, LOG_LVL_EMERG, n ? n->file : NULL, n ? n->line : 0, NULL, fmt, ap);
	va_end(ap);
	c->n_errors++;
	return -SL_EINVAL;
}

int conf_error_hint(struct conf *c, const struct conf_node *n, const char *hint, const char *fmt,
		    ...)
{
	va_list ap;

	va_start(ap, fmt);
	report(c, LOG_LVL_EMERG, n ? n->file : NULL, n ? n->line : 0, hint, fmt, ap);
	va_end(ap);
	c->n_errors++;
	return -SL_EINVAL;
}

int conf_error_at(struct conf *c, const char *file, unsigned line, const char *hint,
		  const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	report(c, LOG_LVL_EMERG, file, line, hint, fmt, ap);
	va_end(ap);
	c->n_errors++;
	return -SL_EINVAL;
}

int conf_warn(struct conf *c, const struct conf_node *n, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	report(c, LOG_LVL_WARN, n ? n->file : NULL, n ? n->line : 0, NULL, fmt, ap);
	va_end(ap);
	return 0;
}

struct slice conf_clip(struct slice s)
{
	return slice_make(s.p, s.n < 200 ? s.n : 200);
}

void conf_ctx_names(unsigned contexts, char *out, size_t room)
{
	static const char *const names[] = {
		"main", "events", "http",	  "server",	    "location", "upstream",
		"xdp",	"admin",  "limit_except", "if in location", "map",	"if in server"};
	size_t n = 0;

	out[0] = 0;
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (contexts & 1U << i && n < room)
			n += (size_t)snprintf(out + n, room - n, "%s%s", n ? ", " : "", names[i]);
}

/* Levenshtein's distance of two names of at most NAME_MAX_BYTES. */
static size_t distance(struct slice a, struct slice b)
{
	size_t row[NAME_MAX_BYTES + 1];

	for (size_t j = 0; j <= b.n; j++)
		row[j] = j;
	for (size_t i = 1; i <= a.n; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= b.n; j++) {
			size_t change = diagonal + (a.p[i - 1] != b.p[j - 1]);
			size_t shift = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;

			diagonal = row[j];
			row[j] = change < shift ? change : shift;
		}
	}
	return row[b.n];
}

/* The name most like NAME; one that may stand in CTX goes before one as near that may not. */
static const char *nearest(const struct conf *c, struct slice name, enum conf_ctx ctx)
{
	size_t limit = name.n < 5 ? 1 : name.n / 4 + 1, best = 2 * limit + 2;
	const char *found = NULL;

	if (name.n < 3 || name.n > NAME_MAX_BYTES)
		return NULL;
	for (int id = 0; id < CONF_N_MODULES; id++) {
		const struct conf_module *m = c->modules[id];

		for (size_t i = 0; m && i < m->n_rows; i++) {
			struct slice other = slice_cstr(m->rows[i].name);
			size_t d;

			if (other.n > NAME_MAX_BYTES)
				continue;
			d = distance(name, other);
			if (d > limit)
				continue;
			d = 2 * d + !(m->rows[i].contexts & ctx);
			if (d < best) {
				best = d;
				found = m->rows[i].name;
			}
		}
	}
	return found;
}

/* "word", "word*", "*word*". */
static bool fits(const char *pattern, struct slice name)
{
	struct slice word = slice_cstr(pattern);
	bool anywhere = word.p[0] == '*', open = word.p[word.n - 1] == '*';

	word = slice_make(word.p + anywhere, word.n - anywhere - open);
	if (anywhere)
		return memmem(name.p, name.n, word.p, word.n) != NULL;
	return open ? slice_starts(name, word) : slice_eq(name, word);
}

const char *conf_hint_of(const struct conf *c, struct slice name)
{
	for (int id = 0; id < CONF_N_MODULES; id++) {
		const struct conf_hint *h = c->modules[id] ? c->modules[id]->hints : NULL;

		for (; h && h->name; h++)
			if (fits(h->name, name))
				return h->text;
	}
	return "";
}

int conf_error_unknown(struct conf *c, const struct conf_node *n, enum conf_ctx ctx)
{
	struct slice name = conf_clip(n->name);
	char hint[300] = "", names[200];
	unsigned contexts = 0;
	const char *like;

	for (int id = 0; id < CONF_N_MODULES; id++) {
		const struct conf_module *m = c->modules[id];

		for (size_t i = 0; m && i < m->n_rows; i++)
			if (slice_eq(n->name, slice_cstr(m->rows[i].name)))
				contexts |= m->rows[i].contexts;
	}
	if (contexts) {
		conf_ctx_names(contexts, names, sizeof names);
		snprintf(hint, sizeof hint, "allowed in: %s", names);
		return conf_error_hint(c, n, hint, "\"%.*s\" directive is not allowed here",
				       SLICE_FMT(name));
	}
	snprintf(hint, sizeof hint, "%s", conf_hint_of(c, n->name));
	like = hint[0] ? NULL : nearest(c, n->name, ctx);
	if (like)
		snprintf(hint, sizeof hint, "did you mean \"%s\"?", like);
	return conf_error_hint(c, n, hint, "unknown directive \"%.*s\"", SLICE_FMT(name));
}
