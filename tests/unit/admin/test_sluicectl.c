/* SPDX-License-Identifier: BSD-2-Clause */
/* sluicectl against a real admin process: what it prints, what it asks, and its exit codes; and
 * against servers that are absent or talk nonsense. Its sources are compiled into this file. */
#include "rig.h"

#define main sluicectl_main
int sluicectl_main(int argc, char **argv);
#include "tools/sluicectl/carry.c"
#include "tools/sluicectl/client.c"
#include "tools/sluicectl/main.c"
#include "tools/sluicectl/show.c"
#include "tools/sluicectl/table.c"
#include "tools/sluicectl/watch.c"
#undef main

struct run {
	int code;
	char out[65536], err[4096];
};

static struct run ran;

static pid_t begin(const char *const *argv, FILE *out, FILE *err)
{
	int argc = 0;
	pid_t pid;

	while (argv[argc])
		argc++;
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		dup2(fileno(out), STDOUT_FILENO);
		dup2(fileno(err), STDERR_FILENO);
		exit(sluicectl_main(argc, (char **)(uintptr_t)argv));
	}
	return pid;
}

static void collect(pid_t pid, FILE *out, FILE *err)
{
	int status;
	size_t n;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	ran.code = WEXITSTATUS(status);
	rewind(out);
	n = fread(ran.out, 1, sizeof ran.out - 1, out);
	ran.out[n] = 0;
	rewind(err);
	n = fread(ran.err, 1, sizeof ran.err - 1, err);
	ran.err[n] = 0;
	fclose(out);
	fclose(err);
}

/* Runs "sluicectl -s SOCKET WORDS...". With REPLY the master answers once, and *REPLY becomes what
 * it was asked. */
static void run_at(struct rig *r, const char *path, struct msg *reply, const char *const *words)
{
	FILE *out = tmpfile(), *err = tmpfile();
	const char *argv[16] = {"sluicectl", "-s", path};
	struct msg asked;
	pid_t pid;

	for (int i = 0; words[i]; i++)
		argv[3 + i] = words[i];
	pid = begin(argv, out, err);
	if (reply) {
		asked = rig_take(r);
		rig_answer(r, asked.id, reply->result, reply->text);
		*reply = asked;
	}
	collect(pid, out, err);
}

#define RUN(r, reply, ...) \
	run_at(r, (r)->socket_path, reply, (const char *const[]){__VA_ARGS__, NULL})

static void assert_has(const char *text)
{
	if (!strstr(ran.out, text))
		fail_msg("no \"%s\" in:\n%s%s", text, ran.out, ran.err);
}

static void test_reads(void **state)
{
	struct rig *r = *state;

	rig_ban(r, "192.0.2.1", 596000, 5000, "bot \xc3\xa9");
	rig_ban(r, "2001:db8:1:2:3:4:5:6", 0, 1000, "evil \x1b[31m");
	rig_start(r);
	RUN(r, NULL, "status");
	assert_int_equal(ran.code, 0);
	assert_has("sluice 0.1.0, up 1h 0m, configuration 3, master ");
	assert_has("requests     0 active, 111 total");
	assert_has("guard        off: no permission\n");
	assert_has("limit zone   per_ip: 0 of ");
	assert_has("traffic      0 B in, 115 GiB out\n");
	RUN(r, NULL, "upstreams");
	assert_int_equal(ran.code, 0);
	assert_has("we\"ird\\na?me  127.0.0.1:8001         127.0.0.1:8001");
	assert_has("we\"ird\\na?me  127.0.0.1:8001 backup  127.0.0.1:8001");
	assert_has("failed");
	assert_has("api           llm.example:443        -");
	assert_has("no such name");
	assert_has("api#2         unix:/tmp/up.sock      unix:/tmp/up.sock");
	assert_has("150 ms\n");
	RUN(r, NULL, "bans");
	assert_int_equal(ran.code, 0);
	assert_has("ADDRESS               LEFT");
	assert_has("2001:db8:1:2:3:4:5:6  for ever");
	assert_has("192.0.2.1             9m 5");
	assert_has("bot \xc3\xa9\n");
	assert_null(strchr(ran.out, 0x1b));
	RUN(r, NULL, "sources", "--top", "3");
	assert_int_equal(ran.code, 0);
	assert_has("guard off: no permission; sources are counted by it only\n");
	assert_string_equal(ran.err, "");
}

static void test_json(void **state)
{
	struct rig *r = *state;
	json_error_t error;
	json_t *j;

	rig_start(r);
	RUN(r, NULL, "--json", "bans");
	assert_int_equal(ran.code, 0);
	j = json_loads(ran.out, 0, &error);
	assert_true(json_is_array(json_object_get(j, "bans")));
	json_decref(j);
	RUN(r, NULL, "unban", "nobody", "--json");
	assert_int_equal(ran.code, 1);
	j = json_loads(ran.out, 0, &error);
	assert_true(json_is_object(json_object_get(j, "error")));
	json_decref(j);
	RUN(r, NULL, "sources", "--top", "1001");
	assert_int_equal(ran.code, 1);
	assert_non_null(strstr(ran.err, "\"top\" must be a number from 1 to 1000 (HTTP 400)"));
	RUN(r, NULL, "sources", "--top", "5&x=1 \r\n");
	assert_int_equal(ran.code, 1);
}

static void test_changes(void **state)
{
	struct rig *r = *state;
	struct msg m = {0};

	rig_start(r);
	RUN(r, &m, "ban", "192.0.2.7", "--for", "1h30m", "--reason", "too \"loud\"");
	assert_int_equal(ran.code, 0);
	assert_string_equal(ran.out, "192.0.2.7 is banned for 1h 30m\n");
	assert_int_equal(m.type, MSG_BAN);
	assert_int_equal(m.ban.for_ms, 5400000);
	assert_string_equal(m.ban.reason, "too \"loud\"");
	m = (struct msg){0};
	RUN(r, &m, "ban", "2001:db8::1", "--for=forever");
	assert_string_equal(ran.out, "2001:db8::1 is banned for ever\n");
	assert_string_equal(m.ban.reason, "");
	m = (struct msg){.result = -SL_EPERM, .text = "10.0.0.1 is in the allow list"};
	RUN(r, &m, "ban", "10.0.0.1", "--for", "10m");
	assert_int_equal(ran.code, 1);
	assert_string_equal(ran.err, "sluicectl: 10.0.0.1 is in the allow list (HTTP 409)\n");
	assert_string_equal(ran.out, "");
	m = (struct msg){0};
	RUN(r, &m, "unban", "2001:db8::1");
	assert_int_equal(ran.code, 0);
	assert_int_equal(m.type, MSG_UNBAN);
	assert_string_equal(ran.out, "2001:db8::1 is not banned any more\n");
	m = (struct msg){.result = -SL_ENOTFOUND, .text = "192.0.2.8 is not banned"};
	RUN(r, &m, "unban", "192.0.2.8");
	assert_int_equal(ran.code, 1);
	assert_string_equal(ran.err, "sluicectl: 192.0.2.8 is not banned (HTTP 404)\n");
	m = (struct msg){.text = "configuration 4"};
	RUN(r, &m, "reload");
	assert_int_equal(ran.code, 0);
	assert_int_equal(m.type, MSG_RELOAD);
	assert_string_equal(ran.out, "reloaded: configuration 4\n");
	RUN(r, NULL, "unban", "192.0.2.0/33");
	assert_int_equal(ran.code, 1);
	assert_non_null(strstr(ran.err, "is not an IP address or network"));
	RUN(r, NULL, "ban", "192.0.2.7", "--for", "soon");
	assert_int_equal(ran.code, 1);
	assert_non_null(strstr(ran.err, "\"for\" must be a time"));
}

static void test_usage(void **state)
{
	struct rig *r = *state;
	static const char *const bad[][6] = {
		{NULL},
		{"nonsense"},
		{"ban"},
		{"ban", "1.2.3.4"},
		{"ban", "--for", "10m"},
		{"unban"},
		{"unban", "1.2.3.4", "5.6.7.8"},
		{"status", "now"},
		{"bans", "--top", "5"},
		{"status", "--for", "1m"},
		{"unban", "1.2.3.4", "--reason", "x"},
		{"--nonsense", "status"},
		{"sources", "--top"},
	};

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		run_at(r, r->socket_path, NULL, bad[i]);
		assert_int_equal(ran.code, 2);
		assert_non_null(strstr(ran.err, "Try \"sluicectl --help\"."));
		assert_string_equal(ran.out, "");
	}
	RUN(r, NULL, "--help");
	assert_int_equal(ran.code, 0);
	assert_has("Usage: sluicectl");
	assert_has("  ban ADDR[/LEN] --for TIME [--reason TEXT]");
}

static void test_no_connection(void **state)
{
	const char *const words[] = {"status", NULL};
	struct rig *r = *state;
	char path[300];

	snprintf(path, sizeof path, "%s/nowhere.sock", r->dir);
	run_at(r, path, NULL, words);
	assert_int_equal(ran.code, 3);
	assert_non_null(strstr(ran.err, path));
	assert_non_null(strstr(ran.err, "Is sluice running"));
	memset(path, 'x', sizeof path - 1);
	path[sizeof path - 1] = 0;
	run_at(r, path, NULL, words);
	assert_int_equal(ran.code, 3);
}

/* The test itself is the server: the first client gets TEXT, then the end. */
static void run_against(struct rig *r, const char *text)
{
	const char *argv[] = {"sluicectl", "-s", r->socket_path, "status", NULL};
	FILE *out = tmpfile(), *err = tmpfile();
	pid_t pid = begin(argv, out, err);
	struct pollfd p = {.fd = r->listens[0].fd, .events = POLLIN};
	char request_text[1024];
	int fd;

	assert_int_equal(poll(&p, 1, RIG_WAIT_MS), 1);
	fd = accept(r->listens[0].fd, NULL, NULL);
	assert_true(recv(fd, request_text, sizeof request_text, 0) > 0);
	rig_send(fd, text, strlen(text));
	close(fd);
	collect(pid, out, err);
}

static void test_nonsense(void **state)
{
	static const char *const bad[] = {
		"",
		"hello\n",
		"HTTP/1.1 200 OK\r\n",
		"HTTP/1.1 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{",
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 503 No\r\nContent-Length: 3\r\n\r\nno!",
		"HTTP/1.1 403 No\r\nContent-Length: 14\r\n\r\n{\"error\":null}",
	};
	struct rig *r = *state;

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		run_against(r, bad[i]);
		if (ran.code != 1 || !ran.err[0])
			fail_msg("%d, \"%s\" for %s", ran.code, ran.err, bad[i]);
	}
	/* Members that are missing are no reason to fail. */
	run_against(r, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
	assert_int_equal(ran.code, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(test_reads), RIG_TEST(test_json),	    RIG_TEST(test_changes),
		RIG_TEST(test_usage), RIG_TEST(test_no_connection), RIG_TEST(test_nonsense),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
