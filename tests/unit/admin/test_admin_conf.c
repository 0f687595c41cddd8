/* SPDX-License-Identifier: BSD-2-Clause */
/* The admin block: what it takes, what each mistake says, and that the token stays where it
 * belongs. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "admin/admin_conf.h"
#include "core/err.h"

#define TOKEN "0123456789abcdef-._~+/="

struct fx {
	struct conf conf;
	char dir[32], path[64], prefix[64], said[8192];
	bool loaded;
};

static const struct conf_module *const modules[CONF_N_MODULES] = {[MOD_ADMIN] = &admin_module};
static const struct var_def *const no_vars[] = {NULL};

static void put_file(struct fx *fx, const char *name, const char *text, size_t n, mode_t mode)
{
	char path[128];
	int fd;

	snprintf(path, sizeof path, "%s/%s", fx->dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, n), n);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static int setup(void **state)
{
	struct fx *fx = calloc(1, sizeof *fx);

	strcpy(fx->dir, "/tmp/sl-admin-XXXXXX");
	assert_non_null(mkdtemp(fx->dir));
	snprintf(fx->path, sizeof fx->path, "%s/sluice.conf", fx->dir);
	snprintf(fx->prefix, sizeof fx->prefix, "%s/", fx->dir);
	put_file(fx, "token", TOKEN "\n", strlen(TOKEN) + 1, 0600);
	*state = fx;
	return 0;
}

static void unload(struct fx *fx)
{
	if (fx->loaded)
		conf_free(&fx->conf);
	fx->loaded = false;
}

static int teardown(void **state)
{
	static const char *const names[] = {"token", "token2", "sluice.conf", "said"};
	struct fx *fx = *state;
	char path[128];

	unload(fx);
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		snprintf(path, sizeof path, "%s/%s", fx->dir, names[i]);
		unlink(path);
	}
	rmdir(fx->dir);
	free(fx);
	return 0;
}

/* Loads TEXT; what goes to stderr meanwhile is in fx->said. */
static int load(struct fx *fx, const char *text)
{
	int saved = dup(STDERR_FILENO), fd, r;
	char path[128];
	ssize_t n;

	unload(fx);
	put_file(fx, "sluice.conf", text, strlen(text), 0600);
	snprintf(path, sizeof path, "%s/said", fx->dir);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	fflush(stderr);
	dup2(fd, STDERR_FILENO);
	fx->conf = (struct conf){.modules = modules,
				 .var_tables = no_vars,
				 .path = fx->path,
				 .dir = fx->prefix,
				 .prefix = fx->prefix};
	r = conf_load(&fx->conf, SLICE(""));
	fflush(stderr);
	dup2(saved, STDERR_FILENO);
	close(saved);
	fx->loaded = true;
	n = pread(fd, fx->said, sizeof fx->said - 1, 0);
	fx->said[n > 0 ? n : 0] = 0;
	close(fd);
	return r;
}

static void test_whole(void **state)
{
	struct fx *fx = *state;
	const struct admin_listen *l;
	const struct admin_conf *ac;
	char text[ADDR_TEXT_MAX];

	assert_int_equal(
		load(fx, "admin {\n listen unix:/run/x/admin.sock;\n"
			 " listen unix:/run/x/group.sock mode=0660;\n"
			 " listen 127.0.0.1:9901;\n listen [::1]:9901;\n token_file token;\n}\n"),
		0);
	assert_string_equal(fx->said, "");
	ac = admin_conf_get(&fx->conf);
	assert_non_null(ac);
	assert_int_equal(ac->n_listens, 4);
	l = ac->listens;
	assert_true(l->is_unix);
	assert_int_equal(l->mode, 0600);
	addr_text(&l->addr, text);
	assert_string_equal(text, "unix:/run/x/admin.sock");
	l = l->next;
	assert_int_equal(l->mode, 0660);
	l = l->next;
	assert_false(l->is_unix);
	addr_text(&l->addr, text);
	assert_string_equal(text, "127.0.0.1:9901");
	l = l->next;
	addr_text(&l->addr, text);
	assert_string_equal(text, "[::1]:9901");
	assert_null(l->next);
	assert_int_equal(ac->token_len, strlen(TOKEN));
	assert_memory_equal(ac->token, TOKEN, strlen(TOKEN) + 1);
}

static void test_none(void **state)
{
	struct fx *fx = *state;

	assert_int_equal(load(fx, "\n"), 0);
	assert_null(admin_conf_get(&fx->conf));
	admin_conf_wipe(&fx->conf);
}

static void test_wipe(void **state)
{
	struct fx *fx = *state;
	struct admin_conf *ac;
	char *token;

	assert_int_equal(load(fx, "admin { listen 127.0.0.1:9901; token_file token; }"), 0);
	ac = admin_conf_get(&fx->conf);
	token = ac->token;
	admin_conf_wipe(&fx->conf);
	assert_null(ac->token);
	assert_int_equal(ac->token_len, 0);
	for (int i = 0; i < ADMIN_TOKEN_MAX; i++)
		assert_int_equal(token[i], 0);
}

static void test_refused(void **state)
{
	static const struct {
		const char *text, *said;
	} rows[] = {
		{"admin { }", "\"admin\" needs at least one \"listen\""},
		{"admin { token_file token; }", "\"admin\" needs at least one \"listen\""},
		{"admin { listen 127.0.0.1:9901; }", "listen 127.0.0.1:9901 needs token_file"},
		{"admin { listen unix:/x; listen [::1]:1; }", "listen [::1]:1 needs token_file"},
		{"admin { listen 127.0.0.1; token_file token; }", "invalid address \"127.0.0.1\""},
		{"admin { listen 9901; token_file token; }", "invalid address \"9901\""},
		{"admin { listen :9901; token_file token; }", "invalid address \":9901\""},
		{"admin { listen localhost:9901; token_file token; }", "invalid address"},
		{"admin { listen 127.0.0.1:0; token_file token; }", "invalid address"},
		{"admin { listen 127.0.0.1:65536; token_file token; }", "invalid address"},
		{"admin { listen ::1:9901; token_file token; }", "invalid address"},
		{"admin { listen unix:; }", "needs an absolute path"},
		{"admin { listen unix:admin.sock; }", "needs an absolute path"},
		{"admin { listen unix:/x mode=999; }", "invalid mode \"999\""},
		{"admin { listen unix:/x mode=01777; }", "invalid mode"},
		{"admin { listen unix:/x mode=; }", "invalid mode"},
		{"admin { listen unix:/x backlog=5; }", "invalid parameter \"backlog=5\""},
		{"admin { listen 127.0.0.1:1 mode=0600; token_file token; }",
		 "invalid parameter \"mode=0600\""},
		{"admin { listen 127.0.0.1:1; listen 127.0.0.1:1; token_file token; }",
		 "a duplicate listen 127.0.0.1:1"},
		{"admin { listen unix:/x; token_file token; token_file token; }",
		 "\"token_file\" directive is duplicate"},
		{"admin { listen unix:/x; }\nadmin { listen unix:/y; }",
		 "\"admin\" directive is duplicate"},
		{"admin { listen unix:/x; token_file nowhere; }", "cannot read token_file"},
		{"admin { listen unix:/x; token_file \"\"; }", "\"token_file\" needs the name"},
		{"admin { listen unix:/x; token_file /dev/null; }", "is not a regular file"},
		{"admin { listen unix:/x; tokenfile x; }", "unknown directive \"tokenfile\""},
		{"listen unix:/x;", "\"listen\" directive is not allowed here"},
	};
	struct fx *fx = *state;

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		if (load(fx, rows[i].text) == 0)
			fail_msg("accepted: %s", rows[i].text);
		if (!strstr(fx->said, rows[i].said) || !strstr(fx->said, "sluice.conf:"))
			fail_msg("%s: said %s", rows[i].text, fx->said);
	}
}

static void test_token_files(void **state)
{
	char big[600];
	struct fx *fx = *state;
	const struct {
		const char *text;
		size_t n;
		const char *said; /* NULL: accepted */
	} rows[] = {
		{"", 0, "is empty"},
		{" \r\n\n", 4, "is empty"},
		{"two words of a text", 19, "byte 4 is something else"},
		{"first-line-of-some\nsecond\n", 26, "byte 19 is something else"},
		{"nul-byte-is-in-it\0", 18, "byte 18 is something else"},
		{"umlaut-\xc3\xa4-is-in-it", 18, "byte 8 is something else"},
		{big, 513, "is longer than 512 bytes"},
		{big, 600, "is longer than 512 bytes"},
		{big, 512, NULL},
		{"0123456789abcdef\r\n", 18, NULL},
	};

	memset(big, 'a', sizeof big);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		int r;

		put_file(fx, "token2", rows[i].text, rows[i].n, 0600);
		r = load(fx, "admin { listen 127.0.0.1:1; token_file token2; }");
		assert_int_equal(r == 0, rows[i].said == NULL);
		if (rows[i].said && !strstr(fx->said, rows[i].said))
			fail_msg("said %s, not %s", fx->said, rows[i].said);
		if (!rows[i].said)
			assert_string_equal(fx->said, "");
		/* Messages never quote the file. */
		assert_null(strstr(fx->said, "first-line"));
		assert_null(strstr(fx->said, "aaaa"));
	}
}

static void test_warnings(void **state)
{
	struct fx *fx = *state;

	put_file(fx, "token2", TOKEN, strlen(TOKEN), 0644);
	assert_int_equal(load(fx, "admin { listen 127.0.0.1:1; token_file token2; }"), 0);
	assert_non_null(strstr(fx->said, "[warn]"));
	assert_non_null(strstr(fx->said, "has mode 0644"));
	put_file(fx, "token2", TOKEN, strlen(TOKEN), 0640);
	assert_int_equal(load(fx, "admin { listen 127.0.0.1:1; token_file token2; }"), 0);
	assert_string_equal(fx->said, "");
	put_file(fx, "token2", "short", 5, 0600);
	assert_int_equal(load(fx, "admin { listen 127.0.0.1:1; token_file token2; }"), 0);
	assert_non_null(strstr(fx->said, "is short"));
	assert_int_equal(load(fx, "admin { listen *:9901; token_file token; }"), 0);
	assert_non_null(strstr(fx->said, "reachable from other machines"));
	assert_int_equal(load(fx, "admin { listen 192.0.2.1:9901; token_file token; }"), 0);
	assert_non_null(strstr(fx->said, "reachable from other machines"));
	assert_null(strstr(fx->said, TOKEN));
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_whole),	 T(test_none),	      T(test_wipe),
		T(test_refused), T(test_token_files), T(test_warnings),
	};
#undef T

	return cmocka_run_group_tests(tests, NULL, NULL);
}
