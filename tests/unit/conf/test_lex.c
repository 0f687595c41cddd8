/* SPDX-License-Identifier: BSD-2-Clause */
/* Tokens, quotes, escapes, comments, lines and the lexer's errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "conf/lex.h"
#include "core/err.h"

struct fx {
	struct arena arena;
	struct lex lex;
	struct conf_node node;
};

static int setup(void **state)
{
	struct fx *fx = calloc(1, sizeof *fx);

	arena_init(&fx->arena, 4096);
	*state = fx;
	return fx ? 0 : -1;
}

static int teardown(void **state)
{
	struct fx *fx = *state;

	arena_fini(&fx->arena);
	free(fx);
	return 0;
}

static int first(struct fx *fx, struct slice text)
{
	lex_init(&fx->lex, &fx->arena, "FILE", text);
	return lex_next(&fx->lex, &fx->node);
}

static void is_text(struct slice s, const char *expected)
{
	assert_int_equal(s.n, strlen(expected));
	assert_memory_equal(s.p, expected, s.n);
	assert_int_equal(s.p[s.n], 0);
}

/* TEXT is one directive of name and N arguments, joined by '|' in EXPECTED. */
static void is_line(struct fx *fx, const char *text, const char *expected)
{
	char joined[256];
	size_t n;

	if (first(fx, slice_cstr(text)) != LEX_LINE)
		fail_msg("%s: %s", text, fx->lex.error);
	n = (size_t)snprintf(joined, sizeof joined, "%.*s", SLICE_FMT(fx->node.name));
	for (int i = 0; i < fx->node.n_args; i++)
		n += (size_t)snprintf(joined + n, sizeof joined - n, "|%.*s",
				      SLICE_FMT(fx->node.args[i]));
	assert_string_equal(joined, expected);
}

static void is_error(struct fx *fx, const char *text, const char *error, unsigned line)
{
	int r;

	lex_init(&fx->lex, &fx->arena, "FILE", slice_cstr(text));
	do
		r = lex_next(&fx->lex, &fx->node);
	while (r > 0 && r != LEX_END);
	if (r >= 0)
		fail_msg("%s: no error", text);
	assert_string_equal(fx->lex.error, error);
	assert_int_equal(fx->lex.line, line);
}

static void words(void **state)
{
	is_line(*state, "a;", "a");
	is_line(*state, "  a b\tc\r\nd ;", "a|b|c|d");
	is_line(*state, "a b}c d#e;", "a|b}c|d#e");
	is_line(*state, "a b\"c d'e;", "a|b\"c|d'e");
	is_line(*state,
		"\xef\xbb\xbf"
		"a b;",
		"a|b");
	is_line(*state, "a \xc3\xa4;", "a|\xc3\xa4");
	is_line(*state, "a \x01;", "a|\x01");
}

static void quotes(void **state)
{
	struct fx *fx = *state;

	is_line(fx, "a 'b c' \"d;{}#\";", "a|b c|d;{}#");
	assert_true(fx->node.quoted[0]);
	is_line(fx, "a b 'c';", "a|b|c");
	assert_false(fx->node.quoted[0]);
	assert_true(fx->node.quoted[1]);
	is_line(fx, "a '' \"\";", "a||");
	is_line(fx, "a 'b\"' \"c'\";", "a|b\"|c'");
	is_line(fx, "a 'b\nc' d;", "a|b\nc|d");
	is_line(fx, "if (\"x\") y;", "if|(\"x\")|y");
	is_line(fx, "if ( \"x\") y;", "if|(|x|)|y");
	is_line(fx, "\"a b\" c;", "a b|c");
}

static void escapes(void **state)
{
	is_line(*state, "a \"\\\"\\'\\\\\\t\\r\\n\";", "a|\"'\\\t\r\n");
	is_line(*state, "a \\.\\d\\w;", "a|\\.\\d\\w");
	is_line(*state, "a b\\ c\\;d\\{;", "a|b\\ c\\;d\\{");
	is_line(*state, "a \\\"b;", "a|\"b");
	is_line(*state, "a \\#b;", "a|\\#b");
	is_line(*state, "a 'b\\'c';", "a|b'c");
	is_line(*state, "a b\\tc;", "a|b\tc");
}

static void variables(void **state)
{
	is_line(*state, "a ${b} $c$d x${e}y;", "a|${b}|$c$d|x${e}y");
	is_line(*state, "a ${{b;", "a|${{b");
	assert_int_equal(first(*state, SLICE("a $b{")), LEX_OPEN);
	assert_int_equal(first(*state, SLICE("a $ {")), LEX_OPEN);
	assert_int_equal(first(*state, SLICE("a b{")), LEX_OPEN);
	assert_int_equal(first(*state, SLICE("a \\${")), LEX_OPEN);
}

static void comments(void **state)
{
	is_line(*state, "# x; y {\n  # 'z\na b # c;\n d;", "a|b|d");
	assert_int_equal(first(*state, SLICE("# only")), LEX_END);
	assert_int_equal(first(*state, SLICE(" \n\t")), LEX_END);
	assert_int_equal(first(*state, SLICE("")), LEX_END);
}

static void sequence(void **state)
{
	struct fx *fx = *state;

	assert_int_equal(first(fx, SLICE("a\n b {\n c d;}\n\n e\n;")), LEX_OPEN);
	is_text(fx->node.name, "a");
	is_text(fx->node.args[0], "b");
	assert_int_equal(fx->node.line, 1);
	assert_string_equal(fx->node.file, "FILE");
	assert_int_equal(lex_next(&fx->lex, &fx->node), LEX_LINE);
	assert_int_equal(fx->node.line, 3);
	assert_int_equal(lex_next(&fx->lex, &fx->node), LEX_CLOSE);
	assert_int_equal(lex_next(&fx->lex, &fx->node), LEX_LINE);
	is_text(fx->node.name, "e");
	assert_int_equal(fx->node.line, 5);
	assert_int_equal(lex_next(&fx->lex, &fx->node), LEX_END);
	assert_int_equal(lex_next(&fx->lex, &fx->node), LEX_END);
}

static void errors(void **state)
{
	is_error(*state, "a \"b\"c;", "unexpected \"c\"", 1);
	is_error(*state, "a 'b'}", "unexpected \"}\"", 1);
	is_error(*state, "a 'b'\"c\";", "unexpected \"\"\"", 1);
	is_error(*state, "a 'b'\xff;", "unexpected \"\\xFF\"", 1);
	is_error(*state, "\n;", "unexpected \";\"", 2);
	is_error(*state, "a;\n{", "unexpected \"{\"", 2);
	is_error(*state, "a b\n}", "unexpected \"}\"", 2);
	is_error(*state, "a b", "unexpected end of file, expecting \";\" or \"}\"", 1);
	is_error(*state, "a b\n", "unexpected end of file, expecting \";\" or \"}\"", 2);
	is_error(*state, "a 'b\n;", "unexpected end of file, expecting \";\" or \"}\"", 2);
	is_error(*state, "a 'b'", "unexpected end of file, expecting \";\" or \"}\"", 1);
	is_error(*state, "a b\\", "unexpected end of file, expecting \";\" or \"}\"", 1);
}

static void unclosed_quote_says_where(void **state)
{
	struct fx *fx = *state;

	is_error(fx, "a\n 'b;\nc;\n", "unexpected end of file, expecting \";\" or \"}\"", 4);
	assert_string_equal(fx->lex.hint, "the ' in line 2 is not closed");
}

static void nul_bytes(void **state)
{
	struct fx *fx = *state;

	assert_int_equal(first(fx, SLICE("a\0b;")), -SL_EINVAL);
	assert_string_equal(fx->lex.error, "unexpected \"\\x00\"");
	assert_int_equal(first(fx, SLICE("\0")), -SL_EINVAL);
	assert_int_equal(first(fx, SLICE("# \0\na;")), -SL_EINVAL);
	assert_int_equal(first(fx, SLICE("a 'b\0';")), -SL_EINVAL);
	assert_int_equal(first(fx, SLICE("a \\\0;")), -SL_EINVAL);
	assert_int_equal(first(fx, SLICE("a 'b'\0;")), -SL_EINVAL);
}

static void parameter(void **state)
{
	struct fx *fx = *state;

	lex_init_param(&fx->lex, &fx->arena, "command line", SLICE("a;\nb"));
	assert_int_equal(lex_next(&fx->lex, &fx->node), LEX_LINE);
	assert_int_equal(fx->node.line, 0);
	assert_int_equal(lex_next(&fx->lex, &fx->node), -SL_EINVAL);
	assert_string_equal(fx->lex.error, "unexpected end of parameter, expecting \";\"");
	assert_int_equal(fx->lex.line, 0);
}

static void long_tokens(void **state)
{
	struct fx *fx = *state;
	size_t n = LEX_TOKEN_MAX + 8;
	char *text = malloc(n);

	assert_non_null(text);
	memset(text, 'x', n);
	memcpy(text, "\na ", 3);
	text[3 + LEX_TOKEN_MAX] = ';';
	assert_int_equal(first(fx, slice_make(text, n)), LEX_LINE);
	assert_int_equal(fx->node.args[0].n, LEX_TOKEN_MAX);
	text[3 + LEX_TOKEN_MAX] = 'x';
	assert_int_equal(first(fx, slice_make(text, n)), -SL_ELIMIT);
	assert_string_equal(fx->lex.error, "too long parameter \"xxxxxxxxxx...\" started");
	assert_int_equal(fx->lex.line, 2);
	memset(text + 1, '\n', n - 1);
	text[1] = '"';
	assert_int_equal(first(fx, slice_make(text, n)), -SL_ELIMIT);
	assert_string_equal(fx->lex.error, "too long parameter, probably missing terminating "
					   "\"\"\" character");
	assert_int_equal(fx->lex.line, 2);
	free(text);
}

static void many_arguments(void **state)
{
	struct fx *fx = *state;
	enum { N = 100000 };
	char *text = malloc(2 * N + 2);

	assert_non_null(text);
	for (int i = 0; i <= N; i++)
		memcpy(text + 2 * i, i == N ? "a;" : "a ", 2);
	assert_int_equal(first(fx, slice_make(text, 2 * N + 2)), LEX_LINE);
	assert_int_equal(fx->node.n_args, N);
	is_text(fx->node.args[N - 1], "a");
	free(text);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(words),     T(quotes),      T(escapes),
		T(variables), T(comments),    T(sequence),
		T(errors),    T(nul_bytes),   T(unclosed_quote_says_where),
		T(parameter), T(long_tokens), T(many_arguments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
