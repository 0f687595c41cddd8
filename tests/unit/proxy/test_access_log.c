/* SPDX-License-Identifier: BSD-2-Clause */
/* log_format and access_log, from a configuration's text to the bytes in files. */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "conf/load.h"

/* http, server and location as the engine sees them, without what the proxy makes of them. */
static const struct conf_row block_rows[] = {
	{.name = "http", .contexts = CTX_MAIN, .type = CONF_BLOCK, .block_ctx = CTX_HTTP},
	{.name = "server",
	 .contexts = CTX_HTTP,
	 .type = CONF_BLOCK,
	 .flags = CONF_MULTI,
	 .block_ctx = CTX_SERVER},
	{.name = "location",
	 .contexts = CTX_SERVER,
	 .type = CONF_BLOCK,
	 .flags = CONF_MULTI,
	 .args_min = 1,
	 .args_max = 1,
	 .block_ctx = CTX_LOCATION},
};
static const struct conf_module blocks = {.name = "blocks", .rows = block_rows, .n_rows = 3};
static const struct conf_module *const modules[CONF_N_MODULES] = {
	[MOD_CORE] = &blocks, [MOD_LOG] = &log_module, [MOD_ACCESS_LOG] = &access_log_module};

/* A temporary folder with a configuration and an error log of its name; ERRORS is what stderr got. */
struct lab {
	char dir[32], path[64], errors[2048];
	struct conf conf;
	struct fx *f;
	struct log error_log;
	struct log_sink error_sink;
	int r;
};

static char *read_file(const char *path, char *to, size_t room)
{
	int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, to, room - 1);

	if (fd >= 0)
		close(fd);
	to[n > 0 ? n : 0] = 0;
	return n < 0 ? NULL : to;
}

/* The content of a log; NULL: no such file. Valid until the next call. */
static const char *content(struct lab *l, const char *name)
{
	static char text[256 * 1024];
	char path[64];

	snprintf(path, sizeof path, "%s%s", l->dir, name);
	return read_file(path, text, sizeof text);
}

static void load(struct lab *l, const char *text)
{
	int saved = dup(STDERR_FILENO), fd;
	char errors[64];

	strcpy(l->dir, "/tmp/sl-access-XXXXXX");
	assert_non_null(mkdtemp(l->dir));
	strcat(l->dir, "/");
	snprintf(l->path, sizeof l->path, "%st.conf", l->dir);
	snprintf(errors, sizeof errors, "%serrors", l->dir);
	l->conf = (struct conf){.modules = modules,
				.var_tables = fx_tables,
				.prefix = l->dir,
				.dir = l->dir,
				.path = l->path};
	fd = open(errors, O_RDWR | O_CREAT | O_APPEND, 0600);
	dup2(fd, STDERR_FILENO);
	l->r = conf_load_text(&l->conf, SLICE(""), slice_cstr(text));
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(fd);
	read_file(errors, l->errors, sizeof l->errors);
}

static struct conf_block *child(struct conf_block *b, int index)
{
	b = b->first_child;
	while (index--)
		b = b->next;
	return b;
}

static struct lab *lab_new(const char *text, const char *head)
{
	struct lab *l = calloc(1, sizeof *l);

	load(l, text);
	if (l->r)
		print_error("%s", l->errors);
	assert_int_equal(l->r, 0);
	l->f = fx_new(head);
	l->f->env.conf = &l->conf;
	l->f->env.log = &l->error_log;
	l->error_sink = (struct log_sink){.path = l->path, .fd = -1};
	assert_int_equal(log_sink_open(&l->error_sink), 0);
	l->error_log.to[0].sink = &l->error_sink;
	l->error_log.to[0].level = LOG_LVL_ALERT;
	l->error_log.n_to = 1;
	l->f->r.block = child(l->conf.main, 0);
	snprintf(l->f->env.loop.clock.time_local, 32, "22/Nov/2026:23:10:00 +0000");
	access_log_setup(&l->f->env);
	return l;
}

static void lab_free(struct lab *l)
{
	char command[64];

	if (l->f) {
		access_log_flush(&l->f->env);
		log_sink_close(&l->error_sink);
		fx_free(l->f);
	}
	conf_free(&l->conf);
	snprintf(command, sizeof command, "rm -r %s", l->dir);
	assert_int_equal(system(command), 0);
	free(l);
}

static void write_line(struct lab *l)
{
	access_log_write(&l->f->r);
}

#define GET(fields) "GET /p?q HTTP/1.1\r\nHost: h\r\n" fields "\r\n"

static void combined(void **state)
{
	struct lab *l = lab_new("http { access_log a.log; }",
				GET("Referer: http://r/\r\nUser-Agent: \"x\\\xe4\ty\r\n"
				    "Authorization: Basic YWxpY2U6c2VjcmV0\r\n"));

	l->f->r.resp.status = 200;
	l->f->r.sent_body_bytes = 12;
	write_line(l);
	assert_string_equal(
		content(l, "a.log"),
		"192.0.2.7 - alice [22/Nov/2026:23:10:00 +0000] \"GET /p?q HTTP/1.1\" 200 "
		"12 \"http://r/\" \"\\x22x\\x5C\\xE4\\x09y\"\n");
	lab_free(l);

	/* A head that was refused, and a connection that asked nothing. */
	l = lab_new("http { access_log a.log combined; }", NULL);
	write_line(l);
	assert_string_equal(content(l, "a.log"), "");
	l->f->r.resp.status = 400;
	write_line(l);
	assert_string_equal(content(l, "a.log"),
			    "192.0.2.7 - - [22/Nov/2026:23:10:00 +0000] \"\" 400 0 \"-\" \"-\"\n");
	lab_free(l);
}

static void escapes(void **state)
{
	struct lab *l =
		lab_new("http { log_format d '<$http_x>' \"<$http_no>\" '<$http_e>';\n"
			"log_format j escape=json '{\"x\":\"$http_x\",' '\"n\":\"$http_no\"}';\n"
			"log_format n escape=none '<${http_x}>' '<$http_no>';\n"
			"access_log d.log d; access_log j.log j; access_log n.log n; }",
			GET("X: a\"b\\c\t\xc3\xa9\r\nE:\r\n"));

	write_line(l);
	assert_string_equal(content(l, "d.log"), "<a\\x22b\\x5Cc\\x09\\xC3\\xA9><-><>\n");
	assert_string_equal(content(l, "j.log"), "{\"x\":\"a\\\"b\\\\c\\t\xc3\xa9\",\"n\":\"\"}\n");
	assert_string_equal(content(l, "n.log"), "<a\"b\\c\t\xc3\xa9><>\n");
	lab_free(l);
}

/* Bytes that no header can have: by a body. */
static void escape_controls(void **state)
{
	static char all[] = "\n\r\b\f\x01\x1f\x7f\0";
	struct lab *l = lab_new("http { log_format d $request_body;\n"
				"log_format j escape=json $request_body;\n"
				"access_log d.log d; access_log j.log j; }",
				GET(""));

	l->f->r.body.mem = all;
	l->f->r.body.len = 8;
	write_line(l);
	assert_string_equal(content(l, "d.log"), "\\x0A\\x0D\\x08\\x0C\\x01\\x1F\\x7F\\x00\n");
	assert_string_equal(content(l, "j.log"), "\\n\\r\\b\\f\\u0001\\u001F\x7f\\u0000\n");
	lab_free(l);
}

static void inheritance(void **state)
{
	struct lab *l = lab_new("http { log_format f $uri; access_log h.log f;\n"
				"server { location /a { } location /b { access_log off; }\n"
				"location /c { access_log c.log f; access_log d.log f; } }\n"
				"server { access_log s.log f; location /d { }\n"
				"location /e { access_log e.log f; access_log off; } } }",
				GET(""));
	struct conf_block *http = child(l->conf.main, 0);
	struct conf_block *one = child(http, 0), *two = child(http, 1);
	struct conf_block *order[] = {child(one, 0), child(one, 1), child(one, 2), child(two, 0),
				      child(two, 1)};

	for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
		l->f->r.block = order[i];
		write_line(l);
	}
	assert_string_equal(content(l, "h.log"), "/p\n");
	assert_string_equal(content(l, "c.log"), "/p\n");
	assert_string_equal(content(l, "d.log"), "/p\n");
	assert_string_equal(content(l, "s.log"), "/p\n");
	assert_string_equal(content(l, "e.log"), "");
	lab_free(l);

	l = lab_new("http { server { } }", GET(""));
	write_line(l);
	access_log_flush(&l->f->env);
	assert_null(content(l, "logs/access.log"));
	lab_free(l);
}

static void condition(void **state)
{
	struct lab *l =
		lab_new("http { log_format f $arg_log; access_log a.log f if=$arg_log; }", GET(""));
	static const char *const args[] = {"log=1", "log=0", "log=", "x=1", "log=00", "log=no"};

	for (size_t i = 0; i < sizeof args / sizeof args[0]; i++) {
		l->f->r.uri.args = slice_cstr(args[i]);
		write_line(l);
	}
	assert_string_equal(content(l, "a.log"), "1\n00\nno\n");
	lab_free(l);
}

static void buffer(void **state)
{
	struct lab *l = lab_new("http { log_format f $arg_n;\n"
				"access_log a.log f buffer=8 flush=200ms;\n"
				"server { access_log a.log f; } }",
				GET(""));

	l->f->r.uri.args = SLICE("n=123");
	write_line(l);
	write_line(l);
	assert_string_equal(content(l, "a.log"), "");
	/* Says nothing of a buffer, but the file has one. */
	l->f->r.block = child(child(l->conf.main, 0), 0);
	l->f->r.uri.args = SLICE("n=4");
	write_line(l);
	assert_string_equal(content(l, "a.log"), "123\n123\n");
	l->f->r.uri.args = SLICE("n=longer than the buffer");
	write_line(l);
	assert_string_equal(content(l, "a.log"), "123\n123\n4\nlonger than the buffer\n");
	l->f->r.uri.args = SLICE("n=5");
	write_line(l);
	for (int i = 0; i < 100 && strlen(content(l, "a.log")) < 35; i++)
		loop_turn(&l->f->env.loop, 50);
	assert_string_equal(content(l, "a.log"), "123\n123\n4\nlonger than the buffer\n5\n");
	write_line(l);
	access_log_flush(&l->f->env);
	assert_string_equal(content(l, "a.log"), "123\n123\n4\nlonger than the buffer\n5\n5\n");
	access_log_flush(&l->f->env);
	assert_string_equal(content(l, "a.log"), "123\n123\n4\nlonger than the buffer\n5\n5\n");
	assert_int_equal(l->f->env.loop.n_heap, 0);
	lab_free(l);
}

/* A line ends where it must, with its literals whole, whatever a client sends. */
static void long_values(void **state)
{
	enum { LINE = 64 * 1024 };
	struct lab *l = lab_new("http { log_format d '[$request_body|$request_body]';\n"
				"log_format j escape=json '{\"b\":\"$request_body\"}';\n"
				"access_log d.log d; access_log j.log j; }",
				GET(""));
	char *body = malloc(100000);
	const char *line;

	memset(body, 'x', 100000);
	l->f->r.body.mem = body;
	l->f->r.body.len = 100000;
	write_line(l);
	line = content(l, "d.log");
	assert_int_equal(strlen(line), LINE);
	assert_string_equal(line + LINE - 4, "x|]\n");
	line = content(l, "j.log");
	assert_int_equal(strlen(line), LINE);
	assert_string_equal(line + LINE - 4, "x\"}\n");

	memset(body, 1, 100000); /* an escape is there whole or not at all */
	assert_int_equal(truncate(l->conf.sinks->path, 0), 0);
	write_line(l);
	line = content(l, "j.log");
	assert_int_equal((strlen(line) - 9) % 6, 0);
	assert_in_range(strlen(line), LINE - 6, LINE);
	assert_string_equal(line + strlen(line) - 9, "\\u0001\"}\n");

	for (int i = 0; i < 100000; i++)
		body[i] = "\xe2\x82\xac"[i % 3];
	assert_int_equal(truncate(l->conf.sinks->path, 0), 0);
	write_line(l);
	line = content(l, "j.log");
	assert_int_equal((strlen(line) - 9) % 3, 0);
	assert_string_equal(line + strlen(line) - 6, "\xe2\x82\xac\"}\n");
	free(body);
	lab_free(l);
}

/* Values beyond the scratch memory come from the heap, and it is given back (ASan looks). */
static void large_values(void **state)
{
	struct lab *l = lab_new("http { log_format f $request; access_log a.log f; }", GET(""));
	char target[6000];
	char *two = malloc(20000);

	memset(target, 'a', sizeof target);
	l->f->r.head.target = slice_make(target, sizeof target);
	write_line(l);
	assert_int_equal(strlen(content(l, "a.log")), 6000 + 14);
	memset(two, 'b', 20000);
	l->f->r.head.target = slice_make(two, 20000);
	write_line(l);
	assert_int_equal(strlen(content(l, "a.log")), 26000 + 28);
	free(two);
	lab_free(l);
}

static unsigned count(const char *text, const char *what)
{
	unsigned n = 0;

	for (; (text = strstr(text, what)); text++)
		n++;
	return n;
}

/* A full disk, by the limit on a file's size: lines are lost, and what comes later begins on
 * a line of its own. */
static void full_disk(void **state)
{
	struct lab *l = lab_new("http { log_format f $arg_n; access_log a.log f; }", GET(""));
	struct rlimit old, small;

	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	small = (struct rlimit){.rlim_cur = 6, .rlim_max = old.rlim_max};
	l->f->env.loop.clock.mono_ms = 1000;
	l->error_log.n_to = 0; /* it has the limit too */
	l->f->r.uri.args = SLICE("n=123");
	write_line(l);
	setrlimit(RLIMIT_FSIZE, &small);
	write_line(l); /* two bytes fit */
	write_line(l); /* none */
	setrlimit(RLIMIT_FSIZE, &old);
	l->f->r.uri.args = SLICE("n=later");
	write_line(l);
	write_line(l);
	assert_string_equal(content(l, "a.log"), "123\n12\nlater\nlater\n");
	lab_free(l);
}

/* Once a minute. */
static void complaints(void **state)
{
	struct lab *l = lab_new("http { log_format f $arg_n; access_log /dev/full f; }", GET(""));
	static const unsigned at_s[] = {1, 2, 60, 61, 62, 121};
	static const unsigned told[] = {1, 1, 1, 2, 2, 3};

	for (size_t i = 0; i < sizeof at_s / sizeof at_s[0]; i++) {
		l->f->env.loop.clock.mono_ms = at_s[i] * 1000;
		write_line(l);
		assert_int_equal(count(content(l, "t.conf"), "[alert]"), told[i]);
	}
	assert_non_null(strstr(content(l, "t.conf"),
			       "write() to \"/dev/full\" failed (28: No space left on device)"));
	lab_free(l);
}

static void syslog_line(void **state)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	struct addr a;
	char text[512], got[512];
	struct lab *l;
	ssize_t n;

	addr_from_ip(SLICE("127.0.0.1"), 0, &a);
	assert_int_equal(bind(fd, &a.sa, a.len), 0);
	assert_int_equal(getsockname(fd, &a.sa, &a.len), 0);
	snprintf(text, sizeof text,
		 "http { log_format f '$status \"$uri\"'; access_log "
		 "syslog:server=127.0.0.1:%u,facility=local3,tag=gw f if=$arg_log; }",
		 addr_port(&a));
	l = lab_new(text, GET(""));
	l->f->r.resp.status = 404;
	write_line(l);
	l->f->r.uri.args = SLICE("log=1");
	write_line(l);
	n = recv(fd, got, sizeof got - 1, MSG_DONTWAIT);
	assert_true(n > 0);
	got[n] = 0;
	assert_memory_equal(got, "<158>", 5); /* local3 (19) * 8 + info (6) */
	assert_string_equal(strstr(got, " gw: "), " gw: 404 \"/p\"");
	assert_int_equal(recv(fd, got, sizeof got, MSG_DONTWAIT), -1);
	close(fd);
	lab_free(l);
}

static void check_error(const char *text, const char *message)
{
	struct lab *l = calloc(1, sizeof *l);

	load(l, text);
	assert_int_not_equal(l->r, 0);
	if (!strstr(l->errors, message))
		fail_msg("\"%s\" said \"%s\", not \"%s\"", text, l->errors, message);
	lab_free(l);
}

static void errors(void **state)
{
	check_error("http { log_format f a; log_format f b; }",
		    "duplicate \"log_format\" name \"f\"");
	check_error("http { log_format combined a; }",
		    "duplicate \"log_format\" name \"combined\"");
	check_error("http { log_format f escape=xml a; }", "unknown log format escaping \"xml\"");
	check_error("http { log_format f; }", "invalid number of arguments");
	check_error("http { log_format f $nope; }", "unknown \"nope\" variable");
	check_error("http { log_format f '$ho' 'st'; }", "unknown \"ho\" variable");
	check_error("log_format f a;", "is not allowed here");
	check_error("http { server { log_format f a; } }", "is not allowed here");
	check_error("http { access_log a.log f; }", "unknown log format \"f\"");
	check_error("http { access_log a.log f; log_format f a; }", "unknown log format \"f\"");
	check_error("http { access_log off f; }", "invalid parameter \"f\"");
	check_error("http { access_log a.log combined flush=1s; }",
		    "no buffer is defined for access_log \"a.log\"");
	check_error("http { access_log a.log combined buffer=0; }", "invalid buffer size \"0\"");
	check_error("http { access_log a.log combined buffer=1t; }", "invalid buffer size \"1t\"");
	check_error("http { access_log a.log combined buffer=1k flush=0; }",
		    "invalid flush time \"0\"");
	check_error("http { access_log a.log combined buffer=1k gzip=0; }",
		    "invalid compression level \"0\"");
	check_error("http { access_log a.log combined gzip=10; }",
		    "invalid compression level \"10\"");
	check_error("http { access_log a.log combined what=1; }", "invalid parameter \"what=1\"");
	check_error("http { access_log $host.log; }", "not supported");
	check_error("http { access_log a.log combined if=$nope; }", "unknown \"nope\" variable");
	check_error("http { access_log no/such/folder/a.log; }", "failed (2: No such file");
	check_error("http { access_log syslog:server=127.0.0.1 combined buffer=1k; }",
		    "logs to syslog cannot be buffered");
	check_error(
		"http { access_log a.log combined buffer=1k; access_log a.log combined buffer=2k; }",
		"access_log \"a.log\" already defined with conflicting parameters");
	check_error("http { access_log a.log combined buffer=1k flush=1s; server {\n"
		    "access_log a.log combined buffer=1k flush=2s; } }",
		    "t.conf:2");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(combined),	   cmocka_unit_test(escapes),
		cmocka_unit_test(escape_controls), cmocka_unit_test(inheritance),
		cmocka_unit_test(condition),	   cmocka_unit_test(buffer),
		cmocka_unit_test(long_values),	   cmocka_unit_test(large_values),
		cmocka_unit_test(full_disk),	   cmocka_unit_test(complaints),
		cmocka_unit_test(syslog_line),	   cmocka_unit_test(errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
