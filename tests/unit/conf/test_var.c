/* SPDX-License-Identifier: BSD-2-Clause */
/* Variables: looking up, compiling texts, evaluating them, and names that are defined after use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/conf/fixture.h"

static char folder[] = "/nonexistent/", path[] = "/nonexistent/sluice.conf";

static int setup(void **state)
{
	struct conf *c = malloc(sizeof *c);

	fx_conf_init(c, folder, path);
	arena_init(&c->arena, 4096);
	*state = c;
	return 0;
}

static int teardown(void **state)
{
	conf_free(*state);
	free(*state);
	return 0;
}

static const char *found(struct conf *c, const char *name, struct slice *arg)
{
	const struct var_def *v =
		var_find(c->var_tables, c->user_vars, c->n_user_vars, slice_cstr(name), arg);

	return v ? v->name : NULL;
}

static void find(void **state)
{
	struct slice arg;

	assert_string_equal(found(*state, "host", &arg), "host");
	assert_int_equal(arg.n, 0);
	assert_string_equal(found(*state, "HOST", &arg), "host");
	assert_string_equal(found(*state, "http_user_agent", &arg), "http_");
	assert_true(slice_eq(arg, SLICE("user_agent")));
	assert_string_equal(found(*state, "http_x_a", &arg), "http_x_");
	assert_true(slice_eq(arg, SLICE("a")));
	assert_string_equal(found(*state, "http_x_", &arg), "http_");
	assert_string_equal(found(*state, "http_host", &arg), "http_host");
	assert_int_equal(arg.n, 0);
	assert_null(found(*state, "http_", &arg));
	assert_null(found(*state, "hos", &arg));
	assert_null(found(*state, "hosts", &arg));
	assert_null(found(*state, "", &arg));
}

static void user_rows_win(void **state)
{
	struct conf *c = *state;
	struct var_def *v = conf_var_add(c, SLICE("Host"));
	struct slice arg;

	assert_string_equal(v->name, "host");
	assert_null(v->get);
	v->get = fx_get_user;
	assert_ptr_equal(conf_var_add(c, SLICE("HOST")), v);
	assert_int_equal(c->n_user_vars, 1);
	assert_ptr_equal(var_find(c->var_tables, c->user_vars, 1, SLICE("host"), &arg), v);
	for (int i = 0; i < 100; i++)
		conf_var_add(c, arena_printf(&c->arena, "v%d", i));
	assert_int_equal(c->n_user_vars, 101);
	assert_string_equal(found(c, "v99", &arg), "v99");
	assert_true(conf_var_add(c, SLICE("host"))->get == fx_get_user);
	assert_int_equal(c->n_user_vars, 101);
}

static void is(struct conf *c, const char *text, const char *expected, bool constant, int n_parts)
{
	struct tmpl *t;
	struct slice s;

	if (conf_tmpl(c, NULL, slice_cstr(text), &t) != 0)
		fail_msg("\"%s\" was refused", text);
	assert_int_equal(t->constant, constant);
	assert_int_equal(t->n_parts, n_parts);
	assert_true(slice_eq(t->source, slice_cstr(text)));
	s = tmpl_eval(t, (char *)"example.org", &c->arena);
	if (!slice_eq(s, slice_cstr(expected)))
		fail_msg("\"%s\" gave \"%.*s\"", text, SLICE_FMT(s));
}

static void eval(void **state)
{
	is(*state, "", "", true, 0);
	is(*state, "plain {text}", "plain {text}", true, 1);
	is(*state, "$host", "example.org", false, 1);
	is(*state, "${host}", "example.org", false, 1);
	is(*state, "$HoSt", "example.org", false, 1);
	is(*state, "a-${host}b", "a-example.orgb", false, 3);
	is(*state, "$host:$http_User_Agent;", "example.org:user_agent;", false, 4);
	is(*state, "$none", "", false, 1);
	is(*state, "[$none]", "[]", false, 3);
	is(*state, "$host$none$host", "example.orgexample.org", false, 3);
	is(*state, "$12", "example.org2", false, 2);
	is(*state, "${1}2", "example.org2", false, 2);
	is(*state, "$host.x", "example.org.x", false, 2);
	is(*state, "$host}", "example.org}", false, 2);
}

static void eval_many_parts(void **state)
{
	struct conf *c = *state;
	char text[5 * 40 + 1] = "", expected[11 * 40 + 1] = "";

	for (int i = 0; i < 40; i++) {
		strcat(text, "$host");
		strcat(expected, "example.org");
	}
	is(c, text, expected, false, 40);
}

static void one_variable_is_not_copied(void **state)
{
	struct conf *c = *state;
	char request[] = "example.org";
	struct tmpl *t;

	assert_int_equal(conf_tmpl(c, NULL, SLICE("$host"), &t), 0);
	assert_ptr_equal(tmpl_eval(t, request, &c->arena).p, request);
	assert_int_equal(conf_tmpl(c, NULL, SLICE("text"), &t), 0);
	assert_ptr_equal(tmpl_eval(t, request, &c->arena).p, t->source.p);
}

static void refused(void **state)
{
	static const char *const bad[] = {"$",	    "a$",	"$-",  "$ host", "${",	"${}",
					  "${host", "${ho-st}", "$$h", "$nope",	 "$0x", "$2"};
	struct conf *c = *state;
	struct tmpl *t;

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		if (conf_tmpl(c, NULL, slice_cstr(bad[i]), &t) != -SL_EINVAL)
			fail_msg("\"%s\" was taken", bad[i]);
	assert_int_equal(c->n_errors, sizeof bad / sizeof bad[0]);
}

/* A map below its use, which hides a built-in name as well. */
static void defined_after_use(void **state)
{
	struct conf *c = *state;
	struct fx_http *h;
	struct slice s;

	assert_int_equal(conf_load_text(c, SLICE(""),
					SLICE("http { key $http_user/$pool/$host;\n"
					      "map $host $pool { }\n"
					      "map $host $HTTP_user { } }")),
			 0);
	h = c->main->first_child->mod[MOD_HTTP];
	s = tmpl_eval(h->key, (char *)"h", &c->arena);
	assert_true(slice_eq(s, SLICE("mapped/mapped/h")));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(find),
		T(user_rows_win),
		T(eval),
		T(eval_many_parts),
		T(refused),
		T(one_variable_is_not_copied),
		T(defined_after_use),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
