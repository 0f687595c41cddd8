/* SPDX-License-Identifier: BSD-2-Clause */
/* Files to values: rows, contexts, blocks, include, inheritance, defaults, and every message, each
 * in a folder of its own that is removed afterwards. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* nftw */
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/conf/fixture.h"

struct fx {
	struct conf c;
	char folder[64], path[96];
	char messages[8192]; /* what the last load wrote to stderr, the folder as DIR/ */
};

static int setup(void **state)
{
	struct fx *fx = calloc(1, sizeof *fx);

	snprintf(fx->folder, sizeof fx->folder, "/tmp/sl-conf-XXXXXX");
	if (!mkdtemp(fx->folder))
		return -1;
	strcat(fx->folder, "/");
	snprintf(fx->path, sizeof fx->path, "%ssluice.conf", fx->folder);
	*state = fx;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static int teardown(void **state)
{
	struct fx *fx = *state;

	conf_free(&fx->c);
	nftw(fx->folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	free(fx);
	return 0;
}

static void write_file(struct fx *fx, const char *name, struct slice text)
{
	char path[160];
	FILE *f;

	snprintf(path, sizeof path, "%s%s", fx->folder, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(text.p, 1, text.n, f), text.n);
	assert_int_equal(fclose(f), 0);
}

/* Runs what F does with stdout or stderr (FD) going into OUT. */
static int capture_start(int fd)
{
	FILE *f = tmpfile();
	int saved = dup(fd);

	assert_non_null(f);
	fflush(stdout);
	assert_int_equal(dup2(fileno(f), fd), fd);
	fclose(f);
	return saved;
}

static void capture_end(int fd, int saved, char *out, size_t room)
{
	ssize_t n;

	fflush(stdout);
	n = pread(fd, out, room - 1, 0);
	out[n > 0 ? n : 0] = 0;
	dup2(saved, fd);
	close(saved);
}

static void hide_folder(struct fx *fx)
{
	char *at;

	while ((at = strstr(fx->messages, fx->folder)) != NULL) {
		size_t n = strlen(fx->folder);

		memcpy(at, "DIR/", 4);
		memmove(at + 4, at + n, strlen(at + n) + 1);
	}
}

static int load_globals(struct fx *fx, const char *globals, struct slice text)
{
	int saved, r;

	conf_free(&fx->c);
	fx_conf_init(&fx->c, fx->folder, fx->path);
	write_file(fx, "sluice.conf", text);
	saved = capture_start(STDERR_FILENO);
	r = conf_load(&fx->c, slice_cstr(globals));
	capture_end(STDERR_FILENO, saved, fx->messages, sizeof fx->messages);
	hide_folder(fx);
	return r;
}

static void loads(struct fx *fx, const char *text)
{
	if (load_globals(fx, "", slice_cstr(text)) != 0)
		fail_msg("%s", fx->messages);
	assert_int_equal(fx->c.n_errors, 0);
}

/* MESSAGE is all that is written, without "sluice: [emerg] ". */
static void says(struct fx *fx, const char *globals, const char *text, const char *message)
{
	char expected[1024];

	assert_int_equal(load_globals(fx, globals, slice_cstr(text)), -SL_EINVAL);
	snprintf(expected, sizeof expected, "sluice: [emerg] %s\n", message);
	assert_string_equal(fx->messages, expected);
	assert_int_equal(fx->c.n_errors, 1);
}

static void fails(struct fx *fx, const char *text, const char *message)
{
	says(fx, "", text, message);
}

static struct fx_core *core(struct fx *fx)
{
	return fx->c.main->mod[MOD_CORE];
}

/* The N-th block (from 0) of its parent. */
static struct conf_block *child(struct conf_block *b, int n)
{
	for (b = b->first_child; n > 0; n--)
		b = b->next;
	return b;
}

static struct fx_http *http_of(struct conf_block *b)
{
	assert_non_null(b);
	return b->mod[MOD_HTTP];
}

static void typed_values(void **state)
{
	struct fx *fx = *state;
	struct fx_http *h;
	struct slice s;

	loads(fx, "worker_processes 4; daemon OFF; pid '/run/a b'; shutdown_timeout 1m;\n"
		  "events { use POLL; worker_connections 7; }\n"
		  "http { keepalive_timeout 1500ms; client_max_body_size 10g; cache_time 1h;\n"
		  "protocols four one; root \"\"; key a$host; buffer_size 1024; }");
	assert_int_equal(core(fx)->processes, 4);
	assert_int_equal(core(fx)->daemon, 0);
	assert_true(slice_eq(core(fx)->pid, SLICE("/run/a b")));
	assert_int_equal(core(fx)->shutdown_ms, 60000);
	assert_int_equal(((struct fx_core *)child(fx->c.main, 0)->mod[MOD_CORE])->use, 2);
	assert_int_equal(((struct fx_core *)child(fx->c.main, 0)->mod[MOD_CORE])->connections, 7);
	h = http_of(child(fx->c.main, 1));
	assert_int_equal(h->keepalive_ms, 1500);
	assert_int_equal(h->body_max_bytes, 10LL << 30);
	assert_int_equal(h->cache_s, 3600);
	assert_int_equal(h->protocols, 5);
	assert_non_null(h->root.p);
	assert_int_equal(h->root.n, 0);
	s = tmpl_eval(h->key, (char *)"h", &fx->c.arena);
	assert_true(slice_eq(s, SLICE("ah")));
	assert_string_equal(fx->messages, "");
}

static void words_besides_numbers(void **state)
{
	struct fx *fx = *state;

	loads(fx, "worker_processes auto;");
	assert_int_equal(core(fx)->processes, -1);
}

static void defaults(void **state)
{
	struct fx *fx = *state;
	struct fx_http *h;

	loads(fx, "http { server { location / { } } }");
	assert_int_equal(core(fx)->processes, 1);
	assert_int_equal(core(fx)->daemon, 1);
	assert_null(core(fx)->pid.p);
	assert_int_equal(core(fx)->shutdown_ms, CONF_UNSET);
	h = http_of(child(child(child(fx->c.main, 0), 0), 0));
	assert_int_equal(h->keepalive_ms, 75000);
	assert_int_equal(h->body_max_bytes, 1 << 20);
	assert_int_equal(h->buffer_bytes, 4096);
	assert_int_equal(h->cache_s, CONF_UNSET);
	assert_int_equal(h->protocols, 3);
	assert_int_equal(h->root.n, 0);
	assert_non_null(h->root.p);
	assert_null(h->key);
	assert_null(h->headers);
	/* one list for all blocks, made by set() from the text of the default */
	assert_ptr_equal(h->log, http_of(child(fx->c.main, 0))->log);
	assert_true(slice_eq(h->log->name, SLICE("usual")));
	assert_true(slice_eq(h->log->value->source, SLICE("$host \"quoted\"")));
	assert_null(h->log->next);
	/* a typed row's set() sees the default too, once, where it is applied */
	assert_int_equal(http_of(child(fx->c.main, 0))->n_checks, 1);
	assert_int_equal(h->n_checks, 0);
}

static void inheritance(void **state)
{
	struct fx *fx = *state;
	struct fx_http *http, *server, *location, *other;

	loads(fx,
	      "http {\n"
	      "  server { keepalive_timeout 2s; add_header A 1; root /s; key $host;\n"
	      "    location / { add_header B 2; add_header C 3; buffer_size 2k; log own x; } }\n"
	      "  server { location /n { location /n/m { } } }\n"
	      "  keepalive_timeout 1s; protocols one;\n"
	      "}");
	http = http_of(child(fx->c.main, 0));
	server = http_of(child(child(fx->c.main, 0), 0));
	location = http_of(child(child(child(fx->c.main, 0), 0), 0));
	other = http_of(child(child(child(child(fx->c.main, 0), 1), 0), 0));
	assert_int_equal(http->keepalive_ms, 1000);
	assert_int_equal(server->keepalive_ms, 2000);
	assert_int_equal(location->keepalive_ms, 2000);
	assert_int_equal(other->keepalive_ms, 1000);
	assert_int_equal(other->protocols, 1);
	assert_int_equal(location->buffer_bytes, 2048);
	assert_int_equal(server->buffer_bytes, 4096);
	assert_true(slice_eq(location->root, SLICE("/s")));
	assert_int_equal(other->root.n, 0);
	assert_ptr_equal(location->key, server->key);
	assert_null(other->key);
	assert_true(slice_eq(server->headers->name, SLICE("A")));
	assert_true(slice_eq(location->headers->name, SLICE("C")));
	assert_true(slice_eq(location->headers->next->name, SLICE("B")));
	assert_null(location->headers->next->next);
	assert_true(slice_eq(location->log->name, SLICE("own")));
	assert_true(slice_eq(server->log->name, SLICE("usual")));
	assert_false(http->had_parent);
	assert_true(server->had_parent && location->had_parent && other->had_parent);
	assert_true(http->finished && location->finished && other->finished);
	/* CONF_CUSTOM without CONF_INHERIT stays where it stands */
	assert_int_equal(server->n_listen, 0);
}

static void blocks(void **state)
{
	struct fx *fx = *state;
	struct conf_block *http, *server;

	loads(fx, "env A; env B;\nhttp {\n server { listen 1; listen 2 ssl; }\n\n"
		  " server { location = /x { } }\n}");
	http = child(fx->c.main, 0);
	assert_int_equal(core(fx)->n_env, 2);
	assert_int_equal(http->ctx, CTX_HTTP);
	assert_ptr_equal(http->parent, fx->c.main);
	assert_null(fx->c.main->node);
	assert_null(http->mod[MOD_CORE]);
	assert_null(fx->c.main->mod[MOD_HTTP]);
	assert_null(http->mod[MOD_UPSTREAM]);
	assert_int_equal(http_of(child(http, 0))->n_listen, 2);
	server = child(http, 1);
	assert_ptr_equal(server, http->last_child);
	assert_int_equal(server->node->line, 5);
	assert_string_equal(server->node->file, fx->path);
	assert_int_equal(server->first_child->ctx, CTX_LOCATION);
	assert_int_equal(server->first_child->node->n_args, 2);
	assert_true(slice_eq(server->first_child->node->args[1], SLICE("/x")));
}

/* server is a block in http and a line in upstream; listen is of two modules; so is a time. */
static void rows_by_context(void **state)
{
	struct fx *fx = *state;
	struct conf_block *http;

	loads(fx, "http { upstream u { server a; server b weight=1; } server { listen 1; }\n"
		  "keepalive_timeout 5s; upstream v { keepalive_timeout 6s; server c; } }\n"
		  "admin { listen unix:x; }");
	http = child(fx->c.main, 0);
	assert_int_equal(((struct fx_upstream *)child(http, 0)->mod[MOD_UPSTREAM])->n_servers, 2);
	assert_int_equal(((struct fx_upstream *)child(http, 0)->mod[MOD_UPSTREAM])->keepalive_ms,
			 60000);
	assert_int_equal(((struct fx_upstream *)child(http, 2)->mod[MOD_UPSTREAM])->keepalive_ms,
			 6000);
	assert_int_equal(http_of(child(http, 1))->keepalive_ms, 5000);
	assert_int_equal(((struct fx_admin *)child(fx->c.main, 1)->mod[MOD_ADMIN])->n_listen, 1);
	assert_int_equal(http_of(child(http, 1))->n_listen, 1);
}

static void free_lines(void **state)
{
	struct fx *fx = *state;
	struct fx_map *m;

	write_file(fx, "more", SLICE("x y;"));
	loads(fx, "http { map $host $a { hostnames on; default 1; http 2; '' 3; server 4;\n"
		  "include more; } }");
	m = child(child(fx->c.main, 0), 0)->mod[MOD_LIMIT];
	assert_int_equal(m->hostnames, 1);
	assert_int_equal(m->n_lines, 5);
	assert_true(slice_eq(m->last_name, SLICE("x")));
	assert_true(slice_eq(m->last_value, SLICE("y")));
	fails(fx, "http { map $host $a {\n b; } }",
	      "invalid number of the map parameters in DIR/sluice.conf:2");
	fails(fx, "http { map $host $a {\n b { } } }", "unexpected \"{\" in DIR/sluice.conf:2");
	fails(fx, "http { map $host a { } }", "invalid variable name \"a\" in DIR/sluice.conf:1");
	fails(fx, "admin { types { a b; } }", "unknown directive \"a\" in DIR/sluice.conf:1");
}

static void command_line(void **state)
{
	struct fx *fx = *state;

	assert_int_equal(
		load_globals(fx, "daemon off; env A;", SLICE("worker_processes 3; env B;")), 0);
	assert_int_equal(core(fx)->daemon, 0);
	assert_int_equal(core(fx)->processes, 3);
	assert_int_equal(core(fx)->n_env, 2);
	says(fx, "daemon off", "", "unexpected end of parameter, expecting \";\" in command line");
	says(fx, "\nfoo;", "", "unknown directive \"foo\" in command line");
	says(fx, "events { }", "",
	     "block directives are not supported in -g option in command line");
	says(fx, "}", "", "unexpected \"}\" in command line");
	says(fx, "daemon x;", "",
	     "invalid value \"x\" in \"daemon\" directive, it must be \"on\" or \"off\" in command "
	     "line");
	says(fx, "daemon off;", "\ndaemon on;",
	     "\"daemon\" directive is duplicate in DIR/sluice.conf:2");
}

static void name_errors(void **state)
{
	struct fx *fx = *state;

	fails(fx, "\nzzz 1;", "unknown directive \"zzz\" in DIR/sluice.conf:2");
	fails(fx, "worker_proceses 1;",
	      "unknown directive \"worker_proceses\" in "
	      "DIR/sluice.conf:1 (did you mean \"worker_processes\"?)");
	fails(fx, "http {\n keepalive_timout 1; }",
	      "unknown directive \"keepalive_timout\" in "
	      "DIR/sluice.conf:2 (did you mean \"keepalive_timeout\"?)");
	fails(fx, "keepalive_timeout 1;",
	      "\"keepalive_timeout\" directive is not allowed here in "
	      "DIR/sluice.conf:1 (allowed in: http, server, location, upstream)");
	fails(fx, "http { listen 1; }",
	      "\"listen\" directive is not allowed here in "
	      "DIR/sluice.conf:1 (allowed in: server, admin)");
	fails(fx, "a\x1b[2J\x7f;", "unknown directive \"a\\x1B[2J\\x7F\" in DIR/sluice.conf:1");
}

static void syntax_errors(void **state)
{
	struct fx *fx = *state;

	fails(fx, "daemon on\nevents { }",
	      "directive \"daemon\" is not terminated by \";\" in DIR/sluice.conf:1");
	fails(fx, "events;", "directive \"events\" has no opening \"{\" in DIR/sluice.conf:1");
	fails(fx, "include a { }",
	      "directive \"include\" is not terminated by \";\" in DIR/sluice.conf:1");
	fails(fx, "}", "unexpected \"}\" in DIR/sluice.conf:1");
	fails(fx, "daemon on; }", "unexpected \"}\" in DIR/sluice.conf:1");
	fails(fx, ";", "unexpected \";\" in DIR/sluice.conf:1");
	fails(fx, "\nhttp {\n server {\n }\n",
	      "unexpected end of file, expecting \"}\" in DIR/sluice.conf:5 (to close \"http\" of "
	      "line 2)");
	fails(fx, "daemon",
	      "unexpected end of file, expecting \";\" or \"}\" in DIR/sluice.conf:1");
	fails(fx, "pid \"a;\n",
	      "unexpected end of file, expecting \";\" or \"}\" in "
	      "DIR/sluice.conf:2 (the \" in line 1 is not closed)");
	fails(fx, "pid \"a\"b;", "unexpected \"b\" in DIR/sluice.conf:1");
	assert_int_equal(load_globals(fx, "", SLICE("pid\0 a;")), -SL_EINVAL);
	assert_string_equal(fx->messages,
			    "sluice: [emerg] unexpected \"\\x00\" in DIR/sluice.conf:1\n");
}

static void count_errors(void **state)
{
	struct fx *fx = *state;

	fails(fx, "daemon on off;",
	      "invalid number of arguments in \"daemon\" directive in "
	      "DIR/sluice.conf:1 (expected 1, got 2)");
	fails(fx, "http a { }",
	      "invalid number of arguments in \"http\" directive in "
	      "DIR/sluice.conf:1 (expected 0, got 1)");
	fails(fx, "http { server { location { } } }",
	      "invalid number of arguments in \"location\" "
	      "directive in DIR/sluice.conf:1 (expected 1 to 2, got 0)");
	fails(fx, "http { server { listen; } }",
	      "invalid number of arguments in \"listen\" "
	      "directive in DIR/sluice.conf:1 (expected at least 1, got 0)");
	fails(fx, "include;",
	      "invalid number of arguments in \"include\" directive in "
	      "DIR/sluice.conf:1 (expected 1, got 0)");
}

static void duplicates(void **state)
{
	struct fx *fx = *state;

	fails(fx, "pid a;\npid b;", "\"pid\" directive is duplicate in DIR/sluice.conf:2");
	fails(fx, "events { }\nevents { }",
	      "\"events\" directive is duplicate in DIR/sluice.conf:2");
	fails(fx, "http { log a b; log c d; }",
	      "\"log\" directive is duplicate in DIR/sluice.conf:1");
	write_file(fx, "inc", SLICE("\npid b;"));
	fails(fx, "pid a; include inc;", "\"pid\" directive is duplicate in DIR/inc:2");
	loads(fx, "http { key a; server { key b; } server { key c; } }");
	/* CONF_BITS with CONF_MULTI adds up, and says what stands there twice */
	loads(fx, "http { protocols one; protocols four one; }");
	assert_int_equal(http_of(child(fx->c.main, 0))->protocols, 5);
	assert_string_equal(fx->messages, "sluice: [warn] duplicate value \"one\" in "
					  "DIR/sluice.conf:1\n");
}

static void value_errors(void **state)
{
	struct fx *fx = *state;

	fails(fx, "worker_processes x;",
	      "\"worker_processes\" directive invalid number in "
	      "DIR/sluice.conf:1 (expected a number or \"auto\", got \"x\")");
	fails(fx, "worker_processes 513;",
	      "value must be between 1 and 512 in DIR/sluice.conf:1 "
	      "(\"worker_processes\" got \"513\")");
	fails(fx, "worker_processes 0;",
	      "value must be between 1 and 512 in DIR/sluice.conf:1 "
	      "(\"worker_processes\" got \"0\")");
	fails(fx, "worker_processes 99999999999999999999;",
	      "\"worker_processes\" directive "
	      "invalid number in DIR/sluice.conf:1 (too large for a number or \"auto\", got "
	      "\"99999999999999999999\")");
	fails(fx, "events { worker_connections 0; }",
	      "value must be equal to or greater than 1 in "
	      "DIR/sluice.conf:1 (\"worker_connections\" got \"0\")");
	fails(fx, "shutdown_timeout 2h;",
	      "value must be between 1s and 1h in DIR/sluice.conf:1 "
	      "(\"shutdown_timeout\" got \"2h\")");
	fails(fx, "http { buffer_size 2m; }",
	      "value must be between 1k and 1m in "
	      "DIR/sluice.conf:1 (\"buffer_size\" got \"2m\")");
	fails(fx, "http { cache_time 25h; }",
	      "value must be between 0 and 1d in "
	      "DIR/sluice.conf:1 (\"cache_time\" got \"25h\")");
	fails(fx, "http { client_max_body_size 1t; }",
	      "\"client_max_body_size\" directive invalid "
	      "value in DIR/sluice.conf:1 (expected a size like 512, 4k, 10m or 1g, got \"1t\")");
	fails(fx, "http { keepalive_timeout 1s1m; }",
	      "\"keepalive_timeout\" directive invalid "
	      "value in DIR/sluice.conf:1 (expected a time like 500ms, 30s, 10m or 1h30m, got "
	      "\"1s1m\")");
	fails(fx, "events { use kqueue; }",
	      "invalid value \"kqueue\" in \"use\" directive in "
	      "DIR/sluice.conf:1 (expected one of: epoll, poll)");
	fails(fx, "http { protocols one three; }",
	      "invalid value \"three\" in \"protocols\" "
	      "directive in DIR/sluice.conf:1 (expected one of: one, two, four)");
	fails(fx, "http { buffer_size 1025; }", "buffer must be even in DIR/sluice.conf:1");
	/* a set() that failed and said nothing */
	fails(fx, "http { server { listen nowhere; } }",
	      "\"listen\" directive invalid value in DIR/sluice.conf:1");
}

static void variable_errors(void **state)
{
	struct fx *fx = *state;

	fails(fx, "http {\n key $nope;\n}", "unknown \"nope\" variable in DIR/sluice.conf:2");
	fails(fx, "http { key '$'; }", "invalid variable name in DIR/sluice.conf:1");
	fails(fx, "http { key ${a; }",
	      "the closing bracket in \"a\" variable is missing in DIR/sluice.conf:1");
	fails(fx, "http { add_header A\n$nope; }",
	      "unknown \"nope\" variable in DIR/sluice.conf:1");
}

static void finish_errors(void **state)
{
	fails(*state, "http {\n server { root /refused; } }",
	      "root is refused in DIR/sluice.conf:2");
}

static void file_errors(void **state)
{
	struct fx *fx = *state;
	int saved, r;

	fails(fx, "\ninclude none;",
	      "open() \"DIR/none\" failed (2: No such file or directory) in DIR/sluice.conf:2");
	fails(fx, "include /nonexistent/x;",
	      "open() \"/nonexistent/x\" failed (2: No such file or "
	      "directory) in DIR/sluice.conf:1");
	fails(fx, "include .;",
	      "read() \"DIR/.\" failed (21: Is a directory) in DIR/sluice.conf:1");
	fails(fx, "include /dev/zero;", "\"/dev/zero\" is larger than 64 MB in DIR/sluice.conf:1");
	conf_free(&fx->c);
	strcat(fx->path, ".none");
	fx_conf_init(&fx->c, fx->folder, fx->path);
	saved = capture_start(STDERR_FILENO);
	r = conf_load(&fx->c, SLICE(""));
	capture_end(STDERR_FILENO, saved, fx->messages, sizeof fx->messages);
	hide_folder(fx);
	assert_int_equal(r, -SL_EINVAL);
	assert_string_equal(fx->messages,
			    "sluice: [emerg] open() \"DIR/sluice.conf.none\" failed (2: "
			    "No such file or directory)\n");
}

static void include(void **state)
{
	struct fx *fx = *state;
	char sub[96], text[160];

	snprintf(sub, sizeof sub, "%sd", fx->folder);
	assert_int_equal(mkdir(sub, 0700), 0);
	write_file(fx, "d/b.conf", SLICE("listen b;"));
	write_file(fx, "d/a.conf", SLICE("listen a; location /a { include d/c.inc; }\n"));
	write_file(fx, "d/c.inc", SLICE("key $host;"));
	write_file(fx, "bom",
		   SLICE("\xef\xbb\xbf"
			 "daemon off;"));
	loads(fx, "include bom; http { server { include d/*.conf; } include none/*.conf;\n"
		  "include no[ne]; }");
	assert_int_equal(core(fx)->daemon, 0);
	assert_int_equal(http_of(child(child(fx->c.main, 0), 0))->n_listen, 2);
	assert_non_null(http_of(child(child(child(fx->c.main, 0), 0), 0))->key);
	snprintf(text, sizeof text, "include '%sbom';", fx->folder);
	loads(fx, text);
	assert_int_equal(core(fx)->daemon, 0);
	write_file(fx, "open", SLICE("http {\n"));
	fails(fx, "include open; }",
	      "unexpected end of file, expecting \"}\" in DIR/open:2 (to close "
	      "\"http\" of line 1)");
	write_file(fx, "close", SLICE("\n}"));
	fails(fx, "http { include close;", "unexpected \"}\" in DIR/close:2");
}

static void include_cycle(void **state)
{
	struct fx *fx = *state;
	char name[16], text[32];

	write_file(fx, "a", SLICE("\ninclude b;"));
	write_file(fx, "b", SLICE("include a;"));
	fails(fx, "include a;", "\"DIR/a\" includes itself in DIR/b:1");
	fails(fx, "include *.conf;", "\"DIR/sluice.conf\" includes itself in DIR/sluice.conf:1");
	for (int i = 0; i < 70; i++) {
		snprintf(name, sizeof name, "n%d", i);
		snprintf(text, sizeof text, "include n%d;", i + 1);
		write_file(fx, name, slice_cstr(text));
	}
	fails(fx, "include n0;", "include of \"DIR/n63\" is nested deeper than 64 in DIR/n62:1");
	write_file(fx, "n62", SLICE("daemon off;"));
	loads(fx, "include n0;");
	/* the same file twice, one after the other, is no cycle */
	write_file(fx, "e", SLICE("env X;"));
	loads(fx, "include e; include e;");
	assert_int_equal(core(fx)->n_env, 2);
}

static void nesting(void **state)
{
	struct fx *fx = *state;
	char text[4096] = "http{server{";

	for (int i = 0; i < 62; i++)
		strcat(text, "location /{");
	for (int i = 0; i < 64; i++)
		strcat(text, "}");
	loads(fx, text);
	strcpy(text, "http{server{");
	for (int i = 0; i < 63; i++)
		strcat(text, "location /{");
	fails(fx, text, "block \"location\" is nested deeper than 64 in DIR/sluice.conf:1");
}

static void garbage(void **state)
{
	struct fx *fx = *state;
	char text[4096];
	unsigned x = 1;

	for (int round = 0; round < 50; round++) {
		for (size_t i = 0; i < sizeof text; i++) {
			x = x * 1664525 + 1013904223;
			text[i] = (char)(x >> 24);
		}
		assert_int_equal(load_globals(fx, "", slice_make(text, sizeof text)), -SL_EINVAL);
		assert_int_equal(strncmp(fx->messages, "sluice: [emerg] ", 16), 0);
		assert_ptr_equal(strchr(fx->messages, '\n'),
				 fx->messages + strlen(fx->messages) - 1);
	}
}

static void large_file(void **state)
{
	struct fx *fx = *state;
	enum { N = 200000, LINE_BYTES = 24 };
	char *text = malloc((size_t)N * LINE_BYTES + 64);
	size_t n = 0;

	assert_non_null(text);
	n += (size_t)sprintf(text, "http { map $host $a {\n");
	for (int i = 0; i < N; i++)
		n += (size_t)sprintf(text + n, "h%d.example v%d;\n", i, i);
	n += (size_t)sprintf(text + n, "} }");
	assert_int_equal(load_globals(fx, "", slice_make(text, n)), 0);
	assert_int_equal(((struct fx_map *)child(child(fx->c.main, 0), 0)->mod[MOD_LIMIT])->n_lines,
			 N);
	free(text);
}

static void sources(void **state)
{
	struct fx *fx = *state;
	int saved;

	write_file(fx, "e", SLICE("env X; # kept\n"));
	loads(fx, "include e;\ninclude e;");
	saved = capture_start(STDOUT_FILENO);
	conf_print_sources(&fx->c);
	capture_end(STDOUT_FILENO, saved, fx->messages, sizeof fx->messages);
	hide_folder(fx);
	assert_string_equal(fx->messages, "# configuration file DIR/sluice.conf:\n"
					  "include e;\ninclude e;\n"
					  "# configuration file DIR/e:\n"
					  "env X; # kept\n\n");
}

static void contains(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("\"%s\" is not in:\n%s", part, text);
}

static void docs(void **state)
{
	struct fx *fx = *state;
	int saved = capture_start(STDOUT_FILENO);

	conf_print_docs(fx_modules);
	capture_end(STDOUT_FILENO, saved, fx->messages, sizeof fx->messages);
	contains(fx->messages, "## core\n\n### worker_processes\n\n"
			       "- Syntax: `worker_processes number | auto;`\n"
			       "- Default: `worker_processes 1;`\n"
			       "- Context: main\n\nHow many workers run.\n\n");
	contains(fx->messages, "- Syntax: `daemon on | off;`\n");
	contains(fx->messages, "- Syntax: `shutdown_timeout time;`\n- Default: none\n");
	contains(fx->messages, "- Syntax: `use epoll | poll;`\n");
	contains(fx->messages, "- Syntax: `protocols one | two | four ...;`\n");
	contains(fx->messages,
		 "- Syntax: `server { ... }`\n- Default: none\n- Context: http; may be "
		 "repeated\n");
	contains(fx->messages, "- Syntax: `location value [value] { ... }`\n");
	contains(fx->messages, "- Syntax: `listen value [value ...];`\n");
	contains(fx->messages, "### include\n");
}

/* Messages go to the boot log as well, and once to stderr when that is where it leads. */
static void boot_log(void **state)
{
	struct fx *fx = *state;
	char log_path[96], text[512];
	struct log_sink file = {.path = log_path, .fd = -1}, err = {.fd = STDERR_FILENO};
	struct log log = {.to = {{&file, LOG_LVL_ERROR}, {&err, LOG_LVL_ERROR}}, .n_to = 2};
	int saved, fd;
	ssize_t n;

	snprintf(log_path, sizeof log_path, "%slog", fx->folder);
	assert_int_equal(log_sink_open(&file), 0);
	write_file(fx, "sluice.conf", SLICE("zzz;"));
	fx_conf_init(&fx->c, fx->folder, fx->path);
	fx->c.boot_log = &log;
	saved = capture_start(STDERR_FILENO);
	assert_int_equal(conf_load(&fx->c, SLICE("")), -SL_EINVAL);
	assert_int_equal(conf_warn(&fx->c, NULL, "only to stderr: %d", 1), 0);
	capture_end(STDERR_FILENO, saved, fx->messages, sizeof fx->messages);
	hide_folder(fx);
	assert_string_equal(fx->messages,
			    "sluice: [emerg] unknown directive \"zzz\" in DIR/sluice.conf:1\n"
			    "sluice: [warn] only to stderr: 1\n");
	log_sink_close(&file);
	fd = open(log_path, O_RDONLY);
	n = read(fd, text, sizeof text - 1);
	close(fd);
	text[n > 0 ? n : 0] = 0;
	contains(text, "[emerg] ");
	contains(text, ": unknown directive \"zzz\" in /tmp/sl-conf-");
	assert_null(strstr(text, "stderr"));
}

static void free_closes_logs(void **state)
{
	struct fx *fx = *state;
	struct log_sink sink = {.fd = open("/dev/null", O_WRONLY | O_CLOEXEC)};
	int fd = sink.fd;

	loads(fx, "");
	fx->c.sinks = &sink;
	conf_free(&fx->c);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	assert_int_equal(errno, EBADF);
	assert_int_equal(sink.fd, -1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(typed_values),
		T(words_besides_numbers),
		T(defaults),
		T(inheritance),
		T(blocks),
		T(rows_by_context),
		T(free_lines),
		T(command_line),
		T(name_errors),
		T(syntax_errors),
		T(count_errors),
		T(duplicates),
		T(value_errors),
		T(variable_errors),
		T(finish_errors),
		T(file_errors),
		T(include),
		T(include_cycle),
		T(nesting),
		T(garbage),
		T(large_file),
		T(sources),
		T(docs),
		T(boot_log),
		T(free_closes_logs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
