/* SPDX-License-Identifier: BSD-2-Clause */
/* sluicectl: the admin API at a terminal. Owns the command line and the exit codes. Knows nothing
 * of shared memory or the kernel: what it shows is what the API said. */
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "carry.h"
#include "client.h"
#include "show.h"
#include "watch.h"

#define SOCKET_DEFAULT "/run/sluice/admin.sock"

struct options {
	const char *socket, *top, *for_time, *reason, *export_to, *import_from, *last;
	bool json;
};

struct command {
	const char *name, *args, *help;
	int n_args;
	bool has_top, has_for; /* has_for: --for and --reason */
	bool has_last, has_file;
	int (*run)(const struct options *o, const char *arg);
};

/* Asks and shows; PRINT NULL: the answer has no body. */
static int perform(const struct options *o, const char *method, const char *path, const char *body,
		   void (*print)(const json_t *j))
{
	struct answer a;
	json_error_t error;
	json_t *j = NULL;
	int r = client_request(o->socket, method, path, body, &a);

	if (r)
		goto out;
	if (a.body_len)
		j = json_loadb(a.body, a.body_len, 0, &error);
	if (a.body_len && o->json)
		printf("%s\n", a.body);
	if (a.status < 200 || a.status > 299) {
		const char *why = show_text(json_object_get(j, "error"), "message");

		r = client_fail("%s%s(HTTP %d)", why, why[0] ? " " : "refused ", a.status);
	} else if (print && !json_is_object(j)) {
		r = client_fail("the answer is not JSON");
	} else if (print && !o->json) {
		print(j);
	}
out:
	json_decref(j);
	free(a.raw);
	if (!r && (fflush(stdout) || ferror(stdout)))
		r = client_fail("cannot write: %s", strerror(errno));
	return r;
}

static int run_status(const struct options *o, const char *arg)
{
	return perform(o, "GET", "/api/v1/status", NULL, show_status);
}

static int run_upstreams(const struct options *o, const char *arg)
{
	return perform(o, "GET", "/api/v1/upstreams", NULL, show_upstreams);
}

static int run_bans(const struct options *o, const char *arg)
{
	if (o->export_to)
		return carry_export(o->socket, o->export_to);
	if (o->import_from)
		return carry_import(o->socket, o->import_from);
	return perform(o, "GET", "/api/v1/bans?limit=10000", NULL, show_bans);
}

static int run_denied(const struct options *o, const char *arg)
{
	return perform(o, "GET", "/api/v1/denied", NULL, show_denied);
}

static int run_rules(const struct options *o, const char *arg)
{
	return perform(o, "GET", "/api/v1/rules", NULL, show_rules);
}

/* TEXT for a path or query: what is not plainly harmless is escaped. */
static void put_escaped(char *out, size_t room, const char *in)
{
	size_t o = 0;

	for (; *in && o + 4 < room; in++) {
		unsigned char c = (unsigned char)*in;

		if ((c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
		    c == '.' || c == ':' || c == '-' || c == '/')
			out[o++] = (char)c;
		else
			o += (size_t)snprintf(out + o, room - o, "%%%02X", c);
	}
	out[o] = 0;
}

static int run_sources(const struct options *o, const char *arg)
{
	char top[64], path[128];

	put_escaped(top, sizeof top, o->top ? o->top : "20");
	snprintf(path, sizeof path, "/api/v1/sources?top=%s", top);
	return perform(o, "GET", path, NULL, show_sources);
}

static int run_ban(const struct options *o, const char *arg)
{
	json_t *j = json_pack("{s:s, s:s, s:s*}", "address", arg, "for", o->for_time, "reason",
			      o->reason);
	char *body = j ? json_dumps(j, JSON_COMPACT) : NULL;
	int r = body ? perform(o, "POST", "/api/v1/bans", body, show_ban)
		     : client_fail("the address, time or reason is not UTF-8 text");

	free(body);
	json_decref(j);
	return r;
}

static int run_unban(const struct options *o, const char *arg)
{
	char address[256], path[300];
	int r;

	put_escaped(address, sizeof address, arg);
	snprintf(path, sizeof path, "/api/v1/bans/%s", address);
	r = perform(o, "DELETE", path, NULL, NULL);
	if (!r && !o->json)
		printf("%s is not banned any more\n", arg);
	return r;
}

static int run_reload(const struct options *o, const char *arg)
{
	return perform(o, "POST", "/api/v1/reload", NULL, show_reload);
}

static int run_watch(const struct options *o, const char *arg)
{
	char last[64];

	put_escaped(last, sizeof last, o->last ? o->last : "");
	return watch_run(o->socket, last, o->json);
}

static const struct command commands[] = {
	{"status", "", "how sluice is doing: workers, traffic, guard", .run = run_status},
	{"upstreams", "", "the groups, their servers and who failed", .run = run_upstreams},
	{"bans", "[--export FILE | --import FILE]",
	 "who is banned, newest first; - is stdin, stdout", .has_file = true, .run = run_bans},
	{"rules", "", "what each rule has done", .run = run_rules},
	{"denied", "", "whom the configuration keeps out, and whom it always lets in",
	 .run = run_denied},
	{"sources", "[--top N]", "who sends the most packets, as the guard counts (20)",
	 .has_top = true, .run = run_sources},
	{"watch", "[--last N]", "what happens, as it happens; the last N first", .has_last = true,
	 .run = run_watch},
	{"ban", "ADDR[/LEN] --for TIME [--reason TEXT]", "ban it; TIME as 30s, 10m, 1d, or forever",
	 1, .has_for = true, .run = run_ban},
	{"unban", "ADDR[/LEN]", "lift a ban", 1, .run = run_unban},
	{"reload", "", "load the configuration again", .run = run_reload},
};
enum { N_COMMANDS = sizeof commands / sizeof commands[0] };

static void print_help(FILE *f)
{
	fputs("Usage: sluicectl [-s SOCKET] [--json] COMMAND\n\n", f);
	for (int i = 0; i < N_COMMANDS; i++)
		fprintf(f, "  %s%s%-*s %s\n", commands[i].name, commands[i].args[0] ? " " : "",
			(int)(43 - strlen(commands[i].name) - (commands[i].args[0] != 0)),
			commands[i].args, commands[i].help);
	fputs("\n  -s, --socket SOCKET  the admin socket (" SOCKET_DEFAULT ")\n"
	      "  -j, --json           the API's answer as it came; of watch a line each\n"
	      "  -h, --help           this text\n\n"
	      "Exit status: 0 done, 1 refused or failed, 2 usage, 3 no connection.\n",
	      f);
}

static int usage(const char *what, const char *name)
{
	fprintf(stderr, "sluicectl: %s%s\nTry \"sluicectl --help\".\n", what, name);
	return EXIT_USAGE;
}

static int run_command(const struct options *o, int argc, char **argv)
{
	const struct command *c = NULL;

	for (int i = 0; argc && i < N_COMMANDS; i++)
		if (strcmp(argv[0], commands[i].name) == 0)
			c = &commands[i];
	if (!c)
		return argc ? usage("unknown command ", argv[0])
			    : usage("a command is missing", "");
	if (argc - 1 < c->n_args)
		return usage("an address is missing after ", c->name);
	if (argc - 1 > c->n_args)
		return usage("too many arguments for ", c->name);
	if (o->top && !c->has_top)
		return usage("--top does not belong to ", c->name);
	if ((o->export_to || o->import_from) && !c->has_file)
		return usage("--export and --import do not belong to ", c->name);
	if (o->export_to && o->import_from)
		return usage("only one of --export and --import goes with ", c->name);
	if (o->last && !c->has_last)
		return usage("--last does not belong to ", c->name);
	if ((o->for_time || o->reason) && !c->has_for)
		return usage("--for and --reason do not belong to ", c->name);
	if (!o->for_time && c->has_for)
		return usage("--for is missing: ban needs a time, as 10m, or forever", "");
	return c->run(o, argv[1]);
}

int main(int argc, char **argv)
{
	static const struct option long_options[] = {
		{"socket", required_argument, NULL, 's'}, {"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},	  {"top", required_argument, NULL, 't'},
		{"for", required_argument, NULL, 'f'},	  {"reason", required_argument, NULL, 'r'},
		{"export", required_argument, NULL, 'e'}, {"import", required_argument, NULL, 'i'},
		{"last", required_argument, NULL, 'l'},	  {0},
	};
	struct options o = {.socket = SOCKET_DEFAULT};
	int c;

	while ((c = getopt_long(argc, argv, "s:jh", long_options, NULL)) != -1) {
		switch (c) {
		case 's':
			o.socket = optarg;
			break;
		case 'j':
			o.json = true;
			break;
		case 't':
			o.top = optarg;
			break;
		case 'f':
			o.for_time = optarg;
			break;
		case 'r':
			o.reason = optarg;
			break;
		case 'e':
			o.export_to = optarg;
			break;
		case 'i':
			o.import_from = optarg;
			break;
		case 'l':
			o.last = optarg;
			break;
		case 'h':
			print_help(stdout);
			return 0;
		default:
			fputs("Try \"sluicectl --help\".\n", stderr);
			return EXIT_USAGE;
		}
	}
	return run_command(&o, argc - optind, argv + optind);
}
