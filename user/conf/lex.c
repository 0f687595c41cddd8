/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the grammar of configuration text: tokens, quotes, escapes, comments, lines. Reads no files,
 * writes no messages (it leaves them in struct lex), knows no directive. */
#include "conf/lex.h"

#include <stdio.h>

#include "core/err.h"

void lex_init(struct lex *l, struct arena *a, const char *file, struct slice text)
{
	*l = (struct lex){.arena = a, .file = file, .text = text, .line = 1};
	if (slice_starts(text, SLICE("\xef\xbb\xbf")))
		l->at = 3;
}

void lex_init_param(struct lex *l, struct arena *a, const char *name, struct slice text)
{
	*l = (struct lex){.arena = a, .file = name, .text = text, .param = true};
}

static int unexpected(struct lex *l, char c)
{
	if (c >= 0x20 && c < 0x7f)
		snprintf(l->error, sizeof l->error, "unexpected \"%c\"", c);
	else
		snprintf(l->error, sizeof l->error, "unexpected \"\\x%02X\"", (unsigned char)c);
	return -SL_EINVAL;
}

static int unexpected_end(struct lex *l)
{
	snprintf(l->error, sizeof l->error, "%s",
		 l->param ? "unexpected end of parameter, expecting \";\""
			  : "unexpected end of file, expecting \";\" or \"}\"");
	return -SL_EINVAL;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void count_line(struct lex *l, char c)
{
	if (c == '\n' && !l->param)
		l->line++;
}

/* White space and comments before a token. */
static int skip_blank(struct lex *l)
{
	bool comment = false;

	for (; l->at < l->text.n; l->at++) {
		char c = l->text.p[l->at];

		if (c == 0)
			return unexpected(l, c);
		count_line(l, c);
		if (c == '\n')
			comment = false;
		else if (c == '#')
			comment = true;
		else if (!comment && !is_space(c))
			break;
	}
	return 0;
}

static void push(struct lex *l, struct slice token, bool quoted)
{
	if (l->n_tokens == l->room) {
		int room = l->room ? 2 * l->room : 16;
		struct slice *tokens = arena_alloc(l->arena, (size_t)room * sizeof *tokens);
		bool *q = arena_alloc(l->arena, (size_t)room * sizeof *q);

		if (l->n_tokens) {
			memcpy(tokens, l->tokens, (size_t)l->n_tokens * sizeof *tokens);
			memcpy(q, l->quoted, (size_t)l->n_tokens * sizeof *q);
		}
		l->tokens = tokens;
		l->quoted = q;
		l->room = room;
	}
	l->tokens[l->n_tokens] = token;
	l->quoted[l->n_tokens++] = quoted;
}

/* A backslash stays before everything that is not one of nginx's six escapes, so that regular
 * expressions need no doubling. */
static struct slice unescape(struct arena *a, struct slice raw)
{
	char *to = arena_bytes(a, raw.n + 1);
	size_t n = 0;

	for (size_t i = 0; i < raw.n; i++) {
		char next = i + 1 < raw.n ? raw.p[i + 1] : 0;

		to[n] = raw.p[i];
		if (raw.p[i] == '\\' && next) {
			static const char from[] = "\"'\\trn", into[] = "\"'\\\t\r\n";
			const char *e = strchr(from, next);

			if (e) {
				to[n] = into[e - from];
				i++;
			}
		}
		n++;
	}
	to[n] = 0;
	return slice_make(to, n);
}

static int too_long(struct lex *l, const char *start, char quote, unsigned start_line)
{
	l->line = start_line;
	if (quote)
		snprintf(l->error, sizeof l->error,
			 "too long parameter, probably missing terminating \"%c\" character",
			 quote);
	else
		snprintf(l->error, sizeof l->error, "too long parameter \"%.10s...\" started",
			 start);
	return -SL_ELIMIT;
}

/* One token, from its first character; QUOTE is 0 or what opened it (already behind us). Leaves
 * l->at at what ended it, a closing quote being passed. */
static int token(struct lex *l, char quote)
{
	size_t start = l->at;
	unsigned start_line = l->line;
	bool variable = false; /* behind '$', where '{' belongs to the token */

	for (; l->at < l->text.n; l->at++) {
		char c = l->text.p[l->at];
		bool was_variable = variable;

		if (l->at - start > LEX_TOKEN_MAX)
			return too_long(l, l->text.p + start, quote, start_line);
		if (c == 0)
			return unexpected(l, c);
		if (c == '{' && was_variable)
			continue;
		variable = c == '$';
		if (quote ? c == quote : is_space(c) || c == ';' || c == '{')
			break;
		count_line(l, c);
		if (c == '\\' && l->at + 1 < l->text.n && l->text.p[l->at + 1])
			count_line(l, l->text.p[++l->at]);
	}
	if (l->at >= l->text.n) {
		if (quote && !l->param)
			snprintf(l->hint, sizeof l->hint, "the %c in line %u is not closed", quote,
				 start_line);
		return unexpected_end(l);
	}
	push(l, unescape(l->arena, slice_make(l->text.p + start, l->at - start)), quote != 0);
	if (quote) {
		char next = ++l->at < l->text.n ? l->text.p[l->at] : ' ';

		if (!is_space(next) && next != ';' && next != '{' && next != ')')
			return unexpected(l, next);
	}
	return 0;
}

static void take(struct lex *l, struct conf_node *out)
{
	size_t n = (size_t)l->n_tokens - 1;

	out->name = l->tokens[0];
	out->n_args = (int)n;
	out->args = arena_alloc(l->arena, (n + 1) * sizeof *out->args);
	out->quoted = arena_alloc(l->arena, (n + 1) * sizeof *out->quoted);
	memcpy(out->args, l->tokens + 1, n * sizeof *out->args);
	memcpy(out->quoted, l->quoted + 1, n * sizeof *out->quoted);
	out->args[n] = slice_make("", 0);
	out->quoted[n] = false;
	out->file = l->file;
}

int lex_next(struct lex *l, struct conf_node *out)
{
	int r;

	l->n_tokens = 0;
	for (;;) {
		char c;

		r = skip_blank(l);
		if (r < 0)
			return r;
		if (l->at >= l->text.n)
			return l->n_tokens ? unexpected_end(l) : LEX_END;
		c = l->text.p[l->at];
		if (c == ';' || c == '{') {
			if (!l->n_tokens)
				return unexpected(l, c);
			l->at++;
			take(l, out);
			return c == ';' ? LEX_LINE : LEX_OPEN;
		}
		if (c == '}') {
			if (l->n_tokens)
				return unexpected(l, c);
			l->at++;
			return LEX_CLOSE;
		}
		if (!l->n_tokens)
			out->line = l->line;
		if (c == '"' || c == '\'')
			l->at++;
		else
			c = 0;
		r = token(l, c);
		if (r < 0)
			return r;
	}
}
